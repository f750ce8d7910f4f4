//! Who calls, and whose affairs they may touch.

use onrush_proto::CustomerId;

use super::{Claims, Permission, Roles, Scopes};
use crate::field::{self, FieldError};
use crate::status::{Denial, Rejection};

/// A user, or a program that acts for nobody, whose token was verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The user's id, the `customer_id` of what is theirs; of a program that acts for nobody, its own.
    pub user: CustomerId,
    /// What the user or program was when the token was issued.
    pub roles: Roles,
    /// What a program of somebody else's may do in the user's name; `None`: it is the user. What a program that acts
    /// for nobody keeps itself to; `None`: to its roles.
    pub scopes: Option<Scopes>,
    /// True for a program that acts for nobody: nothing is its own.
    pub machine: bool,
}

/// Somebody who calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Somebody at this machine, while no token is asked for.
    Operator,
    /// A user.
    User(Identity),
}

/// A caller who may make a call, and whose affairs they may touch by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admitted {
    caller: Caller,
    /// True if other people's affairs are theirs to touch.
    others: bool,
}

impl Identity {
    /// What claims say; `None` if their subject can be nobody's id: the operator's name is empty, and
    /// what works in this process under a name of its own has a control character in it. A program and
    /// its scopes come together or not at all, unless the program is the subject: no user has an id like that.
    pub fn of(claims: &Claims) -> Option<Self> {
        if claims.sub.is_empty() || claims.sub.contains(char::is_control) {
            return None;
        }
        let user = CustomerId::new(&claims.sub).ok()?;
        let (roles, scopes) = (claims.roles, claims.scope);
        let machine = claims.client_id.as_ref().is_some_and(|client| *client == claims.sub);
        let whole = machine || claims.client_id.is_some() == scopes.is_some();
        whole.then_some(Self { user, roles, scopes, machine })
    }

    /// Refused unless one of the roles permits it. Says nothing about what it is about, so that it
    /// reveals nothing.
    pub fn must(&self, permission: Permission) -> Result<(), Denial> {
        match self.roles.permit(permission) {
            true => Ok(()),
            false => Err(Denial::new("FORBIDDEN", "expected a role that permits this, found none")),
        }
    }
}

impl Admitted {
    pub(super) fn new(caller: Caller, others: bool) -> Self {
        Self { caller, others }
    }

    /// The caller as idempotency keys know them. No user has the operator's.
    pub fn name(&self) -> &str {
        match &self.caller {
            Caller::Operator => "",
            Caller::User(user) => user.user.as_str(),
        }
    }

    /// True if other people's affairs are theirs to touch.
    pub fn reaches_all(&self) -> bool {
        self.others
    }

    /// True if a customer's affairs are theirs to touch.
    pub fn reaches(&self, customer: &CustomerId) -> bool {
        self.others || matches!(self.caller, Caller::User(user) if user.user == *customer)
    }

    /// The same for a customer as documents have them.
    pub fn reaches_named(&self, customer: &str) -> bool {
        self.others || matches!(self.caller, Caller::User(user) if user.user.as_str() == customer)
    }

    /// Whom a request is about: the caller, unless it names somebody. Customers name nobody else,
    /// whether or not there is such a customer.
    pub fn customer(&self, named: &str) -> Result<CustomerId, Rejection> {
        let customer = self.named(named)?;
        match self.reaches(&customer) {
            true => Ok(customer),
            false => {
                let message = "customer_id: expected the caller's own id or none, found another one";
                Err(Denial::new("FORBIDDEN", message).of("customer_id").into())
            }
        }
    }

    /// The same where the answer about somebody else is that there is nothing.
    pub fn named(&self, named: &str) -> Result<CustomerId, FieldError> {
        match self.caller {
            Caller::User(user) if named.is_empty() && !user.machine => Ok(user.user),
            _ => field::name("customer_id", named),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn user(id: &str) -> Caller {
        let roles = [Role::Customer].into_iter().collect();
        Caller::User(Identity { user: id.parse().unwrap(), roles, scopes: None, machine: false })
    }

    fn machine(id: &str) -> Caller {
        let roles = [Role::Support].into_iter().collect();
        Caller::User(Identity { user: id.parse().unwrap(), roles, scopes: None, machine: true })
    }

    #[test]
    fn customers_name_themselves_and_staff_anybody() {
        let table = [
            (user("ada"), false, "", Ok("ada")),
            (user("ada"), false, "ada", Ok("ada")),
            (user("ada"), false, "bob", Err("FORBIDDEN")),
            (user("ada"), true, "bob", Ok("bob")),
            (user("ada"), true, "", Ok("ada")),
            (Caller::Operator, true, "bob", Ok("bob")),
            (Caller::Operator, true, "", Err("MISSING_FIELD")),
            (machine("m"), true, "bob", Ok("bob")),
            (machine("m"), true, "", Err("MISSING_FIELD")),
        ];
        for (caller, others, named, expected) in table {
            let found = Admitted::new(caller, others).customer(named);
            let found = found.as_ref().map(|id| id.as_str()).map_err(|error| error.reason().name);
            assert_eq!(found, expected, "{caller:?} names {named:?}");
        }
    }

    #[test]
    fn nobody_has_the_name_of_the_operator_or_of_a_worker() {
        let claims = |sub: &str| Claims {
            iss: String::new(),
            aud: String::new(),
            sub: sub.into(),
            iat: 0,
            nbf: 0,
            exp: 0,
            jti: String::new(),
            sid: String::new(),
            roles: Roles::default(),
            client_id: None,
            scope: None,
        };
        let operator = Admitted::new(Caller::Operator, true);
        assert!(Identity::of(&claims(operator.name())).is_none());
        for nobody in ["x".repeat(40).as_str(), "\0gateway", "a\nb"] {
            assert!(Identity::of(&claims(nobody)).is_none(), "{nobody:?}");
        }
        assert_eq!(Identity::of(&claims("ada")).unwrap().user.as_str(), "ada");
        // A program without scopes, and scopes of no program.
        assert!(Identity::of(&Claims { client_id: Some("c".into()), ..claims("ada") }).is_none());
        assert!(Identity::of(&Claims { scope: Some(Scopes::default()), ..claims("ada") }).is_none());
        // A program is nobody's but its own if it is the subject.
        for (sub, client, machine) in
            [("ada", None, false), ("c", Some("c"), true), ("ada", Some("c"), false)]
        {
            let client_id = client.map(str::to_owned);
            let scope = client.map(|_| Scopes::default());
            let found = Identity::of(&Claims { client_id, scope, ..claims(sub) }).unwrap();
            assert_eq!(found.machine, machine, "{sub} {client:?}");
        }
    }
}
