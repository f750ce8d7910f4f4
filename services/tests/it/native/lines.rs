//! Lines that are looked up.

use onrush_proto::frame::{Kind, Verdict, Verdicts, begin, put_line};
use onrush_proto::{Refusal, Text};

use super::peer::{Peer, refusal, sell};
use crate::shop::Shop;

fn validate(peer: &mut Peer, lines: &[(&str, i64)]) {
    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Validate);
    bytes.extend_from_slice(&77u64.to_le_bytes());
    lines.iter().for_each(|(sku, quantity)| put_line(&mut bytes, &Text::new(sku).unwrap(), *quantity));
    frame.seal(&mut bytes, lines.len() as u16, 0);
    peer.write(&bytes);
}

fn verdicts(peer: &mut Peer, lines: &[(&str, i64)]) -> Vec<Verdict> {
    validate(peer, lines);
    let said = peer.read();
    assert_eq!((said.kind(), said.frame().argument), (Kind::Verdicts, 1));
    let frame = said.frame();
    let verdicts = Verdicts::of(&frame).unwrap();
    assert_eq!(verdicts.tag, 77);
    verdicts.verdicts.to_vec()
}

#[tokio::test]
async fn each_line_hears_what_an_order_would() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 450, 10);
    sell(&mut peer, "cup", 900, 1);
    let lines = [("tea", 10), ("cup", 2), ("none", 1), ("tea", 1), ("", 1), ("cup", 0)];
    let found = verdicts(&mut peer, &lines);
    let said: Vec<_> = found
        .iter()
        .map(|verdict| (verdict.refusal(), verdict.available(), verdict.price().map(|price| price.minor)))
        .collect();
    // Out of stock, unknown, a duplicate, no text, a duplicate whatever its quantity.
    let expected = [
        (0, 10, Some(450)),
        (16, 1, Some(900)),
        (11, 0, None),
        (10, 10, Some(450)),
        (18, 0, None),
        (10, 1, Some(900)),
    ];
    assert_eq!(said, expected);
    assert_eq!(verdicts(&mut peer, &[("cup", 0)])[0].refusal(), 9);
}

#[tokio::test]
async fn what_could_be_no_order_is_refused_as_a_whole() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 450, 10);
    let skus: Vec<String> = (0..10_001).map(|line| format!("sku-{line}")).collect();
    let lines: Vec<(&str, i64)> = skus.iter().map(|sku| (sku.as_str(), 1)).collect();
    for (lines, expected) in
        [(&lines[..0], Refusal::NoLines), (&lines[..], Refusal::TooManyLines { found: 10_001 })]
    {
        validate(&mut peer, lines);
        let said = peer.read();
        assert_eq!(said.frame().argument, 1, "its credit comes back");
        let entry = said.outcomes().remove(0);
        assert_eq!((entry.tag, refusal(&entry.answer)), (77, expected));
    }
    assert_eq!(verdicts(&mut peer, &lines[..10_000]).len(), 10_000);
    assert!(verdicts(&mut peer, &[("tea", 1)])[0].valid());
}
