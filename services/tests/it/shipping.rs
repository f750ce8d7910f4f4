//! Parcels of the simulated carrier: from the paid order to the door, whatever goes wrong.

use std::time::Duration;

use onrush_grpc::order::v1::{CancelOrderRequest, GetOrderStatusRequest, OrderStatus};
use onrush_grpc::shipping::v1::{
    Address, CancelShipmentRequest, GetAddressRequest, GetRatesRequest, GetShipmentRequest,
    ListShipmentsRequest, PutAddressRequest, ResolveExceptionRequest, ReturnShipmentRequest, Shipment,
    ShipmentStatus, TrackShipmentRequest,
};
use onrush_net::client::CallError;
use onrush_services::config::{Config, Service};

use crate::shop::{Shop, assert_refused, refused};

const QUICK: &str = "p50_ms=1,p99_ms=2,pickup_ms=20,transit_ms=20,delivery_ms=20";
/// A parcel that nobody picks up while a test runs.
const WAITING: &str = "p50_ms=1,p99_ms=2,pickup_ms=3600000";

/// A shop that ships, with this carrier.
pub(crate) fn shipping(carrier: &str) -> impl Fn(&mut Config) {
    move |config| {
        config.services.push((Service::Shipping, 0));
        config.shipping.behaviour = carrier.parse().unwrap();
    }
}

/// The order's shipment once `done` holds.
pub(crate) async fn shipment_until(
    shop: &Shop,
    order_id: &str,
    done: impl Fn(&Shipment) -> bool,
) -> Shipment {
    let mut last = None;
    for _ in 0..2_000 {
        let request = ListShipmentsRequest { order_id: order_id.into() };
        let mut found = shop.client.list_shipments(request).await.unwrap().shipments;
        assert!(found.len() <= 1, "an order has one shipment");
        if let Some(shipment) = found.pop() {
            if done(&shipment) {
                return shipment;
            }
            last = Some(shipment);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the shipment of {order_id} does not get there: {last:#?}");
}

pub(crate) async fn arrived(shop: &Shop, order_id: &str, status: ShipmentStatus) -> Shipment {
    shipment_until(shop, order_id, |shipment| shipment.status() == status).await
}

async fn order_status(shop: &Shop, order_id: &str) -> OrderStatus {
    let request = GetOrderStatusRequest { order_id: order_id.into() };
    shop.client.get_order_status(request).await.unwrap().order.unwrap().status()
}

/// What the carrier's books say, without the times.
fn carrier_says(shop: &Shop) -> Vec<String> {
    let text = std::fs::read_to_string(shop.dir.path().join("data/carrier-simulated.books")).unwrap();
    let mut lines: Vec<String> =
        text.lines().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect();
    lines.sort();
    lines
}

fn states(shipment: &Shipment) -> Vec<&str> {
    let name = |status: ShipmentStatus| status.as_str_name().trim_start_matches("SHIPMENT_STATUS_");
    shipment.events.iter().map(|event| name(event.status())).collect()
}

pub(crate) fn address() -> Address {
    Address {
        name: "Ada Lovelace".into(),
        street: "St James's Square 12".into(),
        city: "London".into(),
        postal_code: "SW1Y 4JH".into(),
        country_code: "GB".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_paid_order_reaches_the_door_and_moves_along() {
    let shop = Shop::open_with(shipping(QUICK));
    shop.stock("tea", 499, 10).await;
    let unpaid = shop.order("", "tea", 1).await.unwrap().order_id;
    let order_id = shop.paid("tea").await;
    let shipment = arrived(&shop, &order_id, ShipmentStatus::Delivered).await;
    assert_eq!(
        states(&shipment),
        ["CREATED", "LABEL_PURCHASED", "IN_TRANSIT", "OUT_FOR_DELIVERY", "DELIVERED"]
    );
    assert_eq!(order_status(&shop, &order_id).await, OrderStatus::Delivered);
    assert_eq!((shipment.customer_id.as_str(), shipment.lines[0].quantity), ("ada", 1));
    assert_eq!((shipment.carrier_service.as_str(), shipment.cost.unwrap().minor_units), ("economy", 390));
    assert_eq!(carrier_says(&shop), [format!("{order_id}:0 bought")]);

    let track = TrackShipmentRequest { tracking_number: shipment.tracking_number.clone() };
    let tracked = shop.client.track_shipment(track).await.unwrap();
    assert_eq!((tracked.status(), tracked.events.len()), (ShipmentStatus::Delivered, 5));
    let none = shop.client.list_shipments(ListShipmentsRequest { order_id: unpaid }).await.unwrap();
    assert!(none.shipments.is_empty(), "an order that is not paid has no parcel");
}

/// The process ends with the label just bought, again and again: what is on record goes on, and the
/// carrier sold one label.
#[tokio::test]
async fn a_restart_in_the_middle_sends_no_second_parcel() {
    let faulty = "dropped=1,p50_ms=1,p99_ms=2,pickup_ms=600,transit_ms=20,delivery_ms=20";
    let with_store = |config: &mut Config| {
        shipping(faulty)(config);
        config.store = onrush_engine::StoreKind::Fjall;
    };
    let mut shop = Shop::open_with(with_store);
    shop.stock("tea", 499, 10).await;
    let mut orders = Vec::new();
    for _ in 0..4 {
        orders.push(shop.paid("tea").await);
        shop = shop.restart_with(with_store).await;
    }
    for order_id in &orders {
        let shipment = arrived(&shop, order_id, ShipmentStatus::Delivered).await;
        assert_eq!(states(&shipment).len(), 5, "{shipment:#?}");
    }
    orders.sort();
    let expected: Vec<String> = orders.iter().map(|order_id| format!("{order_id}:0 bought")).collect();
    assert_eq!(carrier_says(&shop), expected);
    assert!(shop.client.audit(Default::default()).await.unwrap().ok);
}

#[tokio::test]
async fn an_unreliable_carrier_delivers_each_parcel_once() {
    // The dice fall by the order's id, which no two runs share. Each parcel meets an exception, for about
    // half of them its news comes after the parcel has: 0.5^20 that none is seen.
    let faults = "seed=5,timeout=0.3,dropped=0.3,doubled=0.5,reordered=0.5,exception=1,p50_ms=1,p99_ms=20,\
                  pickup_ms=10,transit_ms=20,delivery_ms=10";
    let shop = Shop::open_with(shipping(faults));
    shop.stock("tea", 499, 100).await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(shop.paid("tea").await);
    }
    let mut exceptions = 0;
    for order_id in &orders {
        let shipment = arrived(&shop, order_id, ShipmentStatus::Delivered).await;
        let found = states(&shipment);
        exceptions += usize::from(found.contains(&"EXCEPTION"));
        // Updates that came late were passed over: time never runs back, and nothing stands there twice.
        assert!(shipment.events.windows(2).all(|pair| pair[0].status != pair[1].status), "{found:?}");
        let seen = &shipment.events[2..];
        assert!(seen.windows(2).all(|pair| pair[0].at_us < pair[1].at_us), "{seen:#?}");
        assert_eq!(order_status(&shop, order_id).await, OrderStatus::Delivered);
    }
    assert!(exceptions > 0, "about half the exceptions are heard of in time");
    assert_eq!(carrier_says(&shop).len(), orders.len());
}

/// Whoever cancels before the parcel left gets none: the label goes back to the carrier.
#[tokio::test]
async fn a_cancelled_order_gives_its_label_back() {
    let shop = Shop::open_with(shipping(WAITING));
    shop.stock("tea", 499, 10).await;
    let order_id = shop.paid("tea").await;
    arrived(&shop, &order_id, ShipmentStatus::LabelPurchased).await;
    let cancel = CancelOrderRequest { order_id: order_id.clone(), ..Default::default() };
    shop.client.cancel_order(cancel).await.unwrap();
    let shipment = arrived(&shop, &order_id, ShipmentStatus::Returned).await;
    assert_eq!(shipment.events.last().unwrap().code, "ORDER_CANCELLED");
    assert_eq!(order_status(&shop, &order_id).await, OrderStatus::Cancelled);
    assert_eq!(carrier_says(&shop), [format!("{order_id}:0 bought"), format!("{order_id}:0 voided")]);
}

#[tokio::test]
async fn a_shop_calls_off_takes_back_and_resolves() {
    let shop = Shop::open_with(shipping(WAITING));
    shop.stock("tea", 499, 10).await;
    let order_id = shop.paid("tea").await;
    arrived(&shop, &order_id, ShipmentStatus::LabelPurchased).await;
    let cancel = || CancelShipmentRequest { shipment_id: order_id.clone(), reason: "out of boxes".into() };
    let early = ReturnShipmentRequest { shipment_id: order_id.clone(), ..Default::default() };
    assert_refused(shop.client.return_shipment(early).await, "ILLEGAL_SHIPMENT_STATE", None);
    for _ in 0..2 {
        let shipment = shop.client.cancel_shipment(cancel()).await.unwrap().shipment.unwrap();
        let last = shipment.events.last().unwrap();
        assert_eq!((shipment.status(), last.code.as_str()), (ShipmentStatus::Returned, "CALLED_OFF"));
        assert_eq!(last.detail, "out of boxes");
    }
    let resolve = ResolveExceptionRequest { shipment_id: order_id.clone(), ..Default::default() };
    assert_refused(shop.client.resolve_exception(resolve).await, "ILLEGAL_SHIPMENT_STATE", None);

    let shop = shop.restart_with(shipping(QUICK)).await;
    let delivered = shop.paid("tea").await;
    arrived(&shop, &delivered, ShipmentStatus::Delivered).await;
    let late = CancelShipmentRequest { shipment_id: delivered.clone(), ..Default::default() };
    assert_refused(shop.client.cancel_shipment(late).await, "ILLEGAL_SHIPMENT_STATE", None);
    let back = ReturnShipmentRequest { shipment_id: delivered.clone(), reason: "too bitter".into() };
    for _ in 0..2 {
        let shipment = shop.client.return_shipment(back.clone()).await.unwrap().shipment.unwrap();
        assert_eq!((shipment.status(), shipment.events.len()), (ShipmentStatus::Returned, 6));
    }

    // What the carrier refuses waits for somebody; then it is asked under a fresh key.
    let shop = shop.restart_with(shipping("refused=1,p50_ms=1,p99_ms=2")).await;
    let refused = shop.paid("tea").await;
    let stuck = arrived(&shop, &refused, ShipmentStatus::Exception).await;
    assert_eq!(stuck.events.last().unwrap().code, "UNDELIVERABLE");
    let shop = shop.restart_with(shipping(QUICK)).await;
    let resolve = ResolveExceptionRequest { shipment_id: refused.clone(), detail: "asked again".into() };
    shop.client.resolve_exception(resolve).await.unwrap();
    arrived(&shop, &refused, ShipmentStatus::Delivered).await;
    assert!(carrier_says(&shop).contains(&format!("{refused}:1 bought")));
}

#[tokio::test]
async fn addresses_and_rates() {
    let shop = Shop::open_with(shipping(QUICK));
    let put =
        || PutAddressRequest { request_id: "a".into(), customer_id: "ada".into(), address: Some(address()) };
    assert_eq!(shop.client.put_address(put()).await.unwrap().version, 1);
    assert!(shop.client.put_address(put()).await.unwrap().replayed);
    let found = shop.client.get_address(GetAddressRequest { customer_id: "ada".into() }).await.unwrap();
    assert_eq!((found.address, found.version), (Some(address()), 1));
    let ask = |weight_grams| GetRatesRequest { destination: Some(address()), weight_grams };
    let prices = |rates: &[onrush_grpc::shipping::v1::Rate]| -> Vec<i64> {
        rates.iter().map(|rate| rate.amount.as_ref().unwrap().minor_units).collect()
    };
    let light = shop.client.get_rates(ask(500)).await.unwrap().rates;
    assert_eq!(prices(&light), [936, 1_416, 3_096]);
    let heavy = shop.client.get_rates(ask(3_000)).await.unwrap().rates;
    assert_eq!(prices(&heavy), [1_128, 1_704, 3_672]);
}

#[tokio::test]
async fn the_same_over_http() {
    let shop = Shop::open_with(shipping(QUICK));
    shop.stock("tea", 499, 10).await;
    let order_id = shop.paid("tea").await;
    let shipment = arrived(&shop, &order_id, ShipmentStatus::Delivered).await;
    let base = shop.address(Service::Shipping);
    let get = async |path: String| -> (u16, serde_json::Value) {
        let answer = reqwest::get(format!("{base}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    };
    let (status, found) = get(format!("/shipments/{order_id}")).await;
    assert_eq!(
        (status, found["status"].as_str(), found["events"].as_array().unwrap().len()),
        (200, Some("delivered"), 5)
    );
    let (_, listed) = get(format!("/orders/{order_id}/shipments")).await;
    assert_eq!(listed["shipments"][0], found);
    let (_, tracked) = get(format!("/track/{}", shipment.tracking_number)).await;
    assert_eq!((tracked["status"].as_str(), tracked.get("customer_id")), (Some("delivered"), None));
    for (path, expected, reason) in [
        ("/shipments/12".to_owned(), 400, "INVALID_ID"),
        (format!("/shipments/{}", "0".repeat(32)), 404, "UNKNOWN_SHIPMENT"),
        (format!("/orders/{}/shipments", "0".repeat(32)), 404, "UNKNOWN_ORDER"),
        ("/track/a%20b".to_owned(), 400, "INVALID_FIELD"),
        ("/track/%ff".to_owned(), 400, "INVALID_FIELD"),
        ("/track/SIM0".to_owned(), 404, "UNKNOWN_SHIPMENT"),
    ] {
        let (status, problem) = get(path.clone()).await;
        assert_eq!((status, problem["reason"].as_str()), (expected, Some(reason)), "{path}: {problem}");
    }
    let ask = async |body: serde_json::Value| -> (u16, serde_json::Value) {
        let answer = reqwest::Client::new().post(format!("{base}/rates")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    };
    let to =
        serde_json::json!({"name": "Ada", "street": "Square 12", "city": "London", "country_code": "GB"});
    let (status, rates) = ask(serde_json::json!({"destination": to, "weight_grams": 500})).await;
    assert_eq!((status, rates["rates"][0]["amount"]["minor_units"].as_i64()), (200, Some(936)));
    let (status, problem) = ask(serde_json::json!({"destination": to, "weight_grams": 0})).await;
    assert_eq!((status, problem["errors"][0]["field"].as_str()), (400, Some("weight_grams")));
    let (status, _) = ask(serde_json::json!({"destination": to, "weight_grams": 1, "price": 1})).await;
    assert_eq!(status, 400, "a field that nobody knows");
}

#[tokio::test]
async fn bad_input_is_refused_by_path() {
    let shop = Shop::open_with(shipping(WAITING));
    shop.stock("tea", 499, 10).await;
    let client = &shop.client;
    let long = "x".repeat(201);
    for id in ["", "12", "zz000000000000000000000000000000"] {
        let id = || id.to_owned();
        let field = Some("shipment_id");
        assert_refused(
            client.get_shipment(GetShipmentRequest { shipment_id: id() }).await,
            "INVALID_ID",
            field,
        );
        let cancel = CancelShipmentRequest { shipment_id: id(), ..Default::default() };
        assert_refused(client.cancel_shipment(cancel).await, "INVALID_ID", field);
        let back = ReturnShipmentRequest { shipment_id: id(), ..Default::default() };
        assert_refused(client.return_shipment(back).await, "INVALID_ID", field);
        let resolve = ResolveExceptionRequest { shipment_id: id(), ..Default::default() };
        assert_refused(client.resolve_exception(resolve).await, "INVALID_ID", field);
        let list = ListShipmentsRequest { order_id: id() };
        assert_refused(client.list_shipments(list).await, "INVALID_ID", Some("order_id"));
    }
    let nobody = "0".repeat(32);
    let unknown = GetShipmentRequest { shipment_id: nobody.clone() };
    assert_refused(client.get_shipment(unknown).await, "UNKNOWN_SHIPMENT", Some("shipment_id"));
    let unknown = CancelShipmentRequest { shipment_id: nobody.clone(), ..Default::default() };
    assert_refused(client.cancel_shipment(unknown).await, "UNKNOWN_SHIPMENT", Some("shipment_id"));
    let unknown = ListShipmentsRequest { order_id: nobody.clone() };
    assert_refused(client.list_shipments(unknown).await, "UNKNOWN_ORDER", Some("order_id"));
    for reason in ["a\r\nb", long.as_str()] {
        let cancel = CancelShipmentRequest { shipment_id: nobody.clone(), reason: reason.into() };
        assert_refused(client.cancel_shipment(cancel).await, "INVALID_FIELD", Some("reason"));
    }
    for (number, reason) in [
        ("", "MISSING_FIELD"),
        ("a b", "INVALID_FIELD"),
        ("../x", "INVALID_FIELD"),
        (&long[..65], "INVALID_FIELD"),
        ("SIM0", "UNKNOWN_SHIPMENT"),
    ] {
        let track = TrackShipmentRequest { tracking_number: number.into() };
        assert_refused(client.track_shipment(track).await, reason, Some("tracking_number"));
    }
    let unknown = GetAddressRequest { customer_id: "bob".into() };
    assert_refused(client.get_address(unknown).await, "UNKNOWN_ADDRESS", Some("customer_id"));
    let nowhere = PutAddressRequest { customer_id: "ada".into(), ..Default::default() };
    assert_refused(client.put_address(nowhere).await, "MISSING_FIELD", Some("address"));
    let mut broken = address();
    broken.street = "One\nTwo".into();
    let put = PutAddressRequest { customer_id: "ada".into(), address: Some(broken), ..Default::default() };
    assert_refused(client.put_address(put).await, "INVALID_FIELD", Some("address.street"));
    for weight_grams in [0, 70_001, u32::MAX] {
        let rates = GetRatesRequest { destination: Some(address()), weight_grams };
        assert_refused(client.get_rates(rates).await, "INVALID_FIELD", Some("weight_grams"));
    }
    let refused: Result<_, CallError> = client.get_rates(GetRatesRequest::default()).await;
    assert_eq!(self::refused(refused).field.as_deref(), Some("destination"));
}
