//! The adapter to a real carrier against a stand-in with bad days: a label is bought once, and what got
//! no answer is settled by query under the same key.

use std::time::Duration;

use onrush_grpc::order::v1::{CancelOrderRequest, GetOrderStatusRequest, OrderStatus};
use onrush_grpc::shipping::v1::{
    GetRatesRequest, PutAddressRequest, ResolveExceptionRequest, ShipmentStatus, TrackShipmentRequest,
};
use onrush_services::config::{Config, Secret, Service};
use onrush_services::shipping::Address;
use onrush_services::shipping::carrier::http::HttpOptions;

use crate::aggregator::{Aggregator, Fault};
use crate::shipping::{address, arrived, shipment_until};
use crate::shop::Shop;
use crate::wait::seen;

/// A shop that ships by the stand-in.
fn shipping(base: &str) -> impl Fn(&mut Config) {
    let from = Address {
        name: "Shop".into(),
        street: "Main Street 1".into(),
        city: "Bonn".into(),
        country: "DE".into(),
        ..Default::default()
    };
    let timeout = Duration::from_millis(300);
    let options = HttpOptions {
        base: base.into(),
        key: Secret::new("EZ-hush"),
        webhook_secret: Secret::new("whsec"),
        from,
        timeout,
    };
    move |config| {
        config.services.push((Service::Shipping, 0));
        config.shipping.api = Some(options.clone());
        config.shipping.poll = Duration::from_millis(20);
    }
}

async fn shop(aggregator: &Aggregator) -> Shop {
    let shop = Shop::open_with(shipping(&aggregator.base));
    shop.stock("tea", 499, 100).await;
    let put = PutAddressRequest { customer_id: "ada".into(), address: Some(address()), ..Default::default() };
    shop.client.put_address(put).await.unwrap();
    shop
}

#[tokio::test]
async fn every_bad_day_ends_with_one_label() {
    use Fault::{Busy, Dropped, FailedAfter, FailedBefore, Garbled, Slow};
    let table: [(&[Fault], usize); 7] = [
        (&[], 1),
        (&[Busy], 2),
        (&[FailedBefore, FailedBefore], 3),
        (&[FailedAfter], 1),
        (&[Dropped], 1),
        (&[Slow], 1),
        (&[Busy, FailedBefore, Garbled], 3),
    ];
    for (faults, purchases) in table {
        let aggregator = Aggregator::start(faults).await;
        let shop = shop(&aggregator).await;
        let order_id = shop.paid("tea").await;
        let shipment = arrived(&shop, &order_id, ShipmentStatus::LabelPurchased).await;
        let (sold, keys) = aggregator.sold();
        assert_eq!((sold, keys.len()), (1, purchases), "{faults:?}: {keys:?}");
        assert!(keys.iter().all(|key| *key == format!("{order_id}:0:label")), "{faults:?}: {keys:?}");
        assert_eq!(shipment.tracking_number, "1Z000001");
        assert_eq!((shipment.carrier_service.as_str(), shipment.cost.unwrap().minor_units), ("Ground", 790));
        assert!(shipment.label_url.ends_with("1Z000001.pdf"));
    }
}

/// Only intents are on record when the process ends; the next one asks the carrier what became of them.
#[tokio::test]
async fn a_restart_settles_a_purchase_without_an_answer() {
    let aggregator = Aggregator::start(&[Fault::Slow]).await;
    let shop = shop(&aggregator).await;
    let order_id = shop.paid("tea").await;
    shipment_until(&shop, &order_id, |shipment| !shipment.carrier.is_empty()).await;
    seen("a label without an answer", || aggregator.sold().0 == 1).await;
    let shop = shop.restart_with(shipping(&aggregator.base)).await;
    let shipment = arrived(&shop, &order_id, ShipmentStatus::LabelPurchased).await;
    assert_eq!((shipment.tracking_number.as_str(), aggregator.sold().0), ("1Z000001", 1));
    assert_eq!(aggregator.parcels(), 1);
}

#[tokio::test]
async fn what_the_carrier_sees_moves_shipment_and_order() {
    let aggregator = Aggregator::start(&[]).await;
    let shop = shop(&aggregator).await;
    let order_id = shop.paid("tea").await;
    let shipment = arrived(&shop, &order_id, ShipmentStatus::LabelPurchased).await;
    assert_eq!(aggregator.authorization(), "Basic RVotaHVzaDo=", "EZ-hush as the user's name");
    let told = aggregator.last();
    assert_eq!(
        (told["to_address"]["city"].as_str(), told["parcel"]["weight"].as_f64()),
        (Some("London"), Some(17.7))
    );
    aggregator.see(&[
        ("out_for_delivery", "2026-11-20T12:00:00Z"),
        ("pre_transit", "2026-11-20T08:00:00Z"),
        ("in_transit", "2026-11-20T10:00:00Z"),
        ("in_transit", "2026-11-20T10:00:00Z"),
    ]);
    arrived(&shop, &order_id, ShipmentStatus::OutForDelivery).await;
    aggregator.see(&[("in_transit", "2026-11-20T10:00:00Z"), ("delivered", "2026-11-20T13:00:00Z")]);
    let delivered = arrived(&shop, &order_id, ShipmentStatus::Delivered).await;
    assert_eq!(delivered.events.len(), 5, "{delivered:#?}");
    let request = GetOrderStatusRequest { order_id };
    let order = shop.client.get_order_status(request).await.unwrap().order.unwrap();
    assert_eq!(order.status(), OrderStatus::Delivered);
    let track = TrackShipmentRequest { tracking_number: shipment.tracking_number };
    assert_eq!(shop.client.track_shipment(track).await.unwrap().carrier, "UPS");
    let rates = GetRatesRequest { destination: Some(address()), weight_grams: 500 };
    let rates = shop.client.get_rates(rates).await.unwrap().rates;
    assert_eq!(rates[0].amount.as_ref().unwrap().currency_code, "USD");
}

#[tokio::test]
async fn a_refusal_waits_for_somebody_and_a_cancelled_order_gives_its_label_back() {
    let aggregator = Aggregator::start(&[Fault::Refused]).await;
    let shop = shop(&aggregator).await;
    let order_id = shop.paid("tea").await;
    let stuck = arrived(&shop, &order_id, ShipmentStatus::Exception).await;
    let last = stuck.events.last().unwrap();
    assert_eq!((last.code.as_str(), last.detail.as_str()), ("ADDRESS.VERIFY.FAILURE", "no such street"));
    let resolve =
        ResolveExceptionRequest { shipment_id: order_id.clone(), detail: "street corrected".into() };
    shop.client.resolve_exception(resolve).await.unwrap();
    arrived(&shop, &order_id, ShipmentStatus::LabelPurchased).await;
    let (_, keys) = aggregator.sold();
    assert_eq!(keys, [format!("{order_id}:0:label"), format!("{order_id}:1:label")]);

    shop.client
        .cancel_order(CancelOrderRequest { order_id: order_id.clone(), ..Default::default() })
        .await
        .unwrap();
    arrived(&shop, &order_id, ShipmentStatus::Returned).await;
    assert_eq!(aggregator.voided(), 1);
}

#[tokio::test]
async fn an_order_without_an_address_says_so() {
    let aggregator = Aggregator::start(&[]).await;
    let shop = Shop::open_with(shipping(&aggregator.base));
    shop.stock("tea", 499, 100).await;
    let order_id = shop.paid("tea").await;
    let stuck = arrived(&shop, &order_id, ShipmentStatus::Exception).await;
    assert_eq!(stuck.events.last().unwrap().code, "ADDRESS_MISSING");
    let put = PutAddressRequest { customer_id: "ada".into(), address: Some(address()), ..Default::default() };
    shop.client.put_address(put).await.unwrap();
    let resolve = ResolveExceptionRequest { shipment_id: order_id.clone(), ..Default::default() };
    shop.client.resolve_exception(resolve).await.unwrap();
    arrived(&shop, &order_id, ShipmentStatus::LabelPurchased).await;
}

const PUSH: &str =
    r#"{"description":"tracker.updated","result":{"tracking_code":"1Z000001","status":"delivered"}}"#;
/// HMAC-SHA256 of the push under "whsec", by another implementation.
const PUSH_SIGNATURE: &str =
    "hmac-sha256-hex=c537db07307f8290ac6cf9c9a71094c3312c941a64cf1e2376d9af3c3d212400";

/// One push again and again, and as many that nobody signed: each gets an answer, the parcel stays where the carrier
/// has it, and the shop goes on.
#[tokio::test]
async fn a_flood_of_replayed_pushes_is_answered_and_moves_nothing() {
    let aggregator = Aggregator::start(&[]).await;
    let shop = Shop::open_with(|config| {
        shipping(&aggregator.base)(config);
        config.connections_max = 1_000;
    });
    shop.stock("tea", 499, 100).await;
    let put = PutAddressRequest { customer_id: "ada".into(), address: Some(address()), ..Default::default() };
    shop.client.put_address(put).await.unwrap();
    let order_id = shop.paid("tea").await;
    arrived(&shop, &order_id, ShipmentStatus::LabelPurchased).await;
    let url = format!("{}/carrier/webhook", shop.address(Service::Shipping));
    let (http, mut calls) = (reqwest::Client::new(), tokio::task::JoinSet::new());
    for at in 0..200 {
        let signature = if at % 2 == 0 { PUSH_SIGNATURE } else { "hmac-sha256-hex=00" };
        let request = http.post(&url).header("X-Hmac-Signature", signature).body(PUSH);
        calls.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let mut statuses = calls.join_all().await;
    statuses.sort_unstable();
    assert_eq!((&statuses[..100], &statuses[100..]), (&[204; 100][..], &[401; 100][..]));
    let shipment = arrived(&shop, &order_id, ShipmentStatus::LabelPurchased).await;
    assert_eq!(shipment.events.len(), 2, "{shipment:?}");
    let next = shop.paid("tea").await;
    arrived(&shop, &next, ShipmentStatus::LabelPurchased).await;
    assert_eq!(aggregator.sold().0, 2);
}

/// The carrier is asked once an hour here; a push that it signed makes it now.
#[tokio::test]
async fn a_signed_push_makes_us_look_again() {
    let aggregator = Aggregator::start(&[]).await;
    let rarely = |config: &mut Config| {
        shipping(&aggregator.base)(config);
        config.shipping.poll = Duration::from_secs(3_600);
    };
    let shop = Shop::open_with(rarely);
    shop.stock("tea", 499, 100).await;
    let put = PutAddressRequest { customer_id: "ada".into(), address: Some(address()), ..Default::default() };
    shop.client.put_address(put).await.unwrap();
    let order_id = shop.paid("tea").await;
    arrived(&shop, &order_id, ShipmentStatus::LabelPurchased).await;
    aggregator.see(&[("in_transit", "2026-11-20T10:00:00Z")]);
    let (body, signature) = (PUSH, PUSH_SIGNATURE);
    let url = format!("{}/carrier/webhook", shop.address(Service::Shipping));
    let push = async |body: String, signature: &str| {
        let request = reqwest::Client::new().post(&url).header("X-Hmac-Signature", signature).body(body);
        request.send().await.unwrap().status().as_u16()
    };
    for (body, signature, status) in [
        (body.to_owned(), "", 401),
        (body.to_owned(), "hmac-sha256-hex=00", 401),
        (body.replace(',', ", "), signature, 401),
        ("x".repeat(70_000), signature, 413),
    ] {
        assert_eq!(push(body, signature).await, status);
    }
    for _ in 0..2 {
        assert_eq!(push(body.into(), signature).await, 204);
    }
    let shipment = arrived(&shop, &order_id, ShipmentStatus::InTransit).await;
    assert_eq!(shipment.events.len(), 3, "what the carrier says counts, not what the push claims");
}
