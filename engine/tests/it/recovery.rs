//! A shard that lost its memory is the shard it was.
//!
//! Random commands of every kind, with parts of the log in the store or not, torn flushes, rows
//! that left memory, and restarts at any moment. After each restart memory and store together are
//! compared with the log, row by row.

use onrush_proto::{Outcome, Refusal};
use onrush_storage::store::Keyspace;
use proptest::prelude::*;

use crate::books::{audit, verify};
use crate::rig::{Plan, Rig};
use crate::speech::Speaker;

#[derive(Clone, Debug)]
enum Step {
    Say(String),
    Pass(u64),
    Flush {
        frames: usize,
        checkpoint: bool,
    },
    /// A crash between the two halves of a flush.
    Torn {
        history: bool,
    },
    Restart,
}

fn sku() -> impl Strategy<Value = String> {
    (0..4).prop_map(|sku| format!("sku{sku}@{}", sku % 2))
}

fn order_command() -> impl Strategy<Value = String> {
    const REST: [&str; 6] = ["key a", "key b", "key c", "", "hold 5s", "hold 2000s"];
    let one = (0..3, sku(), 1..4, prop::sample::select(&REST), 0..6)
        .prop_map(|(who, sku, units, rest, name)| format!("order c{who} {sku} x{units} {rest} as o{name}"));
    let two = (0..3, 1..4, prop::sample::select(&REST), 0..6).prop_map(|(who, units, rest, name)| {
        format!("order c{who} sku0@0 x{units} , sku1@1 {rest} as o{name}")
    });
    prop_oneof![3 => one, 1 => two]
}

fn of_order() -> impl Strategy<Value = String> {
    const VERBS: [&str; 18] = [
        "pay o",
        "pay o later",
        "settle o #1 captured",
        "settle o #1 authorised",
        "settle o #1 declined",
        "settle o #1 unknown",
        "settle o #2 captured",
        "capture o 60",
        "refund o 40",
        "refund o 40 key r",
        "refunded o #1 ok",
        "refunded o #1 failed",
        "refunded o #2 ok",
        "cancel o",
        "cancel o key x",
        "move o fulfilling",
        "move o shipped",
        "get o",
    ];
    (prop::sample::select(&VERBS), 0..6).prop_map(|(verb, name)| verb.replacen(" o", &format!(" o{name}"), 1))
}

fn other_command() -> impl Strategy<Value = String> {
    const FIXED: [&str; 18] = [
        "doc put users/1 a",
        "doc put users/2 b if 0",
        "doc put users/1 c if 1",
        "doc delete users/1",
        "doc put users/1 d key d",
        "name claim email/a by ada for 5s",
        "name confirm email/a by ada",
        "name claim email/a by bob for 5s",
        "name release email/a by ada",
        "commit mail order.created 1",
        "commit shop order.created 2",
        "stock sku0@0 add 3",
        "stock sku1@1 add 2 key s",
        "stock sku2@0 set 4",
        "put sku0@0 limit 5",
        "put sku0@0 limit 5 returns",
        "put sku1@1",
        "put sku3@1 price 7 backorder 2",
    ];
    prop::sample::select(&FIXED).prop_map(String::from)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => order_command().prop_map(Step::Say),
        12 => of_order().prop_map(Step::Say),
        5 => other_command().prop_map(Step::Say),
        2 => prop::sample::select(&[1u64, 1_000_000, 5_000_000, 600_000_000, 1_000_000_000]).prop_map(Step::Pass),
        4 => (1usize..20, any::<bool>()).prop_map(|(frames, checkpoint)| Step::Flush { frames, checkpoint }),
        1 => any::<bool>().prop_map(|history| Step::Torn { history }),
        2 => Just(Step::Restart),
    ]
}

fn walk(rig: &mut Rig, speaker: &mut Speaker, step: &Step) {
    match step {
        Step::Say(text) => {
            for (key, command) in speaker.requests(rig, text) {
                let reply = rig.ask(key, command);
                speaker.learn(text, &reply);
            }
        }
        Step::Pass(us) => rig.advance_to(rig.now_us + us),
        Step::Flush { frames, checkpoint } => {
            for node in &mut rig.nodes {
                node.flush(*checkpoint, *frames);
            }
        }
        Step::Torn { history } => {
            rig.flush(true);
            let lost = if *history { Keyspace::History } else { Keyspace::Current };
            for node in &mut rig.nodes {
                node.store.lose_last_runs(lost, 1);
            }
            restart(rig);
        }
        Step::Restart => restart(rig),
    }
    audit(rig);
}

fn restart(rig: &mut Rig) {
    rig.restart();
    rig.run();
    verify(rig);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_changes_nothing(steps in prop::collection::vec(step(), 1..80), forgetful: bool, shards in 1u16..3) {
        let mut rig = Rig::new(Plan::small(shards, forgetful));
        let mut speaker = Speaker::default();
        for sku in 0..4 {
            let owner = sku % shards;
            let name = format!("sku{sku}@{owner}");
            for (key, command) in speaker.requests(&rig, &format!("put {name} stock 12 limit 6")) {
                rig.ask(key, command);
            }
        }
        for step in steps {
            let step = match step {
                Step::Say(text) if shards == 1 => Step::Say(text.replace("@1", "@0")),
                other => other,
            };
            walk(&mut rig, &mut speaker, &step);
        }
        restart(&mut rig);
        // Every timer survived: no pending order outlives its deadline.
        rig.advance_to(rig.now_us + 3_000_000_000);
        verify(&mut rig);
        prop_assert!(rig.nodes.iter().all(|node| node.shard.state().stock.iter().all(|stock| stock.held == 0)));
        prop_assert!(rig.nodes.iter().all(|node| node.shard.state().orders.open_len() == 0));
    }
}

/// The list of what is open goes with a checkpoint; a restart behind it reads no log before it.
#[test]
fn a_checkpoint_carries_what_is_open() {
    let mut rig = Rig::new(Plan::forgetful(1));
    let mut speaker = Speaker::default();
    let mut say = |rig: &mut Rig, text: &str| {
        for (key, command) in speaker.requests(rig, text) {
            let reply = rig.ask(key, command);
            speaker.learn(text, &reply);
        }
    };
    say(&mut rig, "put tea stock 100000");
    for order in 0..40_000 {
        let requests =
            Speaker::default().requests(&rig, &format!("order c{order} tea hold {}s", 1 + order % 7));
        for (key, command) in requests {
            rig.submit(key, command);
        }
    }
    rig.run();
    say(&mut rig, "order ada tea hold 900s as o");
    say(&mut rig, "pay o later");
    rig.flush(true);
    rig.restart();
    let shard = &rig.nodes[0].shard;
    assert_eq!(shard.state().orders.open_len(), 40_001);
    rig.advance_to(rig.now_us + 3_000_000);
    let alive = 1 + (0..40_000).filter(|order| 1 + order % 7 > 3).count();
    assert_eq!(rig.nodes[0].shard.state().stock.iter().next().unwrap().held, alive as i64);
    rig.flush(true);
    rig.restart();
    rig.advance_to(rig.now_us + 900_000_000);
    assert_eq!(rig.nodes[0].shard.state().orders.open_len(), 0);
    verify(&mut rig);
}

/// A customer's count lies in the bucket of its last change; older buckets still tell of before.
#[test]
fn the_newest_count_stands() {
    let mut rig = Rig::new(Plan::forgetful(1));
    let ask = |rig: &mut Rig, text: &str| {
        let requests = Speaker::default().requests(rig, text);
        let replies = requests.into_iter().map(|(key, command)| rig.ask(key, command).outcome);
        replies.last().expect("a command")
    };
    ask(&mut rig, "put tea stock 100 limit 6");
    for bought in 1..4 {
        assert!(matches!(ask(&mut rig, "order ada tea x1 hold 2000000s"), Outcome::Accepted(_)), "{bought}");
        rig.flush(false);
        // A quarter of an hour ends a bucket.
        rig.advance_to(rig.now_us + 1_000_000_000);
    }
    rig.flush(true);
    rig.restart();
    let refused = Refusal::LimitExceeded { line: 0, limit: 6, bought: 3 };
    assert_eq!(ask(&mut rig, "order ada tea x4"), Outcome::Refused(refused));
    verify(&mut rig);
}
