//! Which client calls: by its secret in one of two places, or by its name if it has none.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::{self, Client};
use super::refused::Refused;
use crate::backend::Backend;
use crate::http::Fields;
use crate::user::session;

/// What a secret is compared with where there is none, so that it takes as long.
const NOBODY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The client that calls.
pub(super) async fn client(
    backend: &Backend,
    headers: &HeaderMap,
    fields: &Fields,
) -> Result<Client, Refused> {
    let (id, secret) = credentials(headers, fields)?;
    let found = client::find(backend, &id).await?;
    let expected = found.as_ref().and_then(|client| client.secret_hash.as_deref());
    let given = secret.as_deref().map(|secret| session::hash(secret.as_bytes()));
    let same = session::same(expected.unwrap_or(NOBODY), given.as_deref().unwrap_or_default());
    let public = expected.is_none() && secret.is_none();
    match found {
        Some(client) if public || (same && expected.is_some()) => Ok(client),
        _ => Err(Refused::new("invalid_client", "expected a client with its own secret, found another")),
    }
}

/// Id and secret as the client wrote them: in a header or in the form, not in both.
fn credentials(headers: &HeaderMap, fields: &Fields) -> Result<(String, Option<String>), Refused> {
    let (id, secret) = (fields.one("client_id")?, fields.one("client_secret")?);
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        let id =
            id.ok_or_else(|| Refused::new("invalid_client", "client_id: expected a client, found none"))?;
        return Ok((id.to_owned(), secret.map(str::to_owned)));
    };
    let wrong =
        || Refused::new("invalid_client", "Authorization: expected it once, with Basic, id and secret");
    let text = value.to_str().ok().filter(|_| values.next().is_none()).ok_or_else(wrong)?;
    let (scheme, encoded) = text.split_once(' ').ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong());
    }
    let bytes = STANDARD.decode(encoded.trim()).map_err(|_| wrong())?;
    let pair = String::from_utf8(bytes).map_err(|_| wrong())?;
    let (of_header, its_secret) = pair.split_once(':').ok_or_else(wrong)?;
    let (of_header, its_secret) = (decoded(of_header), decoded(its_secret));
    if secret.is_some() || id.is_some_and(|id| id != of_header) {
        return Err(Refused::new("invalid_request", "expected one way to say who calls, found two"));
    }
    Ok((of_header, Some(its_secret).filter(|secret| !secret.is_empty())))
}

/// Id and secret are encoded as in forms before they are joined (RFC 6749, 2.3.1).
fn decoded(text: &str) -> String {
    let text = format!("v={text}");
    form_urlencoded::parse(text.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
