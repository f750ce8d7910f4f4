//! Stripe's webhooks: who signed them, and what they are about.

use aws_lc_rs::hmac;
use serde::Deserialize;

use super::message::Metadata;
use crate::config::Secret;
use crate::gateway::hearing::TOLERANCE_S;

/// Signatures looked at: there are several while a secret is changed.
const SIGNATURES_MAX: usize = 8;
/// Bytes of one.
const TAG_BYTES: usize = 32;

/// An event, as far as it is read.
#[derive(Deserialize, Debug)]
pub(in crate::gateway) struct Event {
    pub(in crate::gateway) id: String,
    data: Subject,
}

#[derive(Deserialize, Debug)]
struct Subject {
    object: Object,
}

#[derive(Deserialize, Debug)]
struct Object {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    object: String,
    payment_intent: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

impl Event {
    /// The intent that it is about.
    pub(in crate::gateway) fn intent(&self) -> Option<&str> {
        let Object { id, object, payment_intent, .. } = &self.data.object;
        match object.as_str() {
            "payment_intent" => id.as_deref(),
            _ => payment_intent.as_deref(),
        }
    }

    /// The key that we wrote on what it is about.
    pub(in crate::gateway) fn written(&self) -> &str {
        self.data.object.metadata.as_ref().map_or("", |metadata| &metadata.onrush_key)
    }
}

/// True if the header signs these very bytes, not long ago. Each tag is compared in constant time.
pub(in crate::gateway) fn is_signed(secret: &Secret, header: &str, body: &[u8], now_s: u64) -> bool {
    let of = |name: &'static str| {
        header.split(',').filter_map(move |part| part.trim().split_once('=')).filter(move |(n, _)| *n == name)
    };
    let Some((_, time)) = of("t").next() else { return false };
    let plain = time.bytes().all(|byte| byte.is_ascii_digit());
    let Some(signed_s) = time.parse::<u64>().ok().filter(|_| plain) else { return false };
    if secret.is_empty() || now_s.abs_diff(signed_s) > TOLERANCE_S {
        return false;
    }
    let mut message = format!("{time}.").into_bytes();
    message.extend_from_slice(body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let mut tags = of("v1").take(SIGNATURES_MAX).filter_map(|(_, text)| unhex(text));
    tags.any(|tag| hmac::verify(&key, &message, &tag).is_ok())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let plain = text.len() == 2 * TAG_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| text.as_bytes().chunks(2).map(digits).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_vector_is_believed_and_nothing_near_it() {
        const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
        const TAG: &str = "4c15fb2a43f93ef61eaa3e0893866d57cad9cad4223242cfb96f362480cb4021";
        const AT: u64 = 1_700_000_000;
        let secret = Secret::new("whsec_test");
        let zero = "0".repeat(64);
        for (header, now_s) in [
            (format!("t=1700000000,v1={TAG}"), AT),
            (format!("t=1700000000,v1={TAG}"), AT + 300),
            (format!("t=1700000000,v1={TAG}"), AT - 300),
            (format!("t=1700000000,v1={zero},v1={TAG},v0={zero}"), AT),
            (format!("v1={TAG}, t=1700000000"), AT),
        ] {
            assert!(is_signed(&secret, &header, BODY, now_s), "{header}");
        }
        for (header, now_s) in [
            (String::new(), AT),
            ("t=1700000000".into(), AT),
            (format!("v1={TAG}"), AT),
            (format!("t=1700000000,v0={TAG}"), AT),
            (format!("t=1700000000,v1={zero}"), AT),
            (format!("t=1700000000,v1={}", &TAG[..63]), AT),
            (format!("t=1700000001,v1={TAG}"), AT),
            (format!("t=+1700000000,v1={TAG}"), AT),
            (format!("t=99999999999999999999,v1={TAG}"), AT),
            (format!("t=1700000000,v1={TAG}"), AT + 301),
            (format!("t=1700000000,v1={TAG}"), AT - 301),
            (format!("t=1700000000{},v1={TAG}", format!(",v1={zero}").repeat(SIGNATURES_MAX)), AT),
        ] {
            assert!(!is_signed(&secret, &header, BODY, now_s), "{header}");
        }
        let header = format!("t=1700000000,v1={TAG}");
        assert!(!is_signed(&secret, &header, br#"{"id": "evt_1","object":"event"}"#, AT), "one space more");
        assert!(!is_signed(&Secret::new("whsec_other"), &header, BODY, AT));
        assert!(!is_signed(&Secret::new(""), &header, BODY, AT));
    }

    #[test]
    fn an_event_names_its_intent() {
        for (object, intent) in [
            (r#"{"id":"pi_1","object":"payment_intent"}"#, Some("pi_1")),
            (r#"{"id":"re_1","object":"refund","payment_intent":"pi_2"}"#, Some("pi_2")),
            (r#"{"id":"ch_1","object":"charge","payment_intent":null,"metadata":null}"#, None),
            (r#"{"object":"balance"}"#, None),
        ] {
            let text = format!(r#"{{"id":"evt_1","data":{{"object":{object}}}}}"#);
            let event: Event = serde_json::from_str(&text).unwrap();
            assert_eq!(event.intent(), intent, "{object}");
        }
    }
}
