//! The Stripe adapter against the stand-in.

use std::time::Duration;

use onrush_grpc::order::v1::{CancelOrderRequest, GetOrderStatusRequest, OrderStatus};
use onrush_grpc::payment::v1::{
    GetPaymentStatusRequest, Payment, PaymentStatus, ProcessRefundRequest, RefundStatus,
};
use onrush_grpc::product::v1::PutProductRequest;
use onrush_net::client::grpc::Client;
use onrush_services::config::{Config, Secret, Service};
use onrush_services::gateway::stripe::StripeOptions;

use super::stand::Fault;
use super::till::Till;
use crate::binary::{FREE_PORTS, Process, stock_up};
use crate::shop::{Shop, assert_refused, euro, order, payment, product};
use crate::wait::{self, seen};

pub(super) const KEY: &str = "sk_test_canary";

pub(super) fn options(till: &Till) -> StripeOptions {
    StripeOptions {
        base: till.base.clone(),
        key: Secret::new(KEY),
        webhook_secret: Secret::new("whsec_test"),
        return_url: None,
        timeout: Duration::from_secs(2),
    }
}

/// A shop whose money goes through the stand-in.
pub(super) fn paying(till: &Till) -> impl Fn(&mut Config) {
    let options = options(till);
    move |config| config.payment.stripe = Some(options.clone())
}

pub(super) async fn shop(till: &Till) -> Shop {
    let shop = Shop::open_with(paying(till));
    shop.stock("tea", 500, 100).await;
    shop
}

pub(super) async fn payment_of(shop: &Shop, order_id: &str) -> Payment {
    let request = GetPaymentStatusRequest { payment_id: order_id.into() };
    shop.client.get_payment_status(request).await.unwrap().payment.unwrap()
}

/// Waits for what is to come of a payment.
pub(super) async fn until(shop: &Shop, order_id: &str, done: impl Fn(&Payment) -> bool) -> Payment {
    wait::until("what is to come of a payment", async || {
        let found = payment_of(shop, order_id).await;
        if done(&found) { Ok(found) } else { Err(found) }
    })
    .await
}

pub(super) async fn books_agree(shop: &Shop, payments: u64) {
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert!(books.ok && books.open == 0 && books.payments == payments, "{books:?}");
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok, "{audit:?}");
}

#[tokio::test]
async fn a_charge_is_one_confirmed_intent_and_refunds_go_back_from_it() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let order_id = shop.paid("tea").await;
    let call = till.calls().remove(0);
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/v1/payment_intents"));
    for (header, value) in [
        ("authorization", "Bearer sk_test_canary"),
        ("stripe-version", "2024-06-20"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("idempotency-key", &format!("{order_id}:1:charge")),
    ] {
        assert_eq!(call.header(header), value, "{header}");
    }
    let form = call.form();
    for (name, value) in [
        ("amount", "500"),
        ("currency", "eur"),
        ("payment_method", "pm_card"),
        ("confirm", "true"),
        ("capture_method", "automatic"),
        ("automatic_payment_methods[enabled]", "true"),
        ("automatic_payment_methods[allow_redirects]", "never"),
        ("metadata[order_id]", &order_id),
    ] {
        assert_eq!(form[name], value, "{name}");
    }
    assert_eq!(payment_of(&shop, &order_id).await.attempts[0].reference, "pi_1");
    for (minor, all) in [(200, 200), (300, 500)] {
        let refund =
            ProcessRefundRequest { payment_id: order_id.clone(), amount: euro(minor), ..Default::default() };
        shop.client.process_refund(refund).await.unwrap();
        assert_eq!(payment_of(&shop, &order_id).await.refunded_minor_units, all);
    }
    assert_eq!(till.keys_at("/v1/refunds"), [format!("{order_id}:1:refund"), format!("{order_id}:2:refund")]);
    assert_eq!(till.sums(), (500, 500, 1));
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn a_reservation_is_captured_in_part_or_given_back() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let (taken, given_back) = (shop.authorised("tea").await, shop.authorised("tea").await);
    let answer = shop.client.capture_payment(Shop::capture("c", &taken, 400)).await.unwrap();
    assert_eq!((answer.payment_status(), answer.captured), (PaymentStatus::Succeeded, euro(400)));
    let cancel = CancelOrderRequest { order_id: given_back.clone(), ..Default::default() };
    shop.client.cancel_order(cancel).await.unwrap();
    seen("a reservation given back", || till.intents()[1].1 == "canceled").await;
    assert_eq!(till.intents(), [("pi_1".to_owned(), "succeeded"), ("pi_2".to_owned(), "canceled")]);
    assert_eq!(till.keys_at("/capture"), [format!("{taken}:1:capture")]);
    assert_eq!(till.keys_at("/cancel"), [format!("{given_back}:1:void")]);
    books_agree(&shop, 2).await;
}

/// A cancellation was done, and then a failure was the answer. Stripe repeats that under the key, and we asked
/// again and again; now we look first.
#[tokio::test]
async fn a_failure_after_money_was_given_back_is_looked_at() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let order_id = shop.authorised("tea").await;
    till.fail_next(&[Fault::FailedAfter]);
    let cancel = CancelOrderRequest { order_id, ..Default::default() };
    shop.client.cancel_order(cancel).await.unwrap();
    wait::until("nothing left to do at the gateway", async || {
        let text = reqwest::get(format!("{}/metrics", shop.address(Service::Payment))).await.unwrap();
        let text = text.text().await.unwrap();
        let of_group = |line: &&str| line.contains("lag") && line.contains("payment-gateway");
        let lag = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        let lags: Vec<f64> = text.lines().filter(of_group).map(lag).collect();
        let done = lags == [0.0; 4];
        if done && till.intents()[0].1 == "canceled" { Ok(()) } else { Err(text) }
    })
    .await;
    assert_eq!(till.keys_at("/cancel").len(), 1);
}

/// Money moves once, whatever became of the calls, and always under the key of the attempt.
#[tokio::test]
async fn every_bad_day_ends_with_one_charge() {
    use Fault::{Busy, Dropped, FailedAfter, FailedBefore, Garbled, Locked, Slow};
    let table: [(&[Fault], usize, usize); 9] = [
        (&[Busy], 0, 2),
        (&[FailedBefore], 0, 2),
        (&[FailedAfter], 0, 1),
        (&[FailedAfter], 2, 3),
        (&[Dropped], 0, 1),
        (&[Dropped], 1, 2),
        (&[Slow], 0, 1),
        (&[Locked, Busy, Garbled], 0, 3),
        (&[FailedBefore, Dropped], 2, 3),
    ];
    for (faults, search_lag, posts) in table {
        let till = Till::start(faults);
        till.search_lags(search_lag);
        let shop = shop(&till).await;
        let order_id = shop.paid("tea").await;
        let paid = until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
        assert_eq!((paid.captured_minor_units, till.sums()), (500, (500, 0, 1)), "{faults:?}");
        let keys = till.keys_at("/v1/payment_intents");
        assert!(keys.iter().all(|key| *key == format!("{order_id}:1:charge")), "{faults:?}: {keys:?}");
        assert_eq!(keys.len(), posts, "{faults:?}");
        books_agree(&shop, 1).await;
    }
}

#[tokio::test]
async fn captures_and_refunds_have_bad_days_too() {
    use Fault::{Dropped, FailedAfter, FailedBefore, Slow};
    for fault in [FailedBefore, FailedAfter, Dropped, Slow] {
        let till = Till::start(&[]);
        let shop = shop(&till).await;
        let order_id = shop.authorised("tea").await;
        till.fail_next(&[fault]);
        let taken = shop.client.capture_payment(Shop::capture("c", &order_id, 400)).await.unwrap();
        assert_eq!(taken.payment_status(), PaymentStatus::Succeeded, "{fault:?}");
        till.fail_next(&[fault]);
        let refund =
            ProcessRefundRequest { payment_id: order_id.clone(), amount: euro(150), ..Default::default() };
        shop.client.process_refund(refund).await.unwrap();
        until(&shop, &order_id, |payment| payment.refunded_minor_units == 150).await;
        assert_eq!(till.sums(), (400, 150, 1), "{fault:?}");
        books_agree(&shop, 1).await;
    }
}

/// A stop between call and answer: the next process asks what became of it.
#[tokio::test]
async fn a_restart_settles_a_charge_without_an_answer() {
    let till = Till::start(&[Fault::Slow]);
    let shop = shop(&till).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let (client, paid) = (shop.client.clone(), payment("", &order_id, "pm_card"));
    let call = tokio::spawn(async move { client.process_payment(paid).await });
    seen("a charge without an answer", || till.sums().2 == 1).await;
    call.abort();
    let shop = shop.restart_with(paying(&till)).await;
    until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
    assert_eq!(till.keys_at("/v1/payment_intents").len(), 1, "it was found, not asked for again");
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn declines_leave_the_order_open_and_name_their_code() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    for (method, code) in [
        ("pm_card_declined", "generic_decline"),
        ("pm_card_insufficient_funds", "insufficient_funds"),
        ("pm_missing", "resource_missing"),
        ("visa", "no_route"),
    ] {
        let declined = shop.client.process_payment(payment("", &order_id, method)).await.unwrap();
        assert_eq!((declined.decline_code.as_str(), declined.order_status()), (code, OrderStatus::Pending));
    }
    // Made and not confirmed, as after a failure in between: it is confirmed under a key of its own.
    let paid = shop.client.process_payment(payment("", &order_id, "pm_unconfirmed")).await.unwrap();
    assert_eq!((paid.attempt, paid.order_status()), (5, OrderStatus::Paid));
    assert_eq!(till.keys_at("/confirm"), [format!("{order_id}:5:confirm")]);
    for number in ["4242424242424242", "4242-4242-4242-4242"] {
        let answer = shop.client.process_payment(payment("", &order_id, number)).await;
        assert_refused(answer, "CARD_NUMBER", Some("payment_method"));
    }
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn amounts_are_said_as_stripe_counts_them() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    for (sku, currency, minor, said) in
        [("wool", "ISK", 1_500, "150000"), ("rice", "JPY", 980, "980"), ("dates", "KWD", 1_230, "1230")]
    {
        let mut price = euro(minor).unwrap();
        price.currency_code = currency.into();
        shop.client.put_product(PutProductRequest { price: Some(price), ..product(sku, 1) }).await.unwrap();
        shop.restock(sku, 5).await;
        let order_id = shop.paid(sku).await;
        assert_eq!(payment_of(&shop, &order_id).await.status(), PaymentStatus::Succeeded);
        assert_eq!(till.calls().pop().unwrap().form()["amount"], said, "{currency}");
    }
    let mut price = euro(1_234).unwrap();
    price.currency_code = "KWD".into();
    shop.client.put_product(PutProductRequest { price: Some(price), ..product("figs", 1) }).await.unwrap();
    shop.restock("figs", 5).await;
    let order_id = shop.order("", "figs", 1).await.unwrap().order_id;
    let declined = shop.client.process_payment(payment("", &order_id, "pm_card")).await.unwrap();
    assert_eq!(declined.decline_code, "amount_not_representable");
    assert_eq!(till.intents().len(), 3, "nothing is rounded");
    books_agree(&shop, 4).await;
}

/// Whoever has the wrong key has done nothing: payments wait for the operator.
#[tokio::test]
async fn credentials_that_are_not_accepted_leave_payments_waiting() {
    for status in [401, 403] {
        let till = Till::start(&[]);
        let shop = shop(&till).await;
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        till.outage(Some(status));
        let (client, request) = (shop.client.clone(), payment("p", &order_id, "pm_card"));
        let call = tokio::spawn(async move { client.process_payment(request).await });
        seen("a call of the gateway", || !till.calls().is_empty()).await;
        assert_eq!(payment_of(&shop, &order_id).await.status(), PaymentStatus::Processing);
        call.abort();
        till.outage(None);
        let shop = shop.restart_with(paying(&till)).await;
        until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
        assert_eq!(till.sums(), (500, 0, 1));
    }
}

#[tokio::test]
async fn a_refund_that_waits_for_a_bank_is_open_until_it_is_through() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let order_id = shop.paid("tea").await;
    till.refunds_wait(true);
    let refund =
        ProcessRefundRequest { payment_id: order_id.clone(), amount: euro(500), ..Default::default() };
    let client = shop.client.clone();
    let waiting = tokio::spawn(async move { client.process_refund(refund).await });
    seen("a refund asked for", || !till.keys_at("/v1/refunds").is_empty()).await;
    let pending = &payment_of(&shop, &order_id).await.refunds[0];
    assert_eq!(pending.status(), RefundStatus::Pending);
    till.refunds_wait(false);
    until(&shop, &order_id, |payment| payment.refunded_minor_units == 500).await;
    waiting.await.unwrap().unwrap();
    let request = GetOrderStatusRequest { order_id };
    let order = shop.client.get_order_status(request).await.unwrap().order.unwrap();
    assert_eq!(order.status(), OrderStatus::Refunded);
    assert_eq!(till.keys_at("/v1/refunds").len(), 1);
    books_agree(&shop, 1).await;
}

/// The gateway took money for an order that nobody made, and again for one that was settled.
#[tokio::test]
async fn a_comparison_finds_what_the_gateway_has_and_we_have_not() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let mut paid = String::new();
    for expected in [3, 2] {
        for _ in 0..expected {
            paid = shop.paid("tea").await;
        }
        books_agree(&shop, expected).await;
    }
    till.take(&format!("{}:1:charge", "0".repeat(31) + "7"), 995);
    till.take(&format!("{paid}:9:charge"), 995);
    till.take("of another system", 995);
    for strangers in [1, 0] {
        let books = shop.client.reconcile(Default::default()).await.unwrap();
        assert_eq!((books.payments, books.differences.len()), (2, 2), "{books:?}");
        assert!(books.differences[0].ends_with("found 995 and 0 (gateway)"), "{books:?}");
        assert!(books.differences[1].ends_with("found 1495 and 0 (gateway)"), "{books:?}");
        assert_eq!(books.gateways[0].strangers.len(), strangers, "told once: {books:?}");
    }
    till.outage(Some(503));
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert!(!books.ok && books.differences.is_empty(), "half a comparison is none: {books:?}");
    assert_eq!((books.payments, books.gateways[0].unanswered), (0, 2), "{books:?}");
}

/// Stripe breaks off after the newest of its list: the older ones were never looked at afterwards.
#[tokio::test]
async fn a_first_list_that_breaks_off_is_begun_again() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    till.take(&format!("{}:1:charge", "0".repeat(31) + "7"), 995);
    for _ in 0..3 {
        shop.paid("tea").await;
    }
    till.list_breaks(true);
    assert!(!shop.client.reconcile(Default::default()).await.unwrap().gateways[0].complete);
    till.list_breaks(false);
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert_eq!((books.payments, books.differences.len()), (4, 1), "{books:?}");
}

/// The gateway repeats our key in its answer, and the log is as talkative as it gets.
#[tokio::test]
async fn neither_key_nor_secret_nor_token_is_in_the_log() {
    let (till, dir) = (Till::start(&[Fault::FailedAfter]), tempfile::tempdir().unwrap());
    let file = dir.path().join("key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let env = [
        ("STRIPE_API_KEY_FILE", file.to_str().unwrap()),
        ("STRIPE_API_BASE", till.base.as_str()),
        ("STRIPE_WEBHOOK_SECRET", "whsec_canary"),
        ("LOG", "debug,onrush_services=trace,onrush_engine=trace"),
    ];
    let mut process = Process::start_with(&dir.path().join("data"), &FREE_PORTS, &env);
    let log = process.read_errors();
    assert!(process.banner().contains(&format!("Stripe at {}, real money moves", till.base)));
    let client = process.client();
    stock_up(&client).await;
    for outage in [None, Some(401), Some(400)] {
        till.outage(outage);
        let (order_id, before) = (buy(&client).await, till.calls().len());
        let (client, request) = (client.clone(), payment("", &order_id, "pm_card_canary"));
        tokio::spawn(async move { client.process_payment(request).await });
        seen("another call of the gateway", || till.calls().len() > before).await;
    }
    process.signal("-TERM");
    tokio::task::spawn_blocking(move || assert_eq!(process.wait(), 0)).await.unwrap();
    let text = log.join().unwrap();
    assert!(text.contains("does not accept our credentials"), "{text}");
    for secret in [KEY, "whsec_canary", "pm_card_canary"] {
        assert!(!text.contains(secret), "the log holds {secret}");
    }
}

async fn buy(client: &Client) -> String {
    client.create_order(order("", "ada", &[("tea", 1)])).await.unwrap().order_id
}
