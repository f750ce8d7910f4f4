//! Settings of text messages.

use super::secret::read_secret;
use super::{ConfigError, Value, find, parse, wrong};
use crate::notification::is_e164;
use crate::notification::twilio::TwilioOptions;

pub(super) fn of(values: &[Value]) -> Result<Option<TwilioOptions>, ConfigError> {
    let sid = find(values, "twilio-sid");
    let token = match (sid.text.as_str(), read_secret(values, "twilio-token")?) {
        ("", None) => return Ok(None),
        ("", Some((_, value))) => return Err(wrong(value, "twilio-sid beside it")),
        (_, None) => return Err(wrong(sid, "twilio-token or twilio-token-file beside it")),
        (_, Some((token, _))) => token,
    };
    let account = parse(sid, "an account such as AC and 32 hex digits", |text| is_sid("AC", text))?;
    let expected = "who texts are from: a number such as +15005550006, a name of up to 11 letters and digits, or MG \
                    and 32 hex digits";
    let from = parse(find(values, "twilio-from"), expected, |text| {
        let known = is_e164(text) || is_name(text) || is_sid("MG", text).is_some();
        known.then(|| text.to_owned())
    })?;
    let base = find(values, "twilio-api-base").text.clone();
    Ok(Some(TwilioOptions { base, sid: account, token, from, timeout: TwilioOptions::TIMEOUT }))
}

fn is_sid(kind: &str, text: &str) -> Option<String> {
    let digits = text.strip_prefix(kind)?;
    (digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}

/// A sender's name: what is all digits would be taken for a number.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b' ';
    (1..=11).contains(&text.len())
        && text.bytes().all(plain)
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}
