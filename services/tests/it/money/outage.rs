//! A gateway that is down: orders wait, their stock is held until its deadline, nothing is lost, and all is
//! settled when it is back.

use onrush_grpc::order::v1::{GetOrderStatusRequest, OrderStatus};
use onrush_grpc::payment::v1::PaymentStatus;
use onrush_services::gateway::{BreakerState, GatewayKind};

use super::stripe::{books_agree, paying, shop, until};
use super::till::Till;
use crate::shop::{Shop, order, payment, until_processing};
use crate::wait::{found, seen};
use crate::wire::Place;

fn breaker(shop: &Shop) -> BreakerState {
    let found = shop.gateways().breakers().find(|(kind, _)| *kind == GatewayKind::Stripe);
    found.unwrap().1
}

/// Starts payments that nobody waits for.
async fn start(shop: &Shop, orders: usize) -> Vec<String> {
    let mut started = Vec::new();
    for _ in 0..orders {
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let (client, request) = (shop.client.clone(), payment("", &order_id, "pm_card"));
        tokio::spawn(async move { client.process_payment(request).await });
        until_processing(&shop.client, &order_id).await;
        started.push(order_id);
    }
    started
}

async fn until_breaker(shop: &Shop, wanted: BreakerState) {
    seen("the breaker to turn", || breaker(shop) == wanted).await;
}

/// How an order ends that is pending.
pub(super) async fn until_closed(shop: &Shop, order_id: &str) -> OrderStatus {
    found("the end of a pending order", async || {
        let request = GetOrderStatusRequest { order_id: order_id.into() };
        let status = shop.client.get_order_status(request).await.unwrap().order.unwrap().status();
        (status != OrderStatus::Pending).then_some(status)
    })
    .await
}

#[tokio::test]
async fn a_gateway_that_fails_is_left_alone_and_everything_is_settled_when_it_is_back() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    assert_eq!(breaker(&shop), BreakerState::Closed);
    till.outage(Some(503));
    let orders = start(&shop, 30).await;
    until_breaker(&shop, BreakerState::Open).await;
    till.outage(None);
    for order_id in &orders {
        until(&shop, order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
    }
    assert_eq!(breaker(&shop), BreakerState::Closed);
    assert_eq!(till.sums(), (30 * 500, 0, 30));
    books_agree(&shop, 30).await;
}

/// The gateway is not there at all, the shop stops and starts meanwhile, and the gateway comes.
#[tokio::test]
async fn an_outage_over_a_restart_loses_nothing() {
    let place = Place::free();
    let absent = Till::absent(&place);
    let shop = shop(&absent).await;
    let orders = start(&shop, 12).await;
    until_breaker(&shop, BreakerState::Open).await;
    let shop = shop.restart_with(paying(&absent)).await;
    let till = Till::start_at(place, &[]);
    for order_id in &orders {
        until(&shop, order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
    }
    assert_eq!(till.sums(), (12 * 500, 0, 12));
    books_agree(&shop, 12).await;
}

/// Never reached, and then the order is gone: its stock is free, and nobody is charged any more.
#[tokio::test]
async fn an_order_that_expires_while_the_gateway_is_away_is_never_charged() {
    let place = Place::free();
    let shop = shop(&Till::absent(&place)).await;
    let mut short = order("", "ada", &[("tea", 100)]);
    short.hold_us = 1_500_000;
    let order_id = shop.client.create_order(short).await.unwrap().order_id;
    let (client, request) = (shop.client.clone(), payment("", &order_id, "pm_card"));
    tokio::spawn(async move { client.process_payment(request).await });
    until_processing(&shop.client, &order_id).await;
    shop.order("", "tea", 1).await.expect_err("all is held");
    assert_eq!(until_closed(&shop, &order_id).await, OrderStatus::Expired);
    let gone = until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Canceled).await;
    assert_eq!(gone.attempts[0].decline_code, "order_closed");
    let till = Till::start_at(place, &[]);
    let other = shop.order("", "tea", 100).await.unwrap().order_id;
    shop.client.process_payment(payment("", &other, "pm_card")).await.unwrap();
    until(&shop, &other, |payment| payment.status() == PaymentStatus::Succeeded).await;
    assert_eq!(till.sums(), (100 * 500, 0, 1));
    books_agree(&shop, 2).await;
}
