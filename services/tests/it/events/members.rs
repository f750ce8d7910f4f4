//! Members of a group share its shards, and a generation fences who had them before.

use std::time::Duration;

use onrush_grpc::log::v1::log_service_client::LogServiceClient;
use onrush_grpc::log::v1::{Edge, RejectEventRequest, SeekGroupRequest, Start, place, subscribe_request};
use onrush_grpc::product::v1::UpdateStockRequest;
use onrush_grpc::product::v1::update_stock_request::Change;

use super::{CREATED, Consumer, edge, log, member, orders, reason, standing, two_shards, two_shards_with};
use crate::binary::{FREE_PORTS, Process};
use crate::shop::{order, product};
use crate::wait::until;

#[tokio::test]
async fn two_members_share_two_shards_and_who_is_killed_leaves_them_to_the_other() {
    let (shop, [first, second]) = two_shards().await;
    orders(&shop, &first, 4).await;
    orders(&shop, &second, 4).await;
    let mut a = Consumer::open(&shop, member("a")).await;
    assert_eq!(a.assigned.shards.len(), 2, "it is alone");
    let before = a.assigned.generation;
    let mut b = Consumer::open(&shop, member("b")).await;
    assert_eq!(a.so_many_shards(1).await.len(), 1);
    assert_eq!((a.assigned.member.as_str(), b.assigned.member.as_str()), ("a", "b"));
    assert_eq!((a.assigned.shards[0].shard, b.assigned.shards[0].shard), (0, 1), "by name");
    assert_eq!(a.assigned.generation, b.assigned.generation);
    assert!(a.assigned.generation > before, "each change of members begins a generation");
    let group = standing(&shop, CREATED).await;
    assert_eq!((group.generation, group.members), (a.assigned.generation, vec!["a".to_owned(), "b".into()]));

    let of_b = b.events(4).await;
    assert!(of_b.iter().all(|(shard, _)| *shard == 1));
    let done = of_b[1].1.lsn;
    let mut client = log(&shop).await;
    assert_eq!(client.commit_offset(b.commit(1, done)).await.unwrap().into_inner().lsn, done);
    let late = b.commit(1, of_b[3].1.lsn);
    drop(b);
    // What was committed is not told again, and what was not is.
    let shards = a.so_many_shards(2).await;
    assert!(shards.contains(&(1, done + 1)), "{shards:?}");
    let again: Vec<_> =
        a.events(6).await.into_iter().filter(|(shard, _)| *shard == 1).map(|(_, event)| event).collect();
    assert_eq!(again, of_b[2..].iter().map(|(_, event)| event.clone()).collect::<Vec<_>>());

    // Whoever was killed comes too late.
    let stale = client.commit_offset(late.clone()).await.unwrap_err();
    let (expected, found) = (a.assigned.generation, late.generation);
    assert_eq!(reason(&stale), format!("STALE_GENERATION expected={expected} found={found}"));
    assert_eq!(stale.code(), tonic::Code::Aborted);
    let none = client
        .commit_offset(onrush_grpc::log::v1::CommitOffsetRequest { generation: 0, ..late.clone() })
        .await;
    assert_eq!(reason(&none.unwrap_err()), format!("STALE_GENERATION expected={expected} found=0"));
    assert_eq!(standing(&shop, CREATED).await.positions[1].lsn, done);
    assert!(client.commit_offset(a.commit(1, late.lsn)).await.is_ok());
}

#[tokio::test]
async fn commits_that_overtake_one_another_do_not_go_back() {
    let (shop, [first, _]) = two_shards().await;
    orders(&shop, &first, 3).await;
    let a = Consumer::open(&shop, member("a")).await;
    let mut client = log(&shop).await;
    assert_eq!(client.commit_offset(a.commit(0, 4)).await.unwrap().into_inner().lsn, 4);
    assert_eq!(client.commit_offset(a.commit(0, 2)).await.unwrap().into_inner().lsn, 4);
    let group = standing(&shop, CREATED).await;
    assert_eq!(group.positions[0].lsn, 4);
    assert!(group.positions[0].lag >= 1);
}

#[tokio::test]
async fn a_member_that_says_nothing_loses_its_shards() {
    let (shop, _) = two_shards_with(|config| config.events.lease = Duration::from_secs(5)).await;
    let mut silent = Consumer::open(&shop, member("silent")).await;
    assert_eq!(silent.assigned.lease_ms, 5_000);
    let mut lives = Consumer::begin(&shop, member("lives")).await;
    let asks = lives.asks.clone();
    let alive = tokio::spawn(async move {
        let sign = onrush_grpc::log::v1::subscribe_request::Ask::Alive(onrush_grpc::log::v1::Alive {});
        let sign = onrush_grpc::log::v1::SubscribeRequest { ask: Some(sign) };
        while asks.send(sign.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    assert_eq!(lives.so_many_shards(2).await.len(), 2, "who says nothing reads nothing");
    assert_eq!(silent.end().await, "LEASE_OVER");
    assert_eq!(standing(&shop, CREATED).await.members, ["lives"]);
    alive.abort();
}

#[tokio::test]
async fn who_comes_under_a_name_takes_the_place_of_the_one_before() {
    let (shop, _) = two_shards().await;
    let mut old = Consumer::open(&shop, member("a")).await;
    let mut new = Consumer::open(&shop, member("a")).await;
    assert_eq!(old.end().await, "MEMBER_REPLACED");
    assert_eq!(new.assigned.shards.len(), 2);
    assert!(new.assigned.generation > old.assigned.generation);
    // The old one's end takes nothing from the new one.
    new.lives().await;
    assert_eq!(standing(&shop, CREATED).await.members, ["a"]);
    // Who brings no name gets one, and who says goodbye is gone.
    let mut third = Consumer::open(&shop, member("")).await;
    assert_eq!(third.assigned.member.len(), 32);
    drop(std::mem::replace(&mut new.asks, tokio::sync::mpsc::channel(1).0));
    assert_eq!(new.end().await, "OK");
    assert_eq!(third.so_many_shards(2).await.len(), 2);
    drop(third);
    until("nobody to be left", async || match standing(&shop, CREATED).await {
        group if group.members.is_empty() => Ok(()),
        group => Err(group),
    })
    .await;
}

#[tokio::test]
async fn a_restart_keeps_positions_and_generations() {
    let (shop, [first, second]) = two_shards().await;
    orders(&shop, &first, 3).await;
    orders(&shop, &second, 3).await;
    let mut a = Consumer::open(&shop, member("a")).await;
    let events = a.events(6).await;
    let of_second: Vec<_> =
        events.iter().filter(|(shard, _)| *shard == 1).map(|(_, event)| event.clone()).collect();
    let mut client = log(&shop).await;
    client.commit_offset(a.commit(1, of_second[0].lsn)).await.unwrap();
    let (generation, late) = (a.assigned.generation, a.commit(1, of_second[2].lsn));
    // Those who are there at a stop are told, and may come again.
    let (shop, end) = tokio::join!(shop.restart_with(|config| config.shards = Some(2)), a.end());
    assert_eq!(end, "SERVER_STOPPING");
    let group = standing(&shop, CREATED).await;
    assert!(group.generation >= generation && group.members.is_empty(), "{group:?}");
    let mut again = Consumer::open(&shop, member("a")).await;
    assert!(again.assigned.generation > generation);
    assert_eq!(again.assigned.shards[1].lsn, of_second[0].lsn + 1);
    let told = again.events(5).await;
    let told: Vec<_> = told.into_iter().filter(|(shard, _)| *shard == 1).map(|(_, event)| event).collect();
    assert_eq!(told, of_second[1..]);
    let stale = log(&shop).await.commit_offset(late).await.unwrap_err();
    assert!(reason(&stale).starts_with("STALE_GENERATION"), "{stale:?}");
}

/// What was acknowledged survives a kill: the position, the generation that fences it, and the tries of an event.
#[tokio::test]
async fn a_kill_keeps_positions_generations_and_tries() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = [&FREE_PORTS[..], &["--shards", "2"]].concat();
    let begin = async |process: &Process, name: &str| {
        let address = format!("http://{}", process.address("order"));
        let said = vec![subscribe_request::Ask::Start(member(name))];
        let mut consumer = Consumer::begin_at(address.clone(), said, None).await.unwrap();
        consumer.shards().await;
        (LogServiceClient::connect(address).await.unwrap(), consumer)
    };
    let mut process = Process::start_with(dir.path(), &arguments, &[]);
    let client = process.client();
    client.put_product(product("tea", 100)).await.unwrap();
    let stock = UpdateStockRequest { sku: "tea".into(), change: Some(Change::Set(9)), ..Default::default() };
    client.update_stock(stock).await.unwrap();
    for _ in 0..3 {
        client.create_order(order("", "ada", &[("tea", 1)])).await.unwrap();
    }
    let (mut log, mut a) = begin(&process, "a").await;
    let events = a.events(3).await;
    let (shard, first, second) = (events[0].0, events[0].1.lsn, events[1].1.lsn);
    log.commit_offset(a.commit(shard, first)).await.unwrap();
    let reject = RejectEventRequest {
        group: "books".into(),
        topic: CREATED.into(),
        shard,
        lsn: second,
        generation: a.assigned.generation,
        reason: "no such shelf".into(),
    };
    assert_eq!(log.reject_event(reject.clone()).await.unwrap().into_inner().tries, 1);
    let late = a.commit(shard, second);
    process.signal("-KILL");
    process.wait();

    let process = Process::start_with(dir.path(), &arguments, &[]);
    let (mut log, mut b) = begin(&process, "b").await;
    assert!(b.assigned.generation > late.generation);
    assert!(b.assigned.shards.iter().any(|position| (position.shard, position.lsn) == (shard, second)));
    assert_eq!(b.events(2).await[0].1, events[1].1);
    let stale = log.commit_offset(late).await.unwrap_err();
    assert!(reason(&stale).starts_with("STALE_GENERATION"), "{stale:?}");
    let reject = RejectEventRequest { generation: b.assigned.generation, ..reject };
    assert_eq!(log.reject_event(reject).await.unwrap().into_inner().tries, 2);
}

#[tokio::test]
async fn a_group_goes_where_it_is_sent_and_its_members_with_it() {
    let (shop, [first, second]) = two_shards().await;
    orders(&shop, &first, 3).await;
    orders(&shop, &second, 3).await;
    let mut client = log(&shop).await;
    let seek = |shard, to| SeekGroupRequest { group: "books".into(), topic: CREATED.into(), shard, to };
    let at = |place| Some(onrush_grpc::log::v1::Place { place: Some(place) });

    // Without members and generations it is moved without one.
    let moved = client.seek_group(seek(None, edge(Edge::End))).await.unwrap().into_inner();
    assert_eq!((moved.generation, moved.positions.len()), (0, 2));
    let mut a = Consumer::open(&shop, member("a")).await;
    assert_eq!(a.assigned.shards, moved.positions, "where it is, not where it would begin");

    // Back to the beginning: all comes again, under a new generation.
    let moved = client.seek_group(seek(None, edge(Edge::Beginning))).await.unwrap().into_inner();
    assert_eq!(a.shards().await, [(0, 1), (1, 1)]);
    assert_eq!(a.assigned.generation, moved.generation);
    let events = a.events(6).await;
    let of_first: Vec<_> =
        events.iter().filter(|(shard, _)| *shard == 0).map(|(_, event)| event.clone()).collect();

    // One shard to a position; the other stays where its group is.
    client.commit_offset(a.commit(1, 2)).await.unwrap();
    let moved =
        client.seek_group(seek(Some(0), at(place::Place::Lsn(of_first[2].lsn)))).await.unwrap().into_inner();
    assert_eq!(moved.positions.len(), 1);
    assert_eq!(a.shards().await, [(0, of_first[2].lsn), (1, 3)]);
    let (_, event) = a.events(4).await.into_iter().find(|(shard, _)| *shard == 0).unwrap();
    assert_eq!(event, of_first[2]);

    // To a time.
    let time = at(place::Place::TimeUs(of_first[1].time_us));
    client.seek_group(seek(Some(0), time)).await.unwrap();
    let shards = a.shards().await;
    assert!(
        shards[0].1 <= of_first[1].lsn && shards[0].1 > of_first[0].lsn
            || of_first[0].time_us == of_first[1].time_us
    );
    let listed = client.list_topics(onrush_grpc::log::v1::ListTopicsRequest::default()).await;
    let ends = listed.unwrap().into_inner().shards;
    let behind =
        client.seek_group(seek(None, at(place::Place::TimeUs(i64::MAX)))).await.unwrap().into_inner();
    assert_eq!(behind.positions.len(), ends.len());
    for (position, shard) in behind.positions.iter().zip(&ends) {
        // Records of groups may have come between.
        assert!(position.shard == shard.shard && position.lsn > shard.end, "{position:?} {shard:?}");
    }
}

/// Nobody loses an event for others who come and go.
#[tokio::test]
async fn whoever_comes_and_goes_every_event_is_handled_at_least_once() {
    let (shop, skus) = two_shards().await;
    let mut expected = std::collections::BTreeSet::new();
    let mut handled = std::collections::BTreeSet::new();
    for round in 0..6 {
        for sku in &skus {
            expected.extend(orders(&shop, sku, 5).await);
        }
        // A new member each round; every second one is gone before it has committed anything.
        let mut consumer = Consumer::open(&shop, member(&format!("m{round}"))).await;
        // Whoever was there before may leave late: its shards come a second time then.
        let batch = loop {
            match consumer.next().await.unwrap().unwrap() {
                onrush_grpc::log::v1::subscribe_response::Tell::Batch(batch) if !batch.events.is_empty() => {
                    break batch;
                }
                onrush_grpc::log::v1::subscribe_response::Tell::Rewound(rewound) => panic!("{rewound:?}"),
                _ => {}
            }
        };
        if round % 2 == 0 {
            continue;
        }
        let done = batch.events[0].lsn;
        handled.insert(batch.events[0].key.clone());
        log(&shop).await.commit_offset(consumer.commit(batch.shard, done)).await.unwrap();
    }
    let mut last = Consumer::begin(&shop, Start { ..member("last") }).await;
    let mut floor = std::collections::BTreeMap::new();
    while handled.len() < expected.len() {
        match last.next().await.unwrap().unwrap() {
            onrush_grpc::log::v1::subscribe_response::Tell::Assigned(assigned) => {
                floor = assigned.shards.iter().map(|position| (position.shard, position.lsn)).collect();
            }
            onrush_grpc::log::v1::subscribe_response::Tell::Batch(batch) => {
                for event in batch.events {
                    assert!(event.lsn >= floor[&batch.shard], "nothing below what was committed");
                    handled.insert(event.key);
                }
            }
            onrush_grpc::log::v1::subscribe_response::Tell::Rewound(rewound) => panic!("{rewound:?}"),
        }
    }
    assert_eq!(handled, expected);
}
