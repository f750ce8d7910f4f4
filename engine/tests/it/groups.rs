//! Consumer groups whose members share shards: generations, tries, letters that are dead.

use onrush_engine::rules::groups::GROUPS_MAX;

use crate::table::check;

#[test]
fn what_is_committed_under_another_generation_is_refused() {
    check(
        "at | command                                        | outcome
         0s | doc put users/1 a                              | v1
         0s | doc put users/1 b                              | v2
         0s | group books order.created                      | books nowhere generation 0
         0s | group books order.created commit 1 under 1     | STALE_GENERATION generation
         0s | group books order.created fence 0              | STALE_GENERATION generation
         0s | group books order.created fence 1 at 9         | INVALID_FIELD lsn
         0s | group books order.created fence 1 at 0         | at 0
         0s | group books order.created commit 1 under 1     | at 1
         0s | commit books order.created 2                   | STALE_GENERATION generation
         0s | group books order.created fence 1              | STALE_GENERATION generation
         0s | group books order.created fence 4 else 0       | at 1
         0s | group books order.created commit 2 under 1     | STALE_GENERATION generation
         0s | group books order.created commit 2 under 5     | STALE_GENERATION generation
         0s | group books order.created commit 99 under 4    | INVALID_FIELD lsn
         0s | group books order.created commit 2 under 4     | at 2
         0s | group books order.created commit 1 under 4     | at 2
         0s | position books order.created                   | at 2
         0s | checkpoint                                     | -
         0s | restart                                        | -
         0s | group books order.created                      | books at 2 generation 4
         0s | group books order.created commit 3 under 1     | STALE_GENERATION generation
         0s | group books order.created fence 5 at 1         | at 1
         0s | restart                                        | -
         0s | group books order.created                      | books at 1 generation 5
         0s | group books order.updated                      | books nowhere generation 0
         0s | group books order.updated fence 1 else 9       | INVALID_FIELD lsn
         0s | group books order.updated fence 1 else 2       | at 2
         0s | group books order.updated                      | books at 2 generation 1
         0s | group none order.created fence 1               | INVALID_FIELD group",
    );
}

#[test]
fn groups_without_a_generation_go_on_as_they_did() {
    check(
        "at | command                                        | outcome
         0s | doc put users/1 a                              | v1
         0s | commit mail order.created 1                    | at 1
         0s | commit mail order.created 0                    | at 0
         0s | group books stock.updated fence 3              | at 0
         0s | groups                                         | mail at 0 generation 0, books nowhere generation 3",
    );
}

#[test]
fn an_event_that_was_tried_often_enough_is_given_up() {
    check(
        "at | command                                              | outcome
         0s | doc put users/1 a                                    | v1
         0s | doc put users/1 b                                    | v2
         0s | doc put users/1 c                                    | v3
         0s | group books user.updated fence 1 at 0                | at 0
         0s | group books user.updated reject 2 under 2 of 3       | STALE_GENERATION generation
         0s | group books user.updated reject 99 under 1 of 3      | INVALID_FIELD lsn
         0s | group books user.updated reject 2 under 1 of 3 saying 1025 | INVALID_FIELD reason
         0s | group books user.updated reject 2 under 1 of 3       | try 1
         0s | group books user.updated                             | books at 1 generation 1 tried 2 x1
         0s | group books user.updated reject 1 under 1 of 3       | INVALID_FIELD lsn
         0s | group books user.updated fence 2                     | at 1
         0s | checkpoint                                           | -
         0s | restart                                              | -
         0s | group books user.updated reject 2 under 2 of 3       | try 2
         0s | restart                                              | -
         0s | group books user.updated reject 2 under 2 of 3       | dead after 3
         0s | group books user.updated                             | books at 2 generation 2
         0s | group books user.updated reject 3 under 2 of 3       | try 1
         0s | group books user.updated fence 3 at 0                | at 0
         0s | group books user.updated                             | books at 0 generation 3
         0s | group books user.updated reject 1 under 3 of 1       | dead after 1
         0s | group books user.updated                             | books at 1 generation 3",
    );
}

#[test]
fn a_shard_knows_so_many_groups_and_no_more() {
    let mut table = String::from("at | command | outcome\n0s | doc put users/1 a | v1\n");
    // The shop's own have a place besides, before and after.
    table.push_str("0s | commit shipping order.created 1 | at 1\n");
    for group in 0..GROUPS_MAX {
        // One that was dealt and never committed is known as well.
        match group % 2 {
            0 => table.push_str(&format!("0s | commit g{group} order.created 1 | at 1\n")),
            _ => table.push_str(&format!("0s | group g{group} order.created fence 1 | at 0\n")),
        }
    }
    table.push_str("0s | commit payment-gateway payment.started 1 | at 1\n");
    table.push_str("0s | commit payment-gateway payment.started 2 | at 2\n");
    table.push_str("0s | commit more order.created 1 | INVALID_FIELD group\n");
    table.push_str("0s | group more order.created fence 1 | INVALID_FIELD group\n");
    table.push_str("0s | commit g8 order.created 2 | at 2\n");
    table.push_str("0s | group g9 order.created commit 2 under 1 | at 2");
    check(&table);
}
