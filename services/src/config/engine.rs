//! Settings about where the engine is: in this process, or in another one.

use super::secret::read_secret;
use super::{ConfigError, Service, Tokens, Value, find, parse, plain, wrong};
use crate::remote::{EngineAddress, EngineToken};

/// Fewest bytes of a token: who guesses it has the engine.
const TOKEN_BYTES_MIN: usize = 32;

/// Where the engine is, and what lets the shop's other processes at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EnginePlace {
    /// In this process; other ones may use it if they bring the token.
    Here(Option<EngineToken>),
    /// In another process, that wants this token.
    At(EngineAddress, EngineToken),
}

pub(super) fn place(
    values: &[Value],
    services: &[Service],
    tokens: &Tokens,
) -> Result<EnginePlace, ConfigError> {
    let token = match read_secret(values, "engine-token")? {
        Some((secret, value)) if secret.expose().len() < TOKEN_BYTES_MIN => {
            return Err(wrong(value, format!("a token of at least {TOKEN_BYTES_MIN} bytes")));
        }
        Some((secret, _)) => Some(EngineToken::given(secret)),
        None => tokens.secret.as_ref().map(EngineToken::derived),
    };
    // A process that serves products is not sent elsewhere by the address that tells others of it.
    let elsewhere = |service: Service| !services.contains(&service);
    let candidates = [
        ("engine-addr", true),
        ("product-service-addr", elsewhere(Service::Product)),
        ("payment-service-addr", elsewhere(Service::Payment)),
    ];
    let named = candidates.into_iter().filter(|(_, counts)| *counts).map(|(name, _)| find(values, name));
    let Some(value) = named.into_iter().find(|value| !value.text.is_empty()) else {
        return Ok(EnginePlace::Here(token));
    };
    let address = parse(value, "host:port of a process with an engine", plain::<EngineAddress>)?;
    match token {
        Some(token) => Ok(EnginePlace::At(address, token)),
        None => Err(wrong(value, "engine-token or jwt-secret beside it, the same as there")),
    }
}
