//! The kinds of fault, by name: what a run may draw, and what a shrunk run leaves out.

/// One kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Power is lost.
    Crash,
    /// Power is lost in the middle of a durable write.
    CrashInWrite,
    /// Power is lost in the middle of any call that changes a disk: create, rename, remove, sync.
    CrashInStep,
    /// The process is killed: what the page cache holds stays.
    Kill,
    /// The process stops in order and starts again.
    Stop,
    /// A durable write fails with EIO; a prefix may be there.
    WriteError,
    /// A sync fails with EIO; what it should have saved is read until power is lost.
    SyncError,
    /// A directory entry is not synced: it is there until power is lost.
    EntryError,
    /// The disks are full.
    DiskFull,
    /// A durable write takes long.
    SlowSync,
    /// A durable write does not come back; the process is killed or loses power before it does.
    StuckSync,
    /// A durable write reports success and changes nothing.
    LostWrite,
    /// A durable write reports success and lands elsewhere.
    Misdirected,
    /// A bit flips in front of acknowledged frames.
    DamageMiddle,
    /// A bit flips in the last frame, with no seal behind it.
    DamageTail,
    /// Power is lost while runs go to the store.
    CrashInFlush,
    /// The store is lost.
    LoseStore,
    /// A snapshot is damaged and the store is lost.
    DamageSnapshot,
    /// Power is lost at all nodes.
    CrashAll,
    /// A node neither hears nor is heard.
    CutOff,
    /// A node hears nobody.
    Deaf,
    /// Nobody hears a node.
    Mute,
    /// One node is not heard by one other.
    CutLink,
    /// A process stands still for a while.
    Pause,
    /// A leader is told to hand its office over.
    Transfer,
    /// The group changes by a node.
    Change,
    /// A disk is lost for good, and the node comes back as another one.
    ReplaceDisk,
    /// The process is killed, and the machine's clock is set forward or back before it starts again.
    ClockJump,
}

impl Fault {
    /// All kinds, and how often each is drawn against the others.
    pub(crate) const WEIGHTS: [(Self, u64); 18] = [
        (Self::Crash, 26),
        (Self::CrashInWrite, 26),
        (Self::CrashInStep, 18),
        (Self::Kill, 10),
        (Self::Stop, 8),
        (Self::WriteError, 10),
        (Self::SyncError, 8),
        (Self::EntryError, 6),
        (Self::DiskFull, 8),
        (Self::SlowSync, 10),
        (Self::StuckSync, 5),
        (Self::LostWrite, 2),
        (Self::Misdirected, 2),
        (Self::DamageMiddle, 2),
        (Self::DamageTail, 3),
        (Self::CrashInFlush, 12),
        (Self::LoseStore, 8),
        (Self::DamageSnapshot, 5),
    ];

    /// The kinds of a cluster, each at one node.
    pub(crate) const OF_CLUSTERS: [(Self, u64); 22] = [
        (Self::Crash, 20),
        (Self::CrashAll, 4),
        (Self::CrashInWrite, 18),
        (Self::CrashInStep, 14),
        (Self::Kill, 12),
        (Self::WriteError, 6),
        (Self::SyncError, 4),
        (Self::DiskFull, 3),
        (Self::SlowSync, 10),
        (Self::CrashInFlush, 8),
        (Self::LoseStore, 4),
        (Self::CutOff, 14),
        (Self::Deaf, 8),
        (Self::Mute, 8),
        (Self::CutLink, 10),
        (Self::Pause, 30),
        (Self::Transfer, 14),
        (Self::Change, 24),
        (Self::ReplaceDisk, 6),
        (Self::EntryError, 2),
        (Self::DamageTail, 8),
        (Self::ClockJump, 8),
    ];

    /// All kinds, of a node alone and of a cluster.
    pub fn all() -> impl Iterator<Item = Self> {
        let alone = Self::WEIGHTS.map(|(fault, _)| fault);
        let of_clusters = Self::OF_CLUSTERS.map(|(fault, _)| fault);
        alone.into_iter().chain(of_clusters.into_iter().filter(move |fault| !alone.contains(fault)))
    }

    /// The name on the command line.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|fault| fault.name() == name)
    }
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FaultSet(u32);

impl FaultSet {
    /// The set with one kind more.
    #[must_use]
    pub fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u32)
    }

    /// The set with one kind less.
    #[must_use]
    pub fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u32))
    }

    /// True if the kind is in it.
    pub fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u32 != 0
    }

    /// The kinds in it.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::all().filter(move |fault| self.has(*fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_kinds_and_back() {
        let mut all = FaultSet::default();
        for fault in Fault::all() {
            assert_eq!(Fault::from_name(&fault.name()), Some(fault));
            assert!(!all.has(fault));
            all = all.with(fault);
        }
        assert_eq!(Fault::CrashInWrite.name(), "crash-in-write");
        assert_eq!(all.iter().count(), Fault::all().count());
        assert!(!all.without(Fault::Kill).has(Fault::Kill));
    }
}
