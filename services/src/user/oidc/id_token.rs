//! ID tokens of the provider, and what of them is believed.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::{Deserialize, Deserializer};

use crate::status::Denial;

/// Algorithms of key pairs: whoever knows our secret there must not be able to sign.
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
/// Most bytes of one.
const BYTES_MAX: usize = 16 << 10;
/// By how much the provider's clock may differ, in seconds.
const LEEWAY_S: u64 = 60;
/// Most bytes of a name there (OpenID Connect Core, 2).
const SUBJECT_BYTES: std::ops::RangeInclusive<usize> = 1..=255;

/// Somebody whom the provider knows.
#[derive(Clone, Deserialize)]
pub(super) struct Person {
    /// Their name there, for good.
    pub(super) sub: String,
    #[serde(default)]
    pub(super) email: Option<String>,
    #[serde(default, deserialize_with = "truth")]
    pub(super) email_verified: bool,
    #[serde(default)]
    pub(super) name: Option<String>,
}

#[derive(Deserialize)]
struct IdClaims {
    #[serde(flatten)]
    person: Person,
    nonce: Option<String>,
    azp: Option<String>,
    aud: serde_json::Value,
}

/// What an ID token must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
}

/// Its header, if it is signed in a way that we look at.
pub(super) fn header(token: &str) -> Result<Header, Denial> {
    if token.len() > BYTES_MAX {
        return Err(invalid("a token of bounded size", "a longer one"));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| invalid("a JWT", "something else"))?;
    match ALGORITHMS.contains(&header.alg) {
        true => Ok(header),
        false => Err(invalid("a signature by a key pair", "another one")),
    }
}

/// Whom it names, if the provider says so to us, now, and about this login.
pub(super) fn read(
    token: &str,
    header: &Header,
    key: &Jwk,
    expected: &Expected<'_>,
) -> Result<Person, Denial> {
    let key = decoding(key, header)?;
    let mut validation = Validation::new(header.alg);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let found = jsonwebtoken::decode::<IdClaims>(token, &key, &validation);
    let claims = found.map_err(|error| match error.kind() {
        ErrorKind::ExpiredSignature => invalid("a token that is good now", "one that has expired"),
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => {
            invalid("the provider's word to us", "another")
        }
        ErrorKind::InvalidSignature => invalid("the provider's signature", "another one"),
        _ => invalid("an ID token", "something else"),
    })?;
    let IdClaims { person, nonce, azp, aud } = claims.claims;
    if nonce.as_deref() != Some(expected.nonce) {
        return Err(invalid("the nonce of this login", "another one"));
    }
    let for_several = aud.as_array().is_some_and(|all| all.len() > 1);
    if azp.as_deref().is_some_and(|azp| azp != expected.client_id) || (for_several && azp.is_none()) {
        return Err(invalid("a token for us", "one for another client"));
    }
    if !SUBJECT_BYTES.contains(&person.sub.len()) {
        return Err(invalid("a subject of 1 to 255 bytes", "another one"));
    }
    Ok(person)
}

/// The key, if it is one for signatures of this kind.
fn decoding(key: &Jwk, header: &Header) -> Result<DecodingKey, Denial> {
    let symmetric = matches!(key.algorithm, AlgorithmParameters::OctetKey(_));
    let other_use = key.common.public_key_use.as_ref().is_some_and(|to| *to != PublicKeyUse::Signature);
    let named = format!("{:?}", header.alg);
    let other_algorithm = key.common.key_algorithm.is_some_and(|algorithm| algorithm.to_string() != named);
    if symmetric || other_use || other_algorithm {
        return Err(invalid("a key for this signature", "one for something else"));
    }
    DecodingKey::from_jwk(key).map_err(|_| invalid("a key that can be used", "another one"))
}

pub(super) fn invalid(expected: &str, found: &str) -> Denial {
    Denial::new("INVALID_ID_TOKEN", format!("ID token: expected {expected}, found {found}"))
}

/// Some providers write it as a text.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value == serde_json::Value::Bool(true) || value == serde_json::Value::String("true".into()))
}
