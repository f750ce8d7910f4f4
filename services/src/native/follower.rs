//! Follows a shard's log for one subscription, and puts what it has of its topic into frames.

use std::time::Duration;

use onrush_engine::{Batch as Committed, Event, SubscribeError};
use onrush_net::session::Batch;
use onrush_proto::frame::{Answer, FRAME_BYTES_MAX, Record, RecordsFrame, Start, Subscribe};
use onrush_proto::{
    Command, CommitOffset, FactError, Lsn, Outcome, RecordKind, Refusal, Request, Row, RowTag, ShardId, Slot,
    Topic,
};

use super::feed::{Following, Place};
use super::later;
use crate::backend::{Backend, Feed, unexpected};
use crate::cluster::Office;
use crate::status::Rejection;

/// From here on a frame is full; a record is far shorter than what is left of the longest.
const FULL_BYTES: usize = 256 << 10;
/// Bytes of the log that are looked through before others have their turn.
const LOOK_BYTES: usize = 1 << 20;
/// How long what is open of the log's files is kept for a client that takes nothing: while it is, they cannot be released.
const OPEN_WHILE: Duration = Duration::from_secs(1);
/// After so many records without one of the topic the client hears how far the log was looked through.
const QUIET_RECORDS: u64 = 4_096;

/// What follows the log.
pub(super) struct Follower<'a> {
    place: &'a Place,
    subscription: u64,
    shard: ShardId,
    topic: Option<Topic>,
    feed: Feed,
    /// What was read and not looked through to its end.
    current: Option<Committed>,
    /// The last record that was looked at.
    cursor: Lsn,
    /// How far the client knows of.
    told: Lsn,
}

/// A record that cannot be told.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Log(#[from] SubscribeError),
    #[error("record {lsn}: {source}")]
    Row { lsn: u64, source: FactError },
    #[error("record {lsn}: expected at most {FRAME_BYTES_MAX} bytes with those before it, found {found}")]
    Long { lsn: u64, found: usize },
}

impl Follower<'_> {
    /// Follows until nobody wants any more or there is nothing to follow.
    pub(super) async fn run((backend, office): (&Backend, Office), following: Following) {
        let Following { wanted, subscription, place } = following;
        // Where a group is read for is known where the shop is decided.
        let mut office = if wanted.group.is_empty() { Office::ALWAYS } else { office };
        let begun = tokio::select! {
            begun = begin((backend, &mut office), &wanted) => begun,
            () = place.gone() => return,
        };
        let cursor = match begun {
            Ok(cursor) => cursor,
            Err(rejection) => return place.end(later::answer(Err(rejection))),
        };
        let mut follower = Follower {
            place: &place,
            subscription,
            shard: wanted.shard,
            topic: wanted.topic,
            feed: backend.subscribe(wanted.shard, Lsn(cursor.0 + 1)),
            current: None,
            cursor,
            told: cursor,
        };
        follower.say_where();
        let last = tokio::select! {
            last = follower.follow() => last,
            refusal = office.left(backend) => Some(later::answer(Err(refusal.into()))),
        };
        if let Some(answer) = last
            && place.taken().await.is_some()
        {
            place.end(answer);
        }
    }

    /// The first frame: behind which position it begins.
    fn say_where(&self) {
        let mut frame = Vec::new();
        RecordsFrame::begin(&mut frame, self.subscription, self.shard).seal(&mut frame, self.cursor);
        self.place.records(Batch { frame, reached: self.cursor }, 0);
    }

    /// The answer that the subscription ends with, if anybody wants to hear it.
    async fn follow(&mut self) -> Option<Answer> {
        loop {
            let place = self.place;
            let credit = self.room().await?;
            if self.current.is_none() {
                tokio::select! {
                    () = self.feed.ready() => {}
                    () = place.gone() => return None,
                }
            }
            match self.fill(credit) {
                Ok(Some((batch, cost))) => place.records(batch, cost),
                Ok(None) => {}
                Err(error) => return Some(ended(&error)),
            }
            // A long log must not keep this thread from its other tasks.
            tokio::task::yield_now().await;
        }
    }

    /// The credit, once there is some and room for a frame. Who takes nothing for long holds no file of the log back.
    async fn room(&mut self) -> Option<i64> {
        if let Ok(room) = tokio::time::timeout(OPEN_WHILE, self.place.room()).await {
            return room;
        }
        self.current = None;
        self.feed.seek(self.cursor);
        self.place.room().await
    }

    /// What there is, up to a frame of it, and what it costs; `None` if that is nothing to speak of.
    fn fill(&mut self, mut credit: i64) -> Result<Option<(Batch, usize)>, TellError> {
        let (mut out, mut cost) = (Vec::new(), 0);
        let mut frame = RecordsFrame::begin(&mut out, self.subscription, self.shard);
        let mut looked_through = 0;
        while looked_through < LOOK_BYTES {
            let next = match self.current.take() {
                Some(batch) => Some(batch),
                None => self.feed.next_batch()?,
            };
            let Some(batch) = next else { break };
            looked_through += batch.bytes().len();
            let (mut cursor, mut looked, mut full, mut failed) = (self.cursor, self.cursor, false, None);
            let read = batch.read(self.shard, &mut cursor, usize::MAX, |event| {
                full |= credit <= 0 || frame.length(&out) >= FULL_BYTES || frame.count() == u16::MAX;
                if full || failed.is_some() {
                    return;
                }
                match put(&mut frame, &mut out, self.topic, &event) {
                    Ok(bytes) => {
                        credit -= bytes as i64;
                        cost += bytes;
                        looked = event.lsn;
                    }
                    Err(error) => failed = Some(error),
                }
            });
            let failed = failed.or(read.err().map(TellError::Log));
            self.cursor = looked;
            if looked < batch.last() {
                self.current = Some(batch);
            }
            match failed {
                // What came before it is told first.
                Some(TellError::Row { .. } | TellError::Log(_)) if frame.count() > 0 => break,
                Some(error) => return Err(error),
                None if full => break,
                None => {}
            }
        }
        let reached = self.cursor;
        if frame.count() == 0 && reached.0 < self.told.0 + QUIET_RECORDS {
            return Ok(None);
        }
        self.told = reached;
        frame.seal(&mut out, reached);
        Ok(Some((Batch { frame: out, reached }, cost)))
    }
}

/// Puts a record of the topic into a frame; its bytes, 0 if it is of another.
fn put(
    frame: &mut RecordsFrame,
    out: &mut Vec<u8>,
    topic: Option<Topic>,
    event: &Event<'_>,
) -> Result<usize, TellError> {
    let kind = event.fact.kind;
    if !is_wanted(kind, topic) {
        return Ok(0);
    }
    let lsn = event.lsn.0;
    let mut record =
        Record { lsn: event.lsn, kind, time_us: event.time_us, key_hash: event.key_hash, rows: Vec::new() };
    for row in event.fact.rows() {
        let (tag, bytes) = row.map_err(|source| TellError::Row { lsn, source })?;
        if is_told(tag, kind) {
            let row = Row::decode(tag, bytes);
            record.rows.push(row.map_err(|source| TellError::Row { lsn, source: source.into() })?);
        }
    }
    let bytes = frame.put(out, &record);
    match frame.length(out) {
        found if found > FRAME_BYTES_MAX => Err(TellError::Long { lsn, found }),
        _ => Ok(bytes),
    }
}

/// What is in stock is for those who read its changes: records of orders tell nothing of it.
fn is_told(row: RowTag, kind: RecordKind) -> bool {
    match row {
        RowTag::Stock => kind.is_in(Topic::StockUpdated),
        row => matches!(row, RowTag::Order | RowTag::Product | RowTag::Document | RowTag::DeadLetter),
    }
}

/// Of all topics none is a record that is in no topic: those are the shop's own.
fn is_wanted(kind: RecordKind, topic: Option<Topic>) -> bool {
    match topic {
        Some(topic) => kind.is_in(topic),
        None => Topic::ALL.into_iter().any(|topic| kind.is_in(topic)),
    }
}

/// The position behind which a subscription begins.
async fn begin((backend, office): (&Backend, &mut Office), wanted: &Subscribe) -> Result<Lsn, Rejection> {
    if !wanted.group.is_empty() {
        office.entered(backend).await?;
    }
    let end = backend.end(wanted.shard).await?;
    match wanted.from {
        Start::Now => Ok(end),
        Start::At(lsn) if lsn.0 > end.0 + 1 => {
            // A node that follows may not have it yet.
            backend.must_decide()?;
            let expected = "a position that is in the log, or the next one";
            Err(Refusal::Invalid { field: "from", expected }.into())
        }
        Start::At(lsn) => Ok(Lsn(lsn.0.saturating_sub(1))),
        Start::Group => {
            // Slots are dealt round-robin, so a shard's number is one of its slots.
            let slot = Slot(wanted.shard.0 as u8);
            let topic = wanted.topic.unwrap_or(Topic::OrderCreated);
            let ask = CommitOffset { slot, group: wanted.group, topic, lsn: None };
            match backend.call(Request::unkeyed(Command::CommitOffset(Box::new(ask)))).await.outcome {
                Outcome::Offset(lsn) => Ok(lsn),
                Outcome::Refused(Refusal::NotFound) => Ok(Lsn(0)),
                Outcome::Refused(refusal) => Err(refusal.into()),
                other => Err(unexpected("a position or a refusal", &other)),
            }
        }
    }
}

fn ended(error: &TellError) -> Answer {
    later::answer(Err(match error {
        TellError::Log(SubscribeError::OutOfRange { first, found }) => {
            Refusal::OffsetOutOfRange { first: *first, found: *found }.into()
        }
        error => Rejection::Internal(error.to_string()),
    }))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use onrush_engine::{Engine, EngineHandle, EngineOptions, FlushOptions};
    use onrush_net::session::Feed as Fed;
    use onrush_proto::{PutDocument, Reply, Text};

    use super::super::feed::{Feeds, follow};
    use super::*;
    use crate::access::{Caller, Standing};

    async fn done(engine: &EngineHandle, command: Command) {
        let outcome = engine.call(Request::unkeyed(command)).await.outcome;
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    }

    /// So many records of a fifth of a megabyte.
    async fn letters(engine: &EngineHandle, count: usize) {
        for _ in 0..count {
            let put = PutDocument {
                key: "letters/1".parse().unwrap(),
                placement: None,
                value: vec![7; 200 << 10],
                expected: None,
                emit: Some(Topic::NotificationSent),
            };
            done(engine, Command::PutDocument(Box::new(put))).await;
        }
    }

    /// A group that is done with all up to a record.
    async fn commit(engine: &EngineHandle, lsn: u64) {
        let (group, topic) = (Text::new("books").unwrap(), Topic::OrderCreated);
        let commit = CommitOffset { slot: Slot(0), group, topic, lsn: Some(Lsn(lsn)) };
        done(engine, Command::CommitOffset(Box::new(commit))).await;
    }

    fn is_released(engine: &EngineHandle, lsn: u64) -> bool {
        let read = engine.subscribe(ShardId(0), Lsn(lsn)).poll(1, |_| ());
        matches!(read, Err(SubscribeError::OutOfRange { .. }))
    }

    /// It used to hold a file of the log open for as long as its client took nothing, and behind that file nothing was
    /// released, whatever the budget.
    #[tokio::test]
    async fn who_takes_nothing_does_not_keep_the_log_and_hears_what_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let flush = FlushOptions {
            log_bytes: 1 << 20,
            checkpoint_bytes: 1 << 20,
            snapshot_bytes: 1 << 20,
            ..FlushOptions::default()
        };
        let data_dir = Some(dir.path().join("data"));
        let options = EngineOptions { data_dir, flush, segment_bytes: 1 << 20, ..EngineOptions::default() };
        let engine = Engine::open(options).unwrap();
        let handle = engine.handle();
        letters(&handle, 1).await;
        commit(&handle, 1).await;
        // Beyond what is kept in memory: the first ones are read from the files.
        letters(&handle, 400).await;
        let (feeds, taken) = Feeds::new();
        let following = tokio::spawn(follow((Backend::local(handle.clone()), Office::ALWAYS), taken));
        let wanted = Subscribe {
            shard: ShardId(0),
            topic: Some(Topic::NotificationSent),
            group: Text::EMPTY,
            from: Start::At(Lsn(1)),
        };
        let heard = feeds.begin(Standing::new(Caller::Operator, u64::MAX), wanted, (7, u32::MAX)).unwrap();
        let next = async |heard: &dyn Fed| poll_fn(|context| heard.poll_next(context)).await;
        assert_eq!(next(&*heard).await.unwrap().reached, Lsn(0));
        let Lsn(reached) = next(&*heard).await.unwrap().reached;
        assert!((1..100).contains(&reached), "one frame of it");
        assert!(!is_released(&handle, 2), "a group keeps it");
        commit(&handle, 400).await;
        let mut rounds = 0;
        // Beyond the frame that waits to be taken.
        while !is_released(&handle, reached + 100) {
            assert!(rounds < 100, "the log is still kept");
            letters(&handle, 16).await;
            tokio::time::sleep(OPEN_WHILE / 25).await;
            rounds += 1;
        }
        let last = loop {
            if let Err(answer) = next(&*heard).await {
                break answer;
            }
        };
        let Answer::Reply(Reply { outcome: Outcome::Refused(refusal), .. }) = last else {
            panic!("a refusal")
        };
        assert!(
            matches!(refusal, Refusal::OffsetOutOfRange { first, found } if first > found),
            "{refusal:?}"
        );
        drop((feeds, heard));
        following.await.unwrap();
        engine.close().unwrap();
    }

    #[test]
    fn released_records_are_told_with_the_first_that_is_there() {
        let (first, found) = (17, 3);
        let refused = Outcome::Refused(Refusal::OffsetOutOfRange { first, found });
        match ended(&TellError::Log(SubscribeError::OutOfRange { first, found })) {
            Answer::Reply(Reply { outcome, .. }) => assert_eq!(outcome, refused),
            other => panic!("expected a refusal, found {other:?}"),
        }
        let broken = TellError::Long { lsn: 1, found: usize::MAX };
        let Answer::Rejected(rejected) = ended(&broken) else { panic!("expected a rejection") };
        assert_eq!(rejected.reason, "INTERNAL");
    }

    #[test]
    fn stock_is_told_of_where_it_changes_and_not_of_orders() {
        assert!(is_told(RowTag::Stock, RecordKind::StockUpdated));
        assert!(!is_told(RowTag::Stock, RecordKind::OrderCreated));
        assert!(is_told(RowTag::Order, RecordKind::OrderCreated));
        assert!(!is_told(RowTag::Key, RecordKind::OrderCreated));
    }

    /// Passwords, keys and positions are documents and records of no topic.
    #[test]
    fn of_all_topics_are_the_records_that_are_in_one() {
        let told = RecordKind::ALL.into_iter().filter(|kind| is_wanted(*kind, None));
        assert_eq!(told.count(), 21);
        for kind in [RecordKind::DocumentPut, RecordKind::KeyClaimed, RecordKind::OffsetCommitted] {
            assert!(!is_wanted(kind, None), "{kind:?}");
        }
        assert!(is_wanted(RecordKind::OrderCreated, Some(Topic::OrderCreated)));
        assert!(!is_wanted(RecordKind::OrderCreated, Some(Topic::OrderUpdated)));
    }
}
