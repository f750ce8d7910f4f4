//! Cards whose buyers have to prove who they are (3-D Secure): the link is told, and what the buyer does there
//! settles the payment, in time or too late.

use onrush_grpc::order::v1::{
    CancelOrderRequest, CaptureMethod, GetOrderStatusRequest, ListOrdersRequest, Order, OrderPaymentStatus,
    OrderStatus, ProcessPaymentResponse,
};
use onrush_grpc::payment::v1::{AttemptStatus, CreatePaymentRequest, PaymentStatus};
use onrush_services::config::Config;

use super::outage::until_closed;
use super::stand::Fault;
use super::stripe::{self, books_agree, payment_of, until};
use super::till::Till;
use super::webhooks::{Pusher, event};
use crate::shop::{Shop, order, payment};
use crate::wait::seen;

const ASKS: &str = "pm_card_authenticationRequired";
const LINK: &str = "https://hooks.stripe.com/3d/pi_1";

/// A shop whose buyers come back.
fn paying(till: &Till) -> impl Fn(&mut Config) {
    let by_stripe = stripe::paying(till);
    move |config| {
        by_stripe(config);
        let stripe = config.payment.stripe.as_mut().unwrap();
        stripe.return_url = Some("https://shop.example/orders/{order}".parse().unwrap());
    }
}

async fn shop(till: &Till) -> Shop {
    let shop = Shop::open_with(paying(till));
    shop.stock("tea", 500, 100).await;
    shop
}

async fn order_of(shop: &Shop, order_id: &str) -> Order {
    let request = GetOrderStatusRequest { order_id: order_id.into() };
    shop.client.get_order_status(request).await.unwrap().order.unwrap()
}

fn assert_asks(answer: &ProcessPaymentResponse, attempt: u32, link: &str) {
    let found =
        (answer.payment_status(), answer.order_status(), answer.attempt, answer.approval_url.as_str());
    assert_eq!(
        found,
        (OrderPaymentStatus::RequiresAction, OrderStatus::Pending, attempt, link),
        "{answer:?}"
    );
    assert_eq!(answer.decline_code, "");
}

/// An order for all units that soon expires, its buyer asked before it did: a machine that is busy needs a longer moment.
async fn asked_for_a_moment() -> (Till, Shop, String) {
    for seconds in [1, 2, 4, 8] {
        let till = Till::start(&[]);
        let shop = shop(&till).await;
        let mut wanted = order("", "ada", &[("tea", 100)]);
        wanted.hold_us = seconds * 1_000_000;
        let order_id = shop.client.create_order(wanted).await.unwrap().order_id;
        let answer = shop.client.process_payment(payment("first", &order_id, ASKS)).await;
        if answer
            .is_ok_and(|answer| answer.order_status() == OrderStatus::Pending && answer.approval_url == LINK)
        {
            return (till, shop, order_id);
        }
    }
    panic!("expected the buyer to be asked within 8 s");
}

/// An order for so many units whose buyer is asked to prove who they are.
async fn asked(shop: &Shop, units: i64) -> String {
    let order_id = shop.client.create_order(order("", "ada", &[("tea", units)])).await.unwrap().order_id;
    let answer = shop.client.process_payment(payment("first", &order_id, ASKS)).await.unwrap();
    assert_asks(&answer, 1, LINK);
    order_id
}

#[tokio::test]
async fn the_link_is_told_as_often_as_somebody_asks_and_the_buyer_pays_there() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let order_id = asked(&shop, 1).await;
    let form = till.calls().remove(0).form();
    assert_eq!(form["return_url"], format!("https://shop.example/orders/{order_id}"));
    assert_eq!(form["automatic_payment_methods[allow_redirects]"], "never");
    assert!(!form.contains_key("error_on_requires_action"), "{form:?}");

    let again = shop.client.process_payment(payment("first", &order_id, ASKS)).await.unwrap();
    assert!(again.replayed);
    assert_asks(&again, 1, LINK);
    let shown = payment_of(&shop, &order_id).await;
    assert_eq!((shown.status(), shown.approval_url.as_str()), (PaymentStatus::RequiresAction, LINK));
    assert_eq!(shown.attempts[0].status(), AttemptStatus::Processing);
    let intent = CreatePaymentRequest { order_id: order_id.clone(), ..Default::default() };
    assert_eq!(shop.client.create_payment(intent).await.unwrap().payment.unwrap().approval_url, LINK);
    let shown = order_of(&shop, &order_id).await;
    assert_eq!(
        (shown.payment_status(), shown.approval_url.as_str()),
        (OrderPaymentStatus::RequiresAction, LINK)
    );
    let request = ListOrdersRequest { customer_id: "ada".into(), ..Default::default() };
    let listed = shop.client.list_orders(request).await.unwrap().orders.remove(0);
    assert_eq!((listed.payment_status(), listed.approval_url.as_str()), (OrderPaymentStatus::Processing, ""));

    till.buyer_answers("pi_1", true);
    assert_eq!(Pusher::new(&shop).signed(&event("evt_1", "payment_intent.succeeded", "pi_1")).await, 204);
    let paid = until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
    assert_eq!((paid.captured_minor_units, paid.approval_url.as_str()), (500, ""));
    let again = shop.client.process_payment(payment("first", &order_id, ASKS)).await.unwrap();
    assert_eq!((again.order_status(), again.approval_url.as_str()), (OrderStatus::Paid, ""));
    assert_eq!(till.keys_at("/v1/payment_intents"), [format!("{order_id}:1:charge")]);
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn a_reservation_is_approved_too_and_captured_later() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let mut manual = payment("", &order_id, ASKS);
    manual.capture_method = CaptureMethod::Manual.into();
    assert_asks(&shop.client.process_payment(manual).await.unwrap(), 1, LINK);
    till.buyer_answers("pi_1", true);
    until(&shop, &order_id, |payment| payment.status() == PaymentStatus::RequiresCapture).await;
    shop.client.capture_payment(Shop::capture("c", &order_id, 300)).await.unwrap();
    assert_eq!(till.sums(), (300, 0, 1));
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn a_buyer_who_proves_nothing_may_pay_otherwise() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let order_id = asked(&shop, 1).await;
    till.buyer_answers("pi_1", false);
    let event = event("evt_1", "payment_intent.payment_failed", "pi_1");
    assert_eq!(Pusher::new(&shop).signed(&event).await, 204);
    let open =
        until(&shop, &order_id, |payment| payment.status() == PaymentStatus::RequiresPaymentMethod).await;
    assert_eq!(
        (open.attempts[0].decline_code.as_str(), open.approval_url.as_str()),
        ("authentication_failed", "")
    );
    let paid = shop.client.process_payment(payment("", &order_id, "pm_card")).await.unwrap();
    assert_eq!((paid.attempt, paid.order_status()), (2, OrderStatus::Paid));
    assert_eq!(till.sums(), (500, 0, 1));
    books_agree(&shop, 1).await;
}

/// The buyer leaves the bank's page and takes another card: the first charge is called off before the second
/// is made, and the first call's key still speaks of the first.
#[tokio::test]
async fn another_method_takes_the_place_of_one_that_waits() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let order_id = asked(&shop, 1).await;
    let twice = shop.client.process_payment(payment("second", &order_id, ASKS)).await.unwrap();
    assert_asks(&twice, 2, "https://hooks.stripe.com/3d/pi_2");
    let paid = shop.client.process_payment(payment("third", &order_id, "pm_card")).await.unwrap();
    assert_eq!((paid.attempt, paid.order_status()), (3, OrderStatus::Paid));
    let first = shop.client.process_payment(payment("first", &order_id, ASKS)).await.unwrap();
    assert_eq!((first.attempt, first.decline_code.as_str()), (1, "replaced"));
    let statuses = till.intents().into_iter().map(|(_, status)| status);
    assert_eq!(statuses.collect::<Vec<_>>(), ["canceled", "canceled", "succeeded"]);
    assert_eq!(till.keys_at("/cancel"), [format!("{order_id}:1:cancel"), format!("{order_id}:2:cancel")]);
    books_agree(&shop, 1).await;
}

#[tokio::test]
async fn an_order_that_ends_unapproved_gives_its_stock_back_and_is_called_off_at_the_gateway() {
    let till = Till::start(&[]);
    let shop = shop(&till).await;
    let order_id = asked(&shop, 100).await;
    let cancel = CancelOrderRequest { order_id: order_id.clone(), ..Default::default() };
    shop.client.cancel_order(cancel).await.unwrap();
    let gone = until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Canceled).await;
    assert_eq!((gone.attempts[0].decline_code.as_str(), gone.approval_url.as_str()), ("order_closed", ""));

    let mut short = order("", "ada", &[("tea", 100)]);
    short.hold_us = 1_000_000;
    let order_id = shop.client.create_order(short).await.unwrap().order_id;
    let asks = shop.client.process_payment(payment("", &order_id, ASKS)).await.unwrap();
    assert_asks(&asks, 1, "https://hooks.stripe.com/3d/pi_2");
    assert_eq!(until_closed(&shop, &order_id).await, OrderStatus::Expired);
    until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Canceled).await;
    shop.order("", "tea", 100).await.expect("all stock is back");
    assert_eq!(till.intents().iter().map(|(_, status)| *status).collect::<Vec<_>>(), ["canceled"; 2]);
    assert_eq!(till.sums(), (0, 0, 0));
    books_agree(&shop, 2).await;
}

/// The buyer approves while we hear nothing of the gateway, and meanwhile the order expires: the money finds
/// the stock again if it is there, else it goes back.
#[tokio::test]
async fn what_is_approved_too_late_buys_what_is_left_or_goes_back() {
    for sold_out in [false, true] {
        let (till, shop, order_id) = asked_for_a_moment().await;
        till.outage(Some(503));
        till.buyer_answers("pi_1", true);
        assert_eq!(until_closed(&shop, &order_id).await, OrderStatus::Expired);
        if sold_out {
            shop.order("", "tea", 1).await.unwrap();
        }
        till.outage(None);
        let (back, end) =
            if sold_out { (50_000, PaymentStatus::Canceled) } else { (0, PaymentStatus::Succeeded) };
        let settled = |payment: &onrush_grpc::payment::v1::Payment| {
            payment.captured_minor_units == 50_000 && payment.refunded_minor_units == back
        };
        let late = until(&shop, &order_id, settled).await;
        assert_eq!(late.status(), end, "{late:?}");
        assert_eq!(till.sums(), (50_000, back, 1));
        books_agree(&shop, 1).await;
    }
}

/// The answer with the link is lost, or the shop stops: the same charge is found, and its link told.
#[tokio::test]
async fn lost_answers_and_restarts_ask_the_buyer_once() {
    for (faults, search_lag) in
        [(&[Fault::Dropped][..], 0), (&[Fault::Dropped], 1), (&[Fault::Slow], 0), (&[Fault::FailedBefore], 1)]
    {
        let till = Till::start(faults);
        till.search_lags(search_lag);
        let shop = shop(&till).await;
        let order_id = asked(&shop, 1).await;
        let shop = shop.restart_with(paying(&till)).await;
        assert_eq!(payment_of(&shop, &order_id).await.approval_url, LINK, "{faults:?}");
        let again = shop.client.process_payment(payment("first", &order_id, ASKS)).await.unwrap();
        assert_asks(&again, 1, LINK);
        till.buyer_answers("pi_1", true);
        until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Succeeded).await;
        assert_eq!((till.sums(), till.intents().len()), ((500, 0, 1), 1), "{faults:?}");
        books_agree(&shop, 1).await;
    }
}

/// What is called off has bad days as well, also over a stop.
#[tokio::test]
async fn a_call_off_without_an_answer_is_looked_at() {
    use Fault::{Dropped, FailedAfter, FailedBefore, Slow};
    for fault in [FailedBefore, FailedAfter, Dropped, Slow] {
        let till = Till::start(&[]);
        let shop = shop(&till).await;
        let order_id = asked(&shop, 1).await;
        till.fail_next(&[fault]);
        let cancel = CancelOrderRequest { order_id: order_id.clone(), ..Default::default() };
        shop.client.cancel_order(cancel).await.unwrap();
        seen("a charge to be called off", || !till.keys_at("/cancel").is_empty()).await;
        let shop = shop.restart_with(paying(&till)).await;
        until(&shop, &order_id, |payment| payment.status() == PaymentStatus::Canceled).await;
        assert_eq!(till.intents(), [("pi_1".to_owned(), "canceled")], "{fault:?}");
        books_agree(&shop, 1).await;
    }
}

/// Nowhere to come back to: nobody is sent away.
#[tokio::test]
async fn without_a_return_url_what_is_to_be_proved_is_declined() {
    let till = Till::start(&[]);
    let shop = stripe::shop(&till).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let declined = shop.client.process_payment(payment("", &order_id, ASKS)).await.unwrap();
    assert_eq!(
        (declined.decline_code.as_str(), declined.approval_url.as_str()),
        ("authentication_required", "")
    );
    assert_eq!(declined.payment_status(), OrderPaymentStatus::RequiresPaymentMethod);
}
