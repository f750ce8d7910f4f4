//! The committed corpora against what nodes say to each other, without a fuzzer: what once went wrong stays mended.
//!
//! A binary of its own, because it has an allocator of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// The same functions as under libFuzzer.
#[path = "../fuzz/src/decoders.rs"]
mod decoders;
#[path = "../../proto/fuzz/src/heap.rs"]
mod heap;

use std::path::{Path, PathBuf};

use decoders::DECODERS;
use onrush_engine::replication::{
    Append, AppendResult, Ballot, Body, Entry, Message, NodeId, Offer, Position,
};
use onrush_proto::ShardId;
use onrush_storage::log::{FrameBuf, FrameInfo};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(corpora().join(name)).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn entry(index: u64, payloads: &[&[u8]]) -> Entry {
    let mut frame = FrameBuf::new();
    payloads.iter().for_each(|payload| frame.push(7, 8, payload));
    let info = FrameInfo { first_lsn: index * 10, term: 2, time_us: 5, index, ..FrameInfo::default() };
    Entry::new(&frame, info)
}

/// One of each thing that can be said.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let previous = Position { term: 2, index: 4 };
    let entries = vec![entry(5, &[b"abc", b"de"]), entry(6, &[])];
    let append = |entries| Body::Append(Append { previous, commit: 3, sent_us: 9, as_of_us: 8, entries });
    let appended = |result| Body::Appended { sent_us: 9, said_us: 8, result };
    let bodies = [
        ("ballot", Body::Ballot(Ballot { last: previous, poll: true, asked: false })),
        ("vote", Body::Vote { poll: false, granted: true, barred: true }),
        ("append", append(entries)),
        ("life", append(Vec::new())),
        ("matched", appended(AppendResult::Matched(6))),
        ("heard", appended(AppendResult::Heard)),
        ("missing", appended(AppendResult::Missing { tested: 4, hint: 2 })),
        ("office", Body::TakeOffice),
        ("offer", Body::Offer(Offer { lsn: 99, last: previous, bytes: 3_000 })),
        ("fetch", Body::Fetch { lsn: 99, offset: 1_000 }),
        ("piece", Body::Piece { lsn: 99, offset: 1_000, bytes: b"as it stands".to_vec() }),
    ];
    let bytes = |(name, body)| {
        let message = Message { from: NodeId(1), to: NodeId(2), term: 2, body };
        let mut bytes = Vec::new();
        message.encode(ShardId(3), &mut bytes);
        (name, bytes)
    };
    bodies.map(bytes).into()
}

/// `ONRUSH_SEEDS=write cargo test -p onrush-engine --test messages seeds` writes them anew after a change of the protocol.
#[test]
fn the_seeds_are_what_the_encoder_writes() {
    let own = corpora().join("message");
    let write = std::env::var_os("ONRUSH_SEEDS").is_some_and(|wish| wish == "write");
    for (name, bytes) in seeds() {
        let path = own.join(format!("seed-{name}"));
        if write {
            std::fs::create_dir_all(&own).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let found = std::fs::read(&path).unwrap();
        assert!(found == bytes, "{name}: expected what the encoder writes; ONRUSH_SEEDS=write writes it");
    }
}

#[test]
fn every_decoder_holds_on_its_corpus_and_on_cut_ones() {
    for decoder in DECODERS {
        let inputs = inputs(decoder.name);
        assert!(!inputs.is_empty(), "expected a corpus of {}", decoder.name);
        for (path, input) in inputs {
            let tried = std::panic::catch_unwind(|| {
                (0..input.len()).for_each(|cut| decoder.try_on(&input[..cut]));
                decoder.try_on(&input);
            });
            assert!(tried.is_ok(), "{} does not hold on {}", decoder.name, path.display());
        }
    }
}

#[test]
fn the_corpora_are_those_of_the_decoders_and_small() {
    let mut found: Vec<String> = Vec::new();
    let mut bytes = 0;
    for entry in std::fs::read_dir(corpora()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        bytes += inputs(&name).iter().map(|(_, input)| input.len()).sum::<usize>();
        found.push(name);
    }
    found.sort();
    assert_eq!(found, DECODERS.map(|decoder| decoder.name));
    assert!(bytes < 32 << 10, "expected less than 32 KiB of corpora, found {bytes} bytes");
}
