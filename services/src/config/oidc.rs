//! Settings of the provider whose users may log in.

use super::secret::read_secret;
use super::{ConfigError, Secret, Value, find, wrong};
use crate::base_url::base_url;

/// A provider of OpenID Connect whose users may log in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OidcOptions {
    /// Its name, the URL that its documents are found by.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// What shows it, if we have a secret there.
    pub client_secret: Option<Secret>,
}

pub(super) fn of(values: &[Value]) -> Result<Option<OidcOptions>, ConfigError> {
    let (issuer, client_id) = (find(values, "oidc-issuer"), find(values, "oidc-client-id"));
    let secret = read_secret(values, "oidc-client-secret")?;
    match (issuer.text.as_str(), client_id.text.as_str()) {
        ("", "") => match secret {
            Some((_, value)) => Err(wrong(value, "oidc-issuer and oidc-client-id beside it")),
            None => Ok(None),
        },
        ("", _) => Err(wrong(client_id, "oidc-issuer beside it")),
        (_, "") => Err(wrong(issuer, "oidc-client-id beside it")),
        (text, id) if is_issuer(text) => Ok(Some(OidcOptions {
            issuer: text.to_owned(),
            client_id: id.to_owned(),
            client_secret: secret.map(|(secret, _)| secret),
        })),
        _ => Err(wrong(issuer, "https, or http to this machine, without user, query and fragment")),
    }
}

fn is_issuer(text: &str) -> bool {
    base_url(text).is_some_and(|url| url.query().is_none() && url.fragment().is_none())
}
