//! The committed corpora against what reads files, without a fuzzer: what once went wrong stays mended.

use std::path::{Path, PathBuf};

use crate::decoders::DECODERS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(corpora().join(name)).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn every_reader_holds_on_its_corpus() {
    for decoder in DECODERS {
        let inputs = inputs(decoder.name);
        assert!(!inputs.is_empty(), "expected a corpus of {}", decoder.name);
        for (path, input) in inputs {
            let tried = std::panic::catch_unwind(|| decoder.try_on(&input));
            assert!(tried.is_ok(), "{} does not hold on {}", decoder.name, path.display());
        }
    }
}

#[test]
fn the_corpora_are_those_of_the_readers_and_small() {
    let mut found: Vec<String> = Vec::new();
    let mut bytes = 0;
    for entry in std::fs::read_dir(corpora()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        bytes += inputs(&name).iter().map(|(_, input)| input.len()).sum::<usize>();
        found.push(name);
    }
    found.sort();
    assert_eq!(found, DECODERS.map(|decoder| decoder.name));
    assert!(bytes < 200 << 10, "expected less than 200 KiB of corpora, found {bytes} bytes");
}
