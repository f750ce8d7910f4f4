//! A node of a cluster tells where the others are.

use onrush_net::client::{Key, Retry, Shop as Client, ShopOptions};
use onrush_proto::frame::{Cluster, Node, Welcome};
use onrush_services::nodes::Advertised;

use super::peer::{Peer, create, product, stock};
use super::quic_peer::{Caller, open};

fn nodes(told: &[(u64, &str)]) -> Vec<Node> {
    told.iter().map(|(number, address)| Node { number: *number, address: (*address).into() }).collect()
}

#[tokio::test]
async fn a_welcome_tells_of_the_nodes_by_the_door_that_was_come_by() {
    let shop = open(|_| ());
    let alone = Peer::welcomed(shop.native(), "").1;
    assert_eq!(alone.cluster(), &Cluster::default());
    let told = |text: &str| text.parse::<Advertised>().unwrap();
    let all = [(1, "native=a:1,native-quic=a:2,order=a:3"), (2, "native=b:1"), (3, "native-quic=c:2")];
    shop.nodes().replace(2, all.map(|(node, text)| (node, told(text)))).unwrap();
    let over_tcp = Peer::welcomed(shop.native(), "").1;
    assert_eq!(over_tcp.cluster(), &Cluster::new(2, nodes(&[(1, "a:1"), (2, "b:1")])).unwrap());
    let caller = Caller::silent(&shop).await;
    let mut stream = caller.stream().await;
    stream.hello("").await;
    let over_quic = Welcome::read(&stream.read().await.frame()).unwrap();
    assert_eq!(over_quic.cluster(), &Cluster::new(2, nodes(&[(1, "a:2"), (3, "c:2")])).unwrap());
}

/// The client knows a node that is gone and one that is there; what it learns there does not lead it astray.
#[tokio::test]
async fn something_is_bought_at_the_node_that_is_there() {
    let shop = open(|_| ());
    let own = shop.native().to_string();
    let told = |address: &str| format!("native={address}").parse::<Advertised>().unwrap();
    shop.nodes().replace(2, [(1, told("127.0.0.1:1")), (2, told(&own))]).unwrap();
    let options = ShopOptions { retry: Retry::default(), ..ShopOptions::default() };
    let client = Client::connect_with(&format!("onrush://127.0.0.1:1,{own}"), &options).await.unwrap();
    let (onrush_proto::Command::PutProduct(put), onrush_proto::Command::UpdateStock(units)) =
        (product("tea", 450), stock("tea", 2))
    else {
        panic!("a product and its units")
    };
    client.put_product(Key::fresh(), *put).await.unwrap();
    client.update_stock(Key::fresh(), units).await.unwrap();
    let onrush_proto::Command::CreateOrder(wanted) = create("ada", &[("tea", 2)]) else { panic!("an order") };
    assert_eq!(client.create_order(Key::fresh(), wanted).await.unwrap().total.minor, 900);
}
