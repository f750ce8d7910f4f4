//! Settings about who callers are: how tokens are signed, and the first admin.

use super::secret::read_secret;
use super::{ConfigError, Secret, Value, find, wrong};
use crate::user::Email;

/// Fewest bytes of a secret that signs: as many as HS256 gives (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
const NAME_BYTES_MAX: usize = 255;

/// How access tokens are signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tokens {
    /// The secret of HS256; `None`: a key pair in the data directory, EdDSA.
    pub secret: Option<Secret>,
    /// Who issues them.
    pub issuer: String,
    /// Whom they are for.
    pub audience: String,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { secret: None, issuer: "onrush".into(), audience: "onrush".into() }
    }
}

/// The first admin, whose account is made at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirstAdmin {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: Secret,
}

pub(super) fn tokens(values: &[Value]) -> Result<Tokens, ConfigError> {
    let secret = read_secret(values, "jwt-secret")?;
    if let Some((secret, value)) = &secret
        && secret.expose().len() < SECRET_BYTES_MIN
    {
        return Err(wrong(value, format!("a secret of at least {SECRET_BYTES_MIN} bytes")));
    }
    let name = |name| {
        let value = find(values, name);
        match (1..=NAME_BYTES_MAX).contains(&value.text.len()) {
            true => Ok(value.text.clone()),
            false => Err(wrong(value, format!("1 to {NAME_BYTES_MAX} bytes"))),
        }
    };
    let secret = secret.map(|(secret, _)| secret);
    Ok(Tokens { secret, issuer: name("jwt-issuer")?, audience: name("jwt-audience")? })
}

pub(super) fn first_admin(values: &[Value]) -> Result<Option<FirstAdmin>, ConfigError> {
    let email = find(values, "admin-email");
    let password = read_secret(values, "admin-password")?;
    match (email.text.as_str(), password) {
        ("", None) => Ok(None),
        ("", Some((_, password))) => Err(wrong(password, "admin-email beside it")),
        (_, None) => Err(wrong(email, "admin-password or admin-password-file beside it")),
        (text, Some((password, _))) => {
            let email = Email::parse("admin-email", text).map_err(|error| wrong(email, error.expected))?;
            Ok(Some(FirstAdmin { email, password }))
        }
    }
}
