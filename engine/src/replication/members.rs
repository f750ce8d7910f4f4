//! Who belongs to a group, and what a quorum of it is.

use std::collections::BTreeSet;

use onrush_proto::planted::planted;

/// The number of a node, unique in its cluster and never given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// Most nodes of a group, learners counted.
pub const MEMBERS_MAX: usize = 32;

/// Why bytes or nodes are not the members of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "every variant says what was expected and what was found")]
pub enum MembersError {
    #[error("members: expected version {expected}, found {found}")]
    Version { expected: u8, found: u8 },
    #[error("members: expected {expected} bytes, found {found}")]
    Length { expected: usize, found: usize },
    #[error(
        "members: expected 1 to {MEMBERS_MAX} nodes with a voter among them, found {nodes} with {voters}"
    )]
    Count { nodes: usize, voters: usize },
    #[error("members: expected nodes in rising order and each once, found {0}")]
    Order(NodeId),
    #[error("members: expected a learner to have no vote, found one for {0}")]
    LearnerVotes(NodeId),
}

/// Voters and learners. While it changes from one set of voters to another both decide (*joint consensus*, Ongaro's
/// dissertation, 4.3): `outgoing` are the voters of before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    voters: BTreeSet<NodeId>,
    outgoing: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
}

const VERSION: u8 = 1;

impl Members {
    /// A group of voters alone.
    ///
    /// # Errors
    /// [`MembersError::Count`] without a voter, or with too many.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Result<Self, MembersError> {
        Self { voters: voters.into_iter().collect(), ..Self::default() }.checked()
    }

    /// The same group with other voters and learners, as it stands while the change is under way.
    ///
    /// # Errors
    /// As [`of`](Self::of); [`MembersError::LearnerVotes`] if a node is to be both.
    pub fn changing_to(
        &self,
        voters: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, MembersError> {
        let (voters, learners) = (voters.into_iter().collect(), learners.into_iter().collect());
        let outgoing = if voters == self.voters { BTreeSet::new() } else { self.voters.clone() };
        Self { voters, outgoing, learners }.checked()
    }

    /// The group once a change is through.
    pub fn changed(&self) -> Self {
        Self { outgoing: BTreeSet::new(), ..self.clone() }
    }

    fn checked(self) -> Result<Self, MembersError> {
        let (nodes, voters) = (self.everyone().count(), self.voters.len());
        if voters == 0 || nodes > MEMBERS_MAX {
            return Err(MembersError::Count { nodes, voters });
        }
        match self.learners.intersection(&self.voters).next() {
            Some(node) => Err(MembersError::LearnerVotes(*node)),
            None => Ok(self),
        }
    }

    /// True if the group may become `next` in one step: both sets of voters decide while they change, and the set of
    /// before goes before the next change.
    pub fn leads_to(&self, next: &Self) -> bool {
        match self.is_changing() {
            true => *next == self.changed(),
            false if next.is_changing() => next.outgoing == self.voters,
            false => next.voters == self.voters,
        }
    }

    /// True while two sets of voters decide.
    pub fn is_changing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// True if the node has a vote.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// True if the node belongs to the group.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// The voters that stay.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> {
        self.voters.iter().copied()
    }

    /// The voters of before, in order, while the group is being changed.
    pub fn outgoing(&self) -> impl Iterator<Item = NodeId> {
        self.outgoing.iter().copied()
    }

    /// Nodes that follow and have no vote.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> {
        self.learners.iter().copied()
    }

    /// All nodes, in rising order.
    pub fn everyone(&self) -> impl Iterator<Item = NodeId> {
        let mut all: Vec<NodeId> = self.voters.union(&self.outgoing).copied().collect();
        all.extend(&self.learners);
        all.sort_unstable();
        all.dedup();
        all.into_iter()
    }

    /// True if a majority of the voters, and of those of before, is as asked.
    pub fn is_quorum(&self, is: impl Fn(NodeId) -> bool) -> bool {
        self.agreed(|node| u64::from(is(node))) == 1
    }

    /// The largest value that a majority of the voters, and of those of before, has reached.
    pub fn agreed(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        let of = |set: &BTreeSet<NodeId>| {
            let mut values: Vec<u64> = set.iter().map(|node| value(*node)).collect();
            values.sort_unstable_by(|a, b| b.cmp(a));
            values.get(set.len() / 2).copied()
        };
        let before = if planted(42) { None } else { of(&self.outgoing) };
        if planted(44) {
            return of(&self.voters.union(&self.learners).copied().collect()).unwrap_or(0);
        }
        [of(&self.voters), before].into_iter().flatten().min().unwrap_or(0)
    }

    /// Version u8, numbers of voters, outgoing voters and learners u8 each, then the nodes u64, little-endian.
    pub fn encode(&self) -> Vec<u8> {
        let sets = [&self.voters, &self.outgoing, &self.learners];
        let mut bytes = vec![VERSION];
        bytes.extend(sets.map(|set| set.len() as u8));
        sets.into_iter().flatten().for_each(|node| bytes.extend(node.0.to_le_bytes()));
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// The first thing that is not as a group has it.
    pub fn decode(bytes: &[u8]) -> Result<Self, MembersError> {
        let short = MembersError::Length { expected: 4, found: bytes.len() };
        let (&[version, voters, outgoing, learners], rest) = bytes.split_first_chunk().ok_or(short)?;
        if version != VERSION {
            return Err(MembersError::Version { expected: VERSION, found: version });
        }
        let counts = [voters, outgoing, learners].map(usize::from);
        let expected = 4 + 8 * counts.iter().sum::<usize>();
        if bytes.len() != expected {
            return Err(MembersError::Length { expected, found: bytes.len() });
        }
        let mut nodes = rest.as_chunks::<8>().0.iter().map(|node| NodeId(u64::from_le_bytes(*node)));
        let mut set = |count: usize| {
            let mut set = BTreeSet::new();
            for node in nodes.by_ref().take(count) {
                if set.last().is_some_and(|last| *last >= node) {
                    return Err(MembersError::Order(node));
                }
                set.insert(node);
            }
            Ok::<_, MembersError>(set)
        };
        Self { voters: set(counts[0])?, outgoing: set(counts[1])?, learners: set(counts[2])? }.checked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(numbers: &[u64]) -> Vec<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_quorum_is_a_majority_of_each_set() {
        type Case<'a> = (&'a [u64], &'a [u64], &'a [u64], bool);
        let cases: [Case<'_>; 9] = [
            // voters, those of before, who says yes
            (&[1], &[], &[1], true),
            (&[1], &[], &[2], false),
            (&[1, 2], &[], &[1], false),
            (&[1, 2, 3], &[], &[1, 3], true),
            (&[1, 2, 3, 4], &[], &[1, 3], false),
            (&[4, 5, 6], &[1, 2, 3], &[4, 5, 1], false),
            (&[4, 5, 6], &[1, 2, 3], &[4, 5, 1, 2], true),
            (&[1, 2, 4], &[1, 2, 3], &[1, 2], true),
            (&[1, 2, 4], &[1, 2, 3], &[1, 4], false),
        ];
        for (voters, before, yes, quorum) in cases {
            let members = match before.is_empty() {
                true => Members::of(nodes(voters)).unwrap(),
                false => Members::of(nodes(before)).unwrap().changing_to(nodes(voters), []).unwrap(),
            };
            let said = members.is_quorum(|node| yes.contains(&node.0));
            assert_eq!(said, quorum, "{voters:?} {before:?} {yes:?}");
        }
    }

    #[test]
    fn what_is_agreed_is_what_a_majority_has_reached() {
        let members = Members::of(nodes(&[1, 2, 3, 4, 5])).unwrap();
        assert_eq!(members.agreed(|node| node.0 * 10), 30);
        let members = members.changing_to(nodes(&[1, 2, 3]), nodes(&[9])).unwrap();
        assert_eq!(
            members.agreed(|node| node.0 * 10),
            20,
            "the smaller of both majorities; learners do not count"
        );
        assert_eq!(members.changed().agreed(|node| node.0 * 10), 20);
        assert_eq!(members.everyone().map(|node| node.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 9]);
    }

    #[test]
    fn bytes_lead_back_and_lies_are_refused() {
        let members =
            Members::of(nodes(&[1, 2, 3])).unwrap().changing_to(nodes(&[2, 3, 4]), nodes(&[7])).unwrap();
        let bytes = members.encode();
        assert_eq!(Members::decode(&bytes), Ok(members));
        for len in 0..bytes.len() {
            let error = Members::decode(&bytes[..len]).unwrap_err();
            assert!(matches!(error, MembersError::Length { .. }), "{len}: {error}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            Members::decode(&bytes).unwrap_err()
        };
        assert_eq!(with(0, 2), MembersError::Version { expected: 1, found: 2 });
        assert!(matches!(with(1, 255), MembersError::Length { .. }));
        assert_eq!(with(12, 1), MembersError::Order(NodeId(1)));
        assert_eq!(with(52, 4), MembersError::LearnerVotes(NodeId(4)));
        assert_eq!(Members::decode(&[1, 0, 0, 0]), Err(MembersError::Count { nodes: 0, voters: 0 }));
        let many = Members::of((0..40).map(NodeId));
        assert_eq!(many, Err(MembersError::Count { nodes: 40, voters: 40 }));
    }
}
