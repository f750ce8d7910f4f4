//! The segmented log: write-ahead log, what is replicated, and event stream in one.
//!
//! A log is a row of segments, a segment a row of frames, a frame a batch of records. One frame is one durable write, a run of frames that came together another. [`Log`] appends, [`LogReader`] reads,
//! [`Recovery`] says what opening found, [`VoteFile`] keeps a replica's promises beside it.

mod append;
mod begin;
mod chain;
mod frame;
mod frame_buf;
mod index;
mod options;
mod reader;
mod record;
mod recovery;
mod retention;
mod run;
mod segment;
mod segment_file;
mod supply;
mod tail;
mod truncate;
mod vote;
mod walk;
mod window;

pub use append::{AppendError, Log, LogStats};
pub use begin::{BeginError, Front};
pub use frame::{FLAG_MEMBERS, FLAG_SEAL, Frame, FrameError, FrameInfo, FrameView};
pub use frame_buf::FrameBuf;
pub use options::{LogOptions, Prepare};
pub use reader::{LogReader, ReadError};
pub use record::{RecordView, Records};
pub use recovery::{Cut, Damage, OpenError, Recovery};
pub use segment::HeaderError;
pub use truncate::TruncateError;
pub use vote::{Vote, VoteError, VoteFile};
