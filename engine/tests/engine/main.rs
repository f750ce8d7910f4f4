//! The whole engine: hosts, doors, subscriptions, restarts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod lists;
mod positions;
mod stores;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use onrush_engine::{
    ClockOptions, Engine, EngineOptions, FlushOptions, HostKind, OpenError, Pump, RetentionOptions,
    StoreKind, SubscribeError, verify,
};
use onrush_proto::{
    CallerKey, Cause, Command, CommitOffset, CorrelationId, CreateOrder, Currency, Lsn, Money, OrderLine,
    Outcome, PutDocument, PutProduct, RecordKind, Refusal, Reply, Request, ShardId, Sku, Slot, StockChange,
    Text, Topic, TraceContext, UpdateStock,
};

fn options(dir: &std::path::Path) -> EngineOptions {
    EngineOptions { data_dir: Some(dir.to_path_buf()), segment_bytes: 8 << 20, ..EngineOptions::default() }
}

fn stocked(engine: &Engine, name: &str, units: i64) -> Sku {
    let sku: Sku = name.parse().unwrap();
    let put = PutProduct {
        sku,
        name: name.into(),
        description: String::new(),
        category: Text::EMPTY,
        brand: Text::EMPTY,
        price: Money::new(100, Currency::EUR),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    };
    let change = StockChange::Add(units);
    for command in [
        Command::PutProduct(Box::new(put)),
        Command::UpdateStock(UpdateStock { sku, change, reason: Text::EMPTY }),
    ] {
        let reply = engine.handle().call_blocking(Request::unkeyed(command));
        assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{reply:?}");
    }
    sku
}

fn order(engine: &Engine, sku: Sku, number: u64) -> Request {
    let key = engine.handle().key(CallerKey { caller: "ada", key: &number.to_string() });
    let lines = [OrderLine::new(sku, 1)].into_iter().collect();
    Request::new(
        key,
        Command::CreateOrder(CreateOrder { customer: "ada".parse().unwrap(), lines, hold_us: 0 }),
    )
}

/// Submits `count` orders in batches and returns how many were accepted and refused.
fn rush(engine: &Engine, sku: Sku, count: u64) -> (u64, u64) {
    let mut port = engine.handle().port();
    let (mut sent, mut accepted, mut refused) = (0, 0, 0);
    while accepted + refused < count {
        while sent < count && port.in_flight() < 1_024 {
            port.submit(sent, order(engine, sku, sent)).unwrap();
            sent += 1;
        }
        port.flush();
        port.wait(Duration::from_secs(10));
        port.drain(|_, reply| match reply.outcome {
            Outcome::Accepted(_) => accepted += 1,
            Outcome::Refused(Refusal::OutOfStock { .. }) => refused += 1,
            other => panic!("{other:?}"),
        });
    }
    (accepted, refused)
}

/// A task that sleeps until somebody wakes it: a wake that is missed is a test that never ends.
#[test]
fn a_task_is_woken_for_every_reply_of_its_port() {
    for host in [HostKind::Inline, HostKind::Thread] {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(EngineOptions { host, shards: Some(2), ..options(dir.path()) }).unwrap();
        let sku = stocked(&engine, "console", 1_000);
        let mut port = engine.handle().port();
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        assert_eq!(port.poll_ready(&mut context), Poll::Pending, "{host:?}: nothing was asked");
        for number in 0..200 {
            port.submit(number, order(&engine, sku, number)).unwrap();
            port.flush();
            while port.poll_ready(&mut context).is_pending() {
                thread::park();
            }
            let mut answered = Vec::new();
            assert_eq!(port.drain(|number, _| answered.push(number)), 1);
            assert_eq!(answered, [number]);
        }
        engine.close().unwrap();
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn sells_exactly_what_there_is_on_every_host_and_verifies_offline() {
    for (host, shards) in
        [(HostKind::Inline, 1), (HostKind::Thread, 1), (HostKind::Inline, 4), (HostKind::Thread, 4)]
    {
        let dir = tempfile::tempdir().unwrap();
        let engine =
            Engine::open(EngineOptions { host, shards: Some(shards), ..options(dir.path()) }).unwrap();
        let sku = stocked(&engine, "console", 700);
        assert_eq!(rush(&engine, sku, 2_000), (700, 1_300), "{host:?}, {shards} shards");
        assert_eq!(engine.handle().stock(&sku).map(|view| view.available), Some(0));
        let audit = engine.handle().audit().unwrap();
        assert!(audit.ok, "{:?}", audit.violations);
        engine.close().unwrap();
        let offline = verify(dir.path()).unwrap();
        assert!(offline.ok && offline.units_held == 700, "{offline:?}");
    }
}

/// One call at a time on the inline host: each acceptance is one durable write, made before the
/// call returns; a refusal, a read and a replay are none.
#[test]
fn nothing_is_acknowledged_without_a_durable_write_behind_it() {
    let options = EngineOptions { host: HostKind::Inline, ..EngineOptions::default() };
    let engine = Engine::open(options).unwrap();
    let sku = stocked(&engine, "console", 50);
    let handle = engine.handle();
    for number in 0..60 {
        let before = handle.stats().durable_writes;
        let reply = handle.call_blocking(order(&engine, sku, number));
        let accepted = matches!(reply.outcome, Outcome::Accepted(_));
        assert_eq!(accepted, number < 50, "{reply:?}");
        assert_eq!(handle.stats().durable_writes, before + u64::from(accepted), "order {number}");
        assert_eq!(handle.end(ShardId(0)), reply.lsn, "order {number}");
        let replay = handle.call_blocking(order(&engine, sku, number));
        assert_eq!(replay.replayed, accepted, "{replay:?}");
        assert_eq!(handle.stats().durable_writes, before + u64::from(accepted), "replay {number}");
    }
    engine.close().unwrap();
}

/// The same on a thread per shard: an order whose key another shard keeps stands on two writes, its own and its claim's.
/// Logs that fall idle write too, so there may be more.
#[test]
fn over_shards_two_durable_writes_stand_behind_an_acknowledgement() {
    let options = EngineOptions { host: HostKind::Thread, shards: Some(4), ..EngineOptions::default() };
    let engine = Engine::open(options).unwrap();
    let sku = stocked(&engine, "console", 40);
    let handle = engine.handle();
    let (mut told, mut elsewhere) = (0, 0);
    for number in 0..50 {
        let request = order(&engine, sku, number);
        let is_elsewhere = handle.shard_of(&request) != handle.slot_map().shard(request.command.slot());
        let before = handle.stats().durable_writes;
        let reply = handle.call_blocking(request);
        if matches!(reply.outcome, Outcome::Accepted(_)) {
            let writes = handle.stats().durable_writes - before;
            let expected = 1 + u64::from(is_elsewhere);
            assert!(writes >= expected, "order {number}: {writes} writes of {expected}");
            (told, elsewhere) = (told + 1, elsewhere + u64::from(is_elsewhere));
        }
    }
    assert_eq!(told, 40);
    assert!(elsewhere > 10, "keys are spread over the shards: {elsewhere} of {told} elsewhere");
    engine.close().unwrap();
}

/// Who acts on a record goes on with what its command belongs to, over several shards as over one, also from the
/// files. A retry writes nothing, and what belongs to nothing says nothing.
#[test]
fn records_have_the_cause_of_their_command() {
    let dir = tempfile::tempdir().unwrap();
    let open = || EngineOptions { shards: Some(4), ..options(dir.path()) };
    let engine = Engine::open(open()).unwrap();
    let skus = ["console", "tea", "book", "lamp", "chair"].map(|name| stocked(&engine, name, 10));
    let trace = TraceContext { trace: 7, span: 8, flags: 1 };
    let traced = |number: u64, skus: &[Sku]| {
        let mut request = order(&engine, skus[0], number);
        let Command::CreateOrder(create) = &mut request.command else { unreachable!() };
        create.lines = skus.iter().map(|sku| OrderLine::new(*sku, 1)).collect();
        request = Request::new(request.key, request.command);
        let correlation = CorrelationId::new(&format!("basket-{number}"));
        let cause = Cause::new((number > 1).then_some(TraceContext { span: number, ..trace }), correlation);
        request.cause = cause.map(Box::new);
        engine.handle().call_blocking(request)
    };
    for reply in [traced(1, &skus[..1]), traced(2, &skus), traced(1, &skus[..1])] {
        assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{reply:?}");
    }
    engine.handle().call_blocking(order(&engine, skus[0], 3));
    engine.close().unwrap();

    let engine = Engine::open(open()).unwrap();
    let mut found = Vec::new();
    for shard in (0..4).map(ShardId) {
        let mut reader = engine.handle().subscribe(shard, Lsn(1));
        while reader
            .poll(100, |event| {
                if event.fact.kind == RecordKind::OrderCreated {
                    found.push(event.fact.cause());
                }
            })
            .unwrap()
            > 0
        {}
    }
    found.sort_by_key(|cause: &Option<Cause>| {
        cause.map(|cause| cause.correlation.unwrap().as_str().to_owned())
    });
    let expected = [
        None,
        Cause::new(None, CorrelationId::new("basket-1")),
        Cause::new(Some(TraceContext { span: 2, ..trace }), CorrelationId::new("basket-2")),
    ];
    assert_eq!(found, expected);
    engine.close().unwrap();
}

/// A reader that lags takes frames from the log's files. A batch that ended inside such a frame once
/// dropped the frame's rest: payments were never asked of the gateway.
#[test]
fn a_lagging_subscription_sees_every_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(dir.path())).unwrap();
    let sku = stocked(&engine, "console", 1_000_000);
    rush(&engine, sku, 3_000);
    engine.close().unwrap();
    // Opened anew, nothing is in memory: everything comes from the files.
    let engine = Engine::open(options(dir.path())).unwrap();
    for batch in [1, 7, 100, 4_096] {
        let mut subscription = engine.handle().subscribe(ShardId(0), Lsn(1));
        let mut next = 1;
        while subscription
            .poll(batch, |event| {
                assert_eq!(event.lsn, Lsn(next), "batches of {batch}");
                next += 1;
            })
            .unwrap()
            > 0
        {}
        assert_eq!(Lsn(next - 1), engine.handle().end(ShardId(0)), "batches of {batch}");
    }
    engine.close().unwrap();
}

#[test]
fn restarts_between_flushes_and_checkpoints_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let flush = FlushOptions {
        rows: 300,
        log_bytes: 1 << 20,
        checkpoint_bytes: 256 << 10,
        ..FlushOptions::default()
    };
    let mut sold = 0;
    for round in 0..6u64 {
        let engine = Engine::open(EngineOptions { flush, ..options(dir.path()) }).unwrap();
        let sku = stocked(&engine, "console", 2_000);
        let mut port = engine.handle().port();
        for number in 0..1_500 {
            port.submit(number, order(&engine, sku, round * 10_000 + number)).unwrap();
            if number % 64 == 0 {
                port.flush();
            }
        }
        port.flush();
        while port.in_flight() > 0 {
            port.wait(Duration::from_secs(10));
            port.drain(|_, reply| assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{reply:?}"));
        }
        sold += 1_500;
        // A key of the first round is cold by now: the filter hits, the store answers.
        let replay = engine.handle().call_blocking(order(&engine, sku, 3));
        assert_eq!(replay.replayed, round > 0 || sold > 0, "{replay:?}");
        let audit = engine.handle().audit().unwrap();
        assert!(audit.ok && audit.units_held == sold, "round {round}: {:?}", audit.violations);
        drop(port);
        engine.close().unwrap();
    }
}

/// Writes until the log's first records are released, at most `rounds`, each of three megabytes: readers
/// are served from memory for a while. The rounds it took, and where the log begins now; `None` if it
/// still reaches back.
fn released(engine: &Engine, rounds: u64) -> (u64, Option<u64>) {
    for round in 0..rounds {
        for _ in 0..16 {
            let put = PutDocument {
                key: "pages/front".parse().unwrap(),
                placement: None,
                value: vec![7; 200 << 10],
                expected: None,
                emit: None,
            };
            let put = Request::unkeyed(Command::PutDocument(Box::new(put)));
            let reply = engine.handle().call_blocking(put);
            assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{reply:?}");
        }
        let mut reader = engine.handle().subscribe(ShardId(0), Lsn(2));
        match reader.poll(1, |event| assert_eq!(event.lsn, Lsn(2))) {
            Ok(_) => {}
            Err(SubscribeError::OutOfRange { first, found }) => {
                assert_eq!(found, 2);
                return (round + 1, Some(first));
            }
            Err(error) => panic!("{error}"),
        }
    }
    (rounds, None)
}

/// A group that carries no money keeps what it has not read, up to its budget. Beyond it the log
/// goes on without it: it is told where the log begins now, and reads on from there without a gap.
#[test]
fn a_group_keeps_the_log_up_to_its_budget() {
    let small = RetentionOptions { bytes_max: 2 << 20, age_us_max: u64::MAX };
    let mut rounds = 100;
    for (group, retention, kept) in
        [(false, small, false), (true, small, false), (true, RetentionOptions::default(), true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let flush = FlushOptions {
            log_bytes: 1 << 20,
            checkpoint_bytes: 1 << 20,
            snapshot_bytes: 1 << 20,
            retention,
            ..FlushOptions::default()
        };
        let options = EngineOptions { flush, segment_bytes: 1 << 20, ..options(dir.path()) };
        let engine = Engine::open(options).unwrap();
        if group {
            stocked(&engine, "cup", 1);
            let commit = CommitOffset {
                slot: Slot(0),
                group: "mail".parse().unwrap(),
                topic: Topic::OrderCreated,
                lsn: Some(Lsn(1)),
            };
            let commit = Request::unkeyed(Command::CommitOffset(Box::new(commit)));
            let reply = engine.handle().call_blocking(commit);
            assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{reply:?}");
        }
        let (took, first) = released(&engine, rounds);
        assert_eq!(first.is_none(), kept, "group {group}, {retention:?}");
        if let Some(first) = first {
            rounds = 2 * took;
            let there = engine.handle().first(ShardId(0)).unwrap();
            assert!(there >= Lsn(first), "{there:?} {first}");
            let oldest = engine.handle().first_at(ShardId(0), 0).unwrap();
            assert!(oldest >= there, "{oldest:?} {there:?}");
            let mut reader = engine.handle().subscribe(ShardId(0), Lsn(first));
            let mut next = first;
            reader
                .poll(5, |event| {
                    assert_eq!(event.lsn, Lsn(next));
                    next += 1;
                })
                .unwrap();
            assert_eq!(next, first + 5);
        }
        engine.close().unwrap();
    }
}

/// A clock that stands a year ahead would expire every hold at once: nothing is decided on it until
/// somebody accepts it, and looking at the books offline makes nothing expire.
#[test]
fn a_clock_that_jumped_is_asked_about() {
    const NOW_US: u64 = 1_795_641_334_000_000;
    const YEAR_US: u64 = 365 * 86_400_000_000;
    let dir = tempfile::tempdir().unwrap();
    let with = |wall_us, accept_jump| {
        let clock = ClockOptions { wall_us, accept_jump, ..ClockOptions::default() };
        Engine::open(EngineOptions { clock, ..options(dir.path()) })
    };
    let audited = || {
        let report = onrush_engine::verify(dir.path()).unwrap();
        assert!(report.ok, "{:?}", report.violations);
        report.units_held
    };
    let engine = with(|| NOW_US, false).unwrap();
    let sku = stocked(&engine, "console", 10);
    let placed = engine.handle().call_blocking(order(&engine, sku, 1));
    assert!(matches!(placed.outcome, Outcome::Accepted(_)), "{placed:?}");
    engine.close().unwrap();
    for wall_us in [(|| NOW_US + YEAR_US) as fn() -> u64, || NOW_US - YEAR_US] {
        let Err(OpenError::Clock(jump)) = with(wall_us, false) else { panic!("a year is beyond the bound") };
        assert_eq!((jump.wall_us, jump.jump_max_us), (wall_us(), 30 * 86_400_000_000));
        assert!(jump.last_frame_us.abs_diff(NOW_US) < YEAR_US / 365, "{jump}");
    }
    assert_eq!(audited(), 1, "nothing expired");
    with(|| NOW_US - YEAR_US, true).unwrap().close().unwrap();
    assert_eq!(audited(), 1, "time does not run back");
    let engine = with(|| NOW_US + YEAR_US, true).unwrap();
    let late = engine.handle().call_blocking(order(&engine, sku, 2));
    assert!(matches!(late.outcome, Outcome::Accepted(_)), "{late:?}");
    engine.close().unwrap();
    assert_eq!(audited(), 1, "accepted: the first hold is dead, the new one stands");
}

/// Whoever waits says so by the wall clock. It had been taken for shard time: after a start with a last record from
/// a minute ahead, or a wall clock that was set back, all who wait less than that were told that they were late.
#[test]
fn a_deadline_is_of_the_wall_clock_however_far_shard_time_is_ahead() {
    const NOW_US: u64 = 1_795_641_334_000_000;
    const SECOND_US: u64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let with = |wall_us| {
        let clock = ClockOptions { wall_us, ..ClockOptions::default() };
        Engine::open(EngineOptions { clock, ..options(dir.path()) }).unwrap()
    };
    let engine = with(|| NOW_US + 60 * SECOND_US);
    let sku = stocked(&engine, "console", 10);
    engine.close().unwrap();
    let engine = with(|| NOW_US);
    for (number, deadline_us, expected) in [
        (1, NOW_US + SECOND_US, true),
        (2, NOW_US + 3_600 * SECOND_US, true),
        (3, u64::MAX, true),
        (4, NOW_US - SECOND_US, false),
        (5, 1, false),
        (6, 0, true),
    ] {
        let request = onrush_proto::Request { deadline_us, ..order(&engine, sku, number) };
        let reply = engine.handle().call_blocking(request);
        match reply.outcome {
            Outcome::Refused(Refusal::DeadlineExceeded) => assert!(!expected, "{deadline_us}"),
            other => assert!(expected && matches!(other, Outcome::Accepted(_)), "{deadline_us}: {other:?}"),
        }
    }
    engine.close().unwrap();
}

#[test]
fn a_closed_door_answers() {
    let engine = Engine::open(EngineOptions::default()).unwrap();
    let sku = stocked(&engine, "console", 10);
    let (handle, request) = (engine.handle(), order(&engine, sku, 1));
    let mut port = handle.port();
    engine.close().unwrap();
    assert_eq!(handle.call_blocking(request.clone()).outcome, Outcome::Refused(Refusal::Stopped));
    port.submit(1, request).unwrap();
    port.flush();
    assert_eq!(port.drain(|_, reply| assert_eq!(reply.outcome, Outcome::Refused(Refusal::Stopped))), 1);
    let mut beyond = handle.subscribe(ShardId(0), Lsn(1));
    let polled: Result<usize, SubscribeError> = beyond.poll(10, |_| {});
    assert!(polled.is_ok(), "{polled:?}");
}

/// An event loop of one thread: polls pump and calls in turn whenever something was woken.
fn run(pump: &mut Pump, calls: Vec<impl Future<Output = Reply>>) -> Vec<Reply> {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    let mut replies: Vec<Option<Reply>> = calls.iter().map(|_| None).collect();
    while replies.iter().any(Option::is_none) {
        for (call, reply) in calls.iter_mut().zip(&mut replies).filter(|(_, reply)| reply.is_none()) {
            if let Poll::Ready(found) = call.as_mut().poll(&mut context) {
                *reply = Some(found);
            }
        }
        assert!(Pin::new(&mut *pump).poll(&mut context).is_pending(), "a pump never ends");
        if replies.iter().any(Option::is_none) {
            std::thread::park();
        }
    }
    replies.into_iter().flatten().collect()
}

#[test]
fn calls_of_one_loop_are_one_durable_write_on_every_host() {
    for (host, shards) in [(HostKind::Inline, 1), (HostKind::Thread, 1), (HostKind::Thread, 4)] {
        let engine =
            Engine::open(EngineOptions { host, shards: Some(shards), ..EngineOptions::default() }).unwrap();
        let sku = stocked(&engine, "console", 150);
        let (lane, mut pump) = engine.handle().lane();
        for round in 0..2 {
            let before = engine.handle().stats().durable_writes;
            let call = |number| lane.call(order(&engine, sku, round * 100 + number));
            let replies = run(&mut pump, (0..100).map(call).collect());
            let accepted = replies.iter().filter(|reply| matches!(reply.outcome, Outcome::Accepted(_)));
            assert_eq!(accepted.count(), if round == 0 { 100 } else { 50 }, "{host:?}, round {round}");
            if host == HostKind::Inline {
                assert_eq!(engine.handle().stats().durable_writes, before + 1, "round {round}");
            }
            // Each call got its own reply: the same request again gets the same receipt.
            for (number, first) in replies.iter().enumerate().filter(|(number, _)| number % 17 == 0) {
                let again = engine.handle().call_blocking(order(&engine, sku, round * 100 + number as u64));
                assert_eq!(again.outcome, first.outcome, "{host:?}, order {number}");
            }
        }
        engine.close().unwrap();
    }
}

#[test]
fn a_full_door_turns_a_lanes_parcel_away_whole() {
    let options = EngineOptions { inbox_requests_max: 10, ..EngineOptions::default() };
    let engine = Engine::open(options).unwrap();
    let sku = stocked(&engine, "console", 100);
    let (lane, mut pump) = engine.handle().lane();
    let replies = run(&mut pump, (0..11).map(|number| lane.call(order(&engine, sku, number))).collect());
    let overloaded = Outcome::Refused(Refusal::Overloaded);
    assert!(replies.iter().all(|reply| reply.outcome == overloaded), "{replies:?}");
    let replies = run(&mut pump, vec![lane.call(order(&engine, sku, 1))]);
    assert!(matches!(replies[0].outcome, Outcome::Accepted(_)), "{replies:?}");
    engine.close().unwrap();
}

#[test]
fn calls_without_a_pump_or_an_engine_are_answered() {
    let engine = Engine::open(EngineOptions { host: HostKind::Inline, ..EngineOptions::default() }).unwrap();
    let sku = stocked(&engine, "console", 10);
    let stopped = Outcome::Refused(Refusal::Stopped);
    let mut context = Context::from_waker(Waker::noop());

    // Given up after it was sent: the deed is done, and nobody trips over its reply.
    let (lane, mut pump) = engine.handle().lane();
    let mut given_up = Box::pin(lane.call(order(&engine, sku, 1)));
    assert!(given_up.as_mut().poll(&mut context).is_pending());
    drop(given_up);
    assert!(matches!(
        run(&mut pump, vec![lane.call(order(&engine, sku, 2))])[0].outcome,
        Outcome::Accepted(_)
    ));
    assert_eq!(engine.handle().stock(&sku).map(|view| view.available), Some(8));

    let mut open = Box::pin(lane.call(order(&engine, sku, 3)));
    assert!(open.as_mut().poll(&mut context).is_pending());
    drop(pump);
    let Poll::Ready(reply) = open.as_mut().poll(&mut context) else { panic!("the pump is gone") };
    assert_eq!(reply.outcome, stopped);

    let (lane, mut pump) = engine.handle().lane();
    let late = order(&engine, sku, 4);
    engine.close().unwrap();
    assert_eq!(run(&mut pump, vec![lane.call(late)])[0].outcome, stopped);
}

/// A page once read all that stood before it, and what lies behind the prefix must not come.
#[test]
fn documents_come_in_pages_that_begin_where_the_last_one_ended() {
    for store in [StoreKind::Memory, StoreKind::Fjall] {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(EngineOptions { store, ..options(dir.path()) }).unwrap();
        let handle = engine.handle();
        for key in ["a/9", "b/1", "b/2", "b/3", "b/4", "c/1"] {
            let key = key.parse().unwrap();
            let put = PutDocument { key, placement: None, value: vec![1], expected: None, emit: None };
            handle.call_blocking(Request::unkeyed(Command::PutDocument(Box::new(put))));
        }
        let page = |after: Option<&str>| -> Vec<String> {
            let after = after.map(|after| after.parse().unwrap());
            let rows = handle.documents("b/", after.as_ref(), 3).unwrap();
            rows.iter().map(|row| row.key.to_string()).collect()
        };
        assert_eq!(page(None), ["b/1", "b/2", "b/3"]);
        assert_eq!(page(Some("b/3")), ["b/4"]);
        assert_eq!(page(Some("a/9")), ["b/1", "b/2", "b/3"], "before the prefix");
        for behind in ["b/4", "b0", "c/1"] {
            assert!(page(Some(behind)).is_empty(), "{behind}");
        }
        engine.close().unwrap();
    }
}
