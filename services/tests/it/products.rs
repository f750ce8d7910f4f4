//! ProductService.

use onrush_grpc::product::v1::product_service_client::ProductServiceClient;
use onrush_grpc::product::v1::update_stock_request::Change;
use onrush_grpc::product::v1::{
    AddIfVersion, GetProductDetailsRequest, ListProductsRequest, ProductLine, PutProductRequest,
    UpdateStockRequest, ValidateProductsRequest,
};
use onrush_services::config::Service;

use crate::shop::{Shop, assert_refused, euro, product};

fn update(sku: &str, key: &str, change: Change) -> UpdateStockRequest {
    UpdateStockRequest {
        request_id: key.into(),
        sku: sku.into(),
        change: Some(change),
        reason: "count".into(),
    }
}

#[tokio::test]
async fn a_product_is_put_stocked_and_shown() {
    let shop = Shop::open();
    let put =
        shop.client.put_product(PutProductRequest { limit_per_customer: 2, ..product("tea", 499) }).await;
    assert!(!put.unwrap().request_id.is_empty(), "the edge makes a key and returns it");
    let first = shop.client.update_stock(update("tea", "k1", Change::Set(10))).await.unwrap();
    assert_eq!((first.on_hand, first.held, first.replayed), (10, 0, false));
    let again = shop.client.update_stock(update("tea", "k1", Change::Set(10))).await.unwrap();
    assert!(again.replayed);
    assert_eq!((again.on_hand, again.version), (first.on_hand, first.version));

    let request = GetProductDetailsRequest { sku: "tea".into() };
    let shown = shop.client.get_product_details(request).await.unwrap().product.unwrap();
    assert_eq!((shown.price, shown.available, shown.limit_per_customer), (euro(499), 10, 2));
    assert_eq!((shown.name.as_str(), shown.brand.as_str(), shown.active), ("The tea", "Acme", true));
    assert_eq!(shown.stock_version, first.version);
}

#[tokio::test]
async fn stock_is_compared_and_never_falls_below_what_is_held() {
    let shop = Shop::open();
    shop.stock("tea", 499, 3).await;
    shop.order("", "tea", 2).await.unwrap();
    let now = shop.client.update_stock(update("tea", "", Change::Add(1))).await.unwrap();
    assert_eq!((now.on_hand, now.held), (4, 2));
    let stale = Change::AddIfVersion(AddIfVersion { add: 1, version: now.version - 1 });
    assert_refused(
        shop.client.update_stock(update("tea", "", stale)).await,
        "VERSION_MISMATCH",
        Some("version"),
    );
    let fresh = Change::AddIfVersion(AddIfVersion { add: 1, version: now.version });
    assert_eq!(shop.client.update_stock(update("tea", "", fresh)).await.unwrap().on_hand, 5);
    assert_refused(
        shop.client.update_stock(update("tea", "", Change::Set(1))).await,
        "BELOW_HELD",
        Some("change"),
    );
    let key = |change| update("tea", "once", change);
    shop.client.update_stock(key(Change::Add(1))).await.unwrap();
    assert_refused(
        shop.client.update_stock(key(Change::Add(2))).await,
        "IDEMPOTENCY_KEY_REUSED",
        Some("request_id"),
    );
}

#[tokio::test]
async fn validation_answers_line_by_line() {
    let shop = Shop::open();
    shop.stock("tea", 499, 3).await;
    shop.client.put_product(PutProductRequest { withdrawn: true, ..product("old", 1) }).await.unwrap();
    let lines = [("tea", 3), ("tea", 1), ("old", 1), ("nothing", 1), ("coal", 0)];
    let lines = lines.map(|(sku, quantity)| ProductLine { sku: sku.into(), quantity }).to_vec();
    let answer = shop.client.validate_products(ValidateProductsRequest { lines }).await.unwrap();
    let reasons: Vec<&str> = answer.lines.iter().map(|line| line.reason.as_str()).collect();
    assert_eq!(reasons, ["", "DUPLICATE_SKU", "PRODUCT_INACTIVE", "UNKNOWN_SKU", "BAD_QUANTITY"]);
    assert!(!answer.valid);
    assert_eq!((answer.lines[0].available, answer.lines[0].unit_price.clone()), (3, euro(499)));
    let lines = vec![ProductLine { sku: "tea".into(), quantity: 4 }];
    let answer = shop.client.validate_products(ValidateProductsRequest { lines }).await.unwrap();
    assert_eq!(answer.lines[0].reason, "OUT_OF_STOCK");
    let none = shop.client.validate_products(ValidateProductsRequest::default()).await;
    assert_refused(none, "NO_LINES", Some("lines"));
}

/// Who says how messages are packed is answered by the generated code; else what is plain is read in place.
#[tokio::test]
async fn reads_are_answered_alike_in_place_and_by_the_generated_code() {
    let shop = Shop::open();
    shop.stock("tea", 499, 3).await;
    shop.stock("cup", 1, 0).await;
    let mut client = ProductServiceClient::connect(shop.address(Service::Product)).await.unwrap();
    let line = |(sku, quantity): (&str, i64)| ProductLine { sku: sku.into(), quantity };
    let long = "s".repeat(40);
    let tables: [&[(&str, i64)]; 8] = [
        &[],
        &[("tea", 3)],
        &[("tea", 4), ("cup", 1), ("nothing", 1), ("tea", 1)],
        &[("tea", 0)],
        &[("tea", -1)],
        &[("tea", 1), ("", 1)],
        &[("tea", 1), (&long, 1)],
        &[("tea", 1); 11_000],
    ];
    for table in tables {
        let asked = ValidateProductsRequest { lines: table.iter().copied().map(line).collect() };
        let in_place = client.validate_products(asked.clone()).await;
        let generated = client.validate_products(packed(asked)).await;
        assert_eq!(heard(in_place), heard(generated), "{table:?}");
    }
    for sku in ["tea", "nothing", "", &long] {
        let asked = GetProductDetailsRequest { sku: sku.into() };
        let in_place = client.get_product_details(asked.clone()).await;
        let generated = client.get_product_details(packed(asked)).await;
        assert_eq!(heard(in_place), heard(generated), "{sku}");
    }
}

/// The same, with a word about how it is packed: not at all.
fn packed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("grpc-encoding", "identity".parse().unwrap());
    request
}

/// An answer, or all that is told of why there is none.
fn heard<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T, (tonic::Code, String, Vec<u8>)> {
    let why = |status: tonic::Status| (status.code(), status.message().into(), status.details().to_vec());
    answer.map(tonic::Response::into_inner).map_err(why)
}

/// It said OUT_OF_STOCK of what an order got.
#[tokio::test]
async fn validation_counts_what_may_be_backordered() {
    let shop = Shop::open();
    let put = |backorder| PutProductRequest { backorder, ..product("tea", 499) };
    shop.client.put_product(put(3)).await.unwrap();
    shop.client.update_stock(update("tea", "", Change::Set(2))).await.unwrap();
    for (quantity, reason) in [(5, ""), (6, "OUT_OF_STOCK")] {
        let lines = vec![ProductLine { sku: "tea".into(), quantity }];
        let answer = shop.client.validate_products(ValidateProductsRequest { lines }).await.unwrap();
        assert_eq!(answer.lines[0].reason, reason, "{quantity}");
    }
    shop.order("", "tea", 4).await.unwrap();
    assert_refused(shop.client.put_product(put(0)).await, "BACKORDER_BELOW_OWED", Some("backorder"));
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok, "{:?}", audit.violations);
}

#[tokio::test]
async fn the_catalogue_is_listed_page_by_page_and_searched() {
    let shop = Shop::open();
    for index in 0..7 {
        shop.client.put_product(product(&format!("sku-{index}"), 100)).await.unwrap();
    }
    let special =
        PutProductRequest { category: "food".into(), name: "Rye BREAD".into(), ..product("rye", 250) };
    shop.client.put_product(special).await.unwrap();

    let mut found = Vec::new();
    let mut request = ListProductsRequest { page_size: 3, ..Default::default() };
    loop {
        let page = shop.client.list_products(request.clone()).await.unwrap();
        found.extend(page.products.iter().map(|product| product.sku.clone()));
        assert!(page.products.len() <= 3);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let expected: Vec<String> =
        std::iter::once("rye".to_owned()).chain((0..7).map(|index| format!("sku-{index}"))).collect();
    assert_eq!(found, expected);

    let only = |query: &str, category: &str| ListProductsRequest {
        query: query.into(),
        category: category.into(),
        ..Default::default()
    };
    assert_eq!(shop.client.list_products(only("bread", "")).await.unwrap().products[0].sku, "rye");
    assert_eq!(shop.client.list_products(only("", "food")).await.unwrap().products.len(), 1);
    assert!(shop.client.list_products(only("bread", "drinks")).await.unwrap().products.is_empty());
    let foreign = ListProductsRequest { query: "sku".into(), ..request.clone() };
    assert_refused(shop.client.list_products(foreign).await, "INVALID_PAGE_TOKEN", Some("page_token"));
    let foreign = ListProductsRequest { on_sale: true, ..request };
    assert_refused(shop.client.list_products(foreign).await, "INVALID_PAGE_TOKEN", Some("page_token"));
}

/// The pages of what is on sale, by their SKUs.
async fn on_sale(shop: &Shop, page_size: i32) -> Vec<Vec<String>> {
    let mut request = ListProductsRequest { on_sale: true, page_size, ..Default::default() };
    let mut pages = Vec::new();
    loop {
        let page = shop.client.list_products(request.clone()).await.unwrap();
        pages.push(page.products.into_iter().map(|product| product.sku).collect());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return pages;
        }
    }
}

#[tokio::test]
async fn candidates_are_what_an_order_could_take_now() {
    let shop = Shop::open();
    for index in 0..7 {
        shop.client.put_product(product(&format!("sku-{index}"), 100)).await.unwrap();
    }
    assert_eq!(on_sale(&shop, 3).await, [[""; 0]; 1], "nothing came in yet");
    for sku in ["sku-1", "sku-4", "sku-5", "sku-6"] {
        shop.stock(sku, 100, 1).await;
    }
    shop.order("", "sku-4", 1).await.unwrap();
    let backordered = PutProductRequest { backorder: 2, ..product("sku-0", 100) };
    let withdrawn = PutProductRequest { withdrawn: true, ..product("sku-6", 100) };
    for changed in [backordered, withdrawn] {
        shop.client.put_product(changed).await.unwrap();
    }
    assert_eq!(on_sale(&shop, 2).await, [vec!["sku-0", "sku-1"], vec!["sku-5"]]);
    assert_eq!(on_sale(&shop, 50).await, [["sku-0", "sku-1", "sku-5"]]);
}
