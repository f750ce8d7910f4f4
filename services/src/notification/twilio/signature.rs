//! Twilio's signature: HMAC-SHA1 under the account's token, over the URL it calls and the form it sends.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::Secret;

/// True if Twilio signed a call of this URL with this form; compared in constant time.
pub(in crate::notification) fn is_signed(
    token: &Secret,
    url: &str,
    form: &[(String, String)],
    signature: &str,
) -> bool {
    let Ok(tag) = STANDARD.decode(signature) else { return false };
    let mut sorted: Vec<&(String, String)> = form.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.expose().as_bytes());
    let mut signed = url.to_owned();
    signed.extend(sorted.into_iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
    !token.is_empty() && hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signed by Twilio's own library.
    #[test]
    fn a_call_is_signed_letter_by_letter() {
        let token = Secret::new("12345");
        let url = "https://shop.example.com/sms/status?notification=7.0.9.sms.01234567";
        let form: Vec<(String, String)> = [
            ("MessageStatus", "delivered"),
            ("MessageSid", "SM1"),
            ("To", "+491701234567"),
            ("To", "+491701234567"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        let signature = "iiq7lVt9TQCALtl1d2YRJC4bq1k=";
        assert!(is_signed(&token, url, &form, signature));
        let mut other = form.clone();
        other[0].1 = "failed".into();
        for (token, url, form, signature) in [
            (&Secret::new("1234"), url, &form, signature),
            (&Secret::new(""), url, &form, signature),
            (&token, "http://shop.example.com/sms/status?notification=7.0.9.sms.01234567", &form, signature),
            (&token, &url.replace(".9.", ".8."), &form, signature),
            (&token, url, &other, signature),
            (&token, url, &form[1..].to_vec(), signature),
            (&token, url, &form, ""),
            (&token, url, &form, "not base64"),
            (&token, url, &form, &signature.replacen(&signature[..1], "-", 1)),
        ] {
            assert!(!is_signed(token, url, form, signature), "{url} {signature}");
        }
    }
}
