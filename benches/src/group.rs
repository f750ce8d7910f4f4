//! `group`: orders in groups through a port of an embedded engine, made before the clock starts.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use onrush_engine::{Engine, EngineOptions, IN_FLIGHT_MAX, Port};
use onrush_proto::{Outcome, Request};

use crate::Failure;
use crate::cpu::process_ns;
use crate::kinds::{Host, Store};
use crate::machine;
use crate::reach::Reach;
use crate::sale::Sale;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::table::Table;

/// How long an answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Embedded closed loop in groups through a port, hot and uniform alternated
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Orders per group: one turn, one frame, one durable write
    #[arg(long, default_value_t = 512)]
    pub group: usize,
    /// Groups in flight
    #[arg(long, default_value_t = 2)]
    pub in_flight: usize,
    /// Orders of each sale per round
    #[arg(long, default_value_t = 500_000)]
    pub orders: usize,
    /// Rounds; the sales alternate within each
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// SKUs of the uniform sale
    #[arg(long, default_value_t = 10_000)]
    pub skus: usize,
    /// Who drives the shards
    #[arg(long, value_enum, default_value = "thread")]
    pub host: Host,
    /// Where rows are kept
    #[arg(long, value_enum, default_value = "memory")]
    pub store: Store,
    /// Number of shards
    #[arg(long, default_value_t = 1)]
    pub shards: u16,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// One sale in one round.
#[derive(Clone, Copy)]
struct Round {
    orders_per_s: f64,
    cpu_us: f64,
    orders_per_write: f64,
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "{} one-line orders with key, customer limit and hold, made before the clock starts, in groups of {} \
         with {} in flight through one port; host {:?}, store {:?}, {} shards; a fresh engine for each of {} \
         rounds and both sales; CPU of all threads",
        args.orders, args.group, args.in_flight, args.host, args.store, args.shards, args.rounds
    );
    machine::head("group: embedded, durable, closed loop", &method);
    let (mut hot, mut uniform) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        hot.push(measure(args, Sale::hot())?);
        uniform.push(measure(args, Sale::uniform(args.skus))?);
    }
    let mut table = Table::new(["sale", "orders/s", "rounds", "CPU us/order", "orders/write", "reach"]);
    table.row(cells("hot SKU", &hot));
    table.row(cells(&format!("{} SKUs", args.skus), &uniform));
    table.print();
    let ratio: Samples =
        hot.iter().zip(&uniform).map(|(hot, uniform)| hot.orders_per_s / uniform.orders_per_s).collect();
    println!(
        "\nhot / uniform {:.2} ({})  {}",
        ratio.median(),
        ratio.range(),
        Reach::AtLeast(0.9).verdict(ratio.median())
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
        format!("{:.2}", over(|round| round.cpu_us).median()),
        format!("{:.0}", over(|round| round.orders_per_write).median()),
        Reach::AtLeast(500_000.0).verdict(rate.median()),
    ]
}

fn measure(args: &Args, mut sale: Sale) -> Result<Round, Failure> {
    let dir = args.scratch.fresh()?;
    let engine = open(args, dir.path())?;
    let handle = engine.handle();
    let mut port = handle.port();
    let groups = (args.group, args.in_flight);
    drive(&mut port, sale.opening().collect(), groups)?;
    // Tables and buffers have seen a few groups, as they have a second into a sale.
    drive(&mut port, sale.orders(8 * args.group), groups)?;
    let orders = sale.orders(args.orders);
    let before = handle.stats().durable_writes;
    let (start, cpu) = (Instant::now(), process_ns());
    drive(&mut port, orders, groups)?;
    let (took, cpu) = (start.elapsed().as_secs_f64(), process_ns() - cpu);
    let writes = handle.stats().durable_writes - before;
    drop(port);
    engine.close()?;
    let count = args.orders as f64;
    Ok(Round {
        orders_per_s: count / took,
        cpu_us: cpu as f64 / 1e3 / count,
        orders_per_write: count / writes.max(1) as f64,
    })
}

fn open(args: &Args, dir: &Path) -> Result<Engine, Failure> {
    Ok(Engine::open(EngineOptions {
        data_dir: Some(dir.join("data")),
        shards: Some(args.shards),
        host: args.host.into(),
        store: args.store.into(),
        batch_requests_max: args.group,
        ..EngineOptions::default()
    })?)
}

/// Has all requests accepted, in groups, so many groups at a time.
pub(crate) fn drive(
    port: &mut Port,
    requests: Vec<Request>,
    (group, in_flight): (usize, usize),
) -> Result<(), Failure> {
    let most = (group * in_flight).min(IN_FLIGHT_MAX);
    let mut requests = requests.into_iter().peekable();
    let mut refused = None;
    while requests.peek().is_some() || port.in_flight() > 0 {
        while port.in_flight() + group <= most && requests.peek().is_some() {
            for request in requests.by_ref().take(group) {
                if port.submit(0, request).is_err() {
                    return Err(Failure::unexpected("a port with room", port.in_flight()));
                }
            }
            port.flush();
        }
        let answered = port.drain(|_, reply| {
            if !matches!(reply.outcome, Outcome::Accepted(_)) {
                refused = Some(reply.outcome);
            }
        });
        if let Some(outcome) = refused {
            return Err(Failure::unexpected("an acceptance", outcome));
        }
        if answered == 0 && port.in_flight() > 0 && !port.wait(PATIENCE) {
            return Err(Failure::unexpected("an answer in time", PATIENCE));
        }
    }
    Ok(())
}
