//! An engine in another process: what is asked of it and answered, who serves it, who asks.
//!
//! `onrush.engine.v1.EngineService` carries archived [`Question`]s and [`Answer`]s of one release, many
//! at a time over one stream, and a shard's committed batches as its log has them. Whoever has the
//! token may do anything that the engine can, so it is served only where there is one.

mod address;
mod feed;
mod message;
mod questioner;
mod server;
mod session;
mod silence;
mod token;

#[cfg(test)]
mod tests;

pub use address::EngineAddress;
pub use feed::RemoteFeed;
pub use message::{Answer, Question};
pub use questioner::{Remote, RemoteError};
pub(crate) use server::EngineServer;
pub use token::EngineToken;

/// Both ends must be of it: archives of two releases may differ. Behind the release stands a number that
/// goes up whenever what is archived changes in between.
const RELEASE: &str = concat!(env!("CARGO_PKG_VERSION"), "+2");
/// Questions that one session may have open.
const OPEN_MAX: usize = 4_096;
/// Most bytes of one message: a batch of the log, or a page of documents.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Where the token stands.
const TOKEN_HEADER: &str = "x-onrush-engine-token";
