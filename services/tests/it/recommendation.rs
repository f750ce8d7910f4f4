//! What is shown to whom: history, trends, what goes together; and what is never shown.

use onrush_grpc::product::v1::PutProductRequest;
use onrush_grpc::recommendation::v1::{
    CancelOperationRequest, CandidateFilter, Context, GetModelRequest, GetOperationRequest,
    GetRecommendationsRequest, GetSimilarProductsRequest, GetTrendsRequest, GetUserPreferencesRequest,
    Operation, OperationState, Preferences, ReasonKind, RecommendedProduct, TrainModelRequest, TrendWindow,
    UpdateUserPreferencesRequest,
};
use onrush_services::config::{Config, Service};

use crate::shop::{Shop, assert_refused, euro, order, payment, product};
use crate::wait::until;

/// Where the counters are kept.
const COUNTERS: &str = "data/recommendation.counters";

fn recommending(config: &mut Config) {
    config.services.push((Service::Recommendation, 0));
}

impl Shop {
    /// A paid order of a customer's for one unit of each.
    pub(crate) async fn bought(&self, customer: &str, skus: &[&str]) {
        let lines: Vec<(&str, i64)> = skus.iter().map(|sku| (*sku, 1)).collect();
        let created = self.client.create_order(order("", customer, &lines)).await.unwrap();
        self.client.process_payment(payment("", &created.order_id, "pm_card")).await.unwrap();
    }

    /// The same for one product, as a task of its own.
    fn bought_one(&self, customer: &str, sku: &str) -> impl Future<Output = ()> + Send + use<> {
        let (client, order) = (self.client.clone(), order("", customer, &[(sku, 1)]));
        async move {
            let created = client.create_order(order).await.unwrap();
            client.process_payment(payment("", &created.order_id, "pm_card")).await.unwrap();
        }
    }

    async fn shown(&self, request: GetRecommendationsRequest) -> Vec<RecommendedProduct> {
        self.client.get_recommendations(request).await.unwrap().products
    }

    /// Orders with a SKU in the last hour, once they are so many; more would be counted twice.
    pub(crate) async fn until_counted(&self, sku: &str, orders: u64) {
        let found = until("orders to be counted", async || {
            let request = trends(TrendWindow::Hour);
            let products = self.client.get_trends(request).await.unwrap().products;
            let product = products.iter().find(|product| product.sku == sku);
            let found = product.map_or(0, |product| product.orders);
            if found >= orders { Ok(found) } else { Err(found) }
        });
        assert_eq!(found.await, orders, "orders with {sku}");
    }

    /// Asks until what is shown is so: the charts are made a moment after the orders.
    async fn until_shown(
        &self,
        request: GetRecommendationsRequest,
        skus: &[&str],
    ) -> Vec<RecommendedProduct> {
        until(&format!("{skus:?}"), async || {
            let found = self.shown(request.clone()).await;
            if names(&found) == skus { Ok(found) } else { Err(found) }
        })
        .await
    }
}

fn names(products: &[RecommendedProduct]) -> Vec<&str> {
    products.iter().map(|product| product.sku.as_str()).collect()
}

fn kinds(product: &RecommendedProduct) -> Vec<ReasonKind> {
    product.reasons.iter().map(|reason| reason.kind()).collect()
}

fn home(customer: &str) -> GetRecommendationsRequest {
    GetRecommendationsRequest { customer_id: customer.into(), ..Default::default() }
}

fn trends(window: TrendWindow) -> GetTrendsRequest {
    GetTrendsRequest { window: window.into(), ..Default::default() }
}

fn put(customer: &str, preferences: Preferences) -> UpdateUserPreferencesRequest {
    let preferences = Some(preferences);
    UpdateUserPreferencesRequest { customer_id: customer.into(), preferences, ..Default::default() }
}

fn in_category(sku: &str, category: &str, brand: &str) -> PutProductRequest {
    PutProductRequest { category: category.into(), brand: brand.into(), ..product(sku, 499) }
}

#[tokio::test]
async fn an_empty_catalogue_shows_nothing_and_one_product_itself() {
    let shop = Shop::open_with(recommending);
    assert_eq!(shop.shown(home("")).await, []);
    assert_eq!(shop.shown(home("nobody-knows-her")).await, []);
    assert_eq!(shop.client.get_trends(trends(TrendWindow::Month)).await.unwrap().products, []);
    shop.stock("tea", 499, 2).await;
    let found = shop.until_shown(home(""), &["tea"]).await;
    assert_eq!((kinds(&found[0]), found[0].unit_price.clone()), (vec![ReasonKind::New], euro(499)));
    let new_to_us = shop.client.get_recommendations(home("nobody-knows-her")).await.unwrap();
    assert_eq!(names(&new_to_us.products), ["tea"]);
    // Sold out, withdrawn: gone at once, as stock is looked at and not learned.
    shop.restock("tea", 0).await;
    assert_eq!(shop.shown(home("")).await, []);
    shop.restock("tea", 1).await;
    assert_eq!(names(&shop.shown(home("")).await), ["tea"]);
    let withdrawn = PutProductRequest { withdrawn: true, ..product("tea", 499) };
    shop.client.put_product(withdrawn).await.unwrap();
    assert_eq!(shop.shown(home("")).await, []);
}

#[tokio::test]
async fn customers_see_what_they_buy_and_visitors_what_everybody_does() {
    let shop = Shop::open_with(recommending);
    for sku in ["tea", "cup", "pot", "saucer"] {
        shop.stock(sku, 499, 100).await;
    }
    shop.bought("ada", &["cup"]).await;
    for customer in ["bob", "eve", "joe"] {
        shop.bought(customer, &["tea", "pot"]).await;
    }
    shop.until_counted("pot", 3).await;
    shop.until_counted("cup", 1).await;
    let visitor = shop.shown(home("")).await;
    assert_eq!(names(&visitor)[..3], ["pot", "tea", "cup"]);
    let (why, window) = (&visitor[0].reasons[0], TrendWindow::Week);
    assert_eq!((why.kind(), why.orders, why.window()), (ReasonKind::Trending, 3, window));
    assert_eq!((names(&visitor)[3], kinds(&visitor[3])), ("saucer", vec![ReasonKind::New]));
    assert!(visitor.is_sorted_by(|above, below| above.score >= below.score), "{visitor:#?}");

    let ada = shop.client.get_recommendations(home("ada")).await.unwrap();
    assert!(ada.personalised);
    assert_eq!(names(&ada.products)[0], "cup");
    assert_eq!(kinds(&ada.products[0]), [ReasonKind::BoughtBefore, ReasonKind::Trending]);

    // On the page of a product, what goes with it; it is not shown itself.
    let page = GetRecommendationsRequest {
        context: Context::ProductPage.into(),
        skus: vec!["pot".into()],
        ..home("")
    };
    let found = shop.shown(page).await;
    assert_eq!(names(&found)[0], "tea");
    let why = &found[0].reasons[0];
    assert_eq!((why.kind(), why.sku.as_str(), why.orders), (ReasonKind::BoughtTogether, "pot", 3));
    assert!(!names(&found).contains(&"pot"));
    let basket = GetRecommendationsRequest {
        context: Context::Basket.into(),
        skus: vec!["pot".into(), "cup".into()],
        page_size: 1,
        ..home("ada")
    };
    assert_eq!(names(&shop.shown(basket).await), ["tea"]);
    let similar = GetSimilarProductsRequest { sku: "pot".into(), page_size: 0 };
    let similar = shop.client.get_similar_products(similar).await.unwrap().products;
    assert_eq!((similar.len(), similar[0].sku.as_str(), similar[0].orders), (1, "tea", 3));
}

#[tokio::test]
async fn what_is_filtered_excluded_or_sold_out_never_appears() {
    let shop = Shop::open_with(recommending);
    for (sku, category, brand) in [
        ("tea", "drinks", "Acme"),
        ("milk", "drinks", "Farm"),
        ("pot", "kitchen", "Acme"),
        ("pan", "kitchen", "Farm"),
    ] {
        shop.client.put_product(in_category(sku, category, brand)).await.unwrap();
        shop.restock(sku, 10).await;
    }
    shop.bought("ada", &["tea", "milk", "pot", "pan"]).await;
    shop.until_counted("pan", 1).await;
    let only = |filter: CandidateFilter| GetRecommendationsRequest { filter: Some(filter), ..home("ada") };
    let drinks = || CandidateFilter { categories: vec!["drinks".into()], ..Default::default() };
    let acme = CandidateFilter { brands: vec!["Acme".into()], ..drinks() };
    let cheap = CandidateFilter { max_unit_price: euro(498), ..Default::default() };
    let dollars = onrush_grpc::money::v1::Money { minor_units: 900, currency_code: "USD".into() };
    let dollars = CandidateFilter { max_unit_price: Some(dollars), ..Default::default() };
    let no_tea = CandidateFilter { excluded_skus: vec!["tea".into()], ..drinks() };
    let none = CandidateFilter { categories: vec!["nothing".into()], ..Default::default() };
    for (filter, expected) in [
        (drinks(), vec!["milk", "tea"]),
        (acme, vec!["tea"]),
        (cheap, vec![]),
        (dollars, vec![]),
        (no_tea, vec!["milk"]),
        (none, vec![]),
    ] {
        let found = shop.shown(only(filter.clone())).await;
        let mut found = names(&found);
        found.sort_unstable();
        assert_eq!(found, expected, "{filter:?}");
    }
    let wanted = Preferences {
        categories: vec!["kitchen".into()],
        brands: vec!["Farm".into()],
        excluded_skus: vec!["tea".into(), "never-there".into()],
        opted_out: false,
    };
    shop.client.update_user_preferences(put("ada", wanted)).await.unwrap();
    let found = shop.shown(home("ada")).await;
    assert_eq!(names(&found), ["pan", "milk", "pot"], "{found:#?}");
    let liked = [ReasonKind::PreferredCategory, ReasonKind::PreferredBrand];
    assert!(kinds(&found[0]).ends_with(&liked), "{found:#?}");
    // All of it is sold while nobody asks.
    shop.bought("bob", &["pan"]).await;
    shop.restock("pan", 0).await;
    assert_eq!(names(&shop.shown(home("ada")).await), ["milk", "pot"]);
    let kitchen = GetTrendsRequest { category: "kitchen".into(), ..trends(TrendWindow::Day) };
    let found = shop.client.get_trends(kitchen).await.unwrap().products;
    assert_eq!(found.iter().map(|found| found.sku.as_str()).collect::<Vec<_>>(), ["pot"]);
}

#[tokio::test]
async fn who_opted_out_is_shown_what_a_visitor_is() {
    let shop = Shop::open_with(recommending);
    for sku in ["tea", "cup"] {
        shop.stock(sku, 499, 100).await;
    }
    shop.bought("ada", &["cup"]).await;
    for _ in 0..2 {
        shop.bought("bob", &["tea"]).await;
    }
    shop.until_counted("tea", 2).await;
    shop.until_counted("cup", 1).await;
    assert_eq!(names(&shop.shown(home("ada")).await), ["cup", "tea"]);
    let out = Preferences { opted_out: true, ..Default::default() };
    assert_eq!(shop.client.update_user_preferences(put("ada", out.clone())).await.unwrap().version, 1);
    let answer = shop.client.get_recommendations(home("ada")).await.unwrap();
    assert!(!answer.personalised);
    assert_eq!(answer.products, shop.shown(home("")).await);

    // It outlives a restart, and is called back by the version that is there only.
    let shop = shop.restart_with(recommending).await;
    let asked = GetUserPreferencesRequest { customer_id: "ada".into() };
    let found = shop.client.get_user_preferences(asked.clone()).await.unwrap();
    assert_eq!((found.preferences, found.version), (Some(out.clone()), 1));
    let same = shop.client.update_user_preferences(put("ada", out)).await.unwrap();
    assert_eq!(same.version, 1, "the same again is no change");
    let back = UpdateUserPreferencesRequest { version: Some(0), ..put("ada", Default::default()) };
    assert_refused(
        shop.client.update_user_preferences(back.clone()).await,
        "VERSION_MISMATCH",
        Some("version"),
    );
    let back = UpdateUserPreferencesRequest { version: Some(1), ..back };
    assert_eq!(shop.client.update_user_preferences(back).await.unwrap().version, 2);
    assert!(shop.client.get_recommendations(home("ada")).await.unwrap().personalised);
}

#[tokio::test]
async fn a_restart_counts_nothing_twice_and_a_damaged_file_is_counted_anew() {
    let shop = Shop::open_with(recommending);
    shop.stock("tea", 499, 100).await;
    for _ in 0..3 {
        shop.bought("ada", &["tea"]).await;
    }
    shop.until_counted("tea", 3).await;
    let shop = shop.restart_with(recommending).await;
    assert!(shop.dir.path().join(COUNTERS).exists(), "kept at the end");
    shop.bought("ada", &["tea"]).await;
    shop.until_counted("tea", 4).await;
    // While nobody counts, the log does.
    let shop = shop.restart().await;
    shop.bought("ada", &["tea"]).await;
    let shop = shop.restart_with(recommending).await;
    shop.until_counted("tea", 5).await;

    let dir = shop.stop().await;
    let file = dir.path().join(COUNTERS);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let shop = Shop::reopen(dir, recommending);
    shop.until_counted("tea", 5).await;
    let ada = shop.shown(home("ada")).await;
    assert_eq!((ada[0].reasons[0].kind(), ada[0].reasons[0].orders), (ReasonKind::BoughtBefore, 5));
}

#[tokio::test]
async fn bad_input_is_refused_by_path() {
    let shop = Shop::open_with(recommending);
    shop.stock("tea", 499, 1).await;
    let client = &shop.client;
    let many = |count: usize| vec!["x".to_owned(); count];
    let filter = |filter: CandidateFilter| GetRecommendationsRequest { filter: Some(filter), ..home("") };
    let looking = |context: Context, skus: Vec<String>| GetRecommendationsRequest {
        context: context.into(),
        skus,
        ..home("")
    };
    for (request, reason, field) in [
        (GetRecommendationsRequest { page_size: 1_000_000, ..home("") }, "INVALID_FIELD", "page_size"),
        (GetRecommendationsRequest { page_size: -1, ..home("") }, "INVALID_FIELD", "page_size"),
        (GetRecommendationsRequest { context: 9, ..home("") }, "UNKNOWN_ENUM_VALUE", "context"),
        (home(&"x".repeat(40)), "INVALID_FIELD", "customer_id"),
        (looking(Context::ProductPage, vec![]), "MISSING_FIELD", "skus"),
        (looking(Context::ProductPage, many(2)), "INVALID_FIELD", "skus"),
        (looking(Context::Home, many(1)), "INVALID_FIELD", "skus"),
        (looking(Context::Basket, many(101)), "INVALID_FIELD", "skus"),
        (looking(Context::Basket, vec!["x".repeat(40)]), "INVALID_FIELD", "skus[0]"),
        (
            filter(CandidateFilter { categories: many(33), ..Default::default() }),
            "INVALID_FIELD",
            "filter.categories",
        ),
        (
            filter(CandidateFilter { brands: vec!["x".into(), String::new()], ..Default::default() }),
            "MISSING_FIELD",
            "filter.brands[1]",
        ),
        (
            filter(CandidateFilter { max_unit_price: Some(Default::default()), ..Default::default() }),
            "INVALID_CURRENCY",
            "filter.max_unit_price.currency_code",
        ),
    ] {
        assert_refused(client.get_recommendations(request).await, reason, Some(field));
    }
    // 0 leaves it to the shop.
    let answer = client.get_recommendations(GetRecommendationsRequest { page_size: 0, ..home("") }).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_refused(client.get_trends(GetTrendsRequest::default()).await, "MISSING_FIELD", Some("window"));
    let wide = GetTrendsRequest { category: "x".repeat(64), ..trends(TrendWindow::Hour) };
    assert_refused(client.get_trends(wide).await, "INVALID_FIELD", Some("category"));
    let unknown = GetSimilarProductsRequest { sku: "nothing".into(), page_size: 0 };
    assert_refused(client.get_similar_products(unknown).await, "UNKNOWN_PRODUCT", Some("sku"));
    let categories =
        Preferences { categories: vec!["drinks".into(), "spirits".into()], ..Default::default() };
    let brands = Preferences { brands: vec!["Acme".into(), "acme".into()], ..Default::default() };
    let excluded = Preferences { excluded_skus: many(1_001), ..Default::default() };
    for (preferences, field) in [
        (categories, "preferences.categories[1]"),
        (brands, "preferences.brands[1]"),
        (excluded, "preferences.excluded_skus"),
    ] {
        let answer = client.update_user_preferences(put("ada", preferences)).await;
        assert_refused(answer, "INVALID_FIELD", Some(field));
    }
    let missing = UpdateUserPreferencesRequest { preferences: None, ..put("ada", Default::default()) };
    assert_refused(client.update_user_preferences(missing).await, "MISSING_FIELD", Some("preferences"));
    let nobody = put("", Preferences::default());
    assert_refused(client.update_user_preferences(nobody).await, "MISSING_FIELD", Some("customer_id"));
    let nothing = client.get_user_preferences(GetUserPreferencesRequest { customer_id: "ada".into() }).await;
    assert_eq!(nothing.unwrap().version, 0, "nothing of it was kept");
}

#[tokio::test]
async fn pages_of_no_size_are_refused_wherever_there_are_pages() {
    let shop = Shop::open_with(recommending);
    shop.stock("tea", 499, 1).await;
    let client = &shop.client;
    for page_size in [1_000_000, -1] {
        let wide = GetTrendsRequest { page_size, ..trends(TrendWindow::Hour) };
        assert_refused(client.get_trends(wide).await, "INVALID_FIELD", Some("page_size"));
        let wide = GetSimilarProductsRequest { sku: "tea".into(), page_size };
        assert_refused(client.get_similar_products(wide).await, "INVALID_FIELD", Some("page_size"));
    }
    let nameless = GetSimilarProductsRequest::default();
    assert_refused(client.get_similar_products(nameless).await, "MISSING_FIELD", Some("sku"));
}

impl Shop {
    /// Trains, and waits for the end.
    pub(crate) async fn trained(&self, measure_only: bool) -> Operation {
        let begun = self.client.train_model(TrainModelRequest { measure_only }).await.unwrap();
        let operation_id = begun.operation.unwrap().operation_id;
        let ended = until("the training to end", async || {
            let request = GetOperationRequest { operation_id: operation_id.clone() };
            let found = self.client.get_operation(request).await.unwrap().operation.unwrap();
            if found.state() != OperationState::Running { Ok(found) } else { Err(found) }
        })
        .await;
        assert_eq!(ended.progress_percent, 100);
        ended
    }
}

#[tokio::test]
async fn a_training_without_orders_says_what_is_missing_and_changes_nothing() {
    let shop = Shop::open_with(recommending);
    let failed = shop.trained(false).await;
    assert_eq!((failed.state(), failed.model_version), (OperationState::Failed, 0));
    assert!(failed.detail.contains("found 0 among 0 orders"), "{failed:?}");
    let model = shop.client.get_model(GetModelRequest {}).await.unwrap();
    assert_eq!((model.version, model.ml_ready), (0, false));
    assert!(model.ml_detail.contains("ML_MODEL_PATH"), "{model:?}");
    // The port is ready without one, and says so; others have nothing to say of it.
    let ready = async |address: &str| {
        let answer = reqwest::get(format!("{address}/ready")).await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap()["ml"].clone())
    };
    let expected = serde_json::json!({"ready": false, "detail": "no model was named by ML_MODEL_PATH"});
    assert_eq!(ready(&shop.addresses.recommendation).await, (200, expected));
    assert_eq!(ready(&shop.addresses.order).await, (200, serde_json::Value::Null));
    let none = || "none".to_owned();
    let get = shop.client.get_operation(GetOperationRequest { operation_id: none() }).await;
    assert_refused(get, "UNKNOWN_OPERATION", Some("operation_id"));
    let cancel = shop.client.cancel_operation(CancelOperationRequest { operation_id: none() }).await;
    assert_refused(cancel, "UNKNOWN_OPERATION", Some("operation_id"));
}

/// Everybody has something of their own, and then all buy what the crowd buys: a mix in which trends weigh
/// more foretells that better than the one it came with.
#[tokio::test]
async fn a_training_publishes_what_foretells_better_and_the_next_one_keeps_it() {
    let shop = Shop::open_with(recommending);
    shop.stock("top", 499, 1_000).await;
    let customers: Vec<(String, String)> =
        (0..24).map(|number| (format!("customer-{number:02}"), format!("own-{number:02}"))).collect();
    for (_, own) in &customers {
        shop.stock(own, 499, 10).await;
    }
    let before = (0..72).map(|number| (format!("crowd-{number}"), "top".to_owned())).chain(customers.clone());
    let before: Vec<_> = before.collect();
    for some in before.chunks(8) {
        let bought = some.iter().map(|(customer, sku)| shop.bought_one(customer, sku));
        bought.collect::<tokio::task::JoinSet<()>>().join_all().await;
    }
    for (customer, _) in &customers {
        shop.bought(customer, &["top"]).await;
    }
    let measured = shop.trained(true).await;
    assert_eq!((measured.state(), measured.model_version), (OperationState::Kept, 0), "{measured:?}");
    let published = shop.trained(false).await;
    assert_eq!((published.state(), published.model_version), (OperationState::Published, 1), "{published:?}");
    assert_eq!((&published.metrics, published.baskets), (&measured.metrics, 12));
    let ndcg = &published.metrics[0];
    assert_eq!((ndcg.name.as_str(), ndcg.candidate), ("ndcg_10", 1.0), "{published:?}");
    assert!(ndcg.running < 1.0, "{published:?}");
    let kept = shop.trained(false).await;
    assert_eq!((kept.state(), kept.model_version), (OperationState::Kept, 1), "{kept:?}");

    // Whose history may not be looked at is not foretold.
    for (customer, _) in &customers[..5] {
        let preferences = Some(Preferences { opted_out: true, ..Default::default() });
        let update =
            UpdateUserPreferencesRequest { customer_id: customer.clone(), preferences, ..Default::default() };
        shop.client.update_user_preferences(update).await.unwrap();
    }
    let failed = shop.trained(false).await;
    assert_eq!((failed.state(), failed.model_version), (OperationState::Failed, 1));
    assert!(failed.detail.contains("found 19 among"), "{failed:?}");

    let shop = shop.restart_with(recommending).await;
    let model = shop.client.get_model(GetModelRequest {}).await.unwrap();
    assert_eq!((model.version, model.weights.unwrap().trend), (1, 1.0));
    let begun = shop.client.train_model(TrainModelRequest::default()).await.unwrap().operation.unwrap();
    let cancel = CancelOperationRequest { operation_id: begun.operation_id };
    shop.client.cancel_operation(cancel).await.unwrap();
}
