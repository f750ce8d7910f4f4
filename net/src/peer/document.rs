//! `docs/wire.md` says what the code does: its section "Between nodes" is read here and held against it.

use std::path::Path;

use super::listen::ARRIVING_MAX;
use super::{
    ADVERTISED_BYTES_MAX, ClusterId, MESSAGE_BYTES_MAX, PEER_ALPN, PEER_VERSION, PeerRefusal, SILENCE_MAX,
    settings,
};

/// What stands behind a heading.
fn behind(heading: &str) -> String {
    // Asked when it runs: a binary that was built in another checkout would look there.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let document = std::fs::read_to_string(Path::new(&own).join("../docs/wire.md")).unwrap();
    document.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1.to_owned()
}

/// Rows of the first table in a text whose head begins so.
fn rows(text: &str, head: &str) -> Vec<Vec<String>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn the_table_of_the_greeting_stands_in_the_document() {
    let module = include_str!("greeting.rs");
    let plain: String = module.lines().map(|line| format!("{}\n", line.trim_start_matches("//! "))).collect();
    let (own, told) = (rows(&plain, "| offset"), rows(&behind("### Greeting of a node"), "| offset"));
    assert_eq!(own, told);
    let mut at = 0;
    for row in told.iter().filter(|row| !row[0].is_empty() && !row[1].is_empty()) {
        assert_eq!(row[0].parse(), Ok(at), "{row:?}");
        at += row[1].parse::<usize>().unwrap();
    }
    assert_eq!(at, super::greeting::HEAD_BYTES);
}

#[test]
fn refusals_have_the_numbers_of_the_document() {
    let node = 1;
    let (expected, found, most) = (1, 2, 3);
    let all = [
        PeerRefusal::Version { expected, found },
        PeerRefusal::Cluster { expected: ClusterId([1; 16]), found: ClusterId([2; 16]) },
        PeerRefusal::Proof,
        PeerRefusal::Addressee { expected, found },
        PeerRefusal::DuplicateNode { node },
        PeerRefusal::UnknownNode { node },
        PeerRefusal::Replaced { node },
        PeerRefusal::MessageBytes { most, found },
        PeerRefusal::Advertised { most, found },
        PeerRefusal::Garbage,
        PeerRefusal::Late,
    ];
    let name = |refusal: &PeerRefusal| {
        let whole = format!("{refusal:?}");
        whole.split([' ', '(']).next().unwrap_or_default().to_owned()
    };
    let mut own: Vec<_> = all.iter().map(|refusal| (refusal.code(), name(refusal))).collect();
    let rows = rows(&behind("### Refusals between nodes"), "| number | refusal");
    let mut told: Vec<_> = rows.iter().map(|row| (row[0].parse().unwrap(), row[1].clone())).collect();
    own.sort();
    told.sort();
    assert_eq!(own, told);
}

#[test]
fn the_document_has_the_bounds_of_the_code() {
    let section = behind("## Between nodes");
    assert!(section.contains(std::str::from_utf8(PEER_ALPN).unwrap()));
    let bounds: Vec<(u128, String)> = rows(&section, "| number | bound")
        .into_iter()
        .map(|mut row| (row[0].parse().unwrap(), row.swap_remove(1)))
        .collect();
    let own: [(u128, &str); 8] = [
        (PEER_VERSION.into(), "version of the protocol"),
        (ADVERTISED_BYTES_MAX as u128, "bytes of the advertised text"),
        (settings::STRANGER_BYTES.into(), "bytes on their way before the proof"),
        (settings::WINDOW_BYTES.into(), "bytes on their way after it"),
        (MESSAGE_BYTES_MAX as u128, "bytes of a message, unless both are told otherwise"),
        (
            SILENCE_MAX.as_millis(),
            "ms of silence after which a connection is over, unless one is told otherwise",
        ),
        (settings::PROBES.into(), "probes in that time, by the one that has called"),
        (ARRIVING_MAX as u128, "connections on their way in"),
    ];
    assert_eq!(bounds, own.map(|(number, about)| (number, about.to_owned())));
}
