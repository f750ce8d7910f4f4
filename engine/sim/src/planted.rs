//! The bug bank: bugs that the simulator must find, each within 1,000 seeds.
//!
//! A host's bugs sit at seams that the simulator owns (it is the host) and are chosen at run time.
//! Bugs of the product's own pieces sit there behind `--cfg planted="NN"`; `planted.sh` builds each
//! of those.

/// A bug of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// Answers leave before the frame is durable.
    AckBeforeAppend,
    /// A restarted node re-sends no claims.
    ForgetReclaims,
    /// Rows behind an unconfirmed claim go to the store.
    AbsorbBeyondCeiling,
    /// Messages to other shards leave before the frame is durable.
    OutboundBeforeAppend,
    /// Cold rows are taken for missing ones.
    WarmNothing,
    /// A durable write now and then never reaches the disk.
    SkipWrite,
    /// The log is released below what the store has, though the checkpoint still needs it.
    ReleaseBeyondCheckpoint,
    /// A frame whose write failed is shown to subscribers.
    EventBeforeAppend,
    /// What a turn decided is published before its frame is durable.
    PublishBeforeAppend,
    /// A failed write is answered like a good one.
    AckFailedWrite,
    /// A shard whose write failed goes on deciding.
    DecideWhenPoisoned,
    /// Answers leave when the frame in front of their own is durable.
    AckNextBatch,
    /// What is decided while a frame is written is published with that frame.
    PublishNextBatch,
    /// A vote is not written before it is given.
    VoteNotWritten,
    /// What rests on a write leaves before it.
    AnswerBeforeWrite,
    /// A deposed leader keeps what it has decided.
    KeepDecided,
    /// What was said in an office that is over is heard in the next one.
    HearOutdated,
    /// A shard stays in its office when another one of its node has lost its group.
    StayInOffice,
}

impl Planted {
    /// All of the host's bugs, with the numbers under which `--planted` knows them.
    pub const ALL: [(Self, usize); 18] = [
        (Self::AckBeforeAppend, 1),
        (Self::ForgetReclaims, 2),
        (Self::AbsorbBeyondCeiling, 3),
        (Self::OutboundBeforeAppend, 4),
        (Self::WarmNothing, 5),
        (Self::SkipWrite, 6),
        (Self::ReleaseBeyondCheckpoint, 7),
        (Self::EventBeforeAppend, 15),
        (Self::PublishBeforeAppend, 16),
        (Self::AckFailedWrite, 17),
        (Self::DecideWhenPoisoned, 18),
        (Self::AckNextBatch, 27),
        (Self::PublishNextBatch, 28),
        (Self::VoteNotWritten, 31),
        (Self::AnswerBeforeWrite, 32),
        (Self::KeepDecided, 34),
        (Self::HearOutdated, 51),
        (Self::StayInOffice, 52),
    ];

    /// True for a bug of a cluster's host.
    pub fn of_clusters(self) -> bool {
        self.number() > 30
    }

    /// True for a bug that shows where a cluster has several shards.
    pub fn of_offices(self) -> bool {
        self.number() > 50
    }

    /// The number under which `--planted` knows it.
    pub fn number(self) -> usize {
        Self::ALL.iter().find(|(bug, _)| *bug == self).map_or(0, |(_, number)| *number)
    }

    /// The bug of a number.
    pub fn from_number(number: usize) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == number).map(|(bug, _)| *bug)
    }
}
