//! Onrush: over its native protocol (TCP and QUIC) and gRPC (calls and sessions), embedded, and its log alone.

mod embedded;
mod log;
mod native;
mod server;
mod session;

pub(crate) use embedded::{GROUP, measure as embedded};
pub(crate) use log::measure as log;
pub(crate) use native::{Ask, Case as NativeCase, measure as native, measure_quic as quic};
pub(crate) use server::{Caller, grpc, how};
pub(crate) use session::{Case as SessionCase, measure as session};
