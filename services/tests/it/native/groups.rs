//! Who follows a log for a group of a cluster follows it where the shop is decided.

use onrush_engine::replication::NodeId;
use onrush_net::client::native::Subscription;
use onrush_net::client::{CallError, Key, Retry, Shop as Client, ShopOptions};
use onrush_proto::frame::{Kind, Records, Start, Subscribe};
use onrush_proto::{Command, Lsn, OrderId, Refusal, Row, ShardId, Text, Topic};

use super::peer::{Peer, Said, create, refusal};
use super::quic_peer::{Caller, within};
use crate::nodes::Nodes;
use crate::shop::Shop;
use crate::wait::seen;

/// The subscriptions of a connection: for the group, and for nobody.
const GROUP: u64 = 7;
const ALONE: u64 = 8;

fn books() -> Text<47> {
    Text::new("books").unwrap()
}

fn wanted(group: Text<47>, from: Start) -> Subscribe {
    Subscribe { shard: ShardId(0), topic: Some(Topic::OrderCreated), group, from }
}

/// One for the group, one for nobody.
fn both() -> Vec<u8> {
    let mut bytes = Vec::new();
    wanted(books(), Start::Group).write(&mut bytes, GROUP, 1 << 20);
    wanted(Text::EMPTY, Start::At(Lsn(1))).write(&mut bytes, ALONE, 1 << 20);
    bytes
}

/// What a connection heard.
#[derive(Default)]
struct Heard {
    /// Records that came alone.
    alone: usize,
    /// What the one for the group ended with.
    end: Option<Refusal>,
}

impl Heard {
    fn hear(&mut self, said: &Said) {
        if said.kind() == Kind::Records {
            let records = Records::of(&said.frame()).unwrap();
            if records.subscription == ALONE {
                self.alone += records.count();
            }
            return;
        }
        let entry = said.outcomes().remove(0);
        assert_eq!(entry.tag, GROUP, "the other one goes on");
        self.end = Some(refusal(&entry.answer));
    }

    /// So many records, and the end of the one for the group.
    fn has(&self, records: usize) -> bool {
        self.alone >= records && self.end.is_some()
    }
}

fn leader_of(end: Option<Refusal>) -> u64 {
    match end {
        Some(Refusal::NotLeader { leader }) => leader,
        other => panic!("expected a refusal by who leads, found {other:?}"),
    }
}

async fn ordered(shop: &Shop) -> OrderId {
    shop.order("", "tea", 1).await.unwrap().order_id.parse().unwrap()
}

#[tokio::test]
async fn a_subscription_for_a_group_ends_with_the_office_and_one_for_nobody_goes_on() {
    let nodes = Nodes::founded();
    let leader = nodes.leader().await;
    let follower = nodes.shops.keys().copied().find(|node| *node != leader).unwrap();
    let (leading, following) = (&nodes.shops[&leader], &nodes.shops[&follower]);
    leading.stock("tea", 450, 100).await;
    ordered(leading).await;
    let knows = || following.engine().leader(ShardId(0)) == Some(NodeId(leader));
    seen("a follower that knows who leads", knows).await;
    // At a follower it is not begun.
    let mut peer = Peer::open(following.native(), "");
    peer.write(&both());
    let mut heard = Heard::default();
    while !heard.has(1) {
        heard.hear(&peer.read());
    }
    assert_eq!(leader_of(heard.end), leader);

    let mut tcp = Peer::open(leading.native(), "");
    tcp.write(&both());
    let (_quic, mut stream) = Caller::open(leading, "").await;
    stream.write(&both()).await;
    let (mut of_tcp, mut of_quic) = (Heard::default(), Heard::default());
    while of_tcp.alone == 0 {
        of_tcp.hear(&tcp.read());
    }
    while of_quic.alone == 0 {
        of_quic.hear(&stream.read().await);
    }
    assert_eq!((&of_tcp.end, &of_quic.end), (&None, &None));
    nodes.hand_over(follower).await;
    ordered(following).await;
    while !of_tcp.has(2) {
        of_tcp.hear(&tcp.read());
    }
    while !of_quic.has(2) {
        of_quic.hear(&stream.read().await);
    }
    for end in [of_tcp.end, of_quic.end] {
        // For a moment nobody may have been known to lead.
        assert!([0, follower].contains(&leader_of(end)));
    }
}

async fn next(subscription: &mut Subscription) -> (Lsn, OrderId) {
    let record = within(subscription.next()).await.unwrap().unwrap();
    let order = record.rows.iter().find_map(|row| match row {
        Row::Order(order) => Some(order.id),
        _ => None,
    });
    (record.lsn, order.unwrap())
}

/// The shipped client knows one address, and finds the node that decides, then the one that decides next.
#[tokio::test]
async fn the_shipped_client_follows_for_a_group_over_changes_of_office() {
    let nodes = Nodes::founded();
    let before = nodes.leader().await;
    let follower = nodes.shops.keys().copied().find(|node| *node != before).unwrap();
    let address = nodes.shops[&follower].native();
    nodes.shops[&before].stock("tea", 450, 100).await;
    let client = Client::connect(&format!("onrush://{address}")).await.unwrap();
    let first = ordered(&nodes.shops[&before]).await;
    let mut subscription = client.subscribe(wanted(books(), Start::Group)).await.unwrap();
    let (lsn, order) = next(&mut subscription).await;
    assert_eq!(order, first);
    client.commit_offset(ShardId(0), books(), Topic::OrderCreated, lsn).await.unwrap();
    let second = ordered(&nodes.shops[&before]).await;
    let (_, order) = next(&mut subscription).await;
    assert_eq!(order, second);

    let after = nodes.shops.keys().copied().find(|node| *node != before).unwrap();
    nodes.hand_over(after).await;
    let Command::CreateOrder(create) = create("ada", &[("tea", 1)]) else { panic!("an order") };
    let third = client.create_order(Key::fresh(), create).await.unwrap().order;
    let (last, order) = next(&mut subscription).await;
    assert_eq!(order, third, "what came does not come again");
    // Whoever comes next goes on behind what was committed, wherever that was.
    let mut again = client.subscribe(wanted(books(), Start::Group)).await.unwrap();
    assert_eq!([next(&mut again).await.1, next(&mut again).await.1], [second, third]);
    client.commit_offset(ShardId(0), books(), Topic::OrderCreated, last).await.unwrap();

    // Who tries once is told where it belongs.
    let once = ShopOptions { retry: Retry::NEVER, ..ShopOptions::default() };
    let address = nodes.shops[&before].native();
    let once = Client::connect_with(&format!("onrush://{address}"), &once).await.unwrap();
    match once.subscribe(wanted(books(), Start::Group)).await {
        Err(CallError::Refused(refused)) => assert_eq!(refused.reason, "NOT_LEADER"),
        other => panic!("expected a refusal, found {other:?}"),
    }
}
