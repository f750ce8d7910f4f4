//! `replay`: how fast a shard is rebuilt from its log.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use onrush_engine::recover::{LogPosition, recover};
use onrush_engine::shard::ShardOptions;
use onrush_engine::{Engine, EngineOptions, HostKind, StoreKind};
use onrush_proto::{KeyHasher, ShardId, SlotMap};
use onrush_storage::disk::RealDisk;
use onrush_storage::log::{Log, LogOptions};
use onrush_storage::store::MemoryStore;

use crate::Failure;
use crate::cpu::{process_ns, thread_ns};
use crate::machine;
use crate::reach::Reach;
use crate::sale::Sale;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::table::Table;
use crate::till::{answers, settle, start};

const MIB: f64 = 1_048_576.0;
/// Recovery of a log of orders and payments, in MiB per second of CPU
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Orders in the log, each paid
    #[arg(long, default_value_t = 300_000)]
    pub orders: usize,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// SKUs
    #[arg(long, default_value_t = 10_000)]
    pub skus: usize,
    /// Commands per group when the log is written
    #[arg(long, default_value_t = 512)]
    pub group: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// What one way of reading the log cost.
#[derive(Clone, Copy)]
struct Cost {
    cpu_s: f64,
    wall_s: f64,
}

/// One round.
struct Round {
    records: u64,
    bytes: u64,
    check: Cost,
    recover: Cost,
    open: Cost,
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "{} paid orders (create, start, settle; {} SKUs) written through the engine, store in memory, closed; \
         then in each of {} rounds: Log::open (reads and checks every frame), recover (decodes and applies \
         every record) by CPU time of their one thread, and Engine::open by CPU time of the process",
        args.orders, args.skus, args.rounds
    );
    machine::head("replay: a shard from its log", &method);
    let dir = args.scratch.fresh()?;
    let data = dir.path().join("data");
    write(args, &data)?;
    let rounds = (0..args.rounds).map(|_| measure(&data)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = rounds.first() else { return Ok(()) };
    println!(
        "log      {} records, {:.1} MiB, {:.0} B per record\n",
        first.records,
        first.bytes as f64 / MIB,
        first.bytes as f64 / first.records as f64
    );
    let mut table = Table::new(["part", "MiB/s of CPU", "rounds", "MiB/s of time", "ns CPU/record", "reach"]);
    table.row(cells("check (Log::open)", &rounds, |round| round.check));
    table.row(cells("recover", &rounds, |round| round.recover));
    table.row(cells("whole Engine::open", &rounds, |round| round.open));
    table.print();
    Ok(())
}

fn cells(name: &str, rounds: &[Round], part: fn(&Round) -> Cost) -> [String; 6] {
    let rate = |seconds: fn(Cost) -> f64| -> Samples {
        rounds.iter().map(|round| round.bytes as f64 / MIB / seconds(part(round))).collect()
    };
    let record: Samples = rounds.iter().map(|round| part(round).cpu_s * 1e9 / round.records as f64).collect();
    let cpu = rate(|cost| cost.cpu_s);
    [
        name.to_owned(),
        format!("{:.0}", cpu.median()),
        cpu.range(),
        format!("{:.0}", rate(|cost| cost.wall_s).median()),
        format!("{:.0}", record.median()),
        Reach::AtLeast(200.0).verdict(cpu.median()),
    ]
}

fn options(data: &Path) -> EngineOptions {
    EngineOptions {
        data_dir: Some(data.to_path_buf()),
        shards: Some(1),
        host: HostKind::Thread,
        store: StoreKind::Memory,
        ..EngineOptions::default()
    }
}

fn measure(data: &Path) -> Result<Round, Failure> {
    let disk = RealDisk::open(data.join("shard-000").join("log"))?;
    let mut opened = None;
    let check = timed(thread_ns, || {
        opened = Some(Log::open(Arc::new(disk), LogOptions::new(0, 7))?);
        Ok(())
    })?;
    let Some((log, found)) = opened else { return Err(Failure::unexpected("an open log", "none")) };
    let position =
        LogPosition { first_lsn: log.first_lsn(), end_lsn: log.end_lsn(), time_us: found.last_time_us };
    let map = SlotMap::new(1).ok_or_else(|| Failure::unexpected("a map of one shard", 1))?;
    let options_of_shard = ShardOptions::new(ShardId(0), map, KeyHasher::new([1, 2]));
    let mut recovered = None;
    let recovery = timed(thread_ns, || {
        recovered = Some(recover(options_of_shard, &MemoryStore::new(), log.reader(), position, drop)?);
        Ok(())
    })?;
    let Some(recovered) = recovered else { return Err(Failure::unexpected("a shard", "none")) };
    let (records, bytes) = (recovered.replayed, recovered.replayed_bytes);
    drop((recovered, log));
    let mut engine = None;
    let open = timed(process_ns, || {
        engine = Some(Engine::open(options(data))?);
        Ok(())
    })?;
    if let Some(engine) = engine {
        engine.close()?;
    }
    Ok(Round { records, bytes, check, recover: recovery, open })
}

fn timed(cpu_ns: fn() -> u64, work: impl FnOnce() -> Result<(), Failure>) -> Result<Cost, Failure> {
    let (start, cpu) = (Instant::now(), cpu_ns());
    work()?;
    let cpu_s = (cpu_ns() - cpu) as f64 / 1e9;
    Ok(Cost { cpu_s, wall_s: start.elapsed().as_secs_f64() })
}

/// Writes the log: every order is created and paid.
fn write(args: &Args, data: &Path) -> Result<(), Failure> {
    let engine = Engine::open(options(data))?;
    let mut sale = Sale::uniform(args.skus);
    let mut port = engine.handle().port();
    for opening in sale.opening().collect::<Vec<_>>().chunks(args.group) {
        answers(&mut port, opening.to_vec())?;
    }
    let mut left = args.orders;
    while left > 0 {
        let group = left.min(args.group);
        left -= group;
        let created = answers(&mut port, sale.orders(group))?;
        let started = answers(&mut port, created.iter().filter_map(start).collect())?;
        answers(&mut port, started.iter().filter_map(settle).collect())?;
    }
    drop(port);
    Ok(engine.close()?)
}
