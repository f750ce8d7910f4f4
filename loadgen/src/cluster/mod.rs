//! Three real servers as nodes of a cluster, disturbed under load: what was acknowledged is there in the end, once, and
//! the same at every node.

mod basket;
mod books;
mod buyers;
mod capacity;
mod client;
mod compare;
mod disk;
mod figures;
mod ground;
mod kinds;
mod nodes;
mod proxies;
mod room;
mod slow;
mod trouble;
mod wires;

use std::sync::Arc;
use std::thread;

use onrush_net::client::CallError;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::cli::{ClusterArgs, Enclosed};
use crate::crash::CrashError;
use crate::random::Random;
use crate::run::{RunError, print, say, write};
use basket::Wishes;
use books::Books;
use buyers::{Buyers, Habits};
use compare::{compare, differences};
use figures::Figures;
use kinds::Kind;
use nodes::{Nodes, Plan};
use slow::SlowDisk;
use trouble::Trouble;

/// Random streams of the troubles.
const TROUBLES: u64 = 77;

/// Numbers of nodes that are left once three have theirs.
const NUMBERS_MAX: u32 = 13;

/// Why a cluster was not measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error(transparent)]
    Process(#[from] CrashError),
    #[error("expected a runtime, found: {0}")]
    Runtime(std::io::Error),
    #[error("expected to go on to the end, found that it was interrupted")]
    Interrupted,
    #[error("expected free ports, found: {0}")]
    Ports(std::io::Error),
    #[error("expected {command:?} to work, found: {found}")]
    Tool {
        /// What was to be done.
        command: String,
        /// What it said.
        found: String,
    },
    #[error(
        "expected --replaces and --damages of at most {max} together, found {found}: so many numbers are left"
    )]
    Numbers {
        /// Numbers that a cluster has for them.
        max: u32,
        /// How many were asked for.
        found: u32,
    },
    #[error("{what}: {error}")]
    Call {
        /// What was asked.
        what: &'static str,
        /// What came.
        error: CallError,
    },
    #[error("expected {what} within {seconds} s, found: {found}")]
    Waited {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
        /// What was there instead.
        found: String,
    },
}

fn runtime() -> Result<Runtime, ClusterError> {
    Builder::new_current_thread().enable_all().build().map_err(ClusterError::Runtime)
}

/// Where buyers are at work: processes are waited for elsewhere.
struct Floor {
    handle: Handle,
    _close: oneshot::Sender<()>,
}

impl Floor {
    fn open() -> Result<Self, ClusterError> {
        let (close, closed) = oneshot::channel::<()>();
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        let work = move || {
            // Dropped is as good as sent.
            let _ = runtime.block_on(closed);
        };
        thread::Builder::new().name("loadgen-buyers".into()).spawn(work).map_err(ClusterError::Runtime)?;
        Ok(Self { handle, _close: close })
    }
}

/// Runs the troubles, or measures what the cluster takes; true if the books are sound.
pub(crate) fn run(args: &ClusterArgs) -> Result<bool, RunError> {
    let found = args.replaces + args.damages;
    if found > NUMBERS_MAX {
        return Err(ClusterError::Numbers { max: NUMBERS_MAX, found }.into());
    }
    let enclosed = room::enter(args)?;
    say("Onrush load generator: simulated buyers and a simulated gateway. No real money moves.");
    let (runtime, floor) = (runtime()?, Floor::open()?);
    let figures = match args.capacity {
        0 => runtime.block_on(disturb_unless_interrupted(args, &floor.handle, enclosed))?,
        rounds => runtime.block_on(capacity::measure(args, &floor.handle, rounds))?,
    };
    print(&figures.table());
    if let Some(file) = &args.json {
        write(file.clone(), figures.json())?;
    }
    Ok(figures.violations.is_empty())
}

/// Who is told to end leaves no process and no directory behind.
async fn disturb_unless_interrupted(
    args: &ClusterArgs,
    floor: &Handle,
    enclosed: Option<Enclosed>,
) -> Result<Figures, ClusterError> {
    tokio::select! {
        figures = disturb(args, floor, enclosed) => figures,
        told = told_to_end() => Err(told.map_or_else(ClusterError::Runtime, |()| ClusterError::Interrupted)),
    }
}

/// By Ctrl-C, or by whoever waits no longer.
async fn told_to_end() -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        told = tokio::signal::ctrl_c() => told,
        _ = terminated.recv() => Ok(()),
    }
}

async fn disturb(
    args: &ClusterArgs,
    floor: &Handle,
    enclosed: Option<Enclosed>,
) -> Result<Figures, ClusterError> {
    let mut random = Random::new(args.seed, TROUBLES);
    let nets = args.namespaces && enclosed == Some(Enclosed::Nets);
    let means = Means { mounts: enclosed.is_some(), nets, slow: may_be_slow(args) };
    let kinds = in_random_order(args, &means, &mut random);
    let plan = Plan {
        disturbed: args.cuts > 0,
        proxies: args.tears > 0,
        small: kinds.iter().any(|kind| matches!(kind, Kind::Full | Kind::FollowerFull)),
        nets,
    };
    let mut nodes = Nodes::found(args, plan).await?;
    if let Some(nets) = nodes.ground.nets() {
        let bad = if nets.netem { "by the kernel as well" } else { "by relays, as the kernel has no netem" };
        say(&format!("nodes in network namespaces: links are cut by the kernel, bad wires are made {bad}"));
    }
    let books = Arc::new(Books::default());
    let wishes = Wishes { seed: args.seed, lone: false };
    let habits = Habits { buyers: args.buyers, protocols: args.target, wishes, brief: false };
    let buyers = Buyers::begin(floor, &nodes.doors(), habits, &books).await?;
    let mut figures = Figures::default();
    for kind in kinds {
        let trouble = Trouble::run(kind, &mut nodes, &books, &mut random).await?;
        say(&trouble.line());
        figures.troubles.push(trouble);
        // All is healed: once everybody has what was decided, all have the same rows.
        let paused = buyers.pause().await;
        let (_, found) = differences(&nodes).await?;
        let after =
            |fault: String| format!("after trouble {}, {}: {fault}", figures.troubles.len(), kind.name());
        books.entries().violations.extend(found.into_iter().map(after));
        drop(paused);
    }
    let asked = buyers.end().await?;
    figures.take(&books, &asked);
    nodes.settle().await?;
    figures.violations = compare(&asked, &nodes, &books).await?;
    nodes.stop().await?;
    Ok(figures)
}

/// What there is to make troubles with.
struct Means {
    /// Mounts that nobody else sees.
    mounts: bool,
    /// Networks that nobody else sees.
    nets: bool,
    /// What makes disks slow.
    slow: bool,
}

/// True if disks are to be slow, and can be.
fn may_be_slow(args: &ClusterArgs) -> bool {
    let tried = if args.slow > 0 { SlowDisk::tried() } else { Ok(()) };
    if let Err(found) = &tried {
        say(&format!("slow disks: passed over, as {found}"));
    }
    tried.is_ok()
}

/// As many of each kind as were asked for, and can be.
fn in_random_order(args: &ClusterArgs, means: &Means, random: &mut Random) -> Vec<Kind> {
    let full = if means.mounts { args.full } else { 0 };
    let counts = [
        (Kind::Kill, args.kills),
        (Kind::Pause, args.pauses),
        (Kind::FollowerPause, args.follower_pauses),
        (Kind::Transfer, args.transfers),
        (Kind::Roll, args.rolls),
        (Kind::Cut, args.cuts),
        (Kind::Isolate, if means.nets { args.cuts } else { 0 }),
        (Kind::Silence, args.cuts),
        (Kind::Flap, args.cuts),
        (Kind::Noise, args.cuts),
        (Kind::Tear, args.tears),
        (Kind::Flip, args.flips),
        (Kind::Damage, args.damages),
        (Kind::Replace, args.replaces),
        (Kind::Full, full.div_ceil(2)),
        (Kind::FollowerFull, full / 2),
        (Kind::FollowerSlow, if means.slow { args.slow } else { 0 }),
    ];
    let mut kinds: Vec<Kind> =
        counts.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count as usize)).collect();
    // Fisher and Yates.
    for at in (1..kinds.len()).rev() {
        kinds.swap(at, random.below(at as u64 + 1) as usize);
    }
    kinds
}
