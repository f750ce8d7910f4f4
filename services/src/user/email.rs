//! E-mail addresses, in the one form in which they are unique.
//!
//! Two spellings of one address must be one account, and two addresses that look alike must not be
//! two. So the text is brought to Unicode's compatibility form and lower case, and what is not ASCII
//! then is refused: a name in another script is written in its `xn--` form, which nobody confuses.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

use crate::field::{FieldError, shown};

/// Most bytes of an address, so that its name fits a document's key.
const EMAIL_BYTES_MAX: usize = 120;
/// Most bytes of a text that is looked at.
const TEXT_BYTES_MAX: usize = 512;
const LOCAL_BYTES_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 63;

/// An address in its normal form.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Email(String);

impl Email {
    /// Parses an address as somebody wrote it.
    pub fn parse(path: &str, text: &str) -> Result<Self, FieldError> {
        if text.is_empty() {
            return Err(FieldError::invalid(path, "an e-mail address", "none").because("MISSING_FIELD"));
        }
        let invalid = |expected: &str, found: String| {
            Err(FieldError::invalid(path, expected, found).because("INVALID_EMAIL"))
        };
        let at_most = format!("at most {EMAIL_BYTES_MAX} bytes");
        if text.len() > TEXT_BYTES_MAX {
            return invalid(&at_most, text.len().to_string());
        }
        let normal: String = text.nfkc().collect::<String>().to_lowercase();
        if normal.len() > EMAIL_BYTES_MAX {
            return invalid(&at_most, normal.len().to_string());
        }
        if !normal.is_ascii() {
            return invalid("ASCII; a domain in another script is written as xn--", shown(text));
        }
        match normal.split_once('@') {
            Some((local, domain)) if is_local(local) && is_domain(domain) => Ok(Self(normal)),
            _ => invalid("an address such as ada@example.com", shown(text)),
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`.
    pub fn local(&self) -> &str {
        self.0.split('@').next().unwrap_or_default()
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_local(local: &str) -> bool {
    let atom = |atom: &str| {
        !atom.is_empty()
            && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-'=&~#!$*".contains(&byte))
    };
    local.len() <= LOCAL_BYTES_MAX && local.split('.').all(atom)
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = domain.rsplit('.').next().unwrap_or_default();
    domain.contains('.') && domain.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_one() {
        let table = [
            "ada@example.com",
            "Ada@Example.COM",
            "ａｄａ@example.com",
            "ada＠example．com",
            "ad\u{1d43}@example.com",
        ];
        for text in table {
            assert_eq!(Email::parse("email", text).unwrap().as_str(), "ada@example.com", "{text}");
        }
        // The Kelvin sign is a K, the long s an s.
        assert_eq!(
            Email::parse("email", "\u{212a}as\u{17f}@example.com").unwrap().as_str(),
            "kass@example.com"
        );
    }

    #[test]
    fn what_only_looks_like_an_address_is_refused() {
        let long_domain = format!("a@{}.com", "x".repeat(64));
        let long = format!("a@{}com", "abcdefgh.".repeat(14));
        let huge = "x".repeat(1 << 20);
        let table = [
            "ada",
            "@example.com",
            "ada@",
            "ada@localhost",
            "ada@@example.com",
            "ada@example.com@evil.com",
            " ada@example.com",
            "ada@example.com\n",
            "ada@example.com\r\nBcc: all@example.com",
            "\"ada\"@example.com",
            "ada@example..com",
            ".ada@example.com",
            "ada.@example.com",
            "a..da@example.com",
            "ada@-example.com",
            "ada@127.0.0.1",
            "ada@[127.0.0.1]",
            // A Cyrillic letter, an invisible one, one that turns the direction, a dotless i.
            "\u{430}da@example.com",
            "ada@ex\u{430}mple.com",
            "a\u{200b}da@example.com",
            "ada\u{202e}@example.com",
            "\u{131}da@example.com",
            &long_domain,
            &long,
            &huge,
        ];
        for text in table {
            let error = Email::parse("email", text).unwrap_err();
            assert_eq!((error.reason, error.path.as_str()), ("INVALID_EMAIL", "email"), "{text:.80}");
        }
        assert_eq!(Email::parse("email", "").unwrap_err().reason, "MISSING_FIELD");
    }
}
