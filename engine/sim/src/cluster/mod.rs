//! A cluster: each node has a member for each shard, with the product's own consensus, log, recovery, shard and flusher.
//!
//! A group of members decides what is in a shard's log. All shards are decided at one node at a time, which takes office for all
//! of them or none (`office.rs`). One event is one thing that happens to one member or node, or to the network between
//! them. What is committed first
//! anywhere is entered in the auditor's books, and every other node must come to the same.

mod change;
mod ending;
mod member;
mod network;
mod node;
mod office;
mod plots;
mod snapshots;
mod trouble;
mod work;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use onrush_engine::replication::{Members, NodeId};
use onrush_engine::shard::ShardOptions;
use onrush_engine::views::Views;
use onrush_proto::{KeyHasher, ShardId, SlotMap};

use crate::clients::{Gateway, Oracle, Workload};
use crate::dice::Dice;
use crate::invariants;
use crate::invariants::commits::Commits;
use crate::invariants::elections::Elections;
use crate::invariants::matching::Matching;
use crate::mirror::Mirror;
use crate::plan::{Plan, purpose};
use crate::report::{Verdict, Violation};
use crate::trace::Trace;
pub(crate) use member::Member;
use member::Started;
use network::Network;
use node::Node;
use plots::Plot;

/// When simulated time begins, in us since the epoch.
const BEGIN_US: u64 = 1_700_000_000_000_000;
/// Node numbers that lead to one place are so far apart.
const PLACES: u64 = 100;
/// Events between two full checks.
const FULL_CHECK_EVENTS: u64 = 1_000;

/// What a run went through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) crashes: u64,
    pub(crate) kills: u64,
    pub(crate) poisoned: u64,
    pub(crate) faults: u64,
    /// Leaders that were elected.
    pub(crate) elections: u64,
    /// Offices that a node took for all its shards.
    pub(crate) offices: u64,
    /// Members that lost their office because they lost their group, and because another shard of their node did.
    pub(crate) deposed: u64,
    pub(crate) resigned: u64,
    /// Leads that were handed over to the node that leads the first shard.
    pub(crate) followed: u64,
    /// Messages between shards that came from an office that was over.
    pub(crate) outdated: u64,
    /// Times that entries were taken back.
    pub(crate) truncations: u64,
    pub(crate) transfers: u64,
    pub(crate) cuts: u64,
    pub(crate) pauses: u64,
    /// Changes of the group that went through.
    pub(crate) changes: u64,
    /// Disks that were replaced.
    pub(crate) replaced: u64,
    /// Clocks that were set.
    pub(crate) clock_jumps: u64,
    /// Last entries that were damaged.
    pub(crate) tampered: u64,
    /// Nodes that began anew from another one's snapshot.
    pub(crate) installed: u64,
    /// Runs that ended with more nodes hurt than a group bears.
    pub(crate) beyond: u64,
    /// Troubles that were plotted.
    pub(crate) plots: u64,
}

/// A cluster and everything around it.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) event: u64,
    pub(crate) trace: Trace,
    pub(crate) summary: Summary,
    verbose: bool,
    schedule: Dice,
    faults: Dice,
    traffic: Dice,
    gateway_dice: Dice,
    hasher: KeyHasher,
    map: SlotMap,
    now_us: u64,
    /// Who founded the groups, all the same.
    founders: Members,
    nodes: Vec<Node>,
    /// The members of a node stand together, in the order of their shards.
    members: Vec<Member>,
    network: Network,
    pub(crate) mirror: Mirror,
    oracle: Oracle,
    workload: Workload,
    /// What was answered with nobody's knowing, to be asked again.
    impatient: Vec<onrush_proto::Request>,
    gateway: Gateway,
    groups: Vec<Group>,
    /// Who was asked, and where.
    asked: BTreeMap<u64, Asked>,
    epochs: u64,
    last_outcome: Option<onrush_proto::Outcome>,
    /// A leader that has just been elected, and the event at which it is gone again.
    doomed: Option<(usize, u64)>,
    /// What is plotted, and the chances of that.
    plot: Option<Plot>,
    plots: Dice,
    /// True while time passes slowly, while no shard hears another one of its node, and while nobody asks for anything.
    is_slow: bool,
    is_hushed: bool,
    is_quiet: bool,
    healed: bool,
}

/// What must hold of the members of one shard.
#[derive(Default)]
struct Group {
    elections: Elections,
    matching: Matching,
    commits: Commits,
    /// The last record that any answer rested on.
    answered_lsn: u64,
}

/// An attempt that waits.
#[derive(Clone, Copy, Debug)]
struct Asked {
    node: usize,
    /// The shard whose door it came to.
    shard: usize,
    /// The group's `answered_lsn` when it was sent.
    floor: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, verbose: bool) -> Self {
        let seed = plan.seed;
        let mut secret = Dice::new(seed, purpose::SECRET);
        let hasher = KeyHasher::new([secret.next(), secret.next()]);
        let (shards, map) = (usize::from(plan.shards), SlotMap::new(plan.shards));
        let map = map.unwrap_or_else(|| unreachable!("shards are checked with the options"));
        let (mut nodes, mut members) = (Vec::new(), Vec::new());
        for number in 0..(plan.nodes + plan.spare_nodes) as u64 {
            let mut dice = Dice::new(seed, purpose::DISK + 100 * (number + 1));
            let mut member = |shard: usize| Member::new(NodeId(number), shard, dice.next());
            members.extend((0..shards).map(&mut member));
            let pace_ppm = 1_000_000 + dice.below(2 * plan.drift_ppm + 1) - plan.drift_ppm;
            nodes.push(Node::new(NodeId(number), shards, pace_ppm));
        }
        let founders = Members::of(nodes.iter().take(plan.nodes).map(|node| node.id));
        let mut network = Network::new(nodes.len());
        (network.loss, network.doubling, network.disorder) = plan.network;
        Self {
            event: 0,
            trace: Trace::default(),
            summary: Summary::default(),
            verbose,
            schedule: Dice::new(seed, purpose::SCHEDULE),
            faults: Dice::new(seed, purpose::FAULTS),
            traffic: Dice::new(seed, purpose::NETWORK),
            gateway_dice: Dice::new(seed, purpose::GATEWAY),
            hasher,
            map,
            now_us: BEGIN_US,
            founders: founders.unwrap_or_else(|_| unreachable!("nodes are checked with the options")),
            nodes,
            members,
            network,
            mirror: Mirror::new(map, hasher),
            oracle: Oracle::default(),
            workload: Workload::new(Dice::new(seed, purpose::WORKLOAD), hasher, &plan),
            impatient: Vec::new(),
            gateway: Gateway::new(Dice::new(seed, purpose::GATEWAY + 1_000).next()),
            groups: (0..shards).map(|_| Group::default()).collect(),
            asked: BTreeMap::new(),
            epochs: 0,
            last_outcome: None,
            doomed: None,
            plot: None,
            plots: Dice::new(seed, purpose::PLOTS),
            is_slow: false,
            is_hushed: false,
            is_quiet: false,
            healed: false,
            plan,
        }
    }

    fn shard_options(&self, shard: usize) -> ShardOptions {
        ShardOptions {
            replicated: true,
            ..self.plan.shard_options(ShardId(shard as u16), self.map, self.hasher)
        }
    }

    fn shards(&self) -> usize {
        self.groups.len()
    }

    /// The members of a node.
    fn of_node(&self, node: usize) -> Range<usize> {
        node * self.shards()..(node + 1) * self.shards()
    }

    /// The node of a member.
    fn node_of(&self, at: usize) -> usize {
        at / self.shards()
    }

    /// Runs the load and then the ending.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        for member in &mut self.members {
            member.found(&self.plan, &self.founders, BEGIN_US)?;
        }
        for node in 0..self.nodes.len() {
            self.start(node)?;
        }
        while self.event < self.plan.events {
            self.next_event()?;
            if self.event.is_multiple_of(FULL_CHECK_EVENTS) {
                self.full_check()?;
            }
        }
        self.end()
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            let _ = std::io::Write::write_fmt(
                &mut std::io::stdout(),
                format_args!("{:>6} {} {}\n", self.event, self.now_us - BEGIN_US, what()),
            );
        }
    }

    /// What the clock of a member shows: that of its node, from the last entry on that it had when it started or took office.
    fn clock_us(&self, at: usize) -> u64 {
        let node = &self.nodes[self.node_of(at)];
        let passed_us = (self.now_us - BEGIN_US) * node.pace_ppm / 1_000_000;
        let ahead_us = self.members[at].live.as_ref().map_or(0, |live| live.ahead_us);
        (BEGIN_US + passed_us + ahead_us).saturating_add_signed(node.set_by_us)
    }

    /// Starts a node, if its disks let it.
    fn start(&mut self, node: usize) -> Verdict {
        self.stop(node);
        for at in self.of_node(node) {
            if !self.start_member(at)? {
                self.stop(node);
                return Ok(());
            }
        }
        self.tell(|| format!("node {node} starts"));
        Ok(())
    }

    /// False if its disk fails.
    fn start_member(&mut self, at: usize) -> Result<bool, Violation> {
        self.epochs += 1;
        let epoch = Dice::new(self.plan.seed ^ self.epochs << 20, at as u64).next();
        let (options, now_us) = (self.shard_options(self.members[at].shard), self.clock_us(at));
        let member = &mut self.members[at];
        member.disk.calm();
        member.disk.faults(self.plan.calm());
        member.snapshots.faults(self.plan.calm());
        member.store.calm();
        let started = member.start(&self.plan, options, (&self.founders, epoch, now_us))?;
        if matches!(started, Started::DiskFailed) {
            member.disk.crash();
            member.snapshots.crash();
            return Ok(false);
        }
        self.summary.installed += u64::from(member.began_anew);
        self.groups[member.shard].commits.survived(member)?;
        self.same_on_disk(at)?;
        let member = &mut self.members[at];
        // What a crash has torn may look as if it had been damaged.
        member.damaged |= member.live.as_ref().is_some_and(|live| live.replica.raft().is_barred());
        self.check_member(at)?;
        Ok(true)
    }

    /// What a restarted member reads from its disk is what was written there.
    fn same_on_disk(&mut self, at: usize) -> Verdict {
        let member = &self.members[at];
        let Some(live) = &member.live else { return Ok(()) };
        let log = live.replica.raft().log();
        if log.last().index < log.first_index() {
            return Ok(());
        }
        let entries = log.read(log.first_index(), u64::MAX, usize::MAX);
        let entries =
            entries.map_err(|error| Violation::new("matching", "entries that read", error.to_string()))?;
        let mut before = log.front().term;
        for entry in entries {
            self.groups[member.shard].matching.written(&entry, before)?;
            before = entry.position().term;
        }
        Ok(())
    }

    /// What must hold of a member after each thing that it did.
    fn check_member(&mut self, at: usize) -> Verdict {
        let member = &mut self.members[at];
        let Some(live) = &mut member.live else { return Ok(()) };
        let (raft, group) = (live.replica.raft(), &mut self.groups[member.shard]);
        member.damaged &= raft.is_barred();
        group.elections.look(member.id, raft)?;
        let is_at = (member.spoke_in, member.on_disk.len());
        invariants::monotone::look(is_at, raft, live.replica.applied(), &mut live.seen)?;
        group.commits.look(&mut self.mirror, &self.members, at)
    }

    /// Every invariant, over everything.
    fn full_check(&mut self) -> Verdict {
        invariants::units::all(&self.mirror)?;
        invariants::ledger::all(&self.mirror)?;
        invariants::durable::acknowledged(&self.mirror, &self.oracle)?;
        for at in 0..self.members.len() {
            self.check_state(at)?;
        }
        Ok(())
    }

    /// A member that has applied everything and decided nothing holds what the books hold.
    fn check_state(&self, at: usize) -> Verdict {
        let member = &self.members[at];
        let Some(live) = &member.live else { return Ok(()) };
        let (undecided, book) =
            (live.open.frame.is_empty() && live.replica.waiting() == 0, &self.mirror.books[member.shard]);
        if !undecided || live.applied.lsn != book.end_lsn {
            return Ok(());
        }
        // Only rows of this shard are looked up.
        let views = |_| Arc::clone(&live.views);
        let views = Views::new((0..self.shards()).map(views).collect(), self.map);
        invariants::views::shows(&self.mirror, member.shard, &views)?;
        invariants::replay::agrees(book, &live.shard, &live.stored, "replicated")
    }
}

/// The place of a node in the list. A node whose disk was replaced has another number, and the same place.
fn place(node: NodeId) -> usize {
    (node.0 % PLACES) as usize
}
