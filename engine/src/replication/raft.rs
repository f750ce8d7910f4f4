//! Raft, as Ongaro's dissertation has it, over frames: one batch is one entry.
//!
//! With polls before elections (9.6), leaders that step down without a quorum and leases (6.4), joint consensus (4.3),
//! learners (4.2.1) and transfer of office (3.10). No clock, no thread, no socket and no randomness of its own: time
//! comes with each call, chance from a seed. What is to be written and sent is in [`Output`], in which order.

use std::collections::BTreeMap;

use onrush_proto::planted::planted;
use onrush_storage::log::{FrameBuf, FrameInfo, Vote};

use super::entry::{Entry, Position};
use super::entry_log::{EntryError, EntryLog};
use super::freshness::Freshness;
use super::leading::Leading;
use super::members::{Members, NodeId};
use super::message::{Body, Message};

/// How long things take, in us.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A follower that has not heard a leader for this long, and up to as long again, polls for an election.
    pub election_us: u64,
    /// A leader shows that it is alive this often.
    pub heartbeat_us: u64,
    /// By how much clocks of two members may differ in speed over an election timeout: a lease ends earlier by that.
    pub skew_us: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { election_us: 300_000, heartbeat_us: 50_000, skew_us: 30_000 }
    }
}

/// By how much a message may raise the term: more than elections ever do, and so little that terms never end.
const TERM_STEP_MAX: u64 = 1 << 32;

/// Elections that follow each other without a longer pause.
const ELECTIONS_AT_ONCE: u32 = 2;
/// Times that the pause between elections doubles.
const BACKOFF_MAX: u32 = 3;
/// After so many without hearing a leader a member may have lost its place.
const SOUGHT_IN_VAIN: u32 = 5;

/// What a member is told when it is made.
#[derive(Clone, Copy, Debug)]
pub struct RaftOptions {
    /// Who it is.
    pub id: NodeId,
    /// Seed of its election timeouts. Each member needs another one, or nobody wins an election.
    pub seed: u64,
    /// How long things take.
    pub timing: Timing,
    /// Most bytes of entries in one message; an entry that is larger goes alone.
    pub message_bytes_max: usize,
    /// Most bytes of entries on their way to one follower.
    pub in_flight_bytes_max: usize,
}

impl RaftOptions {
    /// Options with the recommended bounds.
    pub fn new(id: NodeId, seed: u64) -> Self {
        Self { id, seed, timing: Timing::default(), message_bytes_max: 1 << 20, in_flight_bytes_max: 8 << 20 }
    }
}

/// What one call wants done, in this order: `now` sent at once; `vote` made durable; the log cut behind
/// `truncate_after`, and `append` made durable; then, and only then, `later` sent, and
/// [`Raft::persisted`] told. Outputs are worked off in the order in which they came.
#[derive(Default, Debug)]
pub struct Output {
    /// Entries of a leader, which may overtake its own write; a follower's word that it hears one.
    pub now: Vec<Message>,
    /// The term and the vote to remember.
    pub vote: Option<Vote>,
    /// The last entry that stays.
    pub truncate_after: Option<u64>,
    /// Entries to write behind it.
    pub append: Vec<Entry>,
    /// What rests on all of that.
    pub later: Vec<Message>,
}

impl Output {
    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.now.is_empty() && self.later.is_empty() && !self.is_to_be_written()
    }

    /// Bytes of entries to write.
    pub fn append_bytes(&self) -> usize {
        self.append.iter().map(Entry::bytes).sum()
    }

    /// Takes what came behind it, if that are entries and the two have at most so many bytes: they become durable together.
    ///
    /// # Errors
    /// The other one, if it stays one of its own.
    pub fn join(&mut self, mut next: Self, bytes_max: usize) -> Result<(), Self> {
        let is_more = next.vote.is_none() && next.truncate_after.is_none() && !self.append.is_empty();
        if !is_more || self.append_bytes() + next.append_bytes() > bytes_max {
            return Err(next);
        }
        self.now.append(&mut next.now);
        self.append.append(&mut next.append);
        self.later.append(&mut next.later);
        Ok(())
    }

    /// True if there is something to make durable.
    pub fn is_to_be_written(&self) -> bool {
        self.vote.is_some() || self.truncate_after.is_some() || !self.append.is_empty()
    }
}

/// What a member is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleKind {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks for votes, or whether it would get them.
    Candidate,
    /// It leads.
    Leader,
}

/// Why a member cannot go on: what it holds contradicts what was promised.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// A leader wants a committed entry replaced.
    #[error(
        "expected committed entry {index} to stay in term {ours}, found that a leader has it in term {theirs}"
    )]
    CommittedReplaced {
        /// The entry's index.
        index: u64,
        /// Its term here.
        ours: u64,
        /// Its term there.
        theirs: u64,
    },
    /// Two leaders of one term.
    #[error("expected one leader in term {term}, found {first} and {second}")]
    TwoLeaders {
        /// The term.
        term: u64,
        /// The one known.
        first: NodeId,
        /// The other.
        second: NodeId,
    },
    /// Entries could not be read, or are none.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// Why something was not begun here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Declined {
    /// Another one leads, or nobody.
    #[error("not the leader; known as leader: {leader:?}")]
    NotLeader {
        /// Who leads, as far as known.
        leader: Option<NodeId>,
    },
    /// The office is being handed over.
    #[error("the office is being handed to {0}")]
    HandingOver(NodeId),
    /// The group is being changed already, or cannot be changed to that in one step.
    #[error("another change of the group is under way")]
    Changing,
    /// The node has no vote here, and cannot lead.
    #[error("expected a voter, found {0}")]
    NoVoter(NodeId),
    /// The node is to have a vote, and lacks entries: it follows as a learner first.
    #[error(
        "expected a voter to have every committed entry on disk, {node} has them up to {matched} of {commit}"
    )]
    Behind {
        /// The node.
        node: NodeId,
        /// How far its log is known to be equal.
        matched: u64,
        /// How far it has to be.
        commit: u64,
    },
}

pub(super) enum Role {
    Follower,
    Candidate(Candidate),
    Leader(Box<Leading>),
}

pub(super) struct Candidate {
    /// True while it only asks whether it would be elected.
    pub(super) poll: bool,
    /// True if a leader has asked it to.
    pub(super) asked: bool,
    pub(super) votes: BTreeMap<NodeId, Answer>,
}

/// What a voter has answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Against,
    For,
    /// For, by one whose log may lack the end of what it had.
    Barred,
}

impl Answer {
    pub(super) fn of(granted: bool, barred: bool) -> Self {
        match (granted, barred) {
            (false, _) => Self::Against,
            (true, false) => Self::For,
            (true, true) if planted(47) => Self::For,
            (true, true) => Self::Barred,
        }
    }
}

/// One member of a group.
pub struct Raft {
    pub(super) options: RaftOptions,
    pub(super) log: EntryLog,
    pub(super) vote: Vote,
    pub(super) role: Role,
    /// Who leads in this term, if known.
    pub(super) leader: Option<NodeId>,
    pub(super) commit: u64,
    /// When a leader was last heard. A member that has just begun may have heard one right before.
    pub(super) heard_us: u64,
    /// When it polls for an election.
    pub(super) election_due_us: u64,
    /// Elections that it has sought since a leader was heard.
    pub(super) sought: u32,
    /// True if since then somebody has asked for its vote who lacks entries that it has.
    pub(super) outdid: bool,
    pub(super) freshness: Freshness,
    dice: u64,
    pub(super) out: Output,
}

impl Raft {
    /// A member that begins as a follower. `vote` is what it has promised, `log` what it holds, and `commit` what is
    /// known to be committed of that: what its store has.
    pub fn new(options: RaftOptions, vote: Vote, log: EntryLog, commit: u64, now_us: u64) -> Self {
        // Promises are written before entries of their term. If they are lost, nothing more is promised in that term.
        let term = log.last().term;
        let lost = term > vote.term;
        let vote = if lost { Vote { term, voted_for: Some(options.id.0), ..vote } } else { vote };
        let mut raft = Self {
            commit: commit.clamp(log.first_index() - 1, log.last().index),
            options,
            log,
            vote,
            role: Role::Follower,
            leader: None,
            heard_us: if planted(39) { 0 } else { now_us },
            election_due_us: 0,
            sought: 0,
            outdid: false,
            freshness: Freshness::default(),
            dice: options.seed,
            out: Output::default(),
        };
        if lost {
            raft.promise(vote);
        }
        raft.await_leader(now_us);
        raft
    }

    /// Who it is.
    pub fn id(&self) -> NodeId {
        self.options.id
    }

    /// Its term.
    pub fn term(&self) -> u64 {
        self.vote.term
    }

    /// What it is.
    pub fn role(&self) -> RoleKind {
        match self.role {
            Role::Follower => RoleKind::Follower,
            Role::Candidate(_) => RoleKind::Candidate,
            Role::Leader(_) => RoleKind::Leader,
        }
    }

    /// Who leads, as far as known; itself if it does.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The last entry that is known to be committed.
    pub fn commit(&self) -> u64 {
        self.commit
    }

    /// The last entry that is committed and on disk here: what may be applied.
    pub fn applicable(&self) -> u64 {
        self.commit.min(self.log.durable())
    }

    /// All entries.
    pub fn log(&self) -> &EntryLog {
        &self.log
    }

    /// The log's files have let go of entries: nobody is sent them any more.
    ///
    /// # Errors
    /// If the oldest entry that is left cannot be read.
    pub fn released(&mut self) -> Result<(), RaftError> {
        Ok(self.log.released()?)
    }

    /// Lets go of entries in memory that are on disk.
    pub fn trim(&mut self) {
        self.log.trim();
    }

    /// Who belongs to the group.
    pub fn members(&self) -> &Members {
        self.log.members()
    }

    /// True if this member has a vote and, as far as it can tell, a place in its group. Nobody tells who was removed: it goes on
    /// seeking elections, and no leader is heard.
    pub fn has_place(&self) -> bool {
        let hears = matches!(self.role, Role::Leader(_)) || self.sought < SOUGHT_IN_VAIN;
        self.members().is_voter(self.options.id) && hears
    }

    /// True if it leads and knows everything that its predecessors have committed: the entry with which its term began
    /// is committed.
    pub fn is_in_office(&self) -> bool {
        let begun = |leading: &Leading| self.commit >= leading.begun_at || planted(41);
        matches!(&self.role, Role::Leader(leading) if begun(leading))
    }

    /// What has come up since the last call.
    pub fn take_output(&mut self) -> Output {
        std::mem::take(&mut self.out)
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn next_due_us(&self) -> u64 {
        match &self.role {
            Role::Leader(leading) => leading.heartbeat_due_us,
            _ => self.election_due_us,
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// If entries cannot be read.
    pub fn tick(&mut self, now_us: u64) -> Result<(), RaftError> {
        if matches!(self.role, Role::Leader(_)) {
            return self.tick_leader(now_us);
        }
        if now_us >= self.election_due_us {
            self.seek_election(now_us)?;
        }
        Ok(())
    }

    /// Takes a message.
    ///
    /// # Errors
    /// [`RaftError`]: this member must stop.
    pub fn step(&mut self, message: Message, now_us: u64) -> Result<(), RaftError> {
        let Message { from, to, term, body } = message;
        let is_far = term > self.vote.term.saturating_add(TERM_STEP_MAX);
        if to != self.options.id || from == self.options.id || is_far {
            return Ok(());
        }
        match body {
            Body::Ballot(ballot) => self.ballot(from, term, ballot, now_us),
            Body::Vote { poll, granted, barred } => {
                return self.voted(from, term, (poll, Answer::of(granted, barred)), now_us);
            }
            Body::Append(append) => return self.append(from, term, append, now_us),
            Body::Appended { sent_us, said_us, result } => {
                return self.appended(from, term, (sent_us, said_us, result), now_us);
            }
            Body::TakeOffice if self.leader == Some(from) => return self.take_office(term, now_us),
            // Whoever has a disk at hand gives and takes snapshots.
            Body::TakeOffice | Body::Offer(_) | Body::Fetch { .. } | Body::Piece { .. } => {}
        }
        Ok(())
    }

    /// Everything up to this entry is on disk, if it is still the one that was written.
    ///
    /// # Errors
    /// If entries cannot be read.
    pub fn persisted(&mut self, written: Position, now_us: u64) -> Result<(), RaftError> {
        if self.log.term(written.index) == Some(written.term) {
            self.log.persisted(written.index);
            if matches!(self.role, Role::Leader(_)) {
                self.advance_commit(now_us)?;
            }
            self.catch_up();
        }
        Ok(())
    }

    /// Appends a batch to the leader's log and sends it. `flags` are those of the frame's kind.
    ///
    /// # Errors
    /// [`Declined`] if it is not to lead; the batch was not begun.
    pub fn propose(
        &mut self,
        frame: &FrameBuf,
        time_us: u64,
        flags: u16,
        now_us: u64,
    ) -> Result<Result<Position, Declined>, RaftError> {
        let Role::Leader(leading) = &self.role else {
            return Ok(Err(Declined::NotLeader { leader: self.leader }));
        };
        if let Some(transfer) = &leading.transfer {
            return Ok(Err(Declined::HandingOver(transfer.to)));
        }
        let entry = Entry::new(frame, FrameInfo { time_us, flags, ..self.next_info() });
        let index = entry.position().index;
        let next = entry.members().map_err(|source| EntryError::Members { index, source })?;
        if let Some(Err(declined)) = next.map(|next| self.check_change(&next)) {
            return Ok(Err(declined));
        }
        let position = entry.position();
        self.lead_entry(entry, now_us)?;
        Ok(Ok(position))
    }

    /// True if its log may lack the end of what it had, and it has not caught up since.
    pub fn is_barred(&self) -> bool {
        self.vote.barred
    }

    /// Whoever has what the leader of this term has committed lacks nothing any more.
    pub(super) fn catch_up(&mut self) {
        if self.vote.barred && self.log.term(self.applicable()) == Some(self.vote.term) {
            self.promise(Vote { barred: false, ..self.vote });
        }
    }

    /// What the next entry says about itself, without records.
    pub(super) fn next_info(&self) -> FrameInfo {
        FrameInfo {
            first_lsn: self.log.next_lsn(),
            record_count: 0,
            term: self.vote.term,
            time_us: self.log.time_us(),
            flags: 0,
            index: self.log.last().index + 1,
        }
    }

    /// Begins to follow, in this term or a later one.
    pub(super) fn follow(&mut self, term: u64, leader: Option<NodeId>, now_us: u64) {
        if term > self.vote.term {
            self.promise(Vote { term, voted_for: None, ..self.vote });
            self.leader = None;
        }
        self.role = Role::Follower;
        self.leader = leader.or(self.leader.filter(|leader| *leader != self.options.id));
        self.await_leader(now_us);
    }

    pub(super) fn promise(&mut self, vote: Vote) {
        self.vote = vote;
        self.out.vote = Some(vote);
    }

    /// Waits for a leader, anew and for another time than others.
    pub(super) fn await_leader(&mut self, now_us: u64) {
        // splitmix64
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // A little later than everybody else may grant a vote who heard the leader at the same time.
        let Timing { election_us, skew_us, .. } = self.options.timing;
        let spread_us = election_us.saturating_sub(skew_us).max(1) << self.backoff();
        self.election_due_us = now_us + election_us + skew_us + (mixed ^ (mixed >> 31)) % spread_us;
    }

    /// Where answers take longer than an election timeout, members that try again too soon end each other's elections for
    /// ever: from the third on they wait up to twice as long each time.
    fn backoff(&self) -> u32 {
        self.sought.saturating_sub(ELECTIONS_AT_ONCE).min(BACKOFF_MAX)
    }

    /// Says something that needs nothing on disk but the promise by which this member leads.
    pub(super) fn say_now(&mut self, to: NodeId, body: Body) {
        let promised = matches!(&self.role, Role::Leader(leading) if self.log.durable() >= leading.begun_at);
        if !promised {
            return self.say_later(to, self.vote.term, body);
        }
        let message = Message { from: self.options.id, to, term: self.vote.term, body };
        self.out.now.push(message);
    }

    pub(super) fn say_later(&mut self, to: NodeId, term: u64, body: Body) {
        self.out.later.push(Message { from: self.options.id, to, term, body });
    }
}
