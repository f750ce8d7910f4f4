//! The seeds of the fuzzers' corpora are what the encoders write: one of each thing that can be said.
//!
//! `ONRUSH_SEEDS=write cargo test -p onrush-proto seeds` writes them anew after a change of the protocol.

use std::collections::BTreeMap;
use std::path::Path;

use super::records::tests::{full, product};
use super::refusal::tests::every;
use super::tests::{commands, create, outcomes, text};
use super::*;
use crate::{Currency, Lsn, Money, Outcome, Refusal, Reply, ShardId, SlotMap, Topic};

/// Seeds by their paths below the corpora.
type Seeds = BTreeMap<String, Vec<u8>>;

/// A frame as the fuzzers' functions take it: its number of entries, its body.
fn input(kind: Kind, count: u16, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    let open = begin(&mut frame, kind);
    body(&mut frame);
    open.seal(&mut frame, count, 0);
    [&count.to_le_bytes()[..], &frame[HEADER_BYTES..]].concat()
}

fn whole(bytes: &[u8]) -> Vec<u8> {
    [&[0; 2][..], &bytes[HEADER_BYTES..]].concat()
}

fn reply(outcome: Outcome) -> Reply {
    Reply { outcome, replayed: false, lsn: Lsn(5) }
}

fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let mut put = |decoder: &str, name: &str, bytes: Vec<u8>| {
        assert!(seeds.insert(format!("{decoder}/seed-{name}"), bytes).is_none());
    };
    first_frames(&mut put);
    for (number, (command, settled)) in commands().iter().enumerate() {
        let entry = |out: &mut Vec<u8>| assert!(put_command(out, 1, 0, 2, command, *settled));
        put("commands", &format!("{number:02}"), input(Kind::Commands, 1, entry));
    }
    let several = |out: &mut Vec<u8>| {
        commands().iter().take(4).for_each(|(command, settled)| {
            put_command(out, 1, 9, 0, command, *settled);
        });
    };
    put("commands", "several", input(Kind::Commands, 4, several));
    for (number, outcome) in outcomes().into_iter().enumerate() {
        let entry = |out: &mut Vec<u8>| assert!(put_reply(out, 1, &reply(outcome)));
        put("outcomes", &format!("{number:02}"), input(Kind::Outcomes, 1, entry));
    }
    let refusals = |out: &mut Vec<u8>| {
        every().into_iter().for_each(|refusal| assert!(put_reply(out, 1, &reply(Outcome::Refused(refusal)))));
    };
    put("outcomes", "refusals", input(Kind::Outcomes, every().len() as u16, refusals));
    let rejected =
        |out: &mut Vec<u8>| put_rejected(out, 7, "FORBIDDEN", "customer_id: expected the caller's");
    put("outcomes", "rejected", input(Kind::Outcomes, 1, rejected));
    lines_and_verdicts(&mut put);
    products(&mut put);
    subscriptions(&mut put);
    seeds
}

fn first_frames(put: &mut impl FnMut(&str, &str, Vec<u8>)) {
    let mut out = Vec::new();
    let (open, seal) = (begin(&mut out, Kind::Ping), |open: Open, out: &mut Vec<u8>| open.seal(out, 0, 0));
    seal(open, &mut out);
    put("frame", "ping", out.clone());
    let open = begin(&mut out, Kind::Commands);
    put_command(&mut out, 1, 0, 2, &create(1), false);
    open.seal(&mut out, 1, 0);
    put("frame", "ping-and-order", out.clone());
    for (name, token, client) in [("plain", "", ""), ("token", "a.b.c", "a client"), ("odd", "abc", "é")] {
        out.clear();
        Hello::new(token, client).write(&mut out);
        put("hello", name, whole(&out));
    }
    out.clear();
    Welcome::new(1, SlotMap::new(3).unwrap(), 1 << 20, 4_096).write(&mut out);
    put("welcome", "three", whole(&out));
    for (name, addresses) in [("cluster", &["a:1", "10.0.0.2:50060"][..]), ("unknown", &[])] {
        let node = |(number, address): (usize, &&str)| Node {
            number: number as u64 + 1,
            address: (*address).into(),
        };
        let cluster = Cluster::new(2, addresses.iter().enumerate().map(node).collect()).unwrap();
        out.clear();
        Welcome::new(1, SlotMap::new(3).unwrap(), 1 << 20, 4_096).of(cluster).write(&mut out);
        let count = (addresses.len() as u16).to_le_bytes();
        put("welcome", name, [&count[..], &out[HEADER_BYTES..]].concat());
    }
    for (name, text) in [("version", "version: expected 1 to 1, found 2 to 9"), ("bare", "")] {
        out.clear();
        ErrorFrame::new(ErrorCode::Version, text).write(&mut out);
        put("error", name, whole(&out));
    }
}

fn lines_and_verdicts(put: &mut impl FnMut(&str, &str, Vec<u8>)) {
    let lines = |out: &mut Vec<u8>| {
        out.extend_from_slice(&7u64.to_le_bytes());
        put_line(out, &text("tea"), 3);
        put_line(out, &text("cup"), i64::MIN);
    };
    put("validate", "two", input(Kind::Validate, 2, lines));
    let price = Money::new(450, Currency::EUR);
    let verdicts = |out: &mut Vec<u8>| {
        out.extend_from_slice(&7u64.to_le_bytes());
        let refused = Refusal::OutOfStock { line: 0, asked: 3, available: -2 };
        put_verdict(out, &Verdict::new(Some(&refused), Some((-2, price))));
        put_verdict(out, &Verdict::new(None, Some((5, price))));
        put_verdict(out, &Verdict::new(Some(&Refusal::UnknownSku { line: 2 }), None));
    };
    put("verdicts", "three", input(Kind::Verdicts, 3, verdicts));
}

fn products(put: &mut impl FnMut(&str, &str, Vec<u8>)) {
    let skus = |out: &mut Vec<u8>| {
        out.extend_from_slice(&7u64.to_le_bytes());
        put_sku(out, &text("tea"));
        put_sku(out, &text("cup"));
    };
    put("details", "two", input(Kind::Details, 2, skus));
    let row = product();
    let price = Money::new(450, Currency::EUR);
    let stock = ProductStock { available: 5, price, limit_per_customer: 2, active: true, version: 9 };
    let told = |out: &mut Vec<u8>| {
        out.extend_from_slice(&7u64.to_le_bytes());
        put_product(out, &row, &stock);
        put_no_product(out, Some(&text("cup")));
        put_no_product(out, None);
    };
    put("products", "three", input(Kind::Products, 3, told));
}

fn subscriptions(put: &mut impl FnMut(&str, &str, Vec<u8>)) {
    let (mut out, topic) = (Vec::new(), Some(Topic::OrderCreated));
    for (name, group, from) in
        [("position", "", Start::At(Lsn(5))), ("group", "books", Start::Group), ("now", "books", Start::Now)]
    {
        out.clear();
        Subscribe { shard: ShardId(1), topic, group: text(group), from }.write(&mut out, 7, 1 << 20);
        put("subscribe", name, whole(&out));
    }
    out.clear();
    Grant { subscription: 7, bytes: 1 << 20 }.write(&mut out);
    put("grant", "some", whole(&out));
    out.clear();
    Unsubscribe { subscription: 7 }.write(&mut out);
    put("unsubscribe", "one", whole(&out));
    let bare = Record { lsn: Lsn(9), rows: Vec::new(), ..full() };
    for (name, records) in [("none", vec![]), ("two", vec![full(), bare])] {
        let bytes = records::tests::frame(&records, Lsn(11));
        let count = (records.len() as u16).to_le_bytes();
        put("records", name, [&count[..], &bytes[HEADER_BYTES..]].concat());
    }
}

#[test]
fn the_seeds_are_what_the_encoders_write() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let seeds = seeds();
    if std::env::var_os("ONRUSH_SEEDS").is_some_and(|wish| wish == "write") {
        for (name, bytes) in &seeds {
            let path = corpora.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    for (name, bytes) in &seeds {
        let found = std::fs::read(corpora.join(name)).unwrap_or_default();
        assert!(found == *bytes, "{name}: expected what the encoder writes; ONRUSH_SEEDS=write writes it");
    }
}
