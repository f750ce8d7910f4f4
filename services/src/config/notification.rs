//! Notification's settings.

use std::time::Duration;

use super::{ConfigError, Value, bounded, find, parse};
use crate::notification::PostOptions;

pub(super) fn of(values: &[Value]) -> Result<PostOptions, ConfigError> {
    let from = parse(find(values, "mail-from"), "a sender such as Shop <shop@example.com>", |text| {
        text.parse::<lettre::message::Mailbox>().ok().map(|_| text.to_owned())
    })?;
    let public_url =
        parse(find(values, "public-url"), "an address such as https://shop.example.com", |text| {
            let known = text.is_empty() || text.starts_with("https://") || text.starts_with("http://");
            let plain =
                !text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"'));
            (known && plain).then(|| text.to_owned())
        })?;
    Ok(PostOptions {
        from,
        public_url,
        tries_max: bounded(values, "notification-tries", 1, 100)? as u32,
        pause: Duration::from_millis(bounded(values, "notification-pause-ms", 1, 3_600_000)? as u64),
    })
}
