//! Two gateways: where the first certainly took nothing and could not, the second gets the next token.

use std::time::Duration;

use onrush_grpc::order::v1::OrderStatus;
use onrush_grpc::payment::v1::{AttemptStatus, PaymentStatus};
use onrush_services::config::Config;
use onrush_services::gateway::{BreakerState, GatewayKind};

use super::purse::Purse;
use super::stand::Fault;
use super::stripe::{books_agree, payment_of, until};
use super::till::Till;
use super::{paypal, stripe};
use crate::shop::{Shop, payment};
use crate::wire::Place;

const BOTH: &str = "pm_card,paypal:kept";

fn paying(till: &Till, purse: &Purse) -> impl Fn(&mut Config) {
    let (by_stripe, by_paypal) = (stripe::paying(till), paypal::paying(purse));
    move |config| {
        by_stripe(config);
        by_paypal(config);
    }
}

async fn shop(till: &Till, purse: &Purse) -> Shop {
    let shop = Shop::open_with(paying(till, purse));
    shop.stock("tea", 500, 100).await;
    shop
}

#[tokio::test]
async fn only_a_decline_of_the_gateways_own_goes_to_the_next() {
    for (method, code, paid) in [
        (BOTH, "", true),
        ("pm_card_processing_error,paypal:kept", "", true),
        ("pm_missing,paypal:kept", "", true),
        ("pm_card_insufficient_funds,paypal:kept", "insufficient_funds", false),
        ("pm_card_declined,paypal:kept", "generic_decline", false),
        ("paypal:foreign,pm_card", "", true),
        ("paypal:declined,pm_card", "INSTRUMENT_DECLINED", false),
        ("pm_missing,paypal:declined", "INSTRUMENT_DECLINED", false),
    ] {
        let (till, purse) = (Till::start(&[]), Purse::start(&[]));
        let shop = shop(&till, &purse).await;
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let answer = shop.client.process_payment(payment("", &order_id, method)).await.unwrap();
        assert_eq!(answer.order_status() == OrderStatus::Paid, paid, "{method}: {answer:?}");
        assert_eq!(answer.decline_code, code, "{method}");
        assert_eq!(till.sums().2 + purse.sums().0.len(), usize::from(paid), "{method}: money moved once");
        books_agree(&shop, 1).await;
    }
}

/// Silence is not a no: the first gateway has taken the money and does not say so for a while.
#[tokio::test]
async fn silence_never_goes_to_the_next() {
    let (till, purse) = (Till::start(&[Fault::FailedAfter]), Purse::start(&[]));
    till.search_lags(3);
    let shop = shop(&till, &purse).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    shop.client.process_payment(payment("", &order_id, BOTH)).await.unwrap();
    let paid = until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
    assert_eq!(paid.attempts.len(), 1);
    assert_eq!((till.sums().2, purse.calls().len()), (1, 0));
    books_agree(&shop, 1).await;
}

/// Nobody is at the first gateway's address: it certainly heard nothing.
#[tokio::test]
async fn a_gateway_that_is_not_there_is_passed_over() {
    let place = Place::free();
    let purse = Purse::start(&[]);
    let shop = shop(&Till::absent(&place), &purse).await;
    for _ in 0..12 {
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let answer = shop.client.process_payment(payment("", &order_id, BOTH)).await.unwrap();
        assert_eq!((answer.attempt, answer.order_status()), (2, OrderStatus::Paid));
        let attempts = payment_of(&shop, &order_id).await.attempts;
        assert_eq!(
            (attempts[0].status(), attempts[0].decline_code.as_str()),
            (AttemptStatus::Declined, "gateway_unavailable")
        );
    }
    let breakers: Vec<_> = shop.gateways().breakers().collect();
    assert!(breakers.contains(&(GatewayKind::PayPal, BreakerState::Closed)), "{breakers:?}");
    assert!(!breakers.contains(&(GatewayKind::Stripe, BreakerState::Closed)), "{breakers:?}");
    assert_eq!(purse.sums().0.len(), 12);
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.units_sold == 12, "{audit:?}");
}

/// Who gives no token has taken no money.
#[tokio::test]
async fn a_gateway_that_gives_no_token_is_passed_over() {
    let (till, purse) = (Till::start(&[]), Purse::start(&[]));
    let shop = shop(&till, &purse).await;
    for status in [401, 503] {
        purse.outage(Some(status));
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let request = payment("", &order_id, "paypal:kept,pm_card");
        let answer = shop.client.process_payment(request).await.unwrap();
        assert_eq!((answer.attempt, answer.order_status()), (2, OrderStatus::Paid), "{status}");
    }
    assert_eq!((till.sums().2, purse.sums().0.len()), (2, 0));
    // The books of both are read, once the breaker lets the next call through.
    purse.outage(None);
    let reconcile = async || shop.client.reconcile(Default::default()).await;
    let books = crate::wait::until("the books of both", reconcile).await;
    assert!(books.ok && books.open == 0 && books.payments == 2, "{books:?}");
}

/// The shop stops between the decline and the attempt that follows, or anywhere near.
#[tokio::test]
async fn a_restart_in_between_begins_the_next_attempt_once() {
    let (till, purse) = (Till::start(&[]), Purse::start(&[]));
    let mut shop = shop(&till, &purse).await;
    for pause_ms in [0, 3, 6, 12] {
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let (client, request) = (shop.client.clone(), payment("", &order_id, "pm_missing,paypal:kept"));
        let call = tokio::spawn(async move { client.process_payment(request).await });
        until(&shop, &order_id, |payment| !payment.attempts.is_empty()).await;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        call.abort();
        shop = shop.restart_with(paying(&till, &purse)).await;
        let paid = until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
        assert_eq!(paid.attempts.len(), 2, "{paid:?}");
    }
    assert_eq!(purse.sums().0.len(), 4);
    books_agree(&shop, 4).await;
}

#[tokio::test]
async fn routes_say_which_gateway_takes_which_currency() {
    let (till, purse) = (Till::start(&[]), Purse::start(&[]));
    let shop = Shop::open_with(|config| {
        paying(&till, &purse)(config);
        config.payment.routes = "EUR=paypal;*=stripe".parse().unwrap();
    });
    shop.stock("tea", 500, 10).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let declined = shop.client.process_payment(payment("", &order_id, "pm_card")).await.unwrap();
    assert_eq!(declined.decline_code, "no_route");
    let paid = shop.client.process_payment(payment("", &order_id, BOTH)).await.unwrap();
    assert_eq!(paid.order_status(), OrderStatus::Paid);
    assert_eq!((till.calls().len(), purse.sums().0.len()), (0, 1));
    books_agree(&shop, 1).await;
}

/// One gateway is away: the other's books are compared all the same, and what waits is told as waiting.
#[tokio::test]
async fn a_gateway_that_is_away_keeps_nobody_from_comparing_with_the_other() {
    let (till, purse) = (Till::start(&[]), Purse::start(&[]));
    let shop = shop(&till, &purse).await;
    for method in ["pm_card", "pm_card", "paypal:kept"] {
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        shop.client.process_payment(payment("", &order_id, method)).await.unwrap();
    }
    purse.take(&format!("{}:1:charge", "0".repeat(31) + "7"), "9.95");
    till.outage(Some(500));
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert_eq!((books.ok, books.payments, books.differences.len()), (false, 2, 1), "{books:?}");
    let [stripe, paypal] = &books.gateways[..] else { panic!("expected two gateways, found {books:?}") };
    assert_eq!((stripe.gateway.as_str(), paypal.gateway.as_str()), ("stripe", "paypal"));
    assert_eq!((stripe.complete, stripe.payments, stripe.unanswered), (false, 0, 2), "{books:?}");
    assert!(stripe.trouble.starts_with("expected an answer of the gateway"), "{books:?}");
    assert_eq!((paypal.complete, paypal.payments, paypal.differences), (true, 2, 1), "{books:?}");
    till.outage(None);
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert_eq!((books.payments, books.differences.len()), (3, 1), "{books:?}");
    assert!(books.gateways.iter().all(|gateway| gateway.complete && gateway.unanswered == 0), "{books:?}");
}
