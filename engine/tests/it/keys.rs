//! Idempotency keys: one key, one effect, over the whole engine.

use onrush_proto::{
    CancelOrder, Command, CreateOrder, IdempotencyKey, OrderLine, Outcome, Receipt, Refusal, Request, ShardId,
};

use crate::books::verify;
use crate::rig::{Plan, Rig, START_US};
use crate::table::{check, check_on, check_with, sku_on};

#[test]
fn the_same_key_and_body_get_the_first_acceptance_again() {
    check(
        "at   | command                          | outcome
         0s   | put tea stock 9                  | ok
         0s   | order ada tea x2 key k           | accepted total 200
         1s   | order ada tea x2 key k           | accepted total 200 (replay)
         1s   | order ada tea x3 key k           | IDEMPOTENCY_KEY_REUSED request_id
         1s   | order bob tea x2 key k           | IDEMPOTENCY_KEY_REUSED request_id
         1s   | order ada tea x2 hold 5s key k   | IDEMPOTENCY_KEY_REUSED request_id
         1s   | order ada tea x2 max-price 100 key k | IDEMPOTENCY_KEY_REUSED request_id
         1s   | put cup stock 9                  | ok
         1s   | order ada cup x2 key k           | IDEMPOTENCY_KEY_REUSED request_id
         1s   | stock tea set 100 key k          | IDEMPOTENCY_KEY_REUSED request_id
         700s | order ada tea x2 key k           | accepted total 200 (replay)
         700s | restart                          | -
         700s | order ada tea x2 key k           | accepted total 200 (replay)
         700s | checkpoint                       | -
         700s | restart                          | -
         700s | order ada tea x2 key k           | accepted total 200 (replay)
         700s | order ada tea x3 key k           | IDEMPOTENCY_KEY_REUSED request_id

         sku | on_hand | held | sold | available
         tea | 9       | 0    | 0    | 9",
    );
}

#[test]
fn two_calls_in_one_turn_have_one_effect() {
    check(
        "at | command                   | outcome
         0s | put tea stock 9           | ok
         0s | order ada tea key k       | accepted total 100
         0s | & order ada tea key k     | accepted total 100 (replay)
         0s | & order ada tea x2 key k  | IDEMPOTENCY_KEY_REUSED request_id

         sku | on_hand | held | sold | available
         tea | 9       | 1    | 0    | 8",
    );
}

#[test]
fn refusals_are_not_remembered() {
    check(
        "at | command                          | outcome
         0s | put tea stock 1                  | ok
         0s | order ada tea x2 key k           | OUT_OF_STOCK lines[0].quantity
         0s | stock tea set 2                  | ok
         0s | order ada tea x2 key k           | accepted total 200
         0s | order ada tea x2 key k           | accepted total 200 (replay)
         0s | order bob tea x9 key l           | OUT_OF_STOCK lines[0].quantity
         0s | stock tea add 1 key l            | on_hand 3 held 2 v4",
    );
}

#[test]
fn every_command_takes_a_key() {
    check(
        "at | command                          | outcome
         0s | put tea stock 9 key p            | ok
         0s | put tea key p                    | product v1 (replay)
         0s | put tea price 99 key p           | IDEMPOTENCY_KEY_REUSED request_id
         0s | stock tea add 1 key s            | on_hand 10 held 0 v3
         0s | stock tea add 1 key s            | on_hand 10 held 0 v3 (replay)
         0s | stock tea set 1 key s            | IDEMPOTENCY_KEY_REUSED request_id
         0s | order ada tea as o               | ok
         0s | pay o key a                      | attempt 1 for 100
         0s | pay o key a                      | attempt 1 for 100 (replay)
         0s | pay o with pm_other key a        | IDEMPOTENCY_KEY_REUSED request_id
         0s | settle o #1 authorised key b     | order Pending payment RequiresCapture
         0s | capture o 90 key c               | capture of 90 from attempt 1
         0s | settle o #1 authorised key b     | order Pending payment RequiresCapture (replay)
         0s | capture o 90 key c               | capture of 90 from attempt 1 (replay)
         0s | settle o #1 captured             | order Paid payment Succeeded
         0s | capture o 90 key c               | capture of 90 from attempt 1 (replay)
         0s | capture o 91 key c               | IDEMPOTENCY_KEY_REUSED request_id
         0s | refund o 40 key r1               | refund 1 of 40 Pending
         0s | refund o 40 key r1               | refund 1 of 40 Pending (replay)
         0s | refund o 40 key r2               | refund 2 of 40 Pending
         0s | refunded o #1 ok key s1          | refund 1 of 40 Succeeded
         0s | refunded o #1 ok key s1          | refund 1 of 40 Succeeded (replay)
         0s | refund o 40 key r1               | refund 1 of 40 Pending (replay)
         0s | move o fulfilling key m          | now Fulfilling
         0s | move o fulfilling key m          | now Fulfilling (replay)
         0s | cancel o key x                   | refund 3 of 10 Pending
         0s | cancel o key x                   | refund 3 of 10 Pending (replay)
         0s | name claim email/a by ada key n  | done
         0s | name claim email/a by ada key n  | done (replay)
         0s | commit g order.created 1 key g   | at 1
         0s | commit g order.created 1 key g   | at 1 (replay)
         0s | checkpoint                       | -
         0s | restart                          | -
         0s | stock tea add 1 key s            | on_hand 10 held 0 v3 (replay)
         0s | refund o 40 key r1               | refund 1 of 40 Pending (replay)
         0s | pay o key a                      | attempt 1 for 100 (replay)",
    );
}

/// A repetition that changes nothing is an acceptance too: its key remembers the answer, however
/// the order goes on.
#[test]
fn a_repeated_settlement_is_remembered_under_its_key() {
    for (one, two) in [("b@0", "d@1"), ("b@1", "d@0")] {
        let table = "at   | command                          | outcome
             0s   | put tea@0 stock 9                | ok
             0s   | order ada tea@0 as o             | ok
             0s   | pay o                            | ok
             0s   | settle o #1 captured key a       | order Paid payment Succeeded
             0s   | settle o #1 captured key ONE     | order Paid payment Succeeded
             0s   | settle o #1 captured key ONE     | order Paid payment Succeeded (replay)
             0s   | & settle o #1 captured key ONE   | order Paid payment Succeeded (replay)
             0s   | settle o #1 captured             | order Paid payment Succeeded
             0s   | refund o 40                      | ok
             0s   | refunded o #1 ok                 | ok
             0s   | refunded o #1 ok key TWO         | refund 1 of 40 Succeeded
             0s   | refunded o #1 failed key TWO     | IDEMPOTENCY_KEY_REUSED request_id
             0s   | settle o #1 captured key ONE     | order Paid payment Succeeded (replay)
             0s   | settle o #1 captured key e       | order PartiallyRefunded payment Succeeded
             0s   | settle o #1 declined key ONE     | IDEMPOTENCY_KEY_REUSED request_id
             0s   | order ada tea@0 key ONE          | IDEMPOTENCY_KEY_REUSED request_id
             0s   | restart                          | -
             0s   | refunded o #1 ok key TWO         | refund 1 of 40 Succeeded (replay)
             0s   | checkpoint                       | -
             0s   | restart                          | -
             0s   | settle o #1 captured key ONE     | order Paid payment Succeeded (replay)
             0s   | order ada tea@0 key ONE          | IDEMPOTENCY_KEY_REUSED request_id
             0s   | order ada tea@0 key TWO          | IDEMPOTENCY_KEY_REUSED request_id

             sku   | on_hand | held | sold | available
             tea@0 | 8       | 0    | 1    | 8";
        check_on(2, &table.replace("ONE", one).replace("TWO", two));
    }
}

/// The key's shard, the order's shard and a third: the same words, the same answers.
#[test]
fn a_key_lives_apart_from_what_it_names() {
    for key in ["k@0", "k@1", "k@2"] {
        let table = "at   | command                          | outcome
             0s   | put tea@0 stock 9                | ok
             0s   | put cup@1 stock 9                | ok
             0s   | order ada tea@0 x10 key KEEPER      | OUT_OF_STOCK lines[0].quantity
             0s   | order ada tea@0 x2 key KEEPER       | accepted total 200
             0s   | order ada tea@0 x2 key KEEPER       | accepted total 200 (replay)
             0s   | & order ada tea@0 x2 key KEEPER     | accepted total 200 (replay)
             0s   | order ada tea@0 x3 key KEEPER       | IDEMPOTENCY_KEY_REUSED request_id
             0s   | order ada cup@1 x2 key KEEPER       | IDEMPOTENCY_KEY_REUSED request_id
             0s   | stock cup@1 add 5 key KEEPER        | IDEMPOTENCY_KEY_REUSED request_id
             0s   | restart                          | -
             0s   | order ada tea@0 x2 key KEEPER       | accepted total 200 (replay)
             0s   | order ada cup@1 x2 key KEEPER       | IDEMPOTENCY_KEY_REUSED request_id
             0s   | checkpoint                       | -
             0s   | restart                          | -
             0s   | order ada tea@0 x2 key KEEPER       | accepted total 200 (replay)
             0s   | order ada cup@1 x2 key KEEPER       | IDEMPOTENCY_KEY_REUSED request_id

             sku   | on_hand | held | sold | available
             tea@0 | 9       | 2    | 0    | 7
             cup@1 | 9       | 0    | 0    | 9";
        check_on(3, &table.replace("KEEPER", key));
    }
}

#[test]
fn keys_are_found_behind_the_filter() {
    let mut table = String::from("0s | put tea stock 900 | ok\n");
    for order in 0..120 {
        table += &format!("{order}s | order ada tea key k{order} | accepted total 100\n");
        // Every fifth moment has a run of its own, every fifteen minutes a bucket.
        table += if order % 5 == 0 {
            "300s | flush | -\n".replace("300s", &format!("{order}s"))
        } else {
            String::new()
        }
        .as_str();
    }
    for (at, order) in (0..120).step_by(7).enumerate() {
        table +=
            &format!("{}s | order ada tea key k{order} | accepted total 100 (replay)\n", 2_000 + at * 400);
        table += &format!("{}s | order ada tea key l{order} | ok\n", 2_000 + at * 400);
        table +=
            &format!("{}s | order ada tea key l{order} | accepted total 100 (replay)\n", 2_000 + at * 400);
    }
    check_with(Plan::forgetful(1), false, &table);
    check_with(Plan::forgetful(1), true, &table);
    check_with(Plan::forgetful(4), true, &table);
}

fn one_line(rig: &Rig, sku: &str) -> Command {
    let lines = [OrderLine::new(sku_on(rig, sku), 1)].into_iter().collect();
    Command::CreateOrder(CreateOrder { customer: "ada".parse().unwrap(), lines, hold_us: 0 })
}

fn stocked(plan: Plan, skus: &[&str]) -> Rig {
    let mut rig = Rig::new(plan);
    for sku in skus {
        for (key, command) in
            crate::speech::Speaker::default().requests(&rig, &format!("put {sku} stock 5 limit 5"))
        {
            rig.ask(key, command);
        }
    }
    rig
}

/// The replayed receipt is the first one in every byte, the deadline included.
#[test]
fn a_replay_is_the_first_receipt() {
    let mut rig = stocked(Plan::forgetful(2), &["tea@0"]);
    for keeper in ["k@0", "k@1"] {
        let name =
            crate::table::placed(&rig, keeper, |name| onrush_proto::Slot::of_hash(rig.key("c", name).0));
        let key = rig.key("c", &name);
        let command = one_line(&rig, "tea@0");
        let first = rig.ask(key, command.clone());
        rig.advance_to(rig.now_us + 3_000_000);
        for _ in 0..3 {
            let again = rig.ask(key, command.clone());
            assert_eq!((&again.outcome, again.replayed), (&first.outcome, true));
            rig.flush(true);
            rig.restart();
            rig.run();
        }
    }
    verify(&mut rig);
}

#[test]
fn a_key_is_in_progress_while_its_basket_is_reserved() {
    for keeper in ["k@0", "k@1", "k@2"] {
        let mut rig = stocked(Plan::new(3), &["tea@0", "cup@1"]);
        let name =
            crate::table::placed(&rig, keeper, |name| onrush_proto::Slot::of_hash(rig.key("c", name).0));
        let key = rig.key("c", &name);
        let lines = ["tea@0", "cup@1"].map(|sku| OrderLine::new(sku_on(&rig, sku), 1)).into_iter().collect();
        let create = CreateOrder { customer: "ada".parse().unwrap(), lines, hold_us: 0 };
        let basket = Command::CreateOrder(create);
        rig.blocked.insert((1, 0));
        let first = rig.submit(key, basket.clone());
        rig.run();
        assert_eq!(rig.take_reply(first), None, "the order waits for its hold");
        let again = rig.ask(key, basket.clone());
        assert_eq!(again.outcome, Outcome::Refused(Refusal::KeyInProgress));
        rig.blocked.clear();
        rig.run();
        let first = rig.take_reply(first).unwrap();
        let again = rig.ask(key, basket);
        assert_eq!((first.outcome, again.replayed), (again.outcome, true));
        verify(&mut rig);
    }
}

/// The answer, and with it the claim, is lost between home and keeper; home re-sends the claim
/// before the keeper admits anything, so another body cannot take the key.
#[test]
fn a_claim_that_was_lost_is_sent_again() {
    let mut rig = stocked(Plan::forgetful(2), &["tea@0", "cup@1"]);
    let name = crate::table::placed(&rig, "k@1", |name| onrush_proto::Slot::of_hash(rig.key("c", name).0));
    let key = rig.key("c", &name);
    rig.blocked.insert((0, 1));
    let lost = rig.submit(key, one_line(&rig, "tea@0"));
    rig.run();
    assert_eq!(rig.take_reply(lost), None);
    rig.flush(true);
    rig.restart();
    let other = rig.submit(key, one_line(&rig, "cup@1"));
    rig.run();
    assert_eq!(rig.take_reply(other).unwrap().outcome, Outcome::Refused(Refusal::KeyReused));
    let again = rig.ask(key, one_line(&rig, "tea@0"));
    assert!(again.replayed && matches!(again.outcome, Outcome::Accepted(Receipt::Order { .. })));
    verify(&mut rig);
}

/// Home alone restarts and has forgotten a call: one that never arrived, one that is still under
/// way, or a basket that waited for its holds. Its key is free again once home says so, never
/// before, and no other body took it meanwhile.
#[test]
fn a_home_that_restarts_alone_leaves_no_key_running() {
    for (case, plan) in ["lost", "under way", "reserving"]
        .into_iter()
        .flat_map(|case| [(case, Plan::new(3)), (case, Plan::forgetful(3))])
    {
        let mut rig = stocked(plan, &["tea@0", "cup@1"]);
        let name =
            crate::table::placed(&rig, "k@2", |name| onrush_proto::Slot::of_hash(rig.key("c", name).0));
        let key = rig.key("c", &name);
        let skus = if case == "reserving" { vec!["tea@0", "cup@1"] } else { vec!["tea@0"] };
        let lines = skus.iter().map(|sku| OrderLine::new(sku_on(&rig, sku), 1)).collect();
        let customer = "ada".parse().unwrap();
        let command = Command::CreateOrder(CreateOrder { customer, lines, hold_us: 0 });
        rig.blocked.insert(if case == "reserving" { (1, 0) } else { (2, 0) });
        let first = rig.submit(key, command.clone());
        rig.run();
        if case == "lost" {
            rig.wires.clear();
        }
        rig.flush(true);
        rig.restart_one(0);
        let other = rig.submit(key, one_line(&rig, "cup@1"));
        rig.run();
        let refused = Outcome::Refused(Refusal::KeyInProgress);
        assert_eq!(rig.take_reply(other).unwrap().outcome, refused, "{case}: home has not said yet");
        rig.blocked.clear();
        rig.run();
        let again = rig.ask(key, command.clone());
        assert!(matches!(again.outcome, Outcome::Accepted(Receipt::Order { .. })), "{case}: {again:?}");
        assert_eq!(again.replayed, case == "under way", "{case}");
        assert_eq!(rig.take_reply(first).is_some(), case == "under way", "{case}");
        verify(&mut rig);
    }
}

#[test]
fn a_late_request_is_not_decided() {
    let mut rig = stocked(Plan::new(1), &["tea"]);
    let mut request = Request::new(IdempotencyKey(77), one_line(&rig, "tea"));
    request.deadline_us = START_US;
    let late = rig.submit_request(ShardId(0), request.clone());
    rig.run();
    assert_eq!(rig.take_reply(late).unwrap().outcome, Outcome::Refused(Refusal::DeadlineExceeded));
    request.deadline_us = START_US + 1;
    let timely = rig.submit_request(ShardId(0), request);
    rig.run();
    assert!(matches!(rig.take_reply(timely).unwrap().outcome, Outcome::Accepted(_)));
}

/// A key of a command that changes nothing new: cancelling twice under two keys is two decisions.
#[test]
fn another_key_is_another_call() {
    let mut rig = stocked(Plan::new(1), &["tea"]);
    let placed = rig.ask(IdempotencyKey(1), one_line(&rig, "tea"));
    let Outcome::Accepted(Receipt::Order { order, .. }) = placed.outcome else { panic!("{placed:?}") };
    let cancel = Command::CancelOrder(CancelOrder { order });
    assert!(matches!(rig.ask(IdempotencyKey(2), cancel.clone()).outcome, Outcome::Accepted(_)));
    assert!(matches!(rig.ask(IdempotencyKey(3), cancel).outcome, Outcome::Refused(_)));
}
