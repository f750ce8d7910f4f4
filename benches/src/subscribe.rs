//! `subscribe`: what writing costs while consumer groups read everything that is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use onrush_engine::{Engine, EngineHandle, EngineOptions};
use onrush_proto::command::CommitOffset;
use onrush_proto::{Command, Lsn, Outcome, Receipt, Request, ShardId, Slot, Text, Topic};

use crate::Failure;
use crate::cpu::process_ns;
use crate::group::drive;
use crate::kinds::Store;
use crate::machine;
use crate::reach::Reach;
use crate::sale::Sale;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::table::Table;

/// Records that a group takes at a time.
const TAKEN_MAX: usize = 4_096;
/// How long one waits for something to read before it looks whether that was all.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often a group says how far it is.
const COMMIT_EVERY: Duration = Duration::from_millis(100);

/// Writing while consumer groups read everything that is written, alternated with writing alone
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Consumer groups, each of which reads every record and commits its position
    #[arg(long, default_value_t = 3)]
    pub readers: u16,
    /// Orders per group: one turn, one frame, one durable write
    #[arg(long, default_value_t = 512)]
    pub group: usize,
    /// Groups of orders in flight
    #[arg(long, default_value_t = 2)]
    pub in_flight: usize,
    /// Orders per round
    #[arg(long, default_value_t = 500_000)]
    pub orders: usize,
    /// Rounds; with readers and without alternate
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Where rows are kept
    #[arg(long, value_enum, default_value = "fjall")]
    pub store: Store,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// One way to write in one round.
#[derive(Clone, Copy)]
struct Round {
    orders_per_s: f64,
    /// The same up to the moment at which the last group has read the last order.
    read_per_s: f64,
    cpu_us: f64,
    /// Records that the slowest group had not read when the last order was answered.
    behind: f64,
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "{} one-line orders of one SKU, made before the clock starts, in groups of {} with {} in flight through \
         one port of a fresh embedded engine, store {:?}; with {} consumer groups in its process, which read \
         every order whole as it is committed and commit their positions ten times a second, and without; {} \
         rounds; CPU of all threads",
        args.orders, args.group, args.in_flight, args.store, args.readers, args.rounds
    );
    machine::head("subscribe: writing while consumer groups read", &method);
    let (mut alone, mut read) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        for readers in if round % 2 == 0 { [0, args.readers] } else { [args.readers, 0] } {
            let into = if readers == 0 { &mut alone } else { &mut read };
            into.push(measure(args, readers)?);
        }
    }
    let mut table = Table::new([
        "readers",
        "orders/s",
        "rounds",
        "read by all, orders/s",
        "behind at the end",
        "CPU us/order",
    ]);
    table.row(cells("none", &alone));
    table.row(cells(&args.readers.to_string(), &read));
    table.print();
    let ratio = |figure: fn(&Round) -> f64| {
        read.iter().zip(&alone).map(|(read, alone)| figure(read) / alone.orders_per_s).collect::<Samples>()
    };
    let (written, read) = (ratio(|round| round.orders_per_s), ratio(|round| round.read_per_s));
    println!(
        "\nwith readers / without {:.2} ({})  {}; until all have read it {:.2} ({})",
        written.median(),
        written.range(),
        Reach::AtLeast(0.85).verdict(written.median()),
        read.median(),
        read.range()
    );
    Ok(())
}

fn cells(name: &str, rounds: &[Round]) -> [String; 6] {
    let over = |figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Samples>();
    let rate = over(|round| round.orders_per_s);
    [
        name.to_owned(),
        format!("{:.0}", rate.median()),
        rate.range(),
        format!("{:.0}", over(|round| round.read_per_s).median()),
        format!("{:.0}", over(|round| round.behind).median()),
        format!("{:.2}", over(|round| round.cpu_us).median()),
    ]
}

fn measure(args: &Args, readers: u16) -> Result<Round, Failure> {
    let dir = args.scratch.fresh()?;
    let engine = Engine::open(EngineOptions {
        data_dir: Some(dir.path().join("data")),
        shards: Some(1),
        store: args.store.into(),
        batch_requests_max: args.group,
        ..EngineOptions::default()
    })?;
    let (handle, groups, mut sale) = (engine.handle(), (args.group, args.in_flight), Sale::hot());
    let mut port = handle.port();
    drive(&mut port, sale.opening().collect(), groups)?;
    drive(&mut port, sale.orders(8 * args.group), groups)?;
    let orders = sale.orders(args.orders);
    let is_over = Arc::new(AtomicBool::new(false));
    let from = handle.end(SHARD);
    let reading: Vec<_> = (0..readers)
        .map(|number| {
            let (handle, is_over) = (handle.clone(), Arc::clone(&is_over));
            thread::spawn(move || read(&handle, number, from, &is_over))
        })
        .collect();
    let (start, cpu) = (Instant::now(), process_ns());
    drive(&mut port, orders, groups)?;
    let (took, end) = (start.elapsed().as_secs_f64(), handle.end(SHARD));
    is_over.store(true, Ordering::Relaxed);
    let mut behind = 0;
    for reader in reading {
        let read = reader.join().map_err(|_| Failure::unexpected("a reader", "one that panicked"))??;
        if read.records < args.orders as u64 {
            return Err(Failure::unexpected("every order read", read.records));
        }
        behind = behind.max(end.0.saturating_sub(read.at_the_end));
    }
    let (all, cpu) = (start.elapsed().as_secs_f64(), process_ns() - cpu);
    drop(port);
    engine.close()?;
    let count = args.orders as f64;
    Ok(Round {
        orders_per_s: count / took,
        read_per_s: count / all,
        cpu_us: cpu as f64 / 1e3 / count,
        behind: behind as f64,
    })
}

const SHARD: ShardId = ShardId(0);

/// What one group has read.
struct Read {
    /// Records of orders.
    records: u64,
    /// Its position when it heard that the last order was answered.
    at_the_end: u64,
}

/// Reads behind `from` until nothing more comes.
fn read(handle: &EngineHandle, number: u16, from: Lsn, is_over: &AtomicBool) -> Result<Read, Failure> {
    let group = Text::new(&format!("group-{number}")).unwrap_or_default();
    let mut subscription = handle.subscribe(SHARD, Lsn(from.0 + 1));
    let (mut records, mut rows, mut at_the_end) = (0, 0, None);
    let mut committed = Instant::now();
    loop {
        let mut wrong = None;
        let polled = subscription.poll(TAKEN_MAX, |event| {
            if event.fact.kind.is_in(Topic::OrderCreated) {
                match event.fact.read(event.key_hash) {
                    Ok(fact) => (records, rows) = (records + 1, rows + fact.rows.len()),
                    Err(error) => wrong = Some(error),
                }
            }
        })?;
        if let Some(error) = wrong {
            return Err(error.into());
        }
        if is_over.load(Ordering::Relaxed) && at_the_end.is_none() {
            at_the_end = Some(subscription.cursor().0);
        }
        if committed.elapsed() >= COMMIT_EVERY {
            commit(handle, group, subscription.cursor())?;
            committed = Instant::now();
        }
        if polled == 0 && !subscription.wait(LOOK_EVERY) && at_the_end.is_some() {
            commit(handle, group, subscription.cursor())?;
            std::hint::black_box(rows);
            return Ok(Read { records, at_the_end: at_the_end.unwrap_or_default() });
        }
    }
}

fn commit(handle: &EngineHandle, group: Text<47>, lsn: Lsn) -> Result<(), Failure> {
    let commit = CommitOffset { slot: Slot(0), group, topic: Topic::OrderCreated, lsn: Some(lsn) };
    let outcome = handle.call_blocking(Request::unkeyed(Command::CommitOffset(Box::new(commit)))).outcome;
    match outcome {
        Outcome::Accepted(Receipt::Offset { .. }) => Ok(()),
        other => Err(Failure::unexpected("a position on record", other)),
    }
}
