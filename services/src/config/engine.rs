//! Settings about where the engine is: in this process, or in another one.

use super::secret::read_secret;
use super::{ConfigError, Service, Tokens, Value, find, parse, plain, wrong};
use crate::remote::{EngineAddress, EngineToken};

/// Fewest bytes of a token: who guesses it has the engine.
const TOKEN_BYTES_MIN: usize = 32;

/// What says where the engine is, the strongest first. A process that serves products is not sent elsewhere by the
/// address that tells others of it.
const ADDRESSES: [(&str, Option<Service>); 3] = [
    ("engine-addr", None),
    ("product-service-addr", Some(Service::Product)),
    ("payment-service-addr", Some(Service::Payment)),
];

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
    let Some((value, address)) = named(values, services)? else { return Ok(EnginePlace::Here(token)) };
    match token {
        Some(token) => Ok(EnginePlace::At(address, token)),
        None => Err(wrong(value, "engine-token or jwt-secret beside it, the same as there")),
    }
}

/// The setting that counts, with what it says. Two services named at different places may have two engines, and only
/// `engine-addr` says which of them is meant.
fn named<'a>(
    values: &'a [Value],
    services: &[Service],
) -> Result<Option<(&'a Value, EngineAddress)>, ConfigError> {
    let read = |value| parse(value, "host:port of a process with an engine", plain::<EngineAddress>);
    let mut counting = ADDRESSES
        .into_iter()
        .filter(|(_, of)| of.is_none_or(|of| !services.contains(&of)))
        .map(|(name, _)| find(values, name))
        .filter(|value| !value.text.is_empty());
    let Some(first) = counting.next() else { return Ok(None) };
    let address = read(first)?;
    if first.name != "engine-addr" {
        for other in counting {
            if read(other)? != address {
                let Value { name, origin, .. } = first;
                return Err(wrong(
                    other,
                    format!("{address} as {name} (from {origin}) says, or engine-addr beside both"),
                ));
            }
        }
    }
    Ok(Some((first, address)))
}

/// An address that moves nobody is passed over, aloud.
pub(super) fn warnings(values: &[Value], services: &[Service]) -> Vec<String> {
    let ours = |value: &Value| plain::<EngineAddress>(&value.text);
    let engine = find(values, "engine-addr");
    let passed_over = |(name, of): (&str, Option<Service>)| {
        let value = find(values, name);
        let of = of.filter(|_| !value.text.is_empty())?;
        let why = match (services.contains(&of), engine.text.is_empty()) {
            (true, true) => format!(
                "this process serves {} itself; engine-addr moves it to an engine elsewhere",
                of.name()
            ),
            (_, false) if ours(value) != ours(engine) => {
                format!("engine-addr (from {}) says {} and has the last word", engine.origin, engine.text)
            }
            _ => return None,
        };
        Some(format!("{name}={} (from {}) is passed over: {why}", value.shown(), value.origin))
    };
    ADDRESSES.into_iter().filter_map(passed_over).collect()
}
