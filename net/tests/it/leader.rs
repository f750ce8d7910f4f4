//! Clients that follow who leads: over every protocol, under the same key, within their tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onrush_net::client::native::{Native, NativeOptions};
use onrush_net::client::{CallError, Key, Retry, Shop, ShopOptions};
use onrush_proto::frame::{Start, Subscribe};
use onrush_proto::{
    Command, CreateOrder, OrderId, OrderLine, ShardId, Sku, SlotMap, StockChange, Text, Topic, UpdateStock,
};

use crate::cluster::{Ask, Does, Nodes};

/// As long as a test may take, so that nothing depends on how fast the machine is.
const PATIENT: Retry = Retry {
    retries: 3,
    pause: Duration::from_millis(1),
    pause_max: Duration::from_millis(2),
    timeout: Duration::from_secs(30),
};

fn create(sku: &str) -> CreateOrder {
    let lines = [OrderLine::new(sku.parse().unwrap(), 1)].into_iter().collect();
    CreateOrder { customer: "ada".parse().unwrap(), lines, hold_us: 0 }
}

const SCHEMES: [&str; 3] = ["onrush://", "http://", "onrush+grpc://"];

/// A shop by one protocol that knows these of so many nodes.
async fn shop(
    scheme: &str,
    (count, known): (usize, &[u64]),
    tells: bool,
    script: impl Fn(Ask) -> Does + Send + Sync + 'static,
) -> (Arc<Nodes>, Shop) {
    let nodes = match scheme {
        "onrush://" => Nodes::native((count, 1), tells, script).await,
        _ => Nodes::grpc(count, tells, script).await,
    };
    let options = ShopOptions { retry: PATIENT, ..ShopOptions::default() };
    let shop = Shop::connect_with(&format!("{scheme}{}", nodes.at(known)), &options).await.unwrap();
    (nodes, shop)
}

/// The first node says that the second leads.
fn second_leads(ask: Ask) -> Does {
    if ask.node == 2 { Does::Lead } else { Does::Name(2) }
}

#[tokio::test]
async fn a_call_is_asked_again_at_the_leader_that_is_named_and_the_next_one_goes_there() {
    for scheme in SCHEMES {
        for known in [&[1, 2][..], &[1]] {
            let (nodes, shop) = shop(scheme, (3, known), true, second_leads).await;
            let placed = shop.create_order(Key(7), create("tea")).await.unwrap();
            assert_eq!(placed.order, OrderId(7), "{scheme}");
            assert_eq!((nodes.asked(), nodes.keys(), nodes.effects(7)), (vec![1, 2], vec![7], 1), "{scheme}");
            shop.create_order(Key(8), create("tea")).await.unwrap();
            assert_eq!(nodes.asked(), [1, 2, 2], "{scheme}");
        }
    }
}

#[tokio::test]
async fn while_nobody_is_known_to_lead_the_others_are_asked_in_turn() {
    for scheme in SCHEMES {
        let script = |ask: Ask| if ask.number < 4 { Does::Name(0) } else { Does::Lead };
        let (nodes, shop) = shop(scheme, (3, &[1, 2, 3]), false, script).await;
        shop.create_order(Key(7), create("tea")).await.unwrap();
        assert_eq!((nodes.asked(), nodes.effects(7)), (vec![1, 2, 3, 1, 2], 1), "{scheme}");
    }
}

/// A leader is named that nobody says the address of: it is among the others.
#[tokio::test]
async fn a_leader_without_an_address_is_found_by_going_round() {
    for scheme in SCHEMES {
        let script = |ask: Ask| if ask.node == 3 { Does::Lead } else { Does::Name(3) };
        let (nodes, shop) = shop(scheme, (3, &[1, 2, 3]), false, script).await;
        shop.create_order(Key(7), create("tea")).await.unwrap();
        assert_eq!(nodes.asked(), [1, 2, 3], "{scheme}");
    }
}

/// Nothing was begun, and that is what is said in the end: no caller has to doubt.
#[tokio::test]
async fn nodes_that_name_each_other_are_asked_so_often_and_no_more() {
    for scheme in SCHEMES {
        let (nodes, shop) = shop(scheme, (2, &[1, 2]), true, |ask| Does::Name(3 - ask.node)).await;
        let error = shop.create_order(Key(7), create("tea")).await.unwrap_err();
        let CallError::Refused(refused) = error else { panic!("{scheme}: {error}") };
        assert_eq!(refused.reason, "NOT_LEADER", "{scheme}");
        let asked = nodes.asked();
        assert_eq!(asked.len(), 1 + 3 * 2, "{scheme}: the tries at each of two addresses");
        assert!(asked.chunks(2).all(|pair| pair[0] == 1 && pair.get(1).is_none_or(|second| *second == 2)));
        assert_eq!((nodes.keys(), nodes.effects(7)), (vec![7], 0), "{scheme}");
    }
}

/// One that names itself, or is not a cluster at all but says so: it is asked again where it is.
#[tokio::test]
async fn a_single_address_is_asked_again() {
    for scheme in SCHEMES {
        let script = |ask: Ask| if ask.number < 3 { Does::Name(1) } else { Does::Lead };
        let (nodes, shop) = shop(scheme, (1, &[1]), true, script).await;
        shop.create_order(Key(7), create("tea")).await.unwrap();
        assert_eq!(nodes.asked(), [1, 1, 1, 1], "{scheme}");
    }
}

/// The leader does it and is gone before it says so; the others name it until they have voted. What the new one has in
/// its log is told again.
#[tokio::test]
async fn a_leader_that_dies_is_no_error_and_no_second_effect() {
    for scheme in SCHEMES {
        for known in [&[1, 2, 3][..], &[2, 3, 1]] {
            let script = |ask: Ask| match ask.node {
                1 => Does::LeadAndDie,
                3 if ask.number >= 4 => Does::Lead,
                _ if ask.number >= 4 => Does::Name(3),
                _ => Does::Name(1),
            };
            let (nodes, shop) = shop(scheme, (3, known), true, script).await;
            let placed = shop.create_order(Key(7), create("tea")).await.unwrap();
            assert_eq!(placed.order, OrderId(7), "{scheme}");
            assert_eq!((nodes.keys(), nodes.effects(7)), (vec![7], 1), "{scheme} {:?}", nodes.asked());
            assert_eq!(nodes.asked().iter().filter(|node| **node == 1).count(), 1, "{scheme}");
            assert_eq!(nodes.asked().last(), Some(&3), "{scheme}");
        }
    }
}

/// What was under way when its leader died may have been done: refusals behind it do not take that back.
#[tokio::test]
async fn what_is_unknown_stays_unknown_though_nobody_leads_then() {
    for scheme in SCHEMES {
        let script = |ask: Ask| if ask.node == 1 { Does::LeadAndDie } else { Does::Name(0) };
        let (nodes, shop) = shop(scheme, (2, &[1, 2]), true, script).await;
        let error = shop.create_order(Key(7), create("tea")).await.unwrap_err();
        assert!(matches!(error, CallError::Unknown { .. }), "{scheme}: {error}");
        assert_eq!(nodes.effects(7), 1, "{scheme}");
    }
}

/// A client that knows one address finds the others when that one is gone.
#[tokio::test]
async fn one_address_is_enough_to_find_the_rest() {
    let leader = Arc::new(AtomicU64::new(1));
    let told = Arc::clone(&leader);
    let script = move |ask: Ask| match told.load(Ordering::SeqCst) {
        leader if leader == ask.node => Does::Lead,
        leader => Does::Name(leader),
    };
    let (nodes, shop) = shop("onrush://", (3, &[1]), true, script).await;
    shop.create_order(Key(7), create("tea")).await.unwrap();
    nodes.die(1);
    leader.store(3, Ordering::SeqCst);
    shop.create_order(Key(8), create("tea")).await.unwrap();
    assert_eq!((nodes.asked().last(), nodes.effects(8)), (Some(&3), 1));
    // It does not have to be there when the client comes, if others are known.
    let options = ShopOptions { retry: PATIENT, ..ShopOptions::default() };
    let late = Shop::connect_with(&format!("onrush://{}", nodes.at(&[1, 2])), &options).await.unwrap();
    late.create_order(Key(9), create("tea")).await.unwrap();
    assert_eq!((nodes.asked().last(), nodes.effects(9)), (Some(&3), 1));
}

/// It was added since the connection was made, and nobody else is there any more.
#[tokio::test]
async fn a_leader_that_came_after_the_welcome_is_found_by_a_new_one() {
    let leader = Arc::new(AtomicU64::new(1));
    let told = Arc::clone(&leader);
    let script = move |ask: Ask| match told.load(Ordering::SeqCst) {
        leader if leader == ask.node => Does::Lead,
        leader => Does::Name(leader),
    };
    let (nodes, shop) = shop("onrush://", (2, &[1]), false, script).await;
    shop.create_order(Key(7), create("tea")).await.unwrap();
    nodes.tell();
    leader.store(2, Ordering::SeqCst);
    let placed = shop.create_order(Key(8), create("tea")).await.unwrap();
    assert_eq!((placed.order, nodes.effects(8)), (OrderId(8), 1));
    assert_eq!(nodes.asked(), [1, 1, 1, 2], "asked, welcomed anew, and told where");
}

#[tokio::test]
async fn a_read_that_is_refused_moves_too() {
    let (nodes, shop) = shop("onrush://", (2, &[1]), true, second_leads).await;
    // The script answers with an order's receipt, which is no order: what counts is who was asked.
    let answered = shop.order(OrderId(1)).await;
    assert!(matches!(answered, Err(CallError::Unknown { .. })), "{answered:?}");
    assert_eq!((nodes.asked(), nodes.keys()), (vec![1, 2], vec![0]));
}

fn sku_of(shard: u16, shards: SlotMap) -> Sku {
    let skus = (0..).map(|number| format!("sku-{number}").parse::<Sku>().unwrap());
    let of = |sku: &Sku| {
        let change = StockChange::Add(1);
        shards.shard(Command::UpdateStock(UpdateStock { sku: *sku, change, reason: Text::EMPTY }).slot()).0
    };
    skus.into_iter().find(|sku| of(sku) == shard).unwrap()
}

/// Shards are led by different nodes: each call goes to its own leader once that is known.
#[tokio::test]
async fn each_shard_has_its_own_leader() {
    for per_shard in [false, true] {
        let script = |ask: Ask| match u64::from(ask.shard) + 1 {
            leader if leader == ask.node => Does::Lead,
            leader => Does::Name(leader),
        };
        let nodes = Nodes::native((3, 3), true, script).await;
        let options = NativeOptions { retry: PATIENT, per_shard, ..NativeOptions::default() };
        let client = Native::connect(&nodes.at(&[1]), &options).await.unwrap();
        let shards = SlotMap::new(3).unwrap();
        let ask = async |shard: u16, key| {
            let sku = sku_of(shard, shards);
            let create = Command::CreateOrder(create(sku.as_str()));
            client.call(create, key, false).await.unwrap();
        };
        ask(0, 1).await;
        ask(1, 2).await;
        ask(2, 3).await;
        let found = nodes.take_asked();
        assert_eq!(found.iter().filter(|(node, shard)| *node == u64::from(*shard) + 1).count(), 3);
        assert!(found.len() <= 6, "{found:?}");
        for round in 0..3 {
            for shard in 0..3 {
                ask(shard, u128::from(10 + round * 3 + shard)).await;
            }
        }
        let found = nodes.take_asked();
        assert!(found.iter().all(|(node, shard)| *node == u64::from(*shard) + 1), "{per_shard}: {found:?}");
        assert_eq!(found.len(), 9);
    }
}

/// Any node tells what is committed, so a subscription stays where it is, and goes on elsewhere behind what it has.
#[tokio::test]
async fn a_subscription_goes_on_at_another_node() {
    let (nodes, shop) = shop("onrush://", (3, &[1]), true, second_leads).await;
    let wanted = Subscribe {
        shard: ShardId(0),
        topic: Some(Topic::OrderCreated),
        group: Text::EMPTY,
        from: Start::At(onrush_proto::Lsn(1)),
    };
    let mut subscription = shop.subscribe(wanted).await.unwrap();
    assert_eq!(nodes.followed(), [(1, 1)]);
    nodes.die(1);
    let on = async {
        while nodes.followed().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = on => {}
        record = subscription.next() => panic!("{record:?}"),
    }
    let (node, from) = nodes.followed()[1];
    assert!(node != 1 && from == 12, "node {node} from {from}");
}
