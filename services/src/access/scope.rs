//! Scopes: what a user lets somebody else's program do in their name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most bytes of a list of scopes.
const TEXT_BYTES_MAX: usize = 256;

/// What a token that a user granted may be used for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// Learn who the user is.
    Openid,
    /// Learn what they are called.
    Profile,
    /// Learn their address.
    Email,
    /// Go on when the user is away: gives a refresh token.
    OfflineAccess,
    /// See their orders, payments, parcels and addresses.
    ReadOrders,
    /// Order, pay, call off, write down addresses for them.
    WriteOrders,
    /// Change products and stock and see its books, as far as the user's roles permit.
    WriteCatalogue,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 7] = [
        Self::Openid,
        Self::Profile,
        Self::Email,
        Self::OfflineAccess,
        Self::ReadOrders,
        Self::WriteOrders,
        Self::WriteCatalogue,
    ];

    /// The name in requests and tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Openid => "openid",
            Self::Profile => "profile",
            Self::Email => "email",
            Self::OfflineAccess => "offline_access",
            Self::ReadOrders => "orders.read",
            Self::WriteOrders => "orders.write",
            Self::WriteCatalogue => "catalogue.write",
        }
    }

    /// What a user is asked to allow.
    pub fn wish(self) -> &'static str {
        match self {
            Self::Openid => "know that it is you",
            Self::Profile => "know your name and language",
            Self::Email => "know your e-mail address",
            Self::OfflineAccess => "go on while you are away",
            Self::ReadOrders => "see your orders, payments, parcels and addresses",
            Self::WriteOrders => "order, pay, call off and address parcels in your name",
            Self::WriteCatalogue => "change products and stock and see the books of stock, as far as you may",
        }
    }
}

/// A set of scopes; as text, their names with a space between.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scopes(u8);

/// A text that is no list of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected known scopes with a space between")]
pub struct ScopeError;

impl Scopes {
    /// The same with one more.
    pub fn with(self, scope: Scope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    /// True if the scope is among them.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// True if all of `others` are among them.
    pub fn cover(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those that are there, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// True if there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Scopes {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ScopeError);
        }
        let known = |name: &str| Scope::ALL.into_iter().find(|scope| scope.name() == name).ok_or(ScopeError);
        let names = text.split(' ').filter(|name| !name.is_empty());
        names.map(known).try_fold(Self::default(), |scopes, scope| Ok(scopes.with(scope?)))
    }
}

impl TryFrom<String> for Scopes {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> Self {
        scopes.to_string()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Scope::name).collect();
        f.write_str(&names.join(" "))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_back_and_unknown_names_do_not() {
        let scopes: Scopes = " email  openid email".parse().unwrap();
        assert_eq!(scopes.to_string(), "openid email");
        assert!(scopes.has(Scope::Email) && !scopes.has(Scope::ReadOrders));
        let more = scopes.with(Scope::ReadOrders);
        assert!(more.cover(scopes) && !scopes.cover(more));
        let long = "openid ".repeat(100);
        for text in ["admin", "openid admin", "openid,email", "OPENID", "openid\temail", &long] {
            assert!(text.parse::<Scopes>().is_err(), "{text}");
        }
        assert!("".parse::<Scopes>().unwrap().is_empty());
    }
}
