//! The services from outside: a real server on free ports, real clients, and the real binary.

#![allow(
    clippy::unwrap_used,
    clippy::type_complexity,
    reason = "a test that cannot go on says so by a panic"
)]

mod access;
mod admin;
mod aggregator;
mod away;
mod bad_input;
mod binary;
mod carrier;
mod clients;
mod cluster;
mod cluster_commands;
mod cluster_events;
mod collector;
mod documents;
mod events;
mod gateway;
mod health;
mod json;
mod learned;
mod logs;
mod metrics;
mod ml;
mod model;
mod money;
mod native;
mod nodes;
mod notification;
mod orders;
mod payments;
mod processes;
mod products;
mod push;
mod recommendation;
mod session;
mod settings;
mod shipping;
mod shop;
mod smtp;
mod surface;
mod texts;
mod traces;
mod training;
mod turns;
mod twilio;
mod users;
mod wait;
mod wire;
