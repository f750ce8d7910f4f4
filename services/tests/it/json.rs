//! The calls of gRPC in JSON over HTTP, by a client that knows no gRPC.

use onrush_grpc::SERVICES;
use onrush_services::config::Service;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};

use crate::shop::Shop;

const PRODUCT: &str = "onrush.product.v1.ProductService";
const ORDER: &str = "onrush.order.v1.OrderService";
const PAYMENT: &str = "onrush.payment.v1.PaymentService";

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

async fn post(shop: &Shop, service: Service, call: &str, headers: &[(&str, &str)], body: String) -> Answer {
    let mut request = reqwest::Client::new().post(format!("{}/{call}", shop.address(service)));
    if headers.iter().all(|(name, _)| *name != "content-type") {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(body).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

async fn ask(shop: &Shop, service: Service, call: &str, body: Value) -> Value {
    let answer = post(shop, service, call, &[], body.to_string()).await;
    assert_eq!(answer.status, 200, "{call}: {}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/json");
    answer.body
}

#[tokio::test]
async fn somebody_without_grpc_puts_a_product_buys_it_and_gets_the_money_back() {
    let shop = Shop::open();
    let price = json!({"minorUnits": "499", "currencyCode": "EUR"});
    let put = json!({"sku": "tea", "name": "Tea", "price": price});
    ask(&shop, Service::Product, &format!("{PRODUCT}/PutProduct"), put).await;
    let stock = json!({"sku": "tea", "set": "10"});
    let stocked = ask(&shop, Service::Product, &format!("{PRODUCT}/UpdateStock"), stock).await;
    assert_eq!((&stocked["onHand"], stocked.get("replayed")), (&json!("10"), None));

    let lines = json!([{"sku": "tea", "quantity": 2, "maxUnitPrice": "499"}]);
    let order = json!({"customerId": "ada", "lines": lines}).to_string();
    let create = format!("{ORDER}/CreateOrder");
    let key = [("idempotency-key", "basket-1"), ("x-correlation-id", "sale-1")];
    let first = post(&shop, Service::Order, &create, &key, order.clone()).await;
    let again = post(&shop, Service::Order, &create, &key, order).await;
    assert_eq!((first.status, again.status), (200, 200), "{}", first.body);
    assert_eq!(first.headers["x-correlation-id"], "sale-1");
    assert_eq!(
        (&first.body["requestId"], &first.body["total"]["minorUnits"]),
        (&json!("basket-1"), &json!("998"))
    );
    assert_eq!((&again.body["orderId"], &again.body["replayed"]), (&first.body["orderId"], &json!(true)));

    let id = first.body["orderId"].as_str().unwrap();
    let pay = json!({"orderId": id, "paymentMethod": "card"});
    let paid = ask(&shop, Service::Order, &format!("{ORDER}/ProcessPayment"), pay).await;
    assert_eq!(paid["orderStatus"], "ORDER_STATUS_PAID", "{paid}");
    let refund = json!({"paymentId": id, "amount": {"minorUnits": "998", "currencyCode": "EUR"}});
    let back = ask(&shop, Service::Payment, &format!("{PAYMENT}/ProcessRefund"), refund).await;
    assert_eq!(back["refund"]["status"], "REFUND_STATUS_SUCCEEDED", "{back}");
    let found = ask(&shop, Service::Order, &format!("{ORDER}/GetOrderStatus"), json!({"orderId": id})).await;
    assert_eq!(found["order"]["status"], "ORDER_STATUS_REFUNDED", "{found}");
    let audit = ask(&shop, Service::Order, "onrush.admin.v1.AdminService/Audit", json!({})).await;
    assert_eq!((&audit["ok"], &audit["unitsReceived"]), (&json!(true), &json!("10")), "{audit}");
}

/// A call with headers and body, and what it is refused for: status, reason and field.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], String, u16, &'a str, Option<&'a str>);

/// Asks all of it, and finds nothing changed.
async fn assert_refused(table: &[Row<'_>]) {
    let shop = Shop::open();
    for (call, headers, body, status, reason, field) in table {
        let answer = post(&shop, Service::Order, call, headers, body.clone()).await;
        assert_eq!((answer.status, &answer.body["reason"]), (*status, &json!(reason)), "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["errors"][0]["field"].as_str(), *field, "{}", answer.body);
        if let Some(field) = field {
            assert!(answer.body["detail"].as_str().unwrap().starts_with(field), "{}", answer.body);
        }
    }
    let audit = ask(&shop, Service::Order, "onrush.admin.v1.AdminService/Audit", json!({})).await;
    assert_eq!(audit.get("orders"), None, "{audit}");
}

#[tokio::test]
async fn what_a_handler_refuses_is_a_problem_of_the_table() {
    let order = |sku: &str, quantity: &str| {
        json!({"customerId": "ada", "lines": [{"sku": sku, "quantity": quantity}]}).to_string()
    };
    let create = "onrush.order.v1.OrderService/CreateOrder";
    let long_key = json!({"requestId": "k".repeat(256), "customerId": "ada"}).to_string();
    assert_refused(&[
        (create, &[], order("", "1"), 400, "MISSING_FIELD", Some("lines[0].sku")),
        (create, &[], order("tea", "0"), 400, "BAD_QUANTITY", Some("lines[0].quantity")),
        (create, &[], order("tea", "1"), 404, "UNKNOWN_SKU", Some("lines[0].sku")),
        (create, &[], "{}".into(), 400, "MISSING_FIELD", Some("customerId")),
        (create, &[], long_key, 400, "INVALID_FIELD", Some("requestId")),
    ])
    .await;
}

#[tokio::test]
async fn what_the_edge_refuses_is_a_problem_of_the_table() {
    let create = "onrush.order.v1.OrderService/CreateOrder";
    let large = format!("{{\"customerId\":\"{}\"}}", "x".repeat(1 << 20));
    let deep = format!("{{\"lines\":{}", "[".repeat(100_000));
    let text: &[_] = &[("content-type", "text/plain")];
    let proto: &[_] = &[("content-type", "application/proto")];
    let gzip: &[_] = &[("content-encoding", "gzip")];
    let (empty, other) = (&[("idempotency-key", "")], &[("idempotency-key", "a")]);
    let named = json!({"requestId": "b"}).to_string();
    let soon: &[_] = &[("connect-timeout-ms", "soon")];
    let none = || "{}".to_owned();
    assert_refused(&[
        (create, &[], large, 413, "MESSAGE_TOO_LARGE", None),
        (create, &[], deep, 400, "MESSAGE_TOO_DEEP", None),
        (create, &[], r#"{"price":1}"#.into(), 400, "UNKNOWN_FIELD", Some("price")),
        (create, text, none(), 415, "UNSUPPORTED_MEDIA_TYPE", Some("Content-Type")),
        (create, proto, none(), 415, "UNSUPPORTED_MEDIA_TYPE", Some("Content-Type")),
        (create, gzip, none(), 415, "UNSUPPORTED_ENCODING", Some("Content-Encoding")),
        (create, empty, none(), 400, "INVALID_FIELD", Some("Idempotency-Key")),
        (create, other, named, 400, "INVALID_FIELD", Some("Idempotency-Key")),
        (create, soon, none(), 400, "INVALID_FIELD", Some("Connect-Timeout-Ms")),
        ("onrush.order.v1.OrderService/Steal", &[], none(), 404, "UNKNOWN_PATH", None),
        ("onrush.product.v1.ProductService/ListProducts", &[], none(), 404, "UNKNOWN_PATH", None),
        ("grpc.health.v1.Health/Watch", &[], none(), 501, "STREAMING_CALL", None),
    ])
    .await;
}

#[tokio::test]
async fn a_refusal_of_the_engine_keeps_its_facts() {
    let shop = Shop::open();
    shop.stock("tea", 499, 1).await;
    let body = json!({"customerId": "ada", "lines": [{"sku": "tea", "quantity": "2"}]}).to_string();
    let answer = post(&shop, Service::Order, &format!("{ORDER}/CreateOrder"), &[], body).await;
    assert_eq!((answer.status, &answer.body["reason"]), (409, &json!("OUT_OF_STOCK")), "{}", answer.body);
    assert_eq!(answer.body["facts"], json!({"asked": "2", "available": "1"}));
    assert_eq!(answer.body["errors"][0]["field"], "lines[0].quantity");
}

#[tokio::test]
async fn clients_of_the_connect_protocol_are_refused_in_its_terms() {
    let shop = Shop::open();
    let create = format!("{ORDER}/CreateOrder");
    let unknown = json!({"customerId": "ada", "lines": [{"sku": "tea", "quantity": "2"}]}).to_string();
    for (call, body, status, code) in [
        (create.as_str(), unknown, 404, "not_found"),
        (create.as_str(), "{".into(), 400, "invalid_argument"),
        ("grpc.health.v1.Health/Check", json!({"service": "nobody"}).to_string(), 404, "not_found"),
        ("grpc.health.v1.Health/Watch", "{}".into(), 501, "unimplemented"),
    ] {
        let connect = [("connect-protocol-version", "1")];
        let answer = post(&shop, Service::Order, call, &connect, body).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(!answer.body["message"].as_str().unwrap().is_empty());
        let info = json!("google.rpc.ErrorInfo");
        let detailed = answer.body["details"].as_array().unwrap().iter().any(|each| each["type"] == info);
        assert_eq!(detailed, !call.ends_with("Check"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_caller_who_waits_no_longer_is_told_so() {
    let shop = Shop::open();
    shop.stock("tea", 499, 1).await;
    let order = json!({"customerId": "ada", "lines": [{"sku": "tea", "quantity": "1"}]}).to_string();
    let call = format!("{ORDER}/CreateOrder");
    let late = post(&shop, Service::Order, &call, &[("connect-timeout-ms", "0")], order.clone()).await;
    assert_eq!((late.status, &late.body["reason"]), (504, &json!("DEADLINE_EXCEEDED")), "{}", late.body);
    let patient = post(&shop, Service::Order, &call, &[("connect-timeout-ms", "60000")], order).await;
    assert_eq!(patient.status, 200, "{}", patient.body);
}

#[tokio::test]
async fn the_bearer_of_a_token_is_known_to_the_handler() {
    let shop = Shop::open();
    let address = shop.address(Service::User);
    let client = reqwest::Client::new();
    let account = json!({"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"});
    let ada = client.post(format!("{address}/register")).json(&account).send().await.unwrap();
    let ada: Value = ada.json().await.unwrap();
    let claim = json!({"email": "ada@example.com", "password": "correct horse battery"});
    let login = client.post(format!("{address}/login")).json(&claim).send().await.unwrap();
    let login: Value = login.json().await.unwrap();
    let bearer = format!("Bearer {}", login["access_token"].as_str().unwrap());
    let call = "onrush.user.v1.UserService/GetUser";
    let body = json!({"userId": ada["id"]}).to_string();
    let found = post(&shop, Service::User, call, &[("authorization", &bearer)], body.clone()).await;
    assert_eq!(found.body["user"]["email"], "ada@example.com", "{}", found.body);
    let nobody = post(&shop, Service::User, call, &[], body).await;
    assert_eq!((nobody.status, &nobody.body["reason"]), (401, &json!("UNAUTHENTICATED")));
    assert!(nobody.headers.contains_key("www-authenticate"));
}

/// What `/docs` suggests to send to a call.
async fn suggested(shop: &Shop, service: Service, call: &str) -> Value {
    let answer = reqwest::get(format!("{}/openapi.json", shop.address(service))).await.unwrap();
    let document: Value = answer.json().await.unwrap();
    let body = &document["paths"][format!("/{call}")]["post"]["requestBody"]["content"]["application/json"];
    body["example"].clone()
}

#[tokio::test]
async fn what_the_pages_of_docs_suggest_buys_something() {
    let shop = Shop::open();
    let create = format!("{ORDER}/CreateOrder");
    for (service, call) in [
        (Service::Product, format!("{PRODUCT}/PutProduct")),
        (Service::Product, format!("{PRODUCT}/UpdateStock")),
        (Service::Product, format!("{PRODUCT}/ValidateProducts")),
        (Service::Order, create.clone()),
    ] {
        let body = suggested(&shop, service, &call).await;
        ask(&shop, service, &call, body).await;
    }
    let order = suggested(&shop, Service::Order, &create).await;
    assert_eq!(order["lines"], json!([{"sku": "tea", "quantity": "1", "maxUnitPrice": "499"}]));
    let mut pay = suggested(&shop, Service::Order, &format!("{ORDER}/ProcessPayment")).await;
    pay["orderId"] = ask(&shop, Service::Order, &create, order).await["orderId"].clone();
    let paid = ask(&shop, Service::Order, &format!("{ORDER}/ProcessPayment"), pay).await;
    assert_eq!(paid["orderStatus"], "ORDER_STATUS_PAID", "{paid}");
}

#[tokio::test]
async fn every_unary_call_stands_in_the_document_of_its_port() {
    let shop = Shop::open_with(|config| config.services = Service::ALL.map(|service| (service, 0)).to_vec());
    let mut documented = Vec::new();
    for service in Service::ALL {
        let answer = reqwest::get(format!("{}/openapi.json", shop.address(service))).await.unwrap();
        let document: Value = answer.json().await.unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert!(!paths.contains_key("/grpc.health.v1.Health/Watch"), "a stream is no call in JSON");
        documented.extend(paths.keys().filter(|path| path.starts_with("/onrush.")).cloned());
    }
    for service in SERVICES {
        let calls = documented.iter().filter(|path| path.starts_with(&format!("/{service}/"))).count();
        // The engine's own is between our processes, and a session is a stream.
        let apart = ["onrush.engine.v1.EngineService", "onrush.session.v1.SessionService"];
        assert_eq!(calls >= 2, !apart.contains(&service), "{service}: {documented:?}");
    }
    let hello = "onrush.engine.v1.EngineService/Hello";
    assert_eq!(post(&shop, Service::Order, hello, &[], "{}".into()).await.body["reason"], "UNKNOWN_PATH");
}
