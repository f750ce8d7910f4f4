//! The gateway misbehaves; the books agree in the end.

use std::time::Duration;

use onrush_grpc::order::v1::{CancelOrderRequest, GetOrderStatusRequest, OrderPaymentStatus, OrderStatus};
use onrush_grpc::payment::v1::PaymentStatus;
use onrush_net::client::Retry;
use onrush_net::client::grpc::Client;
use onrush_proto::{Currency, Money, OrderId, Text};
use onrush_services::gateway::{Charge, GatewayKey, Op};

use crate::shop::{Shop, euro, payment, until_processing};

async fn paid_in_the_end(shop: &Shop, order_id: &str) -> OrderStatus {
    for _ in 0..500 {
        let request = GetOrderStatusRequest { order_id: order_id.into() };
        let order = shop.client.get_order_status(request).await.unwrap().order.unwrap();
        if order.payment_status() != OrderPaymentStatus::Processing {
            return order.status();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the payment of {order_id} is still processing");
}

#[tokio::test]
async fn silence_is_unknown_and_settled_under_the_same_key() {
    let shop = Shop::open();
    shop.stock("tea", 500, 10).await;
    for method in ["pm_timeout", "pm_dropped_reply"] {
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let answer = shop.client.process_payment(payment("", &order_id, method)).await.unwrap();
        assert_eq!(answer.order_status(), OrderStatus::Paid, "{method}: settled within the deadline");
    }
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert!(books.ok && books.payments == 2, "{books:?}");
}

#[tokio::test]
async fn a_slow_gateway_is_answered_with_processing() {
    let shop = Shop::open_with(|config| config.gateway_faults = "p50_ms=5000,p99_ms=5000".parse().unwrap());
    shop.stock("tea", 500, 10).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let patience = Retry { timeout: Duration::from_secs(3), ..Retry::NEVER };
    let hasty = Client::new(&shop.addresses, 1, patience).unwrap();
    let answer = hasty.process_payment(payment("p", &order_id, "pm_card")).await.unwrap();
    assert_eq!(answer.payment_status(), OrderPaymentStatus::Processing);
    let again = shop.client.process_payment(payment("p", &order_id, "pm_card")).await.unwrap();
    assert!(again.replayed);
    assert_eq!((again.attempt, again.order_status()), (1, OrderStatus::Paid));
}

#[tokio::test]
async fn every_payment_ends_and_the_books_agree() {
    let faults = "seed=3,decline=0.2,timeout=0.2,dropped=0.2,doubled=0.3,reordered=0.3,p50_ms=5,p99_ms=50,\
                  brownout_ratio=0.5,brownout_at_ms=0,brownout_ms=400";
    let shop = Shop::open_with(|config| config.gateway_faults = faults.parse().unwrap());
    shop.stock("tea", 500, 1_000).await;
    let mut orders = Vec::new();
    for _ in 0..60 {
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let (client, request) = (shop.client.clone(), payment("", &order_id, "pm_card"));
        orders.push((order_id, tokio::spawn(async move { client.process_payment(request).await })));
    }
    let mut paid = 0;
    for (order_id, call) in orders {
        call.await.unwrap().unwrap();
        paid += i64::from(paid_in_the_end(&shop, &order_id).await == OrderStatus::Paid);
    }
    assert!((30..60).contains(&paid), "about a fifth is declined, found {paid} paid");
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert!(books.ok && books.open == 0, "{books:?}");
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.units_sold == paid, "{audit:?}");
}

/// Reading the whole log for every comparison once made each dearer than the one before.
#[tokio::test]
async fn a_comparison_goes_on_where_the_last_one_ended() {
    let shop = Shop::open();
    shop.stock("tea", 500, 10).await;
    for expected in [2, 1, 0] {
        for _ in 0..expected {
            shop.paid("tea").await;
        }
        let books = shop.client.reconcile(Default::default()).await.unwrap();
        assert_eq!((books.ok, books.payments, books.open), (true, expected, 0), "{books:?}");
    }
    // The gateway takes money for an order that nobody made, and again for one that was settled.
    let paid = shop.paid("tea").await.parse().unwrap();
    for (order, number) in [(OrderId(7), 1), (paid, 9)] {
        let key = GatewayKey { order, number, op: Op::Charge };
        let amount = Money::new(995, Currency::EUR);
        let charge =
            Charge { key, amount, method: Text::new("pm_card").unwrap(), capture: true, started_us: 0 };
        shop.gateways().charge(&charge, false, 0).await.unwrap();
    }
    for _ in 0..2 {
        let books = shop.client.reconcile(Default::default()).await.unwrap();
        assert_eq!((books.payments, books.differences.len()), (2, 2), "{books:?}");
        assert!(
            books.differences[0]
                .ends_with("expected captured 0 and refunded 0 (ledger), found 995 and 0 (gateway)")
        );
        assert!(
            books.differences[1]
                .ends_with("expected captured 500 and refunded 0 (ledger), found 1495 and 0 (gateway)")
        );
    }
    shop.paid("tea").await;
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert_eq!((books.payments, books.differences.len()), (3, 2), "{books:?}");
}

/// The reply is lost after the money was taken: the capture is on record, so it is asked about under
/// its key and not made a second time.
#[tokio::test]
async fn a_capture_whose_reply_was_lost_is_settled_under_its_key() {
    let shop =
        Shop::open_with(|config| config.gateway_faults = "dropped=1,p50_ms=1,p99_ms=2".parse().unwrap());
    shop.stock("tea", 500, 10).await;
    let order_id = shop.authorised("tea").await;
    let taken = shop.client.capture_payment(Shop::capture("c", &order_id, 400)).await.unwrap();
    assert_eq!((taken.payment_status(), taken.captured), (PaymentStatus::Succeeded, euro(400)));
    assert_eq!(shop.gateway_says(&order_id), ["authorised", "captured"]);
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert!(books.ok && books.payments == 1, "{books:?}");
}

#[tokio::test]
async fn a_reservation_that_lapsed_asks_for_another_payment() {
    let faults = "capture_decline=1,p50_ms=1,p99_ms=2";
    let shop = Shop::open_with(|config| config.gateway_faults = faults.parse().unwrap());
    shop.stock("tea", 500, 10).await;
    let order_id = shop.authorised("tea").await;
    let lapsed = shop.client.capture_payment(Shop::capture("c", &order_id, 500)).await.unwrap();
    assert_eq!((lapsed.payment_status(), lapsed.captured), (PaymentStatus::RequiresPaymentMethod, euro(0)));
    assert_eq!(lapsed.decline_code, "authorization_expired");
    let paid = shop.client.process_payment(payment("", &order_id, "pm_card")).await.unwrap();
    assert_eq!((paid.attempt, paid.order_status()), (2, OrderStatus::Paid));
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert!(books.ok && books.payments == 1, "{books:?}");
}

/// The process ends between the record and the gateway's answer, of a capture and of a void: both
/// are read from the log again and done, whoever still waits for them.
#[tokio::test]
async fn captures_and_voids_that_a_restart_interrupts_are_made_after_it() {
    let shop = Shop::open();
    shop.stock("tea", 500, 10).await;
    let (taken, given_back) = (shop.authorised("tea").await, shop.authorised("tea").await);
    let slow = "p50_ms=60000,p99_ms=60000";
    let shop = shop.restart_with(|config| config.gateway_faults = slow.parse().unwrap()).await;
    let (client, capture) = (shop.client.clone(), Shop::capture("c", &taken, 400));
    let call = tokio::spawn(async move { client.capture_payment(capture).await });
    until_processing(&shop.client, &taken).await;
    call.abort();
    let cancel = CancelOrderRequest { order_id: given_back.clone(), ..Default::default() };
    shop.client.cancel_order(cancel).await.unwrap();
    assert_eq!(shop.gateway_says(&taken), ["authorised"]);
    assert_eq!(shop.gateway_says(&given_back), ["authorised"]);
    let shop = shop.restart().await;
    assert_eq!(paid_in_the_end(&shop, &taken).await, OrderStatus::Paid);
    let again = shop.client.capture_payment(Shop::capture("c", &taken, 400)).await.unwrap();
    assert_eq!((again.replayed, again.captured), (true, euro(400)));
    for _ in 0..500 {
        if shop.gateway_says(&given_back).len() > 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(shop.gateway_says(&given_back), ["authorised", "voided"]);
    assert_eq!(shop.gateway_says(&taken), ["authorised", "captured"]);
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert!(books.ok && books.open == 0, "{books:?}");
}

#[tokio::test]
async fn what_a_restart_interrupts_is_taken_up_again() {
    let shop = Shop::open_with(|config| config.gateway_faults = "p50_ms=60000,p99_ms=60000".parse().unwrap());
    shop.stock("tea", 500, 10).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let (client, paid) = (shop.client.clone(), payment("", &order_id, "pm_card"));
    let call = tokio::spawn(async move { client.process_payment(paid).await });
    until_processing(&shop.client, &order_id).await;
    call.abort();
    let shop = shop.restart().await;
    assert_eq!(paid_in_the_end(&shop, &order_id).await, OrderStatus::Paid);
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert!(books.ok, "{books:?}");
}
