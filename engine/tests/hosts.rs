//! The same sale on every host: what an engine promises does not depend on who drives its shards.
//!
//! A binary of its own and few opens: glommio leaves a file descriptor behind per executor.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test may be impatient")]

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use onrush_engine::{
    Engine, EngineHandle, EngineOptions, HostError, HostKind, OpenError, StockView, StoreKind,
};
use onrush_proto::{
    CallerKey, Command, CreateOrder, Currency, Lsn, Money, OrderLine, Outcome, PutProduct, Receipt,
    RecordKind, Refusal, Request, Sku, Slot, StockChange, Text, UpdateStock,
};

const BUYERS: u64 = 4;
const ATTEMPTS: u64 = 300;
/// Units of each SKU: fewer than are asked for.
const UNITS: i64 = 500;
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_sale_on_the_inline_host() {
    sale(HostKind::Inline, 1);
    sale(HostKind::Inline, 4);
}

#[test]
fn a_sale_on_the_thread_host() {
    sale(HostKind::Thread, 1);
    sale(HostKind::Thread, 4);
}

#[test]
fn a_sale_on_the_glommio_host() {
    match open(HostKind::Glommio, None, Some(1)) {
        Ok(engine) => engine.close().unwrap(),
        Err(OpenError::Host(HostError::NotBuilt)) if cfg!(not(feature = "glommio")) => return,
        // A container may refuse io_uring; what it says must name the way out.
        Err(OpenError::Host(error)) if std::env::var_os("ONRUSH_IO_URING").is_none() => {
            assert!(error.to_string().contains("`thread`"), "{error}");
            return println!("skipped: {error}");
        }
        Err(error) => panic!("{error}"),
    }
    sale(HostKind::Glommio, 1);
    sale(HostKind::Glommio, 4);
}

fn open(host: HostKind, dir: Option<&Path>, shards: Option<u16>) -> Result<Engine, OpenError> {
    Engine::open(EngineOptions {
        data_dir: dir.map(Path::to_path_buf),
        shards,
        host,
        store: StoreKind::Memory,
        segment_bytes: 4 << 20,
        ..EngineOptions::default()
    })
}

fn sale(host: HostKind, shards: u16) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(host, Some(dir.path()), Some(shards)).unwrap();
    let handle = engine.handle();
    let skus: Vec<Sku> = (0..4).map(|number| format!("sku-{number}").parse().unwrap()).collect();
    skus.iter().for_each(|sku| put_on_sale(&handle, *sku));
    thread::scope(|scope| {
        for buyer in 0..BUYERS {
            let (handle, skus) = (&handle, &skus);
            scope.spawn(move || match buyer % 2 {
                0 => buy_through_port(handle, skus, buyer),
                _ => buy_by_call(handle, skus, buyer),
            });
        }
    });
    if host != HostKind::Inline {
        expire_by_timer(&handle, skus[0]);
    }
    audit(&handle);
    let before = skus.iter().map(|sku| sold_out(&handle, sku)).collect::<Vec<_>>();
    engine.close().unwrap();

    let engine = open(host, Some(dir.path()), None).unwrap();
    let handle = engine.handle();
    let after = skus.iter().map(|sku| handle.stock(sku).unwrap()).collect::<Vec<_>>();
    assert_eq!(before, after, "{host:?} {shards}");
    let replayed = handle.call_blocking(first_order(&handle, skus[0]));
    assert!(replayed.replayed, "{host:?} {shards}: {replayed:?}");
    audit(&handle);
    engine.close().unwrap();
    let refused = handle.call_blocking(first_order(&handle, skus[0]));
    assert_eq!(refused.outcome, Outcome::Refused(Refusal::Stopped));
}

fn put_on_sale(handle: &EngineHandle, sku: Sku) {
    let product = PutProduct {
        sku,
        name: "Game console".into(),
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
    accepted(handle, Request::unkeyed(Command::PutProduct(Box::new(product))));
    let first = first_order(handle, sku);
    restock(handle, sku, UNITS);
    accepted(handle, first);
}

fn restock(handle: &EngineHandle, sku: Sku, units: i64) {
    let stock = UpdateStock { sku, change: StockChange::Add(units), reason: Text::EMPTY };
    accepted(handle, Request::unkeyed(Command::UpdateStock(stock)));
}

fn accepted(handle: &EngineHandle, request: Request) -> Receipt {
    match handle.call_blocking(request).outcome {
        Outcome::Accepted(receipt) => receipt,
        other => panic!("expected an accepted command, found {other:?}"),
    }
}

fn first_order(handle: &EngineHandle, sku: Sku) -> Request {
    order(handle, "first", 0, &[sku], 0)
}

fn order(handle: &EngineHandle, caller: &str, number: u64, skus: &[Sku], hold_us: u64) -> Request {
    let key = handle.key(CallerKey { caller, key: &format!("{}-{number}", skus[0]) });
    let lines = skus.iter().map(|sku| OrderLine::new(*sku, 1)).collect();
    let customer = caller.parse().unwrap();
    Request::new(key, Command::CreateOrder(CreateOrder { customer, lines, hold_us }))
}

/// Every third order is a basket of two SKUs, over shards if there are several.
fn cart(skus: &[Sku], number: u64) -> Vec<Sku> {
    let at = number as usize % skus.len();
    let mut cart = vec![skus[at]];
    if number.is_multiple_of(3) {
        cart.push(skus[(at + 1) % skus.len()]);
    }
    cart
}

fn buy_through_port(handle: &EngineHandle, skus: &[Sku], buyer: u64) {
    let mut port = handle.port();
    let caller = format!("port-{buyer}");
    let mut answered = vec![0; 2 * ATTEMPTS as usize];
    for number in 0..2 * ATTEMPTS {
        port.submit(number, order(handle, &caller, number, &cart(skus, number), 0)).unwrap();
        if number % 64 == 63 {
            port.flush();
        }
    }
    port.flush();
    let began = Instant::now();
    while port.in_flight() > 0 {
        assert!(began.elapsed() < PATIENCE, "{} requests were not answered", port.in_flight());
        port.wait(Duration::from_millis(50));
        port.drain(|number, reply| {
            answered[number as usize] += 1;
            expect_bought_or_sold_out(&reply.outcome);
        });
    }
    assert!(answered.iter().all(|times| *times == 1), "one answer each");
}

fn buy_by_call(handle: &EngineHandle, skus: &[Sku], buyer: u64) {
    let caller = format!("call-{buyer}");
    for number in 0..ATTEMPTS {
        let reply = handle.call_blocking(order(handle, &caller, number, &cart(skus, number), 0));
        expect_bought_or_sold_out(&reply.outcome);
    }
    // What is left of every SKU goes one by one.
    for sku in skus {
        let mut number = 1_000;
        while is_accepted(&handle.call_blocking(order(handle, &caller, number, &[*sku], 0)).outcome) {
            number += 1;
        }
    }
}

fn expect_bought_or_sold_out(outcome: &Outcome) {
    let sold_out = matches!(outcome, Outcome::Refused(Refusal::OutOfStock { .. }));
    assert!(sold_out || is_accepted(outcome), "{outcome:?}");
}

fn is_accepted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Accepted(_))
}

/// A hold runs out while nobody calls: the host's timer does it, and the log tells.
fn expire_by_timer(handle: &EngineHandle, sku: Sku) {
    let shard = handle.slot_map().shard(Slot::of(sku.as_bytes()));
    restock(handle, sku, 1);
    let mut events = handle.subscribe(shard, Lsn(handle.end(shard).0 + 1));
    accepted(handle, order(handle, "late", 1, &[sku], 150_000));
    let began = Instant::now();
    loop {
        let mut expired = false;
        events.poll(64, |event| expired |= event.fact.kind == RecordKind::OrderExpired).unwrap();
        if expired {
            assert!(began.elapsed() >= Duration::from_millis(100), "not before its time");
            accepted(handle, order(handle, "later", 1, &[sku], 0));
            return;
        }
        assert!(began.elapsed() < PATIENCE, "expected an expiry");
        events.wait(Duration::from_millis(20));
    }
}

fn sold_out(handle: &EngineHandle, sku: &Sku) -> StockView {
    let stock = handle.stock(sku).unwrap();
    assert_eq!(stock.available, 0, "{sku}");
    stock
}

fn audit(handle: &EngineHandle) {
    let report = handle.audit().unwrap();
    assert!(report.ok, "{:?}", report.violations);
    assert_eq!(report.units_available, 0);
    assert_eq!(report.units_received, report.units_held + report.units_sold);
}
