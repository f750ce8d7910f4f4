//! The client's examples buy something in a running shop: they are its first pages, so they run.

use std::path::Path;

use onrush_net::client::Shop as Client;
use onrush_net::tls::Trust;
use onrush_proto::Text;

use super::quic::believing;
use super::quic_peer::open;

#[allow(dead_code, reason = "its `main` is another process's")]
#[path = "../../../../net/examples/buy.rs"]
mod buy;
#[allow(dead_code, reason = "its `main` is another process's")]
#[path = "../../../../net/examples/order.rs"]
mod order;

/// Lines of code of the shortest example, blank ones and comments apart.
const LINES_MAX: usize = 20;

#[tokio::test]
async fn the_examples_of_the_client_buy_something_over_each_protocol() {
    let shop = open(|_| ());
    let native = format!("onrush://{}", shop.native());
    let session = shop.addresses.order.replace("http://", "onrush+grpc://");
    let quic = format!("onrush+quic://{}", shop.native_quic());
    let known = believing(Trust::Pinned(shop.certificate()));
    let clients = [
        Client::connect(&native).await.unwrap(),
        Client::connect(&session).await.unwrap(),
        Client::connect_with(&quic, &known).await.unwrap(),
        Client::over_grpc(shop.client.clone()),
    ];
    for client in &clients {
        buy::buy(client, Text::new("bob").unwrap(), Text::new("tea").unwrap()).await.unwrap();
    }
    // What needs neither a certificate nor ports of its own is bought by an address alone.
    for address in [&native, &session] {
        order::buy(address).await.unwrap();
    }
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.orders == 6, "{audit:?}");
}

#[test]
fn something_is_bought_in_under_twenty_lines() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../net/examples/order.rs");
    let text = std::fs::read_to_string(path).unwrap();
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//") && !line.starts_with("#!");
    let lines = text.lines().map(str::trim).filter(is_code).count();
    assert!(lines < LINES_MAX, "expected less than {LINES_MAX} lines, found {lines}");
}
