//! From somebody whom a provider knows to an account of ours: by their name there and by nothing else.
//!
//! An address that has an account is not enough, whoever verified it: its owner says so, with the password,
//! before anybody else's login opens it. `oidc-people/<user>` says which link an account has, and that it has none:
//! it is kept for good, so each change of it has a version, and whoever links brings the one that the owner saw.
//! `oidc-links/<hash of provider and name>` says whose account somebody's may be; it counts if the account says
//! the same.

use onrush_proto::Refusal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::flight::Owner;
use super::id_token::Person;
use crate::access::{Role, Roles, now_s};
use crate::documents::{Versioned, key};
use crate::status::{Denial, Rejection};
use crate::user::account::{self, User};
use crate::user::email::Email;
use crate::user::session::Login;
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
#[derive(PartialEq, Eq, Default, Serialize, Deserialize)]
struct Linked {
    /// `None` = none, any more.
    name: Option<String>,
    /// The version of the account's credentials when it was linked: a new password ends it, also if whoever sets
    /// one gets no further.
    credentials: u64,
}

impl Linked {
    fn is(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }
}

impl Users {
    /// The id of the account of this person, by their name: linked before, or new.
    pub(super) async fn account_of(&self, name: &str, person: &Person) -> Result<String, Rejection> {
        match self.link(name).await?.map(|found| found.value.user) {
            Some(Some(user)) if self.is_linked(&user, name).await? => return Ok(user),
            Some(_) => return Err(not_linked()),
            None => {}
        }
        let unverified = || {
            let message = "expected an e-mail address that the provider has verified, found none";
            Denial::new("EMAIL_NOT_VERIFIED", message)
        };
        let address = person.email.as_deref().filter(|_| person.email_verified).ok_or_else(unverified)?;
        let email = Email::parse("email", address)?;
        // The same for every try, so that one that ended halfway is gone on with.
        let id = Uuid::from_u128(self.backend.caller_key(COLLECTION, name).0).to_string();
        match account::id_of(&self.backend, &email).await? {
            Some(found) if found == id => {}
            // `EMAIL_TAKEN`, if it has an account.
            _ => self.make_for(&id, &email, person).await?,
        }
        // Nobody has shown a password of it, or had a link to take back.
        let owner = Owner { user: id, credentials: 0, links: 0 };
        self.tie(name, &owner, 0).await?;
        Ok(owner.user)
    }

    /// Links the person of this name to an account whose owner wants it.
    pub(super) async fn link_to(&self, owner: &Owner, name: &str) -> Result<(), Rejection> {
        let (found, version) = match self.link(name).await? {
            Some(found) => (found.value.user, found.version),
            None => (None, 0),
        };
        match found {
            Some(other) if other != owner.user && self.is_linked(&other, name).await? => {
                Err(linked("expected a login without an account, found one of another account"))
            }
            _ => self.tie(name, owner, version).await,
        }
    }

    /// A login that rests on a link. If that was taken back meanwhile, and all logins ended, this one ends as well.
    pub(super) async fn still_linked(&self, name: &str, login: Login) -> Result<Login, Rejection> {
        if self.is_linked(&login.user, name).await? {
            return Ok(login);
        }
        session::end_named(&self.backend, &login.user, &login.session).await?;
        Err(not_linked())
    }

    /// The version of what is on record of an account's link.
    pub(super) async fn links(&self, user: &str) -> Result<u64, Rejection> {
        Ok(self.linked(user).await?.1)
    }

    /// Takes an account's link back, if it has one, and stops one that is being made.
    pub(in crate::user) async fn unlink(&self, user: &str) -> Result<(), Rejection> {
        for _ in 0..TRIES {
            match self.unlink_as_it_stands(user).await {
                // Somebody takes it back, or links, at the same time.
                Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
                done => return done,
            }
        }
        Err(Refusal::Overloaded.into())
    }

    async fn unlink_as_it_stands(&self, user: &str) -> Result<(), Rejection> {
        let (found, version) = self.linked(user).await?;
        if let Some(name) = &found.name {
            // Also one that is not written yet: whoever is about to finds this.
            let (of, link_version) = match self.link(name).await? {
                Some(link) => (link.value.user, link.version),
                None => (Some(user.to_owned()), 0),
            };
            if of.as_deref() == Some(user) {
                let none = Link { user: None };
                self.backend.put_document(key(COLLECTION, name)?, &none, link_version, None).await?;
            }
        }
        self.backend.put_document(key(BY_USER, user)?, &Linked::default(), version, None).await?;
        Ok(())
    }

    async fn link(&self, name: &str) -> Result<Option<Versioned<Link>>, Rejection> {
        self.backend.document(key(COLLECTION, name)?).await
    }

    /// What is on record of an account's link, with its version.
    async fn linked(&self, user: &str) -> Result<(Linked, u64), Rejection> {
        let found: Option<Versioned<Linked>> = self.backend.document(key(BY_USER, user)?).await?;
        Ok(found.map_or((Linked::default(), 0), |found| (found.value, found.version)))
    }

    /// True if an account says of this name that it is its link, under the password of now.
    async fn is_linked(&self, user: &str, name: &str) -> Result<bool, Rejection> {
        let (found, _) = self.linked(user).await?;
        Ok(found.is(name) && self.is_current(user, &found).await?)
    }

    async fn is_current(&self, user: &str, found: &Linked) -> Result<bool, Rejection> {
        let now = account::credentials(&self.backend, user).await?;
        Ok(found.credentials == now.map_or(0, |now| now.version))
    }

    /// Writes a link down, the name's part of which has this version. The account says which one before the link
    /// says whose.
    async fn tie(&self, name: &str, owner: &Owner, version: u64) -> Result<(), Rejection> {
        let wanted = Linked { name: Some(name.to_owned()), credentials: owner.credentials };
        let (found, links) = self.linked(&owner.user).await?;
        // Two at once want the same, or one that ended halfway is gone on with.
        if found != wanted {
            if found.name.is_some() && !found.is(name) && self.is_current(&owner.user, &found).await? {
                return Err(linked("expected an account without a linked login, found one that has another"));
            }
            if links != owner.links {
                return Err(changed());
            }
            match self.backend.put_document(key(BY_USER, &owner.user)?, &wanted, links, None).await {
                Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => return Err(changed()),
                done => drop(done?),
            }
        }
        let link = Link { user: Some(owner.user.clone()) };
        match self.backend.put_document(key(COLLECTION, name)?, &link, version, None).await {
            Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {
                match self.link(name).await?.and_then(|found| found.value.user) {
                    Some(found) if found == owner.user => Ok(()),
                    Some(_) => {
                        Err(linked("expected a login that nobody links meanwhile, found one that is linked"))
                    }
                    None => Err(changed()),
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
pub(super) fn name(issuer: &str, person: &Person) -> String {
    session::hash(format!("{issuer}\n{}", person.sub).as_bytes())
}

fn not_linked() -> Rejection {
    let message = "expected an account that the login is linked to, found one that took it back";
    Denial::new("LOGIN_NOT_LINKED", message).into()
}

/// What the owner wanted is not what the account says now.
fn changed() -> Rejection {
    let message = "expected the account as its owner saw it, found its link changed meanwhile";
    Denial::new("LOGIN_REFUSED", message).into()
}

fn linked(message: &str) -> Rejection {
    Denial::new("LOGIN_LINKED", message).into()
}
