//! Frames of every kind that a client sends, cut and changed on their way, and put in another order: over TCP, over the
//! first stream of QUIC, and over a further one.

use onrush_proto::frame::{
    Answer, ErrorCode, Grant, HEADER_BYTES, Hello, Kind, Start, Subscribe, Unsubscribe, begin, put_command,
    put_line, put_sku,
};
use onrush_proto::{Lsn, ShardId, Text, Topic};

use super::peer::{Peer, Said, create, ordered, receipt, sell};
use super::quic_peer::{Caller, open};
use crate::shop::Shop;

/// The number of a subscription, and the tags of what is looked up.
const FOLLOWED: u64 = 900;
const LINES: u64 = 77;
const SKUS: u64 = 88;
/// Orders of a frame of commands.
const ORDERS: u64 = 3;
/// Orders in another order.
const SHUFFLES: u64 = 48;

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    Hello::new("", "a test").write(&mut bytes);
    bytes
}

fn commands() -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Commands);
    for tag in 1..=ORDERS {
        assert!(put_command(&mut bytes, tag, 0, 0, &create("ada", &[("tea", 1)]), false));
    }
    frame.seal(&mut bytes, ORDERS as u16, 0);
    bytes
}

fn validate() -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Validate);
    bytes.extend_from_slice(&LINES.to_le_bytes());
    put_line(&mut bytes, &Text::new("tea").unwrap(), 1);
    frame.seal(&mut bytes, 1, 0);
    bytes
}

fn details() -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Details);
    bytes.extend_from_slice(&SKUS.to_le_bytes());
    put_sku(&mut bytes, &Text::new("tea").unwrap());
    frame.seal(&mut bytes, 1, 0);
    bytes
}

fn subscribe() -> Vec<u8> {
    let mut bytes = Vec::new();
    let (group, topic) = (Text::EMPTY, Some(Topic::OrderCreated));
    let wanted = Subscribe { shard: ShardId(0), topic, group, from: Start::At(Lsn(1)) };
    wanted.write(&mut bytes, FOLLOWED, 0);
    bytes
}

fn grant() -> Vec<u8> {
    let mut bytes = Vec::new();
    Grant { subscription: FOLLOWED, bytes: u32::MAX }.write(&mut bytes);
    bytes
}

fn unsubscribe() -> Vec<u8> {
    let mut bytes = Vec::new();
    Unsubscribe { subscription: FOLLOWED }.write(&mut bytes);
    bytes
}

fn bare(kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::new();
    begin(&mut bytes, kind).seal(&mut bytes, 0, 0);
    bytes
}

/// A kind of frame, and the frames that stand in front of it; false: nobody has said who calls.
type Sent = (&'static str, bool, Vec<u8>, Vec<u8>);

fn every_kind() -> Vec<Sent> {
    let mut kinds = vec![("Hello", false, Vec::new(), hello())];
    kinds.extend(of_requests());
    kinds.push(("Subscribe", true, Vec::new(), subscribe()));
    kinds.push(("Grant", true, subscribe(), grant()));
    kinds.push(("Unsubscribe", true, subscribe(), unsubscribe()));
    kinds
}

/// Those that a further stream may carry.
fn of_requests() -> Vec<Sent> {
    let request = |name, frame| (name, true, Vec::new(), frame);
    vec![
        request("Commands", commands()),
        request("Validate", validate()),
        request("Details", details()),
        request("Ping", bare(Kind::Ping)),
        request("Goodbye", bare(Kind::Goodbye)),
    ]
}

/// What is left of a frame on a bad way, and how it came to that: cut behind each of its bytes, and with a bit of each of
/// them changed.
fn damages(frame: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    let cut = (0..frame.len()).map(|at| (format!("cut at {at}"), frame[..at].to_vec()));
    let flipped = (0..frame.len()).map(|at| {
        let mut bytes = frame.to_vec();
        bytes[at] ^= 1 << (at % 8);
        (format!("byte {at} changed"), bytes)
    });
    cut.chain(flipped)
}

/// What may be heard of it: the end of what is good in front of it, then at most why it is no frame.
fn assert_harmless(said: &[Said], what: &str) {
    for (at, heard) in said.iter().enumerate() {
        match heard.kind() {
            Kind::Records => {}
            Kind::Outcomes => {
                assert!(heard.outcomes().iter().all(|entry| entry.tag == FOLLOWED), "{what}: {heard:?}");
            }
            Kind::Error => {
                assert_eq!(heard.error().code, ErrorCode::Malformed, "{what}");
                assert_eq!(at + 1, said.len(), "{what}: an error is the last frame");
            }
            _ => panic!("{what}: {heard:?}"),
        }
    }
}

async fn assert_sold(shop: &Shop, orders: u64) {
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.orders == orders, "expected {orders} orders, found {audit:?}");
}

/// Says it all over a connection of TCP, and hears what there is to hear until the end.
fn over_tcp(shop: &Shop, known: bool, bytes: &[u8]) -> Vec<Said> {
    let mut peer = if known { Peer::open(shop.native(), "") } else { Peer::silent(shop.native()) };
    peer.write(bytes);
    peer.close();
    peer.rest()
}

/// The same over the first stream of QUIC.
async fn over_quic(shop: &Shop, known: bool, bytes: &[u8]) -> Vec<Said> {
    let (_caller, mut first) = if known {
        Caller::open(shop, "").await
    } else {
        let caller = Caller::silent(shop).await;
        let first = caller.stream().await;
        (caller, first)
    };
    first.write(bytes).await;
    // An error means that the server has ended it.
    let _ = first.send.finish();
    if known { first.rest().await } else { first.refused().await }
}

#[tokio::test]
async fn a_frame_that_is_cut_or_changed_anywhere_does_nothing_over_tcp() {
    let shop = Shop::open();
    let mut honest = Peer::open(shop.native(), "");
    sell(&mut honest, "tea", 450, 1_000);
    let mut sold = 0;
    for (name, known, before, frame) in every_kind() {
        for (how, bytes) in damages(&frame) {
            let said = over_tcp(&shop, known, &[&before[..], &bytes].concat());
            assert_harmless(&said, &format!("{name}, {how}"));
        }
        ordered(&honest.ask(0, &create("ada", &[("tea", 1)])));
        sold += 1;
        assert_sold(&shop, sold).await;
    }
}

#[tokio::test]
async fn a_frame_that_is_cut_or_changed_anywhere_does_nothing_over_quic() {
    let shop = open(|config| config.connections_max = 1_000);
    let (_caller, mut honest) = Caller::open(&shop, "").await;
    super::quic::sell(&mut honest, "tea", 1_000).await;
    let mut sold = 0;
    // Those that a further stream may carry are tried there: no connection is needed for each.
    for (name, known, before, frame) in every_kind().into_iter().filter(|(name, ..)| !is_request(name)) {
        for (how, bytes) in damages(&frame) {
            let said = over_quic(&shop, known, &[&before[..], &bytes].concat()).await;
            assert_harmless(&said, &format!("{name}, {how}"));
        }
        ordered(&honest.ask(0, &create("ada", &[("tea", 1)])).await);
        sold += 1;
        assert_sold(&shop, sold).await;
    }
}

fn is_request(name: &str) -> bool {
    of_requests().iter().any(|(request, ..)| *request == name)
}

#[tokio::test]
async fn a_frame_that_is_cut_or_changed_anywhere_ends_its_stream_alone() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    super::quic::sell(&mut first, "tea", 1_000).await;
    for (name, _, _, frame) in of_requests() {
        for (how, bytes) in damages(&frame) {
            let mut stream = caller.stream().await;
            stream.write(&bytes).await;
            // An error means that the server has ended it.
            let _ = stream.send.finish();
            assert_harmless(&stream.rest().await, &format!("{name}, {how}"));
        }
    }
    assert_sold(&shop, 0).await;
    ordered(&first.ask(0, &create("ada", &[("tea", 1)])).await);
    ordered(&caller.request(&[(0, create("ada", &[("tea", 1)]))]).await[0]);
    assert_sold(&shop, 2).await;
}

/// The frames of a conversation behind its Hello.
fn conversation() -> Vec<Vec<u8>> {
    vec![
        commands(),
        validate(),
        bare(Kind::Ping),
        subscribe(),
        details(),
        grant(),
        unsubscribe(),
        bare(Kind::Goodbye),
    ]
}

/// Another order of them, the same for the same seed.
fn shuffled(mut frames: Vec<Vec<u8>>, seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for last in (1..frames.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        frames.swap(last, (state >> 33) as usize % (last + 1));
    }
    frames
}

/// What is answered of frames in this order: all in front of the Goodbye. Whatever is said of a subscription that is not
/// open is nothing.
fn expected(frames: &[Vec<u8>]) -> Vec<String> {
    let mut answers = Vec::new();
    for frame in frames {
        match frame[8] {
            2 => answers.extend((1..=ORDERS).map(|tag| format!("accepted {tag}"))),
            3 => answers.push(format!("Verdicts {LINES}")),
            4 => answers.push("Pong".into()),
            5 => break,
            6 => answers.push(format!("Products {SKUS}")),
            7 => answers.push(format!("accepted {FOLLOWED}")),
            _ => {}
        }
    }
    answers.sort();
    answers
}

fn heard(said: &[Said]) -> Vec<String> {
    let mut answers = Vec::new();
    for said in said {
        let tag = || u64::from_le_bytes(*said.0[HEADER_BYTES..].first_chunk().unwrap());
        match said.kind() {
            Kind::Outcomes => {
                answers.extend(said.outcomes().iter().map(|entry| {
                    receipt(&entry.answer);
                    assert!(matches!(&entry.answer, Answer::Reply(reply) if !reply.replayed));
                    format!("accepted {}", entry.tag)
                }));
            }
            Kind::Records => {}
            Kind::Pong => answers.push("Pong".into()),
            kind => answers.push(format!("{kind:?} {}", tag())),
        }
    }
    answers.sort();
    answers
}

#[tokio::test]
async fn frames_in_any_order_are_answered_as_they_come() {
    let shop = open(|config| config.connections_max = 1_000);
    let mut honest = Peer::open(shop.native(), "");
    sell(&mut honest, "tea", 450, 1_000);
    let mut sold = 0;
    for seed in 0..SHUFFLES {
        let frames = shuffled(conversation(), seed);
        let wanted = expected(&frames);
        let bytes = frames.concat();
        let (tcp, quic) = (over_tcp(&shop, true, &bytes), over_quic(&shop, true, &bytes).await);
        assert_eq!(heard(&tcp), wanted, "seed {seed} over TCP");
        assert_eq!(heard(&quic), wanted, "seed {seed} over QUIC");
        sold += 2 * wanted.iter().filter(|answer| answer.len() == "accepted 1".len()).count() as u64;
    }
    assert_sold(&shop, sold).await;
}

#[tokio::test]
async fn a_hello_anywhere_else_than_first_ends_the_connection() {
    let shop = open(|config| config.connections_max = 1_000);
    let mut honest = Peer::open(shop.native(), "");
    sell(&mut honest, "tea", 450, 1_000);
    let mut late = 0;
    for seed in 0..SHUFFLES {
        let mut frames = conversation();
        frames[7] = hello();
        let frames = shuffled(frames, seed);
        let bytes = frames.concat();
        // Nobody has said who calls, unless it comes first by chance.
        if frames[0] == hello() {
            continue;
        }
        late += 1;
        for said in [over_tcp(&shop, false, &bytes), over_quic(&shop, false, &bytes).await] {
            assert_eq!(said.len(), 1, "seed {seed}: {said:?}");
            let error = said[0].error();
            assert_eq!(error.code, ErrorCode::Malformed);
            // What is longer than a Hello is not even kept.
            assert!(error.text.starts_with("kind: expected Hello"), "seed {seed}: {error}");
        }
    }
    assert!(late > 0);
    assert_sold(&shop, 0).await;
    // A second one is none either.
    for said in [over_tcp(&shop, true, &hello()), over_quic(&shop, true, &hello()).await] {
        assert!(said[0].error().text.starts_with("kind: expected Commands"), "{said:?}");
    }
    ordered(&honest.ask(0, &create("ada", &[("tea", 1)])));
}
