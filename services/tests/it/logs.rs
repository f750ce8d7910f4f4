//! The log of a real process, as a collector of logs reads it.

use std::collections::BTreeSet;
use std::path::Path;

use onrush_grpc::notification::v1::{ListNotificationsRequest, PutContactRequest};
use onrush_grpc::order::v1::GetOrderStatusRequest;
use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_services::config::Service;
use serde_json::{Value, json};

use crate::binary::{FREE_PORTS, Process, client, onrush, stock_up};
use crate::shop::payment;
use crate::wait::until;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn parent() -> String {
    format!("00-{TRACE}-00f067aa0ba902b7-01")
}

/// Every line of a log, each of which must be an object with what the schema wants.
fn lines(log: &str) -> Vec<Value> {
    let read = |line: &str| {
        let value: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("expected JSON ({error}), found {line:?}"));
        for name in ["@timestamp", "log.level", "message", "ecs.version", "service.name"] {
            assert!(value[name].is_string(), "expected {name} in {line}");
        }
        assert!(value["@timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
        value
    };
    log.lines().map(read).collect()
}

#[tokio::test]
async fn every_line_is_json_and_says_to_which_request_it_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let env =
        [("LOG_FORMAT", "ecs"), ("LOG", "debug"), ("OTEL_SERVICE_NAME", "till"), ("REDIS_URL", "redis://r")];
    let mut process = Process::start_with(dir.path(), &FREE_PORTS, &env);
    let log = process.read_errors();
    let address = format!("http://{}", process.address(Service::Order.name()));

    let url = format!("{address}/onrush.order.v1.OrderService/CreateOrder");
    let body = json!({"customerId": "ada", "lines": [{"sku": "tea", "quantity": "1"}]});
    let request = reqwest::Client::new().post(url).header("traceparent", parent());
    let answer = request.header("x-correlation-id", "basket-7").json(&body).send().await.unwrap();
    assert_eq!(answer.headers()["x-correlation-id"], "basket-7");
    let request_id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();

    let mut client = OrderServiceClient::connect(address).await.unwrap();
    let mut request = tonic::Request::new(GetOrderStatusRequest { order_id: "nobody's".into() });
    request.metadata_mut().insert("traceparent", parent().parse().unwrap());
    request.metadata_mut().insert("x-request-id", "r-1".parse().unwrap());
    let refused = client.get_order_status(request).await.unwrap_err();
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "r-1");
    assert_eq!(refused.metadata().get("x-correlation-id").unwrap(), "r-1");

    process.signal("-TERM");
    assert_eq!(process.wait(), 0);
    let lines = lines(&log.join().unwrap());
    assert!(lines.iter().all(|line| line["service.name"] == "till"), "{lines:#?}");
    let notice = lines.iter().find(|line| line["message"].as_str().unwrap().contains("REDIS_URL")).unwrap();
    assert_eq!(notice["log.level"], "warn");
    let answered = |id: &str| {
        let of = |line: &&Value| line["message"] == "answered" && line["http.request.id"] == id;
        lines.iter().find(of).unwrap_or_else(|| panic!("expected an answer to {id} in {lines:#?}"))
    };
    let (http, grpc) = (answered(&request_id), answered("r-1"));
    for line in [http, grpc] {
        assert_eq!(line["trace.id"], TRACE);
        let span = line["span.id"].as_str().unwrap();
        assert!(span.len() == 16 && span != "00f067aa0ba902b7", "{line}");
        assert!(line["event.duration"].as_u64().unwrap() > 0, "{line}");
    }
    assert_eq!(
        (&http["labels.correlation_id"], &http["http.request.method"]),
        (&json!("basket-7"), &json!("POST"))
    );
    assert_eq!(grpc["url.path"], "/onrush.order.v1.OrderService/GetOrderStatus");
}

/// A process of a shop of several, with everything it does in its log.
fn one_of_several(dir: &Path, name: &str, services: &[&str], more: &[(&str, &str)]) -> Process {
    let mut env = vec![("LOG_FORMAT", "ecs"), ("LOG", "onrush_services=debug"), ("OTEL_SERVICE_NAME", name)];
    env.extend([("ENGINE_TOKEN", "a token that the processes of this shop share")]);
    env.extend([("CARRIER_FAULTS", "pickup_ms=10,transit_ms=10")]);
    env.extend(more);
    let ports = FREE_PORTS.chunks(2).filter(|flag| services.iter().any(|name| flag[0].contains(*name)));
    let served = services.join(",");
    let mut flags = vec!["--services", &served];
    flags.extend(ports.flatten());
    Process::start_with(&dir.join(name), &flags, &env)
}

/// Orders over HTTP and pays over gRPC, both as a part of what the buyer calls sale-7; the order's id.
async fn buy_correlated(address: &str) -> String {
    let url = format!("http://{address}/onrush.order.v1.OrderService/CreateOrder");
    let body = json!({"customerId": "ada", "lines": [{"sku": "tea", "quantity": "1"}]});
    let request = reqwest::Client::new().post(url).header("x-correlation-id", "sale-7").json(&body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-correlation-id"], "sale-7");
    let created: Value = answer.json().await.unwrap();
    let order_id = created["orderId"].as_str().unwrap().to_owned();
    let mut till = OrderServiceClient::connect(format!("http://{address}")).await.unwrap();
    let mut request = tonic::Request::new(payment("", &order_id, "pm_card"));
    request.metadata_mut().insert("x-correlation-id", "sale-7".parse().unwrap());
    let paid = till.process_payment(request).await.unwrap();
    assert_eq!(paid.metadata().get("x-correlation-id").unwrap(), "sale-7");
    order_id
}

/// What a purchase sets going, in whichever process and however much later, is found by the buyer's own word for it.
#[tokio::test]
async fn a_correlation_goes_from_the_edge_through_the_engine_to_the_parcel_and_the_mail() {
    let dir = tempfile::tempdir().unwrap();
    let services = ["product", "payment", "shipping", "notification"];
    let mut back = one_of_several(dir.path(), "back", &services, &[]);
    let engine = back.address("product");
    let mut till = one_of_several(dir.path(), "till", &["order"], &[("ENGINE_ADDR", &engine)]);
    let logs = [back.read_errors(), till.read_errors()];
    let order_port = till.address("order");
    let shop = client(&|service| match services.contains(&service) {
        true => back.address(service),
        false => order_port.clone(),
    });
    stock_up(&shop).await;
    let (customer_id, email) = ("ada".to_owned(), "ada@example.com".to_owned());
    shop.put_contact(PutContactRequest { customer_id, email, ..Default::default() }).await.unwrap();
    let order_id = buy_correlated(&order_port).await;
    until("a confirmation, a receipt and news of the parcel", async || {
        let request = ListNotificationsRequest { order_id: order_id.clone() };
        let told = shop.list_notifications(request).await.unwrap().notifications;
        if told.len() >= 3 { Ok(()) } else { Err(told) }
    })
    .await;
    drop(shop);
    for process in [&mut till, &mut back] {
        process.signal("-TERM");
        assert_eq!(process.wait(), 0);
    }

    let [back, till] = logs.map(|log| lines(&log.join().unwrap()));
    let correlated = |lines: &[Value], name: &str| -> BTreeSet<String> {
        let of_sale = lines.iter().filter(|line| line["labels.correlation_id"] == "sale-7");
        of_sale.filter_map(|line| Some(line[name].as_str()?.to_owned())).collect()
    };
    let edge = ["CreateOrder", "ProcessPayment"].map(|call| format!("/onrush.order.v1.OrderService/{call}"));
    assert_eq!(correlated(&till, "url.path"), edge.into());
    let found = correlated(&back, "labels.name");
    for expected in [
        "command",
        "charge",
        "open shipment",
        "buy label",
        "order_confirmation",
        "payment_receipt",
        "shipping_update",
    ] {
        assert!(found.contains(expected), "expected {expected} among {found:?}");
    }
    let about = |line: &&Value| line["labels.name"] == "charge" && line["message"] == "done";
    let charge = back.iter().find(about).unwrap();
    assert_eq!((&charge["labels.order"], &charge["trace.id"]), (&json!(order_id), &Value::Null));
}

#[test]
fn a_process_that_cannot_start_says_so_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let arguments =
        ["serve", "--data-dir", dir.path().to_str().unwrap(), "--services", "order", "--order-port", &port];
    let output = onrush(&arguments).env("LOG_FORMAT", "ecs").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&String::from_utf8(output.stderr).unwrap());
    let last = lines.last().unwrap();
    assert_eq!(last["log.level"], "error");
    assert!(last["error.message"].as_str().unwrap().contains(&port), "{last}");
}

#[test]
fn a_format_that_is_none_is_refused_by_name() {
    let output = onrush(&["check-config"]).env("LOG_FORMAT", "xml").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("log-format (from environment LOG_FORMAT): expected text or ecs"), "{errors}");
}
