//! One client over both protocols: what is asked over one is found over the other.

use onrush_net::client::native::{Native, NativeOptions};
use onrush_net::client::{Cancelled, Key, Retry, Shop as Client};
use onrush_proto::{
    CreateOrder, Currency, Money, OrderLine, OrderState, PaymentState, PutProduct, Sku, StartPayment,
    StockChange, Text, UpdateStock,
};

use crate::shop::Shop;

pub(crate) fn product(sku: Sku) -> PutProduct {
    PutProduct {
        sku,
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
    }
}

pub(crate) fn order(sku: Sku, quantity: i64) -> CreateOrder {
    let lines = [OrderLine::new(sku, quantity)].into_iter().collect();
    CreateOrder { customer: "ada".parse().unwrap(), lines, hold_us: 0 }
}

/// Buys, pays, reads, refunds and calls off over `client`; `other` sees the same.
async fn buys(client: &Client, other: &Client, sku: &str) {
    let sku: Sku = sku.parse().unwrap();
    assert!(client.put_product(Key::fresh(), product(sku)).await.unwrap() > 0);
    let update = UpdateStock { sku, change: StockChange::Set(5), reason: Text::EMPTY };
    assert_eq!(client.update_stock(Key::fresh(), update).await.unwrap().on_hand, 5);

    let key = Key::fresh();
    let placed = client.create_order(key, order(sku, 2)).await.unwrap();
    assert_eq!((placed.total, placed.replayed), (Money::new(900, Currency::EUR), false));
    let again = other.create_order(key, order(sku, 2)).await.unwrap();
    assert_eq!((again.order, again.replayed), (placed.order, true), "one key means the same over both");
    let reused = client.create_order(key, order(sku, 1)).await.unwrap_err();
    assert_eq!(reused.reason(), Some("IDEMPOTENCY_KEY_REUSED"));

    let too_many = client.create_order(Key::fresh(), order(sku, 9)).await.unwrap_err();
    assert_eq!(too_many.reason(), Some("OUT_OF_STOCK"));
    let unknown = "nothing".parse().unwrap();
    let validated = client.validate(&[(sku, 3), (unknown, 1)]).await.unwrap();
    assert_eq!((validated[0].refused.as_deref(), validated[0].available), (None, 3));
    assert_eq!(validated[0].price, Some(Money::new(450, Currency::EUR)));
    assert_eq!((validated[1].refused.as_deref(), validated[1].price), (Some("UNKNOWN_SKU"), None));

    let start = StartPayment { order: placed.order, method: "pm_card".parse().unwrap(), capture: true };
    let paid = client.pay(Key::fresh(), start).await.unwrap();
    assert_eq!((paid.order_state, paid.payment_state), (OrderState::Paid, PaymentState::Succeeded));
    let refund = client.refund(Key::fresh(), placed.order, Money::new(100, Currency::EUR)).await.unwrap();
    assert_eq!((refund.refund, refund.minor), (1, 100));
    for client in [client, other] {
        let row = client.order(placed.order).await.unwrap();
        assert_eq!((row.customer, row.lines[0].quantity), ("ada".parse().unwrap(), 2));
        assert_eq!(row.payment.map(|payment| payment.captured), Some(900));
    }

    let unpaid = client.create_order(Key::fresh(), order(sku, 1)).await.unwrap().order;
    let cancelled = client.cancel_order(Key::fresh(), unpaid).await.unwrap();
    assert_eq!(cancelled, Cancelled::Done(OrderState::Cancelled));
    assert_eq!(other.order(unpaid).await.unwrap().state, OrderState::Cancelled);
}

#[tokio::test]
async fn a_purchase_is_the_same_over_every_protocol() {
    let shop = Shop::open();
    let native = Client::connect(&format!("onrush://{}", shop.native())).await.unwrap();
    let grpc = Client::over_grpc(shop.client.clone());
    buys(&native, &grpc, "tea").await;
    buys(&grpc, &native, "cup").await;
    let order = shop.addresses.order.strip_prefix("http://").unwrap();
    let session = Client::connect(&format!("onrush+grpc://{order}")).await.unwrap();
    buys(&session, &native, "can").await;
    // A connection to each of the four shards.
    let options = NativeOptions { per_shard: true, retry: Retry::default(), ..NativeOptions::default() };
    let native = Native::connect(&shop.native().to_string(), &options).await.unwrap();
    for sku in ["mug", "pot", "jar"] {
        buys(&Client::over_native(native.clone()), &grpc, sku).await;
    }
}
