//! Input that is never right: a typed error with the field's path, and the connection lives on.

use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_grpc::order::v1::{CreateOrderRequest, GetOrderStatusRequest, ListOrdersRequest, OrderStatus};
use onrush_grpc::payment::v1::{ListTransactionsRequest, ProcessRefundRequest};
use onrush_grpc::product::v1::{
    GetProductDetailsRequest, ListProductsRequest, PutProductRequest, UpdateStockRequest,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::shop::{Shop, assert_refused, euro, order, payment, product};

#[tokio::test]
async fn lines_are_refused_by_path() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    shop.stock("gold", i64::MAX / 2, 10).await;
    let dear = ["tea", "gold"];
    let table: [(&[(&str, i64)], &str, &str); 11] = [
        (&[], "NO_LINES", "lines"),
        (&[("tea", 0)], "BAD_QUANTITY", "lines[0].quantity"),
        (&[("tea", -1)], "BAD_QUANTITY", "lines[0].quantity"),
        (&[("tea", i64::MIN)], "BAD_QUANTITY", "lines[0].quantity"),
        (&[("tea", i64::MAX)], "BAD_QUANTITY", "lines[0].quantity"),
        (&[("tea", 1_000_001)], "BAD_QUANTITY", "lines[0].quantity"),
        (&[("tea", 1), ("tea", 1)], "DUPLICATE_SKU", "lines[1].sku"),
        (&[("nothing", 1)], "UNKNOWN_SKU", "lines[0].sku"),
        (&[("tea", 1), ("", 1)], "MISSING_FIELD", "lines[1].sku"),
        (&[("0123456789012345678901234567890123456789", 1)], "INVALID_FIELD", "lines[0].sku"),
        (&[(dear[1], 3)], "AMOUNT_OVERFLOW", "lines[0].quantity"),
    ];
    for (lines, reason, field) in table {
        assert_refused(shop.client.create_order(order("", "ada", lines)).await, reason, Some(field));
    }
    let many: Vec<String> = (0..10_001).map(|index| format!("sku-{index}")).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|sku| (sku.as_str(), 1)).collect();
    assert_refused(shop.client.create_order(order("", "ada", &many)).await, "TOO_MANY_LINES", Some("lines"));
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.orders == 0, "nothing was partially applied: {audit:?}");
}

#[tokio::test]
async fn texts_ids_and_enums_are_refused_by_path() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    let client = &shop.client;
    assert_refused(
        client.create_order(order("", "", &[("tea", 1)])).await,
        "MISSING_FIELD",
        Some("customer_id"),
    );
    let long = "k".repeat(256);
    assert_refused(
        client.create_order(order(&long, "ada", &[("tea", 1)])).await,
        "INVALID_FIELD",
        Some("request_id"),
    );
    for order_id in ["", "12", "zz000000000000000000000000000000", "+0000000000000000000000000000000"] {
        let request = GetOrderStatusRequest { order_id: order_id.into() };
        assert_refused(client.get_order_status(request).await, "INVALID_ID", Some("order_id"));
    }
    let request = GetOrderStatusRequest { order_id: "0".repeat(32) };
    assert_refused(client.get_order_status(request).await, "UNKNOWN_ORDER", Some("order_id"));

    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let mut unknown = payment("", &order_id, "pm_card");
    unknown.capture_method = 77;
    assert_refused(client.process_payment(unknown).await, "UNKNOWN_ENUM_VALUE", Some("capture_method"));
    let none = payment("", &order_id, "");
    assert_refused(client.process_payment(none).await, "MISSING_FIELD", Some("payment_method"));
    let unknown = GetProductDetailsRequest { sku: "nothing".into() };
    assert_refused(client.get_product_details(unknown).await, "UNKNOWN_PRODUCT", Some("sku"));
    let unchanged = UpdateStockRequest { sku: "tea".into(), ..Default::default() };
    assert_refused(client.update_stock(unchanged).await, "MISSING_FIELD", Some("change"));
}

#[tokio::test]
async fn money_is_refused_by_path() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    let client = &shop.client;
    let mut foreign = product("tea", 1);
    for currency in ["", "usd", "EURO", "E R", "\u{1F4B6}"] {
        foreign.price.as_mut().unwrap().currency_code = currency.into();
        let field = Some("price.currency_code");
        assert_refused(client.put_product(foreign.clone()).await, "INVALID_CURRENCY", field);
    }
    assert_refused(client.put_product(product("tea", -1)).await, "INVALID_FIELD", Some("price.minor_units"));
    assert_refused(
        client.put_product(product("tea", i64::MIN)).await,
        "INVALID_FIELD",
        Some("price.minor_units"),
    );
    let free = PutProductRequest { price: None, ..product("tea", 1) };
    assert_refused(client.put_product(free).await, "MISSING_FIELD", Some("price"));
    let unnamed = PutProductRequest { name: String::new(), ..product("tea", 1) };
    assert_refused(client.put_product(unnamed).await, "MISSING_FIELD", Some("name"));

    let payment_id = shop.paid("tea").await;
    let mut amount = euro(1);
    amount.as_mut().unwrap().currency_code = "USD".into();
    let request = ProcessRefundRequest { payment_id, amount, ..Default::default() };
    assert_refused(client.process_refund(request).await, "CURRENCY_MISMATCH", Some("amount.currency_code"));
}

#[tokio::test]
async fn pages_are_refused_by_path() {
    let shop = Shop::open();
    for token in ["x", "!!!!", "AAAAAAAAAAA", "\u{e9}"] {
        let page_token = token.to_owned();
        let request = ListProductsRequest { page_token: page_token.clone(), ..Default::default() };
        assert_refused(shop.client.list_products(request).await, "INVALID_PAGE_TOKEN", Some("page_token"));
        let customer_id = "ada".to_owned();
        let request = ListOrdersRequest {
            customer_id: customer_id.clone(),
            page_token: page_token.clone(),
            page_size: 0,
        };
        assert_refused(shop.client.list_orders(request).await, "INVALID_PAGE_TOKEN", Some("page_token"));
        let request = ListTransactionsRequest { customer_id, page_token, page_size: 0 };
        assert_refused(
            shop.client.list_transactions(request).await,
            "INVALID_PAGE_TOKEN",
            Some("page_token"),
        );
    }
    for page_size in [-1, 1_001, i32::MIN] {
        let request = ListProductsRequest { page_size, ..Default::default() };
        assert_refused(shop.client.list_products(request).await, "INVALID_FIELD", Some("page_size"));
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_connection_lives_on() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    let mut client = OrderServiceClient::connect(shop.addresses.order.clone()).await.unwrap();
    let huge = CreateOrderRequest { request_id: "k".repeat(5 << 20), ..order("", "ada", &[("tea", 1)]) };
    let status = client.create_order(huge).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert!(status.message().contains("4194304"), "{status:?}");
    client.create_order(order("", "ada", &[("tea", 1)])).await.expect("the connection lives on");
}

#[tokio::test]
async fn refusals_carry_the_whole_status() {
    let shop = Shop::open();
    shop.stock("tea", 499, 1).await;
    let mut client = OrderServiceClient::connect(shop.addresses.order.clone()).await.unwrap();
    let codes = [
        (order("", "ada", &[("tea", 2)]), Code::FailedPrecondition, "OUT_OF_STOCK"),
        (order("", "ada", &[("nothing", 2)]), Code::NotFound, "UNKNOWN_SKU"),
        (order("", "ada", &[]), Code::InvalidArgument, "NO_LINES"),
    ];
    for (request, code, reason) in codes {
        let status = client.create_order(request).await.unwrap_err();
        assert_eq!(status.code(), code);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "onrush"));
    }
}

#[tokio::test]
async fn an_expired_hold_takes_no_money() {
    let shop = Shop::open();
    shop.stock("tea", 499, 1).await;
    let brief = CreateOrderRequest { hold_us: 1, ..order("", "ada", &[("tea", 1)]) };
    let order_id = shop.client.create_order(brief).await.unwrap().order_id;
    let status = loop {
        let request = GetOrderStatusRequest { order_id: order_id.clone() };
        let found = shop.client.get_order_status(request).await.unwrap().order.unwrap();
        if found.status() != OrderStatus::Pending {
            break found.status();
        }
    };
    assert_eq!(status, OrderStatus::Expired);
    let late = shop.client.process_payment(payment("", &order_id, "pm_card")).await;
    assert_refused(late, "ILLEGAL_TRANSITION", None);
    let books = shop.client.audit(Default::default()).await.unwrap();
    assert!(books.ok && (books.units_available, books.units_sold) == (1, 0), "{books:?}");
}
