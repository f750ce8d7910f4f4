//! Where callers are looked at: from headers to somebody who may make a call.

use std::sync::Arc;

use axum::http::HeaderMap;

use super::bearer::token_of;
use super::verified::{Span, Verified};
use super::{
    Admitted, Call, Caller, Claims, Identity, KeyError, Keyring, LEEWAY_S, Need, Standing, now_s,
    unauthenticated,
};
use crate::status::Denial;

/// Whether a call needs a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Where the table says so.
    Required,
    /// No call does: who brings none is the operator of this machine.
    Open,
}

/// Admits callers. What all fronts of a process share.
pub struct Gate {
    keyring: Arc<Keyring>,
    access: Access,
    verified: Verified,
}

impl Gate {
    /// Whether calls need tokens.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// A gate that believes the tokens of this key.
    pub fn new(keyring: Arc<Keyring>, access: Access) -> Result<Self, KeyError> {
        Ok(Self { keyring, access, verified: Verified::new().ok_or(KeyError::NoRandomness)? })
    }

    /// Who makes a request: the bearer of its token, or whoever comes without one. Over gRPC headers
    /// are metadata.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Option<Caller>, Denial> {
        match token_of(headers)? {
            Some(token) => Ok(Some(Caller::User(self.identity(token)?.0))),
            None if self.access == Access::Open => Ok(Some(Caller::Operator)),
            None => Ok(None),
        }
    }

    /// Who speaks on a connection that brings its token once; empty is none.
    pub(crate) fn bearer(&self, token: &str) -> Result<Standing, Denial> {
        match token {
            "" if self.access == Access::Open => Ok(Standing::new(Caller::Operator, u64::MAX)),
            "" => Err(Denial::new("UNAUTHENTICATED", "token: expected an access token, found none")),
            token => {
                let (identity, span) = self.identity(token)?;
                Ok(Standing::new(Caller::User(identity), span.to_s))
            }
        }
    }

    /// The same for a stream whose headers bring the token.
    pub(crate) fn standing(&self, headers: &HeaderMap) -> Result<Standing, Denial> {
        match token_of(headers)? {
            Some(token) => self.bearer(token),
            None if self.access == Access::Open => self.bearer(""),
            None => Err(unauthenticated()),
        }
    }

    /// The caller, if they may make this call. What may be done to which object the answer knows.
    pub fn admit(&self, headers: &HeaderMap, call: Call) -> Result<Admitted, Denial> {
        self.caller(headers)?.ok_or_else(unauthenticated)?.admitted_to(call)
    }

    /// The caller of a call that is open to visitors; `None` for one of those.
    pub fn visit(&self, headers: &HeaderMap, call: Call) -> Result<Option<Admitted>, Denial> {
        match self.caller(headers)? {
            None => Ok(None),
            Some(_) => self.admit(headers, call).map(Some),
        }
    }

    /// Who a token is of, and from when until when. The first time costs a signature, then a look-up.
    fn identity(&self, token: &str) -> Result<(Identity, Span), Denial> {
        let mark = self.verified.mark(token);
        if let Some(found) = self.verified.find(mark, now_s()) {
            return Ok(found);
        }
        let (claims, identity) = self.keyring.verify(token)?;
        let span = span(&claims);
        self.verified.put(mark, span, identity);
        Ok((identity, span))
    }
}

impl Caller {
    /// The same as somebody who may make this call. What may be done to which object the answer knows.
    pub fn admitted_to(self, call: Call) -> Result<Admitted, Denial> {
        let caller = self;
        let Self::User(user) = caller else { return Ok(Admitted::new(caller, true)) };
        granted(user, call)?;
        match call.need() {
            Need::Nothing | Need::Account => Ok(Admitted::new(caller, false)),
            // Who acts for nobody has nothing of its own: it is about others, or about nothing.
            Need::Own(permission) if user.machine => {
                user.must(permission)?;
                Ok(Admitted::new(caller, true))
            }
            // Whoever grants gives what is theirs, not what their role lets them see of others.
            Need::Own(permission) | Need::Visitor(permission) => {
                let themselves = user.scopes.is_none() || user.machine;
                Ok(Admitted::new(caller, themselves && user.roles.permit(permission)))
            }
            Need::Permission(permission) => {
                user.must(permission)?;
                Ok(Admitted::new(caller, true))
            }
        }
    }
}

/// A program that acts in a user's name, or keeps itself to scopes, makes the calls of those.
fn granted(user: Identity, call: Call) -> Result<(), Denial> {
    let Some(scopes) = user.scopes.filter(|_| call.need() != Need::Nothing) else { return Ok(()) };
    match call.scope() {
        Some(scope) if scopes.has(scope) => Ok(()),
        Some(scope) => {
            let message =
                format!("access token: expected one with the scope {}, found another", scope.name());
            Err(Denial::new("INSUFFICIENT_SCOPE", message))
        }
        None => {
            let message = "access token: expected the user's own, found one that was granted to a program";
            Err(Denial::new("INSUFFICIENT_SCOPE", message))
        }
    }
}

/// As long as the keyring believes it.
fn span(claims: &Claims) -> Span {
    Span { from_s: claims.nbf.saturating_sub(LEEWAY_S), to_s: claims.exp.saturating_add(LEEWAY_S) }
}

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;

    use super::*;
    use crate::access::{Delegation, Role, Roles, Scope, Scopes};
    use crate::config::Tokens;

    fn gate(access: Access) -> (tempfile::TempDir, Arc<Keyring>, Gate) {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::open(dir.path(), &Tokens::default()).unwrap());
        let gate = Gate::new(keyring.clone(), access).unwrap();
        (dir, keyring, gate)
    }

    fn headers(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        headers
    }

    fn claims(exp: u64) -> Claims {
        Claims {
            iss: "onrush".into(),
            aud: "onrush".into(),
            sub: "ada".into(),
            iat: 0,
            nbf: 0,
            exp,
            jti: String::new(),
            sid: String::new(),
            roles: Roles::default(),
            client_id: None,
            scope: None,
        }
    }

    #[test]
    fn who_brings_no_token_is_the_operator_or_nobody() {
        let (_dir, _, open) = gate(Access::Open);
        let none = HeaderMap::new();
        assert_eq!(open.caller(&none).unwrap(), Some(Caller::Operator));
        let (_dir, _, required) = gate(Access::Required);
        assert_eq!(required.caller(&none).unwrap(), None);
        assert_eq!(required.admit(&none, Call::CreateOrder).unwrap_err().reason, "UNAUTHENTICATED");
        for gate in [open, required] {
            assert_eq!(gate.caller(&headers("x")).unwrap_err().reason, "INVALID_TOKEN");
            assert_eq!(gate.caller(&headers("")).unwrap_err().reason, "UNAUTHENTICATED");
        }
    }

    #[test]
    fn a_token_in_the_cache_ends_as_one_that_is_not() {
        let (_dir, keyring, gate) = gate(Access::Required);
        for (left_s, good) in [(60, true), (0, true), (-60, false)] {
            let token = keyring.sign(&claims(now_s().saturating_add_signed(left_s))).unwrap();
            for _ in 0..2 {
                assert_eq!(gate.caller(&headers(&token)).is_ok(), good, "{left_s} s left");
            }
        }
        // As if the token had been believed an hour ago.
        let old = keyring.sign(&claims(now_s() - 3_000)).unwrap();
        let identity = Identity::of(&claims(0)).unwrap();
        gate.verified.put(gate.verified.mark(&old), span(&claims(now_s() - 3_000)), identity);
        let denial = gate.caller(&headers(&old)).unwrap_err();
        assert!(denial.message.contains("expired"), "{denial:?}");
    }

    #[test]
    fn a_good_token_does_not_lend_its_place_to_altered_ones() {
        let (_dir, keyring, gate) = gate(Access::Required);
        let token = keyring.issue("ada", "s", [Role::Customer].into_iter().collect()).unwrap();
        assert!(gate.caller(&headers(&token)).is_ok());
        for place in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            let refused = gate.caller(&headers(&altered)).err();
            // The last letter of a signature carries bits that nobody reads; a strict reader refuses them too.
            assert_eq!(refused.map(|denial| denial.reason), Some("INVALID_TOKEN"), "at {place}");
        }
        assert!(gate.caller(&headers(&token)).is_ok());
    }

    #[test]
    fn each_need_admits_whom_it_names() {
        let (_dir, keyring, gate) = gate(Access::Required);
        let ada: onrush_proto::CustomerId = "ada".parse().unwrap();
        let eve: onrush_proto::CustomerId = "eve".parse().unwrap();
        for call in Call::ALL {
            for role in Role::ALL {
                let token = keyring.issue("ada", "s", [role].into_iter().collect()).unwrap();
                let found = gate.admit(&headers(&token), *call);
                let found = found.map(|caller| (caller.reaches(&ada), caller.reaches(&eve)));
                let expected = match call.need() {
                    Need::Nothing | Need::Account => Ok((true, false)),
                    Need::Own(permission) | Need::Visitor(permission) => {
                        Ok((true, role.permissions().contains(&permission)))
                    }
                    Need::Permission(permission) => match role.permissions().contains(&permission) {
                        true => Ok((true, true)),
                        false => Err("FORBIDDEN"),
                    },
                };
                assert_eq!(found.map_err(|denial| denial.reason), expected, "{call:?} by {role}");
            }
        }
    }

    /// Every call by every role of a program that acts for nobody: what its roles permit over others, as the table has
    /// it for staff, and nothing of its own; under a scope no more than that.
    #[test]
    fn a_program_that_acts_for_nobody_makes_the_calls_of_its_roles() {
        let (_dir, keyring, gate) = gate(Access::Required);
        let (itself, eve) = ("c".parse().unwrap(), "eve".parse().unwrap());
        let scopes = Scope::ALL.map(|scope| Some(Scopes::default().with(scope)));
        for scopes in scopes.into_iter().chain([None]) {
            for role in Role::ALL {
                let token = keyring.issue_to_machine("c", [role].into_iter().collect(), scopes).unwrap();
                for call in Call::ALL {
                    let found = gate.admit(&headers(&token), *call);
                    let found = found.map(|caller| (caller.reaches(&itself), caller.reaches(&eve)));
                    let within =
                        scopes.is_none_or(|scopes| call.scope().is_some_and(|scope| scopes.has(scope)));
                    let permits = |permission| role.permissions().contains(&permission);
                    let expected = match call.need() {
                        Need::Nothing => Ok((true, false)),
                        _ if !within => Err("INSUFFICIENT_SCOPE"),
                        Need::Account => Ok((true, false)),
                        Need::Visitor(permission) => Ok((true, permits(permission))),
                        Need::Own(permission) | Need::Permission(permission) if permits(permission) => {
                            Ok((true, true))
                        }
                        Need::Own(_) | Need::Permission(_) => Err("FORBIDDEN"),
                    };
                    let found = found.map_err(|denial| denial.reason);
                    assert_eq!(found, expected, "{call:?} by {role} under {scopes:?}");
                }
            }
        }
    }

    /// Every call by every role under every scope: no more than the scope, and no more than the user.
    #[test]
    fn a_grant_admits_to_the_calls_of_its_scopes_and_to_what_is_the_users_own() {
        let (_dir, keyring, gate) = gate(Access::Required);
        let (ada, eve) = ("ada".parse().unwrap(), "eve".parse().unwrap());
        for scope in Scope::ALL {
            for role in Role::ALL {
                let scopes = Scopes::default().with(scope);
                let delegation = Delegation { client_id: "client".into(), scopes };
                let token = keyring.issue_to("ada", "s", [role].into_iter().collect(), delegation).unwrap();
                for call in Call::ALL {
                    let found = gate.admit(&headers(&token), *call);
                    let found = found.map(|caller| (caller.reaches(&ada), caller.reaches(&eve)));
                    let expected = match call.need() {
                        Need::Nothing => Ok((true, false)),
                        _ if call.scope() != Some(scope) => Err("INSUFFICIENT_SCOPE"),
                        Need::Permission(permission) if role.permissions().contains(&permission) => {
                            Ok((true, true))
                        }
                        Need::Permission(_) => Err("FORBIDDEN"),
                        Need::Account | Need::Own(_) | Need::Visitor(_) => Ok((true, false)),
                    };
                    let found = found.map_err(|denial| denial.reason);
                    assert_eq!(found, expected, "{call:?} by {role} under {}", scope.name());
                }
            }
        }
    }
}
