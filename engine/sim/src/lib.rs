//! The simulator: one Onrush node, or a cluster (`cluster`). `docs/simulation.md` is the guide.
//!
//! Shards, logs, flushers, snapshots, recovery, published views, subscriptions and the audit are the
//! product's own; the simulator brings what is around them: the clock, disks that fail, a store that
//! loses runs, messages that take their time, clients that retry, subscribers that fall behind, a
//! gateway that repeats itself. A run is named by its seed, and every
//! run happens twice: two different traces are a failure of their own.
//!
//! # How to read a failure
//!
//! A failure is one line:
//!
//! ```text
//! seed 17 commit 3f2a shards 2 events 6000 event 812: units: expected ..., got ...; replay: cargo run ...
//! ```
//!
//! `units` is the file under `src/invariants/` whose text says what must hold; `expected` and `got`
//! name the record (kind, position, shard) at which it broke. The command behind `replay:` runs the
//! same events again. With `--verbose` it prints each event with its number and the microseconds of
//! simulated time: read upwards from the end. Fewer `--events` than the failing event's number run
//! the same prefix and then the ending, which often shows the same bug in a quieter place. `--shrink`
//! looks for the smallest run that breaks the same invariant: it leaves out events, kinds of fault,
//! shards, clients and SKUs, and prints the command that is left.
//!
//! A record is judged when it is durable, which is a few events after it was decided. A violation of
//! `replay` after a restart tells that memory, store and log disagree; `durable` that an answer left
//! before what it rests on; `oracle` that a client was told two different things; `liveness` that
//! something never ended once faults and load were over; `trace` that the product did something that
//! does not follow from its inputs.
//!
//! # What it can miss
//!
//! The loop that turns a shard is the simulator's own, so threads, doors,
//! inboxes, reply queues and the admission that waits for a lagging store are not here; nor is the
//! store on disk, for which `MemoryStore` stands: it loses whole runs, never a part of one. A consumer
//! that keeps its position elsewhere and was ahead of a lost tail is put back by hand.

mod clients;
mod cluster;
mod dice;
mod failed;
mod faults;
mod invariants;
mod mirror;
mod node;
mod options;
mod plan;
mod planted;
mod report;
mod run;
mod shrink;
mod trace;
mod world;

pub use failed::{FAILED, Failed};
pub use faults::{Fault, FaultSet};
pub use options::{Bank, Call, RunOptions, USAGE};
pub use planted::{BANK, Bug, Planted, SEEDS_MAX};
pub use report::{Failure, Violation};
pub use run::{Passed, run_seed};
pub use shrink::shrink;
