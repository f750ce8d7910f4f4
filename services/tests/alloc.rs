//! A front of the native protocol allocates nothing per order and per line: its thread's allocations, counted by the
//! allocator itself.
//!
//! A binary of its own, because it has an allocator and a log of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are read with --nocapture")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_proto::frame::{
    Answer, FRAME_BYTES_MAX, Frame, HEADER_BYTES, Hello, Kind, Outcomes, Verdicts, begin, put_command,
    put_line,
};
use onrush_proto::{
    Command, CreateOrder, Currency, Money, OrderLine, Outcome, PutProduct, StockChange, Text, UpdateStock,
};
use onrush_services::config::Sources;
use onrush_services::serve::Serving;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// True on the thread of a front.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

#[allow(unsafe_code, reason = "passes every call on to the system's allocator unchanged")]
// SAFETY: layouts and pointers go through as they came; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Hears when a front welcomes somebody, on its thread.
struct Marker;

impl Subscriber for Marker {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "onrush_services::native::desk"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        COUNTED.set(true);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

const ORDERS: u16 = 1_000;
const LINES: u16 = 64;
const WARM: u64 = 30;
const ROUNDS: u64 = 100;
/// A wake costs a listener, and a queue a block now and then.
const PER_ORDER_MAX: f64 = 0.02;
const PER_LINE_MAX: f64 = 0.02;

fn text<const N: usize>(text: &str) -> Text<N> {
    Text::new(text).unwrap()
}

fn commands(commands: impl IntoIterator<Item = Command>) -> Vec<u8> {
    let (mut bytes, mut count) = (Vec::new(), 0);
    let frame = begin(&mut bytes, Kind::Commands);
    for command in commands {
        assert!(put_command(&mut bytes, count, 0, 0, &command, false));
        count += 1;
    }
    frame.seal(&mut bytes, count as u16, 0);
    bytes
}

fn put() -> [Command; 2] {
    let product = PutProduct {
        sku: text("tea"),
        name: "Tea".into(),
        description: String::new(),
        category: Text::EMPTY,
        brand: Text::EMPTY,
        price: Money::new(450, Currency::EUR),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    };
    let stock = UpdateStock { sku: text("tea"), change: StockChange::Set(1 << 40), reason: Text::EMPTY };
    [Command::PutProduct(Box::new(product)), Command::UpdateStock(stock)]
}

fn orders() -> impl Iterator<Item = Command> {
    (0..ORDERS).map(|number| {
        let lines = [OrderLine::new(text("tea"), 1)].into_iter().collect();
        Command::CreateOrder(CreateOrder { customer: text(&format!("c{number}")), lines, hold_us: 0 })
    })
}

fn lines() -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Validate);
    bytes.extend_from_slice(&[7; 8]);
    (0..LINES).for_each(|line| put_line(&mut bytes, &text(&format!("tea{line}")), 1));
    frame.seal(&mut bytes, LINES, 0);
    bytes
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) {
    bytes.resize(HEADER_BYTES, 0);
    stream.read_exact(bytes).unwrap();
    let length = Frame::length(bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    bytes.resize(length, 0);
    stream.read_exact(&mut bytes[HEADER_BYTES..]).unwrap();
}

/// Sends a frame of commands; all of them are accepted.
fn accepted(stream: &mut TcpStream, frame: &[u8], count: u32) {
    stream.write_all(frame).unwrap();
    let (mut bytes, mut credit) = (Vec::new(), 0);
    while credit < count {
        read(stream, &mut bytes);
        let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
        credit += frame.argument;
        for entry in Outcomes::of(&frame).unwrap() {
            let Answer::Reply(reply) = entry.unwrap().answer else { panic!("expected a reply") };
            assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{reply:?}");
        }
    }
}

fn judged(stream: &mut TcpStream, frame: &[u8]) {
    stream.write_all(frame).unwrap();
    let mut bytes = Vec::new();
    read(stream, &mut bytes);
    let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(Verdicts::of(&frame).unwrap().verdicts.len(), usize::from(LINES));
}

fn each(what: &str, count: u64, most: f64, mut work: impl FnMut()) {
    (0..WARM).for_each(|_| work());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..ROUNDS).for_each(|_| work());
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let each = allocations as f64 / (ROUNDS * count) as f64;
    println!("{what}: {allocations} allocations in {} ({each:.4} each)", ROUNDS * count);
    assert!(each < most, "{what}: expected under {most} allocations each, found {each:.4}");
}

#[test]
fn a_front_allocates_nothing_per_order_and_per_line() {
    tracing::subscriber::set_global_default(Marker).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap().to_owned();
    let flag = |name: &str| {
        let value = match name {
            "data-dir" => &data,
            "services" => "product",
            "product-port" | "native-port" => "0",
            "store" => "memory",
            "fronts" | "shards" => "1",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let resolved = Sources { flag: &flag, env: &|_| None, file: &|_| None }.resolve().unwrap();
    let serving = Serving::start(&resolved.config).unwrap();
    let mut stream = TcpStream::connect(serving.native_address().unwrap()).unwrap();
    let mut bytes = Vec::new();
    Hello::new("", "a test").write(&mut bytes);
    stream.write_all(&bytes).unwrap();
    read(&mut stream, &mut bytes);
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "the front is counted");
    for command in put() {
        accepted(&mut stream, &commands([command]), 1);
    }
    let orders = commands(orders());
    each("order", ORDERS.into(), PER_ORDER_MAX, || accepted(&mut stream, &orders, ORDERS.into()));
    let lines = lines();
    each("line", LINES.into(), PER_LINE_MAX, || judged(&mut stream, &lines));
    drop(stream);
    serving.stop().unwrap();
}
