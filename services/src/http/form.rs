//! Fields of forms and queries (`application/x-www-form-urlencoded`): bounded, and each name once.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;

use super::json::{BODY_BYTES_MAX, read_as};
use crate::field::FieldError;
use crate::status::Rejection;

/// Most fields of a form or a query.
const FIELDS_MAX: usize = 64;

/// Names and values in their order, decoded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

/// A request's body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Form(pub Fields);

/// A request's query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query(pub Fields);

impl Fields {
    /// Reads what a browser or a client wrote.
    pub fn parse(bytes: &[u8]) -> Result<Self, FieldError> {
        let pairs =
            form_urlencoded::parse(bytes).map(|(name, value)| (name.into_owned(), value.into_owned()));
        let fields: Vec<(String, String)> = pairs.take(FIELDS_MAX + 1).collect();
        match fields.len() > FIELDS_MAX {
            true => Err(FieldError::invalid("form", format!("at most {FIELDS_MAX} fields"), "more")),
            false => Ok(Self(fields)),
        }
    }

    /// The value of a name; empty counts as none (RFC 6749, 3.1). Twice is an error: who reads it next
    /// may take the other one.
    pub fn one(&self, name: &str) -> Result<Option<&str>, FieldError> {
        let mut found = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let first = found.next();
        match found.next() {
            Some(_) => Err(FieldError::invalid(name, "one value", "several")),
            None => Ok(first.filter(|value| !value.is_empty())),
        }
    }

    /// A value that must be there.
    pub fn need(&self, name: &str) -> Result<&str, FieldError> {
        let missing = || FieldError::invalid(name, "a value", "none").because("MISSING_FIELD");
        self.one(name)?.ok_or_else(missing)
    }
}

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = Rejection;

    async fn from_request(request: Request, _: &S) -> Result<Self, Rejection> {
        let bytes = read_as("application/x-www-form-urlencoded", request, BODY_BYTES_MAX).await?;
        Ok(Self(Fields::parse(&bytes)?))
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(Self(Fields::parse(parts.uri.query().unwrap_or_default().as_bytes())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_value_or_none() {
        let fields = Fields::parse(b"a=1&b=&c=x%20y+z&d=1&d=2&%64=3").unwrap();
        assert_eq!(fields.one("a").unwrap(), Some("1"));
        assert_eq!((fields.one("b").unwrap(), fields.one("none").unwrap()), (None, None));
        assert_eq!(fields.one("c").unwrap(), Some("x y z"));
        assert_eq!(fields.one("d").unwrap_err().path, "d");
        assert_eq!(fields.need("b").unwrap_err().reason, "MISSING_FIELD");
        assert!(Fields::parse("a=1&".repeat(FIELDS_MAX + 1).as_bytes()).is_err());
    }
}
