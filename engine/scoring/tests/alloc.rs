//! A pass allocates nothing, nor does a ranking: counted by the allocator itself, one after the other.
//!
//! A binary of its own, because the counter sees the whole process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_scoring::base::{Base, Learned};
use onrush_scoring::candidates::{Chart, Moment, Task};
use onrush_scoring::counters::{Basket, Counters, Line, Listing};
use onrush_scoring::factors::{AlsOptions, Factor};
use onrush_scoring::mlp::{Mlp, MlpOptions};
use onrush_scoring::model::Desk;
use onrush_scoring::scan::{Instructions, ItemMatrix, ItemRows, Pass, Quantized, Query};

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

#[test]
fn neither_passes_nor_rankings_allocate() {
    passes_allocate_nothing();
    rankings_allocate_nothing();
}

fn passes_allocate_nothing() {
    let mut random = fastrand::Rng::with_seed(10);
    let mut factor = |_| -> Factor { std::array::from_fn(|_| random.f32() - 0.5) };
    let factors: Vec<Factor> = (0..4_000).map(&mut factor).collect();
    let matrix = ItemMatrix::build(&factors).unwrap();
    let rows = ItemRows::build(&factors).unwrap();
    let codes = Quantized::build(&matrix);
    for instructions in Instructions::all() {
        let mut pass = Pass::new(1000, instructions);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for (turn, k) in [1000, 0, 20, 1, 500].into_iter().enumerate() {
            let queries = [0, 1, 2, 3].map(|n| Query { user: &factors[4 * turn + n], k });
            for together in 1..=4 {
                let queries = &queries[..together];
                let exact = pass.exact(&matrix, queries, &mut |_, _| true).unwrap();
                assert!(exact.iter().all(|ranked| ranked.len() == k));
                let named = pass.quantized(&rows, &codes, queries, &mut |_, item| item % 2 == 0).unwrap();
                assert!(named.iter().all(|ranked| ranked.len() == k));
            }
        }
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "{instructions}");
    }
}

/// Once it has seen the largest of what comes, a desk takes nothing more.
fn rankings_allocate_nothing() {
    let mut random = fastrand::Rng::with_seed(11);
    let listing = |at: u32| Listing { category: at % 29, brand: at % 7, price_cents: 99 };
    let listings: Vec<Listing> = (0..2_000).map(listing).collect();
    let mut counters = Counters::new(&listings, 60);
    for time_s in 0..4_000i64 {
        let lines: Vec<Line> = (0..random.u32(1..12))
            .map(|_| Line { product: (random.f32() * random.f32() * 2_000.0) as u32, unit_cents: None })
            .collect();
        let user = (random.f32() * random.f32() * 60.0) as u32;
        counters.count(&Basket { user, time_s: time_s * 900, lines: &lines });
    }
    let now_s = 4_000 * 900;
    let learned = Learned::learn(&counters, now_s, AlsOptions::default(), &|_| true).unwrap();
    let base = Base::of(learned).unwrap();
    let chart = Chart::of(&counters, &base, now_s);
    let mlp = Mlp::learn(&[], MlpOptions::default(), &|_| true).unwrap();
    let moment = Moment { counters: &counters, base: &base, chart: &chart, now_s };
    let mut desk = Desk::default();
    let mut all = || {
        let mut ranked = 0;
        for user in &counters.users {
            for task in [Task::NextBasket, Task::Discovery] {
                desk.rank(task, user, &moment, 300, |features, scores| mlp.score(features, scores));
                ranked += desk.ranked.len();
            }
        }
        ranked
    };
    assert!(all() > 10_000);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(all() > 10_000);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
}
