//! What an access token says.

use serde::{Deserialize, Serialize};

use super::{Roles, Scopes};

/// How long an access token is good, in seconds.
pub const ACCESS_TOKEN_S: u64 = 15 * 60;

/// The claims of an access token (RFC 9068 where it has a name for it).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// The user's id; of a program that acts for nobody, its own.
    pub sub: String,
    /// When it was issued, in Unix seconds.
    pub iat: u64,
    /// From when it is good, in Unix seconds.
    pub nbf: u64,
    /// Until when it is good, in Unix seconds.
    pub exp: u64,
    /// Its own id.
    pub jti: String,
    /// The login that it belongs to; empty if none.
    pub sid: String,
    /// What the user was to the shop when it was issued.
    pub roles: Roles,
    /// Whose program uses it; `None`: the user themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What that program may use it for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scopes>,
}

/// Whose program acts in a user's name, and for what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delegation {
    /// The client.
    pub client_id: String,
    /// What it was granted.
    pub scopes: Scopes,
}
