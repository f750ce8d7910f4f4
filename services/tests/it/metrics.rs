//! `/metrics`: what a scrape finds after some traffic.

use std::collections::BTreeMap;

use onrush_grpc::order::v1::CancelOrderRequest;
use onrush_services::config::Service;

use crate::shop::{Shop, order, payment};
use crate::wait::until;

/// Samples by name and labels, as they are written.
struct Measures(BTreeMap<String, f64>);

impl Measures {
    async fn of_port(address: &str) -> Self {
        let text = reqwest::get(format!("{address}/metrics")).await.unwrap().text().await.unwrap();
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("expected a sample, found {line:?}")))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).map(sample).collect())
    }

    /// One sample; its labels in the order of the text.
    fn at(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("expected {name} among {:#?}", self.0.keys()))
    }

    /// All samples of one name.
    fn sum(&self, name: &str) -> f64 {
        let of_name = |(found, _): &(&String, &f64)| found.split('{').next() == Some(name);
        self.0.iter().filter(of_name).map(|(_, value)| value).sum()
    }
}

/// Scrapes until it finds what a shard or a consumer says once its turn is over.
async fn measured(address: &str, holds: impl Fn(&Measures) -> bool) -> Measures {
    until("other measures", async || {
        let found = Measures::of_port(address).await;
        if holds(&found) { Ok(found) } else { Err(found.0) }
    })
    .await
}

fn everything() -> Shop {
    Shop::open_with(|config| config.services = Service::ALL.map(|service| (service, 0)).to_vec())
}

#[tokio::test]
async fn every_port_tells_what_the_whole_process_counts() {
    let shop = everything();
    shop.stock("tea", 499, 5).await;
    for number in 0..3 {
        shop.client.create_order(order(&format!("order-{number}"), "ada", &[("tea", 1)])).await.unwrap();
    }
    shop.client.create_order(order("too-many", "ada", &[("tea", 3)])).await.unwrap_err();
    let http = reqwest::Client::new();
    let address = shop.address(Service::User);
    http.post(format!("{address}/login")).json(&serde_json::json!({})).send().await.unwrap();
    for number in 0..10 {
        reqwest::get(format!("{address}/nowhere/{number}")).await.unwrap();
    }

    for service in Service::ALL {
        let found =
            measured(&shop.address(service), |found| found.sum("onrush_shard_open_orders") == 3.0).await;
        let create = "service=\"order\",rpc_service=\"onrush.order.v1.OrderService\",method=\"CreateOrder\"";
        assert_eq!(found.at(&format!("onrush_grpc_calls_total{{{create},code=\"OK\"}}")), 3.0);
        assert_eq!(
            found.at(&format!("onrush_grpc_calls_total{{{create},code=\"FailedPrecondition\"}}")),
            1.0
        );
        assert_eq!(found.at(&format!("onrush_grpc_call_duration_seconds_count{{{create}}}")), 4.0);
        let requests =
            |labels: &str| found.at(&format!("onrush_http_requests_total{{service=\"user\",{labels}}}"));
        assert_eq!(requests("route=\"/login\",method=\"POST\",code=\"400\""), 1.0);
        assert_eq!(requests("route=\"unmatched\",method=\"unmatched\",code=\"404\""), 10.0);
        assert!(!found.0.keys().any(|name| name.contains("nowhere")), "a path of a caller became a label");

        assert_eq!(found.sum("onrush_shard_held_units"), 3.0);
        assert!(found.0.keys().filter(|name| name.starts_with("onrush_shard_stopped")).count() == 4);
        assert!(found.sum("onrush_shard_durable_write_duration_seconds_count") > 0.0);
        let batches = found.sum("onrush_shard_batch_size_count");
        assert!(batches > 0.0 && found.sum("onrush_shard_batch_size_sum") >= batches);
        assert_eq!(found.at("onrush_breaker_state{breaker=\"simulated\",state=\"closed\"}"), 1.0);
        assert_eq!(found.at("onrush_hashing_queue_depth"), 0.0);
    }
}

#[tokio::test]
async fn what_is_bought_shows_in_lags_letters_and_stock() {
    let shop = everything();
    shop.stock("tea", 499, 5).await;
    let address = shop.address(Service::Order);
    let bought = shop.client.create_order(order("", "ada", &[("tea", 2)])).await.unwrap();
    let held = measured(&address, |found| {
        found.sum("onrush_shard_held_units") == 2.0 && found.sum("onrush_shard_hot_key_ratio") > 0.0
    })
    .await;
    // One order is all demand there is: it came by its SKU's shard, and that of its key if it is another.
    let of_hot = held.0.iter().filter(|(name, _)| name.starts_with("onrush_shard_hot_key_ratio"));
    let hot: Vec<f64> = of_hot.map(|(_, share)| *share).filter(|share| *share > 0.0).collect();
    assert!((1..=2).contains(&hot.len()) && hot.iter().all(|share| *share == 1.0), "{:#?}", held.0);
    shop.client.process_payment(payment("", &bought.order_id, "pm_card")).await.unwrap();
    let paid = measured(&address, |found| {
        let sent = "onrush_notification_letters_total{outcome=\"sent\"}";
        found.sum("onrush_shard_held_units") == 0.0 && found.0.get(sent).is_some_and(|sent| *sent >= 2.0)
    })
    .await;
    for group in ["payment-gateway", "shipping", "notification", "recommendation"] {
        for shard in 0..4 {
            paid.at(&format!("onrush_consumer_lag_records{{group=\"{group}\",shard=\"{shard}\"}}"));
        }
    }
    measured(&address, |found| found.sum("onrush_consumer_lag_records") < 50.0).await;
    assert_eq!(paid.at("onrush_notification_letters_total{outcome=\"dead\"}"), 0.0);
}

/// The gauges that the shop is run by, of each shard.
const GAUGES: [&str; 8] = [
    "onrush_shard_queue_depth",
    "onrush_shard_batch_size_count",
    "onrush_shard_batch_size_sum",
    "onrush_shard_durable_write_duration_seconds_count",
    "onrush_shard_durable_write_duration_seconds_sum",
    "onrush_shard_commit_lag_records",
    "onrush_shard_held_units",
    "onrush_shard_hot_key_ratio",
];
const SHARDS: usize = 4;
/// Orders of each SKU.
const ORDERS: usize = 8;

impl Measures {
    /// What one shard says.
    fn of(&self, name: &str, shard: usize) -> f64 {
        self.at(&format!("{name}{{shard=\"{shard}\"}}"))
    }

    /// Whatever moment it is, a gauge is no nonsense.
    fn assert_sane(&self) {
        for shard in 0..SHARDS {
            let sane = |name: &&str| self.of(name, shard) >= 0.0 && self.of(name, shard).is_finite();
            assert!(GAUGES.iter().all(sane), "{:#?}", self.0);
            assert!(self.of("onrush_shard_hot_key_ratio", shard) <= 1.0);
            assert!(self.of("onrush_shard_queue_depth", shard) <= 1_000.0);
            assert!(self.of("onrush_shard_commit_lag_records", shard) <= 1_000.0);
        }
    }

    /// Every shard has worked, and every group reads each of them.
    fn assert_worked(&self) {
        for shard in 0..SHARDS {
            let batches = self.of("onrush_shard_batch_size_count", shard);
            assert!(batches > 0.0 && self.of("onrush_shard_batch_size_sum", shard) >= batches);
            let writes = ["count", "sum"]
                .map(|part| self.of(&format!("onrush_shard_durable_write_duration_seconds_{part}"), shard));
            assert!(writes.iter().all(|of| *of > 0.0), "shard {shard}: {writes:?}");
            assert_eq!(self.of("onrush_shard_stopped", shard), 0.0);
            for group in ["payment-gateway", "shipping", "notification", "recommendation"] {
                self.at(&format!("onrush_consumer_lag_records{{group=\"{group}\",shard=\"{shard}\"}}"));
            }
        }
        for state in ["closed", "open", "half_open"] {
            let found = self.at(&format!("onrush_breaker_state{{breaker=\"simulated\",state=\"{state}\"}}"));
            assert_eq!(found, f64::from(u8::from(state == "closed")), "{state}");
        }
    }
}

/// Orders 1 unit of the first SKU, 2 of the second and so on, some of each at once; scrapes meanwhile.
async fn under_load(shop: &Shop, skus: &[String]) -> Vec<String> {
    let mut buying = tokio::task::JoinSet::new();
    for (number, sku) in skus.iter().enumerate() {
        for _ in 0..ORDERS {
            let (client, wish) = (shop.client.clone(), order("", "ada", &[(sku, number as i64 + 1)]));
            buying.spawn(async move { client.create_order(wish).await.unwrap().order_id });
        }
    }
    let mut orders = Vec::new();
    while let Some(bought) = buying.join_next().await {
        orders.push(bought.unwrap());
        if orders.len() % 16 == 0 {
            Measures::of_port(&shop.address(Service::Order)).await.assert_sane();
        }
    }
    orders
}

/// Each gauge that the shop is run by, shard by shard, against what is known of the load.
#[tokio::test]
async fn every_gauge_of_every_shard_tells_the_truth_under_load() {
    let shop = everything();
    let skus: Vec<String> = (0..16).map(|number| format!("sku-{number}")).collect();
    for sku in &skus {
        shop.stock(sku, 499, 1_000).await;
    }
    let orders = under_load(&shop, &skus).await;
    // What waits for payment is known, and nothing else is under way.
    let mut held = [0.0; SHARDS];
    for (number, sku) in skus.iter().enumerate() {
        held[shop.shard_of(sku)] += (ORDERS * (number + 1)) as f64;
    }
    let address = shop.address(Service::Order);
    let quiet = measured(&address, |found| {
        std::array::from_fn(|shard| found.of("onrush_shard_held_units", shard)) == held
            && found.sum("onrush_shard_queue_depth") == 0.0
            && found.sum("onrush_shard_commit_lag_records") == 0.0
            && found.sum("onrush_consumer_lag_records") == 0.0
    })
    .await;
    quiet.assert_sane();
    quiet.assert_worked();

    let (cancelled, open) = orders.split_at(orders.len() / 2);
    for order_id in cancelled {
        let cancel = CancelOrderRequest { order_id: order_id.clone(), ..Default::default() };
        shop.client.cancel_order(cancel).await.unwrap();
    }
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.units_held > 0, "{audit:?}");
    measured(&address, |found| {
        found.sum("onrush_shard_open_orders") == open.len() as f64
            && found.sum("onrush_shard_held_units") == audit.units_held as f64
    })
    .await;
}

#[tokio::test]
async fn who_accepts_open_metrics_gets_it() {
    let shop = Shop::open();
    let url = format!("{}/metrics", shop.address(Service::Order));
    let plain = reqwest::get(&url).await.unwrap();
    assert_eq!(plain.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(plain.headers()["cache-control"], "no-store");
    assert!(!plain.text().await.unwrap().contains("# EOF"));
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";
    let open = reqwest::Client::new().get(&url).header("accept", accept).send().await.unwrap();
    assert_eq!(open.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.text().await.unwrap().ends_with("# EOF\n"));
}
