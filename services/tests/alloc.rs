//! A front allocates nothing per order, per line, per product and per stock row, and a thread that ranks nothing per page:
//! allocations of these threads, counted by the allocator itself.
//!
//! A binary of its own, because it has an allocator and a log of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are read with --nocapture")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onrush_grpc::product::v1::product_service_client::ProductServiceClient;
use onrush_grpc::product::v1::{GetProductDetailsRequest, ProductLine, ValidateProductsRequest};
use onrush_grpc::recommendation::v1::recommendation_service_client::RecommendationServiceClient;
use onrush_grpc::recommendation::v1::{Context, GetModelRequest, GetRecommendationsRequest};
use onrush_proto::frame::{
    Answer, DETAILS_MAX, FRAME_BYTES_MAX, Frame, HEADER_BYTES, Hello, Kind, Outcomes, Products, Verdicts,
    begin, put_command, put_line, put_sku,
};
use onrush_proto::{
    Command, CreateOrder, Currency, Money, OrderLine, Outcome, PutProduct, StockChange, Text, UpdateStock,
};
use onrush_scoring::counters::Listing;
use onrush_scoring::model::{Kept, Origin};
use onrush_scoring::sales::{Sale, Sales};
use onrush_scoring::training::{TrainOptions, train};
use onrush_services::config::{Config, Sources};
use onrush_services::retail::past::Past;
use onrush_services::serve::Serving;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static RANKING: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Where the allocations of this thread are counted, if it is one of a front or one that ranks.
    static COUNTED: Cell<Option<&'static AtomicU64>> = const { Cell::new(None) };
}

fn count() {
    if let Some(counted) = COUNTED.try_with(Cell::get).unwrap_or(None) {
        counted.fetch_add(1, Ordering::Relaxed);
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

/// Hears when a front welcomes somebody, or answers who brought an id, on its thread, and when one that ranks begins.
struct Marker;

const FRONTS: [&str; 2] = ["onrush_services::native::desk", "onrush_services::serve::door"];
const SCORERS: &str = "onrush_services::recommendation::scorers";

impl Marker {
    fn listen() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(Marker).unwrap());
    }
}

impl Subscriber for Marker {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        FRONTS.contains(&metadata.target()) || metadata.target() == SCORERS
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let counted = if event.metadata().target() == SCORERS { &RANKING } else { &ALLOCATIONS };
        COUNTED.set(Some(counted));
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

/// A configuration on free ports.
fn config(dir: &Path, services: &str) -> Config {
    let data = dir.to_str().unwrap().to_owned();
    let flag = |name: &str| {
        let value = match name {
            "data-dir" => &data,
            "services" => services,
            "product-port" | "order-port" | "recommendation-port" | "native-port" => "0",
            "store" => "memory",
            "fronts" | "shards" => "1",
            _ => return None,
        };
        Some(value.to_owned())
    };
    Sources { flag: &flag, env: &|_| None, file: &|_| None }.resolve().unwrap().config
}

#[test]
fn a_front_allocates_nothing_per_order_line_product_and_stock_row() {
    Marker::listen();
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::start(&config(dir.path(), "product")).unwrap();
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

const CUSTOMERS: u32 = 60;
const PRODUCTS: u32 = 80;
const DAYS: u32 = 112;
/// It is asked how far it has counted, at most so often.
const ASKED_MAX: usize = 6_000;
const PAUSE: Duration = Duration::from_millis(10);

/// Customers who buy again what is theirs, and now and then something else of their kind.
fn sales() -> Vec<Sale> {
    let mut random = fastrand::Rng::with_seed(3);
    let mut sales = Vec::new();
    let visits = (0..DAYS).flat_map(|day| (0..CUSTOMERS).map(move |user| (day, user)));
    for ((day, user), basket) in visits.zip(0..) {
        if random.f32() < 0.4 {
            let own = (user * 4 + user % 4 + 4 * random.u32(..4)) % PRODUCTS;
            let other = user % 4 + 4 * random.u32(..PRODUCTS / 4);
            let time_s = i64::from(day * 86_400 + user);
            let sale = |product| Sale { basket, user, product, time_s, unit_cents: Some(99) };
            sales.extend([own, other].map(sale));
        }
    }
    sales
}

/// The same as the past of a shop, and a model of it where published ones are.
fn past(files: &Path, data: &Path) -> Past {
    let sold = sales();
    let mut products = "id,category,brand,price_cents\n".to_owned();
    (0..PRODUCTS).for_each(|id| writeln!(products, "{id},kind {},brand,99", id % 4).unwrap());
    let mut sales = "ts,basket,user,product,qty\n".to_owned();
    for Sale { basket, user, product, time_s, .. } in &sold {
        writeln!(sales, "{time_s},{basket},{user},{product},1").unwrap();
    }
    std::fs::write(files.join("products.csv"), products).unwrap();
    std::fs::write(files.join("sales.csv"), sales).unwrap();
    let listing = |id: u32| Listing { category: 1 + id % 4, brand: 1, price_cents: 99 };
    let listings: Vec<Listing> = (0..PRODUCTS).map(listing).collect();
    let trained = train(&Sales::of(sold), &listings, TrainOptions::default(), &|_| true).unwrap();
    let kept = Kept {
        names: (0..PRODUCTS).map(|id| format!("p-{id}")).collect(),
        listings,
        learned: trained.learned,
        rankers: trained.rankers,
        origin: Origin { version: 1, ..Origin::default() },
    };
    kept.write_file(&data.join("recommendation/model-1.onrush")).unwrap();
    Past::read(&files.join("products.csv"), &files.join("sales.csv"), |_| true).unwrap()
}

/// Who asks for recommendations, one after the other.
struct Shopper(RecommendationServiceClient<tonic::transport::Channel>);

impl Shopper {
    /// Waits until the whole log is counted.
    async fn until_counted(&mut self, orders: u64) {
        for _ in 0..ASKED_MAX {
            let model = self.0.get_model(GetModelRequest {}).await.unwrap().into_inner();
            assert!(model.ml_ready, "{model:?}");
            if model.purchases == orders && model.records_behind == 0 {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("expected the log to be counted");
    }

    /// Pages of everybody, on three places; how many.
    async fn pages(&mut self) -> u64 {
        let mut pages = 0;
        for customer in 0..CUSTOMERS {
            for (context, skus) in [
                (Context::Home, vec![]),
                (Context::ProductPage, vec!["p-3"]),
                (Context::Basket, vec!["p-3", "p-5"]),
            ] {
                let request = GetRecommendationsRequest {
                    customer_id: format!("customer-{customer}"),
                    context: context.into(),
                    skus: skus.into_iter().map(str::to_owned).collect(),
                    ..Default::default()
                };
                let page = self.0.get_recommendations(request).await.unwrap().into_inner();
                assert!(page.personalised && page.products.len() >= 10, "{page:?}");
                pages += 1;
            }
        }
        pages
    }
}

#[test]
fn a_thread_that_ranks_allocates_nothing_per_page() {
    Marker::listen();
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (config, past) = (config(dir.path(), "product,order,recommendation"), past(files.path(), dir.path()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let hour_ago = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64 - 3_600_000_000;
    runtime.block_on(past.live(&config.engine_options(), hour_ago)).unwrap();
    let serving = Serving::start(&config).unwrap();
    let address = serving.addresses().last().unwrap().1;
    let (first, second) = runtime.block_on(async {
        let client = RecommendationServiceClient::connect(format!("http://{address}")).await.unwrap();
        let mut shopper = Shopper(client);
        shopper.until_counted(past.baskets().count() as u64).await;
        // Everybody is looked at for the first time, charts are made, and desks grow to the largest of what comes.
        let begun = RANKING.load(Ordering::Relaxed);
        for _ in 0..WARM {
            let before = RANKING.load(Ordering::Relaxed);
            shopper.pages().await;
            if before > begun && RANKING.load(Ordering::Relaxed) == before {
                break;
            }
        }
        let warm = RANKING.load(Ordering::Relaxed);
        let pages = shopper.pages().await + shopper.pages().await;
        (warm - begun, (RANKING.load(Ordering::Relaxed) - warm) as f64 / pages as f64)
    });
    println!("ranking: {second:.4} allocations a page; {first} for all before");
    assert!(first > 0, "the threads that rank are counted");
    assert!(second == 0.0, "expected none of a page, found {second:.4}");
    drop(runtime);
    serving.stop().unwrap();
}
