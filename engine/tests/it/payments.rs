//! Attempts, captures, late money, and what the ledger says of them.

use crate::table::{check, check_on};

#[test]
fn one_step() {
    check(
        "at | command                     | outcome
         0s | put tea stock 9             | ok
         0s | order ada tea x2 as o       | ok
         0s | capture o 10                | ILLEGAL_PAYMENT_STATE RequiresPaymentMethod
         0s | settle o #1 captured        | UNKNOWN_ATTEMPT attempt
         0s | pay o                       | attempt 1 for 200
         0s | get o                       | Pending Processing authorised 0 captured 0 refunded 0
         0s | pay o                       | ILLEGAL_PAYMENT_STATE Processing
         0s | settle o #2 captured        | UNKNOWN_ATTEMPT attempt
         0s | settle o #1 captured        | order Paid payment Succeeded
         0s | get o                       | Paid Succeeded authorised 200 captured 200 refunded 0
         0s | settle o #1 captured        | order Paid payment Succeeded
         0s | settle o #1 declined        | order Paid payment Succeeded
         0s | settle o #1 authorised      | order Paid payment Succeeded
         0s | settle o #1 unknown         | order Paid payment Succeeded
         0s | get o                       | Paid Succeeded authorised 200 captured 200 refunded 0
         0s | pay o                       | ILLEGAL_TRANSITION Paid -> Paid
         0s | capture o 10                | ILLEGAL_PAYMENT_STATE Succeeded
         0s | pay nothing                 | UNKNOWN_ORDER order_id

         sku | on_hand | held | sold | available
         tea | 7       | 0    | 2    | 7",
    );
}

#[test]
fn a_decline_leaves_the_order_pending() {
    check(
        "at   | command                   | outcome
         0s   | put tea stock 9           | ok
         0s   | order ada tea as o        | ok
         0s   | pay o                     | attempt 1 for 100
         0s   | settle o #1 declined      | order Pending payment RequiresPaymentMethod
         0s   | settle o #1 declined      | order Pending payment RequiresPaymentMethod
         0s   | settle o #1 unknown       | order Pending payment RequiresPaymentMethod
         9s   | pay o                     | attempt 2 for 100
         9s   | settle o #2 declined      | order Pending payment RequiresPaymentMethod
         600s-1us | pay o                 | attempt 3 for 100
         600s | settle o #3 declined      | order Expired payment Canceled
         600s | pay o                     | ILLEGAL_TRANSITION Expired -> Paid",
    );
}

#[test]
fn silence_is_not_a_decline() {
    check(
        "at | command                     | outcome
         0s | put tea stock 9             | ok
         0s | order ada tea as o          | ok
         0s | pay o                       | ok
         0s | settle o #1 unknown         | order Pending payment Processing
         0s | settle o #1 unknown         | order Pending payment Processing
         0s | pay o                       | ILLEGAL_PAYMENT_STATE Processing
         0s | restart                     | -
         0s | pay o                       | ILLEGAL_PAYMENT_STATE Processing
         0s | settle o #1 captured        | order Paid payment Succeeded
         0s | order bob tea as p          | ok
         0s | pay p                       | ok
         0s | settle p #1 unknown         | ok
         0s | settle p #1 declined        | order Pending payment RequiresPaymentMethod
         0s | pay p                       | attempt 2 for 100",
    );
}

#[test]
fn authorised_then_captured_in_part() {
    check(
        "at | command                     | outcome
         0s | put tea stock 9             | ok
         0s | order ada tea as o          | ok
         0s | pay o later                 | attempt 1 for 100
         0s | capture o 60                | ILLEGAL_PAYMENT_STATE Processing
         0s | settle o #1 authorised      | order Pending payment RequiresCapture
         0s | settle o #1 authorised      | order Pending payment RequiresCapture
         0s | settle o #1 declined        | order Pending payment RequiresCapture
         0s | pay o                       | ILLEGAL_PAYMENT_STATE RequiresCapture
         0s | capture o 0                 | INVALID_FIELD amount
         0s | capture o -1                | INVALID_FIELD amount
         0s | capture o 101               | CAPTURE_ABOVE_AUTHORISED amount
         0s | capture o 60                | capture of 60 from attempt 1
         0s | get o                       | Pending Processing authorised 100 captured 0 refunded 0
         0s | capture o 40                | ILLEGAL_PAYMENT_STATE Processing
         0s | pay o                       | ILLEGAL_PAYMENT_STATE Processing
         0s | settle o #1 unknown         | order Pending payment Processing
         0s | settle o #1 declined        | order Pending payment Processing
         0s | settle o #1 authorised      | order Pending payment Processing
         0s | restart                     | -
         0s | settle o #1 captured        | order Paid payment Succeeded
         0s | settle o #1 captured        | order Paid payment Succeeded
         0s | settle o #1 expired         | order Paid payment Succeeded
         0s | capture o 40                | ILLEGAL_PAYMENT_STATE Succeeded
         0s | get o                       | Paid Succeeded authorised 100 captured 60 refunded 0
         0s | refund o 61                 | REFUND_ABOVE_CAPTURED amount
         0s | refund o 60                 | refund 1 of 60 Pending
         0s | refunded o #1 ok            | refund 1 of 60 Succeeded
         0s | get o                       | Refunded Succeeded authorised 100 captured 60 refunded 60",
    );
}

/// The gateway's own word that it took what it had reserved.
#[test]
fn authorised_then_captured_by_the_gateway() {
    check(
        "at | command                     | outcome
         0s | put tea stock 9             | ok
         0s | order ada tea as o          | ok
         0s | pay o later                 | ok
         0s | settle o #1 authorised      | order Pending payment RequiresCapture
         0s | settle o #1 captured        | order Paid payment Succeeded
         0s | get o                       | Paid Succeeded authorised 100 captured 100 refunded 0",
    );
}

#[test]
fn closing_voids_what_is_reserved() {
    check(
        "at   | command                   | outcome
         0s   | put tea stock 9           | ok
         0s   | order ada tea as o        | ok
         0s   | pay o later               | ok
         0s   | settle o #1 authorised    | ok
         0s   | cancel o                  | now Cancelled
         0s   | get o                     | Cancelled Canceled authorised 100 captured 0 refunded 0
         0s   | order bob tea as p        | ok
         0s   | pay p later               | ok
         0s   | settle p #1 authorised    | ok
         600s | get p                     | Expired Canceled authorised 100 captured 0 refunded 0
         600s | settle p #1 authorised    | order Expired payment Canceled
         600s | order cy tea as q         | ok
         600s | pay q later               | ok
         600s | cancel q                  | now Cancelled
         600s | get q                     | Cancelled Processing authorised 0 captured 0 refunded 0
         600s | settle q #1 authorised    | order Cancelled payment Canceled
         600s | get q                     | Cancelled Canceled authorised 100 captured 0 refunded 0",
    );
}

#[test]
fn late_money_takes_the_stock_again() {
    check(
        "at   | command                   | outcome
         0s   | put tea stock 1           | ok
         0s   | order ada tea as o        | ok
         0s   | pay o                     | ok
         600s | get o                     | Expired Processing authorised 0 captured 0 refunded 0
         601s | settle o #1 captured      | order Paid payment Succeeded
         601s | settle o #1 captured      | order Paid payment Succeeded
         601s | order bob tea             | OUT_OF_STOCK lines[0].quantity
         601s | move o fulfilling         | now Fulfilling

         sku | on_hand | held | sold | available
         tea | 0       | 0    | 1    | 0",
    );
}

#[test]
fn late_money_goes_back_if_the_stock_is_gone() {
    check(
        "at   | command                   | outcome
         0s   | put tea stock 1           | ok
         0s   | order ada tea as o        | ok
         0s   | pay o                     | ok
         600s | order bob tea             | ok
         601s | settle o #1 captured      | order Expired payment Canceled
         601s | get o                     | Expired Canceled authorised 100 captured 100 refunded 0
         601s | settle o #1 captured      | order Expired payment Canceled
         601s | refund o 1                | REFUND_ABOVE_CAPTURED amount
         601s | refunded o #1 ok          | refund 1 of 100 Succeeded
         601s | get o                     | Expired Canceled authorised 100 captured 100 refunded 100
         601s | order cy tea as p         | OUT_OF_STOCK lines[0].quantity

         sku | on_hand | held | sold | available
         tea | 1       | 1    | 0    | 0",
    );
}

/// The capture is on record before the gateway is asked, so an order that closes meanwhile gets what
/// the gateway took as late money, of the amount that was asked for.
#[test]
fn a_capture_that_comes_late_is_late_money() {
    check(
        "at   | command                   | outcome
         0s   | put tea stock 3           | ok
         0s   | order ada tea as o        | ok
         0s   | order ada tea as p        | ok
         0s   | order ada tea as q        | ok
         0s   | pay o later               | ok
         0s   | settle o #1 authorised    | ok
         0s   | pay p later               | ok
         0s   | settle p #1 authorised    | ok
         0s   | pay q later               | ok
         0s   | settle q #1 authorised    | ok
         0s   | capture o 101             | CAPTURE_ABOVE_AUTHORISED amount
         0s   | capture o 90              | capture of 90 from attempt 1
         0s   | capture p 80              | capture of 80 from attempt 1
         600s | capture q 10              | ILLEGAL_PAYMENT_STATE Canceled
         600s | get o                     | Expired Processing authorised 100 captured 0 refunded 0
         600s | settle o #1 captured      | order Paid payment Succeeded
         600s | get o                     | Paid Succeeded authorised 100 captured 90 refunded 0
         600s | capture o 10              | ILLEGAL_PAYMENT_STATE Succeeded
         600s | order bob tea x2          | ok
         600s | settle p #1 captured      | order Expired payment Canceled
         600s | get p                     | Expired Canceled authorised 100 captured 80 refunded 0
         600s | capture p 10              | ILLEGAL_PAYMENT_STATE Canceled
         600s | refunded p #1 ok          | refund 1 of 80 Succeeded",
    );
}

/// The gateway had let go of what it reserved: the order waits for another payment while it can.
#[test]
fn a_capture_that_fails_asks_for_another_payment() {
    check(
        "at   | command                   | outcome
         0s   | put tea stock 9           | ok
         0s   | order ada tea as o        | ok
         0s   | pay o later               | ok
         0s   | settle o #1 expired       | order Pending payment Processing
         0s   | settle o #1 authorised    | ok
         0s   | settle o #1 expired       | order Pending payment RequiresCapture
         0s   | capture o 100             | ok
         0s   | settle o #1 expired       | order Pending payment RequiresPaymentMethod
         0s   | settle o #1 expired       | order Pending payment RequiresPaymentMethod
         0s   | get o                     | Pending RequiresPaymentMethod authorised 100 captured 0 refunded 0
         0s   | pay o                     | attempt 2 for 100
         0s   | settle o #2 captured      | order Paid payment Succeeded
         0s   | order ada tea as p        | ok
         0s   | pay p later               | ok
         0s   | settle p #1 authorised    | ok
         0s   | capture p 100             | ok
         0s   | cancel p                  | now Cancelled
         0s   | get p                     | Cancelled Processing authorised 100 captured 0 refunded 0
         0s   | settle p #1 expired       | order Cancelled payment Canceled

         sku | on_hand | held | sold | available
         tea | 8       | 0    | 1    | 8",
    );
}

/// While one attempt is captured, another's reservation goes back, and its decline changes nothing.
#[test]
fn a_capture_under_way_is_the_only_one() {
    check(
        "at   | command                   | outcome
         0s   | put tea stock 9           | ok
         0s   | order ada tea as o        | ok
         0s   | pay o later               | ok
         0s   | settle o #1 declined      | ok
         0s   | pay o later               | ok
         0s   | settle o #1 authorised    | order Pending payment RequiresCapture
         0s   | capture o 70              | capture of 70 from attempt 1
         0s   | settle o #2 declined      | order Pending payment Processing
         0s   | capture o 70              | ILLEGAL_PAYMENT_STATE Processing
         0s   | settle o #2 authorised    | order Pending payment Processing
         0s   | get o                     | Pending Processing authorised 200 captured 0 refunded 0
         0s   | settle o #1 captured      | order Paid payment Succeeded
         0s   | get o                     | Paid Succeeded authorised 200 captured 70 refunded 0",
    );
}

#[test]
fn money_for_a_cancelled_order_goes_back() {
    check(
        "at   | command                   | outcome
         0s   | put tea stock 9           | ok
         0s   | order ada tea as o        | ok
         0s   | pay o                     | ok
         0s   | cancel o                  | now Cancelled
         0s   | settle o #1 captured      | order Cancelled payment Canceled
         0s   | refunded o #1 failed      | refund 1 of 100 Failed
         0s   | refund o 100              | refund 2 of 100 Pending
         0s   | refunded o #2 ok          | refund 2 of 100 Succeeded
         0s   | get o                     | Cancelled Canceled authorised 100 captured 100 refunded 100

         sku | on_hand | held | sold | available
         tea | 9       | 0    | 0    | 9",
    );
}

/// Of two charges one pays; the other goes back and leaves the order as it is.
#[test]
fn a_second_charge_goes_back() {
    check(
        "at   | command                   | outcome
         0s   | put tea stock 9           | ok
         0s   | order ada tea as o        | ok
         0s   | pay o                     | ok
         0s   | settle o #1 declined      | ok
         0s   | pay o                     | attempt 2 for 100
         0s   | settle o #1 captured      | order Paid payment Succeeded
         0s   | settle o #2 captured      | order Paid payment Succeeded
         0s   | get o                     | Paid Succeeded authorised 200 captured 200 refunded 0
         0s   | refund o 101              | REFUND_ABOVE_CAPTURED amount
         0s   | refunded o #1 ok          | refund 1 of 100 Succeeded
         0s   | get o                     | Paid Succeeded authorised 200 captured 200 refunded 100
         0s   | refund o 100              | refund 2 of 100 Pending
         0s   | refunded o #2 ok          | refund 2 of 100 Succeeded
         0s   | get o                     | Refunded Succeeded authorised 200 captured 200 refunded 200",
    );
}

#[test]
fn at_most_one_attempt_succeeds() {
    check(
        "at   | command                   | outcome
         0s   | put tea stock 9           | ok
         0s   | order ada tea as o        | ok
         0s   | pay o later               | ok
         0s   | settle o #1 declined      | ok
         0s   | pay o later               | ok
         0s   | settle o #2 authorised    | order Pending payment RequiresCapture
         0s   | settle o #1 authorised    | order Pending payment RequiresCapture
         0s   | get o                     | Pending RequiresCapture authorised 200 captured 0 refunded 0
         0s   | capture o 100             | capture of 100 from attempt 2
         0s   | settle o #2 captured      | order Paid payment Succeeded
         0s   | order ada tea as p        | ok
         0s   | pay p later               | ok
         0s   | settle p #1 declined      | ok
         0s   | pay p later               | ok
         0s   | settle p #2 authorised    | order Pending payment RequiresCapture
         0s   | settle p #1 captured      | order Paid payment Succeeded
         0s   | capture p 100             | ILLEGAL_PAYMENT_STATE Succeeded
         0s   | settle p #2 captured      | order Paid payment Succeeded
         0s   | refunded p #1 ok          | refund 1 of 100 Succeeded
         0s   | get p                     | Paid Succeeded authorised 300 captured 200 refunded 100",
    );
}

/// Expiry gave the limit back and the customer used it: late money would pass the limit.
#[test]
fn late_money_keeps_the_limit() {
    check(
        "at   | command                          | outcome
         0s   | put tea stock 9 limit 2 returns  | ok
         0s   | order ada tea x2 as o            | ok
         0s   | pay o                            | ok
         600s | order ada tea as p               | ok
         600s | settle o #1 captured             | order Expired payment Canceled
         600s | order bob tea x2 as q            | ok
         600s | pay q                            | ok
         1200s | settle q #1 captured            | order Paid payment Succeeded
         1200s | order bob tea                   | LIMIT_EXCEEDED lines[0].quantity
         1200s | order ada tea x2                | ok",
    );
}

/// A basket over shards that expired would have to be reserved anew everywhere.
#[test]
fn late_money_for_a_basket_over_shards_goes_back() {
    check_on(
        2,
        "at   | command                       | outcome
         0s   | put tea@0 stock 9             | ok
         0s   | put cup@1 stock 9             | ok
         0s   | order ada tea@0 , cup@1 as o  | ok
         0s   | pay o                         | ok
         600s | settle o #1 captured          | order Expired payment Canceled
         600s | refunded o #1 ok              | refund 1 of 200 Succeeded

         sku   | on_hand | held | sold | available
         tea@0 | 9       | 0    | 0    | 9
         cup@1 | 9       | 0    | 0    | 9",
    );
}

#[test]
fn attempts_are_numbered_and_bounded() {
    let mut table = String::from("0s | put tea stock 1 | ok\n0s | order ada tea as o | ok\n");
    for attempt in 1..=64 {
        table += &format!("0s | pay o | attempt {attempt} for 100\n");
        table += &format!("0s | settle o #{attempt} declined | ok\n");
    }
    table += "0s | pay o | ILLEGAL_PAYMENT_STATE RequiresPaymentMethod\n";
    check(&table);
}
