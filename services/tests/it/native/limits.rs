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
