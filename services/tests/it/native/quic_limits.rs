//! What a connection over QUIC may cost.

use std::time::Duration;

use onrush_net::tls::ALPN;
use onrush_proto::frame::{ErrorCode, Hello, Kind};
use onrush_proto::{Command, Text};
use quinn::ConnectionError;

use super::peer::{create, ordered};
use super::quic::sell;
use super::quic_peer::{Caller, config, connect, open, within};
use crate::wait::until;

/// Soon, for a test that waits for it; a handshake has to come within it too, however much else the machine does.
const SOON: Duration = Duration::from_secs(1);
/// How often a slow client sends a byte.
const DRIP: Duration = Duration::from_millis(5);

#[tokio::test]
async fn who_says_nothing_or_half_of_it_is_ended() {
    let shop = open(|config| {
        config.native.limits.hello = SOON;
        config.native.limits.progress = SOON;
    });
    // No stream at all.
    let caller = Caller::silent(&shop).await;
    let (code, text) = caller.closed().await;
    assert_eq!(code, ErrorCode::Slow as u64);
    assert!(text.starts_with("hello: expected it soon"), "{text}");
    // Half a Hello.
    let caller = Caller::silent(&shop).await;
    let mut half = caller.stream().await;
    let mut hello = Vec::new();
    Hello::new("", "a test").write(&mut hello);
    half.write(&hello[..20]).await;
    assert_eq!(half.read().await.error().code, ErrorCode::Slow);
    // Half a frame, on the first stream and on another.
    let (_caller, mut halting) = Caller::open(&shop, "").await;
    halting.write(&hello[..8]).await;
    assert_eq!(halting.read().await.error().code, ErrorCode::Slow);
    let (caller, mut first) = Caller::open(&shop, "").await;
    let mut second = caller.stream().await;
    second.write(&hello[..8]).await;
    assert_eq!(second.read().await.error().code, ErrorCode::Slow);
    // Whoever is known and has nothing open may be silent.
    first.say(Kind::Ping).await;
    assert_eq!(first.read().await.kind(), Kind::Pong);
}

/// A byte now and then is progress, and a frame that never ends all the same: on the first stream, and on another.
#[tokio::test]
async fn a_frame_that_drips_is_ended_and_pauses_between_frames_are_not() {
    let shop = open(|config| config.native.limits.frame = SOON);
    let (_pausing, mut pausing) = Caller::open(&shop, "").await;
    // The beginning of a frame that would be there after hours.
    let mut long = vec![0; 4];
    long.extend_from_slice(&(1u32 << 15).to_le_bytes());
    for further in [false, true] {
        pausing.say(Kind::Ping).await;
        assert_eq!(pausing.read().await.kind(), Kind::Pong);
        let (caller, first) = Caller::open(&shop, "").await;
        let mut dripping = if further { caller.stream().await } else { first };
        dripping.write(&long).await;
        let (said, dripped) = dripping.drip(DRIP).await;
        assert!(dripped > 0);
        let error = said.unwrap().error();
        assert_eq!(error.code, ErrorCode::Slow, "{error}");
        assert!(error.text.starts_with("frame: expected the rest of it"), "{error}");
        assert!(dripping.try_read().await.is_none());
    }
    // By now it was silent for longer than a frame may take.
    pausing.say(Kind::Ping).await;
    assert_eq!(pausing.read().await.kind(), Kind::Pong);
}

/// A client that asks and does not read: what waits for it is bounded, then it is not listened to, then it is ended.
#[tokio::test]
async fn who_does_not_read_is_not_listened_to_and_then_ended() {
    let shop = open(|config| {
        config.native.limits.unsent_bytes_max = 16 << 10;
        config.native.limits.credit = 1 << 20;
        config.native.limits.progress = SOON;
    });
    let (_caller, mut other) = Caller::open(&shop, "").await;
    sell(&mut other, "tea", 10).await;
    let (_deaf, mut deaf) = Caller::open(&shop, "").await;
    let mut bytes = Vec::new();
    deaf.put(&mut bytes, &vec![(0, Command::GetStock(Text::new("tea").unwrap())); 1_000]);
    let (mut written, most) = (0, 256 << 20);
    while written < most && within(deaf.send.write_all(&bytes)).await.is_ok() {
        written += bytes.len();
    }
    assert!(written < most, "expected to be ended, wrote {written} bytes");
    // Others are served as before.
    ordered(&other.ask(0, &create("ada", &[("tea", 1)])).await);
}

/// A stranger's window is one Hello; a known client's is wide enough for any frame.
#[tokio::test]
async fn frames_longer_than_any_window_go_through() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 100_000).await;
    let orders = vec![(0, create("ada", &[("tea", 1)])); 16_000];
    let mut bytes = Vec::new();
    first.put(&mut bytes, &orders);
    assert!(bytes.len() > 2 << 20);
    let mut answers = 0;
    first.write(&bytes).await;
    while answers < orders.len() {
        answers += first.read().await.outcomes().len();
    }
    // A stream of one request may have less, so that all of them cost about what the first does.
    assert_eq!(caller.request(&orders[..400]).await.len(), 400);
    let mut stream = caller.stream().await;
    let mut bytes = Vec::new();
    stream.put(&mut bytes, &orders[..1_000]);
    assert!(bytes.len() > 64 << 10);
    stream.write(&bytes).await;
    assert_eq!(stream.read().await.error().code, ErrorCode::Malformed);
    assert_eq!(caller.request(&orders[..1]).await.len(), 1);
}

/// A client whose machine is gone says nothing of it: it is probed, and then its place is another's. One that is there and
/// silent answers the probes, and stays.
#[tokio::test]
async fn who_is_gone_without_a_word_gives_its_place_up_and_who_is_silent_keeps_it() {
    let shop = open(|config| {
        config.connections_max = 2;
        config.native.limits.keepalive = SOON;
    });
    let (_silent, mut silent) = Caller::open(&shop, "").await;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let open = runtime.block_on(Caller::open(&shop, ""));
            // Nothing of the client runs any more, so nothing is said when it goes.
            drop(runtime);
            drop(open);
        });
    });
    let again = || connect(shop.native_quic(), config(&shop.certificate(), &[ALPN]));
    assert!(again().await.is_err(), "both places are taken");
    until("a place for another connection", async || again().await.map(|_| ())).await;
    silent.say(Kind::Ping).await;
    assert_eq!(silent.read().await.kind(), Kind::Pong);
}

#[tokio::test]
async fn one_connection_too_many_is_refused() {
    let shop = open(|config| config.connections_max = 2);
    let (first, _stream) = Caller::open(&shop, "").await;
    let (_second, mut stream) = Caller::open(&shop, "").await;
    let again = || connect(shop.native_quic(), config(&shop.certificate(), &[ALPN]));
    match again().await.err() {
        Some(ConnectionError::ConnectionClosed(closed)) => {
            assert_eq!(closed.error_code, quinn::TransportErrorCode::CONNECTION_REFUSED);
        }
        other => panic!("expected to be refused, found {other:?}"),
    }
    sell(&mut stream, "tea", 10).await;
    first.connection.close(quinn::VarInt::from_u32(0), b"");
    until("a place for another connection", async || again().await.map(|_| ())).await;
}
