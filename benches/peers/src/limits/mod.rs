//! What the machine and the libraries allow at all: a durable write, an echo over loopback, a bare call of tonic.

mod bare;
mod echo;
mod write;

pub(crate) use bare::{calls, measure as bare, role as bare_role};
pub(crate) use echo::{Case as EchoCase, measure as echo, role as echo_role};
pub(crate) use write::measure as write;
