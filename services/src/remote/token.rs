//! What lets a process of the shop at the engine.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use super::TOKEN_HEADER;
use crate::config::Secret;
use crate::status::Denial;

/// What the token is made from where only the secret of access tokens is shared.
const PURPOSE: &[u8] = b"onrush engine token 1";

/// The token of the engine's service. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineToken(Secret);

impl EngineToken {
    /// The token as it was given.
    pub fn given(secret: Secret) -> Self {
        Self(secret)
    }

    /// One that nobody else has.
    pub fn random() -> Self {
        let words: [u128; 2] = std::array::from_fn(|_| uuid::Uuid::new_v4().as_u128());
        Self(Secret::new(format!("{:032x}{:032x}", words[0], words[1])))
    }

    /// The token of processes that share the secret of access tokens: of another purpose, so that
    /// neither tells the other.
    pub fn derived(jwt_secret: &Secret) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, jwt_secret.expose().as_bytes());
        let mac = hmac::sign(&key, PURPOSE);
        Self(Secret::new(mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
    }

    /// As metadata of a call; `None` if it has bytes that a header cannot.
    pub(super) fn header(&self) -> Option<MetadataValue<Ascii>> {
        let mut value: MetadataValue<Ascii> = self.0.expose().parse().ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Refuses a call that does not bring it. Takes as long for any wrong one.
    pub(super) fn check(&self, metadata: &MetadataMap) -> Result<(), Denial> {
        let found = metadata.get(TOKEN_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
        let hash = |bytes: &[u8]| digest(&SHA256, bytes);
        let same = verify_slices_are_equal(hash(found).as_ref(), hash(self.0.expose().as_bytes()).as_ref());
        same.map_err(|_| {
            Denial::new("UNAUTHENTICATED", "expected the engine's token, found none or another")
                .of(TOKEN_HEADER)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_passes() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef");
        let token = EngineToken::derived(&secret);
        let with = |value: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert(TOKEN_HEADER, value.parse().unwrap());
            metadata
        };
        let mut right = MetadataMap::new();
        right.insert(TOKEN_HEADER, token.header().unwrap());
        assert!(token.check(&right).is_ok());
        assert!(token.check(&MetadataMap::new()).is_err());
        for wrong in ["", "0123456789abcdef0123456789abcdef", "ffff"] {
            assert!(token.check(&with(wrong)).is_err(), "{wrong}");
        }
        assert_ne!(token, EngineToken::given(secret));
        assert_eq!(format!("{token:?}"), "EngineToken(****)");
    }
}
