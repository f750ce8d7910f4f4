//! Clients, one per protocol.

pub mod grpc;
mod refused;
mod retry;

pub use refused::{CallError, Refused};
pub use retry::Retry;
