//! Three real servers as nodes of a cluster, disturbed under load: what was acknowledged is there in the end, once, and
//! the same at every node.

mod basket;
mod books;
mod buyers;
mod capacity;
mod client;
mod compare;
mod figures;
mod nodes;
mod trouble;
mod wires;

use std::sync::Arc;
use std::thread;

use onrush_net::client::CallError;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use crate::cli::ClusterArgs;
use crate::crash::CrashError;
use crate::random::Random;
use crate::run::{RunError, print, say, write};
use basket::Wishes;
use books::Books;
use buyers::{Buyers, Habits};
use compare::compare;
use figures::Figures;
use nodes::Nodes;
use trouble::{Kind, Trouble};

/// Random streams of the troubles.
const TROUBLES: u64 = 77;

/// Why a cluster was not measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error(transparent)]
    Process(#[from] CrashError),
    #[error("expected a runtime, found: {0}")]
    Runtime(std::io::Error),
    #[error("expected free ports, found: {0}")]
    Ports(std::io::Error),
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
    say("Onrush load generator: simulated buyers and a simulated gateway. No real money moves.");
    let (runtime, floor) = (runtime()?, Floor::open()?);
    let figures = match args.capacity {
        0 => runtime.block_on(disturb(args, &floor.handle))?,
        rounds => runtime.block_on(capacity::measure(args, &floor.handle, rounds))?,
    };
    print(&figures.table());
    if let Some(file) = &args.json {
        write(file.clone(), figures.json())?;
    }
    Ok(figures.violations.is_empty())
}

async fn disturb(args: &ClusterArgs, floor: &Handle) -> Result<Figures, ClusterError> {
    let mut nodes = Nodes::found(args, args.cuts > 0).await?;
    let books = Arc::new(Books::default());
    let wishes = Wishes { seed: args.seed, lone: false };
    let habits = Habits { buyers: args.buyers, protocols: args.target, wishes, brief: false };
    let buyers = Buyers::begin(floor, &nodes.doors(), habits, &books).await?;
    let mut random = Random::new(args.seed, TROUBLES);
    let mut figures = Figures::default();
    for kind in in_random_order(args, &mut random) {
        let trouble = Trouble::run(kind, &mut nodes, &books, &mut random).await?;
        say(&trouble.line());
        figures.troubles.push(trouble);
    }
    let asked = buyers.end().await?;
    figures.take(&books, &asked);
    nodes.settle().await?;
    figures.violations = compare(&asked, &nodes, &books).await?;
    nodes.stop().await?;
    Ok(figures)
}

/// As many of each kind as were asked for.
fn in_random_order(args: &ClusterArgs, random: &mut Random) -> Vec<Kind> {
    let counts = [
        (Kind::Kill, args.kills),
        (Kind::Pause, args.pauses),
        (Kind::FollowerPause, args.follower_pauses),
        (Kind::Transfer, args.transfers),
        (Kind::Roll, args.rolls),
        (Kind::Cut, args.cuts),
        (Kind::Silence, args.cuts),
        (Kind::Flap, args.cuts),
        (Kind::Noise, args.cuts),
        (Kind::Flip, args.flips),
        (Kind::Replace, args.replaces),
    ];
    let mut kinds: Vec<Kind> =
        counts.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count as usize)).collect();
    // Fisher and Yates.
    for at in (1..kinds.len()).rev() {
        kinds.swap(at, random.below(at as u64 + 1) as usize);
    }
    kinds
}
