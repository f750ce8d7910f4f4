//! `store`: what the way from log to store costs an order, in a running engine.

use std::collections::VecDeque;
use std::time::Instant;

use clap::Parser;
use onrush_engine::{Engine, EngineHandle, EngineOptions, HostKind, StoreKind};
use onrush_proto::Receipt;

use crate::Failure;
use crate::cpu::threads_ns;
use crate::machine;
use crate::reach::Reach;
use crate::sale::Sale;
use crate::scratch::Scratch;
use crate::table::Table;
use crate::till::{answers, settle, start};

/// CPU of the flusher and the compactor per order, in a running engine, by size of the store
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Orders
    #[arg(long, default_value_t = 6_000_000)]
    pub orders: usize,
    /// Rows of the table: each covers so many orders
    #[arg(long, default_value_t = 1_000_000)]
    pub step: usize,
    /// Orders per group
    #[arg(long, default_value_t = 512)]
    pub group: usize,
    /// Orders after which an order is paid; none is if 0
    #[arg(long, default_value_t = 25_600)]
    pub paid_after: usize,
    /// SKUs
    #[arg(long, default_value_t = 10_000)]
    pub skus: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// CPU in ns of the store's threads, and of the shard's.
#[derive(Clone, Copy, Default)]
struct Spent {
    flusher: u64,
    compactor: u64,
    snapshots: u64,
    shard: u64,
}

impl Spent {
    fn now() -> Result<Self, Failure> {
        let mut spent = Self::default();
        for (name, ns) in threads_ns()? {
            match name.split('-').next().unwrap_or_default() {
                "flush" => spent.flusher += ns,
                "store" => spent.compactor += ns,
                "snapshot" => spent.snapshots += ns,
                "shard" => spent.shard += ns,
                _ => {}
            }
        }
        Ok(spent)
    }

    fn store_us(self, since: Self, orders: usize) -> f64 {
        let store = |spent: Self| spent.flusher + spent.compactor + spent.snapshots;
        per_order(store(self), store(since), orders)
    }
}

fn per_order(now_ns: u64, then_ns: u64, orders: usize) -> f64 {
    // The snapshot's thread ends, and its time with it.
    now_ns.saturating_sub(then_ns) as f64 / 1e3 / orders.max(1) as f64
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "{} one-line orders with key, customer limit and hold over {} SKUs, each paid (start, settle, a key \
         each) {} orders later, in groups of {} through the engine; host thread, store fjall, 1 shard; CPU of \
         the threads flush, store and snapshot, user and kernel, per order",
        args.orders, args.skus, args.paid_after, args.group
    );
    machine::head("store: from log to store", &method);
    let dir = args.scratch.fresh()?;
    let engine = Engine::open(EngineOptions {
        data_dir: Some(dir.path().join("data")),
        shards: Some(1),
        host: HostKind::Thread,
        store: StoreKind::Fjall,
        ..EngineOptions::default()
    })?;
    let mut table = Table::new([
        "million orders",
        "store us/order",
        "flusher",
        "compactor",
        "shard",
        "L0 runs",
        "store B/order",
        "orders/s",
    ]);
    let first = Spent::now()?;
    let mut load = Load::open(args, &engine.handle())?;
    let mut done = 0;
    while done < args.orders {
        let (before, began) = (Spent::now()?, Instant::now());
        let orders = load.step(args.step.min(args.orders - done))?;
        done += orders;
        let now = Spent::now()?;
        let stats = engine.handle().stats();
        table.row([
            format!("{:.1}", done as f64 / 1e6),
            format!("{:.2}", now.store_us(before, orders)),
            format!("{:.2}", per_order(now.flusher, before.flusher, orders)),
            format!("{:.2}", per_order(now.compactor, before.compactor, orders)),
            format!("{:.2}", per_order(now.shard, before.shard, orders)),
            load.level0_max.to_string(),
            format!("{:.0}", stats.store_bytes as f64 / done as f64),
            format!("{:.0}", orders as f64 / began.elapsed().as_secs_f64()),
        ]);
    }
    let whole = Spent::now()?.store_us(first, done);
    drop(load);
    engine.close()?;
    table.print();
    println!("\nwhole run {whole:.2} us per order  {}", Reach::AtMost(1.5).verdict(whole));
    Ok(())
}

/// Orders made, accepted and paid.
struct Load<'a> {
    args: &'a Args,
    handle: EngineHandle,
    port: onrush_engine::Port,
    sale: Sale,
    unpaid: VecDeque<Receipt>,
    level0_max: u64,
}

impl<'a> Load<'a> {
    fn open(args: &'a Args, handle: &EngineHandle) -> Result<Self, Failure> {
        let (mut port, sale) = (handle.port(), Sale::uniform(args.skus));
        for opening in sale.opening().collect::<Vec<_>>().chunks(args.group) {
            answers(&mut port, opening.to_vec())?;
        }
        let handle = handle.clone();
        Ok(Self { args, handle, port, sale, unpaid: VecDeque::new(), level0_max: 0 })
    }

    /// At least so many orders, in whole groups; returns how many.
    fn step(&mut self, orders: usize) -> Result<usize, Failure> {
        let mut made = 0;
        while made < orders {
            made += self.args.group;
            let created = answers(&mut self.port, self.sale.orders(self.args.group))?;
            if self.args.paid_after > 0 {
                self.unpaid.extend(created);
            }
            let due = self.unpaid.len().saturating_sub(self.args.paid_after);
            let starts = self.unpaid.drain(..due).filter_map(|created| start(&created)).collect();
            let started = answers(&mut self.port, starts)?;
            answers(&mut self.port, started.iter().filter_map(settle).collect())?;
            self.level0_max = self.level0_max.max(self.handle.stats().level0_runs);
        }
        Ok(made)
    }
}
