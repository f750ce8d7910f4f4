//! Buys two units of what `buy.rs` puts on sale, over any protocol: `cargo run -p onrush-net --example order`.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use onrush_net::client::{Key, Shop};
use onrush_proto::{CreateOrder, OrderLine, StartPayment};

pub(crate) async fn buy(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let shop = Shop::connect(address).await?;
    let lines = [OrderLine::new("tea".parse()?, 2)].into_iter().collect();
    let wanted = CreateOrder { customer: "ada".parse()?, lines, hold_us: 0 };
    let placed = shop.create_order(Key::fresh(), wanted).await?;
    let start = StartPayment { order: placed.order, method: "pm_card".parse()?, capture: true };
    let paid = shop.pay(Key::fresh(), start).await?;
    println!("{} for {}: {:?}", placed.order, placed.total, paid.order_state);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    buy(&std::env::args().nth(1).unwrap_or_else(|| "onrush://127.0.0.1:50060".into())).await
}
