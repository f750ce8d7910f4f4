//! Orders over several shards that stand in each other's way.

use std::collections::BTreeMap;

use onrush_proto::{IdempotencyKey, OrderState, Outcome, Refusal, Row};

use crate::baskets::{accepted, basket, buys_again, held, stage};
use crate::books::verify;
use crate::rig::{Plan, Rig};
use crate::table::check_on;

/// Each basket holds what the other wants, and both are refused. They let go and ask again in the
/// order of the shards: one comes through, and the other is told what is really sold.
#[test]
fn of_two_baskets_that_refuse_each_other_one_comes_through() {
    check_on(
        2,
        "at   | command                                    | outcome
         0s   | put tea@0 stock 1                          | ok
         0s   | put cup@1 stock 1                          | ok
         0s   | order ada tea@0 , cup@1 key a              | accepted total 200
         0s   | & order bob cup@1 , tea@0 key b            | OUT_OF_STOCK lines[1].quantity
         0s   | order ada tea@0 , cup@1 key a              | accepted total 200 (replay)
         0s   | order bob cup@1 , tea@0 key b              | OUT_OF_STOCK lines[0].quantity

         sku   | on_hand | held | sold | available
         tea@0 | 1       | 1    | 0    | 0
         cup@1 | 1       | 1    | 0    | 0",
    );
    // The same with a customer's limit between them, which a refusal leaves as it was.
    check_on(
        2,
        "at   | command                                    | outcome
         0s   | put tea@0 stock 9 limit 1                  | ok
         0s   | put cup@1 stock 9 limit 1                  | ok
         0s   | order ada tea@0 , cup@1 as o               | accepted total 200
         0s   | & order ada cup@1 , tea@0                  | LIMIT_EXCEEDED lines[1].quantity
         0s   | order bob cup@1 , tea@0 hold 5s            | accepted total 200

         sku   | on_hand | held | sold | available
         tea@0 | 9       | 2    | 0    | 7
         cup@1 | 9       | 2    | 0    | 7",
    );
}

/// Three in a ring: each holds what the next one wants.
#[test]
fn of_a_ring_of_baskets_one_comes_through() {
    check_on(
        3,
        "at   | command                                    | outcome
         0s   | put tea@0 stock 1                          | ok
         0s   | put cup@1 stock 1                          | ok
         0s   | put pot@2 stock 1                          | ok
         0s   | order ada tea@0 , cup@1                    | OUT_OF_STOCK lines[1].quantity
         0s   | & order bob cup@1 , pot@2                  | accepted total 200
         0s   | & order cy pot@2 , tea@0                   | OUT_OF_STOCK lines[1].quantity
         0s   | order dan tea@0                            | accepted total 100

         sku   | on_hand | held | sold | available
         tea@0 | 1       | 1    | 0    | 0
         cup@1 | 1       | 1    | 0    | 0
         pot@2 | 1       | 1    | 0    | 0",
    );
}

/// A second try is bounded: against units that stay held its refusal stands, nothing stays behind,
/// and a restart in the middle of it gives everything back.
#[test]
fn a_second_try_is_the_last() {
    for blocked in [None, Some((0, 1)), Some((1, 0))] {
        for plan in [Plan::new(3), Plan::forgetful(3)] {
            let mut rig = stage(plan);
            let taken = rig.ask(IdempotencyKey::NONE, basket(&rig, "bob", &[("tea@0", 2)]));
            accepted(&taken.outcome);
            let taken = rig.ask(IdempotencyKey::NONE, basket(&rig, "cy", &[("tea@0", 2)]));
            accepted(&taken.outcome);
            let key = rig.key("c", "k");
            let waiting = rig.submit(key, basket(&rig, "ada", &[("cup@1", 2), ("tea@0", 2)]));
            if let Some(blocked) = blocked {
                // The first try ends; the second waits for its hold.
                let second = [OrderState::Rejected, OrderState::Queued];
                for _ in 0..20 {
                    if order_states(&rig, 1) != second {
                        rig.step();
                    }
                }
                assert_eq!(order_states(&rig, 1), second);
                rig.blocked.insert(blocked);
                rig.run();
                assert_eq!(rig.take_reply(waiting), None);
                assert_eq!(held(&rig), [4, 0], "nothing is held here before the first shard holds");
                rig.flush(true);
                rig.restart();
                rig.run();
            } else {
                rig.run();
                let refusal = Refusal::OutOfStock { line: 1, asked: 2, available: 1 };
                assert_eq!(rig.take_reply(waiting).unwrap().outcome, Outcome::Refused(refusal));
            }
            assert_eq!(order_states(&rig, 1), [OrderState::Rejected; 2]);
            assert_eq!(held(&rig), [4, 0]);
            verify(&mut rig);
            rig.advance_to(rig.now_us + 600_000_000);
            buys_again(&mut rig);
        }
    }
}

/// States of the orders that a shard's log has, oldest first.
fn order_states(rig: &Rig, shard: usize) -> Vec<OrderState> {
    let rows = crate::books::rows_of_log(&rig.nodes[shard]);
    let orders = rows.values().filter_map(|row| match row {
        Row::Order(order) => Some((order.id.sequence(), order.state)),
        _ => None,
    });
    let by_age: BTreeMap<u64, OrderState> = orders.collect();
    by_age.into_values().collect()
}
