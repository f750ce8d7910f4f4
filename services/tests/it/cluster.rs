//! Three processes' worth of servers as nodes of a cluster: who leads decides, the others say where; what acts on the
//! shop's events works where it is decided.

use std::time::Duration;

use onrush_grpc::admin::v1::{
    ChangeMembersRequest, GetClusterRequest, GetClusterResponse, HandOverRequest, PlaceNodeRequest,
};
use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_grpc::product::v1::GetProductDetailsRequest;
use onrush_grpc::product::v1::product_service_client::ProductServiceClient;
use onrush_net::client::grpc::Client;
use onrush_net::client::{CallError, Key, Retry, Shop as Buyer, ShopOptions};
use onrush_net::tls::Trust;
use onrush_proto::{CreateOrder, OrderLine, ShardId, Sku};
use onrush_services::config::{CertificateFiles, Service};
use tonic_types::StatusExt as _;

use crate::nodes::{Nodes, admin, formatted, free_address};
use crate::shop::{Shop, order, payment};
use crate::wait::{found, seen, until};

const SHARD: ShardId = ShardId(0);

async fn asked(shop: &Shop) -> GetClusterResponse {
    admin(shop).await.get_cluster(GetClusterRequest {}).await.unwrap().into_inner()
}

/// Waits until a node has heard of all others where clients find them.
async fn knows_all(shop: &Shop) {
    until("all nodes known", async || {
        let nodes = asked(shop).await.nodes;
        let known = nodes.iter().all(|node| node.connected && !node.advertised.is_empty());
        if known { Ok(()) } else { Err(nodes) }
    })
    .await;
}

fn reason(status: &tonic::Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test]
async fn who_leads_decides_and_the_others_say_where() {
    let nodes = Nodes::founded();
    let leader = nodes.leader().await;
    let leading = &nodes.shops[&leader];
    leading.stock("tea", 500, 10).await;
    let address = leading.address(Service::Order).replace("http://", "");
    for (node, shop) in nodes.shops.iter().filter(|(node, _)| **node != leader) {
        knows_all(shop).await;
        let mut client = OrderServiceClient::connect(shop.addresses.order.clone()).await.unwrap();
        let refused = client.create_order(order("key", "ada", &[("tea", 1)])).await.unwrap_err();
        assert_eq!(reason(&refused), "NOT_LEADER", "node {node}");
        let facts = refused.get_error_details().error_info().unwrap().metadata.clone();
        let facts = ["leader", "leader_address"].map(|fact| facts.get(fact).cloned());
        assert_eq!(facts, [Some(leader.to_string()), Some(address.clone())], "node {node}");
        seen("the stock that the leader has published", || {
            shop.engine().stock(&"tea".parse().unwrap()).is_some_and(|stock| stock.available == 10)
        })
        .await;
    }
    let cluster = asked(leading).await;
    let group = &cluster.groups[0];
    assert_eq!((cluster.node, group.leader, group.in_office), (leader, leader, true));
    assert_eq!((group.voters.as_slice(), group.followers.len()), ([1, 2, 3].as_slice(), 2));
}

#[tokio::test]
async fn payments_are_settled_by_whoever_leads() {
    let mut nodes = Nodes::founded();
    let first = nodes.leader().await;
    nodes.shops[&first].stock("tea", 500, 10).await;
    nodes.shops[&first].paid("tea").await;
    let order = nodes.shops[&first].order("two", "tea", 1).await.unwrap();
    let dir = nodes.shops.remove(&first).unwrap().stop().await;

    let second = nodes.leader().await;
    assert_ne!(first, second);
    let shop = &nodes.shops[&second];
    let again = shop.order("two", "tea", 1).await.unwrap();
    assert_eq!(again.order_id, order.order_id, "the same key, the same order");
    let paid = shop.client.process_payment(payment("", &order.order_id, "pm_card")).await.unwrap();
    assert_eq!(paid.order_status().as_str_name(), "ORDER_STATUS_PAID", "a gateway's worker is at it here");
    assert_eq!(shop.gateway_says(&order.order_id), ["captured"]);
    nodes.start(first, dir);
    seen("the first node to have everything", || {
        let ends: Vec<_> = nodes.shops.values().map(|shop| shop.engine().end(SHARD)).collect();
        ends.iter().all(|end| *end == ends[0])
    })
    .await;
    // Whoever had the office and has it no more reads no events, and is ready all the same; and so it is when it is back.
    for to in [first, second] {
        nodes.hand_over(to).await;
        for (node, shop) in &nodes.shops {
            until("a port that is ready", async || {
                let answer = reqwest::get(format!("{}/ready", shop.address(Service::Payment))).await.unwrap();
                if answer.status().is_success() { Ok(()) } else { Err((*node, answer.text().await.unwrap())) }
            })
            .await;
        }
        let paid = nodes.shops[&to].order("", "tea", 1).await.unwrap().order_id;
        let paid = nodes.shops[&to].client.process_payment(payment("", &paid, "pm_card")).await.unwrap();
        assert_eq!(paid.order_status().as_str_name(), "ORDER_STATUS_PAID", "at node {to}");
    }
}

/// Who reads at any node says how stale the answer may be, and is told how stale it is.
#[tokio::test]
async fn a_read_is_no_staler_than_its_caller_accepts() {
    let nodes = Nodes::founded();
    let leader = nodes.leader().await;
    nodes.shops[&leader].stock("tea", 500, 10).await;
    let get = |most: &str| {
        let mut request = tonic::Request::new(GetProductDetailsRequest { sku: "tea".into() });
        request.metadata_mut().insert("onrush-max-staleness-ms", most.parse().unwrap());
        request
    };
    let of = async |node: u64| {
        ProductServiceClient::connect(nodes.shops[&node].address(Service::Product)).await.unwrap()
    };
    for node in nodes.shops.keys().copied() {
        let mut client = of(node).await;
        let told = found("an answer that is fresh enough", async || {
            let answer = client.get_product_details(get("2000")).await.ok()?;
            Some(answer.metadata().get("onrush-staleness-ms")?.to_str().unwrap().parse::<u64>().unwrap())
        })
        .await;
        assert!(told <= 2_000, "{told} ms");
        let plain = GetProductDetailsRequest { sku: "tea".into() };
        let plain = client.get_product_details(plain).await.unwrap();
        assert!(!plain.metadata().contains_key("onrush-staleness-ms"), "nobody asked");
        let wrong = client.get_product_details(get("-1")).await.unwrap_err();
        assert_eq!(reason(&wrong), "INVALID_FIELD");
    }
    let fresh = of(leader).await.get_product_details(get("0")).await.unwrap();
    assert_eq!(
        fresh.metadata().get("onrush-staleness-ms").unwrap(),
        "0",
        "where the shop is decided nothing is stale"
    );
    let follower = nodes.shops.keys().copied().find(|node| *node != leader).unwrap();
    let stale = of(follower).await.get_product_details(get("0")).await.unwrap_err();
    assert_eq!(reason(&stale), "NOT_LEADER", "no follower is that fresh");
    // The same over JSON.
    let url = format!(
        "{}/onrush.product.v1.ProductService/GetProductDetails",
        nodes.shops[&follower].address(Service::Product)
    );
    let asked = |most: &str| {
        let request = reqwest::Client::new().post(&url).header("content-type", "application/json");
        request.header("onrush-max-staleness-ms", most).body(r#"{"sku":"tea"}"#).send()
    };
    assert_eq!(asked("0").await.unwrap().status(), 503);
    let answer = asked("60000").await.unwrap();
    assert!(
        answer.status().is_success() && answer.headers().contains_key("onrush-staleness-ms"),
        "{answer:?}"
    );
}

/// The shipped client says what it accepts over each of its protocols, and goes to the node that leads where a follower is
/// staler.
#[tokio::test]
async fn a_client_is_told_nothing_staler_than_it_accepts() {
    let nodes = Nodes::founded();
    let leader = nodes.leader().await;
    nodes.shops[&leader].stock("tea", 500, 10).await;
    let (_, follower) = nodes.shops.iter().find(|(node, _)| **node != leader).unwrap();
    let sku: Sku = "tea".parse().unwrap();
    let knows = || follower.engine().stock(&sku).is_some() && follower.engine().staleness().is_some();
    seen("a follower that has the stock and knows how stale it is", knows).await;
    let order = follower.addresses.order.replace("http://", "onrush+grpc://");
    for address in [format!("onrush://{}", follower.native()), order] {
        let with = async |staleness_max: Option<Duration>, retry: Retry| {
            let options = ShopOptions { staleness_max, retry, ..ShopOptions::default() };
            Buyer::connect_with(&address, &options).await.unwrap()
        };
        for (accepted, fresh_enough) in [(None, true), (Some(60_000), true), (Some(0), false)] {
            // Who was refused goes to the leader the next time.
            let shop = async || with(accepted.map(Duration::from_millis), Retry::NEVER).await;
            let (validated, found) =
                (shop().await.validate(&[(sku, 1)]).await, shop().await.products(&[sku]).await);
            let refused = [validated.err(), found.err()].map(|error| error.map(|error| refusal(&error)));
            let expected = (!fresh_enough).then(|| "NOT_LEADER".to_owned());
            assert_eq!(refused, [expected.clone(), expected], "{address}: {accepted:?} ms");
        }
        let anywhere = with(Some(Duration::ZERO), Retry::default()).await;
        assert_eq!(anywhere.validate(&[(sku, 1)]).await.unwrap()[0].available, 10, "{address}");
    }
    let client = Client::new(&follower.addresses, 1, Retry::NEVER).unwrap();
    let asked = || GetProductDetailsRequest { sku: "tea".into() };
    client.get_product_details(asked()).await.unwrap();
    let strict = client.accepting(Some(Duration::ZERO)).get_product_details(asked()).await;
    assert_eq!(refusal(&strict.unwrap_err()), "NOT_LEADER");
}

fn refusal(error: &CallError) -> String {
    match error {
        CallError::Refused(refused) => refused.reason.clone(),
        error => panic!("expected a refusal, found {error}"),
    }
}

#[tokio::test]
async fn a_node_is_added_while_the_others_run_on() {
    let mut nodes = Nodes::founded();
    let leader = nodes.leader().await;
    let mut leading = admin(nodes.leading().await).await;
    nodes.shops[&leader].stock("tea", 500, 10).await;
    let address = free_address();
    // Its own setting is the only one that knows it.
    let founders = nodes.peers.clone();
    nodes.peers.insert(4, address.clone());
    nodes.start(4, formatted(4, 1));
    nodes.peers = founders;

    let placed = |node, address: &str| PlaceNodeRequest { node, address: address.into() };
    leading.place_node(placed(4, &address)).await.unwrap();
    for (node, shop) in &nodes.shops {
        until("node 4 among the others", async || {
            let known = asked(shop).await.nodes;
            let is_there = known.iter().any(|one| one.node == 4 && one.connected && one.address == address);
            if is_there { Ok(()) } else { Err((*node, known)) }
        })
        .await;
    }
    let change = async |voters: &[u64], learners: &[u64]| {
        until("a change of the group", async || {
            let asked = ChangeMembersRequest { shard: 0, voters: voters.into(), learners: learners.into() };
            // Declined until it has caught up.
            leading.clone().change_members(asked).await.map(drop).map_err(|status| status.to_string())
        })
        .await;
    };
    change(&[1, 2, 3], &[4]).await;
    change(&[1, 2, 3, 4], &[]).await;
    seen("the stock at the new node", || {
        nodes.shops[&4].engine().stock(&"tea".parse().unwrap()).is_some_and(|stock| stock.available == 10)
    })
    .await;

    until("a group without it", async || {
        let asked = ChangeMembersRequest { shard: 0, voters: vec![1, 2, 3], learners: vec![] };
        leading.clone().change_members(asked).await.map(drop).map_err(|status| status.to_string())
    })
    .await;
    until("it off the record", async || {
        leading.clone().place_node(placed(4, "")).await.map_err(|status| status.to_string())
    })
    .await;
    until("node 4 refused by name", async || {
        let refused = asked(&nodes.shops[&4]).await.nodes.into_iter().map(|node| node.refused);
        let refused: Vec<String> = refused.filter(|refused| !refused.is_empty()).collect();
        let named = refused.iter().any(|why| why.contains("refused there") && why.contains("node 4"));
        if named { Ok(()) } else { Err(refused) }
    })
    .await;
}

/// Over TLS and QUIC a client goes to whoever leads as well, where all nodes show what it believes.
#[tokio::test]
async fn who_leads_is_followed_over_tls_and_quic() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = CertificateFiles { certificate: certificate.clone(), key };
    let nodes = Nodes::founded_showing(1, Some(files));
    let leader = nodes.leader().await;
    let leading = &nodes.shops[&leader];
    leading.stock("tea", 500, 10).await;
    let (_, follower) = nodes.shops.iter().find(|(node, _)| **node != leader).unwrap();
    knows_all(follower).await;
    let sku: Sku = "tea".parse().unwrap();
    for (number, address) in (1..).zip([
        format!("onrush+tls://{}", follower.native()),
        format!("onrush+quic://{}", follower.native_quic()),
    ]) {
        let options = ShopOptions { trust: Trust::Pinned(certificate.clone()), ..ShopOptions::default() };
        let client = Buyer::connect_with(&address, &options).await.unwrap();
        let lines = [OrderLine::new(sku, 1)].into_iter().collect();
        let create = CreateOrder { customer: "ada".parse().unwrap(), lines, hold_us: 0 };
        let placed = client.create_order(Key(number), create.clone()).await.unwrap();
        let again = client.create_order(Key(number), create).await.unwrap();
        assert_eq!(placed.order, again.order, "{address}");
    }
    let available = || leading.engine().stock(&sku).map(|stock| stock.available);
    seen("each order once", || available() == Some(8)).await;
}

/// The settings of the others know a founder for good: taken off the record, it was spoken with again.
#[tokio::test]
async fn a_founder_that_was_removed_is_refused_when_it_comes_back() {
    let mut nodes = Nodes::founded();
    let leader = nodes.leader().await;
    let gone = leader % 3 + 1;
    let stay: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != gone).collect();
    let mut leading = admin(&nodes.shops[&leader]).await;
    let struck_off = || PlaceNodeRequest { node: gone, address: String::new() };
    let early = leading.place_node(struck_off()).await.unwrap_err();
    assert_eq!(reason(&early), "INVALID_FIELD", "{early}");
    assert!(early.message().contains("in the group of shard 0"), "{early}");

    until("a group without it", async || {
        let asked = ChangeMembersRequest { shard: 0, voters: stay.clone(), learners: vec![] };
        leading.clone().change_members(asked).await.map(drop).map_err(|status| status.to_string())
    })
    .await;
    until("it struck off", async || {
        leading.clone().place_node(struck_off()).await.map_err(|status| status.to_string())
    })
    .await;
    for node in &stay {
        until("nobody speaks with it", async || {
            let known: Vec<u64> = asked(&nodes.shops[node]).await.nodes.iter().map(|one| one.node).collect();
            if known == stay { Ok(()) } else { Err((*node, known)) }
        })
        .await;
    }
    let dir = nodes.shops.remove(&gone).unwrap().stop().await;
    nodes.start(gone, dir);
    until("it is refused by name", async || {
        let refused = asked(&nodes.shops[&gone]).await.nodes.into_iter().map(|node| node.refused);
        let refused: Vec<String> = refused.filter(|refused| !refused.is_empty()).collect();
        let named = |why: &String| why.contains("refused there") && why.contains(&format!("node {gone}"));
        if refused.len() == 2 && refused.iter().all(named) { Ok(()) } else { Err(refused) }
    })
    .await;
    nodes.shops[&leader].stock("tea", 500, 10).await;
}

#[tokio::test]
async fn a_place_that_nobody_can_call_is_refused_by_its_field() {
    let nodes = Nodes::founded();
    let leader = nodes.leader().await;
    let mut client = admin(&nodes.shops[&leader]).await;
    let mut refused = async |node: u64, address: &str| {
        let asked = PlaceNodeRequest { node, address: address.into() };
        let status = client.place_node(asked).await.unwrap_err();
        (reason(&status), status.message().to_owned())
    };
    for (node, address, field) in [(0, "a:1", "node: "), (4, "a", "address: "), (4, "a:0", "address: ")] {
        let (reason, text) = refused(node, address).await;
        assert_eq!(reason, "INVALID_FIELD", "{address}");
        assert!(text.starts_with(field) && text.contains("expected") && text.contains("found"), "{text}");
    }
    let other = nodes.shops.iter().find(|(node, _)| **node != leader).unwrap().1;
    let asked = PlaceNodeRequest { node: 4, address: "a:1".into() };
    assert_eq!(reason(&admin(other).await.place_node(asked).await.unwrap_err()), "NOT_LEADER");
}

#[tokio::test]
async fn what_a_group_does_not_do_is_refused_by_name() {
    let alone = Shop::open();
    let status = admin(&alone).await.get_cluster(GetClusterRequest {}).await.unwrap_err();
    assert_eq!(reason(&status), "NO_CLUSTER");

    let nodes = Nodes::founded();
    let leader = nodes.leader().await;
    let mut client = admin(nodes.leading().await).await;
    let mut refused = async |node: u64, shard| {
        reason(&client.hand_over(HandOverRequest { shard, node }).await.unwrap_err())
    };
    assert_eq!(refused(9, 0).await, "GROUP_DECLINED");
    assert_eq!(refused(leader, 0).await, "GROUP_DECLINED");
    assert_eq!(refused(1, 7).await, "INVALID_FIELD");
    let mut change = async |voters: &[u64], learners: &[u64]| {
        let asked = ChangeMembersRequest { shard: 0, voters: voters.into(), learners: learners.into() };
        reason(&client.change_members(asked).await.unwrap_err())
    };
    assert_eq!(change(&[], &[]).await, "INVALID_FIELD", "nobody decides");
    assert_eq!(change(&[1, 2, 3], &[3]).await, "INVALID_FIELD", "a learner has no vote");
    assert_eq!(change(&[1, 2, 3, 4], &[]).await, "GROUP_DECLINED", "it has nothing yet");
    let other = nodes.shops.iter().find(|(node, _)| **node != leader).unwrap().1;
    let status = admin(other).await.hand_over(HandOverRequest { shard: 0, node: 1 }).await.unwrap_err();
    assert_eq!(reason(&status), "NOT_LEADER");
}
