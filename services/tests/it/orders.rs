//! OrderService.

use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_grpc::order::v1::{
    CancelOrderRequest, GetOrderStatusRequest, ListOrdersRequest, Order, OrderPaymentStatus, OrderStatus,
};
use onrush_services::config::Service;

use crate::shop::{Shop, assert_refused, euro, order, payment, refused};
use crate::wait::until;

async fn status(shop: &Shop, order_id: &str) -> Order {
    let request = GetOrderStatusRequest { order_id: order_id.into() };
    shop.client.get_order_status(request).await.unwrap().order.unwrap()
}

fn history(order: &Order) -> Vec<OrderStatus> {
    order.history.iter().map(|change| change.status()).collect()
}

fn cancel(key: &str, order_id: &str) -> CancelOrderRequest {
    CancelOrderRequest { request_id: key.into(), order_id: order_id.into() }
}

#[tokio::test]
async fn an_order_is_created_paid_and_shown() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    let created = shop.order("k1", "tea", 2).await.unwrap();
    assert_eq!((created.order_id.len(), created.total.clone(), created.replayed), (32, euro(998), false));
    let pending = status(&shop, &created.order_id).await;
    assert_eq!((pending.status(), pending.customer_id.as_str()), (OrderStatus::Pending, "ada"));
    assert_eq!(pending.payment_status(), OrderPaymentStatus::RequiresPaymentMethod);
    assert_eq!(pending.lines[0].unit_price, euro(499));

    let paid = shop.client.process_payment(payment("p1", &created.order_id, "pm_card")).await.unwrap();
    assert_eq!(
        (paid.order_status(), paid.payment_status()),
        (OrderStatus::Paid, OrderPaymentStatus::Succeeded)
    );
    assert_eq!((paid.attempt, paid.amount.clone(), paid.replayed), (1, euro(998), false));
    let again = shop.client.process_payment(payment("p1", &created.order_id, "pm_card")).await.unwrap();
    assert!(again.replayed);
    assert_eq!((again.attempt, again.order_status()), (1, OrderStatus::Paid));
    let shown = status(&shop, &created.order_id).await;
    assert_eq!(shown.captured_minor_units, 998);
    assert_eq!(history(&shown), [OrderStatus::Pending, OrderStatus::Paid]);
    let times: Vec<i64> = shown.history.iter().map(|change| change.at_us).collect();
    assert_eq!((times[0], times[1] <= shown.changed_us), (shown.created_us, true), "{shown:?}");
    let shop = shop.restart().await;
    assert_eq!(status(&shop, &created.order_id).await.history, shown.history);
}

#[tokio::test]
async fn an_order_of_one_line_is_answered_with_the_same_metadata_as_one_of_two() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    shop.stock("mug", 899, 10).await;
    let mut client = OrderServiceClient::connect(shop.address(Service::Order)).await.unwrap();
    let mut names = Vec::new();
    for (key, lines) in [("one", &[("tea", 1)][..]), ("two", &[("tea", 1), ("mug", 1)])] {
        let mut request = tonic::Request::new(order(key, "ada", lines));
        request.metadata_mut().insert("x-correlation-id", "basket-7".parse().unwrap());
        let answer = client.create_order(request).await.unwrap();
        assert_eq!((answer.get_ref().request_id.as_str(), answer.get_ref().replayed), (key, false));
        let metadata = answer.metadata();
        assert_eq!(metadata.get("x-correlation-id").unwrap(), "basket-7");
        assert_eq!(metadata.get("grpc-status").unwrap(), "0");
        let mut found: Vec<String> = metadata.as_ref().keys().map(ToString::to_string).collect();
        found.sort();
        names.push(found);
    }
    assert_eq!(names[0], names[1]);
}

#[tokio::test]
async fn the_history_of_a_basket_begins_before_it_was_accepted() {
    let shop = Shop::open();
    let skus = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for sku in skus {
        shop.stock(sku, 100, 10).await;
    }
    let created = shop.client.create_order(order("", "ada", &skus.map(|sku| (sku, 1)))).await.unwrap();
    shop.client.cancel_order(cancel("c1", &created.order_id)).await.unwrap();
    let told = history(&status(&shop, &created.order_id).await);
    assert_eq!(told, [OrderStatus::Reserving, OrderStatus::Pending, OrderStatus::Cancelled]);
}

#[tokio::test]
async fn the_same_key_gets_the_same_order_through_a_restart() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    let first = shop.order("k1", "tea", 2).await.unwrap();
    let again = shop.order("k1", "tea", 2).await.unwrap();
    assert!(again.replayed);
    let shop = shop.restart().await;
    let later = shop.order("k1", "tea", 2).await.unwrap();
    for answer in [again, later] {
        assert!(answer.replayed);
        assert_eq!((answer.order_id, answer.held_until_us), (first.order_id.clone(), first.held_until_us));
    }
    assert_refused(shop.order("k1", "tea", 3).await, "IDEMPOTENCY_KEY_REUSED", Some("request_id"));
}

#[tokio::test]
async fn one_key_buys_once_over_all_shards() {
    let shop = Shop::open();
    let skus = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for sku in skus {
        shop.stock(sku, 100, 5).await;
    }
    shop.order("k1", "a", 1).await.unwrap();
    for sku in &skus[1..] {
        assert_refused(shop.order("k1", sku, 1).await, "IDEMPOTENCY_KEY_REUSED", Some("request_id"));
    }
    // A key that the edge made is one that can be sent again.
    let made = shop.order("", "b", 1).await.unwrap();
    let mut again = order("", "ada", &[("b", 1)]);
    again.request_id = made.request_id;
    assert_eq!(shop.client.create_order(again).await.unwrap().order_id, made.order_id);
}

#[tokio::test]
async fn stock_and_limits_are_exact() {
    let shop = Shop::open();
    shop.stock("tea", 499, 3).await;
    shop.order("", "tea", 2).await.unwrap();
    assert_refused(shop.order("", "tea", 2).await, "OUT_OF_STOCK", Some("lines[0].quantity"));
    shop.order("", "tea", 1).await.unwrap();
    let limited = onrush_grpc::product::v1::PutProductRequest {
        limit_per_customer: 2,
        ..crate::shop::product("rare", 100)
    };
    shop.stock("rare", 100, 10).await;
    shop.client.put_product(limited).await.unwrap();
    shop.order("", "rare", 2).await.unwrap();
    let refusal = refused(shop.order("", "rare", 1).await);
    assert_eq!(refusal.reason, "LIMIT_EXCEEDED");
    shop.client.create_order(order("", "bob", &[("rare", 1)])).await.unwrap();
    let mut ceiling = order("", "bob", &[("rare", 1)]);
    ceiling.lines[0].max_unit_price = Some(99);
    assert_refused(shop.client.create_order(ceiling).await, "PRICE_CHANGED", Some("lines[0].max_unit_price"));
}

#[tokio::test]
async fn a_basket_over_shards_is_all_or_nothing() {
    let shop = Shop::open();
    let skus: Vec<String> = (0..12).map(|index| format!("sku-{index}")).collect();
    for sku in &skus {
        shop.stock(sku, 100, 2).await;
    }
    let lines: Vec<(&str, i64)> = skus.iter().map(|sku| (sku.as_str(), 1)).collect();
    let all = shop.client.create_order(order("", "ada", &lines)).await.unwrap();
    assert_eq!(all.total, euro(1_200));
    let mut too_many = lines.clone();
    too_many[11].1 = 2;
    let refusal = shop.client.create_order(order("", "ada", &too_many)).await;
    assert_refused(refusal, "OUT_OF_STOCK", Some("lines[11].quantity"));
    shop.client.create_order(order("", "ada", &lines)).await.expect("the refused basket gave all back");
}

#[tokio::test]
async fn an_order_is_called_off_once() {
    let shop = Shop::open();
    shop.stock("tea", 499, 1).await;
    let created = shop.order("", "tea", 1).await.unwrap();
    let first = shop.client.cancel_order(cancel("c1", &created.order_id)).await.unwrap();
    assert_eq!((first.status(), first.replayed), (OrderStatus::Cancelled, false));
    assert!(shop.client.cancel_order(cancel("c1", &created.order_id)).await.unwrap().replayed);
    let again = shop.client.cancel_order(cancel("c2", &created.order_id)).await;
    assert_eq!(refused(again).reason, "ILLEGAL_TRANSITION");
    shop.order("", "tea", 1).await.expect("the unit is back");
}

#[tokio::test]
async fn a_paid_order_is_called_off_by_way_of_a_refund() {
    let shop = Shop::open();
    shop.stock("tea", 499, 1).await;
    let order_id = shop.paid("tea").await;
    shop.client.cancel_order(cancel("", &order_id)).await.unwrap();
    let cancelled = async || {
        let order = status(&shop, &order_id).await;
        if order.status() == OrderStatus::Cancelled { Ok(order) } else { Err(order) }
    };
    let order = until("a cancelled order", cancelled).await;
    assert_eq!(order.refunded_minor_units, 499);
}

#[tokio::test]
async fn orders_are_listed_newest_first() {
    let shop = Shop::open();
    shop.stock("tea", 499, 100).await;
    let mut expected = Vec::new();
    for _ in 0..7 {
        expected.insert(0, shop.order("", "tea", 1).await.unwrap().order_id);
        // Ids sort by the millisecond over shards.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    shop.client.create_order(order("", "bob", &[("tea", 1)])).await.unwrap();
    let mut found = Vec::new();
    let mut request = ListOrdersRequest { customer_id: "ada".into(), page_size: 3, ..Default::default() };
    loop {
        let page = shop.client.list_orders(request.clone()).await.unwrap();
        found.extend(page.orders.iter().map(|order| order.order_id.clone()));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(found, expected);
    let foreign = ListOrdersRequest { customer_id: "bob".into(), ..request };
    assert_refused(shop.client.list_orders(foreign).await, "INVALID_PAGE_TOKEN", Some("page_token"));
}
