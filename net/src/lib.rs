//! Sockets and buffers: the Rust client of the services.

pub mod client;
