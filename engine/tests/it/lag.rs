//! What a shard takes from others while its store lags, and how it takes office with much that is unfinished.

use onrush_proto::{
    CancelOrder, Command, GatewayResult, IdempotencyKey, Outcome, Refusal, Request, SettleAttempt,
    SettleRefund, ShardId, Slot, StartPayment,
};

use crate::baskets::{accepted, basket, buys_again, held, stage};
use crate::books::verify;
use crate::rig::{Plan, Rig};

/// Keys that shard 1 keeps.
fn keys(rig: &Rig) -> impl Iterator<Item = IdempotencyKey> {
    let keys = (0..).map(|number| rig.key("lag", &format!("k{number}")));
    keys.filter(|key| rig.map.shard(Slot::of_hash(key.0)) == ShardId(1))
}

fn refusal(rig: &mut Rig, key: IdempotencyKey, command: Command) -> Refusal {
    match rig.ask(key, command).outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// Orders that a keeper forwarded used to be decided whatever home's store did: nothing bounded its memory.
#[test]
fn who_lags_decides_nothing_new_for_others() {
    let mut rig = stage(Plan::new(2));
    let [first, other]: [IdempotencyKey; 2] = keys(&rig).take(2).collect::<Vec<_>>().try_into().unwrap();
    let tea = basket(&rig, "ada", &[("tea@0", 1)]);
    let bought = accepted(&rig.ask(first, tea.clone()).outcome);
    rig.nodes[0].shard.set_lagging(true);
    assert_eq!(refusal(&mut rig, other, tea.clone()), Refusal::Overloaded, "forwarded");
    let again = rig.ask(first, tea.clone());
    assert!(again.replayed && accepted(&again.outcome) == bought, "{again:?}");
    // Units of a basket are asked for there too.
    let from_cup = basket(&rig, "bob", &[("cup@1", 1), ("tea@0", 1)]);
    assert_eq!(refusal(&mut rig, IdempotencyKey::NONE, from_cup), Refusal::Overloaded, "held");
    assert_eq!(held(&rig), [1, 0]);
    rig.nodes[0].shard.set_lagging(false);
    accepted(&rig.ask(other, tea.clone()).outcome);
    verify(&mut rig);
}

/// The deadline was looked at where the call came in, and not where it was decided.
#[test]
fn a_forwarded_call_that_comes_too_late_is_not_decided() {
    let mut rig = stage(Plan::new(2));
    let tea = basket(&rig, "ada", &[("tea@0", 1)]);
    let mut request = Request::new(keys(&rig).next().unwrap(), tea);
    request.deadline_us = rig.now_us + 1_000;
    rig.blocked.insert((1, 0));
    let tag = rig.submit_request(ShardId(1), request);
    rig.run();
    rig.advance_to(rig.now_us + 2_000);
    rig.blocked.clear();
    rig.run();
    let reply = rig.take_reply(tag).unwrap();
    assert_eq!(reply.outcome, Outcome::Refused(Refusal::DeadlineExceeded), "{reply:?}");
    assert_eq!(held(&rig), [0, 0]);
}

/// What a crash left unfinished used to be given up in one frame, which has to fit a segment: a shard with enough
/// of it did not come up again.
#[test]
fn office_is_taken_in_frames_that_fit() {
    let plan = Plan { frame_bytes_max: 512, ..Plan::new(2) };
    let mut rig = stage(plan);
    rig.blocked.insert((0, 1));
    for number in 0..5 {
        let customer = format!("c{number}");
        let both = basket(&rig, &customer, &[("tea@0", 1), ("cup@1", 1)]);
        let key = rig.key(&customer, "k");
        rig.submit(key, both);
    }
    rig.run();
    assert_eq!(held(&rig), [5, 0]);
    rig.restart();
    let before = rig.nodes[0].log.stats().frames;
    rig.run();
    let frames = rig.nodes[0].log.stats().frames - before;
    assert_eq!(held(&rig), [0, 0]);
    assert!(frames > 1, "expected portions, found {frames} frame");
    buys_again(&mut rig);
}

/// Late money for a basket that was called off unpaid comes and goes; no units went, so none come back. Home used
/// to wait for ever for a participant to say that they did, and with it its store.
#[test]
fn late_money_for_a_cancelled_basket_returns_no_units() {
    let mut rig = stage(Plan::new(2));
    let none = IdempotencyKey::NONE;
    let both = basket(&rig, "ada", &[("tea@0", 2), ("cup@1", 2)]);
    let order = accepted(&rig.ask(none, both).outcome);
    let start = StartPayment { order, method: "pm".parse().unwrap(), capture: true };
    rig.ask(none, Command::StartPayment(Box::new(start)));
    // The participant does not hear that its hold is released.
    rig.blocked.insert((0, 1));
    rig.ask(none, Command::CancelOrder(CancelOrder { order }));
    let result = GatewayResult::Captured { reference: "ref".parse().unwrap() };
    let settle = SettleAttempt { order, attempt: 1, result };
    rig.ask(none, Command::SettleAttempt(Box::new(settle)));
    rig.ask(none, Command::SettleRefund(SettleRefund { order, refund: 1, succeeded: true }));
    rig.restart();
    rig.run();
    assert_eq!(held(&rig), [0, 0]);
    assert_eq!(rig.nodes[0].shard.store_ceiling(), u64::MAX, "nobody is waited for");
    verify(&mut rig);
}
