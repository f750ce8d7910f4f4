//! One reader under libFuzzer: the environment names it, run.sh does the rest.

#![no_main]

mod decoders;
#[path = "../../../proto/fuzz/src/heap.rs"]
mod heap;
// The services' own: they take long to build, and this part needs nothing of them.
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "what writes is not fuzzed, and the services use the rest"
)]
#[path = "../../src/protobuf/mod.rs"]
mod protobuf;

use std::sync::LazyLock;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

static DECODER: LazyLock<decoders::Decoder> = LazyLock::new(|| {
    let wanted = std::env::var("DECODER").unwrap_or_default();
    let names = decoders::DECODERS.map(|decoder| decoder.name).join(", ");
    let found = decoders::DECODERS.into_iter().find(|decoder| decoder.name == wanted);
    found.unwrap_or_else(|| panic!("DECODER: expected one of {names}, found {wanted:?}"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| DECODER.try_on(bytes));
