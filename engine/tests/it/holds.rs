//! Deadlines: exact to the microsecond, swept or not.

use crate::rig::Plan;
use crate::table::{check, check_with};

#[test]
fn a_hold_lives_until_its_deadline_and_not_longer() {
    check(
        "at        | command                        | outcome
         0s        | put tea stock 1                | ok
         0s        | order ada tea as o             | ok
         600s-1us  | get o                          | Pending
         600s-1us  | order bob tea                  | OUT_OF_STOCK lines[0].quantity
         600s-1us  | stock tea                      | on_hand 1 held 1 sold 0 v2
         600s      | stock tea                      | on_hand 1 held 0 sold 0 v2
         600s      | get o                          | Expired
         600s      | order bob tea                  | accepted total 100",
    );
}

#[test]
fn units_of_a_dead_hold_are_sold_in_the_same_turn() {
    check(
        "at    | command                        | outcome
         0s    | put tea stock 1                | ok
         0s    | order ada tea as o             | ok
         600s  | order bob tea                  | accepted total 100
         600s  | & get o                        | Expired
         600s  | & cancel o                     | ILLEGAL_TRANSITION Expired -> Cancelled
         600s  | & order cy tea                 | OUT_OF_STOCK lines[0].quantity",
    );
}

#[test]
fn a_dead_order_is_dead_though_it_is_looked_at_first() {
    check(
        "at    | command                        | outcome
         0s    | put tea stock 1                | ok
         0s    | order ada tea as o             | ok
         600s  | pay o                          | ILLEGAL_TRANSITION Expired -> Paid
         600s  | & stock tea                    | on_hand 1 held 0 sold 0 v2",
    );
}

#[test]
fn the_interval_is_the_orders_or_the_skus_or_the_default() {
    check(
        "at        | command                                  | outcome
         0s        | put tea stock 9 hold 60s                 | ok
         0s        | put cup stock 9 hold 90s                 | ok
         0s        | order ada tea as a                       | ok
         0s        | order ada tea , cup as b                 | ok
         0s        | order ada tea hold 5s as c               | ok
         0s        | order ada tea hold 2592001s              | INVALID_FIELD hold
         5s-1us    | get c                                    | Pending
         5s        | get c                                    | Expired
         60s-1us   | get a                                    | Pending
         60s       | get a                                    | Expired
         90s-1us   | get b                                    | Pending
         90s       | get b                                    | Expired

         sku | on_hand | held | sold | available
         tea | 9       | 0    | 0    | 9
         cup | 9       | 0    | 0    | 9",
    );
}

#[test]
fn an_idle_shard_expires_at_its_tick() {
    check(
        "at        | command                      | outcome
         0s        | put tea stock 5              | ok
         0s        | order ada tea hold 1s as a   | ok
         0s        | order ada tea hold 1.0001s as b | ok
         1s        | tick                         | -
         1s        | stock tea                    | on_hand 5 held 1 sold 0 v2
         1.0001s   | tick                         | -
         1.0001s   | stock tea                    | on_hand 5 held 0 sold 0 v2",
    );
}

#[test]
fn deadlines_survive_a_restart() {
    check(
        "at        | command                      | outcome
         0s        | put tea stock 5              | ok
         0s        | order ada tea as a           | ok
         1s        | checkpoint                   | -
         1s        | order ada tea as b           | ok
         2s        | restart                      | -
         600s-1us  | get a                        | Pending
         600s      | get a                        | Expired
         600s      | restart                      | -
         601s-1us  | get b                        | Pending
         601s      | get b                        | Expired

         sku | on_hand | held | sold | available
         tea | 5       | 0    | 0    | 5",
    );
}

#[test]
fn closing_gives_units_back_at_once_and_only_once() {
    check(
        "at    | command                | outcome
         0s    | put tea stock 1        | ok
         0s    | order ada tea as a     | ok
         1s    | cancel a key c1        | now Cancelled
         1s    | & order bob tea as b   | ok
         1s    | & cancel a key c1      | now Cancelled (replay)
         2s    | cancel a               | ILLEGAL_TRANSITION Cancelled -> Cancelled
         900s  | get a                  | Cancelled

         sku | on_hand | held | sold | available
         tea | 1       | 0    | 0    | 1",
    );
}

/// More dead holds than one turn sweeps: a decision that finds too little must see them all.
#[test]
fn a_backlog_of_dead_holds_hides_nothing() {
    let mut table = String::from("0s | put tea stock 3000 | ok\n");
    for order in 0..3_000 {
        table += &format!("0s | & order c{order} tea | ok\n");
    }
    for (first, outcome) in [
        ("order bob tea x3000", "accepted total 300000"),
        ("stock tea", "on_hand 3000 held 0 sold 0 v2"),
        ("stock tea set 0", "on_hand 0 held 0 v3"),
    ] {
        let end = format!("{table}600s | {first} | {outcome}\n600s | & stock tea add 0 | ok\n");
        check_with(Plan::new(1), false, &end);
        // A turn whose frame is full sweeps the rest in the next one.
        check_with(Plan { frame_bytes_max: 64 << 10, ..Plan::new(1) }, false, &end);
    }
}
