//! Clients, one per protocol, and [`Shop`], which is one over all of them.

mod answers;
mod calls;
mod described;
pub mod grpc;
pub mod native;
mod refused;
mod retry;
pub mod session;
mod shop;
mod staleness;
mod whereabouts;

pub use described::Described;
pub use refused::{CallError, Refused};
pub use retry::Retry;
pub use shop::{Cancelled, Key, Paid, Placed, Refunded, Shop, ShopOptions, Stocked, Validated};
