//! Why a bench could not be run.

use std::error::Error;
use std::fmt;

/// What went wrong, as it is printed: nobody acts on it.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A measurement that would say something else than it claims.
    pub fn unexpected(expected: impl fmt::Display, found: impl fmt::Debug) -> Self {
        Self(format!("expected {expected}, found {found:?}"))
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
