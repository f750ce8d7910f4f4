//! Passwords: bounded before anything is done with them, and not too easy to guess.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

use super::email::Email;
use crate::field::FieldError;

/// Fewest characters of a new password.
const CHARS_MIN: usize = 10;
/// Most characters of any password.
const CHARS_MAX: usize = 128;
/// Most bytes of a text that is looked at.
const BYTES_MAX: usize = 4 * CHARS_MAX;
/// Characters that a password needs beside the owner's name to count as more than that name.
const BEYOND_NAME_MIN: usize = 6;
/// Different characters of a new password.
const DISTINCT_MIN: usize = 5;

/// Of the passwords that everybody tries first, those long enough to get here. Compared without case.
const KNOWN: [&str; 40] = [
    "0123456789",
    "1111111111",
    "123123123123",
    "1234512345",
    "12345678910",
    "1234567890",
    "123456789a",
    "1q2w3e4r5t",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
    "9876543210",
    "a123456789",
    "abcd123456",
    "abcdefghij",
    "administrator",
    "asdfghjkl1",
    "asdfghjkl;",
    "baseball123",
    "changeme123",
    "football123",
    "helloworld",
    "iloveyou123",
    "letmein123",
    "motdepasse",
    "password01",
    "password1!",
    "password12",
    "password123",
    "password1234",
    "passw0rd123",
    "princess123",
    "q1w2e3r4t5",
    "q1w2e3r4t5y6",
    "qwerty1234",
    "qwerty12345",
    "qwerty123456",
    "qwertyuiop",
    "sunshine123",
    "superman123",
    "welcome123",
];

/// A password in Unicode's compatibility form. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// A password that somebody claims to have. Its length is bounded, nothing else.
    pub fn given(path: &str, text: &str) -> Result<Self, FieldError> {
        if text.is_empty() {
            return Err(FieldError::invalid(path, "a password", "none").because("MISSING_FIELD"));
        }
        let too_long = || FieldError::invalid(path, format!("at most {CHARS_MAX} characters"), "more");
        if text.len() > BYTES_MAX {
            return Err(too_long());
        }
        let normal: String = text.nfkc().collect();
        match normal.chars().count() <= CHARS_MAX {
            true => Ok(Self(normal)),
            false => Err(too_long()),
        }
    }

    /// A new password of the owner of this address.
    pub fn new(path: &str, text: &str, owner: &Email) -> Result<Self, FieldError> {
        let password = Self::given(path, text)?;
        let weak = |expected: String, found: &str| {
            Err(FieldError::invalid(path, expected, found).because("WEAK_PASSWORD"))
        };
        let lower = password.0.to_lowercase();
        let chars = lower.chars().count();
        if chars < CHARS_MIN {
            return weak(format!("at least {CHARS_MIN} characters"), &chars.to_string());
        }
        let mut distinct: Vec<char> = lower.chars().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < DISTINCT_MIN {
            return weak(
                format!("at least {DISTINCT_MIN} different characters"),
                &distinct.len().to_string(),
            );
        }
        if KNOWN.contains(&lower.as_str()) {
            return weak("a password that nobody tries first".into(), "one of the best known");
        }
        let rest = lower.replace(owner.as_str(), "").replace(owner.local(), "");
        if rest != lower && rest.chars().count() < BEYOND_NAME_MIN {
            return weak("more than the owner's address".into(), "little more");
        }
        Ok(password)
    }

    /// The bytes to hash.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_and_overlong_passwords_are_refused_and_shown_nowhere() {
        let ada = Email::parse("email", "ada.lovelace@example.com").unwrap();
        let (long, huge) = ("x7".repeat(65), "x".repeat(2 << 20));
        let table = [
            ("", "MISSING_FIELD"),
            ("short", "WEAK_PASSWORD"),
            ("aaaaaaaaaaaa", "WEAK_PASSWORD"),
            ("abababababab", "WEAK_PASSWORD"),
            ("Password123", "WEAK_PASSWORD"),
            ("QWERTYUIOP", "WEAK_PASSWORD"),
            ("ada.lovelace", "WEAK_PASSWORD"),
            ("Ada.Lovelace1815", "WEAK_PASSWORD"),
            ("ada.lovelace@example.com", "WEAK_PASSWORD"),
            (&long, "INVALID_FIELD"),
            (&huge, "INVALID_FIELD"),
        ];
        for (text, reason) in table {
            let error = Password::new("password", text, &ada).unwrap_err();
            assert_eq!((error.reason, error.path.as_str()), (reason, "password"), "{text:.40}");
            assert!(text.len() < 6 || !error.to_string().contains(text), "{error}");
        }
        let good = Password::new("password", "correct horse battery", &ada).unwrap();
        assert_eq!(format!("{good:?}"), "****");
        // One password, typed on two keyboards.
        let composed = Password::given("password", "caf\u{e9} au lait").unwrap();
        assert!(composed == Password::given("password", "cafe\u{301} au lait").unwrap());
    }
}
