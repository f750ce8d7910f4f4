//! UpdateStock, PutProduct, and what an order may take.

use crate::table::check;

#[test]
fn sells_what_there_is() {
    check(
        "at | command                          | outcome
         0s | put tea price 100 stock 3        | ok
         1s | order ada tea x2 key k1 as o1    | accepted total 200
         1s | order bob tea x2                 | OUT_OF_STOCK lines[0].quantity
         1s | order bob tea x1                 | accepted total 100
         1s | order cy tea x1                  | OUT_OF_STOCK lines[0].quantity
         1s | stock tea                        | on_hand 3 held 3 sold 0 v2

         sku | on_hand | held | sold | available
         tea | 3       | 3    | 0    | 0",
    );
}

#[test]
fn set_add_and_compare_and_set() {
    check(
        "at | command                     | outcome
         0s | stock tea                   | UNKNOWN_PRODUCT sku
         0s | stock tea set 5             | UNKNOWN_PRODUCT sku
         0s | put tea price 100           | product v1
         0s | stock tea                   | on_hand 0 held 0 sold 0 v1
         0s | stock tea set 5             | on_hand 5 held 0 v2
         0s | stock tea add 3             | on_hand 8 held 0 v3
         0s | stock tea add -2            | on_hand 6 held 0 v4
         0s | stock tea add 1 if 3        | VERSION_MISMATCH version
         0s | stock tea add 1 if 4        | on_hand 7 held 0 v5
         0s | stock tea add 1 if 4        | VERSION_MISMATCH version
         0s | put tea price 200           | product v6
         0s | stock tea                   | on_hand 7 held 0 sold 0 v6

         sku | on_hand | held | sold | available
         tea | 7       | 0    | 0    | 7",
    );
}

#[test]
fn never_below_what_is_held() {
    check(
        "at | command                     | outcome
         0s | put tea price 100 stock 5   | ok
         0s | order ada tea x3            | ok
         0s | stock tea set 2             | BELOW_HELD change
         0s | stock tea add -3            | BELOW_HELD change
         0s | stock tea add -3 if 2       | BELOW_HELD change
         0s | stock tea set 3             | on_hand 3 held 3 v3
         0s | order bob tea               | OUT_OF_STOCK lines[0].quantity
         0s | stock tea set -1            | BELOW_HELD change
         0s | put cup price 1             | ok
         0s | stock cup set -1            | BELOW_HELD change
         0s | stock cup add -1            | BELOW_HELD change

         sku | on_hand | held | sold | available
         tea | 3       | 3    | 0    | 0
         cup | 0       | 0    | 0    | 0",
    );
}

#[test]
fn counts_have_a_ceiling() {
    check(
        "at | command                             | outcome
         0s | put tea price 100                   | ok
         0s | stock tea set 281474976710656       | on_hand 281474976710656 held 0 v2
         0s | stock tea add 1                     | INVALID_FIELD change
         0s | stock tea set max                   | INVALID_FIELD change
         0s | stock tea set min                   | INVALID_FIELD change
         0s | stock tea add max                   | INVALID_FIELD change
         0s | stock tea add min                   | INVALID_FIELD change
         0s | stock tea add -281474976710656      | on_hand 0 held 0 v3",
    );
}

#[test]
fn products_are_checked() {
    check(
        "at | command                          | outcome
         0s | put tea price -1                 | INVALID_FIELD price
         0s | put tea named nothing            | INVALID_FIELD name
         0s | put tea hold 2592001s            | INVALID_FIELD hold
         0s | put tea price 0 stock 1          | ok
         0s | order ada tea                    | accepted total 0",
    );
}

#[test]
fn what_is_not_on_sale_is_not_sold() {
    check(
        "at | command                       | outcome
         0s | order ada tea                 | UNKNOWN_SKU lines[0].sku
         0s | put tea stock 5 withdrawn     | ok
         0s | order ada tea                 | PRODUCT_INACTIVE lines[0].sku
         0s | put tea                       | ok
         0s | order ada tea as o            | accepted total 100
         0s | put tea withdrawn             | ok
         0s | pay o                         | attempt 1 for 100
         0s | settle o #1 captured          | order Paid payment Succeeded
         0s | put cup stock 5               | ok
         0s | order ada cup , tea           | PRODUCT_INACTIVE lines[1].sku

         sku | on_hand | held | sold | available
         tea | 4       | 0    | 1    | 4
         cup | 5       | 0    | 0    | 5",
    );
}

/// A smaller backorder was taken while more was owed, and the books were called broken for it.
#[test]
fn what_is_owed_stays_allowed() {
    check(
        "at | command                       | outcome
         0s | put tea stock 2 backorder 3   | ok
         0s | order ada tea x4 as a         | ok
         0s | put tea backorder 1           | BACKORDER_BELOW_OWED backorder
         0s | put tea backorder 2           | ok
         0s | order bob tea x1              | OUT_OF_STOCK lines[0].quantity
         0s | stock tea add 1               | on_hand 3 held 4 v4
         0s | put tea backorder 1           | ok
         0s | cancel a                      | now Cancelled
         0s | put tea backorder 0           | ok

         sku | on_hand | held | sold | available
         tea | 3       | 0    | 0    | 3",
    );
}

#[test]
fn backorder_goes_below_zero_as_far_as_allowed() {
    check(
        "at | command                           | outcome
         0s | put tea stock 2 backorder 3       | ok
         0s | order ada tea x4 as a             | ok
         0s | order bob tea x2                  | OUT_OF_STOCK lines[0].quantity
         0s | order bob tea x1 as b             | ok
         0s | stock tea                         | on_hand 2 held 5 sold 0 v2
         0s | stock tea set 1                   | BELOW_HELD change
         0s | pay a                             | ok
         0s | settle a #1 captured              | order Paid payment Succeeded
         0s | stock tea                         | on_hand -2 held 1 sold 4 v2
         0s | stock tea add 10                  | on_hand 8 held 1 v3
         0s | cancel b                          | now Cancelled

         sku | on_hand | held | sold | available
         tea | 8       | 0    | 4    | 8",
    );
}
