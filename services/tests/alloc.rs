//! A front allocates nothing per order, per line, per product and per stock row: its thread's allocations, counted by
//! the allocator itself.
//!
//! A binary of its own, because it has an allocator and a log of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are read with --nocapture")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_grpc::product::v1::product_service_client::ProductServiceClient;
use onrush_grpc::product::v1::{GetProductDetailsRequest, ProductLine, ValidateProductsRequest};
use onrush_proto::frame::{
    Answer, DETAILS_MAX, FRAME_BYTES_MAX, Frame, HEADER_BYTES, Hello, Kind, Outcomes, Products, Verdicts,
    begin, put_command, put_line, put_sku,
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

/// Hears when a front welcomes somebody, or answers who brought an id, on its thread.
struct Marker;

impl Subscriber for Marker {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["onrush_services::native::desk", "onrush_services::serve::door"].contains(&metadata.target())
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
const PER_PRODUCT_MAX: f64 = 0.02;
const PER_STOCK_MAX: f64 = 0.02;

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
        description: "Long. ".repeat(100),
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

fn details() -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Details);
    bytes.extend_from_slice(&[7; 8]);
    (0..DETAILS_MAX).for_each(|_| put_sku(&mut bytes, &text("tea")));
    frame.seal(&mut bytes, DETAILS_MAX as u16, 0);
    bytes
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) {
    bytes.resize(HEADER_BYTES, 0);
    stream.read_exact(bytes).unwrap();
    let length = Frame::length(bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    bytes.resize(length, 0);
    stream.read_exact(&mut bytes[HEADER_BYTES..]).unwrap();
}

/// Sends a frame of commands; all of them are answered as told.
fn answered(stream: &mut TcpStream, frame: &[u8], count: u32, well: fn(&Outcome) -> bool) {
    stream.write_all(frame).unwrap();
    let (mut bytes, mut credit) = (Vec::new(), 0);
    while credit < count {
        read(stream, &mut bytes);
        let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
        credit += frame.argument;
        for entry in Outcomes::of(&frame).unwrap() {
            let Answer::Reply(reply) = entry.unwrap().answer else { panic!("expected a reply") };
            assert!(well(&reply.outcome), "{reply:?}");
        }
    }
}

fn accepted(stream: &mut TcpStream, frame: &[u8], count: u32) {
    answered(stream, frame, count, |outcome| matches!(outcome, Outcome::Accepted(_)));
}

fn stock(stream: &mut TcpStream, frame: &[u8], count: u32) {
    answered(stream, frame, count, |outcome| matches!(outcome, Outcome::Stock(_)));
}

fn judged(stream: &mut TcpStream, frame: &[u8]) {
    stream.write_all(frame).unwrap();
    let mut bytes = Vec::new();
    read(stream, &mut bytes);
    let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(Verdicts::of(&frame).unwrap().verdicts.len(), usize::from(LINES));
}

fn told(stream: &mut TcpStream, frame: &[u8]) {
    stream.write_all(frame).unwrap();
    let mut bytes = Vec::new();
    read(stream, &mut bytes);
    let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(Products::of(&frame).unwrap().filter(Result::is_ok).count(), DETAILS_MAX);
}

/// Allocations of one round, on the average of many.
fn counted(mut work: impl FnMut()) -> f64 {
    (0..WARM).for_each(|_| work());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..ROUNDS).for_each(|_| work());
    (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / ROUNDS as f64
}

fn each(what: &str, count: u64, most: f64, work: impl FnMut()) {
    let each = counted(work) / count as f64;
    println!("{what}: {each:.4} allocations each, {count} at a time");
    assert!(each < most, "{what}: expected under {most} allocations each, found {each:.4}");
}

/// Calls over gRPC, each alone on a connection.
struct Caller {
    runtime: tokio::runtime::Runtime,
    client: ProductServiceClient<tonic::transport::Channel>,
}

impl Caller {
    /// Its first call has an id, by which the front is known.
    fn connect(address: std::net::SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = format!("http://{address}");
        let client = runtime.block_on(ProductServiceClient::connect(address)).unwrap();
        let mut caller = Self { runtime, client };
        caller.judged(1, Some(("x-correlation-id", "a-front-of-grpc")));
        caller
    }

    /// Has so many lines judged.
    fn judged(&mut self, lines: u16, header: Option<(&'static str, &'static str)>) {
        let line = |number| ProductLine { sku: format!("tea{number}"), quantity: 1 };
        let mut request =
            tonic::Request::new(ValidateProductsRequest { lines: (0..lines).map(line).collect() });
        if let Some((name, value)) = header {
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        let answer = self.runtime.block_on(self.client.validate_products(request)).unwrap();
        assert_eq!(answer.get_ref().lines.len(), usize::from(lines));
    }

    fn told(&mut self) {
        let request = GetProductDetailsRequest { sku: "tea".into() };
        let answer = self.runtime.block_on(self.client.get_product_details(request)).unwrap();
        assert!(answer.get_ref().product.is_some());
    }

    /// A call costs what HTTP/2 costs; a line of it nothing, unless the generated code reads it.
    fn measure(&mut self) {
        let generated = Some(("grpc-encoding", "identity"));
        let mut of = |what, header| {
            let one = counted(|| self.judged(1, header));
            let many = counted(|| self.judged(LINES, header));
            let each = (many - one) / f64::from(LINES - 1);
            println!("gRPC, {what}: {one:.2} allocations for a line, {many:.2} for {LINES}: {each:.4} each");
            (one, each)
        };
        let (_, by_generated) = of("generated", generated);
        let (call, in_place) = of("in place", None);
        assert!(by_generated > 1.0, "the generated code allocates: this front is counted");
        assert!(in_place < PER_LINE_MAX, "gRPC: expected under {PER_LINE_MAX} a line, found {in_place:.4}");
        let details = counted(|| self.told());
        println!("gRPC, in place: {details:.2} allocations for a product");
        assert!(details < call + 0.5, "gRPC: expected {call:.2} for a product, found {details:.2}");
    }
}

#[test]
fn a_front_allocates_nothing_per_order_line_product_and_stock_row() {
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
    let details = details();
    each("product", DETAILS_MAX as u64, PER_PRODUCT_MAX, || told(&mut stream, &details));
    let stocks = commands((0..ORDERS).map(|_| Command::GetStock(text("tea"))));
    each("stock row", ORDERS.into(), PER_STOCK_MAX, || stock(&mut stream, &stocks, ORDERS.into()));
    Caller::connect(serving.addresses()[0].1).measure();
    drop(stream);
    serving.stop().unwrap();
}
