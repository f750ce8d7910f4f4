//! Orders of PayPal that the buyer approves by a link: money moves only when we ask for it afterwards.

use onrush_grpc::order::v1::{CaptureMethod, OrderPaymentStatus, OrderStatus, ProcessPaymentResponse};
use onrush_grpc::payment::v1::PaymentStatus;
use onrush_services::config::Config;

use super::outage::until_closed;
use super::paypal;
use super::paypal_webhooks::push_about_the_first;
use super::purse::Purse;
use super::stand::Fault;
use super::stripe::{books_agree, payment_of, until};
use crate::shop::{Shop, order, payment};

const LINK: &str = "https://www.paypal.com/checkoutnow?token=PP1";

/// A shop whose buyers come back.
fn paying(purse: &Purse) -> impl Fn(&mut Config) {
    let by_paypal = paypal::paying(purse);
    move |config| {
        by_paypal(config);
        let paypal = config.payment.paypal.as_mut().unwrap();
        paypal.return_url = Some("https://shop.example/orders/{order}".parse().unwrap());
    }
}

async fn shop(purse: &Purse) -> Shop {
    let shop = Shop::open_with(paying(purse));
    shop.stock("tea", 500, 100).await;
    shop
}

fn assert_asks(answer: &ProcessPaymentResponse) {
    let found = (answer.payment_status(), answer.order_status(), answer.approval_url.as_str());
    assert_eq!(found, (OrderPaymentStatus::RequiresAction, OrderStatus::Pending, LINK), "{answer:?}");
}

/// An order that waits for its buyer at PayPal.
async fn asked(shop: &Shop, hold_us: u64) -> String {
    let mut wanted = order("", "ada", &[("tea", 1)]);
    wanted.hold_us = hold_us;
    let order_id = shop.client.create_order(wanted).await.unwrap().order_id;
    assert_asks(&shop.client.process_payment(payment("first", &order_id, "paypal:order")).await.unwrap());
    order_id
}

#[tokio::test]
async fn the_buyer_approves_and_the_money_is_taken_once() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let order_id = asked(&shop, 0).await;
    let made = purse.calls().into_iter().find(|call| call.path == "/v2/checkout/orders").unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
    let wallet = &made["payment_source"]["paypal"];
    assert_eq!(wallet["experience_context"]["return_url"], format!("https://shop.example/orders/{order_id}"));
    assert_eq!(wallet["vault_id"], serde_json::Value::Null);
    let again = shop.client.process_payment(payment("first", &order_id, "paypal:order")).await.unwrap();
    assert!(again.replayed);
    assert_asks(&again);
    assert_eq!(payment_of(&shop, &order_id).await.approval_url, LINK);
    purse.buyer_approves("PP1");
    push_about_the_first(&shop, &purse).await;
    let paid = until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
    assert_eq!((paid.captured_minor_units, paid.approval_url.as_str()), (500, ""));
    assert_eq!(purse.keys_at("/capture"), [format!("{order_id}:1:capture")]);
    assert_eq!(purse.sums().0, ["5.00"]);
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn a_kept_method_may_ask_again_and_a_reservation_is_approved_too() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let mut manual = payment("", &order_id, "paypal:asks again");
    manual.capture_method = CaptureMethod::Manual.into();
    assert_asks(&shop.client.process_payment(manual).await.unwrap());
    purse.buyer_approves("PP1");
    until(&shop, &order_id, |payment| payment.status() == PaymentStatus::RequiresCapture).await;
    shop.client.capture_payment(Shop::capture("c", &order_id, 300)).await.unwrap();
    assert_eq!(purse.sums().0, ["3.00"]);
    books_agree(&shop, 1).await;
}

/// The buyer comes back without approval and takes another method; whatever is approved later, in a window
/// that was left open, is never taken.
#[tokio::test]
async fn what_was_given_up_is_never_taken() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let order_id = asked(&shop, 0).await;
    let paid = shop.client.process_payment(payment("second", &order_id, "paypal:kept")).await.unwrap();
    assert_eq!((paid.attempt, paid.order_status()), (2, OrderStatus::Paid));
    assert_eq!(payment_of(&shop, &order_id).await.attempts[0].decline_code, "replaced");
    purse.buyer_approves("PP1");
    push_about_the_first(&shop, &purse).await;
    assert_eq!((purse.sums().0.len(), purse.keys_at("/capture").len()), (1, 0));
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn an_order_that_expired_is_not_paid_by_who_approves_later() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let order_id = asked(&shop, 3_000_000).await;
    assert_eq!(until_closed(&shop, &order_id).await, OrderStatus::Expired);
    let gone = until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Canceled).await;
    assert_eq!(gone.attempts[0].decline_code, "order_closed");
    purse.buyer_approves("PP1");
    push_about_the_first(&shop, &purse).await;
    assert_eq!((purse.sums().0.len(), purse.keys_at("/capture").len()), (0, 0));
    books_agree(&shop, 1).await;
}

/// PayPal keeps what nobody approves for some hours.
#[tokio::test]
async fn an_order_that_paypal_forgot_is_declined() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let order_id = asked(&shop, 0).await;
    purse.forgets_unapproved();
    let open =
        until(&shop, &order_id, |payment| payment.status() == PaymentStatus::RequiresPaymentMethod).await;
    assert_eq!(open.attempts[0].decline_code, "RESOURCE_NOT_FOUND");
}

/// The buyer approved it and the call that takes the money failed; then PayPal knew nothing of it any more. That was
/// asked for again without end: nothing was taken, so it is a decline, and another method pays.
#[tokio::test]
async fn an_approved_order_that_paypal_forgot_is_declined_and_another_pays() {
    use onrush_services::gateway::DeclineClass;
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let order_id = asked(&shop, 0).await;
    purse.fail_next(&[Fault::FailedBefore; 4]);
    purse.buyer_approves("PP1");
    crate::wait::seen("a call that takes the money", || !purse.keys_at("/capture").is_empty()).await;
    purse.forgets("PP1");
    let open =
        until(&shop, &order_id, |payment| payment.status() == PaymentStatus::RequiresPaymentMethod).await;
    let code = open.attempts[0].decline_code.as_str();
    assert_eq!((code, DeclineClass::of(code)), ("RESOURCE_NOT_FOUND", DeclineClass::Buyer));
    shop.client.process_payment(payment("second", &order_id, "paypal:kept")).await.unwrap();
    let paid = until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
    assert_eq!((paid.attempts.len(), purse.sums().0), (2, vec!["5.00".into()]));
    books_agree(&shop, 1).await;
}

/// The call that takes the money has bad days, and the shop stops meanwhile.
#[tokio::test]
async fn an_approved_order_is_captured_once_whatever_becomes_of_the_calls() {
    use Fault::{Dropped, FailedAfter, FailedBefore, Slow};
    for fault in [FailedBefore, FailedAfter, Dropped, Slow] {
        let purse = Purse::start(&[fault]);
        let shop = shop(&purse).await;
        let order_id = asked(&shop, 0).await;
        purse.fail_next(&[fault]);
        purse.buyer_approves("PP1");
        crate::wait::seen("a call that takes the money", || !purse.keys_at("/capture").is_empty()).await;
        let shop = shop.restart_with(paying(&purse)).await;
        until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
        assert_eq!(purse.sums().0, ["5.00"], "{fault:?}");
        let keys = purse.keys_at("/capture");
        assert!(keys.iter().all(|key| *key == format!("{order_id}:1:capture")), "{fault:?}: {keys:?}");
        books_agree(&shop, 1).await;
    }
}

/// Nobody can come back from there, so nobody is sent: the next token has its turn, if there is one.
#[tokio::test]
async fn without_a_return_url_nobody_is_sent_to_paypal() {
    let purse = Purse::start(&[]);
    let shop = Shop::open_with(paypal::paying(&purse));
    shop.stock("tea", 500, 100).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let declined = shop.client.process_payment(payment("", &order_id, "paypal:order")).await.unwrap();
    assert_eq!(declined.decline_code, "no_route");
    let paid = shop.client.process_payment(payment("", &order_id, "paypal:order,paypal:kept")).await.unwrap();
    assert_eq!(paid.order_status(), OrderStatus::Paid);
    assert_eq!(purse.keys_at("/orders").len(), 1);
}
