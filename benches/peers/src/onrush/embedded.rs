//! The engine in this process: orders in groups through a port, made while the clock runs.

use std::time::{Duration, Instant};

use onrush_benches::Failure;
use onrush_benches::cpu::process_ns;
use onrush_benches::sale::Sale;
use onrush_benches::samples::Samples;
use onrush_engine::{Engine, EngineOptions, HostKind, Port, StoreKind};
use onrush_proto::{Outcome, Request};

use crate::interrupt;
use crate::round::Round;
use crate::stage::Stage;

/// Orders of a group.
pub(crate) const GROUP: usize = 8_192;
/// Groups under way.
const IN_FLIGHT: usize = 2;
/// How long an answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures groups of orders of `skus` SKUs.
pub(crate) fn measure(skus: usize, stage: &Stage<'_>) -> Result<Round, Failure> {
    let dir = stage.fresh()?;
    let engine = Engine::open(EngineOptions {
        data_dir: Some(dir.path().join("data")),
        shards: Some(1),
        host: HostKind::Thread,
        store: StoreKind::Fjall,
        ..EngineOptions::default()
    })?;
    let mut sale = Sale::uniform(skus);
    let mut loader = Loader::of(engine.handle().port());
    for request in sale.opening() {
        loader.submit(request, 0)?;
    }
    loader.flush();
    loader.until(0)?;
    loader.run(&mut sale, Instant::now() + stage.span.warm)?;
    loader.tally = Tally::default();
    let (start, cpu) = (Instant::now(), process_ns());
    loader.run(&mut sale, start + stage.span.measured)?;
    let (took, cpu) = (start.elapsed().as_secs_f64(), process_ns() - cpu);
    let Tally { orders, groups_us } = std::mem::take(&mut loader.tally);
    loader.until(0)?;
    drop(loader);
    engine.close()?;
    Ok(Round {
        per_s: orders as f64 / took,
        p50_us: Some(groups_us.median()),
        p99_us: Some(groups_us.quantile(0.99)),
        client_us: None,
        server_us: Some(cpu as f64 / 1e3 / orders.max(1) as f64),
    })
}

/// What was accepted since it was last emptied.
#[derive(Default)]
struct Tally {
    orders: u64,
    groups_us: Samples,
}

/// Keeps groups under way.
struct Loader {
    port: Port,
    tally: Tally,
    /// For each group by its number, modulo those under way: when it left, and how much of it is open.
    groups: [(Instant, usize); IN_FLIGHT],
    next: usize,
}

impl Loader {
    fn of(port: Port) -> Self {
        Self { port, tally: Tally::default(), groups: [(Instant::now(), 0); IN_FLIGHT], next: 0 }
    }

    fn submit(&mut self, request: Request, group: usize) -> Result<(), Failure> {
        self.groups[group].1 += 1;
        let room = self.port.submit(group as u64, request);
        room.map_err(|_| Failure::unexpected("a port with room", self.port.in_flight()))
    }

    fn flush(&mut self) {
        self.port.flush();
    }

    /// Asks group after group until `end`.
    fn run(&mut self, sale: &mut Sale, end: Instant) -> Result<(), Failure> {
        // One group may take longer than all that was to be measured.
        while Instant::now() < end || self.tally.orders == 0 {
            while self.groups[self.next].1 == 0 {
                self.groups[self.next].0 = Instant::now();
                for _ in 0..GROUP {
                    self.submit(sale.order(), self.next)?;
                }
                self.flush();
                self.next = (self.next + 1) % IN_FLIGHT;
            }
            self.hear()?;
            interrupt::check()?;
        }
        Ok(())
    }

    /// Waits until so many requests are open.
    fn until(&mut self, open: usize) -> Result<(), Failure> {
        while self.port.in_flight() > open {
            self.hear()?;
        }
        Ok(())
    }

    /// Takes what was answered, or waits for it.
    fn hear(&mut self) -> Result<(), Failure> {
        let Self { port, tally, groups, .. } = self;
        let (now, mut refused) = (Instant::now(), None);
        let heard = port.drain(|tag, reply| {
            if !matches!(reply.outcome, Outcome::Accepted(_)) {
                refused = Some(reply.outcome);
            }
            tally.orders += 1;
            let (left_at, open) = &mut groups[tag as usize];
            *open -= 1;
            if *open == 0 {
                tally.groups_us.push((now - *left_at).as_secs_f64() * 1e6);
            }
        });
        match refused {
            Some(outcome) => Err(Failure::unexpected("an acceptance", outcome)),
            None if heard == 0 && port.in_flight() > 0 && !port.wait(PATIENCE) => {
                Err(Failure::unexpected("an answer in time", PATIENCE))
            }
            None => Ok(()),
        }
    }
}
