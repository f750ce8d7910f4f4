//! The token of a mail that lets somebody choose a new password.
//!
//! Notification makes it when it writes the mail, and leaves its hash in the user's `resets/<id>`: the
//! token itself is in the mail and nowhere else.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// What a token begins with, so that those who look for leaked secrets find it.
const PREFIX: &str = "onrush_pr_";
/// A user and a secret.
const TOKEN_BYTES: usize = 16 + 32;

/// A token, taken apart. Has no `Debug`.
pub(super) struct ResetToken {
    /// Whose password it is about.
    pub(super) user: String,
    secret: [u8; 32],
}

impl ResetToken {
    /// A token as somebody brought it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().strip_prefix(PREFIX)?;
        if text.len() > 2 * TOKEN_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (user, secret) = bytes.split_first_chunk::<16>()?;
        let secret = <[u8; 32]>::try_from(secret).ok()?;
        Some(Self { user: Uuid::from_bytes(*user).to_string(), secret })
    }

    /// True if this is its hash.
    pub(super) fn has_hash(&self, hash: &str) -> bool {
        let own = URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.secret));
        verify_slices_are_equal(own.as_bytes(), hash.as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_and_others_do_not() {
        let user = Uuid::new_v4();
        let text =
            format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([user.as_bytes().as_slice(), &[7; 32]].concat()));
        let token = ResetToken::parse(&format!(" {text}\n")).unwrap();
        assert_eq!(token.user, user.to_string());
        assert!(token.has_hash(&URL_SAFE_NO_PAD.encode(digest(&SHA256, &[7; 32]))));
        assert!(!token.has_hash("") && !token.has_hash(&URL_SAFE_NO_PAD.encode(digest(&SHA256, &[8; 32]))));
        let huge = format!("{PREFIX}{}", "A".repeat(2 << 20));
        for strange in ["", PREFIX, &text[1..], &text[..text.len() - 1], &huge, "onrush_rt_AAAA"] {
            assert!(ResetToken::parse(strange).is_none(), "{strange:.60}");
        }
    }
}
