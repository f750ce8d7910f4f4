//! The bug bank: bugs that the simulator must find, each within 1,000 seeds.
//!
//! A host's bugs sit at seams that the simulator owns (it is the host), and every build has them. Bugs of the product's own
//! pieces sit there, where `onrush_proto::planted` and its like in `storage` are asked for their numbers; a build with
//! `--cfg planted` has all of them (`planted.sh`). Either is there in a run that asks for it, and in no other.

use crate::options::RunOptions;

/// Seeds within which each must be found.
pub const SEEDS_MAX: u64 = 1_000;

/// A bug, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planted(u16);

#[allow(missing_docs, reason = "the bank has the story of each")]
impl Planted {
    pub const ACK_BEFORE_APPEND: Self = Self(1);
    pub const FORGET_RECLAIMS: Self = Self(2);
    pub const ABSORB_BEYOND_CEILING: Self = Self(3);
    pub const OUTBOUND_BEFORE_APPEND: Self = Self(4);
    pub const WARM_NOTHING: Self = Self(5);
    pub const SKIP_WRITE: Self = Self(6);
    pub const RELEASE_BEYOND_CHECKPOINT: Self = Self(7);
    pub const EVENT_BEFORE_APPEND: Self = Self(15);
    pub const PUBLISH_BEFORE_APPEND: Self = Self(16);
    pub const ACK_FAILED_WRITE: Self = Self(17);
    pub const DECIDE_WHEN_POISONED: Self = Self(18);
    pub const ACK_NEXT_BATCH: Self = Self(27);
    pub const PUBLISH_NEXT_BATCH: Self = Self(28);
    pub const VOTE_NOT_WRITTEN: Self = Self(31);
    pub const ANSWER_BEFORE_WRITE: Self = Self(32);
    pub const KEEP_DECIDED: Self = Self(34);
    pub const HEAR_OUTDATED: Self = Self(51);
    pub const STAY_IN_OFFICE: Self = Self(52);
}

/// What is known of a bug.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    number: u16,
    /// What is wrong.
    pub story: &'static str,
    /// True if the simulator's own loop has it, false if a piece of the product does.
    pub is_host: bool,
    needs: Needs,
}

/// In what runs it shows.
#[derive(Clone, Copy, Debug)]
struct Needs {
    nodes: usize,
    shards: Option<u16>,
}

/// A node with as many shards as the seed draws.
const ALONE: Needs = Needs { nodes: 1, shards: None };
/// A cluster with one group.
const GROUP: Needs = Needs { nodes: 3, shards: Some(1) };
/// A cluster whose nodes have an office.
const OFFICE: Needs = Needs { nodes: 3, shards: Some(2) };

const fn host(number: u16, story: &'static str, needs: Needs) -> Bug {
    Bug { number, story, is_host: true, needs }
}

const fn product(number: u16, story: &'static str, needs: Needs) -> Bug {
    Bug { number, story, is_host: false, needs }
}

/// All of them.
#[rustfmt::skip]
pub const BANK: [Bug; 50] = [
    host(1, "answers leave before the frame is durable", ALONE),
    host(2, "a restarted node re-sends no claims", ALONE),
    host(3, "rows behind an unconfirmed claim go to the store", ALONE),
    host(4, "messages to other shards leave before the frame is durable", ALONE),
    host(5, "cold rows are taken for missing ones", ALONE),
    host(6, "a durable write now and then never reaches the disk", ALONE),
    host(7, "the log is released below what the store has, though the checkpoint still needs it", ALONE),
    product(8, "refunds: pending ones do not count", ALONE),
    product(9, "expiry: a paid order expires too", ALONE),
    product(10, "keys: another body gets the first receipt", ALONE),
    product(11, "stock: what is held is sold again", ALONE),
    product(12, "baskets: a participant expires its hold without asking home", ALONE),
    product(13, "keys: no mark while the first call runs", ALONE),
    product(14, "memory: rows leave before the store has them", ALONE),
    host(15, "a frame whose write failed is shown to subscribers", ALONE),
    host(16, "what a turn decided is published before its frame is durable", ALONE),
    host(17, "a failed write is answered like a good one", ALONE),
    host(18, "a shard whose write failed goes on deciding", ALONE),
    product(19, "snapshots: one names a record that it does not hold", ALONE),
    product(20, "retention: up to the newest snapshot, not to the older of two", ALONE),
    product(21, "subscriptions: a cursor inside a frame skips the rest of it", ALONE),
    product(22, "retention: groups that carry money do not hold the log", ALONE),
    product(23, "recovery: a name that was not synced is believed", ALONE),
    product(24, "subscriptions: a released position silently becomes the first one", ALONE),
    product(25, "subscriptions: the tail hands out what it has, not what comes next", ALONE),
    product(26, "snapshots: the checkpoint in one is older than the log is released to", ALONE),
    host(27, "answers leave when the frame in front of their own is durable", ALONE),
    host(28, "what is decided while a frame is written is published with that frame", ALONE),
    host(31, "a vote is not written before it is given", GROUP),
    host(32, "what rests on a write leaves before it", GROUP),
    host(34, "a deposed leader keeps what it has decided", GROUP),
    product(35, "consensus: entries of earlier terms are committed by counting", GROUP),
    product(36, "consensus: a vote for a log that lacks entries", GROUP),
    product(37, "consensus: entries are taken behind another entry than the leader's", GROUP),
    product(38, "consensus: what the leader has on disk is committed", GROUP),
    product(39, "consensus: a restarted member votes though it may have heard a leader right before", GROUP),
    product(40, "consensus: a follower acknowledges all that it has, not what its leader sent", GROUP),
    product(41, "consensus: a new leader decides before it knows what was committed", GROUP),
    product(42, "consensus: only the new voters count while a group changes", GROUP),
    product(43, "consensus: a leader answers reads without knowing that it still leads", GROUP),
    product(44, "consensus: learners count as voters", GROUP),
    product(45, "consensus: a lease goes on though another one was asked to lead", GROUP),
    product(46, "consensus: members vote though they hear a leader", GROUP),
    product(47, "consensus: the vote of a member that may have lost the end of its log counts like any", GROUP),
    product(48, "snapshots: a member takes one though it has what is in it", GROUP),
    product(49, "snapshots: one says that it ends with the entry behind its last", GROUP),
    product(50, "offices: requests are admitted before other shards have told which keys they accepted", OFFICE),
    host(51, "what was said in an office that is over is heard in the next one", OFFICE),
    host(52, "a shard stays in its office when another one of its node has lost its group", OFFICE),
    product(53, "consensus: a leader that hears no quorum stays", GROUP),
];

/// The seed by which a search found each. What changes the schedule may make one miss; `--planted known` says then which
/// seed finds it now.
#[rustfmt::skip]
const FOUND_BY: [(u16, u64); 50] = [
    (1, 1), (2, 1), (3, 1), (4, 3), (5, 2), (6, 1), (7, 2), (8, 6), (9, 2), (10, 2), (11, 1), (12, 3),
    (13, 21), (14, 1), (15, 1), (16, 1), (17, 5), (18, 6), (19, 2), (20, 225), (21, 5), (22, 3), (23, 126),
    (24, 14), (25, 1), (26, 14), (27, 1), (28, 1), (31, 5), (32, 1), (34, 6), (35, 8), (36, 1), (37, 1),
    (38, 1), (39, 44), (40, 1), (41, 1), (42, 1), (43, 19), (44, 1), (45, 19), (46, 42), (47, 7), (48, 31), (49, 26), (50, 36),
    (51, 3), (52, 14), (53, 4),
];

impl Planted {
    /// The bug of a number.
    pub fn from_number(number: u16) -> Option<Self> {
        BANK.iter().find(|bug| bug.number == number).map(Bug::planted)
    }

    /// The number under which `--planted` knows it.
    pub fn number(self) -> u16 {
        self.0
    }

    /// What is known of it.
    pub fn bug(self) -> Option<&'static Bug> {
        BANK.iter().find(|bug| bug.number == self.0)
    }
}

impl Bug {
    /// The bug itself.
    pub fn planted(&self) -> Planted {
        Planted(self.number)
    }

    /// True if this build has it.
    pub fn is_there(&self) -> bool {
        self.is_host || cfg!(planted)
    }

    /// The seed by which it was found before, if any.
    pub fn seed(&self) -> Option<u64> {
        FOUND_BY.iter().find(|(number, _)| *number == self.number).map(|(_, seed)| *seed)
    }

    /// The same run with the bug in it, and with as many nodes and shards as it takes to show.
    pub fn run(&self, options: RunOptions) -> RunOptions {
        let Needs { nodes, shards } = self.needs;
        RunOptions { planted: Some(self.planted()), nodes, shards: shards.or(options.shards), ..options }
    }
}

/// From here on this thread runs with this bug, and with no other.
#[cfg(planted)]
pub(crate) fn plant(planted: Option<Planted>) {
    let number = planted.map_or(0, Planted::number);
    onrush_proto::planted::plant(number);
    onrush_storage::planted::plant(number);
}

/// Nothing of the product's is there to be chosen.
#[cfg(not(planted))]
pub(crate) fn plant(_: Option<Planted>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bug_has_a_number_of_its_own_and_a_seed_is_of_a_bug() {
        for pair in BANK.windows(2) {
            assert!(pair[0].number < pair[1].number, "{pair:?}");
        }
        for (number, seed) in FOUND_BY {
            assert!(Planted::from_number(number).is_some(), "expected a bug of number {number}");
            assert!(
                (1..=SEEDS_MAX).contains(&seed),
                "{number}: expected a seed up to {SEEDS_MAX}, found {seed}"
            );
        }
    }
}
