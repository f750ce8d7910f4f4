//! Whole engines as nodes of a cluster: their own threads, clocks, disks and stores, joined by calls.
//!
//! What the simulator does to consensus it does in virtual time; here the host is what is looked at.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test may be impatient")]
#![allow(clippy::disallowed_types, reason = "the wires of a test are behind a lock")]

mod cluster;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use onrush_engine::format::{ClusterFormat, FormatError};
use onrush_engine::replication::{Declined, NodeId};
use onrush_engine::{
    Engine, EngineOptions, FlushOptions, GroupError, HearError, HostError, HostKind, OpenError, verify,
};
use onrush_proto::{
    Command, CommitOffset, Lsn, OrderLine, Outcome, Refusal, Request, ShardId, Sku, Slot, Topic,
};

use crate::cluster::{
    Cluster, PATIENCE, SHARD, UNITS, bought, flush, founders, order, put_on_sale, sku, wait,
};

/// One decides, the others turn requests away by its name and show what it has published; it gives its office
/// away as it closes, and comes back to a log that went on without it.
#[test]
fn an_office_is_handed_on_and_nothing_is_lost() {
    let mut cluster = Cluster::founded(1);
    put_on_sale(&cluster, sku());
    let first = cluster.leader();
    for node in founders().voters().filter(|node| *node != first) {
        let reply = cluster.handle(node).call_blocking(order(&cluster, sku(), 0));
        assert_eq!(reply.outcome, Outcome::Refused(Refusal::NotLeader { leader: first.0 }));
    }
    let bought_first = bought(&cluster.ask(&order(&cluster, sku(), 1)));
    cluster.close(first);
    let second = cluster.leader();
    assert_ne!(first, second);
    let again = cluster.ask(&order(&cluster, sku(), 1));
    assert!(again.replayed && bought(&again) == bought_first, "{again:?}");
    for number in 2..500 {
        bought(&cluster.ask(&order(&cluster, sku(), number)));
    }
    cluster.open(first);
    cluster.agree(sku());
    assert_eq!(cluster.handle(first).stock(&sku()).unwrap().available, UNITS - 499);
    cluster.handle(second).hand_over(SHARD, first).unwrap();
    wait("the office back", || cluster.handle(first).decides(SHARD).then_some(()));
    assert!(cluster.ask(&order(&cluster, sku(), 499)).replayed);
    for node in founders().voters() {
        cluster.close(node);
    }
}

/// A leader that nobody hears decides on, and says nothing of it. What it has decided is taken back when it hears of
/// another one: whoever waited learns that nobody knows, and asks again under the same key.
#[test]
fn what_a_leader_decides_alone_is_taken_back() {
    let cluster = Cluster::founded(1);
    put_on_sale(&cluster, sku());
    let first = cluster.leader();
    bought(&cluster.ask(&order(&cluster, sku(), 1)));
    cluster.cut(first);
    let alone = cluster.handle(first);
    let port = thread::spawn({
        let requests: Vec<_> = (2..40).map(|number| order(&cluster, sku(), number)).collect();
        move || {
            let mut port = alone.port();
            for (tag, request) in (0u64..).zip(requests) {
                port.submit(tag, request).unwrap();
            }
            port.flush();
            let mut replies = Vec::new();
            while port.in_flight() > 0 {
                assert!(port.wait(PATIENCE), "an answer to everybody");
                port.drain(|_, reply| replies.push(reply.outcome));
            }
            replies
        }
    });
    for number in 20..60 {
        bought(&cluster.ask(&order(&cluster, sku(), number)));
    }
    for outcome in port.join().unwrap() {
        let unknown = matches!(outcome, Outcome::Refused(Refusal::Stopped | Refusal::NotLeader { .. }));
        assert!(unknown, "expected nothing to be said of what no quorum has, found {outcome:?}");
    }
    cluster.heal();
    for number in 1..60 {
        bought(&cluster.ask(&order(&cluster, sku(), number)));
    }
    cluster.agree(sku());
    assert_eq!(cluster.handle(first).stock(&sku()).unwrap().available, UNITS - 59);
}

/// A basket of two, one key; its lines may live on two shards, and its key on a third.
fn basket(cluster: &Cluster, skus: [Sku; 2], number: u64) -> Request {
    let mut request = order(cluster, skus[0], number);
    if let Command::CreateOrder(create) = &mut request.command {
        create.lines.push(OrderLine::new(skus[1], 1));
    }
    Request::new(request.key, request.command)
}

/// All shards are decided at one node. Whoever is there when it is gone decides all of them next, knows each key though
/// another shard has it, and gives up what had not come to be; and what was under way between shards holds nothing back.
#[test]
fn shards_are_decided_at_one_node_and_go_to_the_next_together() {
    let mut cluster = Cluster::founded(3);
    let skus: Vec<Sku> = (0..6).map(|number| format!("console-{number}").parse().unwrap()).collect();
    skus.iter().for_each(|sku| put_on_sale(&cluster, *sku));
    let pair =
        |number: u64| [skus[number as usize % 6], skus[(number as usize + 1 + number as usize / 6 % 5) % 6]];
    let mut bought_as = Vec::new();
    let mut buy = |cluster: &Cluster, numbers: std::ops::Range<u64>| {
        bought_as.extend(numbers.map(|number| bought(&cluster.ask(&basket(cluster, pair(number), number)))));
    };
    buy(&cluster, 0..60);
    let first = cluster.leader();
    cluster.cut(first);
    // Whoever asks the one that nobody hears any more is answered in the end.
    let alone = cluster.handle(first);
    let waiting = thread::spawn({
        let requests: Vec<_> = (60..120).map(|number| basket(&cluster, pair(number), number)).collect();
        move || requests.into_iter().map(|request| alone.call_blocking(request).outcome).collect::<Vec<_>>()
    });
    buy(&cluster, 60..120);
    for outcome in waiting.join().unwrap() {
        let unknown = matches!(outcome, Outcome::Refused(Refusal::Stopped | Refusal::NotLeader { .. }));
        assert!(unknown, "expected nothing to be said of what no quorum has, found {outcome:?}");
    }
    cluster.heal();
    let second = cluster.leader();
    cluster.close(second);
    let report = verify(&cluster.path(second)).unwrap();
    assert!(report.ok && report.orders > 0, "{report:?}");
    buy(&cluster, 120..180);
    cluster.open(second);
    let third = cluster.leader();
    cluster.handle(third).hand_over(SHARD, second).unwrap();
    wait("all shards at the second node", || (cluster.leader() == second).then_some(()));
    for (number, order) in (0..).zip(&bought_as) {
        let again = cluster.ask(&basket(&cluster, pair(number), number));
        assert!(again.replayed && bought(&again) == *order, "order {number}: {again:?}");
    }
    skus.iter().for_each(|sku| cluster.agree(*sku));
    let left: i64 = skus.iter().map(|sku| cluster.handle(second).stock(sku).unwrap().available).sum();
    assert_eq!(left, 6 * UNITS - 2 * 180);
}

/// The shards of a node that follows are not equally far: of an order it may know that it was paid for and not yet what
/// another shard holds for it. Its books are in order all the same.
#[test]
fn the_books_of_followers_are_in_order_under_load() {
    let cluster = Cluster::founded(3);
    let skus: Vec<Sku> = (0..6).map(|number| format!("console-{number}").parse().unwrap()).collect();
    skus.iter().for_each(|sku| put_on_sale(&cluster, *sku));
    let leader = cluster.leader();
    let followers: Vec<_> = cluster.engines.iter().filter(|(node, _)| *node != leader).collect();
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        for buyer in 0..16 {
            let (cluster, skus) = (&cluster, &skus);
            scope.spawn(move || {
                for number in (buyer..).step_by(16).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                    let pair = [skus[number as usize % 6], skus[(number as usize + 1) % 6]];
                    bought(&cluster.ask(&basket(cluster, pair, number)));
                }
            });
        }
        let mut audits = 0;
        wait("followers whose books were looked at under load", || {
            let reports: Vec<_> =
                followers.iter().map(|(_, engine)| engine.handle().audit().unwrap()).collect();
            let broken = reports.iter().find(|report| !report.ok);
            assert!(broken.is_none(), "{broken:?}");
            audits += 1;
            (audits >= 10 && reports.iter().all(|report| report.orders > 100)).then_some(())
        });
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Whoever reads at a node that follows is told how stale that may be: what was acknowledged longer ago is there, also at a
/// node that nobody speaks with any more.
#[test]
fn what_was_acknowledged_longer_ago_than_a_node_is_stale_is_there() {
    let cluster = Cluster::founded(2);
    put_on_sale(&cluster, sku());
    let leader = cluster.leader();
    let followers: Vec<NodeId> = founders().voters().filter(|node| *node != leader).collect();
    let available = |node: NodeId| cluster.handle(node).stock(&sku()).map_or(UNITS, |stock| stock.available);
    for number in 0..20 {
        bought(&cluster.ask(&order(&cluster, sku(), number)));
        let acknowledged = Instant::now();
        for node in &followers {
            let left = wait("a follower that is fresh enough", || {
                let since = acknowledged.elapsed();
                (cluster.handle(*node).staleness()? < since).then(|| available(*node))
            });
            assert!(left < UNITS - number as i64, "order {number}: {left} at {node}");
        }
    }
    cluster.cut(followers[0]);
    let before = cluster.handle(followers[0]).staleness().unwrap();
    bought(&cluster.ask(&order(&cluster, sku(), 20)));
    let acknowledged = Instant::now();
    wait("a node that is staler the longer nobody speaks with it", || {
        let since = acknowledged.elapsed();
        let stale = cluster.handle(followers[0]).staleness().unwrap();
        assert!(stale >= since, "{stale:?} of one that lacks what was acknowledged {since:?} ago");
        (stale > before + Duration::from_millis(50)).then_some(())
    });
    cluster.heal();
    wait("a node that is back", || {
        let is_told = cluster.handle(followers[0]).staleness()? < acknowledged.elapsed();
        (is_told && available(followers[0]) < UNITS - 20).then_some(())
    });
}

/// A node follows as a learner first, gets a vote when it has caught up, and leads; the one that was removed is not
/// missed.
#[test]
fn a_node_comes_and_another_one_goes() {
    let mut cluster = Cluster::founded(2);
    put_on_sale(&cluster, sku());
    for number in 0..300 {
        bought(&cluster.ask(&order(&cluster, sku(), number)));
    }
    let (new, gone) = (NodeId(4), founders().voters().find(|node| *node != cluster.leader()).unwrap());
    cluster.format(new);
    cluster.open(new);
    let three: Vec<NodeId> = founders().voters().collect();
    cluster.change(&three, &[new]);
    let other: Vec<NodeId> = [1, 2, 3, 4].map(NodeId).into_iter().filter(|node| *node != gone).collect();
    cluster.change(&other, &[]);
    cluster.close(gone);
    cluster.lead(new);
    assert!(cluster.ask(&order(&cluster, sku(), 7)).replayed);
    cluster.agree(sku());
    assert_eq!(cluster.handle(new).stock(&sku()).unwrap().available, UNITS - 300);
}

/// Logs are let go of behind snapshots. A node that comes later begins from one of them, and from the log behind it: it
/// follows, gets a vote, leads, and remembers what was acknowledged before it came. What a consumer group has not read is in
/// that log too, though newer snapshots would have done for all else.
#[test]
fn a_node_that_lacks_what_was_released_begins_from_a_snapshot() {
    let often =
        FlushOptions { log_bytes: 64 << 10, checkpoint_bytes: 1, snapshot_bytes: 256 << 10, ..flush() };
    let mut cluster = Cluster::founded_with(1, often, 256 << 10);
    put_on_sale(&cluster, sku());
    let mut orders = 0;
    let released = |cluster: &Cluster| founders().voters().all(|node| cluster.has_released(node));
    while !released(&cluster) {
        assert!(orders < 8_000, "expected logs that are released");
        for _ in 0..100 {
            bought(&cluster.ask(&order(&cluster, sku(), orders)));
            orders += 1;
        }
    }
    let read = cluster.handle(cluster.leader()).end(SHARD);
    cluster.ask(&Request::unkeyed(Command::CommitOffset(Box::new(CommitOffset {
        slot: Slot(0),
        group: "payment-gateway".parse().unwrap(),
        topic: Topic::PaymentStarted,
        lsn: Some(read),
    }))));
    let has_later = |node| cluster.snapshots(node).into_iter().filter(|lsn| *lsn > read.0).count() > 1;
    while !founders().voters().all(has_later) {
        assert!(orders < 16_000, "expected snapshots that the group is behind");
        for _ in 0..100 {
            bought(&cluster.ask(&order(&cluster, sku(), orders)));
            orders += 1;
        }
    }
    let (new, three) = (NodeId(4), founders().voters().collect::<Vec<_>>());
    cluster.format(new);
    cluster.open(new);
    cluster.change(&three, &[new]);
    wait("a snapshot", || cluster.handle(new).begins_anew().then_some(()));
    cluster.close(new);
    cluster.open(new);
    assert!(cluster.handle(new).end(SHARD).0 > 0);
    cluster.agree(sku());
    // It goes on from its own disk, from now on.
    cluster.close(new);
    bought(&cluster.ask(&order(&cluster, sku(), orders)));
    cluster.open(new);
    cluster.agree(sku());
    assert!(!cluster.handle(new).begins_anew());
    cluster.change(&[2, 3, 4].map(NodeId), &[]);
    cluster.lead(new);
    for number in [0, 1, orders] {
        assert!(cluster.ask(&order(&cluster, sku(), number)).replayed, "order {number}");
    }
    let mut unread = cluster.handle(new).subscribe(SHARD, Lsn(read.0 + 1));
    assert_eq!(unread.poll(1, |event| assert_eq!(event.lsn.0, read.0 + 1)).unwrap(), 1);
    assert!(cluster.handle(new).first(SHARD).unwrap().0 > 1, "what all groups have read is let go of");
    let left = UNITS - orders as i64 - 1;
    assert_eq!(cluster.handle(new).stock(&sku()).unwrap().available, left);
    cluster.close(NodeId(1));
    cluster.agree(sku());
}

/// What is no node, or none any more, does not start as one.
#[test]
fn what_is_no_node_is_refused_by_name() {
    let mut cluster = Cluster::unfounded(1, flush(), 1 << 20);
    let node = NodeId(1);
    cluster.format(node);
    let format = |path: &Path, shards| {
        Engine::format_node(path, shards, ClusterFormat { node, founders: founders(), key: cluster.key })
    };
    let again = format(&cluster.path(node), 1);
    assert!(matches!(again, Err(OpenError::Format(FormatError::NotEmpty { .. }))), "{again:?}");
    let many = format(&cluster.path(NodeId(9)), 257);
    assert!(matches!(many, Err(OpenError::Format(FormatError::ShardCount(257)))), "{many:?}");

    let refused = |options: EngineOptions| Engine::open(options).err().unwrap();
    let alone = refused(EngineOptions { cluster: None, ..cluster.options(node) });
    assert!(
        alone.to_string().contains("expected") && alone.to_string().contains("an engine of its own"),
        "{alone}"
    );
    let inline = refused(EngineOptions { host: HostKind::Inline, ..cluster.options(node) });
    assert!(matches!(inline, OpenError::Host(HostError::InlineNode)), "{inline}");
    let own = cluster.dir.path().join("own");
    Engine::open(EngineOptions { data_dir: Some(own.clone()), ..EngineOptions::default() })
        .unwrap()
        .close()
        .unwrap();
    let own = refused(EngineOptions { data_dir: Some(own), ..cluster.options(node) });
    assert!(matches!(own, OpenError::Format(FormatError::Cluster { .. })), "{own}");

    cluster.open(node);
    let handle = cluster.handle(node);
    assert!(matches!(handle.hear(NodeId(2), b"garbage"), Err(HearError::Message(_))));
    let error = handle.hand_over(SHARD, NodeId(2)).unwrap_err();
    assert!(matches!(error, GroupError::Declined(Declined::NotLeader { leader: None })), "{error}");
    assert!(matches!(handle.group(ShardId(1)), Err(GroupError::NoShard { shards: 1, found: 1 })));
    let nobody = handle.call_blocking(order(&cluster, sku(), 0));
    assert_eq!(nobody.outcome, Outcome::Refused(Refusal::NotLeader { leader: 0 }));
    cluster.close(node);

    let log = cluster.path(node).join("shard-000").join("log");
    for file in std::fs::read_dir(&log).unwrap().map(|file| file.unwrap().path()) {
        if !file.ends_with("vote") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let lost = refused(cluster.options(node));
    assert!(matches!(lost, OpenError::LostLog { shard: 0, .. }), "{lost}");
    std::fs::remove_file(log.join("vote")).unwrap();
    let vote = refused(cluster.options(node));
    assert!(matches!(vote, OpenError::LostVote { shard: 0 }), "{vote}");
}
