//! What three nodes take on one machine, against a server that stands alone: the same buyers, in turns.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::ClusterError;
use super::basket::Wishes;
use super::books::{Books, quantile};
use super::buyers::{Buyers, Habits};
use super::client::Doors;
use super::compare::compare;
use super::figures::{Figures, Round};
use super::nodes::{Nodes, Plan};
use crate::cli::{ClusterArgs, Protocols};
use crate::crash::CrashError;
use crate::crash::process::{Setup, binary};
use crate::run::say;

/// Passes before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);

pub(super) async fn measure(
    args: &ClusterArgs,
    floor: &Handle,
    rounds: u32,
) -> Result<Figures, ClusterError> {
    let mut figures = Figures::default();
    for round in 0..rounds {
        let (alone, cluster) = match round % 2 {
            0 => (alone(args, floor, &mut figures).await?, together(args, floor, &mut figures).await?),
            _ => {
                let cluster = together(args, floor, &mut figures).await?;
                (alone(args, floor, &mut figures).await?, cluster)
            }
        };
        let round = Round { alone, cluster };
        say(&round.line());
        figures.rounds.push(round);
    }
    Ok(figures)
}

/// The same of each: orders of one line, some cancelled, over the native protocol.
fn habits(args: &ClusterArgs) -> Habits {
    let wishes = Wishes { seed: args.seed, lone: true };
    Habits { buyers: args.buyers, protocols: Protocols::Native, wishes, brief: true }
}

/// Orders and cancellations a second, and the 99th percentile of what one took.
type Pace = (f64, Duration);

async fn pace(args: &ClusterArgs, books: &Books) -> Pace {
    tokio::time::sleep(WARM_UP).await;
    let from = books.now();
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let to = books.now();
    let times = books.times(from, to);
    (times.len() as f64 / (to - from).as_secs_f64(), quantile(&times, 0.99))
}

async fn together(args: &ClusterArgs, floor: &Handle, figures: &mut Figures) -> Result<Pace, ClusterError> {
    let nodes = Nodes::found(args, Plan::default()).await?;
    let books = Arc::new(Books::default());
    let buyers = Buyers::begin(floor, &nodes.doors(), habits(args), &books).await?;
    let pace = pace(args, &books).await;
    let asked = buyers.end().await?;
    nodes.settle().await?;
    figures.violations.extend(compare(&asked, &nodes, &books).await?);
    nodes.stop().await?;
    Ok(pace)
}

async fn alone(args: &ClusterArgs, floor: &Handle, figures: &mut Figures) -> Result<Pace, ClusterError> {
    let dir = tempfile::tempdir()
        .map_err(|source| CrashError::Directory { dir: std::path::PathBuf::new(), source })?;
    let setup = Setup {
        binary: binary(args.onrush.as_deref())?,
        dir: dir.path().to_path_buf(),
        shards: args.shards,
        host: None,
        engine_token: format!("{:032x}", args.seed),
        node: None,
    };
    let process = setup.start()?;
    let books = Arc::new(Books::default());
    let doors = Doors { native: process.places.native.clone(), services: process.places.services.clone() };
    let buyers = Buyers::begin(floor, &doors, habits(args), &books).await?;
    let pace = pace(args, &books).await;
    buyers.end().await?;
    figures.violations.append(&mut books.entries().violations);
    process.stop()?;
    Ok(pace)
}
