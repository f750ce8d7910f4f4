//! What an order may hold: its lines, prices, limits.

use onrush_proto::command::MAX_LINES;
use onrush_proto::{Command, CreateOrder, IdempotencyKey, OrderLine, Outcome, Receipt, Refusal};

use crate::rig::{Plan, Rig};
use crate::table::{check, check_on, sku_on};

#[test]
fn several_lines_all_or_none() {
    check(
        "at | command                          | outcome
         0s | put tea price 100 stock 5        | ok
         0s | put cup price 30 stock 2         | ok
         0s | order ada tea x3 , cup x3        | OUT_OF_STOCK lines[1].quantity
         0s | stock tea                        | on_hand 5 held 0 sold 0 v2
         0s | order ada tea x3 , cup x2 as o   | accepted total 360
         0s | order bob cup , tea              | OUT_OF_STOCK lines[0].quantity
         0s | cancel o                         | now Cancelled
         0s | order bob cup , tea as p         | accepted total 130
         0s | pay p                            | attempt 1 for 130
         0s | settle p #1 captured             | order Paid payment Succeeded

         sku | on_hand | held | sold | available
         tea | 4       | 0    | 1    | 4
         cup | 1       | 0    | 1    | 1",
    );
}

#[test]
fn the_shape_of_an_order_is_checked_first() {
    check(
        "at | command                                    | outcome
         0s | order ada                                  | NO_LINES lines
         0s | order nobody tea                           | INVALID_FIELD customer_id
         0s | put tea stock 5                            | ok
         0s | order ada tea x0                           | BAD_QUANTITY lines[0].quantity
         0s | order ada tea x-1                          | BAD_QUANTITY lines[0].quantity
         0s | order ada tea x1000001                     | BAD_QUANTITY lines[0].quantity
         0s | order ada tea xmax                         | BAD_QUANTITY lines[0].quantity
         0s | order ada tea , cup xmin                   | BAD_QUANTITY lines[1].quantity
         0s | order ada tea , tea                        | DUPLICATE_SKU lines[1].sku
         0s | order ada cup , tea , tea , cup            | DUPLICATE_SKU lines[2].sku
         0s | order ada tea , cup                        | UNKNOWN_SKU lines[1].sku
         0s | order ada tea x1000000                     | OUT_OF_STOCK lines[0].quantity
         0s | stock tea set 1000000                      | ok
         0s | order ada tea x1000000                     | accepted total 100000000",
    );
}

#[test]
fn prices_have_ceilings_and_are_snapshots() {
    check(
        "at | command                          | outcome
         0s | put tea price 100 stock 5        | ok
         0s | order ada tea max-price 99       | PRICE_CHANGED lines[0].max_unit_price
         0s | order ada tea max-price 100 as o | accepted total 100
         0s | put tea price 150                | ok
         0s | order ada tea max-price 100      | PRICE_CHANGED lines[0].max_unit_price
         0s | put tea price 50                 | ok
         0s | order ada tea x2 max-price 100   | accepted total 100
         0s | pay o                            | attempt 1 for 100
         0s | put cup price 70 in USD stock 5  | ok
         0s | order ada cup                    | accepted total 70 USD
         0s | order ada tea , cup              | MIXED_CURRENCIES lines[1].sku
         0s | order ada cup , tea              | MIXED_CURRENCIES lines[1].sku",
    );
}

#[test]
fn sums_are_checked() {
    check(
        "at | command                                        | outcome
         0s | put tea price max stock 5                      | ok
         0s | put cup price 1 stock 5                        | ok
         0s | put pot price 9223372036854775 stock 5000      | ok
         0s | order ada tea                                  | accepted total 9223372036854775807
         0s | order ada tea x2                               | AMOUNT_OVERFLOW lines[0].quantity
         0s | order ada tea , cup                            | AMOUNT_OVERFLOW lines[1].quantity
         0s | order ada pot x1000                            | accepted total 9223372036854775000
         0s | order ada pot x1001                            | AMOUNT_OVERFLOW lines[0].quantity",
    );
}

#[test]
fn a_limit_counts_over_the_life_of_the_sale() {
    check(
        "at   | command                          | outcome
         0s   | put tea stock 50 limit 3         | ok
         0s   | put cup stock 50 limit 1         | ok
         0s   | order ada tea x2 as o            | ok
         0s   | order ada tea x2                 | LIMIT_EXCEEDED lines[0].quantity
         0s   | order bob tea x4                 | LIMIT_EXCEEDED lines[0].quantity
         0s   | order bob tea x3                 | ok
         0s   | order ada cup , tea x2           | LIMIT_EXCEEDED lines[1].quantity
         0s   | order ada cup , tea as p         | ok
         0s   | order ada cup                    | LIMIT_EXCEEDED lines[0].quantity
         0s   | cancel o                         | now Cancelled
         1s   | order ada tea                    | LIMIT_EXCEEDED lines[0].quantity
         600s | get p                            | Expired
         600s | order ada tea                    | LIMIT_EXCEEDED lines[0].quantity
         600s | flush                            | -
         600s | restart                          | -
         600s | order ada tea                    | LIMIT_EXCEEDED lines[0].quantity
         600s | order cy tea x3                  | ok
         600s | & order cy tea                   | LIMIT_EXCEEDED lines[0].quantity",
    );
}

#[test]
fn a_limit_comes_back_if_the_sale_says_so() {
    check(
        "at   | command                          | outcome
         0s   | put tea stock 9 limit 2 returns  | ok
         0s   | order ada tea x2 as o            | ok
         0s   | cancel o                         | now Cancelled
         0s   | order ada tea x2 as p            | ok
         0s   | order ada tea                    | LIMIT_EXCEEDED lines[0].quantity
         0s   | checkpoint                       | -
         0s   | restart                          | -
         600s | order ada tea x2 as q            | ok
         600s | & get p                          | Expired
         600s | pay q                            | ok
         600s | settle q #1 captured             | ok
         600s | order ada tea                    | LIMIT_EXCEEDED lines[0].quantity
         600s | cancel q                         | refund 1 of 200 Pending
         600s | order ada tea                    | LIMIT_EXCEEDED lines[0].quantity
         600s | refunded q #1 ok                 | refund 1 of 200 Succeeded
         600s | order ada tea x2                 | ok",
    );
}

/// The new rule makes counts wanted that nobody asked the store for before the turn.
#[test]
fn a_limit_that_is_set_in_a_batch_finds_cold_counts() {
    check(
        "at | command                          | outcome
         0s | put tea stock 9 limit 2          | ok
         0s | order ada tea x2                 | ok
         0s | put tea                          | ok
         0s | order ada tea                    | ok
         0s | flush                            | -
         0s | order bob tea                    | ok
         0s | put tea limit 2                  | ok
         0s | & order ada tea                  | LIMIT_EXCEEDED lines[0].quantity",
    );
    check(
        "at   | command                          | outcome
         0s   | put tea stock 9 limit 2          | ok
         0s   | order ada tea x2 as o            | ok
         0s   | flush                            | -
         0s   | order bob tea                    | ok
         0s   | put tea limit 2 returns          | ok
         0s   | & cancel o                       | now Cancelled
         0s   | order ada tea x2                 | ok",
    );
}

fn basket(rig: &Rig, lines: usize) -> Command {
    let line = |index: usize| OrderLine::new(sku_on(rig, &format!("sku-{index}")), 1);
    let lines = (0..lines).map(line).collect();
    Command::CreateOrder(CreateOrder { customer: "ada".parse().unwrap(), lines, hold_us: 0 })
}

#[test]
fn ten_thousand_lines_and_not_one_more() {
    for shards in [1, 4] {
        let mut rig = Rig::new(Plan::new(shards));
        for index in 0..MAX_LINES {
            for (key, command) in
                crate::speech::Speaker::default().requests(&rig, &format!("put sku-{index} price 3 stock 1"))
            {
                rig.submit(key, command);
            }
        }
        rig.run();
        let too_many = rig.ask(IdempotencyKey::NONE, basket(&rig, MAX_LINES + 1));
        assert_eq!(too_many.outcome, Outcome::Refused(Refusal::TooManyLines { found: MAX_LINES + 1 }));
        let whole = rig.ask(IdempotencyKey::NONE, basket(&rig, MAX_LINES));
        let Outcome::Accepted(Receipt::Order { order, total, .. }) = whole.outcome else {
            panic!("{whole:?}")
        };
        assert_eq!(total.minor, 3 * MAX_LINES as i64);
        let again = rig.ask(IdempotencyKey::NONE, basket(&rig, 1));
        assert!(matches!(again.outcome, Outcome::Refused(Refusal::OutOfStock { .. })));
        rig.ask(IdempotencyKey::NONE, Command::CancelOrder(onrush_proto::CancelOrder { order }));
        crate::books::verify(&mut rig);
        rig.restart();
        rig.run();
        assert!(rig.nodes.iter().all(|node| node.shard.state().stock.iter().all(|stock| stock.held == 0)));
    }
}

#[test]
fn currencies_do_not_mix_over_shards_either() {
    check_on(
        2,
        "at | command                               | outcome
         0s | put tea@0 price 100 stock 5           | ok
         0s | put cup@1 price 30 in USD stock 5     | ok
         0s | put pot@1 price 20 stock 5            | ok
         0s | order ada tea@0 , cup@1               | MIXED_CURRENCIES lines[1].sku
         0s | order ada tea@0 , pot@1 , cup@1       | MIXED_CURRENCIES lines[2].sku
         0s | order ada tea@0 , pot@1               | accepted total 120

         sku   | on_hand | held | sold | available
         tea@0 | 5       | 1    | 0    | 4
         cup@1 | 5       | 0    | 0    | 5
         pot@1 | 5       | 1    | 0    | 4",
    );
}
