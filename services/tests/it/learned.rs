//! A model learned of a shop's own log, through gRPC: it is trained, published while others ask, kept over a restart,
//! refused when it is damaged.
//!
//! The shop has lived before: orders of months are put into its log by a clock that is set day by day. They are those
//! of the files that `model.rs` makes, or with ONRUSH_RETAIL=DIR those of some households of the public retail data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use onrush_engine::{ClockOptions, Engine, EngineHandle, EngineOptions};
use onrush_grpc::recommendation::v1::{
    GetModelRequest, GetModelResponse, GetRecommendationsRequest, Operation, OperationState, Preferences,
    ReasonKind, RecommendedProduct, UpdateUserPreferencesRequest,
};
use onrush_proto::{
    CallerKey, Command, CreateOrder, Currency, GatewayResult, Money, OrderLine, Outcome, PutProduct, Receipt,
    Request, SettleAttempt, Sku, StartPayment, StockChange, Text, UpdateStock,
};
use onrush_services::config::{Config, Service};
use onrush_services::retail;
use tokio::task::JoinSet;

use crate::shop::{Shop, config};
use crate::wait::until;

const DAY_S: i64 = 86_400;
/// Of the public data: households whose number this divides, in so many last weeks before the time that models of
/// files are learned up to.
const ONE_HOUSEHOLD_IN: u32 = 6;
const WEEKS: i64 = 26;
const UNTIL_S: i64 = 1_509_926_400;

/// Days between two settings of the clock: an engine reads it when it is opened.
const STRIDE: i64 = 4;

/// What the clock of the past says.
static WALL_US: AtomicU64 = AtomicU64::new(0);

fn wall_us() -> u64 {
    WALL_US.load(Ordering::Relaxed)
}

/// Baskets of a day: (customer, products).
type Day = Vec<(String, Vec<String>)>;

/// A catalogue, and what was bought of it.
struct Past {
    products: Vec<retail::ProductLine>,
    days: BTreeMap<i64, Day>,
}

impl Past {
    /// Of files.
    fn of(dir: &Path, end: &str, wanted: impl Fn(&retail::SaleLine) -> bool) -> Self {
        let file = |name: &str| dir.join(format!("{name}.csv{end}"));
        let products = retail::products(&file("products")).unwrap();
        let known: BTreeSet<u32> = products.iter().map(|product| product.id).collect();
        let name = if end.is_empty() { "sales" } else { "transactions-train" };
        let mut baskets: BTreeMap<(i64, u32, u32), BTreeSet<u32>> = BTreeMap::new();
        let mut take = |line: retail::SaleLine| {
            if wanted(&line) {
                baskets.entry((line.at_s, line.basket, line.user)).or_default().insert(line.product);
            }
        };
        retail::transactions(&file(name), &|product| known.contains(&product), &mut take).unwrap();
        let bought: BTreeSet<u32> = baskets.values().flatten().copied().collect();
        let mut days: BTreeMap<i64, Day> = BTreeMap::new();
        for ((at_s, _, user), products) in baskets {
            let products = products.into_iter().map(|product| format!("p-{product}")).collect();
            days.entry(at_s / DAY_S).or_default().push((format!("customer-{user}"), products));
        }
        let products = products.into_iter().filter(|product| bought.contains(&product.id)).collect();
        Self { products, days }
    }

    fn chosen() -> Self {
        match std::env::var_os("ONRUSH_RETAIL") {
            Some(dir) => Self::of(&PathBuf::from(dir), ".zst", |line| {
                line.user % ONE_HOUSEHOLD_IN == 0
                    && (UNTIL_S - WEEKS * 7 * DAY_S..UNTIL_S).contains(&line.at_s)
            }),
            None => {
                let dir = tempfile::tempdir().unwrap();
                crate::model::files(dir.path());
                Self::of(dir.path(), "", |_| true)
            }
        }
    }

    /// Puts it into the log of a directory, so that the last day ended an hour ago.
    async fn live(&self, config: &Config) {
        let today =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        let last = *self.days.keys().last().unwrap();
        let days: Vec<(&i64, &Day)> = self.days.iter().collect();
        for (number, days) in
            days.chunk_by(|(a, _), (b, _)| (last - *a) / STRIDE == (last - *b) / STRIDE).enumerate()
        {
            let at_s = today - (last - days[0].0) / STRIDE * STRIDE * DAY_S - 3_600;
            WALL_US.store(at_s as u64 * 1_000_000, Ordering::Relaxed);
            let clock = ClockOptions { accept_jump: true, wall_us, ..ClockOptions::default() };
            // The last segment is looked through at each opening.
            let options = EngineOptions { clock, segment_bytes: 4 << 20, ..config.engine_options() };
            let engine = Engine::open(options).unwrap();
            if number == 0 {
                self.put_catalogue(&engine.handle()).await;
            }
            for (day, baskets) in days {
                let mut orders = JoinSet::new();
                for (number, (customer, skus)) in baskets.iter().enumerate() {
                    let key = format!("{day}-{number}");
                    orders.spawn(bought(engine.handle(), key, customer.clone(), skus.clone()));
                }
                orders.join_all().await;
            }
            tokio::task::spawn_blocking(move || engine.close()).await.unwrap().unwrap();
        }
    }

    async fn put_catalogue(&self, handle: &EngineHandle) {
        let mut puts = JoinSet::new();
        for product in &self.products {
            let sku: Sku = format!("p-{}", product.id).parse().unwrap();
            let put = PutProduct {
                sku,
                name: format!("Product {}", product.id),
                description: String::new(),
                category: product
                    .category
                    .chars()
                    .take(15)
                    .collect::<String>()
                    .parse()
                    .unwrap_or(Text::EMPTY),
                brand: product.brand.chars().take(15).collect::<String>().parse().unwrap_or(Text::EMPTY),
                price: Money::new(product.price_cents, Currency::EUR),
                limit_per_customer: 0,
                limit_returns: true,
                backorder: 0,
                hold_us: 0,
                active: true,
            };
            let (one, other) = (handle.clone(), handle.clone());
            puts.spawn(async move {
                accepted(one.call(Request::unkeyed(Command::PutProduct(Box::new(put)))).await.outcome);
                let change = StockChange::Add(1_000_000);
                let stock = UpdateStock { sku, change, reason: Text::EMPTY };
                accepted(other.call(Request::unkeyed(Command::UpdateStock(stock))).await.outcome);
            });
        }
        puts.join_all().await;
    }
}

fn accepted(outcome: Outcome) -> Receipt {
    match outcome {
        Outcome::Accepted(receipt) => receipt,
        other => panic!("expected it to be accepted, found {other:?}"),
    }
}

/// An order, paid.
async fn bought(handle: EngineHandle, name: String, customer: String, skus: Vec<String>) {
    let key = |part: &str| handle.key(CallerKey { caller: &customer, key: &format!("{name}-{part}") });
    let lines = skus.iter().map(|sku| OrderLine::new(sku.parse().unwrap(), 1)).collect();
    let order = CreateOrder { customer: customer.parse().unwrap(), lines, hold_us: 0 };
    let created =
        accepted(handle.call(Request::new(key("order"), Command::CreateOrder(order))).await.outcome);
    let Receipt::Order { order, .. } = created else { panic!("expected an order, found {created:?}") };
    let pay = StartPayment { order, method: "pm_card".parse().unwrap(), capture: true };
    accepted(handle.call(Request::new(key("pay"), Command::StartPayment(Box::new(pay)))).await.outcome);
    let result = GatewayResult::Captured { reference: Text::EMPTY };
    let settle = SettleAttempt { order, attempt: 1, result };
    accepted(
        handle.call(Request::new(key("settle"), Command::SettleAttempt(Box::new(settle)))).await.outcome,
    );
}

fn recommending(config: &mut Config) {
    config.services.push((Service::Recommendation, 0));
}

fn home(customer: &str) -> GetRecommendationsRequest {
    GetRecommendationsRequest { customer_id: customer.into(), page_size: 10, ..Default::default() }
}

fn ndcg(operation: &Operation) -> [f64; 3] {
    let metric = operation.metrics.iter().find(|metric| metric.name == "ndcg_10").unwrap();
    [metric.running, metric.candidate, metric.history]
}

fn skus(products: &[RecommendedProduct]) -> Vec<&str> {
    products.iter().map(|product| product.sku.as_str()).collect()
}

impl Shop {
    async fn model(&self) -> GetModelResponse {
        self.client.get_model(GetModelRequest {}).await.unwrap()
    }

    async fn page(&self, customer: &str) -> Vec<RecommendedProduct> {
        self.client.get_recommendations(home(customer)).await.unwrap().products
    }

    /// Waits until the whole log is counted and the model has seen it.
    async fn until_known(&self, purchases: u64) {
        until("the log to be counted", async || {
            let model = self.model().await;
            let counted = model.purchases == purchases && model.records_behind == 0;
            if counted { Ok(()) } else { Err(model) }
        })
        .await;
    }
}

/// Asks on and on; every answer has to be one.
async fn traffic(
    client: onrush_net::client::grpc::Client,
    customers: Vec<String>,
    over: Arc<AtomicBool>,
) -> u64 {
    let mut answers = 0;
    for customer in customers.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let answer = client.get_recommendations(home(customer)).await.unwrap();
        assert_eq!(answer.products.len(), 10, "{customer}");
        answers += 1;
    }
    answers
}

#[tokio::test]
async fn a_model_of_the_log_is_trained_published_kept_and_refused_when_damaged() {
    let past = Past::chosen();
    let dir = tempfile::tempdir().unwrap();
    past.live(&config(&dir)).await;
    let purchases: u64 = past.days.values().map(|day| day.len() as u64).sum();
    let customers: Vec<String> = past
        .days
        .values()
        .flatten()
        .map(|(customer, _)| customer.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let shop = Shop::reopen(dir, recommending);
    shop.until_known(purchases).await;
    assert!(!shop.model().await.ml_ready);

    // It is published while everybody asks.
    let over = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(traffic(shop.client.clone(), customers.clone(), over.clone()));
    let published = shop.trained(false).await;
    over.store(true, Ordering::Relaxed);
    assert!(asking.await.unwrap() > 0);
    let [running, candidate, history] = ndcg(&published);
    eprintln!(
        "{}: NDCG@10 {candidate:.4}; before {running:.4}, plain history {history:.4}",
        published.detail
    );
    assert_eq!((published.state(), published.model_version), (OperationState::Published, 1), "{published:?}");
    assert!(candidate > running && candidate > history, "{published:?}");
    assert!(published.detail.contains("with a model of"), "{published:?}");
    let model = shop.model().await;
    assert!(model.ml_ready && model.ml_detail.starts_with("a model of"), "{model:?}");
    let mut kinds = BTreeSet::new();
    for customer in &customers {
        for product in shop.page(customer).await {
            kinds.extend(product.reasons.iter().map(|reason| reason.kind() as i32));
        }
    }
    assert!(kinds.contains(&(ReasonKind::SimilarCustomers as i32)), "{kinds:?}");

    // The same again finds nothing better.
    let kept = shop.trained(false).await;
    assert_eq!((kept.state(), kept.model_version), (OperationState::Kept, 1), "{kept:?}");
    assert_eq!(ndcg(&kept)[0], candidate);

    // It outlives a restart. An opted-out customer is none that it speaks of.
    let customer = customers[0].clone();
    let before = shop.page(&customer).await;
    let shop = shop.restart_with(recommending).await;
    until("the same page", async || {
        let found = shop.page(&customer).await;
        if skus(&found) == skus(&before) { Ok(()) } else { Err(found) }
    })
    .await;
    assert_eq!(shop.model().await.version, 1);
    let preferences = Some(Preferences { opted_out: true, ..Default::default() });
    let out =
        UpdateUserPreferencesRequest { customer_id: customer.clone(), preferences, ..Default::default() };
    shop.client.update_user_preferences(out).await.unwrap();
    assert_eq!(shop.page(&customer).await, shop.page("").await);

    // A damaged one is refused, and the shop goes on without it until another one is trained.
    let dir = shop.stop().await;
    let file = dir.path().join("data/recommendation/model.onrush");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    let shop = Shop::reopen(dir, recommending);
    let model = shop.model().await;
    assert_eq!((model.ml_ready, model.version), (false, 1), "{model:?}");
    assert_eq!(shop.page(&customers[1]).await.len(), 10);
    let again = shop.trained(false).await;
    assert_eq!((again.state(), again.model_version), (OperationState::Published, 2), "{again:?}");
    assert!(shop.model().await.ml_ready);
}
