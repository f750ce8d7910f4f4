//! The real binary on real files, killed under load again and again.
//!
//! A cycle: buyers ask for a hot SKU that sells out and for cold ones, pay, retry, re-use keys; the
//! process gets SIGKILL after a random number of answers, often once more while it recovers; when
//! it is back, what it has is compared with what the buyers were told. Every few cycles it is
//! stopped by SIGTERM and `onrush verify` reads its directory.
//!
//! `--cycles` says how many (20; without optimisation 4), `--shards` and `--seed` fix the rest; [`Flags`]
//! has all of them. A seed cannot fix what the machine does at the moment of a kill, so a repetition may
//! need a few tries.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by a panic"
)]

mod answer;
mod check;
mod flags;
mod journal;
mod load;
mod random;
mod server;
mod shelf;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser as _;
use flags::Flags;
use journal::Journal;
use load::Load;
use random::Random;
use server::Server;
use tempfile::TempDir;

/// How long a call of the comparison waits; it is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers before the kill: from none to well after the hot SKU is sold out.
const ANSWERS_MAX: u64 = if cfg!(debug_assertions) { 600 } else { 1_500 };
/// Older purchases that are looked at again in each cycle; the last cycle looks at all.
const SPOT_CHECKS: u64 = 200;
/// Cycles between two graceful stops.
const CYCLES_PER_STOP: u64 = 3;

fn main() {
    let flags = Flags::parse();
    if !flags.runs() {
        return;
    }
    let seed = flags.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let cycles = flags.cycles;
    let runs = match flags.shards {
        Some(shards) => vec![(shards, cycles)],
        None => vec![(1, cycles / 2), (4, cycles - cycles / 2)],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (shards, cycles) in runs.into_iter().filter(|(_, cycles)| *cycles > 0) {
        runtime.block_on(Run::new(shards, seed, cycles).go());
    }
}

/// All cycles on one data directory. If it fails it keeps the directory and says how to repeat it.
struct Run {
    shards: u16,
    seed: u64,
    cycles: u64,
    random: Random,
    dir: TempDir,
    journal: Journal,
}

impl Run {
    fn new(shards: u16, seed: u64, cycles: u64) -> Self {
        Self {
            shards,
            seed,
            cycles,
            random: Random::new(seed, 0),
            // Beside the build, where files are files: the system's place for them may be memory.
            dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            journal: Journal::default(),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self) -> String {
        let release = if cfg!(debug_assertions) { "" } else { "--release " };
        let Self { shards, seed, cycles, .. } = self;
        format!(
            "cargo test {release}-p onrush-services --test crash -- --seed {seed} --shards {shards} --cycles {cycles}"
        )
    }

    async fn go(mut self) {
        eprintln!("{}", self.command());
        let mut server = Server::start(self.path(), self.shards);
        self.stock_up(&server).await;
        for cycle in 1..=self.cycles {
            let start = Instant::now();
            let (recovered, told) = self.crash(server, cycle).await;
            server = recovered;
            self.compare(&server, told, cycle).await;
            if cycle % CYCLES_PER_STOP == 0 || cycle == self.cycles {
                server.stop().await;
                server::verify(self.path());
                server = Server::start(self.path(), self.shards);
            }
            let keys = self.journal.purchases.len();
            eprintln!("cycle {cycle}: {keys} baskets so far, {} ms", start.elapsed().as_millis());
        }
    }

    async fn stock_up(&self, server: &Server) {
        let client = server.client(PATIENCE);
        for index in 0..shelf::COLD {
            shelf::put(&client, &shelf::cold(index), shelf::COLD_UNITS).await;
        }
    }

    /// Load, a kill, perhaps kills during the recovery; what the buyers were told.
    async fn crash(&mut self, server: Server, cycle: u64) -> (Server, Journal) {
        shelf::put(&server.client(PATIENCE), &shelf::hot(cycle), shelf::HOT_UNITS).await;
        let load = Load::start(&server, self.seed, cycle);
        load.answers(self.random.between(0, ANSWERS_MAX)).await;
        // Away from the moment of an answer.
        tokio::time::sleep(Duration::from_micros(self.random.between(0, 3_000))).await;
        let mut life_us = u64::try_from(server.start.as_micros()).unwrap();
        server.kill();
        let told = load.journal().await;
        if self.random.once_in(3) {
            // As the crash left it.
            server::verify(self.path());
        }
        while self.random.once_in(3) {
            life_us = self.random.between(0, life_us);
            Server::start_and_kill(self.path(), self.shards, Duration::from_micros(life_us)).await;
        }
        (Server::start(self.path(), self.shards), told)
    }

    async fn compare(&mut self, server: &Server, told: Journal, cycle: u64) {
        let client = server.client(PATIENCE);
        let last = cycle == self.cycles;
        let settled = check::settle(&client, &mut self.random, told).await;
        check::listed(&client, &settled, load::customers(cycle)).await;
        if last {
            let all = std::mem::take(&mut self.journal);
            self.journal = check::settle(&client, &mut self.random, all).await;
            check::listed(&client, &self.journal, std::iter::empty()).await;
        } else {
            check::spot_check(&client, &mut self.random, &self.journal, SPOT_CHECKS).await;
        }
        self.journal.purchases.extend(settled.purchases);
        self.journal.deliveries.extend(settled.deliveries);
        check::books(&client, &self.journal, cycle).await;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("the data directory is kept: {}", self.dir.path().display());
            eprintln!("repeat with: {}", self.command());
        }
    }
}
