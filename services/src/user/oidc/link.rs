//! From somebody whom a provider knows to an account of ours: by their name there and by nothing else.
//!
//! An address that has an account is not enough, whoever verified it: its owner says so, with the password,
//! before anybody else's login opens it. `oidc-links/<hash of provider and name>` says whose account it is,
//! `oidc-people/<user>` which link that is, so that it can be taken back.

use onrush_proto::Refusal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::id_token::Person;
use crate::access::{Role, Roles, now_s};
use crate::documents::{Versioned, key};
use crate::status::{Denial, Rejection};
use crate::user::account::{self, User};
use crate::user::email::Email;
use crate::user::{Users, profile, session};

/// The collection of links, and how they are found by user.
const COLLECTION: &str = "oidc-links";
const BY_USER: &str = "oidc-people";
/// Tries of a compare-and-set.
const TRIES: usize = 8;

/// Whose account somebody's is.
#[derive(Serialize, Deserialize)]
struct Link {
    /// `None` if the owner took it back: it makes no account again by itself.
    user: Option<String>,
}

/// Which link an account has.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Linked {
    name: String,
}

impl Users {
    /// The id of the account of this person: linked before, or new.
    pub(super) async fn account_of(&self, issuer: &str, person: &Person) -> Result<String, Rejection> {
        let name = name(issuer, person);
        match self.link(&name).await?.map(|found| found.value.user) {
            Some(Some(user)) => return Ok(user),
            Some(None) => {
                let message = "expected an account that the login is linked to, found one that took it back";
                return Err(Denial::new("LOGIN_NOT_LINKED", message).into());
            }
            None => {}
        }
        let unverified = || {
            let message = "expected an e-mail address that the provider has verified, found none";
            Denial::new("EMAIL_NOT_VERIFIED", message)
        };
        let address = person.email.as_deref().filter(|_| person.email_verified).ok_or_else(unverified)?;
        let email = Email::parse("email", address)?;
        // The same for every try, so that one that ended halfway is gone on with.
        let id = Uuid::from_u128(self.backend.caller_key(COLLECTION, &name).0).to_string();
        match account::id_of(&self.backend, &email).await? {
            Some(found) if found == id => {}
            // `EMAIL_TAKEN`, if it has an account.
            _ => self.make_for(&id, &email, person).await?,
        }
        self.tie(&name, &id, 0).await?;
        Ok(id)
    }

    /// Links this person to an account whose owner wants it.
    pub(super) async fn link_to(&self, user: &str, issuer: &str, person: &Person) -> Result<(), Rejection> {
        let name = name(issuer, person);
        let (found, version) = match self.link(&name).await? {
            Some(found) => (found.value.user, found.version),
            None => (None, 0),
        };
        match found {
            Some(owner) if owner == user => Ok(()),
            Some(_) => Err(linked("expected a login without an account, found one of another account")),
            None => self.tie(&name, user, version).await,
        }
    }

    /// Takes an account's link back, if it has one.
    pub(in crate::user) async fn unlink(&self, user: &str) -> Result<(), Rejection> {
        for _ in 0..TRIES {
            match self.unlink_as_it_stands(user).await {
                // Somebody takes it back, or links, at the same time.
                Err(Rejection::Refused(Refusal::VersionMismatch { .. } | Refusal::NotFound)) => {}
                done => return done,
            }
        }
        Err(Refusal::Overloaded.into())
    }

    async fn unlink_as_it_stands(&self, user: &str) -> Result<(), Rejection> {
        let by_user = key(BY_USER, user)?;
        let found: Option<Versioned<Linked>> = self.backend.document(by_user).await?;
        let Some(Versioned { value: Linked { name }, version }) = found else { return Ok(()) };
        // The way in closes first: what is left if the rest fails leads nowhere.
        if let Some(link) = self.link(&name).await?
            && link.value.user.as_deref() == Some(user)
        {
            let none = Link { user: None };
            self.backend.put_document(key(COLLECTION, &name)?, &none, link.version, None).await?;
        }
        self.backend.take_document(by_user, version).await
    }

    async fn link(&self, name: &str) -> Result<Option<Versioned<Link>>, Rejection> {
        self.backend.document(key(COLLECTION, name)?).await
    }

    /// Writes a link of this version down. The account says which one before the link says whose.
    async fn tie(&self, name: &str, user: &str, version: u64) -> Result<(), Rejection> {
        let by_user = key(BY_USER, user)?;
        let wanted = Linked { name: name.to_owned() };
        match self.backend.put_document(by_user, &wanted, 0, None).await {
            Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {
                let found: Option<Versioned<Linked>> = self.backend.document(by_user).await?;
                if found.is_none_or(|found| found.value != wanted) {
                    return Err(linked(
                        "expected an account without a linked login, found one that has another",
                    ));
                }
            }
            done => drop(done?),
        }
        let link = Link { user: Some(user.to_owned()) };
        match self.backend.put_document(key(COLLECTION, name)?, &link, version, None).await {
            Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {
                let found = self.link(name).await?.and_then(|found| found.value.user);
                // Two at once want the same, or not.
                match found.as_deref() == Some(user) {
                    true => Ok(()),
                    false => {
                        Err(linked("expected a login that nobody links meanwhile, found one that is linked"))
                    }
                }
            }
            done => done.map(|_| ()),
        }
    }

    /// An account without a password: a mail's token sets one.
    async fn make_for(&self, id: &str, email: &Email, person: &Person) -> Result<(), Rejection> {
        account::claim(&self.backend, email, id).await?;
        let shown = person.name.as_deref().and_then(|name| profile::name("name", name).ok());
        let user = User {
            id: id.to_owned(),
            email: email.as_str().to_owned(),
            name: shown.unwrap_or_else(|| email.local().to_owned()),
            phone: None,
            language: None,
            roles: Roles::default().with(Role::Customer),
            created_s: now_s(),
            email_verified: true,
        };
        match account::put_user(&self.backend, &user, 0).await {
            Ok(_) | Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
            Err(rejection) => return Err(rejection),
        }
        account::confirm(&self.backend, email, id).await
    }
}

/// A person's name at one provider. Names of different providers never meet.
fn name(issuer: &str, person: &Person) -> String {
    session::hash(format!("{issuer}\n{}", person.sub).as_bytes())
}

fn linked(message: &str) -> Rejection {
    Denial::new("LOGIN_LINKED", message).into()
}
