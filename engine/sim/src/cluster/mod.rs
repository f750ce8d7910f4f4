//! A cluster: one shard on several nodes, each with the product's own consensus, log, recovery, shard and flusher.
//!
//! One event is one thing that happens to one node, or to the network between them. What is committed first
//! anywhere is entered in the auditor's books, and every other node must come to the same.

mod change;
mod ending;
mod member;
mod network;
mod snapshots;
mod trouble;
mod work;

use std::collections::BTreeMap;

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
pub(crate) use member::Node;
use member::Started;
use network::Network;

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
    /// Leaders that lost their office with something decided.
    pub(crate) deposed: u64,
    /// Times that entries were taken back.
    pub(crate) truncations: u64,
    pub(crate) transfers: u64,
    pub(crate) cuts: u64,
    pub(crate) pauses: u64,
    /// Changes of the group that went through.
    pub(crate) changes: u64,
    /// Disks that were replaced.
    pub(crate) replaced: u64,
    /// Last entries that were damaged.
    pub(crate) tampered: u64,
    /// Nodes that began anew from another one's snapshot.
    pub(crate) installed: u64,
    /// Runs that ended with more nodes hurt than a group bears.
    pub(crate) beyond: u64,
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
    members: Members,
    nodes: Vec<Node>,
    network: Network,
    pub(crate) mirror: Mirror,
    oracle: Oracle,
    workload: Workload,
    gateway: Gateway,
    elections: Elections,
    matching: Matching,
    commits: Commits,
    /// The last record that any answer rested on, and where it stood when each attempt was sent.
    answered_lsn: u64,
    floors: BTreeMap<u64, u64>,
    epochs: u64,
    last_outcome: Option<onrush_proto::Outcome>,
    /// A leader that has just been elected, and the event at which it is gone again.
    doomed: Option<(usize, u64)>,
    healed: bool,
}

impl World {
    pub(crate) fn new(plan: Plan, verbose: bool) -> Self {
        let seed = plan.seed;
        let mut secret = Dice::new(seed, purpose::SECRET);
        let hasher = KeyHasher::new([secret.next(), secret.next()]);
        let map = SlotMap::new(1).unwrap_or_else(|| unreachable!("one shard is a number of shards"));
        let node = |number: usize| {
            let mut dice = Dice::new(seed, purpose::DISK + 100 * (number as u64 + 1));
            let mut node = Node::new(number, dice.next());
            node.pace_ppm = 1_000_000 + dice.below(2 * plan.drift_ppm + 1) - plan.drift_ppm;
            node
        };
        let nodes: Vec<Node> = (0..plan.nodes + plan.spare_nodes).map(node).collect();
        let members = Members::of(nodes.iter().take(plan.nodes).map(|node| node.id));
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
            members: members.unwrap_or_else(|_| unreachable!("nodes are checked with the options")),
            nodes,
            network,
            mirror: Mirror::new(map, hasher),
            oracle: Oracle::default(),
            workload: Workload::new(Dice::new(seed, purpose::WORKLOAD), hasher, &plan),
            gateway: Gateway::new(Dice::new(seed, purpose::GATEWAY + 1_000).next()),
            elections: Elections::default(),
            matching: Matching::default(),
            commits: Commits::default(),
            answered_lsn: 0,
            floors: BTreeMap::new(),
            epochs: 0,
            last_outcome: None,
            doomed: None,
            healed: false,
            plan,
        }
    }

    fn shard_options(&self) -> ShardOptions {
        self.plan.shard_options(ShardId(0), self.map, self.hasher)
    }

    /// Runs the load and then the ending.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            self.nodes[node].found(&self.plan, &self.members, BEGIN_US)?;
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

    /// What a node's clock shows.
    fn clock_us(&self, at: usize) -> u64 {
        BEGIN_US + (self.now_us - BEGIN_US) * self.nodes[at].pace_ppm / 1_000_000
    }

    /// Starts a node, if its disk lets it.
    fn start(&mut self, at: usize) -> Verdict {
        self.epochs += 1;
        let epoch = Dice::new(self.plan.seed ^ self.epochs << 20, at as u64).next();
        let (options, now_us) = (self.shard_options(), self.clock_us(at));
        let node = &mut self.nodes[at];
        node.disk.calm();
        node.disk.faults(self.plan.calm());
        node.snapshots.faults(self.plan.calm());
        node.store.calm();
        let started = node.start(&self.plan, options, (&self.members, epoch, now_us))?;
        if matches!(started, Started::DiskFailed) {
            node.disk.crash();
            node.snapshots.crash();
            return Ok(());
        }
        self.summary.installed += u64::from(node.began_anew);
        self.commits.survived(&mut self.nodes[at])?;
        self.same_on_disk(at)?;
        let node = &mut self.nodes[at];
        // What a crash has torn may look as if it had been damaged.
        node.damaged |= node.live.as_ref().is_some_and(|live| live.replica.raft().is_barred());
        self.tell(|| format!("node {at} starts"));
        self.check_node(at)
    }

    /// What a restarted node reads from its disk is what was written there.
    fn same_on_disk(&mut self, at: usize) -> Verdict {
        let Some(live) = &self.nodes[at].live else { return Ok(()) };
        let log = live.replica.raft().log();
        if log.last().index < log.first_index() {
            return Ok(());
        }
        let entries = log.read(log.first_index(), u64::MAX, usize::MAX);
        let entries =
            entries.map_err(|error| Violation::new("matching", "entries that read", error.to_string()))?;
        let mut before = log.front().term;
        for entry in entries {
            self.matching.written(&entry, before)?;
            before = entry.position().term;
        }
        Ok(())
    }

    /// What must hold of a node after each thing that it did.
    fn check_node(&mut self, at: usize) -> Verdict {
        let node = &mut self.nodes[at];
        let Some(live) = &mut node.live else { return Ok(()) };
        let raft = live.replica.raft();
        node.damaged &= raft.is_barred();
        self.elections.look(node.id, raft)?;
        let node_is_at = (node.spoke_in, node.on_disk.len());
        invariants::monotone::look(node_is_at, raft, live.replica.applied(), &mut live.seen)?;
        self.commits.look(&mut self.mirror, &self.nodes, at)
    }

    /// Every invariant, over everything.
    fn full_check(&mut self) -> Verdict {
        invariants::units::all(&self.mirror)?;
        invariants::ledger::all(&self.mirror)?;
        invariants::durable::acknowledged(&self.mirror, &self.oracle)?;
        for at in 0..self.nodes.len() {
            self.check_state(at)?;
        }
        Ok(())
    }

    /// A node that has applied everything and decided nothing holds what the books hold.
    fn check_state(&self, at: usize) -> Verdict {
        let Some(live) = &self.nodes[at].live else { return Ok(()) };
        let undecided = live.open.frame.is_empty() && live.replica.waiting() == 0;
        if !undecided || live.applied.lsn != self.mirror.books[0].end_lsn {
            return Ok(());
        }
        let views = Views::new(vec![std::sync::Arc::clone(&live.views)], self.map);
        invariants::views::shows(&self.mirror, 0, &views)?;
        invariants::replay::agrees(&self.mirror.books[0], &live.shard, &live.stored, "replicated")
    }
}

/// The place of a node in the list. A node whose disk was replaced has another number, and the same place.
fn place(node: NodeId) -> usize {
    (node.0 % PLACES) as usize
}
