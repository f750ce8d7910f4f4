//! A sale in frames.

use onrush_grpc::order::v1::GetOrderStatusRequest;
use onrush_proto::frame::{Answer, Kind};
use onrush_proto::{
    CancelOrder, CapturePayment, Command, OrderState, Outcome, PaymentState, Receipt, RefundPayment,
    RefundState, Refusal, StartPayment, Text,
};

use super::peer::{Peer, create, ordered, outcome, product, receipt, refusal, sell, stock};
use crate::shop::{Shop, order, refused};

const KEY: u128 = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;

#[tokio::test]
async fn something_is_bought_paid_and_given_back() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    assert!(matches!(receipt(&peer.ask(0, &product("tea", 450))), Receipt::Product { version: 1 }));
    let Receipt::Stock { on_hand: 10, held: 0, .. } = receipt(&peer.ask(0, &stock("tea", 10))) else {
        panic!("expected ten units");
    };
    let bought = peer.ask(KEY, &create("ada", &[("tea", 2)]));
    let Receipt::Order { order, total, .. } = receipt(&bought) else { panic!("{bought:?}") };
    assert_eq!(total.minor, 900);
    let Outcome::Stock(row) = outcome(&peer.ask(0, &Command::GetStock(Text::new("tea").unwrap()))) else {
        panic!("expected the stock");
    };
    assert_eq!((row.on_hand, row.held), (10, 2));

    let paid = peer.pay(0, order, "pm_card");
    let Receipt::AttemptSettled { attempt: 1, order_state, payment_state, .. } = receipt(&paid) else {
        panic!("{paid:?}");
    };
    assert_eq!((order_state, payment_state), (OrderState::Paid, PaymentState::Succeeded));
    let Outcome::Order(row) = outcome(&peer.ask(0, &Command::GetOrder(order))) else { panic!("an order") };
    assert_eq!((row.state, row.customer.as_str(), row.lines[0].quantity), (OrderState::Paid, "ada", 2));

    let refund = Command::RefundPayment(RefundPayment { order, minor: 100 });
    let Receipt::Refund { amount, state: RefundState::Pending, .. } = receipt(&peer.ask(7, &refund)) else {
        panic!("expected a refund that has begun");
    };
    assert_eq!(amount.minor, 100);

    let second = ordered(&peer.ask(0, &create("ada", &[("tea", 1)])));
    let cancel = Command::CancelOrder(CancelOrder { order: second });
    let moved = receipt(&peer.ask(0, &cancel));
    assert_eq!(moved, Receipt::OrderMoved { order: second, state: OrderState::Cancelled });
    assert!(shop.client.audit(Default::default()).await.unwrap().ok);
}

#[tokio::test]
async fn a_payment_in_two_steps_is_answered_once_it_is_recorded() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 450, 10);
    let order = ordered(&peer.ask(0, &create("ada", &[("tea", 1)])));
    let start = StartPayment { order, method: Text::new("pm_card").unwrap(), capture: false };
    let started = receipt(&peer.ask(9, &Command::StartPayment(Box::new(start))));
    assert!(matches!(started, Receipt::AttemptStarted { attempt: 1, amount, .. } if amount.minor == 450));
    let capture = Command::CapturePayment(CapturePayment { order, minor: 450 });
    // The gateway may still be at it.
    let receipt = loop {
        let answer = peer.ask(0, &capture);
        match outcome(&answer) {
            Outcome::Refused(Refusal::IllegalPayment { state: PaymentState::Processing }) => {}
            Outcome::Accepted(receipt) => break receipt,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(receipt, Receipt::CaptureStarted { attempt: 1, .. }), "{receipt:?}");
    let card = StartPayment { order, method: Text::new("4111111111111111").unwrap(), capture: true };
    let rejected = super::peer::rejected(&peer.ask(0, &Command::StartPayment(Box::new(card))));
    assert_eq!(rejected.reason, "CARD_NUMBER");
}

#[tokio::test]
async fn a_key_means_one_order_over_every_edge() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 450, 10);
    let first = peer.ask(KEY, &create("ada", &[("tea", 2)]));
    let again = Peer::open(shop.native(), "").ask(KEY, &create("ada", &[("tea", 2)]));
    let replayed = |answer: &Answer| matches!(answer, Answer::Reply(reply) if reply.replayed);
    assert_eq!((ordered(&first), replayed(&first)), (ordered(&again), false));
    assert!(replayed(&again));
    let other = peer.ask(KEY, &create("ada", &[("tea", 3)]));
    assert_eq!(refusal(&other), Refusal::KeyReused);

    let text = format!("{KEY:032x}");
    let same = shop.client.create_order(order(&text, "ada", &[("tea", 2)])).await.unwrap();
    assert!(same.replayed);
    assert_eq!(same.order_id, ordered(&first).to_string());
    let other = shop.client.create_order(order(&text, "ada", &[("tea", 1)])).await;
    assert_eq!(refused(other).reason, "IDEMPOTENCY_KEY_REUSED");

    let without: Vec<_> = (0..2).map(|_| ordered(&peer.ask(0, &create("ada", &[("tea", 1)])))).collect();
    assert_ne!(without[0], without[1], "no key is no key");
    let request = GetOrderStatusRequest { order_id: without[1].to_string() };
    assert!(shop.client.get_order_status(request).await.is_ok());
}

#[tokio::test]
async fn ten_thousand_orders_go_through_in_frames_of_a_thousand() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 9_000);
    let (mut bytes, mut first) = (Vec::new(), None);
    for frame in 0..10u128 {
        let orders: Vec<_> =
            (1..=1_000).map(|number| (frame << 32 | number, create("ada", &[("tea", 1)]))).collect();
        first.get_or_insert(peer.put(&mut bytes, &orders, false));
    }
    peer.write(&bytes);
    let (mut accepted, mut credit, mut seen) = (0, 0, vec![false; 10_000]);
    while credit < 10_000 {
        let said = peer.read();
        assert_eq!(said.kind(), Kind::Outcomes);
        credit += said.frame().argument;
        for entry in said.outcomes() {
            let place = &mut seen[(entry.tag - first.unwrap()) as usize];
            assert!(!std::mem::replace(place, true), "answered twice");
            match outcome(&entry.answer) {
                Outcome::Accepted(Receipt::Order { .. }) => accepted += 1,
                Outcome::Refused(Refusal::OutOfStock { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(seen.iter().all(|seen| *seen));
    assert_eq!((accepted, credit), (9_000, 10_000));
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.orders == 9_000, "{audit:?}");
}

#[tokio::test]
async fn measures_count_what_was_asked() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 1);
    peer.ask(0, &create("ada", &[("tea", 1)]));
    peer.ask(0, &create("ada", &[("tea", 1)]));
    peer.ask(0, &create("", &[("tea", 1)]));
    let address = shop.address(onrush_services::config::Service::Order);
    let text = reqwest::get(format!("{address}/metrics")).await.unwrap().text().await.unwrap();
    for line in [
        "onrush_native_connections 1",
        "onrush_native_commands_total{operation=\"CreateOrder\",outcome=\"accepted\"} 1",
        "onrush_native_commands_total{operation=\"CreateOrder\",outcome=\"refused\"} 1",
        "onrush_native_commands_total{operation=\"CreateOrder\",outcome=\"rejected\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
