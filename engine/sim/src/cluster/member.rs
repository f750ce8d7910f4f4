//! A member: one shard at one node, with its disk, its store, and a life of its replica.

use std::collections::VecDeque;
use std::sync::Arc;

use onrush_engine::flush::Stored;
use onrush_engine::recover::{LogPosition, RecoverError, Recovered, recover, recover_with_views};
use onrush_engine::replication::{
    Applied, Arrived, EntryError, EntryLog, Giver, MemberFiles, MemberOpenError, Members, NodeId, Output,
    Raft, RaftError, RaftOptions, Replica, Taker, Timing, found, stored_group,
};
use onrush_engine::shard::{Effects, Input, PeerMessage, Shard, ShardOptions, Want};
use onrush_engine::views::{ShardViews, ViewRows};
use onrush_engine::{Flusher, Snapshots, Station, Tail, TailBounds, install, install_newest};
use onrush_proto::{FactView, ShardId};
use onrush_storage::disk::{Disk, FaultDisk};
use onrush_storage::log::{BeginError, Log, LogOptions, OpenError, Prepare, VoteError};
use onrush_storage::store::{Keyspace, Store};

use crate::invariants::monotone::Seen;
use crate::node::CutStore;
use crate::plan::Plan;
use crate::planted::Planted;
use crate::report::{Verdict, Violation};

/// Rounds of fetching after which a turn's wants should have ended.
const FETCHES_MAX: usize = 1_000;

/// What survives crashes of a member's node.
pub(crate) struct Member {
    /// Its node.
    pub(crate) id: NodeId,
    pub(crate) shard: usize,
    pub(crate) disk: FaultDisk,
    pub(crate) snapshots: FaultDisk,
    pub(crate) store: CutStore,
    /// The terms of the entries that are on disk, by index: the truth, whatever the product believes.
    pub(crate) on_disk: Vec<u64>,
    /// The entries that stay, while others are being taken back.
    pub(crate) taking_back: Option<usize>,
    /// True from a start at which it began anew, from another node's snapshot, until that was looked at.
    pub(crate) began_anew: bool,
    /// True from damage to its last entry until it has caught up: meanwhile nobody else is damaged.
    pub(crate) damaged: bool,
    /// True until the start that meets the damage.
    pub(crate) flipped: bool,
    /// The highest term in which it has said anything.
    pub(crate) spoke_in: u64,
    /// When the durable write under way comes back.
    pub(crate) stalled_until_us: u64,
    pub(crate) live: Option<Live>,
}

/// One life of a member.
pub(crate) struct Live {
    pub(crate) replica: Replica,
    pub(crate) files: MemberFiles,
    /// What is to be written, in order.
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) shard: Shard,
    pub(crate) stored: Stored,
    pub(crate) station: Arc<Station>,
    pub(crate) views: Arc<ShardViews>,
    pub(crate) flusher: Option<Flusher>,
    pub(crate) inbox: VecDeque<Input>,
    /// Requests that are not admitted yet.
    pub(crate) door: VecDeque<Input>,
    /// The office in which it decides, or did so last.
    pub(crate) office: u64,
    /// What it told its node last: the term in which it is ready for an office.
    pub(crate) ready: Option<u64>,
    /// Messages of other shards with their offices, in order: one that is not entered here yet has them wait.
    pub(crate) sent: VecDeque<(u64, ShardId, PeerMessage)>,
    /// When it hands over next what another node should lead, and how often it has done so.
    pub(crate) follow_due_us: u64,
    pub(crate) followed: usize,
    /// When it began to lead, if it does.
    pub(crate) led_since_us: u64,
    /// By how much its clock is ahead of its node's: it never goes back behind an entry.
    pub(crate) ahead_us: u64,
    pub(crate) open: Effects,
    pub(crate) applied: Applied,
    pub(crate) giver: Giver,
    pub(crate) taker: Taker,
    pub(crate) seen: Seen,
    rows: ViewRows,
    wants: Vec<Want>,
}

/// How a start ended that is no violation.
pub(crate) enum Started {
    Up,
    /// The disk failed again.
    DiskFailed,
}

impl Member {
    pub(crate) fn new(id: NodeId, shard: usize, disk_seed: u64) -> Self {
        Self {
            id,
            shard,
            disk: FaultDisk::new(disk_seed),
            snapshots: FaultDisk::new(disk_seed.rotate_left(32)),
            store: CutStore::default(),
            on_disk: Vec::new(),
            taking_back: None,
            began_anew: false,
            damaged: false,
            flipped: false,
            spoke_in: 0,
            stalled_until_us: 0,
            live: None,
        }
    }

    /// Writes the entry that the group begins with.
    pub(crate) fn found(&mut self, plan: &Plan, members: &Members, now_us: u64) -> Verdict {
        let log = Log::open(Arc::new(self.disk.clone()), self.log_options(plan, 1));
        let (mut log, _) = log.map_err(|error| failed("a new log", &error))?;
        found(&mut log, members, now_us).map_err(|error| failed("a group that is founded", &error))?;
        self.on_disk.push(0);
        Ok(())
    }

    fn log_options(&self, plan: &Plan, epoch: u64) -> LogOptions {
        LogOptions {
            segment_bytes: plan.segment_bytes,
            prepare: Prepare::Inline,
            spares_max: 2,
            ..LogOptions::new(self.shard as u16, epoch)
        }
    }

    /// Starts the member's next life: what its store has is what it knows to be committed.
    pub(crate) fn start(
        &mut self,
        plan: &Plan,
        options: ShardOptions,
        (members, epoch, now_us): (&Members, u64, u64),
    ) -> Result<Started, Violation> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let log_options = self.log_options(plan, epoch);
        if let Started::DiskFailed = self.begin_anew(&disk, log_options)? {
            return Ok(Started::DiskFailed);
        }
        let files = match MemberFiles::open(&disk, log_options) {
            Ok((files, _)) => files,
            Err(MemberOpenError::Log(OpenError::Read { .. } | OpenError::Write { .. })) => {
                return Ok(Started::DiskFailed);
            }
            Err(MemberOpenError::Vote(VoteError::Io(_))) => return Ok(Started::DiskFailed),
            Err(error) => return Err(failed("a log and a vote that open", &error)),
        };
        let log = &files.log;
        let Some(entries) = self.entries(plan, log, members)? else { return Ok(Started::DiskFailed) };
        let end_lsn = self.store.applied(Keyspace::History).max(self.store.applied(Keyspace::Current));
        if log.end_lsn() < end_lsn {
            let expected = format!("a log that reaches record {end_lsn}, which its store has");
            return Err(Violation::new("commits", expected, log.end_lsn().to_string()));
        }
        let applied = Applied::in_store(log.reader(), entries.front(), end_lsn);
        let applied = applied.map_err(|error| failed("a log that reads", &error))?;
        let at = LogPosition { first_lsn: log.first_lsn(), end_lsn, time_us: applied.time_us };
        let (recovered, views) = match recover_with_views(options, &self.store, log.reader(), at) {
            Ok(rebuilt) => rebuilt,
            Err(RecoverError::Log(onrush_storage::log::ReadError::Read { .. })) => {
                return Ok(Started::DiskFailed);
            }
            Err(error) => return Err(failed("a shard that recovers", &error)),
        };
        let raft_options = raft_options(plan, self.id, epoch);
        let ahead_us = entries.time_us().saturating_sub(now_us);
        // How the group was founded is committed from the beginning.
        let raft =
            Raft::new(raft_options, files.votes.vote(), entries, applied.index.max(1), now_us + ahead_us);
        let replica = Replica::new(raft, applied.index);
        let live = self.begin(plan, (replica, files, applied), (recovered, views));
        self.live = Some(Live { ahead_us, ..live });
        Ok(Started::Up)
    }

    fn begin(
        &self,
        plan: &Plan,
        (replica, files, applied): (Replica, MemberFiles, Applied),
        (recovered, views): (Recovered, Arc<ShardViews>),
    ) -> Live {
        let Recovered { shard, absorber, replayed_from, .. } = recovered;
        let (log, id) = (&files.log, ShardId(self.shard as u16));
        let tail = Arc::new(Tail::new(applied.lsn, log.reader(), TailBounds::at_most(plan.tail_bytes_max)));
        let station = Arc::new(Station::new(id, 1, Arc::clone(&tail)));
        station.set_ceiling(shard.store_ceiling());
        let shelf: Arc<dyn Disk> = Arc::new(self.snapshots.clone());
        let snapshots = Snapshots::new(id, Arc::clone(&shelf), plan.flush.snapshot_bytes);
        let snapshots = snapshots.placed(log.reader()).continuing(log).by_hand();
        let store = Box::new(self.store.clone());
        let flusher =
            Flusher::new(Arc::clone(&station), replayed_from, absorber, store, (plan.flush, snapshots));
        Live {
            replica,
            files,
            outputs: VecDeque::new(),
            shard,
            stored: Stored::new(self.store.reader()),
            station,
            views,
            flusher: Some(flusher),
            inbox: VecDeque::new(),
            door: VecDeque::new(),
            office: 0,
            ready: None,
            sent: VecDeque::new(),
            follow_due_us: 0,
            followed: 0,
            led_since_us: 0,
            ahead_us: 0,
            open: Effects::default(),
            applied,
            giver: Giver::new(Arc::clone(&shelf), plan.piece_bytes),
            taker: Taker::new(shelf),
            seen: Seen::default(),
            rows: ViewRows::default(),
            wants: Vec::new(),
        }
    }

    /// Its entries; `None` if the disk failed. A store that the log does not reach back to is filled from a snapshot.
    fn entries(&mut self, plan: &Plan, log: &Log, members: &Members) -> Result<Option<EntryLog>, Violation> {
        let reached = self.store.applied(Keyspace::History).min(self.store.applied(Keyspace::Current));
        if reached + 1 < log.first_lsn() {
            self.store = CutStore::default();
            let filled = install_newest(&self.snapshots, &mut self.store);
            filled.map_err(|error| failed("a store that is filled from a snapshot", &error))?;
        }
        let group = stored_group(&Stored::new(self.store.reader()));
        let group = group.map_err(|error| failed("a group in the store", &error))?;
        let group = group.unwrap_or_else(|| members.clone());
        match EntryLog::open(log.reader(), group, plan.recent_bytes_max) {
            Ok(entries) => Ok(Some(entries)),
            Err(EntryError::Read(onrush_storage::log::ReadError::Read { .. })) => Ok(None),
            Err(error) => Err(failed("entries that read", &error)),
        }
    }

    /// Log and store from a snapshot of another node's that has arrived, if one has.
    fn begin_anew(&mut self, disk: &Arc<dyn Disk>, options: LogOptions) -> Result<Started, Violation> {
        let arrived = Arrived::on(&self.snapshots);
        let Some(arrived) = arrived.map_err(|error| failed("a disk of snapshots", &error))? else {
            return Ok(Started::Up);
        };
        self.began_anew = true;
        self.store = CutStore::default();
        match Log::begin(Arc::clone(disk), options, arrived.front()) {
            Ok(_) => {}
            Err(
                BeginError::Open(OpenError::Read { .. } | OpenError::Write { .. }) | BeginError::Append(_),
            ) => {
                return Ok(Started::DiskFailed);
            }
            Err(error) => return Err(failed("a log that is begun anew", &error)),
        }
        let filled = install(arrived.snapshot(), &mut self.store);
        filled.map_err(|error| failed("a store that is filled from a snapshot", &error))?;
        let done = arrived.done(&self.snapshots);
        done.map_err(|error| failed("a disk of snapshots", &error))?;
        Ok(Started::Up)
    }

    /// Drops what the shard has decided and was not committed: its memory is rebuilt from store and log.
    pub(crate) fn rebuild(&mut self, options: ShardOptions) -> Verdict {
        let Some(live) = &mut self.live else { return Ok(()) };
        let at = LogPosition {
            first_lsn: live.files.log.first_lsn(),
            end_lsn: live.applied.lsn,
            time_us: live.applied.time_us,
        };
        // What is published is what was committed, and so it stays.
        let rebuilt = recover(options, &self.store, live.files.log.reader(), at, |_| ());
        live.shard = rebuilt.map_err(|error| failed("a shard that is rebuilt", &error))?.shard;
        live.open = Effects::default();
        Ok(())
    }
}

fn failed(expected: &str, error: &dyn std::fmt::Display) -> Violation {
    Violation::new("replay", expected, error.to_string())
}

fn raft_options(plan: &Plan, id: NodeId, seed: u64) -> RaftOptions {
    RaftOptions {
        timing: Timing {
            election_us: plan.election_us,
            heartbeat_us: plan.election_us / 6,
            skew_us: plan.election_us / 10,
        },
        message_bytes_max: plan.message_bytes_max,
        in_flight_bytes_max: plan.message_bytes_max * 4,
        ..RaftOptions::new(id, seed)
    }
}

impl Live {
    /// Applies an entry that another leader decided.
    pub(crate) fn apply(&mut self, entry: &onrush_engine::replication::Entry) -> Verdict {
        let info = entry.info();
        for record in entry.frame().view().records() {
            let fact = FactView::new(record.kind, record.payload).and_then(|view| view.read(record.key_hash));
            let fact = fact.map_err(|error| failed("a fact in every record", &error))?;
            self.shard.replay(fact, record.lsn, info.time_us);
        }
        self.shard.resume(info.next_lsn() - 1, info.time_us);
        self.shard.settle_replay();
        self.rows.stage(self.shard.state_mut());
        self.views.publish(&mut self.rows);
        let ceiling = self.shard.store_ceiling();
        self.show(entry, ceiling);
        Ok(())
    }

    /// Shows a committed entry to the flusher and to subscribers.
    pub(crate) fn show(&mut self, entry: &onrush_engine::replication::Entry, ceiling: u64) {
        let info = entry.info();
        self.applied.pass(info);
        if info.record_count > 0 {
            self.station.commit(entry.shared(), ceiling);
        }
        self.station.set_ceiling(ceiling);
        self.shard.set_stored(self.station.stored());
    }

    /// Lets go of log that neither store and snapshots nor, if `waits`, followers need.
    pub(crate) fn release_log(&mut self, waits: bool, now_us: u64) -> Result<(), RaftError> {
        let log = &mut self.files.log;
        let below = self.station.release_below();
        let raft = self.replica.raft_mut();
        let lacking = raft.lacking();
        let followers = raft.followers(now_us).into_iter().filter(|(node, ..)| !lacking.contains(node));
        let followed = followers.map(|(_, matched, _)| matched).min().filter(|_| waits);
        let kept = followed.into_iter().chain(self.giver.keeps_behind(now_us).filter(|_| waits)).min();
        if log.release_below_keeping(below, kept.unwrap_or(u64::MAX)) { raft.released() } else { Ok(()) }
    }

    /// True if a turn has something to do, and the open batch has room for it.
    pub(crate) fn is_asked(&self, now_us: u64) -> bool {
        let due = self.shard.next_deadline_us().is_some_and(|deadline| deadline <= now_us);
        let admits = self.shard.admits() && !self.door.is_empty();
        !self.shard.is_full(&self.open) && (due || admits || !self.inbox.is_empty())
    }

    /// Takes what other shards have sent in this office. What they sent in one that is over is nothing to anybody: so many
    /// messages were dropped.
    pub(crate) fn receive(&mut self, plan: &Plan) -> u64 {
        let mut outdated = 0;
        while let Some((office, from, message)) =
            self.sent.pop_front_if(|(office, ..)| *office <= self.office)
        {
            let is_due = office == self.office || plan.has(Planted::HEAR_OUTDATED);
            if is_due && self.replica.holds_office() {
                self.inbox.push_back(Input::Peer { from, message });
            } else {
                outdated += 1;
            }
        }
        outdated
    }

    /// Decides what has arrived into the open batch.
    pub(crate) fn turn(&mut self, now_us: u64) -> Verdict {
        if self.shard.admits() {
            self.inbox.append(&mut self.door);
        }
        for _ in 0..FETCHES_MAX {
            self.wants.clear();
            self.shard.wants(self.inbox.iter(), &mut self.wants);
            if self.wants.is_empty() {
                self.shard.turn(now_us, &mut self.inbox, &mut self.open);
                return Ok(());
            }
            for want in std::mem::take(&mut self.wants) {
                let found = self.stored.fetch(&self.shard, want);
                self.shard.warm(found.map_err(|error| failed("a store that reads", &error))?);
            }
        }
        Err(Violation::new("liveness", "wants that end", format!("{:?}", self.wants)))
    }
}
