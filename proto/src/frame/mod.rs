//! Frames of the native protocol: what programs and the shop say to each other over TCP and QUIC.
//!
//! `docs/wire.md` has every byte. A connection is a stream of frames in both directions. A frame is a
//! header of 16 bytes and a body of entries; all numbers are little-endian, all lengths multiples of
//! eight. Frames come from strangers: nothing is believed before its length and its checksum are looked
//! at, nothing is allocated by what a frame says of itself, and what is read is read in place.
//!
//! Two kinds of fault are told apart. A frame that is broken ends the connection with an [`ErrorFrame`]
//! ([`FrameError`] says why). An entry that is whole and says something that is never right is refused
//! by itself, as [`Refusal::Invalid`](crate::Refusal::Invalid), and the rest of its frame goes on.

mod command;
mod error;
mod header;
mod hello;
mod node;
mod number;
mod order;
mod outcome;
mod product;
mod records;
mod refusal;
mod subscribe;
mod text;
mod validate;

pub use command::{CommandEntry, Commands, Operation, put_command};
pub use error::{ErrorCode, ErrorFrame};
pub use header::{FRAME_BYTES_MAX, Frame, FrameError, HEADER_BYTES, Kind, Open, begin};
pub use hello::{Hello, Welcome};
pub use node::{ADDRESS_BYTES_MAX, Cluster, NODES_MAX, Node};
pub use outcome::{Answer, OutcomeEntry, Outcomes, Rejected, put_rejected, put_reply};
pub use product::{
    DETAILS_MAX, DetailsView, NoProduct, ProductEntry, ProductStock, Products, put_no_product, put_product,
    put_sku,
};
pub use records::{Record, Records, RecordsFrame};
pub use subscribe::{Grant, Start, Subscribe, SubscribeView, Unsubscribe};
pub use text::WireText;
pub use validate::{LineView, ValidateView, Verdict, Verdicts, put_line, put_verdict};

/// The oldest version of the protocol that is spoken here.
pub const VERSION_MIN: u16 = 1;
/// The newest one.
pub const VERSION_MAX: u16 = 1;

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod document;
#[cfg(test)]
mod tests;
