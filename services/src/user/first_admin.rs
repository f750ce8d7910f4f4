//! The first admin: named by the operator, made when the process starts.

use onrush_proto::Refusal;

use super::Users;
use super::account::{self, User};
use super::email::Email;
use super::password::Password;
use crate::access::Role;
use crate::config::FirstAdmin;
use crate::status::Rejection;

/// A first admin that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdminError {
    /// Somebody registered the address before, so who that is cannot be known.
    #[error(
        "ADMIN_EMAIL: expected {0} to have no account or the password of ADMIN_PASSWORD, found another account; \
         it was not made an admin"
    )]
    Foreign(Email),
    /// The account could not be made.
    #[error("ADMIN_EMAIL: expected to make the account, found: {0}")]
    Refused(Rejection),
}

impl From<Rejection> for FirstAdminError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

/// Makes sure that the account of the first admin is there. Who is an admin already stays one,
/// whatever the password has become since.
pub async fn ensure_first_admin(users: &Users, admin: &FirstAdmin) -> Result<(), FirstAdminError> {
    let FirstAdmin { email, password } = admin;
    let id = match account::id_of(&users.backend, email).await? {
        Some(id) => id,
        None => {
            let password =
                Password::new("ADMIN_PASSWORD", password.expose(), email).map_err(Rejection::from)?;
            users.make_new(email.clone(), email.local().to_owned(), password).await?.0.id
        }
    };
    let found = account::user(&users.backend, &id).await?;
    if found.value.roles.has(Role::Admin) {
        return Ok(());
    }
    let password = Password::given("ADMIN_PASSWORD", password.expose()).map_err(Rejection::from)?;
    let hash = account::credentials(&users.backend, &id).await?.map(|found| found.value.password_hash);
    if !users.desk.hashing.verify(password, hash).await? {
        return Err(FirstAdminError::Foreign(email.clone()));
    }
    // The operator's word for the address.
    let user = User { roles: found.value.roles.with(Role::Admin), email_verified: true, ..found.value };
    match account::put_user(&users.backend, &user, found.version).await {
        Ok(_) => Ok(()),
        Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {
            Err(Rejection::Internal("the account changed meanwhile; start again".into()).into())
        }
        Err(rejection) => Err(rejection.into()),
    }
}
