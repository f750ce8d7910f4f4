//! The office of a node: all its shards are decided there, or none is.
//!
//! What shards say to each other rests on their both being at work: a key's shard forwards a call and marks the key, and the
//! order's shard asks others for holds. So a node takes office for all its shards at once, as soon as its members lead all
//! groups and have applied everything, and with the first of them that loses its group it is over for all. Whatever was
//! under way between shards ends with it. The next office begins as an engine of its own begins after a crash: claims are
//! sent again, orders that were not decided are given up, and holds ask what became of their orders.
//!
//! A machine without lock or thread: the host shares one between the threads of its shards.

use onrush_proto::ShardId;

use super::members::NodeId;
use super::raft::Raft;

/// Whose turn it is at one node.
#[derive(Debug)]
pub struct Offices {
    /// The term in which each shard's member leads and is ready to decide.
    ready: Vec<Option<u64>>,
    number: u64,
    is_open: bool,
}

impl Offices {
    /// A node with so many shards, none of which it leads.
    pub fn new(shards: u16) -> Self {
        Self { ready: vec![None; usize::from(shards)], number: 0, is_open: false }
    }

    /// A member is ready for an office, in the term in which it leads, or not any more. True if an office begins or
    /// ends with that.
    ///
    /// Who is in an office tells nothing but its end. Behind that every member has to leave it before it is ready again, so
    /// no two members are in different ones.
    pub fn tell(&mut self, shard: ShardId, ready: Option<u64>) -> bool {
        let Some(told) = self.ready.get_mut(usize::from(shard.0)) else { return false };
        if self.is_open {
            if *told == ready {
                return false;
            }
            self.ready.fill(None);
            self.is_open = false;
            return true;
        }
        *told = ready;
        if self.ready.iter().any(Option::is_none) {
            return false;
        }
        (self.number, self.is_open) = (self.number + 1, true);
        true
    }

    /// The number of the office, if there is one. Numbers rise, from 1 on.
    pub fn open(&self) -> Option<u64> {
        self.is_open.then_some(self.number)
    }
}

/// Election timeouts for which a leader waits to hear who leads the first shard.
const PATIENCE: u64 = 4;

/// What a member that leads its group knows of the other shards of its node: whether they will be decided here.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    /// The node that leads the first shard, or is being handed it, as far as is known here.
    pub first: Option<NodeId>,
    /// False if a shard here has stopped, or its member has no place in its group ([`Raft::has_place`]) or fetches a snapshot
    /// ([`Taker::is_fetching`](super::Taker::is_fetching)): this node does not lead them all as it is.
    pub is_fit: bool,
    /// For how long the member has led, in us.
    pub led_us: u64,
    /// The election timeout in us.
    pub election_us: u64,
}

impl Beside {
    /// To whom a leader hands over, if not all shards can be decided with it here. All belong where the first one is led. A
    /// node that cannot have them all passes on what it leads, to another voter each `turn`; and so does one that hears of
    /// no leader of the first shard: it may have lost its place in that group without having heard so.
    pub fn heir(&self, raft: &Raft, turn: usize) -> Option<NodeId> {
        let (own, members) = (raft.id(), raft.members());
        if let Some(first) = self.first.filter(|first| *first != own && members.is_voter(*first)) {
            return Some(first);
        }
        let in_vain = self.first != Some(own) && self.led_us >= PATIENCE * self.election_us;
        if self.is_fit && !in_vain {
            return None;
        }
        let others: Vec<NodeId> = members.voters().filter(|node| *node != own).collect();
        others.get(turn.checked_rem(others.len())?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ShardId = ShardId(0);
    const SECOND: ShardId = ShardId(1);

    #[test]
    fn an_office_begins_when_all_are_ready_and_ends_with_the_first_that_is_not() {
        let mut offices = Offices::new(2);
        assert!(!offices.tell(FIRST, Some(3)));
        assert_eq!(offices.open(), None);
        assert!(offices.tell(SECOND, Some(7)));
        assert_eq!(offices.open(), Some(1));
        // Said twice it is the same office.
        assert!(!offices.tell(SECOND, Some(7)));
        assert!(offices.tell(FIRST, None));
        assert_eq!(offices.open(), None);
    }

    #[test]
    fn who_has_not_left_an_office_keeps_the_next_one_from_beginning() {
        let mut offices = Offices::new(2);
        offices.tell(FIRST, Some(3));
        offices.tell(SECOND, Some(7));
        // The first one leads in another term: it lost its group between two looks.
        assert!(offices.tell(FIRST, Some(5)));
        assert!(!offices.tell(FIRST, Some(5)));
        assert_eq!(offices.open(), None, "the second one is still in the office before");
        assert!(offices.tell(SECOND, Some(7)));
        assert_eq!(offices.open(), Some(2));
    }

    #[test]
    fn one_shard_is_in_office_as_soon_as_it_is_ready() {
        let mut offices = Offices::new(1);
        assert!(offices.tell(FIRST, Some(1)));
        assert!(offices.tell(FIRST, None) && offices.tell(FIRST, Some(2)));
        assert_eq!(offices.open(), Some(2));
        assert!(!offices.tell(SECOND, Some(2)), "expected nothing of a shard that is not there");
    }
}
