//! What is listed and told of what the hot path does not read.

use onrush_engine::{Engine, EngineOptions};
use onrush_proto::{
    Command, DeleteDocument, Lsn, Outcome, PutDocument, Request, Row, ShardId, StockChange, Topic,
    UpdateStock,
};

use super::{options, stocked};

fn document(number: u32, value: &str, emit: Option<Topic>) -> Command {
    let key = format!("users/{number:03}").parse().unwrap();
    let value = value.as_bytes().to_vec();
    Command::PutDocument(Box::new(PutDocument { key, placement: None, value, expected: None, emit }))
}

#[test]
fn documents_are_listed_over_all_shards_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let options = EngineOptions { shards: Some(4), ..options(dir.path()) };
    let put = |engine: &Engine, command: Command| {
        let reply = engine.handle().call_blocking(Request::unkeyed(command));
        assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{reply:?}");
    };
    let pages =
        |engine: &Engine| {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = engine.handle().documents("users/", after.as_ref(), 7).unwrap();
                let Some(last) = page.last() else { return found };
                after = Some(last.key);
                found.extend(page.into_iter().map(|row| {
                    (row.key.to_string(), String::from_utf8(row.value.unwrap_or_default()).unwrap())
                }));
            }
        };
    let engine = Engine::open(options.clone()).unwrap();
    (0..40).for_each(|number| put(&engine, document(number, "first", None)));
    let other = "users-of-old/1".parse().unwrap();
    put(
        &engine,
        Command::PutDocument(Box::new(PutDocument {
            key: other,
            placement: None,
            value: vec![1],
            expected: None,
            emit: None,
        })),
    );
    engine.close().unwrap();
    // Half in the store, half on the way to it.
    let engine = Engine::open(options).unwrap();
    (0..40).step_by(3).for_each(|number| put(&engine, document(number, "second", None)));
    let gone = "users/001".parse().unwrap();
    put(
        &engine,
        Command::DeleteDocument(Box::new(DeleteDocument { key: gone, placement: None, expected: None })),
    );
    let expected: Vec<_> = (0..40)
        .filter(|number| *number != 1)
        .map(|number| {
            (format!("users/{number:03}"), if number % 3 == 0 { "second" } else { "first" }.to_owned())
        })
        .collect();
    assert_eq!(pages(&engine), expected);
    assert_eq!(engine.handle().documents("users/01", None, 100).unwrap().len(), 10);
}

#[test]
fn a_document_is_an_event_of_the_topic_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineOptions { shards: Some(1), ..options(dir.path()) }).unwrap();
    let topics =
        [None, Some(Topic::ShippingUpdated), Some(Topic::NotificationSent), Some(Topic::UserUpdated)];
    for (number, topic) in (0..).zip(topics) {
        let reply = engine.handle().call_blocking(Request::unkeyed(document(number, "told", topic)));
        assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{reply:?}");
    }
    let mut subscription = engine.handle().subscribe(ShardId(0), Lsn(0));
    let mut topics = topics.into_iter();
    let told = subscription.poll(100, |event| {
        let named = Topic::ALL.into_iter().filter(|topic| event.fact.kind.is_in(*topic));
        assert_eq!(Vec::from_iter(named), Vec::from_iter(topics.next().unwrap()));
        let fact = event.fact.read(event.key_hash).unwrap();
        assert!(matches!(&fact.rows[..], [Row::Document(row)] if row.value.as_deref() == Some(b"told")));
    });
    assert_eq!(told.unwrap(), 4);
}

#[test]
fn the_books_say_why_stock_changed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(dir.path())).unwrap();
    let (tea, teapot) = (stocked(&engine, "tea", 5), stocked(&engine, "teapot", 1));
    for (add, reason) in [(3, "delivery 17"), (-2, "broken")] {
        let update = UpdateStock { sku: tea, change: StockChange::Add(add), reason: reason.parse().unwrap() };
        engine.handle().call_blocking(Request::unkeyed(Command::UpdateStock(update)));
    }
    let told = |engine: &Engine, after, limit| -> Vec<(i64, i64, String)> {
        let rows = engine.handle().stock_changes(&tea, after, limit).unwrap();
        rows.iter().map(|row| (row.before, row.after, row.reason.to_string())).collect()
    };
    let expected = [(0, 5, String::new()), (5, 8, "delivery 17".into()), (8, 6, "broken".into())];
    assert_eq!(told(&engine, 0, 10), expected);
    assert_eq!(told(&engine, 2, 1), expected[1..2], "behind the version after the first change");
    assert_eq!(engine.handle().stock_changes(&teapot, 0, 10).unwrap().len(), 1);
    engine.close().unwrap();
    let engine = Engine::open(options(dir.path())).unwrap();
    assert_eq!(told(&engine, 0, 10), expected, "after a restart");
}
