//! Who calls and what they may do: roles and their permissions, access tokens and the keys that sign
//! them. One check for HTTP and gRPC.

mod bearer;
mod caller;
mod claims;
mod keyring;
mod role;

pub use bearer::{Bearer, token_in};
pub use caller::Caller;
pub use claims::{ACCESS_TOKEN_S, Claims};
pub(crate) use keyring::now_s;
pub use keyring::{KeyError, Keyring, TOKEN_BYTES_MAX};
pub use role::{Permission, Role, Roles};
