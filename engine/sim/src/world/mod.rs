//! The world: everything outside the shards, and the loop that lets things happen.
//!
//! One event is one thing that happens: a shard decides, a frame becomes durable, answers leave,
//! messages arrive, somebody asks, time passes, power fails. Which, is drawn from the schedule's
//! stream; the rest follows.

mod crash;
mod ending;
mod events;
mod faults;
mod frames;
mod links;
mod readers;

pub(crate) use frames::{is_begun_behind, last_frames};
use onrush_engine::shard::{PeerMessage, ShardOptions};
use onrush_engine::views::Views;
use onrush_proto::{KeyHasher, ShardId, SlotMap};

use crate::clients::{Gateway, Oracle, Reader, Workload};
use crate::dice::Dice;
use crate::invariants::{self, damage::Expected};
use crate::mirror::Mirror;
use crate::node::{Seat, Stage};
use crate::plan::{Plan, purpose};
use crate::report::{Verdict, Violation};
use crate::trace::Trace;
pub(crate) use links::Links;

/// When simulated time begins, in us since the epoch.
const BEGIN_US: u64 = 1_700_000_000_000_000;
/// Events between two full checks.
const FULL_CHECK_EVENTS: u64 = 1_000;

/// How a run ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) crashes: u64,
    /// True if a damaged log was refused, which ends a run.
    pub(crate) refused_log: bool,
    /// True if a shard found neither store nor snapshot, which ends a run.
    pub(crate) refused_store: bool,
    pub(crate) faults: u64,
    pub(crate) kills: u64,
    /// Shards that stopped after a failed write.
    pub(crate) poisoned: u64,
    /// Writes that were lost or misdirected.
    pub(crate) tampered: u64,
    /// Tails that a disk lost.
    pub(crate) lost_tails: u64,
    pub(crate) snapshots: u64,
    /// Stores that were filled from a snapshot.
    pub(crate) from_snapshots: u64,
    /// Records that subscribers saw.
    pub(crate) delivered: u64,
    /// Gaps that subscribers were told of.
    pub(crate) gaps: u64,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) event: u64,
    pub(crate) trace: Trace,
    pub(crate) summary: Summary,
    verbose: bool,
    schedule: Dice,
    faults: Dice,
    gateway_dice: Dice,
    map: SlotMap,
    hasher: KeyHasher,
    now_us: u64,
    seats: Vec<Seat>,
    links: Links<PeerMessage>,
    pub(crate) mirror: Mirror,
    oracle: Oracle,
    workload: Workload,
    gateway: Gateway,
    readers: Vec<Reader>,
    reading: Dice,
    /// What all shards of the present process have published.
    views: Option<Views>,
    /// A shard whose disk was damaged while the power was off, and what must come of it.
    flipped: Option<(usize, Expected)>,
    epochs: u64,
    /// What the last reply said.
    last_outcome: Option<onrush_proto::Outcome>,
    /// True once a log refused to open: nothing can happen any more.
    over: bool,
    /// True in the ending: nothing fails any more.
    healed: bool,
}

impl World {
    pub(crate) fn new(plan: Plan, verbose: bool) -> Self {
        let seed = plan.seed;
        let mut secret = Dice::new(seed, purpose::SECRET);
        let hasher = KeyHasher::new([secret.next(), secret.next()]);
        let shards = plan.shards;
        let map = SlotMap::new(shards).unwrap_or_else(|| unreachable!("shards are checked with the options"));
        let seat = |index: usize| {
            let mut dice = Dice::new(seed, purpose::DISK + 100 * (index as u64 + 1));
            Seat::new(index, (dice.next(), dice.next()))
        };
        Self {
            event: 0,
            trace: Trace::default(),
            summary: Summary::default(),
            verbose,
            schedule: Dice::new(seed, purpose::SCHEDULE),
            faults: Dice::new(seed, purpose::FAULTS),
            gateway_dice: Dice::new(seed, purpose::GATEWAY),
            map,
            hasher,
            now_us: BEGIN_US,
            seats: (0..usize::from(shards)).map(seat).collect(),
            links: Links::new(usize::from(shards)),
            mirror: Mirror::new(map, hasher),
            oracle: Oracle::default(),
            workload: Workload::new(Dice::new(seed, purpose::WORKLOAD), hasher, &plan),
            gateway: Gateway::new(Dice::new(seed, purpose::GATEWAY + 1_000).next()),
            readers: (0..usize::from(shards)).flat_map(Self::readers_of).collect(),
            reading: Dice::new(seed, purpose::READERS),
            views: None,
            flipped: None,
            epochs: 0,
            last_outcome: None,
            over: false,
            healed: false,
            plan,
        }
    }

    fn shard_options(&self, index: usize) -> ShardOptions {
        self.plan.shard_options(ShardId(index as u16), self.map, self.hasher)
    }

    /// Runs the load and then the ending.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        self.restart()?;
        while self.event < self.plan.events && !self.over {
            self.next_event()?;
            if self.event.is_multiple_of(FULL_CHECK_EVENTS) {
                self.full_check()?;
            }
        }
        if !self.over {
            self.end()?;
        }
        Ok(())
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            let _ = std::io::Write::write_fmt(
                &mut std::io::stdout(),
                format_args!("{:>6} {} {}\n", self.event, self.now_us - BEGIN_US, what()),
            );
        }
    }

    /// Every invariant, over everything.
    fn full_check(&mut self) -> Verdict {
        invariants::units::all(&self.mirror)?;
        invariants::ledger::all(&self.mirror)?;
        invariants::durable::acknowledged(&self.mirror, &self.oracle)?;
        if let Some(views) = &self.views {
            invariants::views::nothing_else(&self.mirror, views)?;
        }
        for seat in &self.seats {
            self.check_views(seat.index)?;
            let Some(live) = seat.live.as_ref().filter(|_| seat.scar.is_none()) else { continue };
            let book = &self.mirror.books[seat.index];
            if matches!(live.stage, Stage::Idle | Stage::Durable) && live.open.frame.is_empty() {
                invariants::replay::agrees(book, &live.shard, &live.stored, "live")?;
            }
            self.rebuilt_agrees(seat)?;
        }
        Ok(())
    }
}
