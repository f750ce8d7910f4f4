//! PayPal's webhooks: signed now and byte by byte or refused, counted once, and believed only as far as "look again".

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use onrush_grpc::order::v1::OrderStatus;
use onrush_services::config::Service;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::paypal::{pay, paying};
use super::purse::Purse;
use super::stripe::books_agree;
use crate::shop::{Shop, payment};
use crate::wait::seen;

/// PayPal's name of the webhook that the shop hears.
const WEBHOOK: &str = "WEBHOOK-1";

/// Signs as PayPal does, with the key of the certificate that the stand-in serves.
pub(super) struct Pusher {
    http: reqwest::Client,
    url: String,
    certificate: String,
    key: KeyPair,
}

/// What a push brings.
#[derive(Clone)]
struct Push {
    id: String,
    time: String,
    certificate: String,
    algorithm: &'static str,
    signature: String,
    body: String,
}

/// An event about a capture of an order of PayPal's; it says what is not true.
fn event(id: &str, order: &str) -> String {
    format!(
        r#"{{"id":"{id}","event_type":"PAYMENT.CAPTURE.COMPLETED","resource_type":"capture","resource":{{"id":"CAP-{order}","status":"DECLINED","supplementary_data":{{"related_ids":{{"order_id":"{order}"}}}}}}}}"#
    )
}

fn ago(seconds: i64) -> String {
    (Timestamp::now() - SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Pusher {
    pub(super) fn new(shop: &Shop, purse: &Purse) -> Self {
        let pem = include_str!("paypal-test-key.pem");
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        Self {
            http: reqwest::Client::new(),
            url: format!("{}/webhooks/paypal", shop.address(Service::Payment)),
            certificate: format!("{}/v1/notifications/certs/CERT-1", purse.base),
            key: KeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap(),
        }
    }

    /// What PayPal sends at this time.
    fn push(&self, body: &str, time: &str) -> Push {
        self.push_for(WEBHOOK, body, time)
    }

    fn push_for(&self, webhook: &str, body: &str, time: &str) -> Push {
        let id = "69cd13f0-d67a-11e5-baa3-778b53f4ae55";
        let message = format!("{id}|{time}|{webhook}|{}", crc32(body.as_bytes()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        Push {
            id: id.into(),
            time: time.into(),
            certificate: self.certificate.clone(),
            algorithm: "SHA256withRSA",
            signature: STANDARD.encode(signature),
            body: body.into(),
        }
    }

    /// Sends a push, without those of its headers that are empty; the status.
    async fn send(&self, push: Push) -> u16 {
        let mut request = self.http.post(&self.url).body(push.body);
        for (name, value) in [
            ("PayPal-Transmission-Id", push.id.as_str()),
            ("PayPal-Transmission-Time", &push.time),
            ("PayPal-Transmission-Sig", &push.signature),
            ("PayPal-Cert-Url", &push.certificate),
            ("PayPal-Auth-Algo", push.algorithm),
        ] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        request.send().await.unwrap().status().as_u16()
    }

    pub(super) async fn signed(&self, body: &str) -> u16 {
        self.send(self.push(body, &ago(0))).await
    }
}

/// CRC-32 as in zip, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |value: u32| if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |value, _| step(value)))
}

/// Makes us look at the first order of PayPal's.
pub(super) async fn push_about_the_first(shop: &Shop, purse: &Purse) {
    assert_eq!(Pusher::new(shop, purse).signed(&event("WH-1", "PP1")).await, 204);
}

async fn shop(purse: &Purse) -> Shop {
    let shop = Shop::open_with(paying(purse));
    shop.stock("tea", 500, 100).await;
    shop
}

#[tokio::test]
async fn what_is_not_signed_now_and_byte_by_byte_is_refused_before_it_is_read() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    pay(&shop, "paypal:kept").await;
    let pusher = Pusher::new(&shop, &purse);
    let body = event("WH-1", "PP1");
    let good = pusher.push(&body, &ago(0));
    let with = |change: &dyn Fn(&mut Push)| {
        let mut push = good.clone();
        change(&mut push);
        push
    };
    let looks = || purse.calls().iter().filter(|call| call.path == "/v2/checkout/orders/PP1").count();
    let before = looks();
    let elsewhere = "http://127.0.0.1:1/v1/notifications/certs/CERT-1";
    for (what, push, status) in [
        ("old", pusher.push(&body, &ago(310)), 401),
        ("of the future", pusher.push(&body, &ago(-310)), 401),
        ("of no time", pusher.push(&body, "yesterday"), 401),
        ("without a time", with(&|push| push.time.clear()), 401),
        ("of another time", with(&|push| push.time = ago(-5)), 401),
        ("without a signature", with(&|push| push.signature.clear()), 401),
        ("without an id", with(&|push| push.id.clear()), 401),
        ("without a certificate", with(&|push| push.certificate.clear()), 401),
        ("without an algorithm", with(&|push| push.algorithm = ""), 401),
        ("of another algorithm", with(&|push| push.algorithm = "none"), 401),
        ("of another id", with(&|push| push.id.push('0')), 401),
        ("for another webhook", pusher.push_for("WEBHOOK-2", &body, &ago(0)), 401),
        ("with a space more", with(&|push| push.body = body.replacen(':', ": ", 1)), 401),
        ("with an end of line more", with(&|push| push.body.push('\n')), 401),
        ("signed by nobody", with(&|push| push.signature = STANDARD.encode([7; 256])), 401),
        ("certified elsewhere", with(&|push| push.certificate = elsewhere.into()), 401),
        (
            "certified by a name that looks like it",
            with(&|push| {
                push.certificate = "https://paypal.com.example/v1/notifications/certs/CERT-1".into()
            }),
            401,
        ),
        ("certified by the token", with(&|push| push.certificate += "/../../../oauth2/token"), 401),
        ("certified by nothing", with(&|push| push.certificate += "-unknown"), 401),
        ("too large", pusher.push(&"x".repeat(70_000), &ago(0)), 413),
        ("no event", pusher.push("{}", &ago(0)), 400),
        ("no JSON", pusher.push("not json", &ago(0)), 400),
    ] {
        assert_eq!(pusher.send(push).await, status, "{what}");
    }
    assert_eq!(looks(), before, "the gateway heard nothing of all that");
    assert_eq!(pusher.send(good).await, 204);
    assert_eq!(looks(), before + 1);
    // Late, but not too late.
    assert_eq!(pusher.send(pusher.push(&event("WH-2", "PP1"), &ago(290))).await, 204);
}

/// A bank is at it and nobody asks for a while; the push makes us look now, and what PayPal has counts.
#[tokio::test]
async fn a_signed_push_makes_us_look() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let (client, request) = (shop.client.clone(), payment("", &order_id, "paypal:banking"));
    let waiting = tokio::spawn(async move { client.process_payment(request).await });
    seen("a charge at the bank", || purse.keys_at("/orders").len() == 1).await;
    purse.banks_are_done();
    push_about_the_first(&shop, &purse).await;
    assert_eq!(waiting.await.unwrap().unwrap().order_status(), OrderStatus::Paid);
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn a_replayed_push_costs_no_look_and_one_that_failed_comes_again() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    pay(&shop, "paypal:kept").await;
    let pusher = Pusher::new(&shop, &purse);
    let looks = || purse.calls().iter().filter(|call| call.path == "/v2/checkout/orders/PP1").count();
    // The certificate is known before PayPal is away.
    assert_eq!(pusher.signed(&event("WH-0", "PP1")).await, 204);
    let push = pusher.push(&event("WH-1", "PP1"), &ago(0));
    purse.outage(Some(500));
    assert_eq!(pusher.send(push.clone()).await, 503, "not heard: it is to come again");
    purse.outage(None);
    let before = looks();
    for _ in 0..50 {
        assert_eq!(pusher.send(push.clone()).await, 204);
    }
    // Signed anew, it is still the same event.
    assert_eq!(pusher.signed(&event("WH-1", "PP1")).await, 204);
    assert_eq!(looks() - before, 1);
    books_agree(&shop, 1).await;
}

/// Many at once, signed and not, of certificates that nobody has: each gets an answer, PayPal is asked for few
/// of them, and the shop goes on selling.
#[tokio::test]
async fn a_flood_is_answered_and_the_shop_goes_on() {
    let purse = Purse::start(&[]);
    let shop = Shop::open_with(|config| {
        paying(&purse)(config);
        config.connections_max = 1_000;
    });
    shop.stock("tea", 500, 10).await;
    pay(&shop, "paypal:kept").await;
    let pusher = Arc::new(Pusher::new(&shop, &purse));
    assert_eq!(pusher.signed(&event("WH-first", "PP1")).await, 204);
    let mut calls = tokio::task::JoinSet::new();
    for at in 0..300 {
        let mut push = pusher.push(&event(&format!("WH-{at}"), "PP1"), &ago(0));
        match at % 3 {
            0 => {}
            1 => push.signature = STANDARD.encode([7; 256]),
            _ => push.certificate = format!("{}-{at}", push.certificate),
        }
        let pusher = pusher.clone();
        calls.spawn(async move { (at % 3, pusher.send(push).await) });
    }
    let mut answers = Vec::new();
    while let Some(answer) = calls.join_next().await {
        answers.push(answer.unwrap());
    }
    let count = |kind: i32, wanted: &[u16]| {
        answers.iter().filter(|(of, status)| *of == kind && wanted.contains(status)).count()
    };
    // Done, or to come again: too many at once, or a gateway that is too slow for so many.
    assert_eq!(count(0, &[204, 429, 503]), 100, "{answers:?}");
    assert!(count(0, &[204]) > 0, "{answers:?}");
    assert_eq!(count(1, &[401]), 100, "{answers:?}");
    assert_eq!(count(2, &[401, 503]), 100, "{answers:?}");
    pay(&shop, "paypal:kept").await;
    books_agree(&shop, 2).await;
}
