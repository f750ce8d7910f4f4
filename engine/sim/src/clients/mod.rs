//! Clients: what they ask, what they remember, and what they must be answered.

mod gateway;
mod oracle;
mod readers;
mod shop;
mod workload;

pub(crate) use gateway::Gateway;
pub(crate) use oracle::Oracle;
pub(crate) use readers::{HOLDING, Reader, Seen};
pub(crate) use shop::Shop;
pub(crate) use workload::Workload;
