//! The parts of an accepted order, one by one: `cargo bench -p onrush-benches`. As a test each runs once.

#![allow(missing_docs, reason = "criterion's macros make public items without docs")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says so by a panic")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use onrush_benches::lone::LoneShard;
use onrush_benches::sale::Sale;
use onrush_engine::tables::Wheel;
use onrush_engine::views::{ShardViews, Views};
use onrush_proto::row::RowEncoder;
use onrush_proto::{Fact, FactView, Row, RowTag, SlotMap};
use onrush_storage::log::{Frame, Log, LogOptions, Prepare};

const GROUP: usize = 512;
/// Open orders at which all expire, so that no run outgrows the machine.
const OPEN_MAX: usize = 400_000;
const NOW_US: u64 = 1_700_000_000_000_000;

/// Time of `turns` turns over orders of `sale`.
fn turns(sale: fn() -> Sale, turns: u64) -> Duration {
    let mut orders = sale();
    let mut lone = LoneShard::open(&orders).unwrap();
    let mut spent = Duration::ZERO;
    for _ in 0..turns {
        if lone.shard().state().orders.open_len() > OPEN_MAX {
            lone.expire();
        }
        lone.load(orders.orders(GROUP));
        let start = Instant::now();
        lone.batch();
        spent += start.elapsed();
        assert_eq!(lone.replies().len(), GROUP);
        lone.let_go();
    }
    spent
}

fn shard(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard turn of 512");
    group.throughput(Throughput::Elements(GROUP as u64));
    let sales = [
        ("accepted, hot", Sale::hot as fn() -> Sale),
        ("accepted, 10,000 SKUs", || Sale::uniform(10_000)),
        ("sold out", Sale::sold_out),
    ];
    for (name, sale) in sales {
        group.bench_function(name, |bencher| bencher.iter_custom(|count| turns(sale, count)));
    }
    group.finish();
}

/// The frame of one turn of accepted orders, as the log has it.
fn frame() -> Frame {
    let mut sale = Sale::hot();
    let mut lone = LoneShard::open(&sale).unwrap();
    lone.load(sale.orders(GROUP));
    lone.batch();
    let dir = tempfile::tempdir().unwrap();
    let disk = onrush_storage::disk::RealDisk::open(dir.path()).unwrap();
    let options = LogOptions { segment_bytes: 1 << 20, prepare: Prepare::Inline, ..LogOptions::new(0, 1) };
    let (mut log, _) = Log::open(std::sync::Arc::new(disk), options).unwrap();
    let mut records = lone.effects().frame.clone();
    log.append(&mut records, NOW_US).unwrap();
    records.to_frame()
}

fn facts(criterion: &mut Criterion) {
    let frame = frame();
    let records: Vec<_> = frame.view().records().collect();
    let fact = |at: usize| -> Fact {
        let record = &records[at];
        FactView::new(record.kind, record.payload).unwrap().read(record.key_hash).unwrap()
    };
    let accepted = fact(GROUP / 2);
    let order = accepted.rows.iter().find(|row| row.tag() == RowTag::Order).unwrap();
    let stock = accepted.rows.iter().find(|row| row.tag() == RowTag::Stock).unwrap();
    let (mut encoder, mut payload) = (RowEncoder::default(), Vec::new());
    criterion.bench_function("fact encode", |bencher| {
        bencher.iter(|| {
            payload.clear();
            black_box(&accepted).encode(&mut encoder, &mut payload);
        });
    });
    criterion.bench_function("fact read", |bencher| bencher.iter(|| black_box(fact(black_box(GROUP / 2)))));
    for (name, row) in [("order", order), ("stock", stock)] {
        let bytes = encoder.encode(row).to_vec();
        criterion.bench_function(&format!("row encode, {name}"), |bencher| {
            bencher.iter(|| black_box(encoder.encode(black_box(row))).len());
        });
        criterion.bench_function(&format!("row decode, {name}"), |bencher| {
            bencher.iter(|| Row::decode(row.tag(), black_box(&bytes)).unwrap());
        });
    }
}

fn frames(criterion: &mut Criterion) {
    let frame = frame();
    let mut group = criterion.benchmark_group("frame of 512");
    group.throughput(Throughput::Bytes(frame.bytes().len() as u64));
    group.bench_function("parse and check", |bencher| {
        bencher.iter(|| Frame::parse(black_box(frame.bytes())).unwrap());
    });
    group.bench_function("view records", |bencher| {
        let payloads =
            || black_box(&frame).view().records().map(|record| record.payload.len()).sum::<usize>();
        bencher.iter(payloads);
    });
    group.finish();
}

fn views(criterion: &mut Criterion) {
    let sale = Sale::uniform(10_000);
    let lone = LoneShard::open(&sale).unwrap();
    let shard = ShardViews::default();
    for (position, row) in lone.shard().state().stock.iter().enumerate() {
        shard.publish_stock(position as u32, row);
    }
    let views = Views::new(vec![std::sync::Arc::new(shard)], SlotMap::new(1).unwrap());
    let mut skus = sale.skus().iter().cycle();
    criterion.bench_function("stock view read, 10,000 SKUs", |bencher| {
        bencher.iter(|| views.stock(black_box(skus.next().unwrap())).unwrap());
    });
}

fn wheel(criterion: &mut Criterion) {
    const ARMED: u32 = 100_000;
    let mut wheel = Wheel::default();
    assert_eq!(wheel.pop_due(NOW_US), None);
    for index in 0..ARMED {
        wheel.arm(index, NOW_US + 600_000_000 + u64::from(index));
    }
    let mut at = 0;
    criterion.bench_function("wheel arm and disarm, 100,000 armed", |bencher| {
        bencher.iter(|| {
            at = (at + 1) % ARMED;
            wheel.arm(ARMED, NOW_US + 600_000_000 + u64::from(at) * 977);
            wheel.disarm(black_box(ARMED));
        });
    });
}

criterion_group!(core, shard, facts, frames, views, wheel);
criterion_main!(core);
