//! What a call that did not work says, independent of the protocol.

use std::time::Duration;

use onrush_grpc::session::v1::Failure;
use onrush_proto::Refusal;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The domain of the shop's own reasons.
const DOMAIN: &str = "onrush";
/// The reason of who does not lead, and what it tells of who does.
const NOT_LEADER: &str = "NOT_LEADER";
const LEADER: &str = "leader";
const LEADER_ADDRESS: &str = "leader_address";

/// Reasons for which a call is refused before its key is looked up: they tell nothing of an earlier try.
const UNLOOKED_AT: [&str; 5] =
    ["OVERLOADED", "DEADLINE_EXCEEDED", "IDEMPOTENCY_KEY_IN_PROGRESS", "UNAUTHENTICATED", "INVALID_TOKEN"];

/// The shop refused; nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Refused {
    /// The stable name, e.g. `OUT_OF_STOCK`.
    pub reason: String,
    /// Path of the field at fault: `lines[3].quantity`.
    pub field: Option<String>,
    /// For people.
    pub message: String,
    /// When another try is worth it.
    pub retry_after: Option<Duration>,
    /// The refusal with its numbers, where it travels whole: over the native protocol, and `NOT_LEADER` everywhere.
    pub refusal: Option<Refusal>,
    /// Of `NOT_LEADER`: where the port of the same service is at the node that leads, `host:port`, if it was said.
    pub leader_address: Option<String>,
}

/// Why a call did not work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// The shop refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] Box<Refused>),
    /// No answer came; the call may have worked. Trying again under the same key is safe.
    #[error("no answer ({code:?}): {message}")]
    Unknown {
        /// The gRPC code.
        code: Code,
        /// For people.
        message: String,
    },
    /// The address is not one.
    #[error("expected an address such as http://127.0.0.1:50052 or onrush://127.0.0.1:50060, found {0:?}")]
    Address(String),
    /// Nobody can be believed over TLS.
    #[error("trust: {0}")]
    Trust(String),
}

impl CallError {
    /// True if another try under the same key may say more: nobody knows what became of this one, or, with an
    /// earlier try that nobody knows of (`doubtful`), it says only that this one was not looked at.
    pub(super) fn is_open(&self, doubtful: bool) -> bool {
        match self {
            Self::Unknown { .. } => true,
            Self::Refused(refused) => {
                doubtful && (UNLOOKED_AT.contains(&refused.reason.as_str()) || refused.is_foreign())
            }
            Self::Address(_) | Self::Trust(_) => false,
        }
    }

    /// The node that leads, as one that does not lead says, and what it says of where that is; 0 = it knows of none.
    pub(super) fn leader(&self) -> Option<(u64, Option<&str>)> {
        match self {
            Self::Refused(refused) => match refused.refusal {
                Some(Refusal::NotLeader { leader }) => Some((leader, refused.leader_address.as_deref())),
                _ => None,
            },
            _ => None,
        }
    }

    /// The reason of a refusal.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refused) => Some(&refused.reason),
            _ => None,
        }
    }
}

impl Refused {
    /// True for what somebody on the way to the shop said: its reason is the name of a code of gRPC.
    fn is_foreign(&self) -> bool {
        self.reason.bytes().any(|letter| letter.is_ascii_lowercase())
    }
}

impl From<Refused> for CallError {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

/// What a refusal says, whatever it came in.
struct Said {
    code: Code,
    /// The shop's own name of it.
    reason: Option<String>,
    field: Option<String>,
    message: String,
    retry_after: Option<Duration>,
    /// Of who leads: its number, and where it is.
    leader: (Option<String>, Option<String>),
}

impl From<Said> for CallError {
    fn from(said: Said) -> Self {
        let Said { code, reason, field, message, retry_after, leader: (leader, leader_address) } = said;
        // Nothing was begun there: that is known.
        if reason.as_deref() == Some(NOT_LEADER) {
            let leader = leader.and_then(|number| number.parse().ok()).unwrap_or(0);
            let refusal = Some(Refusal::NotLeader { leader });
            let reason = NOT_LEADER.to_owned();
            return Self::from(Refused { reason, field, message, retry_after, refusal, leader_address });
        }
        // A stopped shard and a silent gateway say so themselves: whether they acted is unknown.
        let unknown = matches!(
            code,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal
        );
        let refused_late = reason.as_deref() == Some("DEADLINE_EXCEEDED");
        if unknown && !refused_late {
            return Self::Unknown { code, message };
        }
        let reason = reason.unwrap_or_else(|| format!("{code:?}"));
        Self::from(Refused { reason, field, message, retry_after, refusal: None, leader_address: None })
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let violation = details.bad_request().and_then(|bad| bad.field_violations.first());
        Self::from(Said {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()),
            field: violation.map(|violation| violation.field.clone()),
            message: status.message().to_owned(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
            leader: [LEADER, LEADER_ADDRESS].map(|name| info?.metadata.get(name).cloned()).into(),
        })
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        let Failure { code, reason, message, field, retry_after_us, mut facts } = failure;
        let wait_us = u64::try_from(retry_after_us).ok().filter(|wait_us| *wait_us > 0);
        Self::from(Said {
            code: Code::from_i32(code),
            reason: Some(reason).filter(|reason| !reason.is_empty()),
            field: Some(field).filter(|field| !field.is_empty()),
            message,
            retry_after: wait_us.map(Duration::from_micros),
            leader: [LEADER, LEADER_ADDRESS].map(|name| facts.remove(name)).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    /// An order was done, its answer lost, and the second try came too late to be looked at: that is no refusal.
    #[test]
    fn what_was_not_looked_at_says_nothing_of_an_earlier_try() {
        let unknown = CallError::from(Status::unavailable("gone"));
        assert!(unknown.is_open(false) && unknown.is_open(true));
        // A token that expired meanwhile, and a proxy that turns us away.
        let expired = Status::with_error_details(
            Code::Unauthenticated,
            "expired",
            ErrorDetails::with_error_info("INVALID_TOKEN", DOMAIN, std::collections::HashMap::new()),
        );
        for status in [expired, Status::permission_denied("go away"), Status::resource_exhausted("too many")]
        {
            let error = CallError::from(status);
            assert_eq!((error.is_open(false), error.is_open(true)), (false, true), "{error}");
        }
        for (refusal, open) in [
            (Refusal::Overloaded, true),
            (Refusal::DeadlineExceeded, true),
            (Refusal::KeyInProgress, true),
            (Refusal::KeyReused, false),
            (Refusal::NoLines, false),
        ] {
            let error = CallError::from(refusal);
            assert_eq!((error.is_open(false), error.is_open(true)), (false, open), "{error}");
        }
    }

    #[test]
    fn statuses_become_reasons_and_silence_stays_unknown() {
        let mut details =
            ErrorDetails::with_error_info("BAD_QUANTITY", DOMAIN, std::collections::HashMap::new());
        details.add_bad_request_violation("lines[0].quantity", "zero");
        let status = Status::with_error_details(Code::InvalidArgument, "zero", details);
        let CallError::Refused(refused) = CallError::from(status) else { panic!("a refusal") };
        assert_eq!(
            (refused.reason.as_str(), refused.field.as_deref()),
            ("BAD_QUANTITY", Some("lines[0].quantity"))
        );
        assert!(matches!(CallError::from(Status::unavailable("gone")), CallError::Unknown { .. }));
        let plain = CallError::from(Status::resource_exhausted("too many"));
        assert_eq!(plain.reason(), Some("ResourceExhausted"));
    }
}
