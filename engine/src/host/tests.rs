//! A worker driven by hand over a disk whose durable writes wait for a sign: what is decided during
//! a write, and what leaves when.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_types, reason = "the disk's writes wait at a gate")]

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};

use onrush_proto::{
    Command, CreateOrder, Currency, KeyHasher, Money, OrderLine, Outcome, PutProduct, Refusal, Reply,
    Request, ShardId, Sku, SlotMap, StockChange, Text, UpdateStock,
};
use onrush_storage::disk::{AlignedBuf, Disk, DiskFile, FaultDisk};
use onrush_storage::log::{Log, LogOptions, Prepare};
use onrush_storage::store::{MemoryStore, Store};

use super::ports::PortQueue;
use super::station::MANY;
use super::{HostClock, Parcel, Ports, SeatParts, Sink, Station, Tail, TailBounds, Worker};
use crate::flush::Stored;
use crate::options::ClockOptions;
use crate::shard::{Shard, ShardOptions};
use crate::views::{ShardViews, Views};

const UNITS: i64 = 1_000;
const LOT: i64 = MANY as i64;

/// How many durable writes may pass; `None` = all.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Option<u64>>, Condvar)>);

impl Gate {
    fn set(&self, passes: Option<u64>) {
        *self.0.0.lock().unwrap() = passes;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = |passes: &mut Option<u64>| *passes == Some(0);
        let mut passes = self.0.1.wait_while(self.0.0.lock().unwrap(), closed).unwrap();
        *passes = passes.map(|left| left - 1);
    }
}

struct GatedDisk {
    disk: FaultDisk,
    gate: Gate,
}

struct GatedFile {
    file: Box<dyn DiskFile>,
    gate: Gate,
}

impl GatedDisk {
    fn gated(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(GatedFile { file, gate: self.gate.clone() })
    }
}

impl Disk for GatedDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.gated(self.disk.open(name)?))
    }
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.gated(self.disk.create(name, len)?))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_entries(&self) -> io::Result<()> {
        self.disk.sync_entries()
    }
}

impl DiskFile for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn write_durable(&self, offset: u64, sectors: &AlignedBuf) -> io::Result<()> {
        self.gate.pass();
        self.file.write_durable(offset, sectors)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A worker with its surroundings. The test's thread is the shard's.
struct Bench {
    worker: Worker,
    station: Arc<Station>,
    queue: Arc<PortQueue>,
    port: u32,
    views: Views,
    disk: FaultDisk,
    gate: Gate,
    sku: Sku,
    asked: u64,
}

impl Bench {
    fn new() -> Self {
        let (disk, gate) = (FaultDisk::new(7), Gate::default());
        let gated = GatedDisk { disk: disk.clone(), gate: gate.clone() };
        let options =
            LogOptions { segment_bytes: 1 << 20, prepare: Prepare::Inline, ..LogOptions::new(0, 1) };
        let (log, _) = Log::open(Arc::new(gated), options).unwrap();
        let tail = Arc::new(Tail::new(0, log.reader(), TailBounds::of(0)));
        let station = Arc::new(Station::new(ShardId(0), 10_000, tail));
        station.set_sleeper(Waker::from(Arc::new(Unpark(thread::current()))));
        let (ports, queue) = (Arc::new(Ports::default()), Arc::new(PortQueue::new()));
        let port = ports.open(Sink::Queue(Arc::clone(&queue)));
        let (views, map) = (Arc::new(ShardViews::default()), SlotMap::new(1).unwrap());
        let seat = SeatParts {
            shard: Shard::new(ShardOptions::new(ShardId(0), map, KeyHasher::new([1, 2]))),
            stored: Stored::new(MemoryStore::new().reader()),
            views: Arc::clone(&views),
            station: Arc::clone(&station),
            stations: vec![Arc::clone(&station)].into(),
            ports,
            clock: HostClock::start(0, ClockOptions::default()).unwrap(),
            inputs_max: 1_000,
            lag_bytes_max: u64::MAX,
        };
        let mut worker = Worker::alone(seat, log);
        worker.write_beside().unwrap();
        let views = Views::new(vec![views], map);
        let sku = "hot".parse().unwrap();
        let mut bench = Self { worker, station, queue, port, views, disk, gate, sku, asked: 0 };
        bench.stock();
        bench
    }

    fn stock(&mut self) {
        let put = PutProduct {
            sku: self.sku,
            name: "hot".into(),
            description: String::new(),
            category: Text::EMPTY,
            brand: Text::EMPTY,
            price: Money::new(100, Currency::EUR),
            limit_per_customer: 0,
            limit_returns: false,
            backorder: 0,
            hold_us: 0,
            active: true,
        };
        let change = StockChange::Set(UNITS);
        let update = UpdateStock { sku: self.sku, change, reason: Text::EMPTY };
        self.ask([Command::PutProduct(Box::new(put)), Command::UpdateStock(update)]);
        assert!(self.worker.turn(), "few requests are written on the shard's own thread");
        assert_eq!(self.replies().len(), 2);
        assert_eq!(self.available(), UNITS);
    }

    fn ask(&mut self, commands: impl IntoIterator<Item = Command>) {
        let mut requests = Vec::new();
        for command in commands {
            self.asked += 1;
            requests.push((self.asked, Request::unkeyed(command)));
        }
        assert!(self.station.send(Parcel::Many { port: self.port, requests }).is_ok());
    }

    /// A lot of orders, decided.
    fn decide_orders(&mut self) {
        let lines = || [OrderLine::new(self.sku, 1)].into_iter().collect();
        let order = || {
            Command::CreateOrder(CreateOrder { customer: "ada".parse().unwrap(), lines: lines(), hold_us: 0 })
        };
        let orders: Vec<_> = (0..LOT).map(|_| order()).collect();
        self.ask(orders);
        assert!(self.worker.turn());
    }

    /// Turns until a write has come back.
    fn land(&mut self) {
        while !self.worker.turn() {
            if self.station.fall_asleep_for_write() {
                thread::park();
            }
            self.station.wake_up();
        }
    }

    fn replies(&self) -> Vec<Reply> {
        std::iter::from_fn(|| self.queue.replies.pop()).flatten().map(|(_, reply)| reply).collect()
    }

    fn accepted(&self) -> i64 {
        let replies = self.replies();
        assert!(replies.iter().all(|reply| matches!(reply.outcome, Outcome::Accepted(_))), "{replies:?}");
        replies.len() as i64
    }

    fn stopped(&self) -> i64 {
        let stopped = Outcome::Refused(Refusal::Stopped);
        let replies = self.replies();
        assert!(replies.iter().all(|reply| reply.outcome == stopped), "{replies:?}");
        replies.len() as i64
    }

    fn available(&self) -> i64 {
        self.views.stock(&self.sku).unwrap().available
    }
}

#[test]
fn what_is_decided_during_a_write_leaves_with_its_own_frame() {
    let mut bench = Bench::new();
    let writes = bench.disk.durable_writes();
    bench.gate.set(Some(0));
    bench.decide_orders();
    bench.decide_orders();
    bench.decide_orders();
    assert_eq!((bench.accepted(), bench.available()), (0, UNITS), "nothing is durable");
    let committed = bench.station.tail.committed();

    bench.gate.set(Some(1));
    bench.land();
    assert_eq!((bench.accepted(), bench.available()), (LOT, UNITS - LOT), "the first lot is");
    assert_eq!(bench.station.tail.committed(), committed + LOT as u64);

    bench.gate.set(Some(1));
    bench.land();
    assert_eq!((bench.accepted(), bench.available()), (2 * LOT, UNITS - 3 * LOT), "two lots in one frame");
    assert_eq!(bench.disk.durable_writes(), writes + 2);
    bench.gate.set(None);
}

#[test]
fn a_read_waits_for_the_write_that_it_may_rest_on() {
    let mut bench = Bench::new();
    bench.gate.set(Some(0));
    bench.decide_orders();
    bench.ask((0..LOT).map(|_| Command::GetStock("hot".parse().unwrap())));
    assert!(bench.worker.turn());
    assert_eq!(bench.replies().len(), 0);
    bench.gate.set(None);
    bench.land();
    let reads =
        |reply: &Reply| matches!(&reply.outcome, Outcome::Stock(row) if row.available() == UNITS - LOT);
    let replies = bench.replies();
    assert_eq!(replies.len() as i64, 2 * LOT, "both leave at once: the reads have no frame of their own");
    assert!(replies[LOT as usize..].iter().all(reads), "{replies:?}");
}

#[test]
fn few_requests_wait_for_the_write() {
    let mut bench = Bench::new();
    bench.gate.set(Some(0));
    bench.decide_orders();
    bench.ask([Command::GetStock("hot".parse().unwrap())]);
    assert!(!bench.worker.turn(), "a hop costs more than they do");
    assert!(bench.worker.waits_for_write());
    bench.gate.set(None);
    bench.land();
    bench.worker.turn();
    assert_eq!(bench.replies().len() as i64, LOT + 1);
}

#[test]
fn a_failed_write_takes_what_was_decided_behind_it_along() {
    let mut bench = Bench::new();
    bench.gate.set(Some(0));
    bench.decide_orders();
    bench.decide_orders();
    bench.disk.fail_next_write();
    bench.gate.set(None);
    bench.land();
    assert_eq!(bench.stopped(), 2 * LOT, "of neither lot anybody knows");
    assert_eq!(bench.available(), UNITS);
    bench.ask([Command::GetStock("hot".parse().unwrap())]);
    bench.worker.turn();
    assert_eq!(bench.stopped(), 1, "nothing is decided any more");
}
