//! Reading alone: where to begin, what is told, how much.

use onrush_grpc::log::v1::{Edge, ListTopicsRequest, Position, Start, place, row, subscribe_response};
use prost::Message;

use super::{CREATED, Consumer, all_of, edge, log, orders, two_shards};
use crate::shop::Shop;

#[tokio::test]
async fn topics_say_their_kinds_and_their_shards() {
    let (shop, [first, _]) = two_shards().await;
    orders(&shop, &first, 3).await;
    let listed = log(&shop).await.list_topics(ListTopicsRequest::default()).await.unwrap().into_inner();
    let shards: Vec<_> = listed.shards.iter().map(|shard| (shard.shard, shard.first)).collect();
    assert_eq!(shards, [(0, 1), (1, 1)]);
    assert!(listed.shards[0].end >= 5, "a product, its stock and three orders: {listed:?}");
    assert_eq!(listed.topics.len(), 17);
    let kinds = |name: &str| listed.topics.iter().find(|topic| topic.topic == name).unwrap().kinds.clone();
    assert_eq!(kinds(CREATED), ["order created"]);
    assert_eq!(kinds("stock.released"), ["order cancelled", "order expired", "hold released"]);
    assert_eq!(kinds("dead.letters"), ["dead lettered"]);
    let only =
        log(&shop).await.list_topics(ListTopicsRequest { topic: CREATED.into() }).await.unwrap().into_inner();
    assert_eq!(only.topics.len(), 1);
}

#[tokio::test]
async fn events_come_in_order_with_what_they_made() {
    let (shop, [first, second]) = two_shards().await;
    let mut expected = orders(&shop, &first, 5).await;
    expected.extend(orders(&shop, &second, 5).await);
    let mut consumer = Consumer::open(&shop, all_of(CREATED)).await;
    assert_eq!((consumer.assigned.generation, consumer.assigned.lease_ms), (0, 0));
    assert_eq!(consumer.assigned.shards.len(), 2);
    let events = consumer.events(10).await;
    for shard in [0, 1] {
        let own: Vec<_> = events.iter().filter(|(of, _)| *of == shard).map(|(_, event)| event).collect();
        let keys: Vec<_> = own.iter().map(|event| event.key.clone()).collect();
        assert_eq!(keys, expected[5 * shard as usize..][..5]);
        assert!(own.is_sorted_by(|one, next| one.lsn < next.lsn && one.time_us <= next.time_us), "{own:?}");
    }
    let (_, event) = &events[0];
    assert_eq!(
        (event.kind.as_str(), event.rows.len()),
        ("order created", 1),
        "stock is told of where it changes"
    );
    let Some(row::Row::Order(order)) = &event.rows[0].row else { panic!("an order: {event:?}") };
    assert_eq!((order.order_id.as_str(), order.customer_id.as_str()), (event.key.as_str(), "ada"));
    assert_eq!(order.total.as_ref().unwrap().minor_units, 100);
    // What comes later is told when it comes.
    let later = orders(&shop, &second, 1).await;
    assert_eq!(consumer.events(1).await[0].1.key, later[0]);
}

#[tokio::test]
async fn stock_is_told_with_product_and_rows() {
    let shop = Shop::open_with(|config| config.shards = Some(1));
    shop.stock("tea", 100, 7).await;
    let mut consumer = Consumer::open(&shop, all_of("stock.updated")).await;
    let events = consumer.events(2).await;
    let kinds: Vec<_> = events.iter().map(|(_, event)| (event.kind.as_str(), event.key.as_str())).collect();
    assert_eq!(kinds, [("product put", "tea"), ("stock updated", "tea")]);
    let stock = events[1].1.rows.iter().find_map(|row| match &row.row {
        Some(row::Row::Stock(stock)) => Some((stock.on_hand, stock.sold)),
        _ => None,
    });
    assert_eq!(stock, Some((7, 0)));
    assert!(
        events[0]
            .1
            .rows
            .iter()
            .any(|row| matches!(&row.row, Some(row::Row::Product(put)) if put.sku == "tea"))
    );
}

#[tokio::test]
async fn whoever_says_where_begins_there() {
    let shop = Shop::open_with(|config| config.shards = Some(1));
    shop.stock("tea", 100, 1_000).await;
    let old = orders(&shop, "tea", 6).await;
    let mut whole = Consumer::open(&shop, all_of(CREATED)).await;
    let events: Vec<_> = whole.events(6).await.into_iter().map(|(_, event)| event).collect();

    // From a position on, and from the first record at or after a time.
    let at = vec![Position { shard: 0, lsn: events[4].lsn }];
    let mut later = Consumer::open(&shop, Start { positions: at, ..all_of(CREATED) }).await;
    assert_eq!(later.assigned.shards[0].lsn, events[4].lsn);
    assert_eq!(later.events(2).await[0].1, events[4]);
    for (time_us, expected) in [(0, 0), (events[3].time_us, 3), (events[5].time_us, 5)] {
        let from = Some(onrush_grpc::log::v1::Place { place: Some(place::Place::TimeUs(time_us)) });
        let mut found = Consumer::open(&shop, Start { from, ..all_of(CREATED) }).await;
        let begins = found.assigned.shards[0].lsn;
        assert!(begins <= events[expected].lsn, "{begins}");
        let first = found.batch().await.events[0].clone();
        // Records of one frame have one time.
        assert!(first.time_us >= time_us && first.lsn <= events[expected].lsn, "{first:?}");
        let before = events.iter().filter(|event| event.lsn < begins).all(|event| event.time_us < time_us);
        assert!(before, "what is passed over is older");
    }

    // From the end on, which is where one begins who says nothing.
    for from in [None, edge(Edge::End)] {
        let mut fresh = Consumer::open(&shop, Start { from, ..all_of(CREATED) }).await;
        let new = orders(&shop, "tea", 1).await;
        assert!(!old.contains(&new[0]));
        assert_eq!(fresh.events(1).await[0].1.key, new[0]);
    }
    // Only some of the shards.
    let (shop, [first, second]) = two_shards().await;
    let (_, wanted) = (orders(&shop, &first, 2).await, orders(&shop, &second, 2).await);
    let mut one = Consumer::open(&shop, Start { shards: vec![1, 1], ..all_of(CREATED) }).await;
    assert_eq!(one.assigned.shards.iter().map(|position| position.shard).collect::<Vec<_>>(), [1]);
    let keys: Vec<_> = one.events(2).await.into_iter().map(|(_, event)| event.key).collect();
    assert_eq!(keys, wanted);
}

/// A consumer that is owed nothing hears nothing: each byte that it grants behind its debt is worth one event.
#[tokio::test]
async fn a_slow_reader_gets_no_more_than_its_credit() {
    let shop = Shop::open_with(|config| config.shards = Some(1));
    shop.stock("tea", 100, 1_000).await;
    let expected = orders(&shop, "tea", 20).await;
    let mut consumer = Consumer::open(&shop, Start { credit_bytes: 1, ..all_of(CREATED) }).await;
    for key in &expected {
        let batch = consumer.batch().await;
        assert_eq!(batch.events.iter().map(|event| &event.key).collect::<Vec<_>>(), [key]);
        let cost = batch.events[0].encoded_len() as u32;
        assert!(cost > 1);
        // What is over is owed: after this there is one byte of credit again.
        consumer.grant(cost).await;
    }
    // Who has said all and granted nothing more is at the end once the credit is spent.
    let mut consumer = Consumer::open(&shop, Start { credit_bytes: 1, ..all_of(CREATED) }).await;
    drop(std::mem::replace(&mut consumer.asks, tokio::sync::mpsc::channel(1).0));
    assert_eq!(consumer.batch().await.events.len(), 1);
    assert_eq!(consumer.end().await, "OK");
}

/// A long part of the log without an event is told of, so that it can be committed.
#[tokio::test]
async fn who_reads_a_quiet_topic_hears_how_far_it_was_looked_through() {
    let shop = Shop::open_with(|config| config.shards = Some(1));
    shop.stock("tea", 100, 10).await;
    let mut port = shop.engine().port();
    let sku = onrush_proto::Text::new("tea").unwrap();
    for tag in 0..5_000 {
        let change = onrush_proto::StockChange::Add(1);
        let update = onrush_proto::UpdateStock { sku, change, reason: onrush_proto::Text::EMPTY };
        port.submit(tag, onrush_proto::Request::unkeyed(onrush_proto::Command::UpdateStock(update))).unwrap();
    }
    port.flush();
    let mut answered = 0;
    while answered < 5_000 {
        port.wait(std::time::Duration::from_secs(5));
        answered += port.drain(|_, _| ());
    }
    let mut consumer = Consumer::open(&shop, all_of(CREATED)).await;
    let Some(subscribe_response::Tell::Batch(batch)) = consumer.next().await.unwrap() else {
        panic!("a batch")
    };
    assert!(batch.events.is_empty() && batch.reached >= 4_096, "{batch:?}");
}

#[tokio::test]
async fn documents_are_told_as_json() {
    let (shop, _) = two_shards().await;
    let user =
        serde_json::json!({"email": "ada@example.com", "password": "a long and winding road", "name": "Ada"});
    let registered = reqwest::Client::new()
        .post(format!("{}/register", shop.address(onrush_services::config::Service::User)))
        .json(&user)
        .send()
        .await
        .unwrap();
    assert!(registered.status().is_success(), "{registered:?}");
    let mut consumer = Consumer::open(&shop, all_of("user.updated")).await;
    let (_, event) = consumer.events(1).await.remove(0);
    let Some(row::Row::Document(document)) = &event.rows[0].row else { panic!("a document: {event:?}") };
    assert!(event.key.starts_with("users/") && document.key == event.key);
    let read: serde_json::Value = serde_json::from_str(&document.json).unwrap();
    assert_eq!(read["email"], "ada@example.com", "{read}");
}
