//! Notification's settings.

use std::net::IpAddr;
use std::time::Duration;

use super::{ConfigError, Origin, Value, bounded, find, parse, wrong};
use crate::notification::PostOptions;
use crate::notification::push::Reach;

pub(super) fn of(values: &[Value]) -> Result<PostOptions, ConfigError> {
    let from = from(values)?;
    let public_url =
        parse(find(values, "public-url"), "an address such as https://shop.example.com", |text| {
            let known = text.is_empty() || text.starts_with("https://") || text.starts_with("http://");
            let plain = !text
                .chars()
                .any(|c| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | '?' | '#'));
            (known && plain).then(|| text.to_owned())
        })?;
    Ok(PostOptions {
        from,
        public_url,
        tries_max: bounded(values, "notification-tries", 1, 100)? as u32,
        pause: Duration::from_millis(bounded(values, "notification-pause-ms", 1, 3_600_000)? as u64),
    })
}

/// A mail server takes no mail from a domain that does not exist: who logs in there is asked next.
fn from(values: &[Value]) -> Result<String, ConfigError> {
    let value = find(values, "mail-from");
    let known = |text: &str| text.parse::<lettre::message::Mailbox>().ok().map(|_| text.to_owned());
    let expected = "a sender such as Shop <shop@example.com>";
    let by_server = !find(values, "smtp-host").text.is_empty();
    match by_server && value.origin == Origin::Default {
        true => known(&find(values, "smtp-user").text).ok_or_else(|| wrong(value, expected)),
        false => parse(value, expected, known),
    }
}

/// Where whoever subscribes may make us call. This machine is for tests, and only while it is alone.
pub(super) fn push(values: &[Value], listen: IpAddr) -> Result<Reach, ConfigError> {
    let value = find(values, "push-reach");
    let reach = parse(value, "public or loopback", |text| match text {
        "public" => Some(Reach::Public),
        "loopback" => Some(Reach::Loopback),
        _ => None,
    })?;
    match reach == Reach::Loopback && !listen.to_canonical().is_loopback() {
        true => Err(wrong(value, "public: others than this machine can call here")),
        false => Ok(reach),
    }
}
