//! The committed corpora against the messages that are read in place, without a fuzzer: what once went wrong stays mended.
//!
//! A binary of its own, because it has an allocator of its own, and the readers without the services around them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// The same functions as under libFuzzer.
#[path = "../fuzz/src/decoders.rs"]
mod decoders;
#[path = "../../proto/fuzz/src/heap.rs"]
mod heap;
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "what writes has tests of its own, and the services use the rest"
)]
#[path = "../src/protobuf/mod.rs"]
mod protobuf;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use decoders::DECODERS;
use onrush_grpc::order::v1::{CreateOrderRequest, GetOrderStatusRequest, NewOrderLine};
use onrush_grpc::product::v1::{GetProductDetailsRequest, ProductLine, ValidateProductsRequest};
use onrush_grpc::session::v1::call::Call as Asking;
use onrush_grpc::session::v1::{Call, SessionRequest};
use prost::Message as _;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(corpora().join(name)).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn order(request_id: &str, skus: &[&str]) -> CreateOrderRequest {
    let line = |sku: &&str| NewOrderLine { sku: (*sku).into(), quantity: 2, max_unit_price: Some(499) };
    let (customer_id, lines) = ("ada".into(), skus.iter().map(line).collect());
    CreateOrderRequest { request_id: request_id.into(), customer_id, lines, hold_us: 60_000_000 }
}

/// One of each thing that can be said, by their paths below the corpora.
fn seeds() -> BTreeMap<&'static str, Vec<u8>> {
    let bare = CreateOrderRequest {
        customer_id: String::new(),
        hold_us: 0,
        lines: vec![NewOrderLine { sku: "tea".into(), quantity: 1, max_unit_price: None }],
        ..order(&"k".repeat(REQUEST_ID_BYTES), &[])
    };
    let asked = |tag: u64, call: Asking| Call { tag, patience_us: 5, call: Some(call) };
    let status = GetOrderStatusRequest { order_id: "0123456789abcdef00000000deadbeef".into() };
    let calls = vec![
        asked(1, Asking::CreateOrder(Box::new(order("cart-7", &["tea"])))),
        asked(300, Asking::CreateOrder(Box::new(order("cart-8", &["tea", "cup"])))),
        asked(3, Asking::GetOrderStatus(Box::new(status))),
        Call { tag: 4, ..Call::default() },
    ];
    let line = |(sku, quantity): (&str, i64)| ProductLine { sku: sku.into(), quantity };
    let lines = [("tea", 1), ("cup", i64::MAX), ("tea", 0)].map(line).to_vec();
    BTreeMap::from([
        ("calls/seed-four", SessionRequest { calls }.encode_to_vec()),
        ("calls/seed-none", Vec::new()),
        ("details/seed-tea", GetProductDetailsRequest { sku: "tea".into() }.encode_to_vec()),
        ("lines/seed-three", ValidateProductsRequest { lines }.encode_to_vec()),
        ("order/seed-bare", bare.encode_to_vec()),
        ("order/seed-full", order("cart-7", &["tea"]).encode_to_vec()),
        ("order/seed-two", order("cart-7", &["tea", "cup"]).encode_to_vec()),
    ])
}

const REQUEST_ID_BYTES: usize = protobuf::REQUEST_ID_BYTES_MAX;

/// `ONRUSH_SEEDS=write cargo test -p onrush-services --test messages seeds` writes them anew after a change of the protocol.
#[test]
fn the_seeds_are_what_the_generated_code_writes() {
    let seeds = seeds();
    if std::env::var_os("ONRUSH_SEEDS").is_some_and(|wish| wish == "write") {
        for (name, bytes) in &seeds {
            let path = corpora().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    for (name, bytes) in &seeds {
        let found = std::fs::read(corpora().join(name)).unwrap();
        assert!(
            found == *bytes,
            "{name}: expected what the generated code writes; ONRUSH_SEEDS=write writes it"
        );
    }
}

/// What one reader was fed with is an input of the others, too.
#[test]
fn every_reader_holds_on_all_corpora_and_on_cut_ones() {
    let mut all = Vec::new();
    for decoder in DECODERS {
        let inputs = inputs(decoder.name);
        assert!(!inputs.is_empty(), "expected a corpus of {}", decoder.name);
        all.extend(inputs);
    }
    for decoder in DECODERS {
        for (path, input) in &all {
            let tried = std::panic::catch_unwind(|| {
                (0..input.len()).rev().step_by(7).for_each(|cut| decoder.try_on(&input[..cut]));
                decoder.try_on(input);
            });
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
    assert!(bytes < 32 << 10, "expected less than 32 KiB of corpora, found {bytes} bytes");
}
