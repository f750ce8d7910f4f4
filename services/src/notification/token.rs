//! The token of an unsubscribe link: whose it is and of what, signed, so that nobody calls off the
//! mails of others.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onrush_proto::CustomerId;

use super::occasion::{Channel, Occasion};

/// Most bytes of a token.
const TOKEN_BYTES_MAX: usize = 512;

/// What signs tokens.
pub(super) struct Signer(hmac::Key);

impl Signer {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The token of a customer's mails of one kind.
    pub(super) fn token(&self, customer: &str, occasion: Occasion, channel: Channel) -> String {
        let claim = serde_json::to_vec(&(customer, occasion, channel)).unwrap_or_default();
        let tag = hmac::sign(&self.0, &claim);
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&claim), URL_SAFE_NO_PAD.encode(tag))
    }

    /// What a token says; `None` if we did not sign it.
    pub(super) fn read(&self, token: &str) -> Option<(CustomerId, Occasion, Channel)> {
        let (claim, tag) = token.split_once('.').filter(|_| token.len() <= TOKEN_BYTES_MAX)?;
        let (claim, tag) = (URL_SAFE_NO_PAD.decode(claim).ok()?, URL_SAFE_NO_PAD.decode(tag).ok()?);
        hmac::verify(&self.0, &claim, &tag).ok()?;
        let (customer, occasion, channel): (String, Occasion, Channel) =
            serde_json::from_slice(&claim).ok()?;
        Some((customer.parse().ok()?, occasion, channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_tokens_count() {
        let signer = Signer::new(b"hush");
        let token = signer.token("ada", Occasion::PaymentReceipt, Channel::Email);
        let read = signer.read(&token).unwrap();
        assert_eq!((read.0.as_str(), read.1, read.2), ("ada", Occasion::PaymentReceipt, Channel::Email));
        let (claim, tag) = token.split_once('.').unwrap();
        let other = signer.token("bob", Occasion::PaymentReceipt, Channel::Email);
        let forged = format!("{}.{tag}", other.split_once('.').unwrap().0);
        for wrong in [forged, claim.to_owned(), format!("{claim}."), String::new(), format!("{token}x")] {
            assert!(signer.read(&wrong).is_none(), "{wrong}");
        }
        assert!(Signer::new(b"other").read(&token).is_none());
    }
}
