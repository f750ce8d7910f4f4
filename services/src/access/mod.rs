//! Who calls and what they may do: roles and their permissions, scopes of grants, the table of calls,
//! access tokens and the keys that sign them. One check for HTTP and gRPC.

mod bearer;
mod call;
mod caller;
mod claims;
mod gate;
mod keyring;
mod role;
mod scope;
mod standing;
mod verified;

pub use bearer::Bearer;
pub(crate) use bearer::unauthenticated;
pub use call::{Call, Need};
pub use caller::{Admitted, Caller, Identity};
pub use claims::{ACCESS_TOKEN_S, Claims, Delegation};
pub use gate::{Access, Gate};
use keyring::LEEWAY_S;
pub(crate) use keyring::now_s;
pub use keyring::{KeyError, Keyring, TOKEN_BYTES_MAX};
pub use role::{Permission, Role, Roles};
pub use scope::{Scope, ScopeError, Scopes};
pub(crate) use standing::Standing;
