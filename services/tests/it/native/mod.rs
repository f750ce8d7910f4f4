//! The native protocol from outside: frames over plain sockets and QUIC against a running shop.

mod access;
mod bad_input;
mod bounds;
mod broken;
mod deadlines;
mod drivers;
mod ends;
mod examples;
mod groups;
mod limits;
mod lines;
mod nodes;
mod peer;
mod products;
mod quic;
mod quic_limits;
mod quic_peer;
mod quic_streams;
mod sale;
mod subscriptions;
mod tls;
