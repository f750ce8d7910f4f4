//! `docs/wire.md` says what the code does: its tables are read here and held against it.

use std::path::Path;

use super::{ErrorCode, HEADER_BYTES, Hello, Kind, Operation};

/// The document.
pub(super) fn document() -> String {
    // Asked when it runs: a binary that was built in another checkout would look there.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    std::fs::read_to_string(Path::new(&own).join("../docs/wire.md")).unwrap()
}

/// The cells of the `number`th table behind a heading, its head left out.
pub(super) fn table(heading: &str, number: usize) -> Vec<Vec<String>> {
    let document = document();
    let lines: Vec<&str> = document.lines().collect();
    let is_heading = |line: &&str| line.starts_with('#') && line.trim_start_matches(['#', ' ']) == heading;
    let at = lines.iter().position(is_heading).unwrap_or_else(|| panic!("no heading {heading}"));
    let tables = lines[at..].split(|line| !line.starts_with('|')).filter(|table| !table.is_empty());
    let cells = |line: &&str| {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let table = tables.into_iter().nth(number).unwrap_or_else(|| panic!("no table {number}: {heading}"));
    table[2..].iter().map(cells).collect()
}

/// Offsets of the fields, and the size of the whole.
macro_rules! layout {
    ($bytes:ident { $($field:ident),+ $(,)? }) => {
        (vec![$(std::mem::offset_of!($bytes, $field)),+], size_of::<$bytes>())
    };
}
pub(super) use layout;

/// The table has these fields at these places.
pub(super) fn assert_layout(heading: &str, number: usize, (offsets, size): (Vec<usize>, usize)) {
    let ends = offsets[1..].iter().copied().chain([size]);
    let expected: Vec<_> = offsets.iter().copied().zip(ends).map(|(from, to)| (from, to - from)).collect();
    let cell = |text: &String| text.parse::<usize>().unwrap();
    let found: Vec<_> = table(heading, number).iter().map(|row| (cell(&row[0]), cell(&row[1]))).collect();
    assert_eq!(found, expected, "{heading}, table {number}");
}

/// The first two cells of a table: numbers and names.
fn named(heading: &str, number: usize) -> Vec<(u16, String)> {
    let rows = table(heading, number);
    rows.into_iter().map(|mut row| (row[0].parse().unwrap(), row.swap_remove(1))).collect()
}

#[test]
fn kinds_operations_and_codes_are_those_of_the_code() {
    let kinds = Kind::ALL.map(|kind| (kind as u16, format!("{kind:?}")));
    assert_eq!(named("Kinds", 0), kinds);
    let operations = Operation::ALL.map(|operation| (operation as u16, format!("{operation:?}")));
    assert_eq!(named("Commands", 1), operations);
    let codes = ErrorCode::ALL.map(|code| (code as u16, format!("{code:?}")));
    assert_eq!(named("Error", 1), codes);
}

/// What the modules say of their layouts stands in the document too, table by table.
#[test]
fn the_tables_of_the_modules_stand_in_the_document() {
    let document = document();
    let mut tables = 0;
    for module in [
        include_str!("command.rs"),
        include_str!("error.rs"),
        include_str!("header.rs"),
        include_str!("hello.rs"),
        include_str!("node.rs"),
        include_str!("outcome.rs"),
        include_str!("product.rs"),
        include_str!("records.rs"),
        include_str!("refusal.rs"),
        include_str!("subscribe.rs"),
        include_str!("validate.rs"),
    ] {
        let rows: Vec<&str> = module.lines().map(|line| line.strip_prefix("//! ").unwrap_or("")).collect();
        for table in rows.split(|line| !line.starts_with('|')).filter(|table| !table.is_empty()) {
            let plain = table.join("\n").replace("[`Kind::", "").replace("`]", "");
            assert!(document.contains(&plain), "expected in docs/wire.md:\n{plain}");
            tables += 1;
        }
    }
    assert_eq!(tables, 17);
}

#[test]
fn limits_are_those_of_the_code() {
    let document = document();
    for (what, number) in [
        ("a Hello by", Hello::FRAME_BYTES_MAX),
        ("at most", super::FRAME_BYTES_MAX),
        ("a frame has at most", u16::MAX.into()),
    ] {
        let digits = number.to_string();
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
        let text = format!("{what} {}", groups.join(","));
        assert!(document.contains(&text), "expected {text:?} in docs/wire.md");
    }
    assert_eq!(HEADER_BYTES, 16);
}

/// The bytes of the example, in order.
pub(super) fn example() -> Vec<u8> {
    let document = document();
    let block = document.split("\n```\n").nth(1).unwrap();
    let mut bytes = Vec::new();
    for line in block.lines() {
        let (offset, rest) = line.split_once(' ').unwrap();
        assert_eq!(offset.parse(), Ok(bytes.len()), "{line}");
        let words = rest.trim_start().split("  ").next().unwrap_or_default();
        for word in words.split(' ') {
            let (hex, times) = word.split_once('*').unwrap_or((word, "1"));
            let pairs = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
            let part: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            bytes.extend(part.repeat(times.parse().unwrap()));
        }
    }
    bytes
}
