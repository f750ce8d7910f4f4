//! `idle`: one durable order at a time on an engine with nothing else to do, against one durable
//! write.

use std::time::{Duration, Instant};

use clap::Parser;
use onrush_engine::{Engine, EngineHandle, EngineOptions, HostKind, StoreKind};
use onrush_proto::Outcome;
use onrush_storage::disk::{AlignedBuf, RealDisk, SECTOR_BYTES};

use crate::Failure;
use crate::fsync::{Overwritten, filled};
use crate::machine;
use crate::reach::Reach;
use crate::sale::Sale;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::table::Table;

/// One durable order at a time, alternated with raw durable writes of 4 KiB
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Seconds of each contender per round
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Rounds; the contenders alternate within each
    #[arg(long, default_value_t = 9)]
    pub rounds: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// An engine with one SKU on sale.
struct Shop {
    name: &'static str,
    engine: Engine,
    handle: EngineHandle,
    sale: Sale,
}

impl Shop {
    fn open(name: &'static str, host: HostKind, dir: &std::path::Path) -> Result<Self, Failure> {
        let engine = Engine::open(EngineOptions {
            data_dir: Some(dir.join(name)),
            host,
            store: StoreKind::Memory,
            ..EngineOptions::default()
        })?;
        let (handle, sale) = (engine.handle(), Sale::hot());
        for request in sale.opening() {
            accepted(&handle.call_blocking(request).outcome)?;
        }
        Ok(Self { name, engine, handle, sale })
    }

    /// One order; how long it took in us.
    fn order(&mut self) -> Result<f64, Failure> {
        let order = self.sale.order();
        let start = Instant::now();
        let reply = self.handle.call_blocking(order);
        let took = start.elapsed().as_secs_f64() * 1e6;
        accepted(&reply.outcome)?;
        Ok(took)
    }
}

fn accepted(outcome: &Outcome) -> Result<(), Failure> {
    match outcome {
        Outcome::Accepted(_) => Ok(()),
        other => Err(Failure::unexpected("an acceptance", other)),
    }
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let dir = args.scratch.fresh()?;
    let disk = RealDisk::open(dir.path())?;
    let method = format!(
        "call_blocking of a one-line order, one at a time, store in memory, against {} of 4 KiB in the same \
         directory; {} s of each in each of {} rounds; medians over rounds, ratios within a round",
        disk.durability(),
        args.seconds,
        args.rounds
    );
    machine::head("idle: a single durable order", &method);
    let (mut file, sector) = (Overwritten::create(&disk)?, filled(SECTOR_BYTES));
    let mut shops = [
        Shop::open("inline", HostKind::Inline, dir.path())?,
        Shop::open("thread", HostKind::Thread, dir.path())?,
    ];
    let mut writes = Vec::new();
    let mut orders = shops.each_ref().map(|_| Vec::new());
    for _ in 0..args.rounds {
        writes.push(measure(args.seconds, || write(&mut file, &sector))?);
        for (shop, orders) in shops.iter_mut().zip(&mut orders) {
            orders.push(measure(args.seconds, || shop.order())?);
        }
    }
    let mut table = Table::new(["contender", "p50 us", "rounds", "p99 us", "p50 ratio", "rounds", "reach"]);
    table.row(cells("durable write", &writes, &writes));
    for (shop, orders) in shops.iter().zip(&orders) {
        table.row(cells(&format!("order, {} host", shop.name), orders, &writes));
    }
    table.print();
    for shop in shops {
        drop(shop.handle);
        shop.engine.close()?;
    }
    Ok(())
}

fn cells(name: &str, rounds: &[Samples], writes: &[Samples]) -> [String; 7] {
    let over = |q: f64| rounds.iter().map(|round| round.quantile(q)).collect::<Samples>();
    let ratio: Samples =
        rounds.iter().zip(writes).map(|(order, write)| order.median() / write.median()).collect();
    let (p50, p99) = (over(0.5), over(0.99));
    [
        name.to_owned(),
        format!("{:.0}", p50.median()),
        p50.range(),
        format!("{:.0}", p99.median()),
        format!("{:.2}", ratio.median()),
        ratio.range(),
        Reach::AtMost(1.5).verdict(ratio.median()),
    ]
}

fn write(file: &mut Overwritten, sector: &AlignedBuf) -> Result<f64, Failure> {
    file.write(sector)
}

fn measure(seconds: f64, mut one: impl FnMut() -> Result<f64, Failure>) -> Result<Samples, Failure> {
    let patience = Duration::from_secs_f64(seconds);
    let mut samples = Samples::default();
    let start = Instant::now();
    while samples.is_empty() || start.elapsed() < patience {
        samples.push(one()?);
    }
    Ok(samples)
}
