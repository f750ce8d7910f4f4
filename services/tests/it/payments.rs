//! PaymentService.

use onrush_grpc::payment::v1::{
    AttemptStatus, CreatePaymentRequest, GetPaymentStatusRequest, LedgerAccount, ListTransactionsRequest,
    Payment, PaymentStatus, ProcessRefundRequest, RefundStatus,
};

use crate::shop::{Shop, assert_refused, euro, payment, refused};

async fn status(shop: &Shop, payment_id: &str) -> Payment {
    let request = GetPaymentStatusRequest { payment_id: payment_id.into() };
    shop.client.get_payment_status(request).await.unwrap().payment.unwrap()
}

async fn reached(shop: &Shop, payment_id: &str, wanted: PaymentStatus) -> Payment {
    for _ in 0..250 {
        let payment = status(shop, payment_id).await;
        if payment.status() == wanted {
            return payment;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("expected {wanted:?}, found {:?}", status(shop, payment_id).await);
}

fn refund(key: &str, payment_id: &str, minor: i64) -> ProcessRefundRequest {
    ProcessRefundRequest { request_id: key.into(), payment_id: payment_id.into(), amount: euro(minor) }
}

#[tokio::test]
async fn an_intent_is_shown_and_an_attempt_started() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let show = CreatePaymentRequest { order_id: order_id.clone(), ..Default::default() };
    let shown = shop.client.create_payment(show.clone()).await.unwrap();
    assert_eq!((shown.attempt, shown.payment.unwrap().status()), (0, PaymentStatus::RequiresPaymentMethod));
    let start = CreatePaymentRequest { request_id: "p".into(), payment_method: "pm_card".into(), ..show };
    let started = shop.client.create_payment(start.clone()).await.unwrap();
    assert_eq!((started.attempt, started.replayed), (1, false));
    let done = reached(&shop, &order_id, PaymentStatus::Succeeded).await;
    assert_eq!((done.captured_minor_units, done.attempts[0].status()), (499, AttemptStatus::Captured));
    assert!(done.attempts[0].reference.starts_with("sim_ch_"));
    let again = shop.client.create_payment(start).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.payment.unwrap().status(), PaymentStatus::Succeeded);
}

#[tokio::test]
async fn a_declined_payment_leaves_the_order_open_for_another() {
    let shop = Shop::open();
    shop.stock("tea", 499, 10).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let declined = shop.client.process_payment(payment("", &order_id, "pm_card_declined")).await.unwrap();
    assert_eq!(
        (declined.decline_code.as_str(), declined.order_status().as_str_name()),
        ("card_declined", "ORDER_STATUS_PENDING")
    );
    let paid = shop.client.process_payment(payment("", &order_id, "pm_card")).await.unwrap();
    assert_eq!((paid.attempt, paid.order_status().as_str_name()), (2, "ORDER_STATUS_PAID"));
    let more = refused(shop.client.process_payment(payment("", &order_id, "pm_card")).await);
    assert_eq!(more.reason, "ILLEGAL_TRANSITION");
}

#[tokio::test]
async fn an_authorised_amount_is_captured_in_part_and_the_rest_voided() {
    let shop = Shop::open();
    shop.stock("tea", 500, 10).await;
    let order_id = shop.authorised("tea").await;
    assert_eq!(status(&shop, &order_id).await.status(), PaymentStatus::RequiresCapture);
    let capture = |key: &str, minor| Shop::capture(key, &order_id, minor);
    let above = shop.client.capture_payment(capture("", 501)).await;
    assert_refused(above, "CAPTURE_ABOVE_AUTHORISED", Some("amount"));
    assert_refused(shop.client.capture_payment(capture("", 0)).await, "INVALID_FIELD", Some("amount"));
    let taken = shop.client.capture_payment(capture("c", 400)).await.unwrap();
    assert_eq!(taken.payment_status(), PaymentStatus::Succeeded);
    assert_eq!((taken.captured, taken.replayed), (euro(400), false));
    assert!(shop.client.capture_payment(capture("c", 400)).await.unwrap().replayed);
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert!(books.ok, "{:?}", books.differences);
}

#[tokio::test]
async fn refunds_never_pass_the_capture() {
    let shop = Shop::open();
    shop.stock("tea", 500, 10).await;
    let order_id = shop.paid("tea").await;
    let first = shop.client.process_refund(refund("r", &order_id, 200)).await.unwrap();
    let back = first.refund.unwrap();
    assert_eq!((back.status(), back.minor_units, first.replayed), (RefundStatus::Succeeded, 200, false));
    assert!(shop.client.process_refund(refund("r", &order_id, 200)).await.unwrap().replayed);
    assert_refused(
        shop.client.process_refund(refund("", &order_id, 301)).await,
        "REFUND_ABOVE_CAPTURED",
        Some("amount"),
    );
    assert_refused(
        shop.client.process_refund(refund("", &order_id, -1)).await,
        "INVALID_FIELD",
        Some("amount"),
    );
    // Three at once, 40 % each: what is left covers one.
    let answers = tokio::join!(
        shop.client.process_refund(refund("", &order_id, 200)),
        shop.client.process_refund(refund("", &order_id, 200)),
        shop.client.process_refund(refund("", &order_id, 200)),
    );
    let made = [answers.0.is_ok(), answers.1.is_ok(), answers.2.is_ok()];
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    assert_eq!(status(&shop, &order_id).await.refunded_minor_units, 400);
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert!(books.ok && books.payments == 1, "{books:?}");
}

#[tokio::test]
async fn transactions_are_listed_over_page_ends() {
    let shop = Shop::open();
    shop.stock("tea", 500, 10).await;
    for _ in 0..3 {
        shop.paid("tea").await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    shop.order("", "tea", 1).await.unwrap();
    let mut found = Vec::new();
    let mut request =
        ListTransactionsRequest { customer_id: "ada".into(), page_size: 4, ..Default::default() };
    loop {
        let page = shop.client.list_transactions(request.clone()).await.unwrap();
        found.extend(page.transactions);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let numbers: Vec<u32> = found.iter().map(|transaction| transaction.number).collect();
    assert_eq!(numbers, [1, 2, 1, 2, 1, 2]);
    assert_eq!((found[0].from(), found[0].to()), (LedgerAccount::Customer, LedgerAccount::Authorised));
    assert_eq!((found[1].to(), found[1].amount.clone()), (LedgerAccount::Captured, euro(500)));
    let foreign = ListTransactionsRequest { customer_id: "bob".into(), ..request };
    assert_refused(shop.client.list_transactions(foreign).await, "INVALID_PAGE_TOKEN", Some("page_token"));
}
