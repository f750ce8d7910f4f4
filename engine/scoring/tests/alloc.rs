//! A pass allocates nothing: counted by the allocator itself.
//!
//! A binary of its own, because the counter sees the whole process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_scoring::factors::Factor;
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
