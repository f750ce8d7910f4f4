//! Nothing is allocated per order by the client's half of the native protocol: counted by the allocator itself.
//!
//! A binary of its own, because the counter sees the whole process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_net::client::native::{Dialogue, Heard, Question};
use onrush_proto::frame::{Kind, Welcome, begin, put_reply};
use onrush_proto::{
    Command, CreateOrder, Currency, Lsn, Money, OrderId, OrderLine, Outcome, Receipt, Reply, SlotMap,
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

const ORDERS: u64 = 512;
const TURNS: u64 = 50;
/// Answers come in pieces of this many bytes, so that frames are put together too.
const READ_BYTES: usize = 10_000;

/// The answers to all orders of a turn, as a server's frame.
fn answers() -> Vec<u8> {
    let mut out = Vec::new();
    let frame = begin(&mut out, Kind::Outcomes);
    for tag in 0..ORDERS {
        let total = Money::new(450, Currency::EUR);
        let receipt = Receipt::Order { order: OrderId(tag.into()), total, held_until_us: 1 };
        let reply = Reply { outcome: Outcome::Accepted(receipt), replayed: false, lsn: Lsn(1) };
        assert!(put_reply(&mut out, tag, &reply));
    }
    frame.seal(&mut out, ORDERS as u16, ORDERS as u32);
    out
}

#[test]
fn an_order_is_asked_and_answered_without_the_heap() {
    let mut dialogue = Dialogue::new("", "test");
    let mut welcome = Vec::new();
    Welcome::new(1, SlotMap::new(1).unwrap(), 1 << 20, ORDERS as u32).write(&mut welcome);
    dialogue.input(&welcome, &mut |_| {}).unwrap();
    let lines = [OrderLine::new("tea".parse().unwrap(), 1)].into_iter().collect();
    let command = Command::CreateOrder(CreateOrder { customer: "ada".parse().unwrap(), lines, hold_us: 0 });
    let (answers, mut heard) = (answers(), 0);
    let mut before = 0;
    for turn in 0..TURNS + 2 {
        // In the first turns buffers grow to their size.
        if turn == 2 {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        for tag in 0..ORDERS {
            let question = Question { tag, key: 1, patience_us: 0, command: &command, settled: false };
            dialogue.ask(&question).unwrap();
        }
        let written = dialogue.output().len();
        dialogue.written(written);
        for part in answers.chunks(READ_BYTES) {
            let mut hear = |said: Heard<'_>| heard += u64::from(matches!(said, Heard::Outcome(_)));
            dialogue.input(part, &mut hear).unwrap();
        }
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!((heard, allocations), (ORDERS * (TURNS + 2), 0));
}
