//! How a customer is reached, and what they do not want to hear.

use std::str::FromStr;

use onrush_proto::{CustomerId, DocKey, Text};
use serde::{Deserialize, Serialize};

use super::occasion::{Channel, Occasion};
use crate::field::{FieldError, shown};

/// Most bytes of a mail address (RFC 5321).
const EMAIL_BYTES_MAX: usize = 254;

/// A customer's contact. Notification owns it; registration may fill it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Contact {
    /// Mail address; empty = none.
    #[serde(default)]
    pub email: String,
    /// Language.
    pub language: String,
    /// What the customer does not want.
    #[serde(default)]
    pub muted: Vec<(Occasion, Channel)>,
}

impl Default for Contact {
    fn default() -> Self {
        Self { email: String::new(), language: "en".into(), muted: Vec::new() }
    }
}

impl Contact {
    /// The key of a customer's contact.
    pub fn key(customer: &CustomerId) -> DocKey {
        // 8 + 39 bytes always fit.
        Text::new(&format!("contact/{customer}")).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

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
