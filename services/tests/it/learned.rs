//! A model learned of a shop's own log, through gRPC: it is trained, published while others ask, kept over a restart,
//! refused when it is damaged. The shop has lived before: its log has the orders of the files that `model.rs` makes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use onrush_grpc::recommendation::v1::{
    GetModelRequest, GetModelResponse, GetRecommendationsRequest, GetSimilarProductsRequest, Operation,
    OperationState, Preferences, ReasonKind, RecommendedProduct, UpdateUserPreferencesRequest,
};
use onrush_scoring::factors::Factor;
use onrush_scoring::model::Model;
use onrush_services::config::{Config, Service};
use onrush_services::retail::past::Past;

use crate::shop::{Shop, config};
use crate::wait::until;

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
    /// A shop with a past in its log, all of it counted; its customers.
    pub(crate) async fn lived() -> (Self, Vec<String>) {
        Self::lived_with(|_| ()).await
    }

    /// The same with more in its files.
    async fn lived_with(more: impl FnOnce(&Path)) -> (Self, Vec<String>) {
        let files = tempfile::tempdir().unwrap();
        crate::model::files(files.path());
        more(files.path());
        let file = |name: &str| files.path().join(name);
        let past = Past::read(&file("products.csv"), &file("sales.csv"), |_| true).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        past.live(&config(&dir).engine_options(), now_us - 3_600_000_000).await.unwrap();
        let customers: BTreeSet<String> = past.baskets().map(|basket| basket.customer.clone()).collect();
        let shop = Self::reopen(dir, recommending);
        shop.until_known(past.baskets().count() as u64).await;
        (shop, customers.into_iter().collect())
    }

    pub(crate) async fn model(&self) -> GetModelResponse {
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
    let (shop, customers) = Shop::lived().await;
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
    assert!(kinds.contains(&(ReasonKind::Foretold as i32)), "{kinds:?}");

    similar_products_go_on_where_no_order_has_both(&shop, &product_of(&customers[0], &shop).await).await;

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
    let preferred = |opted_out| {
        let preferences = Some(Preferences { opted_out, ..Default::default() });
        UpdateUserPreferencesRequest { customer_id: customer.clone(), preferences, ..Default::default() }
    };
    shop.client.update_user_preferences(preferred(true)).await.unwrap();
    assert_eq!(shop.page(&customer).await, shop.page("").await);
    shop.client.update_user_preferences(preferred(false)).await.unwrap();

    damaged_ones_are_refused(shop, &customers[1]).await;
}

/// What is done to a model's file.
type Damage = fn(&mut Vec<u8>);

const DAMAGES: [(&str, Damage, &str); 3] = [
    ("a bit flipped", |bytes| *bytes.iter_mut().rev().nth(99).unwrap() ^= 4, "bytes with checksum"),
    ("cut", |bytes| bytes.truncate(bytes.len() / 2), "bytes with checksum"),
    ("of another format", |bytes| bytes[8] += 1, "onrush-m of version"),
];

/// One that is damaged is refused, and the one before it ranks; where there is none that can, history and trends do, until
/// another one is trained.
async fn damaged_ones_are_refused(shop: Shop, customer: &str) {
    let dir = shop.stop().await;
    let file = |version: u64| dir.path().join(format!("data/recommendation/model-{version}.onrush"));
    let files = [file(1), file(2)];
    let damage = |file: &Path, damage: Damage| {
        let mut bytes = std::fs::read(file).unwrap();
        damage(&mut bytes);
        std::fs::write(file, bytes).unwrap();
    };
    let first = std::fs::read(&files[0]).unwrap();
    let [(_, flipped, _), ..] = DAMAGES;
    damage(&files[0], flipped);
    let shop = Shop::reopen(dir, recommending);
    let model = shop.model().await;
    assert_eq!((model.ml_ready, model.version), (false, 1), "{model:?}");
    assert!(model.ml_detail.starts_with("history and trends rank; version 1 was refused: "), "{model:?}");
    assert_eq!(shop.page(customer).await.len(), 10);
    let again = shop.trained(false).await;
    assert_eq!((again.state(), again.model_version), (OperationState::Published, 2), "{again:?}");
    let model = shop.model().await;
    assert!(model.ml_ready && !model.ml_detail.contains("refused"), "{model:?}");
    assert!(!files[0].exists(), "what ranked before it is kept, and nothing did");

    // The one before is there again, and the newest is damaged in one way after the other.
    let mut dir = shop.stop().await;
    std::fs::write(&files[0], &first).unwrap();
    let second = std::fs::read(&files[1]).unwrap();
    for (name, how, expected) in DAMAGES {
        std::fs::write(&files[1], &second).unwrap();
        damage(&files[1], how);
        let shop = Shop::reopen(dir, recommending);
        let model = shop.model().await;
        assert_eq!((model.ml_ready, model.version), (true, 1), "{name}: {model:?}");
        let told = &model.ml_detail;
        assert!(told.starts_with("a model of ") && told.contains("; version 2 was refused: "), "{told}");
        assert!(told.contains(expected) && told.contains("found"), "{name}: {told}");
        foretells(&shop, customer).await;
        dir = shop.stop().await;
    }

    // Of both none ranks, and neither's number is given again.
    damage(&files[0], flipped);
    let shop = Shop::reopen(dir, recommending);
    let model = shop.model().await;
    assert_eq!((model.ml_ready, model.version), (false, 2), "{model:?}");
    let refused = |version: u64| model.ml_detail.contains(&format!("; version {version} was refused: "));
    assert!(refused(1) && refused(2), "{model:?}");
    assert_eq!(shop.page(customer).await.len(), 10);
    let third = shop.trained(false).await;
    assert_eq!((third.state(), third.model_version), (OperationState::Published, 3), "{third:?}");
    assert!(shop.model().await.ml_ready);
}

/// Waits until a page is made by a model.
async fn foretells(shop: &Shop, customer: &str) {
    until("a page by a model", async || {
        let request = GetRecommendationsRequest { page_size: 20, ..home(customer) };
        let page = shop.client.get_recommendations(request).await.unwrap().products;
        let reasons = page.iter().flat_map(|product| &product.reasons);
        let is_foretold = reasons.map(|reason| reason.kind()).any(|kind| kind == ReasonKind::Foretold);
        if is_foretold { Ok(()) } else { Err(page) }
    })
    .await;
}

/// What nobody buys but one customer, and how many orders they have of it, all of them early.
const OWN: &str = "p-9001";
const OWN_BUYER: &str = "customer-9001";
const OWN_ORDERS: u64 = 20;

/// Adds the customer to the files of a past.
fn add_own(dir: &Path) {
    let append = |name: &str, text: &str| {
        let mut file = File::options().append(true).open(dir.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append("products.csv", "9001,Product 9001,kind 0,brand,199\n");
    for order in 0..OWN_ORDERS {
        let (at_s, basket) = ((10 + 2 * order) * 86_400, 1_000_000 + order);
        append("sales.csv", &format!("{at_s},{basket},9001,9001,1,199\n{at_s},{basket},9001,500,1,99\n"));
    }
}

/// The published model of a version, and the factor of a product in it.
fn published(shop: &Shop, version: u64, sku: &str) -> (Model, Factor) {
    let file = shop.dir.path().join(format!("data/recommendation/model-{version}.onrush"));
    let model = Model::read_file(&file).unwrap();
    let number = model.names.iter().position(|name| name == sku).unwrap();
    let factor = model.base.factor(number as u32);
    (model, factor)
}

#[tokio::test]
async fn a_training_leaves_out_the_orders_of_who_opted_out_before_it() {
    let (shop, _) = Shop::lived_with(add_own).await;
    let all = shop.trained(false).await;
    assert_eq!((all.state(), all.model_version), (OperationState::Published, 1), "{all:?}");
    let (with, factor) = published(&shop, 1, OWN);
    assert!(factor.iter().any(|number| *number != 0.0), "somebody bought it");

    let preferences = Some(Preferences { opted_out: true, ..Default::default() });
    let out =
        UpdateUserPreferencesRequest { customer_id: OWN_BUYER.into(), preferences, ..Default::default() };
    shop.client.update_user_preferences(out).await.unwrap();
    // A model as good as the one that ranks would not be published.
    let dir = shop.stop().await;
    std::fs::remove_dir_all(dir.path().join("data/recommendation")).unwrap();
    let shop = Shop::reopen(dir, recommending);
    let willing = shop.trained(false).await;
    assert_eq!((willing.state(), willing.model_version), (OperationState::Published, 2), "{willing:?}");
    let (without, factor) = published(&shop, 2, OWN);
    assert_eq!(with.origin.baskets - without.origin.baskets, OWN_ORDERS);
    assert!(factor.iter().all(|number| *number == 0.0), "as of what nobody bought: {factor:?}");
    assert_eq!(willing.baskets, all.baskets, "they bought nothing in the held-out stretch");
}

/// Products of a page that a model foretells and the customer never bought, by the kind of each.
async fn finds(shop: &Shop, customer: &str) -> [usize; 4] {
    let request = GetRecommendationsRequest { page_size: 100, ..home(customer) };
    let page = shop.client.get_recommendations(request).await.unwrap().products;
    let mut kinds = [0; 4];
    for product in page {
        if product.reasons.iter().any(|reason| reason.kind() == ReasonKind::Foretold) {
            // Products of the files are of a kind each, in turn.
            let number: usize = product.sku.trim_start_matches("p-").parse().unwrap();
            kinds[number % 4] += 1;
        }
    }
    kinds
}

/// Customers of the files buy products of one kind each. Who is new is foretold nothing, and each purchase changes that for
/// who made it, under the same model and for nobody else.
#[tokio::test]
async fn a_purchase_changes_the_page_of_its_customer_at_once() {
    let (shop, _) = Shop::lived().await;
    let trained = shop.trained(false).await;
    assert_eq!(trained.state(), OperationState::Published, "{trained:?}");
    let newcomers = ["new-0", "new-1", "new-2"];
    for customer in newcomers {
        assert_eq!(finds(&shop, customer).await, [0; 4], "{customer}");
    }
    let counted = shop.model().await.purchases;
    shop.bought("new-0", &["p-500"]).await;
    shop.bought("new-1", &["p-501"]).await;
    shop.until_known(counted + 2).await;
    let [of_0, of_1, of_2] =
        [finds(&shop, "new-0").await, finds(&shop, "new-1").await, finds(&shop, "new-2").await];
    let most = |kinds: [usize; 4], kind: usize| kinds[kind] > 0 && kinds.iter().max() == Some(&kinds[kind]);
    assert!(most(of_0, 0) && most(of_1, 1) && of_0 != of_1, "{of_0:?} {of_1:?}");
    assert_eq!(of_2, [0; 4], "nothing was bought");
    // Another kind is foretold as soon as something of it was bought.
    shop.bought("new-0", &["p-503", "p-507", "p-511"]).await;
    shop.until_known(counted + 3).await;
    let now = finds(&shop, "new-0").await;
    assert!(now[3] > of_0[3], "{of_0:?}, then {now:?}");
    assert_eq!(finds(&shop, "new-1").await, of_1);
    assert_eq!(shop.model().await.version, trained.model_version);
}

/// The first product of a customer's page.
async fn product_of(customer: &str, shop: &Shop) -> String {
    shop.page(customer).await[0].sku.clone()
}

/// First what is bought together, the most often first, then what is like it by the model.
async fn similar_products_go_on_where_no_order_has_both(shop: &Shop, sku: &str) {
    let request = |page_size| GetSimilarProductsRequest { sku: sku.into(), page_size };
    let found = shop.client.get_similar_products(request(100)).await.unwrap().products;
    let together = found.iter().take_while(|found| found.orders > 0).count();
    assert!((1..=24).contains(&together) && found.len() > together, "{found:#?}");
    assert!(found.is_sorted_by(|above, below| above.orders >= below.orders), "{found:#?}");
    let different: BTreeSet<&str> = found.iter().map(|found| found.sku.as_str()).collect();
    assert!(different.len() == found.len() && !different.contains(sku), "{found:#?}");
    let first = shop.client.get_similar_products(request(3)).await.unwrap().products;
    assert_eq!(first, found[..3]);
}
