//! The replicated log: what a quorum has on disk is what happened.
//!
//! One group per shard, one entry per batch: an [`Entry`] is the frame that the log writes. [`Raft`] decides which
//! entries are committed; it has no clock, no thread, no socket and no randomness but a seed's, so that the
//! simulator runs it as the product does.

mod election;
mod entry;
mod entry_log;
mod files;
mod following;
mod freshness;
mod group_record;
mod leading;
mod members;
mod message;
mod offices;
mod progress;
mod raft;
mod replica;
mod settled;
mod transfer;
mod wire;

pub use entry::{Entry, Position};
pub use entry_log::{EntryError, EntryLog};
pub use files::{Applied, MemberFiles, MemberOpenError, MemberWriteError};
pub(crate) use group_record::GROUP_COLLECTION;
pub use group_record::{
    GROUP_KEY, GroupRecordError, StoredGroupError, found, group_fact, group_key, stored_group,
};
pub use members::{MEMBERS_MAX, Members, MembersError, NodeId};
pub use message::{Append, AppendResult, Ballot, Body, Message, Offer, PIECE_BYTES_MAX};
pub use offices::{Beside, Offices};
pub use raft::{Declined, Output, Raft, RaftError, RaftOptions, RoleKind, Timing};
pub use replica::{Release, Replica};
pub(crate) use settled::{settled_fact, settled_in};
pub use transfer::{Arrived, Giver, Taker, TakerError, Took, TransferError, hear_of_snapshot};
pub use wire::{MESSAGE_VERSION, MessageError};
