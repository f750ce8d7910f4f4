//! The services of a shop: thin handlers on the engine, their gRPC edge, and the process that
//! serves them.
//!
//! A handler parses its request once ([`field`]), asks the engine through a [`backend::Backend`],
//! and answers; what is refused becomes a status or an HTTP problem by one table ([`reason`]). No service imports
//! another: they meet in the engine and in its log.

pub mod access;
pub mod admin;
pub mod backend;
mod base_url;
mod breaker;
pub mod cli;
mod clock;
mod cluster;
pub mod config;
mod consumer;
mod correlation;
pub mod deadline;
mod dice;
pub mod documents;
pub mod events;
pub mod field;
pub mod gateway;
pub mod http;
pub mod logging;
mod metrics;
pub mod model;
mod native;
pub mod nodes;
pub mod notification;
pub mod order;
pub mod page;
pub mod pairs;
pub mod payment;
mod priority;
pub mod product;
mod protobuf;
pub mod reason;
pub mod recommendation;
mod records;
pub mod remote;
pub mod retail;
mod retry;
pub mod serve;
mod session;
pub mod settlements;
pub mod shipping;
mod staleness;
pub mod status;
pub mod traces;
mod transcoding;
mod unary;
mod unread;
pub mod user;
