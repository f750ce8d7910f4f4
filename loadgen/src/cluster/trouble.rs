//! What is done to a cluster under load, and what its buyers feel of it.

use std::time::Duration;

use onrush_proto::{BrandName, CategoryName, Command, Currency, Money, PutProduct, Text};
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::ClusterError;
use super::books::{Books, quantile};
use super::client::Client;
use super::disk;
use super::kinds::Kind;
use super::nodes::{NUMBERS, Nodes, SMALL, TakenPlace, wait};
use crate::cli::Protocols;
use crate::crash::CrashError;
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
/// Who writes long texts while a disk is full.
const CLERKS: usize = 8;
/// How long after the trouble a gap is looked for.
const AFTER: Duration = Duration::from_millis(1_500);

/// A trouble that is over.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    /// The longest time without any acknowledgement around it.
    pub(super) gap: Duration,
    /// The 99th percentile of what an answer took before it, and during it.
    pub(super) p99: (Duration, Duration),
    /// The same while a node was away for good and none had come in its place yet.
    pub(super) p99_without: Option<Duration>,
    /// What else there is to tell.
    pub(super) note: Option<String>,
}

/// Who is at the scene.
struct Scene<'a> {
    kind: Kind,
    nodes: &'a mut Nodes,
    books: &'a Books,
    random: &'a mut Random,
    leader: usize,
    /// Another one.
    other: usize,
    /// Between which moments buyers feel it, if it is not all of it.
    felt: Option<(Duration, Duration)>,
    /// Between which a node was missing.
    missing: Option<(Duration, Duration)>,
}

impl Trouble {
    /// Makes it, waits until it is over and all nodes follow again.
    pub(super) async fn run(
        kind: Kind,
        nodes: &mut Nodes,
        books: &Books,
        random: &mut Random,
    ) -> Result<Self, ClusterError> {
        let (mut leader, _) = nodes.leader().await?;
        // Whose disk is full is known; whether it leads is made so, before anything is looked at.
        if matches!((kind, leader == SMALL), (Kind::Full, false) | (Kind::FollowerFull, true)) {
            let to = if kind == Kind::Full { SMALL } else { (SMALL + 1) % NUMBERS.len() };
            hand_over(nodes, leader, to).await?;
            nodes.settle().await?;
        }
        let calm = books.now();
        tokio::time::sleep(CALM + Duration::from_millis(random.below(400))).await;
        (leader, _) = nodes.leader().await?;
        let other = (leader + 1 + random.below(2) as usize) % NUMBERS.len();
        let began = books.now();
        let mut scene = Scene { kind, nodes, books, random, leader, other, felt: None, missing: None };
        let mut note = scene.begin().await?;
        let during = books.now();
        tokio::time::sleep(AFTER).await;
        // A gap that is not over goes on.
        while books.last() < during && books.now() < during + GAP_MAX {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ended = books.now();
        let gap = books.longest_gap(began, ended);
        let felt = scene.felt.unwrap_or((began, during.max(began + AFTER)));
        let p99_of = |(from, to)| quantile(&books.times(from, to), 0.99);
        let (p99, p99_without) = ((p99_of((calm, began)), p99_of(felt)), scene.missing.map(p99_of));
        if let Some(end) = scene.end().await? {
            note = Some(note.map_or_else(|| end.clone(), |note| format!("{note}; {end}")));
        }
        nodes.settle().await?;
        Ok(Self { kind, gap, p99, p99_without, note })
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (before, during) = self.p99;
        let note = self.note.as_ref().map_or_else(String::new, |note| format!("; {note}"));
        let without =
            self.p99_without.map_or_else(String::new, |p99| format!("{:.1} ms without the node, ", ms(p99)));
        format!(
            "{}: {:.0} ms without an acknowledgement; p99 {:.1} ms before, {without}{:.1} ms during{note}",
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

impl Scene<'_> {
    /// What there is to tell once it was done.
    async fn begin(&mut self) -> Result<Option<String>, ClusterError> {
        let (leader, other) = (self.leader, self.other);
        match self.kind {
            Kind::Kill => self.nodes.kill(leader)?,
            Kind::Pause => stand_still(self.nodes, leader).await?,
            Kind::FollowerPause => stand_still(self.nodes, other).await?,
            Kind::Transfer => hand_over(self.nodes, leader, other).await?,
            Kind::Roll => roll(self.nodes).await?,
            Kind::Flip => {
                self.nodes.kill(other)?;
                self.nodes.flip_end(other, self.random)?;
            }
            // What is damaged is so once it runs no more, and is found at its start.
            Kind::Damage => self.nodes.kill(other)?,
            Kind::Replace => {
                self.nodes.kill(other)?;
                return self.replace(other).await;
            }
            Kind::Full | Kind::FollowerFull => self.fill().await?,
            Kind::FollowerSlow => {
                let slow = self.nodes.slow_disk(other)?;
                tokio::time::sleep(STANDSTILL).await;
                drop(slow);
            }
            Kind::Tear => return Ok(self.tear().await),
            Kind::Cut | Kind::Isolate | Kind::Silence | Kind::Flap | Kind::Noise => self.storm().await?,
        }
        Ok(None)
    }

    /// All is well again.
    async fn end(&mut self) -> Result<Option<String>, ClusterError> {
        match self.kind {
            Kind::Kill => self.nodes.start(self.leader)?,
            Kind::Flip => self.nodes.start(self.other)?,
            Kind::Damage => return self.damage().await.map(Some),
            Kind::Full | Kind::FollowerFull => {
                self.nodes.put_down(SMALL);
                if let Some(small) = &self.nodes.small {
                    small.relieve()?;
                }
                self.nodes.start(SMALL)?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// Damages a file of a node that was killed, and starts it: it comes up, or says where the damage is and is replaced.
    async fn damage(&mut self) -> Result<String, ClusterError> {
        let at = self.other;
        let Some(done) = disk::damage(&self.nodes.data(at), self.random)? else {
            return Ok("no file to damage".into());
        };
        let (file, what) = (done.file.display().to_string(), done.what);
        let said = match self.nodes.start(at) {
            Ok(()) => return Ok(format!("{file}: {what}: came up")),
            Err(ClusterError::Process(CrashError::Ended { said, .. })) => said,
            Err(error) => return Err(error),
        };
        let last = said.lines().last().unwrap_or_default().to_owned();
        if !disk::names(&said, &done.file) {
            self.books.violate(format!("{file}: {what}: expected an error that says where, found {last}"));
        }
        let node = self.nodes.all[at].number;
        let replaced = self.replace(at).await?;
        let replaced = replaced.ok_or_else(|| ClusterError::Waited {
            what: "a number for an empty node",
            seconds: 0,
            found: format!("none left for that of node {node}"),
        })?;
        Ok(format!("{file}: {what}: refused to start ({last}); {replaced}"))
    }

    /// An empty node comes in the place of one that does not run; `None` if no number is left for it. Answers are looked at
    /// while it is filled: that the files of the lost disk are removed from one that others are on is our doing. Before that
    /// they are looked at without it, when each answer has to wait for the one follower that is left.
    async fn replace(&mut self, at: usize) -> Result<Option<String>, ClusterError> {
        let Some(lost) = self.nodes.lose(at)? else { return Ok(None) };
        let missing = self.books.now();
        tokio::time::sleep(CALM).await;
        let began = self.books.now();
        let taken = self.nodes.take_place(at, lost).await?;
        (self.missing, self.felt) = (Some((missing, began)), Some((began, self.books.now())));
        let p99 = |from: Duration, to: Duration| {
            quantile(&self.books.times(began + from, began + to), 0.99).as_secs_f64() * 1e3
        };
        Ok(Some(format!(
            "{}; p99 {:.1} ms while its process started, {:.1} until it followed, {:.1} from then on",
            rebuilt(&taken),
            p99(Duration::ZERO, taken.started),
            p99(taken.started, taken.follows),
            p99(taken.follows, taken.votes)
        )))
    }

    /// Fills the small disk, and has what fills logs written until its node is away.
    async fn fill(&self) -> Result<(), ClusterError> {
        if let Some(small) = &self.nodes.small {
            small.fill()?;
        }
        let clients = Client::open(&self.nodes.doors(), Protocols::Native).await?;
        let mut clerks = JoinSet::new();
        for client in clients.into_iter().cycle().take(CLERKS) {
            clerks.spawn(async move {
                loop {
                    // Whether it is done does not matter.
                    let _ = client.ask(long_text(), 0).await;
                }
            });
        }
        let away = self.nodes.is_away(SMALL).await;
        clerks.shutdown().await;
        away
    }

    /// Bad times for the connections of clients, which pass.
    async fn tear(&self) -> Option<String> {
        let proxies = self.nodes.proxies.as_ref()?;
        let before = proxies.cuts();
        proxies.weather(true);
        tokio::time::sleep(STANDSTILL).await;
        proxies.weather(false);
        Some(format!("{} connections cut in the middle of what they carried", proxies.cuts() - before))
    }

    /// Bad weather on the wires, which passes.
    async fn storm(&self) -> Result<(), ClusterError> {
        let flaps = if self.kind == Kind::Flap { FLAPS } else { 0 };
        for _ in 0..flaps {
            self.strike()?;
            tokio::time::sleep(FLAP).await;
            self.heal()?;
            tokio::time::sleep(FLAP).await;
        }
        if flaps == 0 {
            self.strike()?;
        }
        tokio::time::sleep(STANDSTILL).await;
        self.heal()
    }

    fn strike(&self) -> Result<(), ClusterError> {
        let (place, wires) = (self.leader, &self.nodes.wires);
        let number = self.nodes.all[place].number;
        match (self.kind, self.nodes.ground.nets()) {
            (Kind::Noise, Some(nets)) if nets.netem => return nets.weather(true),
            (Kind::Noise, _) => {
                let mut weather = wires.weather();
                (weather.loss, weather.delay_max) = (50, Duration::from_millis(20));
            }
            (Kind::Silence, Some(nets)) => return nets.silence(place),
            (Kind::Isolate, Some(nets)) => return nets.isolate(place),
            (_, Some(nets)) => return nets.cut_off(place),
            (Kind::Silence, None) => wires.silence(number),
            (_, None) => wires.cut_off(number),
        }
        Ok(())
    }

    fn heal(&self) -> Result<(), ClusterError> {
        self.nodes.wires.heal();
        let Some(nets) = self.nodes.ground.nets() else { return Ok(()) };
        match self.kind {
            Kind::Noise if nets.netem => nets.weather(false),
            Kind::Noise => Ok(()),
            _ => nets.heal(),
        }
    }
}

/// What an empty node got, and how long it took.
fn rebuilt(taken: &TakenPlace) -> String {
    let mib = taken.bytes as f64 / f64::from(1 << 20);
    let [started, follows, votes] =
        [taken.started, taken.follows, taken.votes].map(|time| time.as_secs_f64());
    format!(
        "{mib:.0} MiB in {votes:.1} s, then it had a vote; its process was there after {started:.2} s, and it followed after {follows:.2}"
    )
}

/// A product that nobody buys, with as long a text as there may be.
fn long_text() -> Command {
    Command::PutProduct(Box::new(PutProduct {
        sku: Text::new("long").unwrap_or_default(),
        name: "A long text".into(),
        description: "long ".repeat(12_000),
        category: CategoryName::EMPTY,
        brand: BrandName::EMPTY,
        price: Money::new(1, Currency::EUR),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    }))
}

async fn hand_over(nodes: &Nodes, from: usize, to: usize) -> Result<(), ClusterError> {
    let to = nodes.all[to].number;
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
