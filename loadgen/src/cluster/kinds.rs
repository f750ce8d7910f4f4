//! The kinds of trouble.

/// A kind of trouble.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// SIGKILL of the leader; it starts again.
    Kill,
    /// SIGSTOP of the leader.
    Pause,
    /// SIGSTOP of another node.
    FollowerPause,
    /// Another node is asked to lead.
    Transfer,
    /// Every node is ended by SIGTERM and started again, one after the other.
    Roll,
    /// Nothing arrives at the leader from other nodes, or leaves it for them.
    Cut,
    /// The same, and clients do not reach it either.
    Isolate,
    /// The leader hears the others, and nobody hears it.
    Silence,
    /// The leader's wires are cut and healed again and again.
    Flap,
    /// All wires lose, double, delay and reorder.
    Noise,
    /// Connections of clients are cut in the middle of what they carry, which is split and held up besides.
    Tear,
    /// SIGKILL of another node, a bit of whose last entry flips before it starts again.
    Flip,
    /// SIGKILL of another node, one of whose files is damaged somewhere before it starts again.
    Damage,
    /// SIGKILL of another node, whose disk is lost: an empty one with another number takes its place.
    Replace,
    /// The disk of the leader is full.
    Full,
    /// The disk of another node is full.
    FollowerFull,
    /// Each write to the disk of another node takes 100 ms longer.
    FollowerSlow,
}

impl Kind {
    pub(super) const ALL: [Self; 17] = [
        Self::Kill,
        Self::Pause,
        Self::FollowerPause,
        Self::Transfer,
        Self::Roll,
        Self::Cut,
        Self::Isolate,
        Self::Silence,
        Self::Flap,
        Self::Noise,
        Self::Tear,
        Self::Flip,
        Self::Damage,
        Self::Replace,
        Self::Full,
        Self::FollowerFull,
        Self::FollowerSlow,
    ];

    /// For people, and stable for machines.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Kill => ("leader killed", "kill"),
            Self::Pause => ("leader stands still", "pause"),
            Self::FollowerPause => ("follower stands still", "follower_pause"),
            Self::Transfer => ("office handed over", "transfer"),
            Self::Roll => ("rolling restart", "roll"),
            Self::Cut => ("leader cut off", "cut"),
            Self::Isolate => ("leader cut off, from clients too", "isolate"),
            Self::Silence => ("leader not heard", "silence"),
            Self::Flap => ("leader's wires flap", "flap"),
            Self::Noise => ("bad wires", "noise"),
            Self::Tear => ("clients cut mid-frame", "tear"),
            Self::Flip => ("bit flips at follower", "flip"),
            Self::Damage => ("file damaged at follower", "damage"),
            Self::Replace => ("disk lost at follower", "replace"),
            Self::Full => ("disk full at leader", "full"),
            Self::FollowerFull => ("disk full at follower", "follower_full"),
            Self::FollowerSlow => ("disk slow at follower", "follower_slow"),
        }
    }

    pub(super) fn name(self) -> &'static str {
        self.names().0
    }

    /// Stable, for machines.
    pub(super) fn key(self) -> &'static str {
        self.names().1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_listed_once_under_names_of_its_own() {
        assert!(Kind::ALL.is_sorted());
        let keys: BTreeSet<_> = Kind::ALL.map(Kind::key).into();
        let names: BTreeSet<_> = Kind::ALL.map(Kind::name).into();
        assert_eq!((keys.len(), names.len()), (Kind::ALL.len(), Kind::ALL.len()));
        assert_eq!(Kind::ALL.last().map(|last| *last as usize + 1), Some(Kind::ALL.len()));
    }
}
