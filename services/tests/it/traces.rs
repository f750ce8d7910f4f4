//! Traces, as a collector that nobody here wrote the stubs of hears them.

use std::collections::HashMap;

use onrush_grpc::notification::v1::PutContactRequest;
use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_grpc::shipping::v1::ShipmentStatus;
use onrush_services::config::{Config, Service};
use onrush_services::traces::Collector;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use tonic::Request;

use crate::collector::Heard;
use crate::shipping::arrived;
use crate::shop::{Shop, payment};
use crate::wait::until;

const TRACE: [u8; 16] = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
const CALLER: [u8; 8] = 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes();
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced(endpoint: &str, ratio: f64) -> impl Fn(&mut Config) {
    let collector = Collector { endpoint: endpoint.into(), ratio, service_name: "till".into() };
    move |config| {
        config.services.extend([(Service::Shipping, 0), (Service::Notification, 0)]);
        config.shipping.behaviour =
            "p50_ms=1,p99_ms=2,pickup_ms=10,transit_ms=10,delivery_ms=10".parse().unwrap();
        config.collector = Some(collector.clone());
    }
}

/// Orders over HTTP and pays over gRPC, both as a part of the caller's trace.
async fn buy(shop: &Shop) -> String {
    let url = format!("{}/onrush.order.v1.OrderService/CreateOrder", shop.addresses.order);
    let body = json!({"customerId": "ada", "lines": [{"sku": "tea", "quantity": "1"}]});
    let request = reqwest::Client::new().post(url).header("traceparent", PARENT).json(&body);
    let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    let order_id = answer["orderId"].as_str().unwrap().to_owned();
    let mut client = OrderServiceClient::connect(shop.addresses.order.clone()).await.unwrap();
    let mut request = Request::new(payment("", &order_id, "pm_card"));
    request.metadata_mut().insert("traceparent", PARENT.parse().unwrap());
    client.process_payment(request).await.unwrap();
    order_id
}

/// From the order to the last mail, over HTTP, gRPC and the log: one trace, and each part of it hangs on
/// the one that set it going.
#[tokio::test]
async fn one_trace_tells_of_a_purchase_from_the_order_to_the_mail() {
    let heard = Heard::default();
    let shop = Shop::open_with(traced(&heard.listen().await, 0.0));
    shop.stock("tea", 499, 10).await;
    let contact = PutContactRequest {
        customer_id: "ada".into(),
        email: "ada@example.com".into(),
        ..Default::default()
    };
    shop.client.put_contact(contact).await.unwrap();
    let order_id = buy(&shop).await;
    arrived(&shop, &order_id, ShipmentStatus::Delivered).await;

    let expected = [
        // What, on what it hangs, and whether it serves a caller or acts on a record.
        ("POST /onrush.order.v1.OrderService/CreateOrder", "caller", SpanKind::Server),
        ("onrush.order.v1.OrderService/ProcessPayment", "caller", SpanKind::Server),
        ("order_confirmation", "POST /onrush.order.v1.OrderService/CreateOrder", SpanKind::Consumer),
        ("charge", "onrush.order.v1.OrderService/ProcessPayment", SpanKind::Consumer),
        ("payment_receipt", "charge", SpanKind::Consumer),
        ("open shipment", "charge", SpanKind::Consumer),
        ("buy label", "open shipment", SpanKind::Consumer),
        ("shipping_update", "open shipment", SpanKind::Consumer),
        ("shipping_update", "open shipment", SpanKind::Consumer),
        ("shipping_update", "open shipment", SpanKind::Consumer),
    ];
    let spans = until("the spans of a purchase", async || {
        let told = heard.told().into_iter().map(|(_, span)| span);
        let spans: Vec<Span> = told.filter(|span| span.trace_id == TRACE).collect();
        if spans.len() >= expected.len() { Ok(spans) } else { Err(spans) }
    })
    .await;
    let names: HashMap<&[u8], &str> = spans
        .iter()
        .map(|span| (&span.span_id[..], span.name.as_str()))
        .chain([(&CALLER[..], "caller")])
        .collect();
    let told = |span: &Span| {
        let parent = names.get(&span.parent_span_id[..]).copied().unwrap_or("nothing that was told");
        (span.name.clone(), parent.to_owned(), span.kind())
    };
    let mut found: Vec<_> = spans.iter().map(told).collect();
    let mut expected: Vec<_> =
        expected.into_iter().map(|(name, parent, kind)| (name.to_owned(), parent.to_owned(), kind)).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for span in &spans {
        assert!(span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano);
        let order = span.attributes.iter().find(|attribute| attribute.key == "onrush.order");
        let order = order.and_then(|attribute| attribute.value.clone()?.value);
        if span.kind() == SpanKind::Consumer {
            assert_eq!(order, Some(Value::StringValue(order_id.clone())), "{}", span.name);
        }
    }
    let told = heard.told();
    assert!(told.iter().all(|(service, _)| service == "till"));
    assert_eq!(told.len(), spans.len(), "what brought no trace is in none, as none was to begin here");
}

/// Without a trace of the caller's a share of the calls begins one; what is under way at the end is sent.
#[tokio::test]
async fn a_share_of_the_calls_begins_a_trace_and_the_last_spans_leave_before_the_process_ends() {
    let heard = Heard::default();
    let shop = Shop::open_with(traced(&heard.listen().await, 1.0));
    shop.stock("tea", 499, 10).await;
    shop.order("", "tea", 1).await.unwrap();
    shop.stop().await;
    let told = heard.told();
    let called = |name: &str| told.iter().map(|(_, span)| span).find(|span| span.name.ends_with(name));
    let create = called("/CreateOrder").unwrap_or_else(|| panic!("{told:#?}"));
    assert!(create.parent_span_id.is_empty(), "{create:#?}");
    assert_ne!(called("/PutProduct").unwrap().trace_id, create.trace_id);
}

/// A collector that is away costs spans and nothing else.
#[tokio::test]
async fn without_the_collector_the_shop_sells_and_counts_what_was_lost() {
    // Nobody listens there.
    let shop = Shop::open_with(traced("http://127.0.0.1:1", 0.0));
    shop.stock("tea", 499, 10).await;
    let order_id = buy(&shop).await;
    arrived(&shop, &order_id, ShipmentStatus::Delivered).await;
    until("lost spans in the measures", async || {
        let url = format!("{}/metrics", shop.addresses.order);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let lost = text.lines().find_map(|line| line.strip_prefix("onrush_trace_spans_lost_total "));
        match lost.and_then(|count| count.parse::<f64>().ok()) {
            Some(count) if count > 0.0 => Ok(()),
            _ => Err(text),
        }
    })
    .await;
}
