//! The bug bank: bugs that the simulator must find, each within 1,000 seeds.
//!
//! A host's bugs sit at seams that the simulator owns (it is the host) and are chosen at run time.
//! Bugs of rules and shards sit in the product behind `--cfg planted="NN"`; `planted.sh` builds
//! each of those.

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
}

impl Planted {
    /// All of the host's bugs.
    pub const ALL: [Self; 7] = [
        Self::AckBeforeAppend,
        Self::ForgetReclaims,
        Self::AbsorbBeyondCeiling,
        Self::OutboundBeforeAppend,
        Self::WarmNothing,
        Self::SkipWrite,
        Self::ReleaseBeyondCheckpoint,
    ];

    /// The number under which `--planted` knows it: 01, 02, ...
    pub fn number(self) -> usize {
        Self::ALL.iter().position(|bug| *bug == self).unwrap_or(0) + 1
    }

    /// The bug of a number.
    pub fn from_number(number: usize) -> Option<Self> {
        Self::ALL.get(number.checked_sub(1)?).copied()
    }
}
