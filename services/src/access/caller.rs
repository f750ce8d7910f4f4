//! Who calls.

use super::{Claims, Permission, Roles};
use crate::status::Denial;

/// A caller whose token was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The user's id.
    pub user: String,
    /// What the user was when the token was issued.
    pub roles: Roles,
    /// The login behind the token.
    pub session: String,
}

impl Caller {
    /// Refused unless one of the caller's roles permits it. Says nothing about what it is about, so
    /// that it reveals nothing.
    pub fn must(&self, permission: Permission) -> Result<(), Denial> {
        match self.roles.permit(permission) {
            true => Ok(()),
            false => Err(Denial::new("FORBIDDEN", "expected a role that permits this, found none")),
        }
    }
}

impl From<Claims> for Caller {
    fn from(claims: Claims) -> Self {
        Self { user: claims.sub, roles: claims.roles, session: claims.sid }
    }
}
