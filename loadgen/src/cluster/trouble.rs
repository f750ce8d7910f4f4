//! What is done to a cluster under load, and what its buyers feel of it.

use std::time::Duration;

use rustix::process::Signal;

use super::ClusterError;
use super::books::{Books, quantile};
use super::nodes::{NUMBERS, Nodes, wait};
use crate::random::Random;

/// Under load before, so that there is something to compare with.
const CALM: Duration = Duration::from_millis(1_000);
/// How long a process stands still.
const STANDSTILL: Duration = Duration::from_secs(2);
/// The longest gap that is waited for.
const GAP_MAX: Duration = Duration::from_secs(30);
/// How often wires flap, and how long they are cut and healed.
const FLAPS: u32 = 8;
const FLAP: Duration = Duration::from_millis(150);
/// How long an office takes at most to be handed over.
const HANDING_OVER: Duration = Duration::from_millis(400);
/// How long after the trouble a gap is looked for.
const AFTER: Duration = Duration::from_millis(1_500);

/// A kind of trouble.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// SIGKILL of the leader; it starts again.
    Kill,
    /// SIGSTOP of the leader.
    Pause,
    /// SIGSTOP of another node.
    FollowerPause,
    /// Another node is asked to lead.
    Transfer,
    /// Every node is ended by SIGTERM and started again, one after the other.
    Roll,
    /// Nothing arrives at the leader, or leaves it.
    Cut,
    /// The leader hears the others, and nobody hears it.
    Silence,
    /// The leader's wires are cut and healed again and again.
    Flap,
    /// All wires lose, double, delay and reorder.
    Noise,
    /// SIGKILL of another node, a bit of whose last entry flips before it starts again.
    Flip,
    /// SIGKILL of another node, whose disk is lost: an empty one with another number takes its place.
    Replace,
}

impl Kind {
    pub(super) const ALL: [Self; 11] = [
        Self::Kill,
        Self::Pause,
        Self::FollowerPause,
        Self::Transfer,
        Self::Roll,
        Self::Cut,
        Self::Silence,
        Self::Flap,
        Self::Noise,
        Self::Flip,
        Self::Replace,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "leader killed",
            Self::Pause => "leader stands still",
            Self::FollowerPause => "follower stands still",
            Self::Transfer => "office handed over",
            Self::Roll => "rolling restart",
            Self::Cut => "leader cut off",
            Self::Silence => "leader not heard",
            Self::Flap => "leader's wires flap",
            Self::Noise => "bad wires",
            Self::Flip => "bit flips at follower",
            Self::Replace => "disk lost at follower",
        }
    }

    /// Stable, for machines.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::FollowerPause => "follower_pause",
            Self::Transfer => "transfer",
            Self::Roll => "roll",
            Self::Cut => "cut",
            Self::Silence => "silence",
            Self::Flap => "flap",
            Self::Noise => "noise",
            Self::Flip => "flip",
            Self::Replace => "replace",
        }
    }
}

/// A trouble that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    /// The longest time without any acknowledgement around it.
    pub(super) gap: Duration,
    /// The 99th percentile of what an answer took before it, and during it.
    pub(super) p99: (Duration, Duration),
    /// Bytes that a node that was empty was sent until it had a vote, and how long it took to come to that.
    pub(super) rebuilt: Option<(u64, Duration)>,
}

impl Trouble {
    /// Makes it, waits until it is over and all nodes follow again.
    pub(super) async fn run(
        kind: Kind,
        nodes: &mut Nodes,
        books: &Books,
        random: &mut Random,
    ) -> Result<Self, ClusterError> {
        let calm = books.now();
        tokio::time::sleep(CALM + Duration::from_millis(random.below(400))).await;
        let (leader, group) = nodes.leader().await?;
        let other = (leader + 1 + random.below(2) as usize) % NUMBERS.len();
        let began = books.now();
        let mut rebuilt = None;
        match kind {
            Kind::Kill => nodes.kill(leader)?,
            Kind::Pause => stand_still(nodes, leader).await?,
            Kind::FollowerPause => stand_still(nodes, other).await?,
            Kind::Transfer => hand_over(nodes, leader, other, &group.voters).await?,
            Kind::Roll => roll(nodes).await?,
            Kind::Flip => {
                nodes.kill(other)?;
                nodes.flip_end(other, random)?;
            }
            Kind::Replace => {
                nodes.kill(other)?;
                rebuilt = nodes.replace(other).await?;
            }
            Kind::Cut | Kind::Silence | Kind::Flap | Kind::Noise => storm(kind, nodes, leader).await,
        }
        let during = books.now();
        tokio::time::sleep(AFTER).await;
        // A gap that is not over goes on.
        while books.last() < during && books.now() < during + GAP_MAX {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ended = books.now();
        let trouble = Self {
            kind,
            rebuilt,
            gap: books.longest_gap(began, ended),
            p99: (
                quantile(&books.times(calm, began), 0.99),
                quantile(&books.times(began, during.max(began + AFTER)), 0.99),
            ),
        };
        match kind {
            Kind::Kill => nodes.start(leader)?,
            Kind::Flip => nodes.start(other)?,
            _ => {}
        }
        nodes.settle().await?;
        Ok(trouble)
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (before, during) = self.p99;
        let rebuilt = self.rebuilt.map_or_else(String::new, |(bytes, took)| {
            let mib = bytes as f64 / f64::from(1 << 20);
            format!("; {mib:.0} MiB in {:.1} s, then it had a vote", took.as_secs_f64())
        });
        format!(
            "{}: {:.0} ms without an acknowledgement; p99 {:.1} ms before, {:.1} ms during{rebuilt}",
            self.kind.name(),
            ms(self.gap),
            ms(before),
            ms(during)
        )
    }
}

async fn stand_still(nodes: &Nodes, at: usize) -> Result<(), ClusterError> {
    nodes.signal(at, Signal::STOP)?;
    tokio::time::sleep(STANDSTILL).await;
    nodes.signal(at, Signal::CONT)
}

/// Bad weather on the wires, which passes.
async fn storm(kind: Kind, nodes: &Nodes, leader: usize) {
    let (leader, wires) = (nodes.all[leader].number, &nodes.wires);
    match kind {
        Kind::Cut => wires.cut_off(leader),
        Kind::Silence => wires.silence(leader),
        Kind::Noise => {
            let mut weather = wires.weather();
            (weather.loss, weather.delay_max) = (50, Duration::from_millis(20));
        }
        _ => {
            for _ in 0..FLAPS {
                wires.cut_off(leader);
                tokio::time::sleep(FLAP).await;
                wires.heal();
                tokio::time::sleep(FLAP).await;
            }
        }
    }
    tokio::time::sleep(STANDSTILL).await;
    wires.heal();
}

async fn hand_over(nodes: &Nodes, from: usize, to: usize, voters: &[u64]) -> Result<(), ClusterError> {
    let to = nodes.all[to].number;
    debug_assert!(voters.contains(&to));
    wait("an office that was handed over", async || {
        // Once asked it is under way; it may be taken by a third one, if that one was quicker, or by nobody in time.
        nodes.hand_over(from, to).await;
        tokio::time::sleep(HANDING_OVER).await;
        let (at, group) = nodes.leader().await.map_err(|error| error.to_string())?;
        if at == from { Err(format!("{group:?}")) } else { Ok(()) }
    })
    .await
}

/// The one that leads comes last.
async fn roll(nodes: &mut Nodes) -> Result<(), ClusterError> {
    let (leader, _) = nodes.leader().await?;
    for step in 1..=NUMBERS.len() {
        let at = (leader + step) % NUMBERS.len();
        nodes.end(at).await?;
        nodes.start(at)?;
        nodes.settle().await?;
    }
    Ok(())
}
