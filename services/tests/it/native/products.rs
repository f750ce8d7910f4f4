//! Products that are looked up.

use onrush_net::client::{Described, Key, Retry, Shop as Client, ShopOptions};
use onrush_net::tls::Trust;
use onrush_proto::frame::{DETAILS_MAX, Kind, NoProduct, ProductEntry, Products, begin, put_sku};
use onrush_proto::{Command, Currency, Money, PutProduct, Refusal, Sku, Text};

use super::peer::{Peer, Said, product, receipt, refusal, sell, stock};
use super::quic_peer::{Caller, open};
use crate::shop::Shop;

fn ask(skus: &[&[u8; 40]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Details);
    bytes.extend_from_slice(&77u64.to_le_bytes());
    skus.iter().for_each(|sku| bytes.extend_from_slice(*sku));
    frame.seal(&mut bytes, skus.len() as u16, 0);
    bytes
}

/// A SKU as it stands in a frame.
fn sku(text: &str) -> [u8; 40] {
    let mut bytes = Vec::new();
    put_sku(&mut bytes, &Text::new(text).unwrap());
    bytes.try_into().unwrap()
}

fn told(said: &Said) -> Vec<Result<ProductEntry<'_>, NoProduct>> {
    assert_eq!((said.kind(), said.frame().argument), (Kind::Products, 1));
    let products = Products::of(&said.frame()).unwrap();
    assert_eq!(products.tag, 77);
    products.collect()
}

fn tea() -> PutProduct {
    let Command::PutProduct(put) = product("tea", 450) else { panic!("a product") };
    PutProduct {
        description: "Leaves, dried".into(),
        category: Text::new("hot drinks").unwrap(),
        brand: Text::new("ours").unwrap(),
        limit_per_customer: 2,
        ..*put
    }
}

#[tokio::test]
async fn each_sku_is_told_and_an_unknown_one_does_not_fail_the_others() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    receipt(&peer.ask(0, &Command::PutProduct(Box::new(tea()))));
    receipt(&peer.ask(0, &stock("tea", 10)));
    let withdrawn = PutProduct { active: false, ..*unbox(product("cup", 900)) };
    receipt(&peer.ask(0, &Command::PutProduct(Box::new(withdrawn))));
    let (tea, cup, none) = (sku("tea"), sku("cup"), sku("none"));
    peer.write(&ask(&[&tea, &none, &cup, &[0xff; 40], &[0; 40], &tea]));
    let said = peer.read();
    let found = told(&said);
    let first = found[0].unwrap();
    assert_eq!((first.name, first.description), ("The tea", "Leaves, dried"));
    assert_eq!((first.category.as_str(), first.brand.as_str()), ("hot drinks", "ours"));
    assert_eq!((first.stock.available, first.stock.price), (10, Money::new(450, Currency::EUR)));
    assert_eq!((first.stock.limit_per_customer, first.stock.active, first.version), (2, true, 1));
    assert!(first.changed_us > 0 && first.stock.version > 0);
    let second = found[2].unwrap();
    assert_eq!((second.name, second.description, second.stock.active), ("The cup", "", false));
    let reasons: Vec<_> = found.iter().map(|told| told.err().map(|none| none.reason().unwrap().0)).collect();
    let (unknown, invalid) = (Some("UNKNOWN_PRODUCT"), Some("INVALID_FIELD"));
    assert_eq!(reasons, [None, unknown, None, invalid, invalid, None]);
    assert_eq!(found[5], found[0]);
}

fn unbox(command: Command) -> Box<PutProduct> {
    let Command::PutProduct(put) = command else { panic!("a product") };
    put
}

#[tokio::test]
async fn none_or_too_many_are_refused_as_a_whole() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 450, 10);
    let tea = sku("tea");
    for count in [0, DETAILS_MAX + 1] {
        peer.write(&ask(&vec![&tea; count]));
        let said = peer.read();
        assert_eq!(said.frame().argument, 1, "its credit comes back");
        let entry = said.outcomes().remove(0);
        let expected = Refusal::Invalid { field: "skus", expected: "1 to 16 of them" };
        assert_eq!((entry.tag, refusal(&entry.answer)), (77, expected));
    }
    peer.write(&ask(&[&tea; DETAILS_MAX]));
    assert_eq!(told(&peer.read()).len(), DETAILS_MAX);
}

#[tokio::test]
async fn products_with_the_longest_texts_come_whole() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    let names: Vec<String> = (0..DETAILS_MAX).map(|number| format!("sku-{number}")).collect();
    for name in &names {
        let put = PutProduct { description: "x".repeat(64 << 10), ..*unbox(product(name, 1)) };
        receipt(&peer.ask(0, &Command::PutProduct(Box::new(put))));
    }
    let skus: Vec<[u8; 40]> = names.iter().map(|name| sku(name)).collect();
    let skus: Vec<&[u8; 40]> = skus.iter().collect();
    // More than may wait to be written: the next ones wait, and none is lost.
    (0..8).for_each(|_| peer.write(&ask(&skus)));
    for _ in 0..8 {
        let said = peer.read();
        let found = told(&said);
        assert!(found.iter().all(|told| told.unwrap().description.len() == 64 << 10));
    }
}

#[tokio::test]
async fn products_are_told_over_quic_on_each_stream() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    receipt(&first.ask(0, &Command::PutProduct(Box::new(tea()))).await);
    let (tea, none) = (sku("tea"), sku("none"));
    first.write(&ask(&[&tea, &none])).await;
    let said = first.read().await;
    assert_eq!(told(&said)[0].unwrap().name, "The tea");
    let mut further = caller.stream().await;
    further.write(&ask(&[&none, &tea])).await;
    further.send.finish().unwrap();
    let rest = further.rest().await;
    assert_eq!(rest.len(), 1);
    assert_eq!(told(&rest[0])[1].unwrap().name, "The tea");
}

/// Over each protocol the client tells the same.
#[tokio::test]
async fn the_client_tells_the_same_over_every_protocol() {
    let shop = open(|_| ());
    let order = shop.addresses.order.clone();
    let session = order.replace("http://", "onrush+grpc://");
    let options = ShopOptions {
        trust: Trust::Pinned(shop.certificate()),
        retry: Retry::NEVER,
        ..ShopOptions::default()
    };
    let mut shops = vec![Client::over_grpc(shop.client.clone())];
    for address in
        [format!("onrush://{}", shop.native()), format!("onrush+quic://{}", shop.native_quic()), session]
    {
        shops.push(Client::connect_with(&address, &options).await.unwrap());
    }
    let names: Vec<String> = (0..40).map(|number| format!("sku-{number}")).collect();
    for name in names.iter().step_by(2) {
        let put = PutProduct { sku: Text::new(name).unwrap(), ..tea() };
        shops[1].put_product(Key::fresh(), put).await.unwrap();
    }
    let skus: Vec<Sku> = names.iter().map(|name| Text::new(name).unwrap()).collect();
    let expected: Vec<Option<Described>> = shops[0].products(&skus).await.unwrap();
    let known = |told: &Option<Described>| told.as_ref().map(|told| told.sku.to_string());
    let even = |number: usize| number.is_multiple_of(2).then(|| names[number].clone());
    assert_eq!(expected.iter().map(known).collect::<Vec<_>>(), (0..40).map(even).collect::<Vec<_>>());
    for shop in &shops[1..] {
        assert_eq!(shop.products(&skus).await.unwrap(), expected);
    }
    assert_eq!(shops[1].products(&[]).await.unwrap(), []);
}
