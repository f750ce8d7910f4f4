//! How a customer is reached, and what they do not want to hear.

use std::str::FromStr;

use onrush_proto::{CustomerId, DocKey, Text};
use serde::{Deserialize, Serialize};

use super::occasion::{Channel, Occasion};
use crate::field::{FieldError, shown};

/// Most bytes of a mail address (RFC 5321).
const EMAIL_BYTES_MAX: usize = 254;
/// Digits of a telephone number; E.164 names the upper bound.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A customer's contact. Notification owns it; where it has no mail address, that of the account is used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Contact {
    /// Mail address; empty = none.
    #[serde(default)]
    pub email: String,
    /// Telephone number as E.164 has it; empty = none.
    #[serde(default)]
    pub phone: String,
    /// When the customer agreed to text messages to that number, in us since the epoch.
    #[serde(default)]
    pub phone_consent_us: u64,
    /// True if the carrier says that the number called them off.
    #[serde(default)]
    pub phone_stopped: bool,
    /// Language.
    pub language: String,
    /// What the customer does not want.
    #[serde(default)]
    pub muted: Vec<(Occasion, Channel)>,
}

/// What Notification reads of an account (`users/<id>`).
#[derive(Deserialize)]
pub(super) struct Account {
    pub(super) email: String,
    /// BCP 47.
    #[serde(default)]
    pub(super) language: Option<String>,
}

impl Default for Contact {
    fn default() -> Self {
        Self {
            email: String::new(),
            phone: String::new(),
            phone_consent_us: 0,
            phone_stopped: false,
            language: "en".into(),
            muted: Vec::new(),
        }
    }
}

impl Contact {
    /// The key of a customer's contact.
    pub fn key(customer: &CustomerId) -> DocKey {
        // 8 + 39 bytes always fit.
        Text::new(&format!("contact/{customer}")).unwrap_or_default()
    }

    /// Puts the number that the customer agreed to, or none. Said again it is as it was, unless the
    /// number had called text messages off: then this is a new consent.
    pub(super) fn agree(&mut self, phone: &str, now_us: u64) {
        if self.phone != phone || self.phone_stopped {
            self.phone = phone.into();
            self.phone_consent_us = if phone.is_empty() { 0 } else { now_us };
            self.phone_stopped = false;
        }
    }

    /// The number called text messages off; false if it is not this customer's any more.
    pub(super) fn stop(&mut self, phone: &str) -> bool {
        let news = self.phone == phone && !self.phone_stopped;
        self.phone_stopped |= news;
        news
    }

    /// The number that text messages may go to.
    pub(super) fn texted(&self) -> Option<&str> {
        (!self.phone.is_empty() && !self.phone_stopped).then_some(&self.phone)
    }

    /// True if the customer wants to hear of it.
    pub fn wants(&self, occasion: Occasion, channel: Channel) -> bool {
        !self.muted.contains(&(occasion, channel))
    }

    /// Says whether the customer wants to hear of it; false if it was so already.
    pub fn set(&mut self, occasion: Occasion, channel: Channel, wanted: bool) -> bool {
        if self.wants(occasion, channel) == wanted {
            return false;
        }
        match wanted {
            true => self.muted.retain(|muted| *muted != (occasion, channel)),
            false => self.muted.push((occasion, channel)),
        }
        true
    }
}

/// A mail address, or none: one address, and nothing that could end a header.
pub(super) fn email(path: &str, text: &str) -> Result<String, FieldError> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let wrong = |found| FieldError::invalid(path, "a mail address such as ada@example.com", found);
    if text.len() > EMAIL_BYTES_MAX || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(wrong(shown(text)));
    }
    let address = lettre::Address::from_str(text).map_err(|_| wrong(shown(text)))?;
    Ok(address.to_string())
}

/// A telephone number as E.164 has it, or none; and only one whose owner agreed.
pub(super) fn phone(path: &str, text: &str, consent: bool) -> Result<String, FieldError> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if !is_e164(text) {
        let expected = "a telephone number such as +491701234567 (E.164)";
        return Err(FieldError::invalid(path, expected, shown(text)));
    }
    match consent {
        true => Ok(text.into()),
        false => Err(FieldError::invalid("sms_consent", "true beside a telephone number", "false")),
    }
}

/// True for a plus, a country that does not begin with zero, and no more than 15 digits.
pub(crate) fn is_e164(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default().as_bytes();
    PHONE_DIGITS.contains(&digits.len()) && digits[0] != b'0' && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_of_e164_and_its_owner_agreed() {
        for (text, good) in [
            ("", true),
            ("+491701234567", true),
            ("+15005550006", true),
            ("+123456789012345", true),
            ("+1234567890123456", false),
            ("+0491701234567", false),
            ("+49", false),
            ("+", false),
            ("491701234567", false),
            ("+49 170 1234567", false),
            ("+49170123456\u{663}", false),
            ("whatsapp:+491701234567", false),
            ("+491701234567&From=+1", false),
        ] {
            assert_eq!(phone("phone", text, true).is_ok(), good, "{text:?}");
        }
        assert_eq!(phone("phone", "+491701234567", false).unwrap_err().path, "sms_consent");
        assert!(phone("phone", "", false).is_ok());
    }

    #[test]
    fn a_number_that_called_texts_off_gets_none_until_its_owner_agrees_again() {
        let mut contact = Contact::default();
        contact.agree("+491701234567", 7);
        assert_eq!((contact.texted(), contact.phone_consent_us), (Some("+491701234567"), 7));
        contact.agree("+491701234567", 8);
        assert_eq!(contact.phone_consent_us, 7, "said again is as it was");
        assert!(!contact.stop("+491701234568"), "a number of before");
        assert!(contact.stop("+491701234567") && !contact.stop("+491701234567"));
        assert_eq!(contact.texted(), None);
        contact.agree("+491701234567", 9);
        assert_eq!((contact.texted(), contact.phone_consent_us), (Some("+491701234567"), 9));
        contact.agree("", 10);
        assert_eq!((contact.texted(), contact.phone_consent_us), (None, 0));
    }

    #[test]
    fn an_address_is_one_address() {
        for (text, good) in [
            ("", true),
            ("ada@example.com", true),
            ("ada+shop@example.co.uk", true),
            ("ada", false),
            ("ada@", false),
            ("ada@example.com\r\nBcc: eve@example.com", false),
            ("ada@example.com, eve@example.com", false),
            ("Ada <ada@example.com>", false),
            ("ada @example.com", false),
        ] {
            assert_eq!(email("email", text).is_ok(), good, "{text:?}");
        }
        assert!(email("email", &format!("{}@example.com", "a".repeat(250))).is_err());
    }

    #[test]
    fn a_preference_is_said_once() {
        let mut contact = Contact::default();
        assert!(!contact.set(Occasion::PaymentReceipt, Channel::Email, true));
        assert!(contact.set(Occasion::PaymentReceipt, Channel::Email, false));
        assert!(!contact.set(Occasion::PaymentReceipt, Channel::Email, false));
        assert!(!contact.wants(Occasion::PaymentReceipt, Channel::Email));
        assert!(contact.wants(Occasion::OrderConfirmation, Channel::Email));
        assert!(contact.set(Occasion::PaymentReceipt, Channel::Email, true) && contact.muted.is_empty());
    }
}
