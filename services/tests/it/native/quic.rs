//! The native protocol over QUIC: what is agreed on, what is bought, how it ends.

use onrush_net::client::{Key, Retry, Shop as Client, ShopOptions};
use onrush_net::tls::{ALPN, Trust};
use onrush_proto::frame::{ErrorCode, Kind};
use onrush_proto::{Command, OrderId, OrderState, PutProduct, StartPayment, Text, UpdateStock};
use quinn::{ConnectionError, EndpointConfig, VarInt};

use super::peer::{create, ordered, product, receipt, stock};
use super::quic_peer::{Caller, Stream, config, connect, endpoint, open, within};
use crate::shop::Shop;
use crate::wait::until;

const KEY: u128 = 0x5150_1c00_0000_0000_0000_0000_0000_0001;

/// Puts something on sale.
pub(super) async fn sell(stream: &mut Stream, sku: &str, units: i64) {
    for command in [product(sku, 450), stock(sku, units)] {
        receipt(&stream.ask(0, &command).await);
    }
}

fn put(command: Command) -> PutProduct {
    let Command::PutProduct(put) = command else { panic!("a product") };
    *put
}

fn units(command: Command) -> UpdateStock {
    let Command::UpdateStock(update) = command else { panic!("units") };
    update
}

/// Buys something by the client of the tree; the order.
pub(super) async fn buy(client: &Client, sku: &str) -> OrderId {
    client.put_product(Key::fresh(), put(product(sku, 450))).await.unwrap();
    client.update_stock(Key::fresh(), units(stock(sku, 10))).await.unwrap();
    let Command::CreateOrder(wanted) = create("ada", &[(sku, 2)]) else { panic!("an order") };
    let key = Key::fresh();
    let placed = client.create_order(key, wanted.clone()).await.unwrap();
    assert_eq!((placed.total.minor, placed.replayed), (900, false));
    let again = client.create_order(key, wanted).await.unwrap();
    assert_eq!((again.order, again.replayed), (placed.order, true));
    let start = StartPayment { order: placed.order, method: Text::new("pm_card").unwrap(), capture: true };
    assert_eq!(client.pay(Key::fresh(), start).await.unwrap().order_state, OrderState::Paid);
    let verdicts = client.validate(&[(sku.parse().unwrap(), 1)]).await.unwrap();
    assert_eq!((verdicts[0].available, &verdicts[0].refused), (8, &None));
    placed.order
}

pub(super) fn believing(trust: Trust) -> ShopOptions {
    ShopOptions { trust, retry: Retry::NEVER, ..ShopOptions::default() }
}

#[tokio::test]
async fn something_is_bought_over_quic_by_whoever_believes_the_server() {
    let shop = open(|_| ());
    let address = format!("onrush+quic://localhost:{}", shop.native_quic().port());
    let by_name = Client::connect_with(&address, &believing(Trust::Roots(shop.certificate()))).await.unwrap();
    buy(&by_name, "tea").await;
    let address = format!("onrush+quic://{}", shop.native_quic());
    let pinned = Client::connect_with(&address, &believing(Trust::Pinned(shop.certificate()))).await.unwrap();
    buy(&pinned, "coffee").await;
    assert!(shop.client.audit(Default::default()).await.unwrap().ok);

    let other = open(|_| ());
    for trust in [Trust::System, Trust::Roots(other.certificate()), Trust::Pinned(other.certificate())] {
        let error = Client::connect_with(&address, &believing(trust)).await.err().unwrap();
        assert!(error.to_string().contains("expected a server at"), "{error}");
    }
    let absent = Trust::Pinned(shop.dir.path().join("absent.pem"));
    let error = Client::connect_with(&address, &believing(absent)).await.err().unwrap();
    assert!(error.to_string().starts_with("trust: expected a file that can be read"), "{error}");
}

#[tokio::test]
async fn a_client_comes_back_to_a_server_that_was_away() {
    let shop = open(|_| ());
    let port = shop.native_quic().port();
    let address = format!("onrush+quic://{}", shop.native_quic());
    let options = ShopOptions { trust: Trust::Pinned(shop.certificate()), ..ShopOptions::default() };
    let client = Client::connect_with(&address, &options).await.unwrap();
    buy(&client, "tea").await;
    let dir = shop.stop().await;
    let shop = Shop::reopen(dir, |config| config.native.quic_port = Some(port));
    buy(&client, "coffee").await;
    assert!(shop.client.audit(Default::default()).await.unwrap().ok);
}

#[tokio::test]
async fn an_order_asked_for_again_over_another_connection_is_one() {
    let shop = open(|_| ());
    let (_caller, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 10).await;
    let order = create("ada", &[("tea", 1)]);
    {
        let (caller, mut lost) = Caller::open(&shop, "").await;
        let mut bytes = Vec::new();
        lost.put(&mut bytes, &[(KEY, order.clone())]);
        lost.write(&bytes).await;
        // It is decided; what is lost is the answer.
        until("the order", async || {
            let audit = shop.client.audit(Default::default()).await.unwrap();
            (audit.orders == 1).then_some(()).ok_or(audit)
        })
        .await;
        caller.connection.close(VarInt::from_u32(0), b"");
    }
    let (_caller, mut again) = Caller::open(&shop, "").await;
    let one = ordered(&again.ask(KEY, &order).await);
    assert_eq!(ordered(&again.ask(KEY, &order).await), one);
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.orders == 1, "{audit:?}");
}

#[tokio::test]
async fn another_protocol_is_refused_in_the_handshake() {
    let shop = open(|_| ());
    let wrong: [&[&[u8]]; 4] = [&[b"onrush/2"], &[b"h3"], &[b"h3", b"hq"], &[]];
    for alpn in wrong {
        let refused = connect(shop.native_quic(), config(&shop.certificate(), alpn)).await;
        // 0x100 + no_application_protocol (120) of TLS.
        match refused.err() {
            Some(ConnectionError::ConnectionClosed(closed)) => {
                assert_eq!(u64::from(closed.error_code), 0x178)
            }
            other => panic!("expected to be refused, found {other:?}"),
        }
    }
    let both: [&[u8]; 2] = [b"onrush/2", ALPN];
    connect(shop.native_quic(), config(&shop.certificate(), &both)).await.unwrap();
}

#[tokio::test]
async fn another_version_of_quic_is_refused_and_told_which_is_spoken() {
    let shop = open(|_| ());
    const DRAFT: u32 = 0xff00_001d;
    let mut speaks = EndpointConfig::default();
    speaks.supported_versions(vec![DRAFT]);
    let endpoint = endpoint(speaks);
    let mut config = config(&shop.certificate(), &[ALPN]);
    config.version(DRAFT);
    let refused = within(endpoint.connect_with(config, shop.native_quic(), "localhost").unwrap()).await;
    assert!(matches!(refused, Err(ConnectionError::VersionMismatch)), "{refused:?}");
    let bytes = tokio::task::spawn_blocking(move || negotiated(shop.native_quic(), DRAFT)).await.unwrap();
    assert_eq!(versions(&bytes), [1]);
}

/// A client's and a server's name for a connection.
const NAMES: [[u8; 8]; 2] = [*b"a client", *b"a server"];

/// What a server answers to a first packet of another version.
fn negotiated(address: std::net::SocketAddr, version: u32) -> Vec<u8> {
    let [client, server] = NAMES;
    let mut packet = vec![0xc0];
    packet.extend_from_slice(&version.to_be_bytes());
    for name in [server, client] {
        packet.push(8);
        packet.extend_from_slice(&name);
    }
    // Shorter ones are not answered, so that nobody is flooded in another's name.
    packet.resize(1_200, 0);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    socket.send_to(&packet, address).unwrap();
    let mut bytes = vec![0; 1_500];
    let read = socket.recv(&mut bytes).unwrap();
    bytes.truncate(read);
    bytes
}

/// The versions of a Version Negotiation packet (RFC 9000, 17.2.1) but for those that are reserved, to keep clients used
/// to unknown ones (15).
fn versions(packet: &[u8]) -> Vec<u32> {
    let [client, server] = NAMES;
    let head = [&[0; 4][..], &[8], &client, &[8], &server].concat();
    assert!(packet[0] & 0x80 != 0 && packet[1..].starts_with(&head), "{packet:?}");
    let (versions, rest) = packet[1 + head.len()..].as_chunks::<4>();
    assert!(rest.is_empty(), "{packet:?}");
    let versions = versions.iter().map(|version| u32::from_be_bytes(*version));
    versions.filter(|version| version & 0x0f0f_0f0f != 0x0a0a_0a0a).collect()
}

/// Early data could be sent again by whoever recorded it.
#[tokio::test]
async fn nothing_is_taken_before_the_handshake_is_over() {
    let shop = open(|_| ());
    let config = config(&shop.certificate(), &[ALPN]);
    let endpoint = endpoint(EndpointConfig::default());
    // The first leaves a ticket by which the next could be early.
    for round in 0..2 {
        let connecting = endpoint.connect_with(config.clone(), shop.native_quic(), "localhost").unwrap();
        let connecting = connecting.into_0rtt().err().unwrap_or_else(|| panic!("early in round {round}"));
        let connection = within(connecting).await.unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        let mut stream = Stream::new(send, recv);
        stream.hello("").await;
        assert_eq!(stream.read().await.kind(), Kind::Welcome);
        connection.close(VarInt::from_u32(0), b"");
    }
}

#[tokio::test]
async fn a_token_is_believed_or_the_connection_ends() {
    let shop = open(|config| config.access = onrush_services::access::Access::Required);
    for token in ["", "x", "a.b.c"] {
        let caller = Caller::silent(&shop).await;
        let mut first = caller.stream().await;
        first.hello(token).await;
        assert_eq!(first.read().await.error().code, ErrorCode::Unauthenticated);
        assert!(first.try_read().await.is_none(), "an error is the last frame");
        assert_eq!(caller.closed().await.0, 0);
    }
}

#[tokio::test]
async fn who_says_goodbye_hears_everything_first() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 1_000).await;
    let mut bytes = Vec::new();
    first.put(&mut bytes, &vec![(0, create("ada", &[("tea", 1)])); 500]);
    first.write(&bytes).await;
    first.say(Kind::Goodbye).await;
    let heard: usize = first.rest().await.iter().map(|said| said.outcomes().len()).sum();
    assert_eq!(heard, 500);
    assert_eq!(caller.closed().await, (0, String::new()));
}

/// The close came in the same breath as the last answers, and nothing was sent behind it.
#[tokio::test]
async fn who_finishes_its_half_hears_everything_too() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 1_000).await;
    for _ in 0..10 {
        let (caller, mut first) = Caller::open(&shop, "").await;
        let mut bytes = Vec::new();
        first.put(&mut bytes, &[(0, create("ada", &[("tea", 1)]))]);
        first.write(&bytes).await;
        first.send.finish().unwrap();
        let heard: usize = first.rest().await.iter().map(|said| said.outcomes().len()).sum();
        assert_eq!(heard, 1);
        assert_eq!(caller.closed().await, (0, String::new()));
    }
    // More than is on its way at a time.
    let lines = onrush_proto::command::MAX_LINES;
    let mut bytes = Vec::new();
    for tag in 0..4_u64 {
        let frame = onrush_proto::frame::begin(&mut bytes, Kind::Validate);
        bytes.extend_from_slice(&tag.to_le_bytes());
        let sku = "tea".parse().unwrap();
        (0..lines).for_each(|_| onrush_proto::frame::put_line(&mut bytes, &sku, 1));
        frame.seal(&mut bytes, lines as u16, 0);
    }
    first.write(&bytes).await;
    first.send.finish().unwrap();
    assert_eq!(first.rest().await.len(), 4);
    assert_eq!(caller.closed().await, (0, String::new()));
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_answers_what_it_took() {
    let shop = open(|_| ());
    let (_idle, mut idle) = Caller::open(&shop, "").await;
    let (_busy, mut busy) = Caller::open(&shop, "").await;
    sell(&mut busy, "tea", 1_000).await;
    let mut bytes = Vec::new();
    busy.put(&mut bytes, &vec![(0, create("ada", &[("tea", 1)])); 500]);
    busy.write(&bytes).await;
    // The first answers say that all of the frame was taken.
    let mut heard = busy.read().await.outcomes().len();
    let address = shop.native_quic();
    let rest = tokio::spawn(async move { (busy.rest().await, idle.rest().await) });
    let dir = shop.stop().await;
    let (busy, idle) = rest.await.unwrap();
    let said = |said: &[super::peer::Said]| said.iter().filter(|said| said.kind() == Kind::Leaving).count();
    assert_eq!((said(&busy), said(&idle), idle.len()), (1, 1, 1));
    let answers = busy.iter().filter(|said| said.kind() == Kind::Outcomes);
    heard += answers.map(|said| said.outcomes().len()).sum::<usize>();
    assert_eq!(heard, 500);
    let socket = std::net::UdpSocket::bind(address);
    assert!(socket.is_ok(), "nobody has the port any more: {socket:?}");
    drop(dir);
}

/// As over TCP: a front that has stopped lets go of the engine.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_shop_that_has_stopped_holds_no_file() {
    let shop = open(|_| ());
    let (kept, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 10).await;
    let silent = Caller::silent(&shop).await;
    let dir = shop.stop().await;
    let held = |path: &std::path::Path| path.starts_with(dir.path());
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let open: Vec<_> = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok()).collect();
    let left: Vec<_> = open.iter().filter(|path| held(path)).collect();
    assert!(left.is_empty(), "{left:?}");
    drop((kept, silent));
}

#[tokio::test]
async fn measures_count_what_was_asked_over_quic() {
    let shop = open(|_| ());
    let (_caller, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 1).await;
    first.ask(0, &create("ada", &[("tea", 1)])).await;
    first.ask(0, &create("ada", &[("tea", 1)])).await;
    let address = shop.address(onrush_services::config::Service::Order);
    until("counts", async || {
        let text = reqwest::get(format!("{address}/metrics")).await.unwrap().text().await.unwrap();
        let lines = [
            "onrush_native_connections 0",
            "onrush_native_quic_connections 1",
            "onrush_native_quic_commands_total{operation=\"CreateOrder\",outcome=\"accepted\"} 1",
            "onrush_native_quic_commands_total{operation=\"CreateOrder\",outcome=\"refused\"} 1",
        ];
        if lines.iter().all(|line| text.contains(line)) { Ok(()) } else { Err(text) }
    })
    .await;
}
