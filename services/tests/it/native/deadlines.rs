//! How long a client waits: what was not decided by then is refused, and by it nothing changed.

use onrush_proto::frame::{Answer, Kind, begin, put_command};
use onrush_proto::{
    CancelOrder, CapturePayment, Command, CommitOffset, Lsn, OrderState, Outcome, PaymentState, Receipt,
    RefundPayment, Refusal, Slot, StartPayment, Text, Topic,
};

use super::peer::{Peer, create, ordered, outcome, product, receipt, refusal, sell, stock};
use super::quic_peer::{Caller, open};
use crate::shop::Shop;

const KEY: u128 = 0x0dea_d11e_0000_0000_0000_0000_0000_0001;
/// Commands in front of those whose patience runs out. All of a frame is one round of a front, so that none leaves for
/// its shard before all of them were looked at: that takes far longer than a microsecond.
const IN_FRONT: u64 = 10_000;
/// More than any patience that counts.
const LONG: u64 = u64::MAX;

/// A command with a patience and a key; true: answered once it is settled.
type Asked = (u64, u128, Command, bool);

/// A frame of commands of which the last have these patiences. Their tags begin at 1; those in front have 0.
fn frame(last: &[Asked]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let open = begin(&mut bytes, Kind::Commands);
    let read = Command::GetStock(Text::new("tea").unwrap());
    (0..IN_FRONT).for_each(|_| assert!(put_command(&mut bytes, 0, LONG, 0, &read, false)));
    for (tag, (patience_us, key, command, settled)) in (1..).zip(last) {
        assert!(put_command(&mut bytes, tag, *patience_us, *key, command, *settled));
    }
    open.seal(&mut bytes, (IN_FRONT as usize + last.len()) as u16, 0);
    bytes
}

/// One of each operation that names an order, or what is on sale.
fn each(order: onrush_proto::OrderId) -> Vec<Command> {
    let start = || StartPayment { order, method: Text::new("pm_card").unwrap(), capture: true };
    let (group, topic, lsn) = (Text::new("books").unwrap(), Topic::OrderCreated, Some(Lsn(1)));
    vec![
        create("ada", &[("tea", 1)]),
        Command::GetOrder(order),
        Command::CancelOrder(CancelOrder { order }),
        Command::StartPayment(Box::new(start())),
        Command::CapturePayment(CapturePayment { order, minor: 1 }),
        Command::RefundPayment(RefundPayment { order, minor: 1 }),
        product("tea", 9),
        stock("tea", 9),
        Command::GetStock(Text::new("tea").unwrap()),
        Command::CommitOffset(Box::new(CommitOffset { slot: Slot(0), group, topic, lsn })),
    ]
}

/// The answers by tag, those in front looked at: they had time.
fn sorted(answers: impl IntoIterator<Item = (u64, Answer)>, last: usize) -> Vec<Answer> {
    let mut found: Vec<Option<Answer>> = vec![None; last];
    for (tag, answer) in answers {
        match tag {
            0 => assert!(matches!(outcome(&answer), Outcome::Stock(_)), "{answer:?}"),
            tag => assert!(found[tag as usize - 1].replace(answer).is_none(), "answered twice"),
        }
    }
    found.into_iter().map(Option::unwrap).collect()
}

#[tokio::test]
async fn what_is_not_decided_in_time_is_refused_and_nothing_changes_by_it() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 450, 100);
    let order = ordered(&peer.ask(0, &create("ada", &[("tea", 1)])));
    let mut late: Vec<Asked> = each(order).into_iter().map(|command| (1, 0, command, false)).collect();
    late[0].1 = KEY;
    let pay = late[3].2.clone();
    late.push((1, 0, pay, true));
    // Who waits for ever, and who says so, are served out of the same frame.
    let patient = [0, LONG].map(|patience_us| (patience_us, 0, create("ada", &[("tea", 1)]), false));
    let asked: Vec<Asked> = late.iter().cloned().chain(patient).collect();
    peer.write(&frame(&asked));
    let mut heard = Vec::new();
    while heard.len() < IN_FRONT as usize + asked.len() {
        heard.extend(peer.read().outcomes().into_iter().map(|entry| (entry.tag, entry.answer)));
    }
    let answers = sorted(heard, asked.len());
    for (answer, (_, _, command, settled)) in answers.iter().zip(&late) {
        assert_eq!(refusal(answer), Refusal::DeadlineExceeded, "{command:?}, settled: {settled}");
    }
    let served = answers[late.len()..].iter().map(ordered);
    assert_eq!(served.count(), 2);

    let Outcome::Order(row) = outcome(&peer.ask(0, &Command::GetOrder(order))) else { panic!("an order") };
    assert!(
        row.state != OrderState::Cancelled && row.payment.is_none_or(|payment| payment.attempts.is_empty())
    );
    let Outcome::Stock(row) = outcome(&peer.ask(0, &Command::GetStock(Text::new("tea").unwrap()))) else {
        panic!("expected the stock");
    };
    assert_eq!((row.on_hand, row.held, row.price.minor), (100, 3, 450));
    // What was late under a key was never done under it.
    let again = peer.ask(KEY, &create("ada", &[("tea", 1)]));
    ordered(&again);
    assert!(matches!(again, Answer::Reply(reply) if !reply.replayed));
    assert_eq!(shop.client.audit(Default::default()).await.unwrap().orders, 4);
}

#[tokio::test]
async fn over_quic_too_on_every_stream() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    super::quic::sell(&mut first, "tea", 100).await;
    let asked: Vec<Asked> =
        vec![(1, KEY, create("ada", &[("tea", 1)]), false), (LONG, 0, stock("tea", 7), false)];
    first.write(&frame(&asked)).await;
    let mut heard = Vec::new();
    while heard.len() < IN_FRONT as usize + asked.len() {
        heard.extend(first.read().await.outcomes().into_iter().map(|entry| (entry.tag, entry.answer)));
    }
    let answers = sorted(heard, asked.len());
    assert_eq!(refusal(&answers[0]), Refusal::DeadlineExceeded);
    assert!(matches!(receipt(&answers[1]), Receipt::Stock { on_hand: 7, .. }));
    let again = caller.request(&[(KEY, create("ada", &[("tea", 1)]))]).await;
    assert!(matches!(&again[0], Answer::Reply(reply) if !reply.replayed), "{again:?}");
}

/// The gateway takes a minute. Who pays and waits no longer is told how far it came: the attempt is recorded, and goes on.
#[tokio::test]
async fn a_payment_that_takes_too_long_is_answered_as_far_as_it_came() {
    let shop = Shop::open_with(|config| config.gateway_faults = "p50_ms=60000,p99_ms=60000".parse().unwrap());
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 450, 10);
    let order = ordered(&peer.ask(0, &create("ada", &[("tea", 1)])));
    let start = StartPayment { order, method: Text::new("pm_card").unwrap(), capture: true };
    let mut bytes = Vec::new();
    let open = begin(&mut bytes, Kind::Commands);
    // Time enough to record it on any machine.
    let patience_us = 5_000_000;
    assert!(put_command(&mut bytes, 77, patience_us, KEY, &Command::StartPayment(Box::new(start)), true));
    open.seal(&mut bytes, 1, 0);
    peer.write(&bytes);
    let entry = peer.read().outcomes().remove(0);
    let Receipt::AttemptSettled { attempt: 1, payment_state, .. } = receipt(&entry.answer) else {
        panic!("{entry:?}");
    };
    assert_eq!((entry.tag, payment_state), (77, PaymentState::Processing));
}
