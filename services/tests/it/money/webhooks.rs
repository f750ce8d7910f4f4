//! Stripe's webhooks: signed or refused, counted once, and believed only as far as "look again".

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use onrush_grpc::order::v1::OrderStatus;
use onrush_grpc::payment::v1::PaymentStatus;
use onrush_services::config::Service;

use super::stripe::{books_agree, paying, payment_of, shop, until};
use super::till::Till;
use crate::shop::{Shop, payment};
use crate::wait::seen;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signature(secret: &str, at_s: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{at_s}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at_s},v1={hex}")
}

pub(super) fn event(id: &str, kind: &str, intent: &str) -> String {
    format!(
        r#"{{"id":"{id}","object":"event","type":"{kind}","data":{{"object":{{"id":"{intent}","object":"payment_intent","status":"canceled"}}}}}}"#
    )
}

pub(super) struct Pusher {
    http: reqwest::Client,
    url: String,
}

impl Pusher {
    pub(super) fn new(shop: &Shop) -> Self {
        let url = format!("{}/webhooks/stripe", shop.address(Service::Payment));
        Self { http: reqwest::Client::new(), url }
    }

    /// Sends a body under a signature; the status.
    async fn push(&self, body: &str, signature: &str) -> u16 {
        let request = self.http.post(&self.url).header("Stripe-Signature", signature).body(body.to_owned());
        request.send().await.unwrap().status().as_u16()
    }

    pub(super) async fn signed(&self, body: &str) -> u16 {
        self.push(body, &signature("whsec_test", now_s(), body)).await
    }
}

#[tokio::test]
async fn what_is_not_signed_now_and_byte_by_byte_is_refused_before_it_is_read() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let pusher = Pusher::new(&shop);
    let body = event("evt_1", "payment_intent.succeeded", "pi_1");
    let good = signature("whsec_test", now_s(), &body);
    let looked = till.calls().len();
    for (body, signature, status) in [
        (body.clone(), String::new(), 401),
        (body.clone(), signature("whsec_other", now_s(), &body), 401),
        (body.clone(), signature("whsec_test", now_s() - 301, &body), 401),
        (body.clone(), signature("whsec_test", now_s() + 330, &body), 401),
        (body.replacen(':', ": ", 1), good.clone(), 401),
        (format!("{body}\n"), good.clone(), 401),
        ("x".repeat(70_000), good.clone(), 413),
        ("not json".into(), signature("whsec_test", now_s(), "not json"), 400),
        ("{}".into(), signature("whsec_test", now_s(), "{}"), 400),
    ] {
        assert_eq!(pusher.push(&body, &signature).await, status, "{signature} {body:.60}");
    }
    let plain = reqwest::Client::new().post(&pusher.url).body(body).send().await.unwrap();
    assert_eq!(plain.status(), 401);
    let problem: serde_json::Value = plain.json().await.unwrap();
    assert_eq!(
        (problem["reason"].as_str(), problem["errors"][0]["field"].as_str()),
        (Some("UNAUTHENTICATED"), Some("Stripe-Signature"))
    );
    assert_eq!(till.calls().len(), looked, "the gateway heard nothing of all that");
}

/// The bank says yes after it said no. The push says "canceled": what the gateway has now counts.
#[tokio::test]
async fn a_push_makes_us_look_and_what_the_gateway_has_counts() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let pusher = Pusher::new(&shop);
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let declined = shop.client.process_payment(payment("", &order_id, "pm_card_declined")).await.unwrap();
    assert_eq!(declined.order_status(), OrderStatus::Pending);
    assert_eq!(pusher.signed(&event("evt_1", "payment_intent.canceled", "pi_1")).await, 204);
    assert_eq!(payment_of(&shop, &order_id).await.status(), PaymentStatus::RequiresPaymentMethod);
    till.pays_after_all("pi_1");
    let body = event("evt_2", "payment_intent.canceled", "pi_1");
    for _ in 0..3 {
        assert_eq!(pusher.signed(&body).await, 204);
    }
    let paid = payment_of(&shop, &order_id).await;
    assert_eq!((paid.status(), paid.captured_minor_units), (PaymentStatus::Succeeded, 500));
    // Reordered: an older event comes last, and changes nothing.
    assert_eq!(pusher.signed(&event("evt_0", "payment_intent.payment_failed", "pi_1")).await, 204);
    assert_eq!(payment_of(&shop, &order_id).await.status(), PaymentStatus::Succeeded);
    // Of nobody we know, and of something else.
    till.take("of another system", 5);
    for body in [
        event("evt_3", "payment_intent.succeeded", "pi_2"),
        event("evt_4", "payment_intent.succeeded", "pi_99"),
        r#"{"id":"evt_5","type":"payout.paid","data":{"object":{"id":"po_1","object":"payout"}}}"#.into(),
    ] {
        assert_eq!(pusher.signed(&body).await, 204, "{body}");
    }
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn a_replayed_push_costs_no_look_and_one_that_failed_comes_again() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let pusher = Pusher::new(&shop);
    shop.paid("tea").await;
    let looks = || till.calls().iter().filter(|call| call.path == "/v1/payment_intents/pi_1").count();
    let body = event("evt_1", "payment_intent.succeeded", "pi_1");
    let signed = signature("whsec_test", now_s(), &body);
    till.outage(Some(500));
    assert_eq!(pusher.push(&body, &signed).await, 503, "not heard: it is to come again");
    till.outage(None);
    let before = looks();
    for _ in 0..50 {
        assert_eq!(pusher.push(&body, &signed).await, 204);
    }
    assert_eq!(looks() - before, 1);
}

/// A refund waits for the bank; nobody asks until the pause is over, but the push makes us look now.
#[tokio::test]
async fn a_push_wakes_what_waits() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let pusher = Pusher::new(&shop);
    let order_id = shop.paid("tea").await;
    till.refunds_wait(true);
    let client = shop.client.clone();
    let refund = onrush_grpc::payment::v1::ProcessRefundRequest {
        payment_id: order_id.clone(),
        amount: crate::shop::euro(500),
        ..Default::default()
    };
    let waiting = tokio::spawn(async move { client.process_refund(refund).await });
    seen("a refund asked for", || !till.keys_at("/v1/refunds").is_empty()).await;
    till.refunds_wait(false);
    let body = format!(
        r#"{{"id":"evt_1","type":"refund.updated","data":{{"object":{{"id":"re_1","object":"refund","payment_intent":"pi_1","metadata":{{"onrush_key":"{order_id}:1:refund"}}}}}}}}"#
    );
    assert_eq!(pusher.signed(&body).await, 204);
    waiting.await.unwrap().unwrap();
    until(&shop, &order_id, |payment| payment.refunded_minor_units == 500).await;
    books_agree(&shop, 1).await;
}

/// Many at once, signed and not: each gets an answer, and the shop goes on selling.
#[tokio::test]
async fn a_flood_is_answered_and_the_shop_goes_on() {
    let till = Till::start(&[]);
    let shop = Shop::open_with(|config| {
        paying(&till)(config);
        config.connections_max = 1_000;
    });
    shop.stock("tea", 500, 10).await;
    shop.paid("tea").await;
    let pusher = std::sync::Arc::new(Pusher::new(&shop));
    let mut calls = tokio::task::JoinSet::new();
    for at in 0..300 {
        let pusher = pusher.clone();
        calls.spawn(async move {
            let body = event(&format!("evt_{at}"), "payment_intent.succeeded", "pi_1");
            match at % 2 {
                0 => pusher.signed(&body).await,
                _ => pusher.push(&body, "t=1,v1=00").await,
            }
        });
    }
    let mut statuses = Vec::new();
    while let Some(status) = calls.join_next().await {
        statuses.push(status.unwrap());
    }
    let count = |wanted: &[u16]| statuses.iter().filter(|status| wanted.contains(status)).count();
    // Done, or to come again: too many at once, or a gateway that is too slow for so many.
    assert_eq!((count(&[401]), count(&[204, 429, 503])), (150, 150), "{statuses:?}");
    assert!(count(&[204]) > 0, "{statuses:?}");
    shop.paid("tea").await;
    books_agree(&shop, 2).await;
}

/// Without a key to check it by, nothing is believed.
#[tokio::test]
async fn the_simulated_gateway_hears_no_strangers() {
    let shop = Shop::open();
    let pusher = Pusher::new(&shop);
    assert_eq!(pusher.signed(&event("evt_1", "payment_intent.succeeded", "pi_1")).await, 401);
}
