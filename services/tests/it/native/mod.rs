//! The native protocol from outside: frames over plain sockets against a running shop.

mod access;
mod bad_input;
mod ends;
mod limits;
mod lines;
mod peer;
mod sale;
