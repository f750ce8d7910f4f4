//! A flash sale in ten lines: `cargo run --release -p onrush-engine --example embed`.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use onrush_engine::{Engine, EngineOptions};
use onrush_proto::{
    CallerKey, Command, CreateOrder, Currency, Money, OrderLine, Outcome, PutProduct, Request, Sku,
    StockChange, Text, UpdateStock,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open(EngineOptions::default())?;
    let handle = engine.handle();
    let sku: Sku = "console".parse()?;
    handle.call_blocking(Request::unkeyed(Command::PutProduct(Box::new(product(sku)))));
    handle.call_blocking(Request::unkeyed(stock(sku, 1)));
    for buyer in ["ada", "bob"] {
        let key = handle.key(CallerKey { caller: buyer, key: "cart-1" });
        let lines = [OrderLine::new(sku, 1)].into_iter().collect();
        let order = CreateOrder { customer: buyer.parse()?, lines, hold_us: 0 };
        let reply = handle.call_blocking(Request::new(key, Command::CreateOrder(order)));
        match reply.outcome {
            Outcome::Accepted(receipt) => println!("{buyer}: {receipt:?}, durable in record {}", reply.lsn.0),
            Outcome::Refused(refusal) => println!("{buyer}: {refusal}"),
            other => println!("{buyer}: {other:?}"),
        }
    }
    let audit = handle.audit()?;
    println!(
        "{} received = {} available + {} held + {} sold; books balance: {}",
        audit.units_received, audit.units_available, audit.units_held, audit.units_sold, audit.ok
    );
    Ok(engine.close()?)
}

fn product(sku: Sku) -> PutProduct {
    PutProduct {
        sku,
        name: "Game console".into(),
        description: String::new(),
        category: Text::EMPTY,
        brand: Text::EMPTY,
        price: Money::new(49_900, Currency::EUR),
        limit_per_customer: 1,
        limit_returns: true,
        backorder: 0,
        hold_us: 0,
        active: true,
    }
}

fn stock(sku: Sku, units: i64) -> Command {
    Command::UpdateStock(UpdateStock { sku, change: StockChange::Add(units), reason: Text::EMPTY })
}
