//! The PayPal adapter against the stand-in.

use std::time::Duration;

use onrush_grpc::order::v1::{CancelOrderRequest, OrderStatus};
use onrush_grpc::payment::v1::{PaymentStatus, ProcessRefundRequest};
use onrush_grpc::product::v1::PutProductRequest;
use onrush_services::config::{Config, Secret};
use onrush_services::gateway::paypal::PayPalOptions;

use super::purse::Purse;
use super::stand::Fault;
use super::stripe::{books_agree, payment_of, until};
use crate::shop::{Shop, euro, payment, product};
use crate::wait::seen;

/// A shop whose money goes through the stand-in.
pub(super) fn paying(purse: &Purse) -> impl Fn(&mut Config) {
    let options = PayPalOptions {
        base: purse.base.clone(),
        key: Secret::new("client:pp_canary"),
        webhook_id: "WEBHOOK-1".into(),
        return_url: None,
        timeout: Duration::from_secs(2),
    };
    move |config| config.payment.paypal = Some(options.clone())
}

async fn shop(purse: &Purse) -> Shop {
    let shop = Shop::open_with(paying(purse));
    shop.stock("tea", 500, 100).await;
    shop
}

/// An order that is being paid by this token.
pub(super) async fn pay(shop: &Shop, method: &str) -> String {
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    shop.client.process_payment(payment("", &order_id, method)).await.unwrap();
    order_id
}

fn refund(order_id: &str, minor: i64) -> ProcessRefundRequest {
    ProcessRefundRequest { payment_id: order_id.into(), amount: euro(minor), ..Default::default() }
}

#[tokio::test]
async fn an_order_is_made_captured_and_refunded_under_keys_of_its_own() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let (at_once, in_two) = (pay(&shop, "paypal:kept").await, pay(&shop, "paypal:two steps").await);
    for order_id in [&at_once, &in_two] {
        let paid = payment_of(&shop, order_id).await;
        assert_eq!((paid.status(), paid.captured_minor_units), (PaymentStatus::Succeeded, 500));
        assert!(paid.attempts[0].reference.starts_with("pp_PP"));
    }
    assert_eq!(purse.keys_at("/orders"), [format!("{at_once}:1:charge"), format!("{in_two}:1:charge")]);
    assert_eq!(purse.keys_at("/capture"), [format!("{in_two}:1:capture")]);
    shop.client.process_refund(refund(&at_once, 150)).await.unwrap();
    assert_eq!(purse.keys_at("/refund"), [format!("{at_once}:1:refund")]);
    assert_eq!(purse.sums(), (vec!["5.00".into(), "5.00".into()], vec!["1.50".into()]));
    assert_eq!(purse.tokens(), 1, "one token for all calls");
    books_agree(&shop, 2).await;
}

#[tokio::test]
async fn a_reservation_is_captured_in_part_or_given_back() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let mut orders = Vec::new();
    for _ in 0..2 {
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let mut manual = payment("", &order_id, "paypal:kept");
        manual.capture_method = onrush_grpc::order::v1::CaptureMethod::Manual.into();
        shop.client.process_payment(manual).await.unwrap();
        assert_eq!(payment_of(&shop, &order_id).await.status(), PaymentStatus::RequiresCapture);
        orders.push(order_id);
    }
    purse.fail_next(&[Fault::Dropped]);
    let taken = shop.client.capture_payment(Shop::capture("c", &orders[0], 400)).await.unwrap();
    assert_eq!(taken.payment_status(), PaymentStatus::Succeeded);
    let cancel = CancelOrderRequest { order_id: orders[1].clone(), ..Default::default() };
    shop.client.cancel_order(cancel).await.unwrap();
    seen("a reservation given back", || purse.authorizations()[1] == "VOIDED").await;
    assert_eq!(purse.authorizations(), ["CAPTURED", "VOIDED"]);
    assert_eq!(purse.sums().0, ["4.00"]);
    books_agree(&shop, 2).await;
}

#[tokio::test]
async fn every_bad_day_ends_with_one_charge() {
    use Fault::{Busy, Dropped, FailedAfter, FailedBefore, Garbled, Slow};
    let table: [&[Fault]; 6] =
        [&[Busy], &[FailedBefore], &[FailedAfter], &[Dropped], &[Slow], &[FailedBefore, Busy, Garbled]];
    for faults in table {
        let purse = Purse::start(faults);
        let shop = shop(&purse).await;
        let order_id = pay(&shop, "paypal:kept").await;
        until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
        purse.fail_next(faults);
        shop.client.process_refund(refund(&order_id, 200)).await.unwrap();
        until(&shop, &order_id, |payment| payment.refunded_minor_units == 200).await;
        assert_eq!(purse.sums(), (vec!["5.00".into()], vec!["2.00".into()]), "{faults:?}");
        let keys = purse.keys_at("/orders");
        assert!(keys.iter().all(|key| *key == format!("{order_id}:1:charge")), "{faults:?}: {keys:?}");
        books_agree(&shop, 1).await;
    }
}

/// 201 is not money: a capture may still be declined, or wait for a bank.
#[tokio::test]
async fn made_is_not_paid() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    for (method, code) in [
        ("paypal:denied", "CAPTURE_DECLINED"),
        ("paypal:declined", "INSTRUMENT_DECLINED"),
        ("paypal:order:PP99", "RESOURCE_NOT_FOUND"),
    ] {
        let declined = shop.client.process_payment(payment("", &order_id, method)).await.unwrap();
        assert_eq!((declined.decline_code.as_str(), declined.order_status()), (code, OrderStatus::Pending));
    }
    let (client, request) = (shop.client.clone(), payment("", &order_id, "paypal:banking"));
    let waiting = tokio::spawn(async move { client.process_payment(request).await });
    seen("a charge at the bank", || purse.keys_at("/orders").len() == 3).await;
    assert_eq!(payment_of(&shop, &order_id).await.captured_minor_units, 0);
    purse.banks_are_done();
    assert_eq!(waiting.await.unwrap().unwrap().order_status(), OrderStatus::Paid);
    books_agree(&shop, 1).await;
}

/// The buyer approved an order in the browser; it has to be ours, for as much.
#[tokio::test]
async fn an_order_that_the_buyer_approved_pays_for_the_order_it_names() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    for (custom_id, value) in [(order_id.as_str(), "4.99"), ("somebody else's", "5.00")] {
        let approved = format!("paypal:order:{}", purse.approve(custom_id, value));
        let declined = shop.client.process_payment(payment("", &order_id, &approved)).await.unwrap();
        assert_eq!(declined.decline_code, "ORDER_MISMATCH");
    }
    let approved = format!("paypal:order:{}", purse.approve(&order_id, "5.00"));
    let paid = shop.client.process_payment(payment("", &order_id, &approved)).await.unwrap();
    assert_eq!((paid.attempt, paid.order_status()), (3, OrderStatus::Paid));
    assert_eq!(purse.keys_at("/capture"), [format!("{order_id}:3:capture")]);
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_and_anew_when_it_is_not_good() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let mut calls = Vec::new();
    for _ in 0..10 {
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let (client, request) = (shop.client.clone(), payment("", &order_id, "paypal:kept"));
        calls.push(tokio::spawn(async move { client.process_payment(request).await }));
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().order_status(), OrderStatus::Paid);
    }
    assert_eq!(purse.tokens(), 1);
    purse.revoke();
    pay(&shop, "paypal:kept").await;
    let fetched = purse.calls().iter().filter(|call| call.path == "/v1/oauth2/token").count();
    assert_eq!(fetched, 2);
    books_agree(&shop, 11).await;
}

#[tokio::test]
async fn amounts_are_said_as_paypal_counts_them() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    for (sku, currency, minor, said) in [("salt", "HUF", 150_000, "1500"), ("rice", "JPY", 980, "980")] {
        let mut price = euro(minor).unwrap();
        price.currency_code = currency.into();
        shop.client.put_product(PutProductRequest { price: Some(price), ..product(sku, 1) }).await.unwrap();
        shop.restock(sku, 5).await;
        let order_id = shop.order("", sku, 1).await.unwrap().order_id;
        shop.client.process_payment(payment("", &order_id, "paypal:kept")).await.unwrap();
        assert_eq!(payment_of(&shop, &order_id).await.captured_minor_units, minor);
        assert_eq!(purse.sums().0.pop().unwrap(), said, "{currency}");
    }
    books_agree(&shop, 2).await;
}
