//! Onrush: over its native protocol and gRPC, embedded, and its log alone.

mod embedded;
mod log;
mod native;
mod server;

pub(crate) use embedded::{GROUP, measure as embedded};
pub(crate) use log::measure as log;
pub(crate) use native::{Ask, Case as NativeCase, measure as native};
pub(crate) use server::{Caller, grpc, how};
