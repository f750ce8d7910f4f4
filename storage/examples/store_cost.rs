//! What a stored order costs: CPU of all threads, level 0, disk, by bucket length and run size.
//!
//! `cargo run --release -p onrush-storage --example store_cost -- DIR --orders 6000000`
//!
//! One order is a row of History (21 + 220 B) and its part of three sets of 256 index pages per bucket and
//! run: its key (37 B), its customer (36 B), the customer's count (28 B). With `--paid` its row
//! comes once more 200,000 orders later: over the old row, or in Current under a tag, the bucket and
//! the id; an order that closes within its run (`never`) is written once. Current also gets one hot
//! stock row per run. Runs end at bucket boundaries where they can.
//! Buckets come from a simulated clock of 300,000 orders per second. CPU includes making the rows
//! and building the runs, shown apart as `build`, and all compaction until nothing is left to do.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints and has a clock")]
#![allow(missing_docs, reason = "an example has no callers")]

use std::{collections::VecDeque, error::Error, fs, path::PathBuf, time::Instant};

use onrush_storage::store::{FjallOptions, FjallStore, Keyspace, RunBuilder, SortedRun, Store, TreeOptions};

const ORDERS_PER_SECOND: u64 = 300_000;
const PAID_AFTER_ORDERS: usize = 200_000;
const STEP_ORDERS: u64 = 1_000_000;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Arguments {
    dir: PathBuf,
    orders: u64,
    shifts: Vec<u32>,
    run_rows: Vec<usize>,
    paid: Vec<Paid>,
    options: FjallOptions,
}

/// Where the second version of an order row goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Paid {
    History,
    Current,
    /// There is none: what the other two add to.
    Never,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    println!("{:?}", arguments.options.history);
    println!(
        "| shift | rows/run | paid in | build us | user us/order per million | user us | kernel us | L0 max | B/order | wall s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for &shift in &arguments.shifts {
        for &run_rows in &arguments.run_rows {
            for &paid in &arguments.paid {
                measure(&arguments, shift, run_rows, paid)?;
            }
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments, shift: u32, run_rows: usize, paid: Paid) -> Outcome<()> {
    let build_orders = STEP_ORDERS.min(arguments.orders);
    let start = cpu()?;
    let mut load = Load::new(shift, paid);
    while load.orders < build_orders {
        let run = load.next_run(run_rows);
        load.recycle(run);
    }
    let build = per_order(cpu()?.user_us - start.user_us, build_orders);

    let dir = arguments.dir.join("store-cost");
    if dir.try_exists()? {
        fs::remove_dir_all(&dir)?;
    }
    let mut store = FjallStore::open(&dir, arguments.options.clone())?;
    let (wall, start) = (Instant::now(), cpu()?);
    let (mut load, mut level0_max, mut steps, mut step_start) =
        (Load::new(shift, paid), 0, vec![], start.user_us);
    while load.orders < arguments.orders {
        let run = load.next_run(run_rows);
        let lsn = load.orders;
        store.ingest(Keyspace::History, &run, lsn)?;
        store.ingest(Keyspace::Current, &load.current.finish(), lsn)?;
        load.recycle(run);
        level0_max = Keyspace::ALL.iter().map(|it| store.level0_runs(*it)).fold(level0_max, usize::max);
        if load.orders / STEP_ORDERS > steps.len() as u64 {
            let now = cpu()?.user_us;
            steps.push(format!("{:.2}", per_order(now - step_start, STEP_ORDERS)));
            step_start = now;
        }
    }
    store.settle()?;
    let end = cpu()?;
    println!(
        "| {shift} | {run_rows} | {paid:?} | {build:.2} | {} | {:.2} | {:.2} | {level0_max} | {:.0} | {:.1} |",
        steps.join(" "),
        per_order(end.user_us - start.user_us, load.orders),
        per_order(end.kernel_us - start.kernel_us, load.orders),
        store.disk_bytes() as f64 / load.orders as f64,
        wall.elapsed().as_secs_f64(),
    );
    Box::new(store).close()?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}

fn per_order(us: u64, orders: u64) -> f64 {
    us as f64 / orders as f64
}

/// CPU of all threads of this process, from its start, in steps of a kernel tick (10 ms).
///
/// Apart, since the kernel's half is mostly the page cache: on a virtual machine that hands free
/// memory back to its host, writing to a fresh page costs ten times the copy.
#[derive(Clone, Copy)]
struct Cpu {
    user_us: u64,
    kernel_us: u64,
}

fn cpu() -> Outcome<Cpu> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().ok_or("expected a parenthesis in /proc/self/stat, found none")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let mut next = || ticks.next().ok_or("expected 13 fields in /proc/self/stat, found fewer");
    let (user, kernel) = (next()??, next()??);
    Ok(Cpu { user_us: user * 10_000, kernel_us: kernel * 10_000 })
}

/// Makes rows in the order the engine would.
struct Load {
    shift: u32,
    paid: Paid,
    orders: u64,
    random: u64,
    unpaid: VecDeque<[u8; 21]>,
    /// The bucket whose entries are collected, and how many there are.
    paged: (u32, usize),
    history: RunBuilder,
    current: RunBuilder,
}

impl Load {
    fn new(shift: u32, paid: Paid) -> Self {
        let (history, current) = (SortedRun::builder(), SortedRun::builder());
        Self { shift, paid, orders: 0, random: 7, unpaid: VecDeque::new(), paged: (0, 0), history, current }
    }

    /// A run of at least `rows` rows: cut at the first bucket boundary from there, so that no bucket
    /// is in two runs, unless that would double it.
    fn next_run(&mut self, rows: usize) -> SortedRun {
        while self.history.len() < rows || self.history.len() < 2 * rows && !self.at_boundary() {
            self.push_order();
        }
        self.push_pages();
        self.current.push(b"\x02sku-of-the-sale", Some(&self.orders.to_be_bytes()));
        self.history.finish()
    }

    /// The index pages of the bucket so far.
    fn push_pages(&mut self) {
        let (bucket, entries) = std::mem::take(&mut self.paged);
        for (tag, entry_bytes) in [(5, 37), (6, 28), (0x20, 36)] {
            for partition in 0..=255u8 {
                let page: Vec<u8> =
                    (0..entries * entry_bytes / 256 / 8).flat_map(|_| self.next().to_be_bytes()).collect();
                let head = [&bucket.to_be_bytes()[..], &[tag, partition]].concat();
                self.history.push(&[&head[..], &self.orders.to_be_bytes()].concat(), Some(&page));
            }
        }
    }

    fn at_boundary(&self) -> bool {
        self.bucket(self.orders) != self.bucket(self.orders.saturating_sub(1))
    }

    fn bucket(&self, order: u64) -> u32 {
        u32::try_from((order * 1_000_000 / ORDERS_PER_SECOND) >> self.shift).unwrap_or(u32::MAX)
    }

    fn recycle(&mut self, run: SortedRun) {
        self.history = run.into_builder();
    }

    fn push_order(&mut self) {
        let time_us = self.orders * 1_000_000 / ORDERS_PER_SECOND;
        let bucket = self.bucket(self.orders);
        if bucket != self.paged.0 && self.paged.1 > 0 {
            self.push_pages();
        }
        self.paged = (bucket, self.paged.1 + 1);
        let tail = self.next();
        let id = ((u128::from(time_us) << 64) | u128::from(tail)).to_be_bytes();

        let order_key = row_key(bucket.to_be_bytes(), 3, id);
        let value = self.order_value();
        self.history.push(&order_key, Some(&value));

        self.unpaid.push_back(order_key);
        if self.unpaid.len() > PAID_AFTER_ORDERS
            && let Some(order_key) = self.unpaid.pop_front()
        {
            let value = self.order_value();
            match self.paid {
                Paid::History => {
                    self.history.push(&order_key, Some(&value));
                }
                Paid::Never => {}
                Paid::Current => {
                    self.current.push(&[&[1], &order_key[..]].concat(), Some(&value));
                }
            }
        }
        self.orders += 1;
    }

    /// Half random, half alike from row to row, as real rows are.
    fn order_value(&mut self) -> [u8; 220] {
        let mut value = [0x20; 220];
        for chunk in value[..112].chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        value
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

fn row_key(bucket: [u8; 4], tag: u8, id: [u8; 16]) -> [u8; 21] {
    let mut key = [tag; 21];
    key[..4].copy_from_slice(&bucket);
    key[5..].copy_from_slice(&id);
    key
}

impl Arguments {
    fn parse() -> Outcome<Self> {
        let mut words = std::env::args().skip(1);
        let dir = words.next().ok_or("expected a directory, found no argument")?.into();
        let mut parsed = Self {
            dir,
            orders: 6_000_000,
            shifts: vec![20, 22, 24, 26],
            run_rows: vec![50_000, 100_000, 200_000, 400_000],
            paid: vec![Paid::Never, Paid::Current],
            options: FjallOptions::default(),
        };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("expected a value after {name}, found none"))?;
            parsed.set(&name, &value)?;
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: &str) -> Outcome<()> {
        match name {
            "--orders" => self.orders = value.parse()?,
            "--shift" => self.shifts = list(value)?,
            "--rows" => self.run_rows = list(value)?,
            "--paid" => {
                self.paid = value.split(',').map(Paid::parse).collect::<Outcome<_>>()?;
            }
            "--cache-mib" => self.options.cache_bytes = value.parse::<u64>()? << 20,
            "--level0" => self.options.level0_runs_max = value.parse()?,
            _ => match name.strip_prefix("--current-") {
                Some(name) => set_tree(&mut self.options.current, name, value)?,
                None => set_tree(&mut self.options.history, name.trim_start_matches("--"), value)?,
            },
        }
        Ok(())
    }
}

impl Paid {
    fn parse(word: &str) -> Outcome<Self> {
        match word {
            "history" => Ok(Self::History),
            "current" => Ok(Self::Current),
            "never" => Ok(Self::Never),
            other => Err(format!("expected history, current or never, found {other}").into()),
        }
    }
}

fn set_tree(tree: &mut TreeOptions, name: &str, value: &str) -> Outcome<()> {
    match name {
        "threshold" => tree.level0_threshold = value.parse()?,
        "table-mib" => tree.table_bytes = value.parse::<u64>()? << 20,
        "ratio" => tree.level_ratio = value.parse()?,
        "block-kib" => tree.block_bytes = value.parse::<u32>()? << 10,
        "filter-bits" => tree.filter_bits = value.parse()?,
        "plain-levels" => tree.plain_levels = value.parse()?,
        other => return Err(format!("expected an option of a tree, found {other}").into()),
    }
    Ok(())
}

fn list<T: std::str::FromStr>(words: &str) -> Result<Vec<T>, T::Err> {
    words.split(',').map(str::parse).collect()
}
