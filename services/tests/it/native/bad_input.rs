//! Bytes that are no frames, and frames that are never right: nothing is done, and the connection ends with why.

use onrush_proto::frame::{ErrorCode, Hello, Kind, begin};
use onrush_proto::{Refusal, Text};

use super::peer::{Peer, create, ordered, refusal, rejected, sell, stock};
use crate::shop::Shop;

fn malformed(peer: &mut Peer, bytes: &[u8], field: &str) {
    peer.write(bytes);
    let error = peer.read().error();
    assert_eq!(error.code, ErrorCode::Malformed, "{error}");
    assert!(error.text.starts_with(field), "{error}");
    assert!(peer.is_ended());
}

#[tokio::test]
async fn lengths_that_lie_are_refused_before_anything_is_kept() {
    let shop = Shop::open();
    for length in [0, 8, 15, 17, (4 << 20) + 8, u32::MAX, u32::MAX - 7] {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&length.to_le_bytes());
        malformed(&mut Peer::open(shop.native(), ""), &bytes, "length: expected 16 to 4194304 bytes");
        malformed(&mut Peer::silent(shop.native()), &bytes, "length: expected 16 to");
    }
    let mut large = vec![0; 4];
    large.extend_from_slice(&(Hello::FRAME_BYTES_MAX as u32 + 8).next_multiple_of(8).to_le_bytes());
    malformed(&mut Peer::silent(shop.native()), &large, "length: expected 16 to");
}

#[tokio::test]
async fn what_is_not_for_the_server_ends_the_connection() {
    let shop = Shop::open();
    let bare = |kind: Kind, count: u16, body: &[u8]| {
        let mut bytes = Vec::new();
        let frame = begin(&mut bytes, kind);
        bytes.extend_from_slice(body);
        frame.seal(&mut bytes, count, 0);
        bytes
    };
    for kind in [Kind::Hello, Kind::Welcome, Kind::Outcomes, Kind::Pong, Kind::Leaving] {
        malformed(&mut Peer::open(shop.native(), ""), &bare(kind, 0, &[]), "kind: expected Commands");
    }
    let open = || Peer::open(shop.native(), "");
    let mut told = open();
    told.write(&bare(Kind::Error, 0, &[0; 8]));
    assert!(told.is_ended(), "an error is answered by nothing");
    malformed(&mut open(), &bare(Kind::Goodbye, 1, &[]), "count: expected the 0 entries");
    malformed(&mut open(), &bare(Kind::Commands, 1, &[]), "count: expected the 0 entries");
    malformed(&mut open(), &bare(Kind::Commands, 1, &[0; 8]), "entries[0].length");
    malformed(&mut Peer::silent(shop.native()), &bare(Kind::Commands, 0, &[]), "kind: expected Hello");
    malformed(&mut Peer::silent(shop.native()), &bare(Kind::Hello, 0, &[0; 16]), "magic");
    // What an honest client says first elsewhere.
    malformed(&mut Peer::silent(shop.native()), b"GET / HTTP/1.1\r\n\r\n", "length");
}

#[tokio::test]
async fn a_client_of_another_version_hears_which_are_spoken() {
    let shop = Shop::open();
    for (version_min, version_max) in [(2, 9), (0, 0), (9, 2)] {
        let hello = Hello { version_min, version_max, ..Hello::new("", "a test") };
        let error = Peer::refused(shop.native(), &hello);
        assert_eq!((error.code, error.version_min, error.version_max), (ErrorCode::Version, 1, 1));
        assert!(error.text.contains(&format!("found {version_min} to {version_max}")), "{error}");
    }
    let wide = Hello { version_min: 0, version_max: u16::MAX, ..Hello::new("", "a test") };
    let mut peer = Peer::silent(shop.native());
    let mut bytes = Vec::new();
    wide.write(&mut bytes);
    peer.write(&bytes);
    assert_eq!(peer.read().kind(), Kind::Welcome);
}

/// What one entry says wrong is its own affair.
#[tokio::test]
async fn an_entry_is_refused_by_itself() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 10);
    let many: Vec<String> = (0..10_001).map(|line| format!("sku-{line}")).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|sku| (sku.as_str(), 1)).collect();
    let good = create("ada", &[("tea", 1)]);
    let answers = peer.ask_all(
        &[
            (0, create("ada", &[])),
            (0, create("ada", &many)),
            (0, create("", &[("tea", 1)])),
            (0, create("ada", &[("tea", 1), ("", 1)])),
            (0, create("ada", &[("tea", i64::MIN)])),
            (0, stock("", 1)),
            (0, onrush_proto::Command::GetStock(Text::EMPTY)),
            (0, good),
        ],
        false,
    );
    assert_eq!(refusal(&answers[0]), Refusal::NoLines);
    assert_eq!(refusal(&answers[1]), Refusal::TooManyLines { found: 10_001 });
    let said = |at: usize| {
        let found = rejected(&answers[at]);
        (found.reason, found.message)
    };
    let missing =
        |path: &str| ("MISSING_FIELD".to_owned(), format!("{path}: expected 1 to 39 bytes, found none"));
    assert_eq!(said(2), missing("customer_id"));
    assert_eq!(said(3), missing("lines[1].sku"));
    assert_eq!(refusal(&answers[4]), Refusal::BadQuantity { line: 0, found: i64::MIN });
    assert_eq!(said(5), missing("sku"));
    assert_eq!(said(6), missing("sku"));
    ordered(&answers[7]);

    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Commands);
    for operation in [0, 12, 255] {
        bytes.extend_from_slice(&40u32.to_le_bytes());
        bytes.extend_from_slice(&[operation, 0, 0, 0]);
        bytes.extend_from_slice(&u64::from(operation).to_le_bytes());
        bytes.extend_from_slice(&[0; 24]);
    }
    frame.seal(&mut bytes, 3, 0);
    peer.write(&bytes);
    for entry in peer.read().outcomes() {
        let Refusal::Invalid { field: "operation", .. } = refusal(&entry.answer) else { panic!("{entry:?}") };
    }
}
