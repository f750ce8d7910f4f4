//! Money on its way back.

use crate::table::{check, check_on};

const PAID: &str = "
    0s | put tea stock 9        | ok
    0s | order ada tea as o     | ok
    0s | pay o                  | ok
    0s | settle o #1 captured   | ok
";

fn check_paid(text: &str) {
    check(&format!("{PAID}{text}"));
}

#[test]
fn partial_refunds_add_up() {
    check_paid(
        "1s | refund o 0             | INVALID_FIELD amount
         1s | refund o -5            | INVALID_FIELD amount
         1s | refund o 101           | REFUND_ABOVE_CAPTURED amount
         1s | refund o max           | REFUND_ABOVE_CAPTURED amount
         1s | refund o 30            | refund 1 of 30 Pending
         1s | get o                  | Paid Succeeded authorised 100 captured 100 refunded 0
         1s | refund o 71            | REFUND_ABOVE_CAPTURED amount
         1s | refunded o #2 ok       | UNKNOWN_REFUND refund
         1s | refunded o #1 ok       | refund 1 of 30 Succeeded
         1s | get o                  | PartiallyRefunded Succeeded authorised 100 captured 100 refunded 30
         1s | refunded o #1 ok       | refund 1 of 30 Succeeded
         1s | refunded o #1 failed   | refund 1 of 30 Succeeded
         1s | refund o 20            | refund 2 of 20 Pending
         1s | refunded o #2 ok       | refund 2 of 20 Succeeded
         1s | get o                  | PartiallyRefunded Succeeded authorised 100 captured 100 refunded 50
         1s | refund o 50            | refund 3 of 50 Pending
         1s | refunded o #3 ok       | refund 3 of 50 Succeeded
         1s | get o                  | Refunded Succeeded authorised 100 captured 100 refunded 100
         1s | refund o 1             | REFUND_ABOVE_CAPTURED amount

         sku | on_hand | held | sold | available
         tea | 8       | 0    | 1    | 8",
    );
}

/// Pending refunds count: of three that race for 40 % each two pass.
#[test]
fn racing_refunds_stay_below_what_was_captured() {
    check_paid(
        "1s | refund o 40 key a      | refund 1 of 40 Pending
         1s | & refund o 40 key b    | refund 2 of 40 Pending
         1s | & refund o 40 key c    | REFUND_ABOVE_CAPTURED amount
         2s | refunded o #1 failed   | refund 1 of 40 Failed
         2s | refund o 40 key c      | refund 3 of 40 Pending
         2s | refund o 40 key a      | refund 1 of 40 Pending (replay)
         2s | refunded o #1 ok       | refund 1 of 40 Failed
         2s | refunded o #2 ok       | refund 2 of 40 Succeeded
         2s | & refunded o #3 ok     | refund 3 of 40 Succeeded
         2s | get o                  | PartiallyRefunded Succeeded authorised 100 captured 100 refunded 80",
    );
}

#[test]
fn a_paid_order_is_called_off_when_its_money_is_back() {
    check_paid(
        "1s | cancel o               | refund 1 of 100 Pending
         1s | get o                  | Paid Succeeded authorised 100 captured 100 refunded 0
         1s | cancel o               | ORDER_BEING_CANCELLED order_id
         1s | stock tea              | on_hand 8 held 0 sold 1 v2
         1s | refunded o #1 failed   | refund 1 of 100 Failed
         1s | get o                  | Paid Succeeded authorised 100 captured 100 refunded 0
         2s | cancel o               | refund 2 of 100 Pending
         2s | refunded o #2 ok       | refund 2 of 100 Succeeded
         2s | get o                  | Cancelled Succeeded authorised 100 captured 100 refunded 100
         2s | cancel o               | ILLEGAL_TRANSITION Cancelled -> Cancelled

         sku | on_hand | held | sold | available
         tea | 9       | 0    | 0    | 9",
    );
}

#[test]
fn calling_off_gives_back_what_is_left() {
    check_paid(
        "1s | refund o 30            | ok
         1s | refunded o #1 ok       | ok
         1s | refund o 20            | refund 2 of 20 Pending
         1s | cancel o               | refund 3 of 50 Pending
         1s | refunded o #3 ok       | refund 3 of 50 Succeeded
         1s | get o                  | Cancelled Succeeded authorised 100 captured 100 refunded 80
         1s | refunded o #2 ok       | refund 2 of 20 Succeeded
         1s | get o                  | Cancelled Succeeded authorised 100 captured 100 refunded 100

         sku | on_hand | held | sold | available
         tea | 9       | 0    | 0    | 9",
    );
}

/// While the money is on its way back the parcel stays: else it would leave unpaid. A refund that
/// failed lets it go.
#[test]
fn what_is_being_called_off_does_not_move() {
    check_paid(
        "1s | cancel o               | refund 1 of 100 Pending
         1s | move o fulfilling      | ORDER_BEING_CANCELLED order_id
         1s | move o shipped         | ILLEGAL_TRANSITION Paid -> Shipped
         1s | refunded o #1 failed   | refund 1 of 100 Failed
         1s | move o fulfilling      | now Fulfilling
         1s | cancel o               | refund 2 of 100 Pending
         1s | move o shipped         | ORDER_BEING_CANCELLED order_id
         1s | refunded o #2 ok       | refund 2 of 100 Succeeded
         1s | move o shipped         | ILLEGAL_TRANSITION Cancelled -> Shipped
         1s | get o                  | Cancelled Succeeded authorised 100 captured 100 refunded 100

         sku | on_hand | held | sold | available
         tea | 9       | 0    | 0    | 9",
    );
}

/// A refund in part hides how far the parcel got and does not change it: what is with the carrier
/// arrives, is not packed again, and does not come back to the shelf.
#[test]
fn a_refund_in_part_leaves_the_delivery_alone() {
    check_paid(
        "1s | move o fulfilling      | ok
         1s | move o shipped         | ok
         1s | refund o 30            | ok
         1s | refunded o #1 ok       | ok
         1s | get o                  | PartiallyRefunded Succeeded authorised 100 captured 100 refunded 30
         1s | move o fulfilling      | ILLEGAL_TRANSITION PartiallyRefunded -> Fulfilling
         1s | move o shipped         | ILLEGAL_TRANSITION PartiallyRefunded -> Shipped
         1s | cancel o               | ILLEGAL_TRANSITION PartiallyRefunded -> Cancelled
         1s | checkpoint             | -
         1s | restart                | -
         1s | move o fulfilling      | ILLEGAL_TRANSITION PartiallyRefunded -> Fulfilling
         1s | move o delivered       | now Delivered
         1s | refund o 30            | ok
         1s | refunded o #2 ok       | ok
         1s | move o delivered       | ILLEGAL_TRANSITION PartiallyRefunded -> Delivered

         sku | on_hand | held | sold | available
         tea | 8       | 0    | 1    | 8",
    );
}

/// Nothing was taken, so nothing must come back first.
#[test]
fn a_free_order_is_called_off_at_once() {
    check_on(
        2,
        "0s | put tea@0 price 0 stock 9       | ok
         0s | put cup@1 price 0 stock 9       | ok
         0s | order ada tea@0 , cup@1 as o    | accepted total 0
         0s | pay o                           | attempt 1 for 0
         0s | settle o #1 captured            | order Paid payment Succeeded
         0s | refund o 1                      | REFUND_ABOVE_CAPTURED amount
         0s | cancel o key k                  | refund 1 of 0 Succeeded
         0s | cancel o key k                  | refund 1 of 0 Succeeded (replay)
         0s | get o                           | Cancelled Succeeded authorised 0 captured 0 refunded 0

         sku   | on_hand | held | sold | available
         tea@0 | 9       | 0    | 0    | 9
         cup@1 | 9       | 0    | 0    | 9",
    );
}
