//! Positions by time, and where a log begins.

use onrush_engine::{Engine, EngineHandle, EngineOptions};
use onrush_proto::{Command, Lsn, Outcome, PutDocument, Request, ShardId};

use super::options;

fn write(engine: &EngineHandle, documents: usize) {
    for _ in 0..documents {
        let put = PutDocument {
            key: "pages/front".parse().unwrap(),
            placement: None,
            value: vec![7; 20 << 10],
            expected: None,
            emit: None,
        };
        let reply = engine.call_blocking(Request::unkeyed(Command::PutDocument(Box::new(put))));
        assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{reply:?}");
    }
}

/// Position and time of every record.
fn all(engine: &EngineHandle) -> Vec<(u64, u64)> {
    let mut subscription = engine.subscribe(ShardId(0), Lsn(1));
    let mut found = Vec::new();
    while subscription.poll(1_000, |event| found.push((event.lsn.0, event.time_us))).unwrap() > 0 {}
    found
}

/// Whatever the time, it is the first record that is not older: what a look at every record finds.
#[test]
fn a_time_leads_to_the_first_record_that_is_not_older() {
    let dir = tempfile::tempdir().unwrap();
    let options = || EngineOptions { segment_bytes: 1 << 20, ..options(dir.path()) };
    let check = |engine: &EngineHandle| {
        let records = all(engine);
        let end = engine.end(ShardId(0)).0;
        assert_eq!(records.last().map_or(0, |(lsn, _)| *lsn), end);
        let times = records.iter().flat_map(|(_, time_us)| [time_us - 1, *time_us, time_us + 1]);
        for time_us in times.chain([0, u64::MAX]) {
            let expected =
                records.iter().find(|(_, at_us)| *at_us >= time_us).map_or(end + 1, |(lsn, _)| *lsn);
            assert_eq!(engine.first_at(ShardId(0), time_us).unwrap(), Lsn(expected), "{time_us}");
        }
        assert_eq!(engine.first(ShardId(0)).unwrap(), Lsn(1));
        records.len()
    };
    let engine = Engine::open(options()).unwrap();
    assert_eq!(check(&engine.handle()), 0, "an empty log");
    write(&engine.handle(), 150);
    assert_eq!(check(&engine.handle()), 150);
    engine.close().unwrap();
    // Opened again: seals stand between the frames, and the marks were made anew.
    let engine = Engine::open(options()).unwrap();
    write(&engine.handle(), 50);
    assert_eq!(check(&engine.handle()), 200);
    engine.close().unwrap();
}
