//! A shard whose log a group of nodes has: what a quorum has on disk has happened.
//!
//! While an entry is on its way the shard decides what has arrived into the next one, as in [`Alone`](super::alone).
//! What a batch says waits in its [`Replica`] until it may leave. A shard that is led elsewhere applies what is committed
//! and turns requests away with the leader's name; one that has lost its office is rebuilt from store and log.

mod asks;
mod office;
mod steps;
mod transfer;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use onrush_proto::{FactView, Refusal};
use onrush_storage::disk::Disk;
use onrush_storage::log::LogReader;

use self::steps::{Part, Steps};
use super::clock::HostClock;
use super::laps::Laps;
use super::node_office::NodeOffice;
use super::rebuild::Rebuild;
use super::seat::{Seat, SeatParts};
use super::writer::{Durable, WriteError, Writer, Written};
use crate::cluster::Post;
use crate::recover::RecoverError;
use crate::replication::{
    Applied, Body, Declined, Entry, Giver, MemberFiles, MemberWriteError, Members, Message, NodeId, Output,
    PIECE_BYTES_MAX, RaftError, Release, Replica, RoleKind, Taker, TakerError,
};
use crate::shard::ShardOptions;
use crate::stages::Stage;
use crate::views::ViewRows;

/// Batches that a leader has on their way at most.
const PIPELINE_MAX: usize = 64;
/// Bytes from which on an output goes to the writer's thread.
const LARGE_BYTES: usize = 16 << 10;
/// What a write takes from which on the disk is slow, and for how long it counts as such.
const SLOW_WRITE_US: u64 = 10_000;
const SLOW_FOR_US: u64 = 10_000_000;
/// Bytes of entries that are written together while others wait for the disk.
const JOINED_BYTES_MAX: usize = 1 << 20;
/// Messages heard in one turn: a leader that gets no answer sends the same again, and whoever hears on meanwhile never gives
/// one.
const HEARD_MAX: usize = 8;
/// Things released in one turn, their bytes, and how long that may take: consensus has its own deadlines.
const RELEASES_MAX: usize = 256;
const RELEASED_BYTES_MAX: usize = 4 << 20;
const RELEASING_US_MAX: u64 = 20_000;
/// Idle time after which the log is sealed.
const SEAL_AFTER_US: u64 = 100_000;
/// How many election timeouts a member that closes waits for another one to take its office.
const FAREWELLS: u64 = 3;

impl Durable<Output> for MemberFiles {
    type Error = MemberWriteError;

    fn write(&mut self, output: &mut Output) -> Result<(), MemberWriteError> {
        MemberFiles::write(self, output)
    }
}

/// Why a member stops: what it would say next cannot be trusted.
#[derive(Debug, thiserror::Error)]
enum MemberError {
    #[error(transparent)]
    Raft(#[from] RaftError),
    #[error(transparent)]
    Write(#[from] WriteError<MemberWriteError>),
    #[error("entry {index}: {source}")]
    Fact { index: u64, source: onrush_proto::FactError },
    #[error("the shard was not rebuilt: {0}")]
    Rebuild(#[from] RecoverError),
    #[error("expected a thread that rebuilds the shard, found: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    Taker(#[from] TakerError),
    #[error(
        "a snapshot up to record {lsn} has arrived: the shard begins anew from it when its engine is opened again"
    )]
    Arrived { lsn: u64 },
}

/// What a member is made of, beside its seat.
pub(crate) struct MemberParts {
    pub(crate) replica: Replica,
    pub(crate) files: MemberFiles,
    pub(crate) applied: Applied,
    pub(crate) post: Arc<dyn Post>,
    /// Where its snapshots are.
    pub(crate) snapshots: Arc<dyn Disk>,
    pub(crate) shard_options: ShardOptions,
    pub(crate) election_us: u64,
    /// In which all shards of this node decide, or none.
    pub(crate) office: Arc<NodeOffice>,
}

/// One member at work.
pub(crate) struct Member {
    pub(super) seat: Seat,
    replica: Replica,
    writer: Writer<MemberFiles, Output>,
    /// What is to be written, in order.
    outputs: VecDeque<Output>,
    applied: Applied,
    post: Arc<dyn Post>,
    shard_options: ShardOptions,
    /// The shard that comes in the place of one that had decided what never happened.
    rebuild: Option<Rebuild>,
    /// True once it has given an office away while it was being rebuilt.
    gave_away: bool,
    log: LogReader,
    giver: Giver,
    taker: Taker,
    /// When followers are offered a snapshot next that lack what was released here.
    offer_due_us: u64,
    /// When it is looked next whether log can be let go of.
    release_due_us: u64,
    rows: ViewRows,
    /// Counts on, whatever becomes of shard time: consensus measures by it.
    clock: HostClock,
    election_us: u64,
    office: Arc<NodeOffice>,
    /// What it told the others last: the term in which it is ready.
    ready: Option<u64>,
    /// When it hands over next what another node should lead.
    follow_due_us: u64,
    /// How often it has done so.
    turn: usize,
    /// Since when it leads.
    led_since_us: u64,
    written_us: u64,
    /// Until when the disk counts as slow.
    slow_until_us: u64,
    sealed: bool,
    /// Role, term and leader that were told last.
    told: (RoleKind, u64, Option<NodeId>),
    /// Until when it waits for another one to take its office.
    farewell_us: Option<u64>,
}

impl Member {
    pub(super) fn new(seat: SeatParts, parts: MemberParts) -> Self {
        let MemberParts { replica, files, applied, post, snapshots, shard_options, election_us, office } =
            parts;
        let log = files.log.reader();
        Self {
            clock: seat.clock,
            seat: Seat::new(seat),
            replica,
            writer: Writer::new(files),
            outputs: VecDeque::new(),
            applied,
            post,
            shard_options,
            rebuild: None,
            gave_away: false,
            log,
            giver: Giver::new(Arc::clone(&snapshots), PIECE_BYTES_MAX),
            taker: Taker::new(snapshots),
            offer_due_us: 0,
            release_due_us: 0,
            rows: ViewRows::default(),
            election_us,
            office,
            ready: None,
            follow_due_us: 0,
            turn: 0,
            led_since_us: 0,
            written_us: 0,
            slow_until_us: 0,
            sealed: false,
            told: (RoleKind::Follower, 0, None),
            farewell_us: None,
        }
    }

    pub(super) fn write_beside(&mut self) -> io::Result<()> {
        self.writer.start_thread(Arc::clone(&self.seat.station))
    }

    /// True while a write is in flight.
    #[cfg(all(feature = "glommio", target_os = "linux"))]
    pub(super) fn is_writing(&self) -> bool {
        self.writer.is_writing()
    }

    /// How long nothing will be due, in us.
    pub(super) fn idle_us(&self) -> Option<u64> {
        if self.seat.is_stopped() {
            return None;
        }
        let consensus = self.replica.raft().next_due_us().saturating_sub(self.clock.now_us());
        let shard = self.seat.shard.next_deadline_us().filter(|_| self.may_decide() && !self.is_full());
        let shard = shard.map_or(u64::MAX, |due| due.saturating_sub(self.seat.clock.now_us()));
        Some(consensus.min(shard))
    }

    /// True while somebody waits who may not be decided yet.
    pub(super) fn is_blocked(&self) -> bool {
        let raft = self.replica.raft();
        let leads = raft.role() == RoleKind::Leader;
        let admits = self.may_decide() && self.seat.shard.admits();
        let blocked = !admits || self.is_full() || self.seat.waits_for_store();
        leads && blocked && self.seat.station.waiting() > 0 && !self.seat.is_stopped()
    }

    /// True if nothing more is decided before something leaves.
    fn is_full(&self) -> bool {
        self.replica.waiting() >= PIPELINE_MAX || self.seat.shard.is_full(&self.seat.open)
    }

    /// One turn; false if there was nothing to do.
    pub(super) fn turn(&mut self) -> bool {
        if self.seat.is_stopped() {
            return self.abandon();
        }
        match self.work() {
            Ok(worked) => worked,
            Err(error) => {
                match error {
                    MemberError::Arrived { .. } => self.seat.begin_anew(&error),
                    error => self.seat.stop(&error),
                }
                self.abandon();
                true
            }
        }
    }

    /// It has stopped, or ends: nobody is heard any more, and whoever waits learns that nobody knows. False if there was
    /// nobody.
    pub(super) fn abandon(&mut self) -> bool {
        while self.seat.station.heard().is_some() {}
        // Who asked is told by the end of the line.
        while self.seat.station.asked().is_some() {}
        self.seat.station.tell_office(None, false);
        self.seat.station.tell_heir(None);
        self.tell_ready(None);
        self.seat.leave();
        let open = self.seat.take_open();
        let waiting = self.replica.abandon();
        let any = !open.is_empty() || !waiting.is_empty();
        for batch in waiting.into_iter().chain([open]) {
            self.seat.answer_unknown(batch);
        }
        self.seat.refuse_inputs(Refusal::Stopped) || any
    }

    fn work(&mut self) -> Result<bool, MemberError> {
        let mut steps = Steps::start(self.clock);
        let mut worked = self.land()? | self.come_back()?;
        steps.end(Part::Write);
        worked |= self.hear()?;
        steps.end(Part::Hear);
        worked |= self.tick()?;
        steps.end(Part::Tick);
        worked |= self.carry_out()?;
        steps.end(Part::Write);
        self.look_at_office()?;
        self.follow_first();
        worked |= self.answer_asks()?;
        steps.end(Part::Ask);
        worked |= self.release()?;
        steps.end(Part::Release);
        worked |= self.decide()?;
        steps.end(Part::Decide);
        worked |= self.carry_out()?;
        steps.end(Part::Write);
        self.tell();
        steps.tell(self.seat.station.id.0);
        Ok(worked)
    }

    /// A write came back.
    fn land(&mut self) -> Result<bool, MemberError> {
        match self.writer.poll() {
            Some(written) => self.landed(written).map(|()| true),
            None => Ok(false),
        }
    }

    fn landed(&mut self, written: Written<Output, MemberWriteError>) -> Result<(), MemberError> {
        written.result?;
        self.seat.station.counters.stages.record(Stage::Commit, written.took_ns);
        self.look_at_disk(written.took_ns / 1_000);
        written.job.map_or(Ok(()), |output| self.is_written(output))
    }

    /// What an output owed the disk is there: what rests on it leaves.
    fn is_written(&mut self, mut output: Output) -> Result<(), MemberError> {
        let now_us = self.clock.now_us();
        self.send(&mut output.later);
        (self.written_us, self.sealed) = (now_us, false);
        self.release_log()?;
        if let Some(last) = output.append.last().map(Entry::position) {
            let raft = self.replica.raft_mut();
            raft.persisted(last, now_us)?;
            raft.trim();
        }
        self.take_output();
        Ok(())
    }

    /// What other members say.
    fn hear(&mut self) -> Result<bool, MemberError> {
        let mut heard = false;
        for _ in 0..HEARD_MAX {
            let Some(message) = self.seat.station.heard() else { break };
            heard = true;
            match message.is_of_snapshot() {
                true => self.hear_of_snapshot(message)?,
                false => self.replica.raft_mut().step(message, self.clock.now_us())?,
            }
        }
        self.take_output();
        Ok(heard)
    }

    fn tick(&mut self) -> Result<bool, MemberError> {
        let now_us = self.clock.now_us();
        let due = now_us >= self.replica.raft().next_due_us();
        if due {
            self.replica.raft_mut().tick(now_us)?;
            self.take_output();
        }
        self.offer_snapshots(now_us);
        if !self.sealed && now_us >= self.written_us + SEAL_AFTER_US && self.outputs.is_empty() {
            self.seal();
        }
        Ok(due)
    }

    /// What consensus wants done: what need not wait is sent at once.
    fn take_output(&mut self) {
        let mut output = self.replica.take_output();
        self.send(&mut output.now);
        if output.is_empty() {
            return;
        }
        let output = match self.outputs.back_mut() {
            Some(last) => match last.join(output, JOINED_BYTES_MAX) {
                Ok(()) => return,
                Err(output) => output,
            },
            None => output,
        };
        self.outputs.push_back(output);
    }

    fn send(&self, messages: &mut Vec<Message>) {
        for message in messages.drain(..) {
            if matches!(message.body, Body::TakeOffice) {
                // From here on another one may lead, and what is published here is no fresher than now.
                self.seat.station.fresh_us.store(self.clock.now_us(), Ordering::Relaxed);
            }
            let mut bytes = Vec::new();
            message.encode(self.seat.station.id, &mut bytes);
            self.post.send(message.to, bytes);
        }
    }

    /// Works off outputs, as far as no write is in flight; large ones by the writer's thread, and all of them for a while once
    /// the disk was slow: a leader that waits for it is silent, and turned out.
    fn carry_out(&mut self) -> Result<bool, MemberError> {
        let mut any = false;
        while !self.writer.is_writing()
            && let Some(mut output) = self.outputs.pop_front()
        {
            any = true;
            if !output.is_to_be_written() {
                self.send(&mut output.later);
                continue;
            }
            let began_us = self.clock.now_us();
            let is_long = output.append_bytes() >= LARGE_BYTES || began_us < self.slow_until_us;
            if is_long && self.writer.has_thread() {
                match self.writer.begin(output) {
                    Ok(()) => continue,
                    Err(back) => output = back,
                }
            }
            let mut laps = Laps::start();
            self.writer.write(&mut output)?;
            self.seat.end(Stage::Commit, &mut laps);
            self.look_at_disk(self.clock.now_us() - began_us);
            self.is_written(output)?;
        }
        Ok(any)
    }

    fn look_at_disk(&mut self, took_us: u64) {
        if took_us > SLOW_WRITE_US {
            self.slow_until_us = self.clock.now_us() + SLOW_FOR_US;
        }
    }

    /// True if the shard may decide here, now.
    fn may_decide(&self) -> bool {
        self.replica.holds_office() && !self.replica.raft().is_handing_over()
    }

    /// What is committed leaves, or is applied.
    fn release(&mut self) -> Result<bool, MemberError> {
        if self.rebuild.is_some() {
            return Ok(false);
        }
        let held_back = self.seat.station.held_back.load(Ordering::Relaxed);
        if self.replica.raft().role() != RoleKind::Leader && self.seat.waits_for_store() && !held_back {
            // Like whoever decides it lets its store catch up: what is committed waits in the log, not in memory. But what
            // lets the store go on may stand behind.
            return Ok(false);
        }
        let (mut laps, mut bytes) = (Laps::start(), 0);
        let until_us = self.clock.now_us() + RELEASING_US_MAX;
        for released in 0..RELEASES_MAX {
            let now_us = self.clock.now_us();
            if bytes > RELEASED_BYTES_MAX || now_us > until_us {
                return Ok(true);
            }
            if !self.replica.may_release(now_us) {
                return Ok(released > 0);
            }
            match self.replica.release(now_us)? {
                None => return Ok(released > 0),
                Some(Release::Foreign(entry)) => {
                    bytes += entry.bytes();
                    self.apply(&entry)?;
                }
                Some(Release::Own(mut batch, entry)) => {
                    bytes += entry.bytes();
                    self.applied.pass(entry.info());
                    self.seat.publish(&mut batch, entry.shared());
                    self.seat.end(Stage::Apply, &mut laps);
                    self.seat.let_go(*batch, &mut laps);
                }
                Some(Release::Said(batch)) => self.seat.let_go(*batch, &mut laps),
            }
        }
        Ok(true)
    }

    /// An entry that another leader decided has happened.
    fn apply(&mut self, entry: &Entry) -> Result<(), MemberError> {
        let info = entry.info();
        let shard = &mut self.seat.shard;
        for record in entry.frame().view().records() {
            let fact = FactView::new(record.kind, record.payload).and_then(|view| view.read(record.key_hash));
            let fact = fact.map_err(|source| MemberError::Fact { index: info.index, source })?;
            shard.replay(fact, record.lsn, info.time_us);
        }
        shard.resume(info.next_lsn() - 1, info.time_us);
        shard.settle_replay();
        self.rows.stage(shard.state_mut());
        self.applied.pass(info);
        self.seat.applied(&mut self.rows, entry.shared());
        Ok(())
    }

    /// Takes what has arrived and decides it, or turns it away.
    fn decide(&mut self) -> Result<bool, MemberError> {
        if !self.replica.holds_office() {
            return Ok(self.turn_away());
        }
        if self.replica.raft().is_handing_over() {
            // Who asks now hears of whoever comes next.
            return Ok(false);
        }
        if self.finish_change()? {
            return Ok(true);
        }
        let mut laps = Laps::start();
        let decided = !self.is_full() && self.seat.decide(&mut laps);
        if self.seat.is_stopped() {
            // Rows could not be read: what was decided rests on nothing.
            return Ok(true);
        }
        let proposed = self.propose()?;
        laps.trace();
        Ok(decided || proposed)
    }

    /// Sends the open batch on its way, unless an entry waits for the disk: then it grows on.
    fn propose(&mut self) -> Result<bool, MemberError> {
        let is_entry = !self.seat.open.frame.is_empty();
        let busy = self.writer.is_writing() || !self.outputs.is_empty();
        if self.seat.open.is_empty() || self.replica.waiting() >= PIPELINE_MAX || (is_entry && busy) {
            return Ok(false);
        }
        let batch = self.seat.take_open();
        if let Err((batch, _)) = self.replica.propose(batch, 0, self.clock.now_us())? {
            self.seat.open = *batch;
            return Ok(false);
        }
        self.take_output();
        Ok(true)
    }

    /// The second half of a change of the group, which its leader proposes.
    fn finish_change(&mut self) -> Result<bool, MemberError> {
        match self.replica.raft().change_to_finish() {
            Some(next) => Ok(self.change_group(&next)?.is_ok()),
            None => Ok(false),
        }
    }

    fn change_group(&mut self, next: &Members) -> Result<Result<(), Declined>, MemberError> {
        // What was decided stands in front of it.
        if !self.seat.open.is_empty() {
            return Ok(Err(Declined::Changing));
        }
        let changed = self.replica.change_group(&mut self.seat.shard, next, self.clock.now_us())?;
        self.take_output();
        Ok(changed)
    }

    /// Turns away who waits: another one decides, or nobody does. False if there was nobody.
    fn turn_away(&mut self) -> bool {
        let (node, leader) = (self.replica.raft().id(), self.first_leader());
        if leader == Some(node) {
            // It decides as soon as all shards are led here, and have applied what their predecessors have committed.
            return false;
        }
        self.seat.refuse_inputs(Refusal::NotLeader { leader: leader.map_or(0, |node| node.0) })
    }

    /// What other threads look at, and whoever reads the log.
    fn tell(&mut self) {
        let raft = self.replica.raft();
        let told = (raft.role(), raft.term(), raft.leader());
        if told != self.told {
            let (role, term, leader) = told;
            let leader = leader.map(|node| node.0);
            tracing::info!(
                shard = self.seat.station.id.0,
                ?role,
                term,
                leader,
                "another role, term or leader"
            );
            self.told = told;
            self.led_since_us = self.clock.now_us();
        }
        let raft = self.replica.raft();
        self.seat.station.tell_heir(raft.heir());
        let has_place = raft.has_place() && !self.taker.is_fetching(raft);
        self.seat.station.has_place.store(has_place, Ordering::Relaxed);
        self.seat.station.tell_office(told.2, self.replica.holds_office());
        let (applied, now_us) = (self.applied.index, self.clock.now_us());
        let fresh_us = self.replica.raft_mut().fresh_us(applied, now_us);
        self.seat.station.fresh_us.store(fresh_us, Ordering::Relaxed);
    }

    /// Seals the log while it is idle.
    pub(super) fn seal(&mut self) {
        if self.seat.is_stopped() || !self.outputs.is_empty() {
            return;
        }
        let time_us = self.replica.raft().log().time_us();
        let sealed = self.writer.disk().map(|files| files.log.seal(time_us));
        match sealed {
            None => {}
            Some(Ok(())) => self.sealed = true,
            Some(Err(error)) => self.seat.stop(&error),
        }
    }

    /// True if it may end, now that its engine closes: another one leads and it owes its disk nothing, or nobody has taken
    /// its office in time.
    pub(super) fn may_end(&mut self) -> bool {
        let now_us = self.clock.now_us();
        let until_us = *self.farewell_us.get_or_insert(now_us + FAREWELLS * self.election_us);
        let settled = self.outputs.is_empty() && !self.writer.is_writing();
        if self.seat.is_stopped() || now_us >= until_us {
            return true;
        }
        if self.replica.raft().role() != RoleKind::Leader {
            return settled;
        }
        let follows = !self.is_first() && self.first_leader() == Some(self.replica.raft().id());
        if !follows || self.first_elsewhere().is_some() {
            // Declined, it is asked again the next time, or another one is.
            let _ = self.leave();
        }
        false
    }
}
