//! What PayPal does days or hours later: reservations that are to be renewed, and a list of what moved.

use jiff::{SignedDuration, Timestamp};
use onrush_grpc::admin::v1::{GatewayBooks, ReconcileResponse};
use onrush_grpc::order::v1::{CancelOrderRequest, CaptureMethod, OrderStatus};
use onrush_grpc::payment::v1::PaymentStatus;

use super::paypal::{pay, paying};
use super::purse::Purse;
use super::stand::Fault;
use super::stripe::{books_agree, payment_of};
use crate::shop::{Shop, payment};
use crate::wait::seen;

/// A reservation that is so many days old.
async fn reserved(shop: &Shop, purse: &Purse, days: i64) -> String {
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let mut manual = payment("", &order_id, "paypal:kept");
    manual.capture_method = CaptureMethod::Manual.into();
    shop.client.process_payment(manual).await.unwrap();
    purse.ages(days);
    order_id
}

async fn shop(purse: &Purse) -> Shop {
    let shop = Shop::open_with(paying(purse));
    shop.stock("tea", 500, 100).await;
    shop
}

/// Days 4 to 29: renewed once, whatever becomes of the calls, and what renewed it is captured.
#[tokio::test]
async fn an_old_reservation_is_renewed_before_it_is_captured() {
    use Fault::{Dropped, FailedAfter, FailedBefore};
    let table: [(i64, &[Fault], usize); 5] = [
        (2, &[], 0),
        (4, &[], 1),
        (29, &[], 1),
        (5, &[Dropped, FailedBefore], 1),
        (5, &[FailedAfter, Dropped], 1),
    ];
    for (days, faults, renewals) in table {
        let purse = Purse::start(&[]);
        let shop = shop(&purse).await;
        let order_id = reserved(&shop, &purse, days).await;
        purse.fail_next(faults);
        let taken = shop.client.capture_payment(Shop::capture("c", &order_id, 400)).await.unwrap();
        assert_eq!(taken.payment_status(), PaymentStatus::Succeeded, "{days} days, {faults:?}");
        let mut keys = purse.keys_at("/reauthorize");
        keys.dedup();
        assert_eq!(keys, vec![format!("{order_id}:1:reauthorize"); renewals], "{days} days, {faults:?}");
        assert_eq!(purse.sums().0, ["4.00"], "{days} days, {faults:?}");
        books_agree(&shop, 1).await;
    }
}

/// What PayPal does not renew may still be captured: it decides. Whatever it says, the order waits for another try.
#[tokio::test]
async fn what_is_not_renewed_is_for_paypal_to_decide() {
    let purse = Purse::start(&[]);
    purse.renews_nothing("PAYER_CANNOT_PAY");
    let shop = shop(&purse).await;
    let order_id = reserved(&shop, &purse, 10).await;
    let taken = shop.client.capture_payment(Shop::capture("c", &order_id, 500)).await.unwrap();
    assert_eq!((taken.payment_status(), purse.sums().0.len()), (PaymentStatus::Succeeded, 1));

    let order_id = reserved(&shop, &purse, 30).await;
    let gone = shop.client.capture_payment(Shop::capture("d", &order_id, 500)).await.unwrap();
    assert_eq!(
        (gone.payment_status(), gone.decline_code.as_str()),
        (PaymentStatus::RequiresPaymentMethod, "AUTHORIZATION_EXPIRED")
    );
    let paid = shop.client.process_payment(payment("", &order_id, "paypal:kept")).await.unwrap();
    assert_eq!((paid.attempt, paid.order_status()), (2, OrderStatus::Paid));
    assert_eq!(purse.sums().0, ["5.00", "5.00"]);
    books_agree(&shop, 2).await;
}

#[tokio::test]
async fn an_old_reservation_is_given_back_unrenewed() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let order_id = reserved(&shop, &purse, 10).await;
    let cancel = CancelOrderRequest { order_id, ..Default::default() };
    shop.client.cancel_order(cancel).await.unwrap();
    seen("a reservation given back", || purse.authorizations() == ["VOIDED"]).await;
    assert_eq!(purse.keys_at("/reauthorize").len(), 0);
    books_agree(&shop, 1).await;
}

fn at_paypal(books: &ReconcileResponse) -> &GatewayBooks {
    books.gateways.iter().find(|books| books.gateway == "paypal").unwrap()
}

/// The key of an attempt for an order that nobody made.
fn nobodys() -> String {
    format!("{}:1:charge", "0".repeat(31) + "7")
}

/// On some days PayPal refreshes its list many hours late, and refuses stretches that begin after that. This broke
/// the whole comparison off, or took what was not listed yet for read.
#[tokio::test]
async fn what_moves_after_the_last_refresh_is_read_after_the_next() {
    let hours = SignedDuration::from_hours;
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    pay(&shop, "paypal:kept").await;
    purse.took(&nobodys(), "9.95", hours(26));
    let refreshed = purse.refreshed(Some(hours(30)));
    for payments in [1, 0] {
        let books = shop.client.reconcile(Default::default()).await.unwrap();
        assert!(books.ok && books.payments == payments, "{books:?}");
        assert_eq!(at_paypal(&books).read_to_us, refreshed.as_second() * 1_000_000, "{books:?}");
    }
    purse.refreshed(None);
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert_eq!((books.ok, books.differences.len()), (false, 1), "{books:?}");
    assert!(books.differences[0].ends_with("found 995 and 0 (gateway)"), "{books:?}");
    assert!(at_paypal(&books).read_to_us > refreshed.as_second() * 1_000_000, "{books:?}");
}

/// PayPal breaks off in the middle of a week. What was read counts, and is not asked for again.
#[tokio::test]
async fn a_list_that_breaks_off_is_gone_on_with_where_it_did() {
    let hours = SignedDuration::from_hours;
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    pay(&shop, "paypal:kept").await;
    purse.took(&nobodys(), "9.95", hours(100));
    purse.list_breaks(Some(hours(50)));
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    let found = at_paypal(&books);
    assert!(!books.ok && !found.complete && found.trouble.contains("found none in time"), "{books:?}");
    assert_eq!((books.payments, found.unanswered), (0, 2), "nobody is asked twice: {books:?}");
    let asked = purse.listed_from().len();
    purse.list_breaks(None);
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert_eq!((books.payments, books.differences.len()), (2, 1), "{books:?}");
    assert!(at_paypal(&books).complete, "{books:?}");
    let first = purse.listed_from()[asked];
    assert!(first > Timestamp::now() - hours(80), "from where it broke off, and some hours: {first}");
}

/// PayPal lists money for orders of ours and does not say which orders of its own it belongs to: that is told until it
/// does.
#[tokio::test]
async fn a_payment_that_is_traced_to_nothing_is_told() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    purse.traces_nothing(true);
    purse.take(&nobodys(), "9.95");
    for _ in 0..2 {
        let books = shop.client.reconcile(Default::default()).await.unwrap();
        assert_eq!((books.ok, books.differences.len()), (false, 1), "{books:?}");
        assert!(books.differences[0].contains("which order of its own CAP-PP1 paid for"), "{books:?}");
        assert_eq!(at_paypal(&books).differences, 1);
    }
    purse.traces_nothing(false);
    let books = shop.client.reconcile(Default::default()).await.unwrap();
    assert_eq!(books.differences.len(), 1, "{books:?}");
    assert!(books.differences[0].ends_with("found 995 and 0 (gateway)"), "{books:?}");
}

/// PayPal took money for an order that nobody made, and again for one that was settled, and says so hours later.
#[tokio::test]
async fn a_comparison_finds_what_paypal_lists_and_we_have_not() {
    let purse = Purse::start(&[]);
    let shop = shop(&purse).await;
    let mut paid = String::new();
    for expected in [3, 2] {
        for _ in 0..expected {
            paid = pay(&shop, "paypal:kept").await;
        }
        books_agree(&shop, expected).await;
    }
    let looks =
        || purse.calls().iter().filter(|call| call.path.starts_with("/v2/payments/captures/")).count();
    assert_eq!(looks(), 5, "each listed payment is looked at once");
    purse.list_lags(true);
    purse.take(&nobodys(), "9.95");
    purse.take(&paid, "9.95");
    purse.take("of another system", "9.95");
    books_agree(&shop, 0).await;
    purse.list_lags(false);
    for strangers in [1, 0] {
        let books = shop.client.reconcile(Default::default()).await.unwrap();
        assert_eq!(at_paypal(&books).strangers.len(), strangers, "told once: {books:?}");
        assert_eq!((books.payments, books.differences.len()), (2, 2), "{books:?}");
        assert!(books.differences[0].ends_with("found 995 and 0 (gateway)"), "{books:?}");
        assert!(books.differences[1].ends_with("found 1495 and 0 (gateway)"), "{books:?}");
    }
    assert_eq!(payment_of(&shop, &paid).await.captured_minor_units, 500);
}

/// Transaction search is a permission of its own: without it the charges that we know are compared.
#[tokio::test]
async fn a_key_that_may_not_list_compares_what_is_known() {
    let purse = Purse::start(&[]);
    purse.bars_the_list(true);
    let shop = shop(&purse).await;
    pay(&shop, "paypal:kept").await;
    books_agree(&shop, 1).await;
    purse.take(&nobodys(), "9.95");
    books_agree(&shop, 0).await;
    purse.bars_the_list(false);
    assert!(!shop.client.reconcile(Default::default()).await.unwrap().ok);
}
