//! What a connection may cost.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use onrush_proto::Text;
use onrush_proto::frame::{ErrorCode, Hello, Kind, begin};
use socket2::{Domain, Socket, Type};

use super::peer::{Peer, create, ordered, sell};
use crate::shop::Shop;
use crate::wait::until;

/// Soon, for a test that waits for it.
const SOON: Duration = Duration::from_millis(200);

/// How often a slow client sends a byte, and how many it sends before the test fails.
const DRIP: Duration = Duration::from_millis(5);
const DRIPS_MAX: usize = 6_000;

fn ping() -> Vec<u8> {
    let mut bytes = Vec::new();
    begin(&mut bytes, Kind::Ping).seal(&mut bytes, 0, 0);
    bytes
}

#[tokio::test]
async fn who_asks_more_than_there_is_credit_for_is_ended_and_nothing_of_it_done() {
    let shop = Shop::open_with(|config| config.native.limits.credit = 4);
    let (mut peer, welcome) = Peer::welcomed(shop.native(), "");
    assert_eq!(welcome.credit, 4);
    sell(&mut peer, "tea", 1, 10);
    let order = (0, create("ada", &[("tea", 1)]));
    // What is given back may be spent again.
    for _ in 0..3 {
        peer.ask_all(&vec![order.clone(); 4], false);
    }
    let mut bytes = Vec::new();
    peer.put(&mut bytes, &vec![order; 5], false);
    peer.write(&bytes);
    let error = peer.read().error();
    assert_eq!((error.code, error.text.as_str()), (ErrorCode::Credit, "credit: expected at most 4, found 5"));
    assert!(peer.is_ended());
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.orders == 10, "{audit:?}");
}

#[tokio::test]
async fn pings_are_answered_and_cost_what_they_cost() {
    let shop = Shop::open_with(|config| config.native.limits.credit = 2);
    let mut peer = Peer::open(shop.native(), "");
    for _ in 0..5 {
        peer.write(&ping());
        let said = peer.read();
        assert_eq!((said.kind(), said.frame().argument), (Kind::Pong, 1));
    }
}

#[tokio::test]
async fn who_says_nothing_or_half_of_it_is_ended() {
    let shop = Shop::open_with(|config| {
        config.native.limits.hello = SOON;
        config.native.limits.progress = SOON;
    });
    let mut silent = Peer::silent(shop.native());
    assert_eq!(silent.read().error().code, ErrorCode::Slow);
    let mut half = Peer::silent(shop.native());
    let mut hello = Vec::new();
    Hello::new("", "a test").write(&mut hello);
    half.write(&hello[..20]);
    assert_eq!(half.read().error().code, ErrorCode::Slow);
    let mut halting = Peer::open(shop.native(), "");
    halting.write(&ping()[..8]);
    assert_eq!(halting.read().error().code, ErrorCode::Slow);
    assert!(halting.is_ended());
}

/// A byte now and then is progress, and a frame that never ends all the same.
#[tokio::test]
async fn a_frame_that_drips_is_ended_and_pauses_between_frames_are_not() {
    let shop = Shop::open_with(|config| {
        config.native.limits.frame = SOON;
        // What still drips is taken in until the end was read.
        config.native.limits.linger = Duration::from_secs(5);
    });
    let mut pausing = Peer::open(shop.native(), "");
    let mut pong = move || {
        pausing.write(&ping());
        assert_eq!(pausing.read().kind(), Kind::Pong);
    };
    pong();
    let mut dripping = Peer::open(shop.native(), "");
    // The beginning of a frame that would be there after hours.
    let mut long = vec![0; 4];
    long.extend_from_slice(&(1u32 << 20).to_le_bytes());
    dripping.write(&long);
    let mut ended = dripping.stream.try_clone().unwrap();
    let dripped = tokio::task::spawn_blocking(move || {
        let drips = (0..DRIPS_MAX).take_while(|_| {
            std::thread::sleep(DRIP);
            ended.write_all(&[0]).is_ok()
        });
        drips.count()
    });
    let error = dripping.read().error();
    assert_eq!(error.code, ErrorCode::Slow, "{error}");
    assert!(error.text.starts_with("frame: expected the rest of it"), "{error}");
    assert!(dripping.is_ended());
    drop(dripping);
    assert!(dripped.await.unwrap() < DRIPS_MAX, "nobody takes them any more");
    // By now it was silent for longer than a frame may take.
    pong();
}

/// A client that asks and does not read: what waits for it is bounded, then it is not listened to, then it is
/// ended.
#[tokio::test]
async fn who_does_not_read_is_not_listened_to_and_then_ended() {
    let shop = Shop::open_with(|config| {
        config.native.limits.unsent_bytes_max = 16 << 10;
        config.native.limits.credit = 1 << 20;
        config.native.limits.progress = SOON;
    });
    let mut first = Peer::open(shop.native(), "");
    sell(&mut first, "tea", 1, 10);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&shop.native().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let mut bytes = Vec::new();
    Hello::new("", "a test").write(&mut bytes);
    let ask = onrush_proto::Command::GetStock(Text::new("tea").unwrap());
    first.put(&mut bytes, &vec![(0, ask); 1_000], false);
    let (mut written, most) = (0, 256 << 20);
    while written < most && stream.write_all(&bytes).is_ok() {
        written += bytes.len();
        // From here on the same without the hello.
        bytes.drain(..bytes.len().saturating_sub(16 + 80 * 1_000));
    }
    assert!(written < most, "expected to be ended, wrote {written} bytes");
    // Others are served as before.
    ordered(&first.ask(0, &create("ada", &[("tea", 1)])));
}

/// A client that is there and silent may stay; one whose machine is gone says just as little. The system asks it: its table of
/// connections shows when it will.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn whether_a_silent_client_is_there_at_all_is_asked_by_the_system() {
    const KEEPALIVE: Duration = Duration::from_secs(600);
    /// The timer by which an idle connection is probed.
    const PROBE: &str = "02";
    let shop = Shop::open_with(|config| config.native.limits.keepalive = KEEPALIVE);
    let peer = Peer::open(shop.native(), "");
    let [server, client] =
        [shop.native(), peer.stream.local_addr().unwrap()].map(|end| format!("0100007F:{:04X}", end.port()));
    let timer = until("a probe of a silent client", async || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let timer = rows.into_iter().find(|row| row[1..3] == [&server, &client]).map(|row| row[5].to_owned());
        // What was acknowledged a moment ago may have a timer of its own before.
        let (kind, ticks) = timer.as_deref().and_then(|timer| timer.split_once(':')).ok_or(timer.clone())?;
        let ticks = u64::from_str_radix(ticks, 16).map_err(|_| timer.clone())?;
        if kind == PROBE { Ok(ticks) } else { Err(timer) }
    });
    // Hundredths of a second.
    assert!((1..=KEEPALIVE.as_secs() * 100).contains(&timer.await));
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let shop = Shop::open_with(|config| config.connections_max = 2);
    let (first, mut second) = (Peer::open(shop.native(), ""), Peer::open(shop.native(), ""));
    let error = Peer::refused(shop.native(), &Hello::new("", "a test"));
    assert_eq!(error.code, ErrorCode::Full);
    sell(&mut second, "tea", 1, 10);
    first.stream.shutdown(Shutdown::Both).unwrap();
    drop(first);
    until("a place for another connection", async || {
        let mut next = Peer::silent(shop.native());
        let mut hello = Vec::new();
        Hello::new("", "a test").write(&mut hello);
        next.write(&hello);
        let said = next.read();
        if said.kind() == Kind::Welcome { Ok(()) } else { Err(said) }
    })
    .await;
}
