//! The native protocol (`docs/wire.md`) as a client speaks it.

mod client;
mod conversation;
mod dialogue;
#[cfg(test)]
mod dialogue_tests;
mod follow;
mod link;
mod links;
mod stream;
mod subscription;
mod wire;

pub use client::{Native, NativeOptions};
pub use dialogue::{Dialogue, DialogueError, Heard, NotAsked, Question};
pub use stream::{Stream, Transport};
pub use subscription::Subscription;
