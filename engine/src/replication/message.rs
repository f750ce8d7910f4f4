//! What the members of a group say to each other.

use super::entry::{Entry, Position};
use super::members::NodeId;

/// A message of one group. Messages may be lost, late, out of order and doubled.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// Who says it.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// The sender's term, which it has on record; of a [`Ballot`] that is a poll, the term that it would begin; 0 of what is
    /// said of a snapshot.
    pub term: u64,
    /// What it says.
    pub body: Body,
}

impl Message {
    /// Something about a snapshot. It names no term: it leaves when it is said, and the sender's term may not be on its disk yet.
    pub fn of_snapshot(from: NodeId, to: NodeId, body: Body) -> Self {
        Self { from, to, term: 0, body }
    }

    /// True for what is said about a snapshot, which consensus has no part in.
    pub fn is_of_snapshot(&self) -> bool {
        matches!(self.body, Body::Offer(_) | Body::Fetch { .. } | Body::Piece { .. })
    }
}

/// What a message says.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// Asks for a vote.
    Ballot(Ballot),
    /// Answers a ballot.
    Vote {
        /// True for the answer to a poll.
        poll: bool,
        /// True if the sender is for it.
        granted: bool,
        /// True if the sender's log may lack the end of what it had.
        barred: bool,
    },
    /// A leader's entries, and how far they are committed; without entries a sign of life.
    Append(Append),
    /// Answers [`Append`].
    Appended {
        /// [`Append::sent_us`], by which the leader knows that it was still followed then.
        sent_us: u64,
        /// The follower's own clock when it says so, in us: see [`Append::as_of_us`].
        said_us: u64,
        /// How far the logs are equal and durable.
        result: AppendResult,
    },
    /// The leader gives its office to the one that this is sent to.
    TakeOffice,
    /// The leader has released what the follower needs, and has a snapshot instead. This and the next two are no
    /// affair of [`Raft`](super::Raft): [`Giver`](super::Giver) and [`Taker`](super::Taker) bring a snapshot over.
    Offer(Offer),
    /// The follower asks for a piece of it.
    Fetch {
        /// [`Offer::lsn`].
        lsn: u64,
        /// Where in the file it begins.
        offset: u64,
    },
    /// A piece.
    Piece {
        /// [`Offer::lsn`].
        lsn: u64,
        /// Where in the file it begins.
        offset: u64,
        /// As it stands there; at most [`PIECE_BYTES_MAX`].
        bytes: Vec<u8>,
    },
}

/// Most bytes of one piece of a snapshot.
pub const PIECE_BYTES_MAX: usize = 1 << 20;

/// A snapshot that a leader has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The last record in it.
    pub lsn: u64,
    /// The entry that ends with that record.
    pub last: Position,
    /// Bytes of its file.
    pub bytes: u64,
}

/// A candidate's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ballot {
    /// The last entry of its log.
    pub last: Position,
    /// True if it only asks whether a vote would be granted (*pre-vote*): nobody's term changes.
    pub poll: bool,
    /// True if the leader has asked for it: voters do not hold it against the candidate that they hear a leader.
    pub asked: bool,
}

/// Entries from a leader.
#[derive(Clone, PartialEq, Debug)]
pub struct Append {
    /// The entry in front of them.
    pub previous: Position,
    /// The last committed entry.
    pub commit: u64,
    /// The leader's clock when it was sent, in us.
    pub sent_us: u64,
    /// What the leader had last heard of the follower's clock at a moment at which it led for certain: everything that was
    /// committed by then is up to `commit`. 0 if it does not know.
    pub as_of_us: u64,
    /// In order and without a gap.
    pub entries: Vec<Entry>,
}

/// What came of an [`Append`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendResult {
    /// The follower's log is the leader's up to this index, and on disk.
    Matched(u64),
    /// The leader is followed; what becomes of its entries is said later, as their writing takes time.
    Heard,
    /// The follower's log has no entry like the one in front of those.
    Missing {
        /// [`Append::previous`]'s index.
        tested: u64,
        /// Where the follower's log may be equal.
        hint: u64,
    },
}
