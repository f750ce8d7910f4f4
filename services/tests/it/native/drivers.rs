//! The same over each way in which the system says what happens on sockets. Where io_uring may be used, nothing else
//! would ever try the other one.

use std::time::Duration;

use onrush_net::client::Shop as Client;
use onrush_net::tcp::Driver;
use onrush_net::tls::Trust;
use onrush_proto::frame::{ErrorCode, Hello, Kind};

use super::peer::{Peer, create, ordered, sell};
use super::quic::{believing, buy};
use crate::shop::Shop;

/// Soon, for a test that waits for it.
const SOON: Duration = Duration::from_millis(200);

fn open(change: impl FnOnce(&mut onrush_services::config::NativeConfig)) -> Shop {
    Shop::open_with(|config| {
        config.native.driver = Driver::Poll;
        change(&mut config.native);
    })
}

#[tokio::test]
async fn a_sale_goes_through_in_frames_and_by_the_client() {
    let shop = open(|_| ());
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 900);
    let orders = vec![(0, create("ada", &[("tea", 1)])); 1_000];
    let answers = peer.ask_all(&orders, false);
    let accepted = answers.iter().filter(|answer| {
        use onrush_proto::{Outcome, Refusal};
        match super::peer::outcome(answer) {
            Outcome::Accepted(_) => true,
            Outcome::Refused(Refusal::OutOfStock { .. }) => false,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(accepted.count(), 900);
    let client =
        Client::connect_with(&format!("onrush://{}", shop.native()), &believing(Trust::System)).await;
    buy(&client.unwrap(), "coffee").await;
    assert!(shop.client.audit(Default::default()).await.unwrap().ok);
}

#[tokio::test]
async fn something_is_bought_over_tls() {
    let shop = open(|native| native.tls = true);
    let trust = believing(Trust::Pinned(shop.certificate()));
    let client = Client::connect_with(&format!("onrush+tls://{}", shop.native()), &trust).await.unwrap();
    buy(&client, "tea").await;
}

/// Reads are given up, and taken back from the system.
#[tokio::test]
async fn who_is_silent_or_halts_is_ended_and_the_others_are_served() {
    let shop = open(|native| {
        native.limits.hello = SOON;
        native.limits.progress = SOON;
    });
    let mut silent = Peer::silent(shop.native());
    assert_eq!(silent.read().error().code, ErrorCode::Slow);
    let mut halting = Peer::open(shop.native(), "");
    let mut hello = Vec::new();
    Hello::new("", "a test").write(&mut hello);
    halting.write(&hello[..8]);
    assert_eq!(halting.read().error().code, ErrorCode::Slow);
    assert!(halting.is_ended());
    let mut other = Peer::open(shop.native(), "");
    sell(&mut other, "tea", 1, 1);
    ordered(&other.ask(0, &create("ada", &[("tea", 1)])));
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_answers_what_it_took() {
    let shop = open(|_| ());
    let (mut busy, mut idle) = (Peer::open(shop.native(), ""), Peer::open(shop.native(), ""));
    let silent = Peer::silent(shop.native());
    sell(&mut busy, "tea", 1, 10_000);
    let mut bytes = Vec::new();
    busy.put(&mut bytes, &vec![(0, create("ada", &[("tea", 1)])); 500], false);
    busy.write(&bytes);
    // The first answers say that all of the frame was taken.
    let mut heard = busy.read().outcomes().len();
    let clients = std::thread::spawn(move || (busy.rest(), idle.rest()));
    let dir = shop.stop().await;
    let (busy, idle) = clients.join().unwrap();
    let answers = busy.iter().filter(|said| said.kind() == Kind::Outcomes);
    heard += answers.map(|said| said.outcomes().len()).sum::<usize>();
    assert_eq!(heard, 500);
    assert_eq!(idle.iter().map(super::peer::Said::kind).collect::<Vec<_>>(), [Kind::Leaving]);
    drop((silent, dir));
}
