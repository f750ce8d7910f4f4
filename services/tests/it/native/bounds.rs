//! Values at their limits and one beyond, as a shop answers them: a row for each. What is wrong by its form stands
//! beside the codec.

use onrush_proto::frame::{Answer, ErrorCode, Hello, Kind, begin, put_command};
use onrush_proto::{
    CapturePayment, Command, CommitOffset, CreateOrder, Lsn, OrderId, OrderLine, Outcome, PutProduct,
    RefundPayment, Slot, StartPayment, StockChange, Text, Topic, UpdateStock,
};

use super::peer::{Peer, create, ordered, product, sell, stock};
use crate::shop::Shop;

/// How a command is answered, in a word.
fn told(answer: &Answer) -> String {
    match answer {
        Answer::Rejected(rejected) => rejected.reason.clone(),
        Answer::Reply(reply) => match &reply.outcome {
            Outcome::Accepted(_) => "accepted".into(),
            Outcome::Refused(refusal) => refusal.reason().0.into(),
            _ => "read".into(),
        },
    }
}

fn order(quantity: i64, change: impl FnOnce(&mut CreateOrder)) -> Command {
    let Command::CreateOrder(mut order) = create("ada", &[("tea", quantity)]) else { panic!("an order") };
    change(&mut order);
    Command::CreateOrder(order)
}

fn ceiling(most: i64) -> Command {
    order(1, |order| order.lines[0].max_unit_minor = most)
}

fn put(sku: &str, change: impl FnOnce(&mut PutProduct)) -> Command {
    let Command::PutProduct(mut put) = product(sku, 450) else { panic!("a product") };
    change(&mut put);
    Command::PutProduct(put)
}

fn units(sku: &str, change: StockChange) -> Command {
    Command::UpdateStock(UpdateStock { sku: Text::new(sku).unwrap(), change, reason: Text::EMPTY })
}

fn lines(count: usize) -> Command {
    order(1, |order| {
        let line = |index| OrderLine::new(Text::new(&format!("sku-{index}")).unwrap(), 1);
        order.lines = (0..count).map(line).collect();
    })
}

/// Most units that there may be, and the longest hold.
const UNITS_MAX: i64 = 1 << 48;
const HOLD_US_MAX: u64 = 30 * 24 * 3_600 * 1_000_000;

fn of_orders() -> Vec<(&'static str, Command, &'static str)> {
    vec![
        ("quantity of the least", order(i64::MIN, |_| ()), "BAD_QUANTITY"),
        ("quantity -1", order(-1, |_| ()), "BAD_QUANTITY"),
        ("quantity 0", order(0, |_| ()), "BAD_QUANTITY"),
        ("quantity 1", order(1, |_| ()), "accepted"),
        ("quantity 1,000,000", order(1_000_000, |_| ()), "accepted"),
        ("quantity 1,000,001", order(1_000_001, |_| ()), "BAD_QUANTITY"),
        ("quantity of the most", order(i64::MAX, |_| ()), "BAD_QUANTITY"),
        ("ceiling of the least", ceiling(i64::MIN), "PRICE_CHANGED"),
        ("ceiling 449", ceiling(449), "PRICE_CHANGED"),
        ("ceiling 450", ceiling(450), "accepted"),
        ("no ceiling", ceiling(i64::MAX), "accepted"),
        ("the longest hold", order(1, |order| order.hold_us = HOLD_US_MAX), "accepted"),
        ("a longer one", order(1, |order| order.hold_us = HOLD_US_MAX + 1), "INVALID_FIELD"),
        ("the longest that can be said", order(1, |order| order.hold_us = u64::MAX), "INVALID_FIELD"),
        ("customer of 39 bytes", create(&"c".repeat(39), &[("tea", 1)]), "accepted"),
        ("SKU of 39 bytes", create("ada", &[(&"s".repeat(39), 1)]), "UNKNOWN_SKU"),
        // As many lines as may be: it fails by what they say.
        ("no lines", lines(0), "NO_LINES"),
        ("10,000 lines", lines(10_000), "UNKNOWN_SKU"),
        ("10,001 lines", lines(10_001), "TOO_MANY_LINES"),
        ("an amount of 63 bits", create("ada", &[("dear", 1)]), "accepted"),
        ("an amount of more", create("ada", &[("dear", 2)]), "AMOUNT_OVERFLOW"),
    ]
}

fn of_products() -> Vec<(&'static str, Command, &'static str)> {
    vec![
        ("no name", put("cup", |put| put.name.clear()), "MISSING_FIELD"),
        ("name of 400 bytes", put("cup", |put| put.name = "n".repeat(400)), "accepted"),
        ("name of 401 bytes", put("cup", |put| put.name = "n".repeat(401)), "INVALID_FIELD"),
        ("name of 65,535 bytes", put("cup", |put| put.name = "n".repeat(65_535)), "INVALID_FIELD"),
        ("description of 65,536 bytes", put("cup", |put| put.description = "d".repeat(65_536)), "accepted"),
        ("a longer one", put("cup", |put| put.description = "d".repeat(65_537)), "INVALID_FIELD"),
        ("price -1", put("cup", |put| put.price.minor = -1), "INVALID_FIELD"),
        ("price of the least", put("cup", |put| put.price.minor = i64::MIN), "INVALID_FIELD"),
        ("price 0", put("cup", |put| put.price.minor = 0), "accepted"),
        ("price of the most", put("cup", |put| put.price.minor = i64::MAX), "accepted"),
        ("the highest limit", put("cup", |put| put.limit_per_customer = u32::MAX), "accepted"),
        ("the most beyond what is there", put("cup", |put| put.backorder = u32::MAX), "accepted"),
        ("the longest hold", put("cup", |put| put.hold_us = HOLD_US_MAX), "accepted"),
        ("a longer one", put("cup", |put| put.hold_us = HOLD_US_MAX + 1), "INVALID_FIELD"),
        ("the most units", units("cup", StockChange::Set(UNITS_MAX)), "accepted"),
        ("one more", units("cup", StockChange::Set(UNITS_MAX + 1)), "INVALID_FIELD"),
        ("one more, added", units("cup", StockChange::Add(1)), "INVALID_FIELD"),
        ("far more, added", units("cup", StockChange::Add(i64::MAX)), "INVALID_FIELD"),
        ("far fewer", units("cup", StockChange::Set(i64::MIN)), "INVALID_FIELD"),
        ("0 units", units("cup", StockChange::Set(0)), "accepted"),
    ]
}

#[tokio::test]
async fn orders_and_products_are_answered_by_what_they_say() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 450, 10_000_000);
    sell(&mut peer, "dear", i64::MAX, 10);
    for (what, command, expected) in of_orders().into_iter().chain(of_products()) {
        assert_eq!(told(&peer.ask(0, &command)), expected, "{what}");
    }
    assert!(shop.client.audit(Default::default()).await.unwrap().ok);
}

#[tokio::test]
async fn payments_and_positions_are_answered_by_what_they_say() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 450, 10);
    let order = ordered(&peer.ask(0, &create("ada", &[("tea", 1)])));
    let start = |order, method: &str| {
        Command::StartPayment(Box::new(StartPayment {
            order,
            method: Text::new(method).unwrap(),
            capture: true,
        }))
    };
    assert_eq!(told(&peer.ask(0, &start(order, ""))), "MISSING_FIELD");
    assert_eq!(told(&peer.ask(0, &start(OrderId(0), "pm_card"))), "UNKNOWN_ORDER");
    assert_eq!(told(&peer.pay(0, order, "pm_card")), "accepted");
    let refund = |minor| Command::RefundPayment(RefundPayment { order, minor });
    let capture = |minor| Command::CapturePayment(CapturePayment { order, minor });
    let commit = |slot, lsn| {
        let (group, topic) = (Text::new("books").unwrap(), Topic::OrderCreated);
        let commit = CommitOffset { slot: Slot(slot), group, topic, lsn: Some(Lsn(lsn)) };
        Command::CommitOffset(Box::new(commit))
    };
    for (what, command, expected) in [
        ("the least", refund(i64::MIN), "INVALID_FIELD"),
        ("-1", refund(-1), "INVALID_FIELD"),
        ("one too many", refund(451), "REFUND_ABOVE_CAPTURED"),
        ("the most", refund(i64::MAX), "REFUND_ABOVE_CAPTURED"),
        ("all of it", refund(450), "accepted"),
        ("and no more", refund(1), "REFUND_ABOVE_CAPTURED"),
        ("what is taken already", capture(450), "ILLEGAL_PAYMENT_STATE"),
        ("no order", Command::GetOrder(OrderId(0)), "UNKNOWN_ORDER"),
        ("the last one", Command::GetOrder(OrderId(u128::MAX)), "UNKNOWN_ORDER"),
        ("the first position", commit(0, 0), "accepted"),
        ("past the end of the log", commit(0, u64::MAX), "INVALID_FIELD"),
        ("the last shard", commit(3, 0), "accepted"),
        ("one behind it", commit(4, 0), "INVALID_FIELD"),
        ("the last that can be said", commit(255, 0), "INVALID_FIELD"),
    ] {
        assert_eq!(told(&peer.ask(0, &command)), expected, "{what}");
    }
}

#[tokio::test]
async fn a_hello_is_heard_up_to_its_limits() {
    let shop = Shop::open();
    let raw = |token: usize, name: usize| {
        let mut bytes = Vec::new();
        let frame = begin(&mut bytes, Kind::Hello);
        bytes.extend_from_slice(b"ONRUSH\r\n");
        for number in [1, 1, token as u16, name as u16] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend(vec![b'x'; token + name]);
        frame.seal(&mut bytes, 0, 0);
        bytes
    };
    for (token, name, expected) in [
        (0, 0, None),
        (0, 127, None),
        (0, 128, None),
        (0, 129, Some((ErrorCode::Malformed, "token_length"))),
        // Such a token is heard, and not believed.
        (8_191, 0, Some((ErrorCode::Unauthenticated, ""))),
        (8_192, 128, Some((ErrorCode::Unauthenticated, ""))),
        (8_193, 0, Some((ErrorCode::Malformed, "token_length"))),
        // Longer than any Hello: nothing of it is kept.
        (8_192, 136, Some((ErrorCode::Malformed, "length"))),
        (65_535, 0, Some((ErrorCode::Malformed, "length"))),
    ] {
        let mut peer = Peer::silent(shop.native());
        peer.write(&raw(token, name));
        let said = peer.read();
        match expected {
            None => assert_eq!(said.kind(), Kind::Welcome, "{token} and {name} bytes"),
            Some((code, text)) => {
                let error = said.error();
                assert_eq!(error.code, code, "{token} and {name} bytes: {error}");
                assert!(error.text.starts_with(text), "{token} and {name} bytes: {error}");
                assert!(peer.is_ended());
            }
        }
    }
    assert_eq!(raw(8_192, 128).len(), Hello::FRAME_BYTES_MAX);
}

/// As many entries as a frame can count, out of a credit that is as large as it can be.
#[tokio::test]
async fn a_frame_of_the_most_entries_is_answered_entry_by_entry() {
    let shop = Shop::open_with(|config| config.native.limits.credit = u32::MAX);
    let (mut peer, welcome) = Peer::welcomed(shop.native(), "");
    assert_eq!(welcome.credit, u32::MAX);
    let most = usize::from(u16::MAX);
    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Commands);
    // Of no operation, so that as many are in a frame as can be counted.
    let mut entry = [0; 40];
    (entry[0], entry[4]) = (40, 255);
    (0..most).for_each(|_| bytes.extend_from_slice(&entry));
    frame.seal(&mut bytes, u16::MAX, 0);
    for _ in 0..2 {
        peer.write(&bytes);
        let (mut heard, mut back) = (0, 0);
        while heard < most {
            let said = peer.read();
            back += said.frame().argument;
            heard += said.outcomes().iter().filter(|entry| told(&entry.answer) == "INVALID_FIELD").count();
        }
        assert_eq!((heard, back as usize), (most, most));
    }
    // One more than is counted ends it, and nothing of it is done.
    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Commands);
    let command = stock("tea", 1);
    (0..2).for_each(|tag| assert!(put_command(&mut bytes, tag, 0, 0, &command, false)));
    frame.seal(&mut bytes, 1, 0);
    peer.write(&bytes);
    let error = peer.read().error();
    assert_eq!(error.code, ErrorCode::Malformed);
    assert!(error.text.starts_with("count"), "{error}");
}
