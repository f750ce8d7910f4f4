//! A caller who shows a token once and then asks many things.

use super::{Admitted, Call, Caller, Need};
use crate::status::Denial;

/// Who speaks on a connection or a stream, and until when that is believed.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    caller: Caller,
    until_s: u64,
}

impl Standing {
    /// A caller who is believed until then, in Unix seconds.
    pub(crate) fn new(caller: Caller, until_s: u64) -> Self {
        Self { caller, until_s }
    }

    /// The caller, if they may make this call now.
    pub(crate) fn admit(&self, call: Call, now_s: u64) -> Result<Admitted, Denial> {
        if call.need() != Need::Nothing {
            self.must_be_good(now_s)?;
        }
        self.caller.admitted_to(call)
    }

    /// Refused once the token has expired.
    pub(crate) fn must_be_good(&self, now_s: u64) -> Result<(), Denial> {
        if now_s <= self.until_s {
            return Ok(());
        }
        let message = "access token: expected one that is good now, found one that has expired; \
                       a new connection or stream takes a new one";
        Err(Denial::new("UNAUTHENTICATED", message))
    }
}
