//! Input that is never right: a typed error with the field's path, and the connection lives on.

use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_grpc::order::v1::{
    CreateOrderRequest, CreateOrderResponse, GetOrderStatusRequest, ListOrdersRequest, OrderStatus,
};
use onrush_grpc::payment::v1::{CreatePaymentRequest, ListTransactionsRequest, ProcessRefundRequest};
use onrush_grpc::product::v1::update_stock_request::Change;
use onrush_grpc::product::v1::{
    GetProductDetailsRequest, ListProductsRequest, ProductLine, PutProductRequest, UpdateStockRequest,
    ValidateProductsRequest,
};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use crate::shop::{Shop, assert_refused, euro, order, payment, product, refused};

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
    for page_size in [-1, 1_001, i32::MIN, i32::MAX] {
        let request = ListProductsRequest { page_size, ..Default::default() };
        assert_refused(shop.client.list_products(request).await, "INVALID_FIELD", Some("page_size"));
        let (customer_id, page_token) = ("ada".to_owned(), String::new());
        let request =
            ListOrdersRequest { page_size, customer_id: customer_id.clone(), page_token: page_token.clone() };
        assert_refused(shop.client.list_orders(request).await, "INVALID_FIELD", Some("page_size"));
        let request = ListTransactionsRequest { page_size, customer_id, page_token };
        assert_refused(shop.client.list_transactions(request).await, "INVALID_FIELD", Some("page_size"));
    }
    let (orders, transactions) = (ListOrdersRequest::default(), ListTransactionsRequest::default());
    assert_refused(shop.client.list_orders(orders).await, "MISSING_FIELD", Some("customer_id"));
    assert_refused(shop.client.list_transactions(transactions).await, "MISSING_FIELD", Some("customer_id"));
    let request = ListProductsRequest { query: "q".repeat(201), ..Default::default() };
    assert_refused(shop.client.list_products(request).await, "INVALID_FIELD", Some("query"));
    let request = ListProductsRequest { category: "c".repeat(64), ..Default::default() };
    assert_refused(shop.client.list_products(request).await, "INVALID_FIELD", Some("category"));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_connection_lives_on() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    let mut client = OrderServiceClient::connect(shop.addresses.order.clone()).await.unwrap();
    let huge = CreateOrderRequest { request_id: "k".repeat(5 << 20), ..order("", "ada", &[("tea", 1)]) };
    let status = client.create_order(huge).await.unwrap_err();
    assert_status(&status, Code::OutOfRange, "MESSAGE_TOO_LARGE", None);
    assert!(status.message().contains("4194304"), "{status:?}");
    client.create_order(order("", "ada", &[("tea", 1)])).await.expect("the connection lives on");

    let huge = PutProductRequest { description: "d".repeat(5 << 20), ..product("tea", 1) };
    assert_refused(shop.client.put_product(huge).await, "MESSAGE_TOO_LARGE", None);
    let huge = ListTransactionsRequest { page_token: "t".repeat(5 << 20), ..Default::default() };
    assert_refused(shop.client.list_transactions(huge).await, "MESSAGE_TOO_LARGE", None);
}

/// CreateOrderRequest as a client without our types may send it.
#[derive(Clone, PartialEq, prost::Message)]
struct RawOrder {
    #[prost(uint64, tag = "1")]
    request_id: u64,
    #[prost(bytes = "vec", tag = "2")]
    customer_id: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    lines: Vec<RawLine>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawLine {
    #[prost(bytes = "vec", tag = "1")]
    sku: Vec<u8>,
}

#[tokio::test]
async fn messages_that_cannot_be_read_are_refused_by_path() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    let raw = |request_id, customer_id: &[u8], sku: &[u8]| RawOrder {
        request_id,
        customer_id: customer_id.to_vec(),
        lines: vec![RawLine { sku: sku.to_vec() }],
    };
    let create = "/onrush.order.v1.OrderService/CreateOrder";
    let (unread, unknown) = ("INVALID_MESSAGE", "UNKNOWN_METHOD");
    let table = [
        (create, raw(0, b"ada\xff", b"tea"), Code::InvalidArgument, unread, Some("customer_id")),
        (create, raw(0, b"ada", b"\xc3\x28"), Code::InvalidArgument, unread, Some("lines.sku")),
        (create, raw(7, b"ada", b"tea"), Code::InvalidArgument, unread, Some("request_id")),
        ("/onrush.order.v1.OrderService/Nothing", RawOrder::default(), Code::Unimplemented, unknown, None),
        ("/onrush.order.v1.OrderServices/CreateOrder", raw(0, b"", b""), Code::Unimplemented, unknown, None),
        ("/nothing", RawOrder::default(), Code::Unimplemented, unknown, None),
    ];
    let channel = Endpoint::from_shared(shop.addresses.order.clone()).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    for (path, message, code, reason, field) in table {
        client.ready().await.unwrap();
        let codec = ProstCodec::<RawOrder, CreateOrderResponse>::default();
        let answer = client.unary(Request::new(message), path.parse().unwrap(), codec).await;
        assert_status(&answer.unwrap_err(), code, reason, field);
    }
    assert!(shop.order("", "tea", 10).await.is_ok(), "nothing was taken by what could not be read");
}

#[tokio::test]
async fn bounds_of_other_fields_are_refused_by_path() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    let client = &shop.client;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let held = CreateOrderRequest { hold_us: u64::MAX, ..order("", "ada", &[("tea", 1)]) };
    assert_refused(client.create_order(held).await, "INVALID_FIELD", Some("hold_us"));
    let held = PutProductRequest { hold_us: u64::MAX, ..product("tea", 1) };
    assert_refused(client.put_product(held).await, "INVALID_FIELD", Some("hold_us"));
    assert_refused(client.put_product(product("", 1)).await, "MISSING_FIELD", Some("sku"));
    assert_refused(client.put_product(product(&"s".repeat(40), 1)).await, "INVALID_FIELD", Some("sku"));
    assert_refused(
        client.put_product(PutProductRequest { category: "c".repeat(200), ..product("tea", 1) }).await,
        "INVALID_FIELD",
        Some("category"),
    );
    let long = "d".repeat((64 << 10) + 1);
    assert_refused(
        client.put_product(PutProductRequest { description: long, ..product("tea", 1) }).await,
        "INVALID_FIELD",
        Some("description"),
    );
    let customer = "c".repeat(40);
    assert_refused(
        client.create_order(order("", &customer, &[("tea", 1)])).await,
        "INVALID_FIELD",
        Some("customer_id"),
    );
    assert_refused(
        client.get_product_details(GetProductDetailsRequest::default()).await,
        "MISSING_FIELD",
        Some("sku"),
    );
    let unset = UpdateStockRequest { change: Some(Change::Set(1)), ..Default::default() };
    assert_refused(client.update_stock(unset).await, "MISSING_FIELD", Some("sku"));
    for change in [Change::Set(-1), Change::Add(i64::MAX), Change::Add(i64::MIN)] {
        let update = UpdateStockRequest { sku: "tea".into(), change: Some(change), ..Default::default() };
        let found = refused(client.update_stock(update).await);
        assert!(found.field.is_some(), "{change:?}: {found:?}");
    }
    let unknown = CreatePaymentRequest { order_id, capture_method: -1, ..Default::default() };
    assert_refused(client.create_payment(unknown).await, "UNKNOWN_ENUM_VALUE", Some("capture_method"));
    for lines in [vec![], vec![ProductLine::default()]] {
        let (reason, field) =
            if lines.is_empty() { ("NO_LINES", "lines") } else { ("MISSING_FIELD", "lines[0].sku") };
        let request = ValidateProductsRequest { lines };
        assert_refused(client.validate_products(request).await, reason, Some(field));
    }
}

/// Asserts code, reason and field of a status as it comes off the wire.
#[track_caller]
fn assert_status(status: &Status, code: Code, reason: &str, field: Option<&str>) {
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("an ErrorInfo");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "onrush"), "{status:?}");
    let violation = details.bad_request().and_then(|bad| bad.field_violations.first());
    assert_eq!(violation.map(|violation| violation.field.as_str()), field, "{status:?}");
}

#[tokio::test]
async fn refusals_carry_the_whole_status() {
    let shop = Shop::open();
    shop.stock("tea", 499, 1).await;
    let mut client = OrderServiceClient::connect(shop.addresses.order.clone()).await.unwrap();
    let codes = [
        (
            order("", "ada", &[("tea", 2)]),
            Code::FailedPrecondition,
            "OUT_OF_STOCK",
            Some("lines[0].quantity"),
        ),
        (order("", "ada", &[("nothing", 2)]), Code::NotFound, "UNKNOWN_SKU", Some("lines[0].sku")),
        (order("", "ada", &[]), Code::InvalidArgument, "NO_LINES", Some("lines")),
    ];
    for (request, code, reason, field) in codes {
        let status = client.create_order(request).await.unwrap_err();
        assert_status(&status, code, reason, field);
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
    assert_refused(late, "ILLEGAL_TRANSITION", Some("order_id"));
    let books = shop.client.audit(Default::default()).await.unwrap();
    assert!(books.ok && (books.units_available, books.units_sold) == (1, 0), "{books:?}");
}
