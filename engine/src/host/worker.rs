//! One shard at work: brings inputs in, makes what is decided durable, lets answers go.

use std::io;
use std::sync::Arc;

use onrush_storage::log::Log;

use super::alone::Alone;
use super::member::{Member, MemberParts};
use super::seat::{Seat, SeatParts};
use super::station::Station;

/// One shard at work.
pub(crate) enum Worker {
    /// Its log is this node's alone.
    Alone(Box<Alone>),
    /// Its log is that of a group.
    Member(Box<Member>),
}

impl Worker {
    /// A shard whose log is this node's alone.
    pub(crate) fn alone(seat: SeatParts, log: Log) -> Self {
        Self::Alone(Box::new(Alone::new(seat, log)))
    }

    /// A shard whose log a group has.
    pub(crate) fn member(seat: SeatParts, member: MemberParts) -> Self {
        Self::Member(Box::new(Member::new(seat, member)))
    }

    fn seat(&self) -> &Seat {
        match self {
            Self::Alone(alone) => &alone.seat,
            Self::Member(member) => &member.seat,
        }
    }

    /// Gives large frames to a thread of their own, so that the next one fills meanwhile.
    pub(crate) fn write_beside(&mut self) -> io::Result<()> {
        match self {
            Self::Alone(alone) => alone.write_beside(),
            Self::Member(member) => member.write_beside(),
        }
    }

    pub(crate) fn station(&self) -> &Arc<Station> {
        &self.seat().station
    }

    /// True if its log is that of a group.
    pub(crate) fn is_member(&self) -> bool {
        matches!(self, Self::Member(_))
    }

    /// One turn; false if there was nothing to do.
    pub(crate) fn turn(&mut self) -> bool {
        match self {
            Self::Alone(alone) => alone.turn(),
            Self::Member(member) => member.turn(),
        }
    }

    /// True while a write is in flight.
    #[cfg(all(feature = "glommio", target_os = "linux"))]
    pub(crate) fn is_writing(&self) -> bool {
        match self {
            Self::Alone(alone) => alone.is_writing(),
            Self::Member(member) => member.is_writing(),
        }
    }

    /// True while a write is in flight, too little waits to be decided meanwhile, and there is nothing else to do.
    pub(crate) fn waits_for_write(&self) -> bool {
        matches!(self, Self::Alone(alone) if alone.waits_for_write())
    }

    /// How long nothing will be due, in us; `None` = until something comes.
    pub(crate) fn idle_us(&self) -> Option<u64> {
        match self {
            Self::Alone(alone) => alone.idle_us(),
            Self::Member(member) => member.idle_us(),
        }
    }

    /// True while requests wait because the store lags by its bound, or because a group is not that far yet.
    pub(crate) fn waits_for_store(&self) -> bool {
        match self {
            Self::Alone(alone) => alone.seat.waits_for_store(),
            Self::Member(member) => member.is_blocked(),
        }
    }

    /// Shard time in us.
    #[cfg(all(feature = "glommio", target_os = "linux"))]
    pub(crate) fn now_us(&self) -> u64 {
        self.seat().clock.now_us()
    }

    /// Seals the log while it is idle.
    pub(crate) fn seal(&mut self) {
        match self {
            Self::Alone(alone) => alone.seal(),
            Self::Member(member) => member.seal(),
        }
    }

    /// True if the shard may end, now that its engine closes: when nothing is left to do, and a member once it has given its
    /// office away, or had time to.
    pub(crate) fn may_end(&mut self) -> bool {
        match self {
            Self::Alone(alone) => alone.seat.station.is_idle() && !alone.is_writing(),
            Self::Member(member) => member.may_end(),
        }
    }

    /// Ends: whoever still waits learns that nobody knows.
    pub(crate) fn end(&mut self) {
        if let Self::Member(member) = self {
            member.abandon();
        }
        self.seal();
    }
}
