//! One seed: run twice, equal traces.

use crate::cluster;
use crate::mirror::Mirror;
use crate::options::RunOptions;
use crate::plan::Plan;
use crate::planted;
use crate::report::{Failure, Violation};
use crate::world::World;

/// What a seed that broke nothing went through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passed {
    /// Events, the ending's not counted.
    pub events: u64,
    /// Power losses.
    pub crashes: u64,
    /// Records in all logs.
    pub records: u64,
    /// Orders accepted.
    pub orders: u64,
    /// Orders that ended expired.
    pub expired: u64,
    /// Orders with lines on several shards.
    pub spread: u64,
    /// Keys that live on another shard than what they name.
    pub claims: u64,
    /// Refunds.
    pub refunds: u64,
    /// Orders over several shards that were tried a second time.
    pub second_tries: u64,
    /// Captures that were asked of the gateway.
    pub captures: u64,
    /// Repetitions that got their answer under a key of their own.
    pub kept_keys: u64,
    /// Logs that were damaged, and refused.
    pub refused_logs: u64,
    /// Shards without a store, a snapshot, or the log to begin without.
    pub refused_stores: u64,
    /// Faults drawn.
    pub faults: u64,
    /// Kills that left the page cache as it was.
    pub kills: u64,
    /// Shards that stopped after a failed durable write.
    pub poisoned: u64,
    /// Durable writes that were lost or misdirected.
    pub tampered: u64,
    /// Tails that a disk lost.
    pub lost_tails: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Stores rebuilt from a snapshot.
    pub from_snapshots: u64,
    /// Records that subscribers saw.
    pub delivered: u64,
    /// Gaps that subscribers were told of.
    pub gaps: u64,
    /// Leaders elected.
    pub elections: u64,
    /// Offices that a node of a cluster took for all its shards.
    pub offices: u64,
    /// Members that lost their office with their group.
    pub deposed: u64,
    /// Members that left their office because another shard of their node had lost its group.
    pub resigned: u64,
    /// Leads that were handed over to the node that leads the first shard.
    pub followed: u64,
    /// Messages between shards from an office that was over.
    pub outdated: u64,
    /// Times that a node took entries back.
    pub truncations: u64,
    /// Offices handed over.
    pub transfers: u64,
    /// Links cut.
    pub cuts: u64,
    /// Processes that stood still.
    pub pauses: u64,
    /// Changes of a group.
    pub changes: u64,
    /// Disks that were lost for good.
    pub replaced: u64,
    /// Clocks that were set forward or back.
    pub clock_jumps: u64,
    /// Runs of clusters that ended with more nodes hurt than a group bears.
    pub beyond: u64,
    /// Troubles that were plotted.
    pub plots: u64,
    /// The hash of all that happened.
    pub trace: u64,
}

impl Passed {
    /// Adds up what several seeds went through.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.crashes += other.crashes;
        self.records += other.records;
        self.orders += other.orders;
        self.expired += other.expired;
        self.spread += other.spread;
        self.claims += other.claims;
        self.refunds += other.refunds;
        self.second_tries += other.second_tries;
        self.captures += other.captures;
        self.kept_keys += other.kept_keys;
        self.refused_logs += other.refused_logs;
        self.refused_stores += other.refused_stores;
        self.faults += other.faults;
        self.kills += other.kills;
        self.poisoned += other.poisoned;
        self.tampered += other.tampered;
        self.lost_tails += other.lost_tails;
        self.snapshots += other.snapshots;
        self.from_snapshots += other.from_snapshots;
        self.delivered += other.delivered;
        self.gaps += other.gaps;
        self.elections += other.elections;
        self.offices += other.offices;
        self.deposed += other.deposed;
        self.resigned += other.resigned;
        self.followed += other.followed;
        self.outdated += other.outdated;
        self.truncations += other.truncations;
        self.transfers += other.transfers;
        self.cuts += other.cuts;
        self.pauses += other.pauses;
        self.changes += other.changes;
        self.replaced += other.replaced;
        self.clock_jumps += other.clock_jumps;
        self.beyond += other.beyond;
        self.plots += other.plots;
        self.trace ^= other.trace.rotate_left(1);
    }
}

/// Runs a seed twice.
///
/// # Errors
/// The first invariant that does not hold, with the way back to it.
pub fn run_seed(options: &RunOptions, seed: u64) -> Result<Passed, Box<Failure>> {
    let first = run_once(options, seed)?;
    let second = run_once(&RunOptions { verbose: false, ..*options }, seed)?;
    if first != second {
        let violation =
            Violation::new("trace", format!("{:016x} again", first.trace), format!("{:016x}", second.trace));
        return Err(Box::new(failure(options, &Plan::new(options, seed), first.events, violation)));
    }
    Ok(first)
}

fn run_once(options: &RunOptions, seed: u64) -> Result<Passed, Box<Failure>> {
    planted::plant(options.planted);
    let plan = Plan::new(options, seed);
    if plan.nodes > 1 {
        return run_cluster(options, plan);
    }
    let mut world = World::new(plan.clone(), options.verbose);
    let outcome = world.run();
    let (event, trace) = (world.event, world.trace.0);
    if let Err(violation) = outcome {
        return Err(Box::new(failure(options, &plan, event, violation)));
    }
    let summary = world.summary;
    Ok(Passed {
        events: event,
        crashes: summary.crashes,
        refused_logs: u64::from(summary.refused_log),
        refused_stores: u64::from(summary.refused_store),
        faults: summary.faults,
        kills: summary.kills,
        poisoned: summary.poisoned,
        tampered: summary.tampered,
        lost_tails: summary.lost_tails,
        snapshots: summary.snapshots,
        from_snapshots: summary.from_snapshots,
        delivered: summary.delivered,
        gaps: summary.gaps,
        trace,
        ..booked(&world.mirror)
    })
}

/// What stands in the auditor's books.
fn booked(mirror: &Mirror) -> Passed {
    let tally = mirror.tally();
    Passed {
        records: tally.records,
        orders: tally.orders,
        expired: tally.expired,
        spread: tally.spread,
        claims: tally.claims,
        refunds: tally.refunds,
        second_tries: mirror.seen.second_tries,
        captures: mirror.seen.captures,
        kept_keys: mirror.seen.kept_keys,
        ..Passed::default()
    }
}

fn run_cluster(options: &RunOptions, plan: Plan) -> Result<Passed, Box<Failure>> {
    let mut world = cluster::World::new(plan.clone(), options.verbose);
    let outcome = world.run();
    let (event, trace) = (world.event, world.trace.0);
    if let Err(violation) = outcome {
        return Err(Box::new(failure(options, &plan, event, violation)));
    }
    let summary = world.summary;
    Ok(Passed {
        events: event,
        crashes: summary.crashes,
        faults: summary.faults,
        kills: summary.kills,
        poisoned: summary.poisoned,
        elections: summary.elections,
        offices: summary.offices,
        deposed: summary.deposed,
        resigned: summary.resigned,
        followed: summary.followed,
        outdated: summary.outdated,
        truncations: summary.truncations,
        transfers: summary.transfers,
        cuts: summary.cuts,
        pauses: summary.pauses,
        changes: summary.changes,
        replaced: summary.replaced,
        clock_jumps: summary.clock_jumps,
        beyond: summary.beyond,
        plots: summary.plots,
        from_snapshots: summary.installed,
        tampered: summary.tampered,
        trace,
        ..booked(&world.mirror)
    })
}

fn failure(options: &RunOptions, plan: &Plan, event: u64, violation: Violation) -> Failure {
    let options = RunOptions { shards: Some(plan.shards), verbose: false, ..*options };
    Failure { seed: plan.seed, options, event, violation }
}
