//! What a shard keeps in memory: stock, rows with deadlines, and what it remembers by hash.
//!
//! *Invariant*: nothing here iterates in hash order where the result could be seen outside.

mod chunks;
mod hash;
mod places;
mod remembered;
mod rows;
mod stock;
mod wheel;

pub use hash::{FixedState, hash_of};
pub use places::{Places, Spans};
pub use remembered::{Memory, Remembered};
pub use rows::{ByRecord, Entry, RowKey, RowTable};
pub use stock::StockTable;
pub use wheel::Wheel;
