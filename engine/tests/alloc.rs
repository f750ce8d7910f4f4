//! Nothing is allocated per order: the hot path counted by the allocator itself.
//!
//! A binary of its own, because the counter sees the whole process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are read with --nocapture")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_engine::shard::{Effects, Found, Input, ReplyTo, Shard, ShardOptions, Want};
use onrush_engine::state::StateLimits;
use onrush_engine::views::{ShardViews, Views, validate};
use onrush_proto::{
    Command, CreateOrder, IdempotencyKey, KeyHasher, Money, OrderLine, Outcome, PutProduct, Request, ShardId,
    Sku, SlotMap, StockChange, Text, UpdateStock,
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[allow(unsafe_code, reason = "passes every call on to the system's allocator unchanged")]
// SAFETY: layouts and pointers go through as they came; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

const TURNS: u64 = 50;
const ORDERS: u64 = 512;
/// Tables double now and then, and a frame grows to its size once.
const PER_ORDER_MAX: f64 = 0.01;

/// One shard of one, with a turn's worth of buffers.
struct Stage {
    shard: Shard,
    inputs: VecDeque<Input>,
    wants: Vec<Want>,
    effects: Effects,
    now_us: u64,
    serial: u64,
}

impl Stage {
    fn new() -> Self {
        // Nothing is fetched here, so nothing may leave memory.
        let options = ShardOptions {
            limits: StateLimits { recent_keys_min: 1 << 20, ..StateLimits::default() },
            ..ShardOptions::new(ShardId(0), SlotMap::new(1).unwrap(), KeyHasher::new([1, 2]))
        };
        let mut stage = Self {
            shard: Shard::new(options),
            inputs: VecDeque::new(),
            wants: Vec::new(),
            effects: Effects::default(),
            now_us: 1_700_000_000_000_000,
            serial: 0,
        };
        for (sku, units, limit) in [("plain", 1 << 40, 0), ("limited", 1 << 40, 3), ("gone", 0, 0)] {
            stage.ask(Request::unkeyed(put(sku, limit)));
            let change = StockChange::Set(units);
            let update = UpdateStock { sku: sku.parse().unwrap(), change, reason: Text::EMPTY };
            stage.ask(Request::unkeyed(Command::UpdateStock(update)));
        }
        stage.turn();
        stage
    }

    fn ask(&mut self, request: Request) {
        self.serial += 1;
        let to = ReplyTo { port: 0, tag: self.serial };
        self.inputs.push_back(Input::Request { to, request });
    }

    /// A batch: turns until nothing waits.
    fn turn(&mut self) {
        self.effects.clear();
        self.now_us += 100;
        loop {
            self.fetch();
            self.shard.turn(self.now_us, &mut self.inputs, &mut self.effects);
            if self.inputs.is_empty() {
                break;
            }
        }
        // The host's part: what is durable is in the store soon after.
        self.shard.set_stored(self.shard.end().0);
    }

    /// The host's part, too: fingerprints err once in a while, and the store has nothing.
    fn fetch(&mut self) {
        loop {
            self.shard.wants(self.inputs.iter(), &mut self.wants);
            if self.wants.is_empty() {
                break;
            }
            for want in self.wants.drain(..) {
                match want {
                    Want::Key(key) => self.shard.warm(Found::Key(key, None)),
                    Want::Limit(hash) => self.shard.warm(Found::Limit(hash, None)),
                    other => panic!("expected keys and counts alone, found {other:?}"),
                }
            }
        }
    }

    /// Turns full of orders of one kind; allocations inside the turns.
    fn orders(&mut self, turns: u64, sku: &str, keyed: bool) -> u64 {
        let mut allocations = 0;
        for _ in 0..turns {
            for _ in 0..ORDERS {
                let key = IdempotencyKey(if keyed { u128::from(self.serial) << 64 | 1 << 40 } else { 0 });
                let request = Request::new(key, order(sku, self.serial));
                self.ask(request);
            }
            allocations += counted(|| self.turn());
            let accepted = self
                .effects
                .replies
                .iter()
                .filter(|(_, reply)| matches!(reply.outcome, Outcome::Accepted(_)));
            let expected = if sku == "gone" { 0 } else { ORDERS as usize };
            assert_eq!(accepted.count(), expected);
        }
        allocations
    }
}

fn put(sku: &str, limit_per_customer: u32) -> Command {
    Command::PutProduct(Box::new(PutProduct {
        sku: sku.parse().unwrap(),
        name: "thing".into(),
        description: String::new(),
        category: Text::EMPTY,
        brand: Text::EMPTY,
        price: "EUR".parse().map(|currency| Money::new(100, currency)).unwrap(),
        limit_per_customer,
        limit_returns: true,
        backorder: 0,
        hold_us: 0,
        active: true,
    }))
}

fn order(sku: &str, customer: u64) -> Command {
    let customer = Text::new(&format!("customer-{customer}")).unwrap();
    let lines = std::iter::once(OrderLine::new(sku.parse().unwrap(), 1)).collect();
    Command::CreateOrder(CreateOrder { customer, lines, hold_us: 0 })
}

fn assert_free(what: &str, allocations: u64, count: u64) {
    let each = allocations as f64 / count as f64;
    println!("{what}: {allocations} allocations in {count} ({each:.4} each)");
    assert!(each < PER_ORDER_MAX, "{what}: expected under {PER_ORDER_MAX} allocations each, found {each:.4}");
}

/// One test, so that no other thread's allocations are counted.
#[test]
fn the_hot_path_allocates_nothing() {
    for (what, sku, keyed) in [
        ("accepted order", "plain", false),
        ("accepted order under a key", "plain", true),
        ("accepted order with a limit, under a key", "limited", true),
        ("sold-out refusal", "gone", true),
    ] {
        let mut stage = Stage::new();
        stage.orders(2 * TURNS, sku, keyed);
        assert_free(what, stage.orders(TURNS, sku, keyed), TURNS * ORDERS);
    }
    expiries();
    reads();
}

/// Held orders die and their units are sold again, all in place.
fn expiries() {
    let mut stage = Stage::new();
    stage.orders(2 * TURNS, "limited", true);
    stage.now_us += 600_000_000;
    stage.orders(TURNS, "limited", true);
    let dead = stage.shard.state().orders.open_len() as u64 - TURNS * ORDERS;
    assert_eq!(dead, 0, "a turn sweeps more than it takes in");
    stage.now_us += 600_000_000;
    let allocations = (0..TURNS).map(|_| counted(|| stage.turn())).sum();
    assert_eq!(stage.shard.state().orders.open_len(), 0);
    assert_free("expiry", allocations, TURNS * ORDERS);
}

fn reads() {
    let views = Arc::new(ShardViews::default());
    let mut stage = Stage::new();
    views.publish(&mut stage.effects.rows);
    let views = Views::new(vec![views], SlotMap::new(1).unwrap());
    let sku: Sku = "plain".parse().unwrap();
    assert!(views.stock(&sku).is_some(), "a thread's first read may set it up");
    let allocations = counted(|| {
        for _ in 0..10_000 {
            let stock = views.stock(&sku);
            assert_eq!(validate(0, 3, stock.as_ref()), None);
            assert!(validate(0, 0, stock.as_ref()).is_some());
        }
    });
    assert_eq!(allocations, 0, "a validation allocates nothing");
}
