//! Who we are to push services (RFC 8292): a token per service, signed by a key pair that browsers know
//! since they subscribed.

use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

/// How long a token is good; services take at most a day.
const LIFE_S: u64 = 12 * 3_600;

/// The key pair.
pub(super) struct Vapid {
    keys: EcdsaKeyPair,
    /// Where somebody is who answers for our messages.
    contact: String,
}

/// A new key pair, as it is kept.
pub(in crate::notification) fn generate() -> Result<Vec<u8>, Unspecified> {
    Ok(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?.as_ref().to_vec())
}

impl Vapid {
    /// A key pair as it was kept.
    pub(super) fn read(pkcs8: &[u8], contact: String) -> Result<Self, KeyRejected> {
        Ok(Self { keys: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)?, contact })
    }

    /// The public key as browsers take it.
    pub(super) fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.keys.public_key())
    }

    /// The `Authorization` for a service.
    pub(super) fn authorization(&self, origin: &str, now_us: u64) -> Result<String, Unspecified> {
        let header = json!({"typ": "JWT", "alg": "ES256"});
        let until_s = now_us / 1_000_000 + LIFE_S;
        let claims = json!({"aud": origin, "exp": until_s, "sub": self.contact});
        let encoded = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.keys.sign(&SystemRandom::new(), signed.as_bytes())?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        Ok(format!("vapid t={token},k={}", self.public_key()))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_token_is_for_one_service_and_verified_by_the_key_beside_it() {
        let kept = generate().unwrap();
        let vapid = Vapid::read(&kept, "mailto:shop@example.com".into()).unwrap();
        let said = vapid.authorization("https://push.example.com", 1_700_000_000_000_000).unwrap();
        let (token, key) = said.strip_prefix("vapid t=").unwrap().split_once(",k=").unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes(key));
        public.verify(signed.as_bytes(), &bytes(signature)).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&bytes(signed.split_once('.').unwrap().1)).unwrap();
        assert_eq!(
            claims,
            json!({"aud": "https://push.example.com", "exp": 1_700_043_200, "sub": "mailto:shop@example.com"})
        );
        let again = Vapid::read(&kept, String::new()).unwrap();
        assert_eq!(again.public_key(), key, "it is the same after a restart");
        assert!(Vapid::read(b"not a key", String::new()).is_err());
    }
}
