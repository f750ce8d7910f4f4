//! Bodies in JSON: bounded before they are read, parsed once, refused with the path of what is wrong.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_stream::StreamExt as _;

use crate::field::FieldError;
use crate::status::{Denial, Rejection};

/// Most bytes of a body.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Most bytes that are heard, and forgotten, before the connection is cut off.
const HEARD_BYTES_MAX: usize = 4 << 20;
/// Objects and lists within each other.
const DEPTH_MAX: usize = 32;
/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// A request's or an answer's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Rejection;

    async fn from_request(request: Request, _: &S) -> Result<Self, Rejection> {
        let bytes = read(request, BODY_BYTES_MAX).await?;
        parse(&bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let json = HeaderValue::from_static("application/json");
                (StatusCode::OK, [(header::CONTENT_TYPE, json)], body).into_response()
            }
            Err(error) => Rejection::Internal(format!("expected JSON, found {error}")).into_response(),
        }
    }
}

fn media_type(headers: &HeaderMap, expected: &str) -> Result<(), Denial> {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let message = format!("Content-Type: expected {expected}, found another type");
    Err(Denial::new("UNSUPPORTED_MEDIA_TYPE", message).of("Content-Type"))
}

/// The bytes of a body in JSON, at most so many.
pub(crate) async fn read(request: Request, bytes_max: usize) -> Result<Vec<u8>, Denial> {
    read_as("application/json", request, bytes_max).await
}

/// The bytes of a body of this media type, at most so many.
pub(super) async fn read_as(expected: &str, request: Request, bytes_max: usize) -> Result<Vec<u8>, Denial> {
    media_type(request.headers(), expected)?;
    let stated = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if stated.and_then(|text| text.parse::<usize>().ok()).is_some_and(|bytes| bytes > HEARD_BYTES_MAX) {
        return Err(too_large(bytes_max));
    }
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let message = "Content-Encoding: expected none, found one";
        return Err(Denial::new("UNSUPPORTED_ENCODING", message).of("Content-Encoding"));
    }
    match tokio::time::timeout(BODY_PATIENCE, collect(request.into_body(), bytes_max)).await {
        Ok(read) => read,
        Err(_) => {
            let message = format!("expected the body within {} s", BODY_PATIENCE.as_secs());
            Err(Denial::new("SLOW_REQUEST", message))
        }
    }
}

/// Keeps no more than is allowed, but hears the rest of what is a little longer: a client that is cut
/// off while it writes never reads why.
async fn collect(body: Body, bytes_max: usize) -> Result<Vec<u8>, Denial> {
    let (mut kept, mut heard, mut pieces) = (Vec::new(), 0usize, body.into_data_stream());
    while let Some(piece) = pieces.next().await {
        let piece = piece
            .map_err(|_| Denial::new("INVALID_MESSAGE", "expected a whole body, found a part of one"))?;
        heard += piece.len();
        if heard > HEARD_BYTES_MAX {
            return Err(too_large(bytes_max));
        }
        if heard <= bytes_max {
            kept.extend_from_slice(&piece);
        }
    }
    if heard > bytes_max { Err(too_large(bytes_max)) } else { Ok(kept) }
}

fn too_large(bytes_max: usize) -> Denial {
    Denial::new(
        "MESSAGE_TOO_LARGE",
        format!("expected a body of at most {bytes_max} bytes, found a longer one"),
    )
}

/// Refuses what is nested too deeply, before anything recurses.
pub(crate) fn shallow(bytes: &[u8]) -> Result<(), Denial> {
    if depth(bytes) > DEPTH_MAX {
        let message = format!("expected at most {DEPTH_MAX} levels of objects and lists, found more");
        return Err(Denial::new("MESSAGE_TOO_DEEP", message));
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Rejection> {
    shallow(bytes)?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        wrong(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| wrong(".", &error))?;
    Ok(parsed)
}

fn wrong(path: &str, error: &serde_json::Error) -> Rejection {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = message.strip_suffix(&place).unwrap_or(&message).to_owned();
    if !error.is_data() {
        return Denial::new("INVALID_MESSAGE", format!("expected JSON, found: {what}{place}")).into();
    }
    let quoted = |start: &str| what.strip_prefix(start)?.split('`').next().map(str::to_owned);
    let (leaf, reason) = match (quoted("missing field `"), quoted("unknown field `")) {
        (Some(field), _) => (Some(field), "MISSING_FIELD"),
        (_, Some(field)) => (Some(field), "UNKNOWN_FIELD"),
        _ => (quoted("duplicate field `"), "INVALID_FIELD"),
    };
    let path = match (path, leaf) {
        (".", Some(leaf)) => leaf,
        // An unknown field is in the path already, a missing one is not.
        (path, Some(leaf)) if path == leaf || path.ends_with(&format!(".{leaf}")) => path.to_owned(),
        (path, Some(leaf)) => format!("{path}.{leaf}"),
        (path, None) => path.to_owned(),
    };
    FieldError::invalid(&path, "what /openapi.json says", what).because(reason).into()
}

/// How deep a text is nested, whether or not it is JSON.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut text, mut escaped) = (0usize, 0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read into")]
    struct Parcel {
        name: String,
        sides: Vec<Side>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read into")]
    struct Side {
        length_mm: u32,
    }

    #[test]
    fn what_is_wrong_is_named_by_reason_and_path() {
        let deep = format!("{{\"name\":{}", "[".repeat(50_000));
        let table: [(&str, &str, Option<&str>); 12] = [
            (r#"{"sides":[]}"#, "MISSING_FIELD", Some("name")),
            (r#"{"name":"a","sides":[{}]}"#, "MISSING_FIELD", Some("sides[0].length_mm")),
            (r#"{"name":"a","sides":[{"length_mm":1,"x":2}]}"#, "UNKNOWN_FIELD", Some("sides[0].x")),
            (r#"{"name":"a","role":"admin","sides":[]}"#, "UNKNOWN_FIELD", Some("role")),
            (r#"{"name":1,"sides":[]}"#, "INVALID_FIELD", Some("name")),
            (r#"{"name":"a","name":"b","sides":[]}"#, "INVALID_FIELD", Some("name")),
            (r#"{"name":"a","sides":[{"length_mm":-1}]}"#, "INVALID_FIELD", Some("sides[0].length_mm")),
            (
                r#"{"name":"a","sides":[{"length_mm":99999999999}]}"#,
                "INVALID_FIELD",
                Some("sides[0].length_mm"),
            ),
            ("{", "INVALID_MESSAGE", None),
            ("", "INVALID_MESSAGE", None),
            (r#"{"name":"a","sides":[]} x"#, "INVALID_MESSAGE", None),
            (&deep, "MESSAGE_TOO_DEEP", None),
        ];
        for (text, reason, field) in table {
            let rejection = parse::<Parcel>(text.as_bytes()).unwrap_err();
            let found = (rejection.reason().name, rejection.field());
            assert_eq!(found, (reason, field.map(str::to_owned)), "{:.60}: {rejection}", text);
        }
        assert!(parse::<Parcel>(b"{\"name\":\"\xff\",\"sides\":[]}").is_err());
    }

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        for (text, expected) in [("", 0), ("[]", 1), (r#"{"a":[1,[2]]}"#, 3), (r#""[[[\"[[""#, 0), ("]][", 1)]
        {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
    }
}
