//! Orders over several shards: all lines or none, whatever happens on the way.

use std::collections::BTreeMap;

use onrush_engine::rules::inventory::Resolution;
use onrush_engine::shard::PeerMessage;
use onrush_proto::{
    CancelOrder, Command, CreateOrder, GatewayResult, HoldState, IdempotencyKey, OrderId, OrderLine,
    OrderState, Outcome, Receipt, Row, SettleAttempt, SettleRefund, Sku, Slot, StartPayment,
};
use proptest::prelude::*;

use crate::books::{order, verify};
use crate::rig::{Plan, Rig};
use crate::speech::Speaker;
use crate::table::{check_on, sku_on};

#[test]
fn held_everywhere_or_nowhere() {
    check_on(
        3,
        "at   | command                                    | outcome
         0s   | put tea@0 price 100 stock 5 limit 4        | ok
         0s   | put cup@1 price 30 stock 5 limit 2         | ok
         0s   | put pot@2 price 7 stock 1                  | ok
         0s   | order ada tea@0 x2 , cup@1 , pot@2 as o    | accepted total 237
         0s   | order bob tea@0 x2 , cup@1 , pot@2         | OUT_OF_STOCK lines[2].quantity
         0s   | order bob tea@0 x2 , cup@1 x3              | LIMIT_EXCEEDED lines[1].quantity
         0s   | order bob cup@1 x2 , tea@0 x5              | OUT_OF_STOCK lines[1].quantity
         0s   | order bob tea@0 , nil@1                    | UNKNOWN_SKU lines[1].sku
         0s   | order bob tea@0 , cup@1 max-price 29       | PRICE_CHANGED lines[1].max_unit_price
         0s   | order bob tea@0 x3 , cup@1 x2 as p         | accepted total 360
         0s   | get o                                      | Pending

         sku   | on_hand | held | sold | available
         tea@0 | 5       | 5    | 0    | 0
         cup@1 | 5       | 3    | 0    | 2
         pot@2 | 1       | 1    | 0    | 0",
    );
}

#[test]
fn expiry_capture_and_cancel_reach_every_shard() {
    check_on(
        3,
        "at   | command                                    | outcome
         0s   | put tea@0 price 100 stock 9                | ok
         0s   | put cup@1 price 30 stock 9                 | ok
         0s   | put pot@2 price 7 stock 9                  | ok
         0s   | order ada tea@0 , cup@1 , pot@2 as a       | ok
         0s   | order ada tea@0 , cup@1 , pot@2 as b       | ok
         0s   | order ada tea@0 , cup@1 , pot@2 as c       | ok
         0s   | order ada tea@0 , cup@1 , pot@2 as d       | ok
         0s   | cancel a                                   | now Cancelled
         0s   | stock cup@1                                | on_hand 9 held 3 sold 0 v2
         0s   | pay b                                      | attempt 1 for 137
         0s   | settle b #1 captured                       | order Paid payment Succeeded
         0s   | pay c                                      | ok
         0s   | settle c #1 captured                       | ok
         0s   | stock cup@1                                | on_hand 7 held 1 sold 2 v2
         0s   | cancel b                                   | refund 1 of 137 Pending
         0s   | refunded b #1 ok                           | refund 1 of 137 Succeeded
         0s   | stock cup@1                                | on_hand 8 held 1 sold 1 v2
         600s | get d                                      | Expired
         600s | get c                                      | Paid Succeeded authorised 137 captured 137 refunded 0

         sku   | on_hand | held | sold | available
         tea@0 | 8       | 0    | 1    | 8
         cup@1 | 8       | 0    | 1    | 8
         pot@2 | 8       | 0    | 1    | 8",
    );
}

/// Two shards, `tea@0` and `cup@1` in stock with a limit of two.
pub(crate) fn stage(plan: Plan) -> Rig {
    let mut rig = Rig::new(plan);
    for sku in ["tea@0", "cup@1"] {
        for (key, command) in Speaker::default().requests(&rig, &format!("put {sku} stock 5 limit 2")) {
            rig.ask(key, command);
        }
    }
    rig
}

pub(crate) fn basket(rig: &Rig, customer: &str, lines: &[(&str, i64)]) -> Command {
    let line = |(sku, quantity): &(&str, i64)| OrderLine::new(sku_on(rig, sku), *quantity);
    let lines = lines.iter().map(line).collect();
    Command::CreateOrder(CreateOrder { customer: customer.parse().unwrap(), lines, hold_us: 0 })
}

fn both(rig: &Rig) -> Command {
    basket(rig, "ada", &[("tea@0", 2), ("cup@1", 2)])
}

pub(crate) fn held(rig: &Rig) -> [i64; 2] {
    [(0, "tea@0"), (1, "cup@1")]
        .map(|(shard, sku)| rig.nodes[shard].shard.state().stock.row(&sku_on(rig, sku)).unwrap().held)
}

pub(crate) fn accepted(outcome: &Outcome) -> OrderId {
    match outcome {
        Outcome::Accepted(Receipt::Order { order, .. }) => *order,
        other => panic!("expected an accepted order, found {other:?}"),
    }
}

/// The limit of two is free again, so a rejected order left nothing behind.
pub(crate) fn buys_again(rig: &mut Rig) {
    let again = rig.ask(IdempotencyKey::NONE, both(rig));
    accepted(&again.outcome);
    verify(rig);
}

/// Whether the crash comes before or after the participant held, and whether the store has what
/// home had written or not: the order never came to be, its limit included.
#[test]
fn a_restart_while_reserving_frees_everything() {
    for (blocked, flush) in [((0, 1), false), ((0, 1), true), ((1, 0), false), ((1, 0), true)] {
        for plan in [Plan::new(2), Plan::forgetful(2)] {
            let mut rig = stage(plan);
            rig.blocked.insert(blocked);
            let lost = rig.submit(rig.key("c", "k"), both(&rig));
            rig.run();
            assert_eq!(rig.take_reply(lost), None);
            if flush {
                rig.flush(true);
            }
            rig.restart();
            rig.run();
            assert_eq!(held(&rig), [0, 0], "blocked {blocked:?}, flushed {flush}");
            buys_again(&mut rig);
        }
    }
}

/// Counts may leave memory while the order waits for its holds.
#[test]
fn a_refusal_gives_back_counts_that_went_cold() {
    let mut rig = stage(Plan::forgetful(2));
    rig.blocked.insert((1, 0));
    let waiting = rig.submit(IdempotencyKey::NONE, basket(&rig, "ada", &[("tea@0", 2), ("cup@1", 6)]));
    rig.run();
    rig.flush(true);
    rig.ask(IdempotencyKey::NONE, basket(&rig, "bob", &[("tea@0", 1)]));
    rig.blocked.clear();
    rig.run();
    assert!(matches!(rig.take_reply(waiting).unwrap().outcome, Outcome::Refused(_)));
    buys_again(&mut rig);
}

#[test]
fn a_basket_that_waits_beyond_its_deadline_is_given_up() {
    let mut rig = stage(Plan::forgetful(2));
    rig.blocked.insert((1, 0));
    let waiting = rig.submit(IdempotencyKey::NONE, both(&rig));
    rig.run();
    rig.flush(true);
    rig.ask(IdempotencyKey::NONE, basket(&rig, "bob", &[("tea@0", 1)]));
    rig.advance_to(rig.now_us + 600_000_000);
    rig.blocked.clear();
    rig.run();
    assert!(matches!(rig.take_reply(waiting).unwrap().outcome, Outcome::Refused(_)));
    rig.advance_to(rig.now_us + 600_000_000);
    assert_eq!(held(&rig), [0, 0]);
    buys_again(&mut rig);
}

/// Home restarts while its hold is still under way, and the release overtakes it.
#[test]
fn a_release_before_its_hold_refuses_it() {
    for flush in [false, true] {
        let mut rig = stage(Plan::forgetful(2));
        rig.blocked.insert((0, 1));
        rig.submit(IdempotencyKey::NONE, both(&rig));
        rig.run();
        rig.restart_one(0);
        rig.run();
        let wire = rig.wires.get_mut(&(0, 1)).unwrap();
        assert!(matches!(wire[0], PeerMessage::Hold(_)), "{wire:?}");
        assert!(matches!(wire[1], PeerMessage::Resolve { how: Resolution::Reject, .. }), "{wire:?}");
        let hold = wire.pop_front().unwrap();
        rig.blocked.clear();
        rig.run();
        if flush {
            rig.flush(true);
            rig.restart_one(1);
        }
        rig.wires.get_mut(&(0, 1)).unwrap().push_back(hold);
        rig.run();
        assert_eq!(held(&rig), [0, 0]);
        rig.advance_to(rig.now_us + 700_000_000);
        rig.flush(true);
        buys_again(&mut rig);
    }
}

/// What home decided never reached the participant: it asks when it takes office.
#[test]
fn a_participant_asks_home_after_a_restart() {
    for (ending, state) in [
        ("expire", HoldState::Released),
        ("cancel", HoldState::Released),
        ("pay", HoldState::Captured),
        ("call off", HoldState::Returned),
    ] {
        let mut rig = stage(Plan::forgetful(2));
        let placed = rig.ask(IdempotencyKey::NONE, both(&rig));
        let order = accepted(&placed.outcome);
        rig.blocked.insert((0, 1));
        end(&mut rig, order, ending);
        rig.flush(true);
        rig.restart();
        rig.run();
        let found = rig.nodes[1].shard.state().holds.row(&order).cloned();
        let found = found.or_else(|| rig.nodes[1].stored.hold(order).unwrap()).unwrap();
        assert_eq!(found.state, state, "{ending}");
        verify(&mut rig);
    }
}

/// The capture arrived, the return did not: home sends it again, however much is in its store.
#[test]
fn a_return_that_was_lost_is_sent_again() {
    for restarts in 1..=3 {
        let mut rig = stage(Plan::forgetful(2));
        let placed = rig.ask(IdempotencyKey::NONE, both(&rig));
        let order = accepted(&placed.outcome);
        end(&mut rig, order, "pay");
        rig.blocked.insert((0, 1));
        rig.ask(IdempotencyKey::NONE, Command::CancelOrder(CancelOrder { order }));
        let refunded = SettleRefund { order, refund: 1, succeeded: true };
        rig.ask(IdempotencyKey::NONE, Command::SettleRefund(refunded));
        for restart in 1..=restarts {
            rig.flush(true);
            rig.restart();
            if restart < restarts {
                rig.blocked.insert((0, 1));
            }
            rig.run();
        }
        verify(&mut rig);
        assert_eq!(rig.nodes[0].shard.store_ceiling(), u64::MAX, "nothing waits any more");
    }
}

fn end(rig: &mut Rig, order: OrderId, ending: &str) {
    let none = IdempotencyKey::NONE;
    match ending {
        "expire" => rig.advance_to(rig.now_us + 600_000_000),
        "cancel" => drop(rig.ask(none, Command::CancelOrder(CancelOrder { order }))),
        _ => {
            let start = StartPayment { order, method: "pm".parse().unwrap(), capture: true };
            rig.ask(none, Command::StartPayment(Box::new(start)));
            let result = GatewayResult::Captured { reference: "ref".parse().unwrap() };
            let settle = SettleAttempt { order, attempt: 1, result };
            rig.ask(none, Command::SettleAttempt(Box::new(settle)));
        }
    }
    if ending == "call off" {
        rig.ask(none, Command::CancelOrder(CancelOrder { order }));
        rig.ask(none, Command::SettleRefund(SettleRefund { order, refund: 1, succeeded: true }));
    }
}

/// A participant without word from home holds on, however long: only home's record decides.
#[test]
fn a_participant_never_expires_a_hold_by_itself() {
    let mut rig = stage(Plan::new(2));
    let placed = rig.ask(IdempotencyKey::NONE, both(&rig));
    let id = accepted(&placed.outcome);
    rig.blocked.insert((0, 1));
    for _ in 0..5 {
        rig.advance_to(rig.now_us + 300_000_000);
        assert_eq!(held(&rig)[1], 2, "held until home says so");
    }
    assert_eq!(order_state(&rig, id), OrderState::Expired);
    rig.blocked.clear();
    rig.run();
    assert_eq!(held(&rig), [0, 0]);
    verify(&mut rig);
}

fn order_state(rig: &Rig, id: OrderId) -> OrderState {
    order(&rig.nodes[usize::from(rig.map.shard(id.slot()).0)], id).unwrap().state
}

#[derive(Clone, Debug)]
enum Step {
    Order { customer: u8, lines: Vec<(u8, i64)>, key: Option<u8> },
    End { order: usize, how: u8 },
    Pass { us: u64 },
    Block { from: u16, to: u16 },
    Unblock,
    Flush { checkpoint: bool },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let line = (0u8..8, 1i64..4);
    prop_oneof![
        6 => (0u8..4, prop::collection::vec(line, 1..5), prop::option::of(0u8..12))
            .prop_map(|(customer, lines, key)| Step::Order { customer, lines, key }),
        4 => (any::<prop::sample::Index>(), 0u8..4).prop_map(|(order, how)| Step::End { order: order.index(1000), how }),
        1 => prop_oneof![Just(1u64), 1_000_000u64..700_000_000].prop_map(|us| Step::Pass { us }),
        1 => (0u16..4, 0u16..4).prop_map(|(from, to)| Step::Block { from, to }),
        2 => Just(Step::Unblock),
        1 => any::<bool>().prop_map(|checkpoint| Step::Flush { checkpoint }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random baskets over four shards whose wires stall, with flushes and restarts at any moment.
    /// At the end, when all wires run and all holds are resolved, the books balance.
    #[test]
    fn random_baskets_balance(steps in prop::collection::vec(step(), 1..60), forgetful: bool) {
        let mut rig = Rig::new(Plan::small(4, forgetful));
        for sku in 0..8 {
            let rule = ["", "limit 3", "limit 4 returns", "backorder 2"][sku % 4];
            let put = format!("put sku{sku}@{} stock 9 {rule}", sku % 4);
            for (key, command) in Speaker::default().requests(&rig, &put) {
                rig.ask(key, command);
            }
        }
        let mut orders = Vec::new();
        let mut tags = Vec::new();
        for step in steps {
            walk(&mut rig, step, &mut tags, &mut orders);
            crate::books::audit(&rig);
        }
        rig.blocked.clear();
        rig.run();
        rig.advance_to(rig.now_us + 700_000_000);
        rig.advance_to(rig.now_us + 2_000_000);
        verify(&mut rig);
        prop_assert!(rig.nodes.iter().all(|node| node.shard.state().stock.iter().all(|stock| stock.held == 0)));
        verify_counts(&rig);
        rig.flush(true);
        rig.restart();
        rig.run();
        verify(&mut rig);
    }
}

/// Each customer's count is what their orders come to: all that were ever accepted, or where the
/// sale gives the limit back those that were not closed.
fn verify_counts(rig: &Rig) {
    let rows: Vec<_> = rig.nodes.iter().map(crate::books::rows_of_log).collect();
    let mut counts: BTreeMap<u128, u32> = BTreeMap::new();
    let rule = |sku: &Sku| {
        let owner = rig.map.shard(Slot::of(sku.as_bytes()));
        rig.nodes[usize::from(owner.0)].shard.state().stock.row(sku).copied().unwrap()
    };
    for row in rows.iter().flat_map(|rows| rows.values()) {
        let Row::Order(order) = row else { continue };
        for line in order.lines.iter().filter(|_| order.state != OrderState::Rejected) {
            let stock = rule(&line.sku);
            let counted = stock.limit_per_customer > 0 && (!stock.limit_returns || order.state.is_sold());
            if counted {
                let hash = rig.hasher.pair(line.sku.as_bytes(), order.customer.as_bytes());
                *counts.entry(hash).or_default() += line.quantity;
            }
        }
    }
    for row in rows.iter().flat_map(|rows| rows.values()) {
        let Row::Limit(limit) = row else { continue };
        assert_eq!(limit.units, counts.remove(&limit.hash).unwrap_or(0), "{limit:?}");
        assert!(limit.units <= limit.limit, "{limit:?}");
    }
    assert!(counts.is_empty(), "bought and not counted: {counts:?}");
}

fn walk(rig: &mut Rig, step: Step, tags: &mut Vec<u64>, orders: &mut Vec<OrderId>) {
    match step {
        Step::Order { customer, mut lines, key } => {
            lines.sort_unstable();
            lines.dedup_by_key(|line| line.0);
            let names: Vec<(String, i64)> =
                lines.iter().map(|(sku, units)| (format!("sku{sku}@{}", sku % 4), *units)).collect();
            let lines: Vec<(&str, i64)> = names.iter().map(|(sku, units)| (sku.as_str(), *units)).collect();
            let command = basket(rig, &format!("customer-{customer}"), &lines);
            let key = key.map_or(IdempotencyKey::NONE, |key| rig.key("c", &format!("k{key}")));
            tags.push(rig.submit(key, command));
        }
        Step::End { order, how } if !orders.is_empty() => {
            let order = orders[order % orders.len()];
            // Whatever is blocked, the home answers what is asked of an order.
            end(rig, order, ["cancel", "pay", "call off", "cancel"][usize::from(how)]);
        }
        Step::End { .. } => {}
        Step::Pass { us } => rig.advance_to(rig.now_us + us),
        Step::Block { from, to } => drop(rig.blocked.insert((from, to))),
        Step::Unblock => rig.blocked.clear(),
        Step::Flush { checkpoint } => rig.flush(checkpoint),
        Step::Restart => rig.restart(),
    }
    rig.run();
    tags.retain(|tag| match rig.take_reply(*tag) {
        Some(reply) => {
            if let Outcome::Accepted(Receipt::Order { order, .. }) = reply.outcome {
                orders.push(order);
            }
            false
        }
        None => true,
    });
}
