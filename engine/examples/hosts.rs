//! Hosts side by side on this machine: orders for one hot SKU per shard, in groups of 512, through
//! one port. `cargo run --release -p onrush-engine --features glommio --example hosts -- [rounds] [seconds]`
//! prints accepted orders per second, hosts in turn within each round, and the medians.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures and tells")]

use std::time::{Duration, Instant};

use onrush_engine::{Engine, EngineHandle, EngineOptions, HostKind, OpenError, Port};
use onrush_proto::{
    Command, CreateOrder, Currency, Money, OrderLine, Outcome, PutProduct, Request, ShardId, Sku, Slot,
    StockChange, Text, UpdateStock,
};

/// Orders that go out together.
const GROUP: u64 = 512;
/// Groups in flight per shard: one is written while the next fills.
const WINDOW: u64 = 4;
const HOSTS: [HostKind; 2] = [HostKind::Thread, HostKind::Glommio];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(5), |text| text.parse::<usize>())?;
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse::<u64>())?;
    for shards in [1, 4] {
        let mut rates: [Vec<u64>; HOSTS.len()] = Default::default();
        for _ in 0..rounds {
            for (host, rates) in HOSTS.into_iter().zip(&mut rates) {
                match sale(host, shards, Duration::from_secs(seconds)) {
                    Err(OpenError::Host(error)) => println!("{host:?}: {error}"),
                    rate => rates.push(rate?),
                }
            }
        }
        for (host, mut rates) in HOSTS.into_iter().zip(rates) {
            rates.sort_unstable();
            if let Some(median) = rates.get(rates.len() / 2) {
                println!("{shards} shards, {host:?}: median {median} orders/s of {rates:?}");
            }
        }
    }
    Ok(())
}

fn sale(host: HostKind, shards: u16, length: Duration) -> Result<u64, OpenError> {
    let engine = Engine::open(EngineOptions { host, shards: Some(shards), ..EngineOptions::default() })?;
    let handle = engine.handle();
    let skus: Vec<Sku> = (0..shards).map(|shard| hot(&handle, shard)).collect();
    for sku in &skus {
        handle.call_blocking(Request::unkeyed(Command::PutProduct(Box::new(product(*sku)))));
        let change = StockChange::Add(1 << 40);
        let stock = UpdateStock { sku: *sku, change, reason: Text::EMPTY };
        handle.call_blocking(Request::unkeyed(Command::UpdateStock(stock)));
    }
    let mut port = handle.port();
    let (mut sent, mut accepted) = (0, 0);
    let mut in_flight = vec![0; skus.len()];
    let began = Instant::now();
    while began.elapsed() < length {
        for (shard, in_flight) in in_flight.iter_mut().enumerate() {
            while *in_flight + GROUP <= WINDOW * GROUP {
                group(&handle, &mut port, skus[shard], (shard as u64, &mut sent));
                *in_flight += GROUP;
            }
        }
        port.wait(Duration::from_millis(100));
        port.drain(|shard, reply| {
            in_flight[shard as usize] -= 1;
            accepted += u64::from(matches!(reply.outcome, Outcome::Accepted(_)));
        });
    }
    let rate = accepted * 1_000_000 / began.elapsed().as_micros() as u64;
    drop(port);
    if let Err(error) = engine.close() {
        println!("{error}");
    }
    Ok(rate)
}

/// The first SKU that lives on a shard.
fn hot(handle: &EngineHandle, shard: u16) -> Sku {
    let names = (0..).map(|number| format!("hot-{number}"));
    let mut skus = names.filter_map(|name| name.parse::<Sku>().ok());
    let map = handle.slot_map();
    skus.find(|sku| map.shard(Slot::of(sku.as_bytes())) == ShardId(shard)).unwrap_or_default()
}

fn group(handle: &EngineHandle, port: &mut Port, sku: Sku, (tag, sent): (u64, &mut u64)) {
    for _ in 0..GROUP {
        *sent += 1;
        let Ok(customer) = format!("c-{sent}").parse() else { continue };
        let lines = [OrderLine::new(sku, 1)].into_iter().collect();
        let command = Command::CreateOrder(CreateOrder { customer, lines, hold_us: 0 });
        let key = handle
            .fresh_key(Slot::of(sku.as_bytes()), u128::from(*sent).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c));
        let _ = port.submit(tag, Request::new(key, command));
    }
    port.flush();
}

fn product(sku: Sku) -> PutProduct {
    PutProduct {
        sku,
        name: "Game console".into(),
        description: String::new(),
        category: Text::EMPTY,
        brand: Text::EMPTY,
        price: Money::new(49_900, Currency::EUR),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    }
}
