//! The committed corpora against the decoders, without a fuzzer: what once went wrong stays mended.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// The same functions as under libFuzzer.
#[path = "../../fuzz/src/decoders.rs"]
mod decoders;
#[path = "../../fuzz/src/heap.rs"]
mod heap;

use std::path::{Path, PathBuf};

use decoders::DECODERS;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(corpora().join(name)).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn every_decoder_holds_on_its_corpus() {
    for decoder in DECODERS {
        let inputs = inputs(decoder.name);
        assert!(!inputs.is_empty(), "expected a corpus of {}", decoder.name);
        for (path, input) in inputs {
            let tried = std::panic::catch_unwind(|| decoder.try_on(&input));
            assert!(tried.is_ok(), "{} does not hold on {}", decoder.name, path.display());
        }
    }
}

/// What one decoder was fed with is an input of the others, too.
#[test]
fn every_decoder_holds_on_the_corpora_of_the_others_and_on_cut_ones() {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for decoder in DECODERS {
        all.extend(inputs(decoder.name).into_iter().map(|(_, input)| input));
    }
    for decoder in DECODERS {
        for input in &all {
            decoder.try_on(input);
            decoder.try_on(&input[..input.len() / 2]);
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
    let mut known = DECODERS.map(|decoder| decoder.name.to_owned());
    known.sort();
    assert_eq!(found, known);
    assert!(bytes < 200 << 10, "expected less than 200 KiB of corpora, found {bytes} bytes");
}
