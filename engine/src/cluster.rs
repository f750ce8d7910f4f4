//! An engine as a node of a cluster: what it is told, what it tells, and what may be asked of its groups.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use onrush_proto::ShardId;

use crate::handle::EngineHandle;
use crate::replication::{Declined, Members, Message, MessageError, NodeId, RoleKind, Timing};

/// How long a shard may take to answer for its group: it may be writing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries messages to other nodes. They may be lost, late, doubled and out of order, but not from anybody else.
pub trait Post: Send + Sync {
    /// Sends a message, or drops it; never blocks.
    fn send(&self, to: NodeId, message: Vec<u8>);
}

/// How an engine takes part in its cluster. Who it is, and who founded the cluster, stands in its
/// [`Format`](crate::format::Format).
#[derive(Clone)]
pub struct ClusterOptions {
    /// Carries messages to the other nodes; what they send goes to [`EngineHandle::hear`].
    pub post: Arc<dyn Post>,
    /// How long things take.
    pub timing: Timing,
}

impl fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterOptions").field("timing", &self.timing).finish_non_exhaustive()
    }
}

/// How a shard's group stands, as one of its members sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// The shard.
    pub shard: ShardId,
    /// The member.
    pub node: NodeId,
    /// What it is.
    pub role: RoleKind,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// True if its shard decides.
    pub in_office: bool,
    /// Its term.
    pub term: u64,
    /// The last entry of its log.
    pub last: u64,
    /// The last one that it knows to be committed.
    pub committed: u64,
    /// The last one that its shard has applied.
    pub applied: u64,
    /// Who belongs to the group.
    pub members: Members,
    /// How far the others are, if it leads: the last entry that is known to be on their disks, and how long they have
    /// been silent in us.
    pub followers: Vec<(NodeId, u64, u64)>,
}

/// What may be asked of a group.
pub(crate) enum GroupAsk {
    Status(SyncSender<GroupStatus>),
    HandOver(NodeId, SyncSender<Result<(), Declined>>),
    Leave(SyncSender<Result<(), Declined>>),
    Change(Members, SyncSender<Result<(), Declined>>),
}

/// Why a group was not asked, or would not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GroupError {
    /// The engine is no node of a cluster.
    #[error("expected a node of a cluster, found an engine of its own")]
    Alone,
    /// There is no such shard.
    #[error("expected a shard below {shards}, found {found}")]
    NoShard {
        /// How many there are.
        shards: u16,
        /// Which was asked for.
        found: u16,
    },
    /// The shard has stopped, or the engine is closed.
    #[error("expected a shard at work, found one that does not answer")]
    Stopped,
    /// It was not begun.
    #[error(transparent)]
    Declined(#[from] Declined),
}

/// Why a message from another node was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HearError {
    /// It is none.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// It is for a shard that is not here.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// It says another sender than the one that it came from.
    #[error("expected a message of {expected}, found one of {found}")]
    Sender {
        /// Who sent it.
        expected: NodeId,
        /// Who it says has.
        found: NodeId,
    },
    /// Too much waits already; it may be sent again.
    #[error("expected room for {0} bytes, found none")]
    Full(usize),
}

impl EngineHandle {
    /// Which node this is; `None` for an engine of its own.
    pub fn node(&self) -> Option<NodeId> {
        self.cluster_node()
    }

    /// Takes a message that `from` sent, which the caller knows to be that node.
    ///
    /// # Errors
    /// [`HearError`]: nothing has come of it.
    pub fn hear(&self, from: NodeId, bytes: &[u8]) -> Result<(), HearError> {
        let (shard, message) = Message::decode(bytes)?;
        if message.from != from {
            return Err(HearError::Sender { expected: from, found: message.from });
        }
        self.group_station(shard)?.hear(message, bytes.len())
    }

    /// Who leads a shard's group, as far as this node knows; `None` while nobody is known, and for an engine of its own. It
    /// decides when it leads all shards: who leads the first one will.
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.group_station(shard).ok()?.leader()
    }

    /// True if the shard decides here: always so for an engine of its own.
    pub fn decides(&self, shard: ShardId) -> bool {
        self.group_station(shard).map_or(self.node().is_none(), |station| station.is_in_office())
    }

    /// How a shard's group stands.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn group(&self, shard: ShardId) -> Result<GroupStatus, GroupError> {
        self.ask_group(shard, GroupAsk::Status)
    }

    /// Hands a shard's office to another node, once it has everything. Clients are refused for a moment. All shards go where
    /// the first one goes, and only there.
    ///
    /// # Errors
    /// [`GroupError`]. Without one it is under way, and [`leader`](Self::leader) tells what came of it.
    pub fn hand_over(&self, shard: ShardId, to: NodeId) -> Result<(), GroupError> {
        Ok(self.ask_group(shard, |answer| GroupAsk::HandOver(to, answer))??)
    }

    /// Hands a shard's office to whoever is best at it: before a node ends, so that its clients need not wait for an
    /// election.
    ///
    /// # Errors
    /// As [`hand_over`](Self::hand_over).
    pub fn leave_office(&self, shard: ShardId) -> Result<(), GroupError> {
        Ok(self.ask_group(shard, GroupAsk::Leave)??)
    }

    /// Changes a shard's group by joint consensus.
    ///
    /// # Errors
    /// [`GroupError`]. Without one it is under way, and [`group`](Self::group) tells how far.
    pub fn change_group(&self, shard: ShardId, next: Members) -> Result<(), GroupError> {
        Ok(self.ask_group(shard, |answer| GroupAsk::Change(next, answer))??)
    }

    fn ask_group<T>(
        &self,
        shard: ShardId,
        ask: impl FnOnce(SyncSender<T>) -> GroupAsk,
    ) -> Result<T, GroupError> {
        let (answer, answered) = sync_channel(1);
        self.group_station(shard)?.ask_group(ask(answer));
        answered.recv_timeout(PATIENCE).map_err(|_| GroupError::Stopped)
    }
}
