//! Buys something in a running shop (`cargo run --bin onrush -- serve`), over whichever protocol the address names:
//! `cargo run -p onrush-net --example buy`, or the same with `-- http://127.0.0.1:50052`.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use onrush_net::client::{CallError, Key, Shop};
use onrush_proto::{
    CreateOrder, CustomerId, Money, OrderLine, PutProduct, Sku, StartPayment, StockChange, UpdateStock,
};

/// Puts something on sale, so that there is something to buy.
async fn put_on_sale(shop: &Shop, sku: Sku) -> Result<(), CallError> {
    let product = PutProduct {
        sku,
        name: "Tea".into(),
        description: String::new(),
        category: "drinks".parse().unwrap_or_default(),
        brand: Default::default(),
        price: Money::new(450, onrush_proto::Currency::EUR),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    };
    shop.put_product(Key::fresh(), product).await?;
    let update =
        UpdateStock { sku, change: StockChange::Add(10), reason: "delivery".parse().unwrap_or_default() };
    shop.update_stock(Key::fresh(), update).await?;
    Ok(())
}

/// The heart of it.
pub(crate) async fn buy(
    shop: &Shop,
    customer: CustomerId,
    sku: Sku,
) -> Result<(), Box<dyn std::error::Error>> {
    put_on_sale(shop, sku).await?;

    // Under one key an order is made once, however often it is asked for.
    let key = Key::fresh();
    let lines = [OrderLine::new(sku, 2)].into_iter().collect();
    let placed = shop.create_order(key, CreateOrder { customer, lines, hold_us: 0 }).await?;
    println!("ordered {} for {} under key {key}", placed.order, placed.total);

    let start = StartPayment { order: placed.order, method: "pm_card".parse()?, capture: true };
    let paid = shop.pay(Key::fresh(), start).await?;
    println!("paid: the order is {:?}, the payment {:?}", paid.order_state, paid.payment_state);

    let order = shop.order(placed.order).await?;
    println!("read back: {} line(s), {:?}", order.lines.len(), order.state);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "onrush://127.0.0.1:50060".into());
    buy(&Shop::connect(&address).await?, "ada".parse()?, "tea".parse()?).await
}
