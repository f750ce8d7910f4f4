//! From log to store: committed frames become sorted runs.
//!
//! A row in the log is the row in the store, so the flusher copies bytes; the shard does nothing
//! for it. *Invariant*: a run holds the values as of one frame's end, and only committed frames.

mod absorb;
mod index;
mod keys;
mod overlay;
mod pages;
mod retention;
mod stored;

pub use absorb::{Absorber, Flush};
pub use index::KeyNames;
pub use keys::StoreKey;
pub use pages::PageError;
pub use stored::{Checkpoint, Stored, StoredError};
