//! The client's examples buy something in a running shop: they are its first pages, so they run.

use std::path::Path;

use onrush_proto::Text;

use crate::shop::Shop;

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
    let shop = Shop::open();
    let native = format!("onrush://{}", shop.native());
    let session = shop.addresses.order.replace("http://", "onrush+grpc://");
    for address in [&native, &session] {
        buy::buy(address, Text::new("bob").unwrap(), Text::new("tea").unwrap()).await.unwrap();
        order::buy(address).await.unwrap();
    }
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.orders == 4, "{audit:?}");
}

#[test]
fn something_is_bought_in_under_twenty_lines() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../net/examples/order.rs");
    let text = std::fs::read_to_string(path).unwrap();
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//") && !line.starts_with("#!");
    let lines = text.lines().map(str::trim).filter(is_code).count();
    assert!(lines < LINES_MAX, "expected less than {LINES_MAX} lines, found {lines}");
}
