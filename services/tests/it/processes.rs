//! Every service in a process of its own, with one engine among them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use onrush_grpc::notification::v1::{ListNotificationsRequest, PutContactRequest};
use onrush_grpc::order::v1::{GetOrderStatusRequest, ListOrdersRequest};
use onrush_grpc::payment::v1::ListTransactionsRequest;
use onrush_grpc::product::v1::{ListProductsRequest, ProductLine, ValidateProductsRequest};
use onrush_grpc::recommendation::v1::{GetRecommendationsRequest, ReasonKind};
use onrush_net::client::CallError;
use onrush_net::client::grpc::Client;
use onrush_services::config::Service;
use opentelemetry_proto::tonic::trace::v1::Span;

use crate::binary::{Process, assert_one_line, client, onrush, stock_up};
use crate::collector::Heard;
use crate::shop::{order, payment};
use crate::wait::{found, until};

/// What all processes of the shop know.
const SECRET: &str = "a secret that all processes of this shop share";

/// Each service, in a process and a directory of its own; the engine is in that of products.
struct Town {
    processes: BTreeMap<&'static str, Process>,
    engine: String,
    /// Where they tell of traces.
    collector: String,
}

impl Town {
    fn start(dir: &Path, collector: String) -> Self {
        let product = Self::process(dir, "product", "0", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector)]);
        let engine = product.address("product");
        let mut processes = BTreeMap::from([("product", product)]);
        for service in Service::ALL.map(Service::name).into_iter().filter(|name| *name != "product") {
            let env = [("PRODUCT_SERVICE_ADDR", &*engine), ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector)];
            processes.insert(service, Self::process(dir, service, "0", &env));
        }
        Self { processes, engine, collector }
    }

    fn process(dir: &Path, service: &str, port: &str, more: &[(&str, &str)]) -> Process {
        let mut env =
            vec![("ENGINE_TOKEN", SECRET), ("PORT", port), ("CARRIER_FAULTS", "pickup_ms=10,transit_ms=10")];
        env.extend([("OTEL_SERVICE_NAME", service), ("OTEL_TRACES_SAMPLER_ARG", "1")]);
        env.extend(more);
        Process::start_with(&dir.join(service), &["--services", service], &env)
    }

    /// Kills the process with the engine, and starts it where it was.
    async fn crash(&mut self, dir: &Path, between: impl AsyncFnOnce()) {
        let mut product = self.processes.remove("product").unwrap();
        product.signal("-KILL");
        product.wait();
        between().await;
        let port = self.engine.rsplit(':').next().unwrap().to_owned();
        let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*self.collector)];
        self.processes.insert("product", Self::process(dir, "product", &port, &env));
    }

    fn client(&self) -> Client {
        client(&|service| self.processes[service].address(service))
    }
}

#[tokio::test]
async fn a_purchase_goes_through_all_of_them_and_outlives_the_engines_process() {
    let dir = tempfile::tempdir().unwrap();
    let heard = Heard::default();
    let mut town = Town::start(dir.path(), heard.listen().await);
    let shop = town.client();
    stock_up(&shop).await;
    let contact = PutContactRequest {
        customer_id: "ada".into(),
        email: "ada@example.com".into(),
        ..Default::default()
    };
    shop.put_contact(contact).await.unwrap();
    let lines = vec![ProductLine { sku: "tea".into(), quantity: 2 }];
    let validated = shop.validate_products(ValidateProductsRequest { lines }).await.unwrap();
    assert!(validated.valid, "{validated:?}");

    let created = shop.create_order(order("first", "ada", &[("tea", 2)])).await.unwrap();
    let order_id = created.order_id.clone();
    let paid = shop.process_payment(payment("pay", &order_id, "pm_card")).await.unwrap();
    assert_eq!(paid.order_status().as_str_name(), "ORDER_STATUS_PAID");
    shipped_and_told(&shop, &order_id).await;
    one_trace_of_four_processes(&heard).await;
    // Recommendation learned from the log of the engine's process what she bought.
    let recommend = || GetRecommendationsRequest { customer_id: "ada".into(), ..Default::default() };
    found("what she bought", async || {
        let shown = shop.get_recommendations(recommend()).await.ok()?.products;
        let why = shown.iter().find(|product| product.sku == "tea")?.reasons.first()?.clone();
        (why.kind() == ReasonKind::BoughtBefore && why.orders == 1).then_some(())
    })
    .await;

    // Lists are read over there, too.
    let orders = ListOrdersRequest { customer_id: "ada".into(), ..Default::default() };
    assert_eq!(shop.list_orders(orders.clone()).await.unwrap().orders.len(), 1);
    let transactions = ListTransactionsRequest { customer_id: "ada".into(), ..Default::default() };
    assert!(!shop.list_transactions(transactions).await.unwrap().transactions.is_empty());
    let products = ListProductsRequest { query: "tea".into(), ..Default::default() };
    assert_eq!(shop.list_products(products).await.unwrap().products.len(), 1);

    town.crash(dir.path(), async || {
        let answer = shop.create_order(order("second", "ada", &[("tea", 1)])).await;
        assert!(
            matches!(&answer, Err(CallError::Unknown { message, .. }) if message.contains("engine cannot be reached")),
            "{answer:?}"
        );
    })
    .await;
    // The other processes find it again by themselves; what was accepted is as it was.
    let shop = town.client();
    let again = found("the engine again", async || {
        shop.create_order(order("first", "ada", &[("tea", 2)])).await.ok()
    })
    .await;
    assert!(again.replayed && again.order_id == order_id, "{again:?}");
    let second = shop.create_order(order("second", "ada", &[("tea", 1)])).await.unwrap();
    // The gateway's process may take longer to find it than a caller waits: the same key asks again.
    found("the second order paid", async || {
        let paid = shop.process_payment(payment("pay-2", &second.order_id, "pm_card")).await.ok()?;
        (paid.order_status().as_str_name() == "ORDER_STATUS_PAID").then_some(())
    })
    .await;
    assert_eq!(shop.list_orders(orders).await.unwrap().orders.len(), 2);
    found("both orders, each counted once", async || {
        let shown = shop.get_recommendations(recommend()).await.ok()?.products;
        (shown.first()?.reasons.first()?.orders == 2).then_some(())
    })
    .await;
    // The books are where the engine is.
    let there = client(&|_| town.engine.clone());
    let audit = there.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.units_sold == 3, "{audit:?}");
}

/// Shipping takes an order on by itself, and Notification tells of it.
async fn shipped_and_told(shop: &Client, order_id: &str) {
    found("a shipped order", async || {
        let request = GetOrderStatusRequest { order_id: order_id.to_owned() };
        let status = shop.get_order_status(request).await.ok()?.order?.status().as_str_name().to_owned();
        ["ORDER_STATUS_SHIPPED", "ORDER_STATUS_DELIVERED"].contains(&status.as_str()).then_some(())
    })
    .await;
    found("a confirmation, a receipt and news of the parcel", async || {
        let request = ListNotificationsRequest { order_id: order_id.to_owned() };
        let told = shop.list_notifications(request).await.ok()?.notifications.len();
        (told >= 3).then_some(())
    })
    .await;
}

/// The trace that a payment began goes through the engine's process into those that act on its log.
async fn one_trace_of_four_processes(heard: &Heard) {
    let expected = [
        "notification payment_receipt",
        "order onrush.order.v1.OrderService/ProcessPayment",
        "payment charge",
        "shipping buy label",
        "shipping open shipment",
    ];
    until("the spans of a payment from four processes", async || {
        let told = heard.told();
        let pays = |told: &&(String, Span)| told.1.name.ends_with("/ProcessPayment");
        let (_, began) = told.iter().find(pays).ok_or_else(BTreeSet::new)?;
        let of_trace = told.iter().filter(|(_, span)| span.trace_id == began.trace_id);
        let names: BTreeSet<String> =
            of_trace.map(|(service, span)| format!("{service} {}", span.name)).collect();
        match expected.iter().all(|name| names.contains(*name)) {
            true => Ok(()),
            false => Err(names),
        }
    })
    .await;
}

#[test]
fn a_process_without_the_token_or_with_another_one_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Town::process(dir.path(), "product", "0", &[]);
    let address = engine.address("product");
    let start = |more: &[(&str, &str)]| {
        let data = dir.path().join("order");
        let mut command = onrush(&["serve", "--services", "order", "--data-dir", data.to_str().unwrap()]);
        command.env("ENGINE_ADDR", &address).env("PORT", "0").envs(more.iter().copied()).output().unwrap()
    };
    assert_one_line(
        &start(&[]),
        2,
        "engine-addr (from environment ENGINE_ADDR): expected engine-token or jwt-secret",
    );
    let another = [("ENGINE_TOKEN", "another token that is long enough to be one")];
    assert_one_line(&start(&another), 1, "expected the engine's token, found none or another");
    assert_one_line(&start(&[("ENGINE_TOKEN", "short")]), 2, "expected a token of at least 32 bytes");
}
