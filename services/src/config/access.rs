//! Whether calls need tokens.
//!
//! A newcomer on their own machine buys something without an account; whoever listens where others
//! can call, or has set a secret for tokens, means them. What is open to the network is open by an
//! unmistakable word only.

use std::net::IpAddr;

use super::{Config, ConfigError, Tokens, Value, wrong};
use crate::access::Access;

pub(super) fn of(value: &Value, listen: IpAddr, tokens: &Tokens) -> Result<Access, ConfigError> {
    let here = listen.to_canonical().is_loopback();
    match value.text.trim() {
        "required" => Ok(Access::Required),
        "auto" if here && tokens.secret.is_none() => Ok(Access::Open),
        "auto" => Ok(Access::Required),
        "open" if here => Ok(Access::Open),
        "open" => Err(wrong(
            value,
            format!(
                "required where others can call (listen is {listen}), or open-to-network if whoever reaches \
                 this address shall be able to do everything"
            ),
        )),
        "open-to-network" => Ok(Access::Open),
        _ => Err(wrong(value, "auto, required, open or open-to-network")),
    }
}

/// What is open to the network is said where operators look.
pub(super) fn warning(config: &Config) -> Option<String> {
    let open = config.access == Access::Open && !config.listens_here();
    open.then(|| {
        format!("access is open: whoever reaches {} may do everything without a token", config.listen)
    })
}
