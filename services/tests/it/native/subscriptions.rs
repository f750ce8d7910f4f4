//! Logs that are followed.

use onrush_net::client::native::Subscription;
use onrush_net::client::{CallError, Key, Retry, Shop as Client, ShopOptions};
use onrush_net::tls::Trust;
use onrush_proto::frame::{
    ErrorCode, Grant, HEADER_BYTES, Kind, Record, Records, Start, Subscribe, Unsubscribe, begin,
};
use onrush_proto::{
    Command, CreateOrder, Lsn, OrderId, Receipt, RecordKind, Refusal, Row, ShardId, Text, Topic,
};
use onrush_services::access::{Access, Keyring, Role};
use onrush_services::config::Tokens;

use super::peer::{Peer, Said, create, ordered, receipt, refusal, rejected, sell};
use super::quic_peer::{Caller, open, within};
use crate::shop::Shop;

fn wanted(shard: usize, topic: Option<Topic>, from: Start) -> Subscribe {
    Subscribe { shard: ShardId(shard as u16), topic, group: Text::EMPTY, from }
}

fn bytes_of(wanted: Subscribe, number: u64, credit: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    wanted.write(&mut bytes, number, credit);
    bytes
}

/// The records of a frame, and the position that it reaches.
fn records(said: &Said) -> (Vec<Record>, Lsn) {
    assert_eq!((said.kind(), said.frame().argument), (Kind::Records, 0));
    let records = Records::of(&said.frame()).unwrap();
    let reached = records.reached;
    (records.collect::<Result<_, _>>().unwrap(), reached)
}

/// The refusal that a subscription is answered with.
fn refused(said: &Said, number: u64) -> Refusal {
    assert_eq!(said.frame().argument, 1, "its credit comes back");
    let entry = said.outcomes().remove(0);
    assert_eq!(entry.tag, number);
    refusal(&entry.answer)
}

fn field(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Invalid { field, .. } => field,
        other => panic!("expected a field, found {other:?}"),
    }
}

/// Orders a unit of `tea` so many times, in frames of 500.
fn buy(peer: &mut Peer, count: usize, orders: &mut Vec<OrderId>) {
    for _ in 0..count / 500 {
        let wanted: Vec<_> = (0..500).map(|_| (0, create("ada", &[("tea", 1)]))).collect();
        orders.extend(peer.ask_all(&wanted, false).iter().map(ordered));
    }
}

fn order_of(record: &Record) -> OrderId {
    assert_eq!(record.kind, RecordKind::OrderCreated);
    let order = record.rows.iter().find_map(|row| match row {
        Row::Order(order) => Some(order.id),
        _ => None,
    });
    order.unwrap()
}

async fn take(subscription: &mut Subscription, count: usize, found: &mut Vec<(Lsn, OrderId)>) {
    for _ in 0..count {
        let record = within(subscription.next()).await.unwrap().unwrap();
        found.push((record.lsn, order_of(&record)));
    }
}

/// Ten thousand orders with a restart in the middle, at the address that a client knows.
async fn each_record_comes_once(
    shop: Shop,
    client: Client,
    change: impl FnOnce(&mut onrush_services::config::Config),
) {
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 10_000);
    let shard = shop.shard_of("tea");
    let topic = Some(Topic::OrderCreated);
    let mut subscription = client.subscribe(wanted(shard, topic, Start::At(Lsn(1)))).await.unwrap();
    let (mut orders, mut found) = (Vec::new(), Vec::new());
    buy(&mut peer, 5_000, &mut orders);
    // Some are still on their way when the server goes.
    take(&mut subscription, 3_000, &mut found).await;
    drop(peer);
    let shop = Shop::reopen(shop.stop().await, change);
    let mut peer = Peer::open(shop.native(), "");
    buy(&mut peer, 5_000, &mut orders);
    take(&mut subscription, 7_000, &mut found).await;
    assert!(found.is_sorted_by(|one, next| one.0 < next.0), "in order, and none twice");
    let mut told: Vec<OrderId> = found.iter().map(|(_, order)| *order).collect();
    told.sort();
    orders.sort();
    assert_eq!(told, orders);
    assert!(subscription.position() >= found.last().unwrap().0);
    assert!(shop.client.audit(Default::default()).await.unwrap().ok);
}

#[tokio::test]
async fn each_record_of_ten_thousand_orders_comes_once_across_a_restart() {
    let shop = Shop::open();
    let address = shop.native();
    let client = Client::connect(&format!("onrush://{address}")).await.unwrap();
    each_record_comes_once(shop, client, |config| config.native.port = Some(address.port())).await;
}

#[tokio::test]
async fn each_record_of_ten_thousand_orders_comes_once_over_quic_too() {
    let shop = open(|_| ());
    let address = shop.native_quic();
    let options = ShopOptions { trust: Trust::Pinned(shop.certificate()), ..ShopOptions::default() };
    let client = Client::connect_with(&format!("onrush+quic://{address}"), &options).await.unwrap();
    each_record_comes_once(shop, client, |config| config.native.quic_port = Some(address.port())).await;
}

#[tokio::test]
async fn the_end_of_the_log_is_waited_for_and_rows_come_as_they_are_read() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 450, 10);
    let before = ordered(&peer.ask(0, &create("ada", &[("tea", 1)])));
    let client = Client::connect(&format!("onrush://{}", shop.native())).await.unwrap();
    assert_eq!(client.shards(), Some(4));
    let shard = shop.shard_of("tea");
    let mut all = client.subscribe(wanted(shard, None, Start::Now)).await.unwrap();
    let begun = all.position();
    let after = client
        .create_order(Key::fresh(), CreateOrder { ..unwrap_order(create("ada", &[("tea", 2)])) })
        .await
        .unwrap();
    let record = within(all.next()).await.unwrap().unwrap();
    assert_eq!(order_of(&record), after.order);
    assert_ne!(after.order, before, "what was there before does not come");
    assert!(record.lsn > begun && record.time_us > 0);
    let Some(Row::Order(told)) = record.rows.iter().find(|row| matches!(row, Row::Order(_))) else {
        panic!("an order")
    };
    assert_eq!(*told, client.order(after.order).await.unwrap());
    assert!(
        !record.rows.iter().any(|row| matches!(row, Row::Stock(_))),
        "what is in stock is not an order's to tell"
    );
}

fn unwrap_order(command: Command) -> CreateOrder {
    let Command::CreateOrder(create) = command else { panic!("an order") };
    create
}

#[tokio::test]
async fn no_more_comes_than_there_is_credit_for_but_the_rest_of_a_record() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 1_000);
    let shard = shop.shard_of("tea");
    let topic = Some(Topic::OrderCreated);
    let mut orders = Vec::new();
    buy(&mut peer, 500, &mut orders);
    peer.write(&bytes_of(wanted(shard, topic, Start::At(Lsn(1))), 7, 0));
    let (none, begun) = records(&peer.read());
    assert_eq!((none.len(), begun), (0, Lsn(0)), "where it begins");
    let (mut credit, mut found) = (0i64, Vec::new());
    while found.len() < orders.len() {
        // Without credit nothing comes: the pong is the next that is said.
        ping(&mut peer);
        let mut bytes = Vec::new();
        Grant { subscription: 7, bytes: 5_000 }.write(&mut bytes);
        peer.write(&bytes);
        credit += 5_000;
        while credit > 0 && found.len() < orders.len() {
            let said = peer.read();
            let one = said.0.len() - HEADER_BYTES - 24;
            let (came, reached) = records(&said);
            assert_eq!(came.last().unwrap().lsn, reached);
            let last = (one / came.len()) as i64;
            credit -= one as i64;
            assert!(credit > -last, "{} bytes of {} records too many", -credit, came.len());
            found.extend(came.iter().map(order_of));
        }
    }
    assert_eq!(found.len(), orders.len());
    let mut bytes = Vec::new();
    Unsubscribe { subscription: 7 }.write(&mut bytes);
    // One that is not there any more needs nothing.
    Unsubscribe { subscription: 8 }.write(&mut bytes);
    Grant { subscription: 8, bytes: 1 }.write(&mut bytes);
    peer.write(&bytes);
    loop {
        let said = peer.read();
        // Positions may come before the end.
        if said.kind() == Kind::Records {
            continue;
        }
        let entry = said.outcomes().remove(0);
        assert_eq!((entry.tag, said.frame().argument), (7, 1));
        assert!(matches!(receipt(&entry.answer), Receipt::Offset { lsn } if lsn > 0));
        break;
    }
    ping(&mut peer);
}

fn ping(peer: &mut Peer) {
    let mut bytes = Vec::new();
    begin(&mut bytes, Kind::Ping).seal(&mut bytes, 0, 0);
    peer.write(&bytes);
    assert_eq!(peer.read().kind(), Kind::Pong);
}

/// More than sockets hold: what waits for it waits where it is made, and comes when it is read.
#[tokio::test]
async fn who_does_not_read_holds_up_nobody_and_misses_nothing() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 20_000);
    let shard = shop.shard_of("tea");
    let mut slow = Peer::open(shop.native(), "");
    let topic = Some(Topic::OrderCreated);
    slow.write(&bytes_of(wanted(shard, topic, Start::At(Lsn(1))), 7, u32::MAX));
    let mut orders = Vec::new();
    buy(&mut peer, 20_000, &mut orders);
    let mut found = Vec::new();
    while found.len() < orders.len() {
        found.extend(records(&slow.read()).0.iter().map(order_of));
    }
    orders.sort();
    found.sort();
    assert_eq!(found, orders);
}

#[tokio::test]
async fn a_group_goes_on_behind_what_it_committed_after_a_restart() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 1_000);
    let shard = shop.shard_of("tea");
    let (topic, group) = (Topic::OrderCreated, Text::new("books").unwrap());
    let own = Subscribe { group, ..wanted(shard, Some(topic), Start::Group) };
    let client = Client::connect(&format!("onrush://{}", shop.native())).await.unwrap();
    let (mut orders, mut found) = (Vec::new(), Vec::new());
    buy(&mut peer, 500, &mut orders);
    let mut first = client.subscribe(own).await.unwrap();
    assert_eq!(first.position(), Lsn(0), "it has committed nothing");
    take(&mut first, 200, &mut found).await;
    client.commit_offset(own.shard, group, topic, first.position()).await.unwrap();
    // What it hears and does not commit comes again.
    take(&mut first, 100, &mut Vec::new()).await;
    drop((first, client, peer));
    let shop = shop.restart().await;
    let client = Client::connect(&format!("onrush://{}", shop.native())).await.unwrap();
    let mut again = client.subscribe(own).await.unwrap();
    assert_eq!(again.position(), found.last().unwrap().0);
    take(&mut again, 300, &mut found).await;
    let told: Vec<OrderId> = found.iter().map(|(_, order)| *order).collect();
    assert_eq!((told.len(), found.is_sorted()), (500, true));
    // Another group, and the same one's other topic, have positions of their own.
    let other = Subscribe { group: Text::new("mails").unwrap(), ..own };
    assert_eq!(client.subscribe(other).await.unwrap().position(), Lsn(0));
    let other = Subscribe { topic: Some(Topic::OrderCancelled), ..own };
    assert_eq!(client.subscribe(other).await.unwrap().position(), Lsn(0));
    let late = client.commit_offset(own.shard, group, topic, Lsn(u64::MAX)).await;
    assert!(matches!(late, Err(CallError::Refused(refused)) if refused.field.as_deref() == Some("lsn")));
    let absent = client.commit_offset(ShardId(200), group, topic, Lsn(1)).await;
    assert!(matches!(absent, Err(CallError::Refused(refused)) if refused.field.as_deref() == Some("shard")));
}

#[tokio::test]
async fn what_is_never_right_is_refused_by_itself() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 1_000);
    let begin = Start::At(Lsn(1));
    for (number, (wrong, expected)) in [
        (wanted(4, None, begin), "shard"),
        (wanted(usize::from(u16::MAX), None, begin), "shard"),
        (wanted(0, None, Start::Group), "from"),
        (wanted(0, None, Start::At(Lsn(1 << 40))), "from"),
    ]
    .into_iter()
    .enumerate()
    {
        peer.write(&bytes_of(wrong, number as u64, 1));
        assert_eq!(field(refused(&peer.read(), number as u64)), expected, "{wrong:?}");
    }
    // The next position is not there yet, and is waited for.
    peer.write(&bytes_of(wanted(shop.shard_of("tea"), None, Start::Now), 20, 1));
    let (_, end) = records(&peer.read());
    peer.write(&bytes_of(wanted(shop.shard_of("tea"), None, Start::At(Lsn(end.0 + 1))), 21, 1));
    assert_eq!(records(&peer.read()), (vec![], end));
    for number in 22..36 {
        peer.write(&bytes_of(wanted(0, None, Start::Now), number, 1));
        assert_eq!(records(&peer.read()).0, []);
    }
    peer.write(&bytes_of(wanted(0, None, Start::Now), 36, 1));
    assert_eq!(field(refused(&peer.read(), 36)), "subscription");
    // A number that is open: nobody could tell the answers apart.
    peer.write(&bytes_of(wanted(0, None, Start::Now), 20, 1));
    let rest = peer.rest();
    assert_eq!(rest.last().unwrap().error().code, ErrorCode::Malformed);
}

#[tokio::test]
async fn over_quic_a_subscription_is_on_the_first_stream() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    first.write(&bytes_of(wanted(0, None, Start::Now), 1, 1)).await;
    assert_eq!(records(&first.read().await).0, []);
    let mut further = caller.stream().await;
    further.write(&bytes_of(wanted(0, None, Start::Now), 2, 1)).await;
    assert_eq!(field(refused(&further.read().await, 2)), "subscription");
    further.send.finish().unwrap();
    assert!(further.rest().await.is_empty());
}

#[tokio::test]
async fn a_server_that_stops_ends_subscriptions_with_the_position_they_reached() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 1_000);
    let shard = shop.shard_of("tea");
    buy(&mut peer, 500, &mut Vec::new());
    peer.write(&bytes_of(wanted(shard, Some(Topic::OrderCreated), Start::At(Lsn(1))), 7, u32::MAX));
    let (mut came, mut last) = (0, Lsn(0));
    while came < 500 {
        let (records, reached) = records(&peer.read());
        (came, last) = (came + records.len(), reached);
    }
    let stopping = tokio::spawn(async move { shop.stop().await });
    let rest = tokio::task::spawn_blocking(move || peer.rest()).await.unwrap();
    assert_eq!(rest.iter().filter(|said| said.kind() == Kind::Leaving).count(), 1);
    let end = rest.last().unwrap().outcomes().remove(0);
    assert_eq!(end.tag, 7);
    assert!(matches!(receipt(&end.answer), Receipt::Offset { lsn } if lsn >= last.0));
    stopping.await.unwrap();
}

#[tokio::test]
async fn who_may_not_read_what_records_are_of_hears_none() {
    let mut tokens = Tokens::default();
    let shop = Shop::open_with(|config| {
        config.access = Access::Required;
        tokens = config.tokens.clone();
    });
    let keyring = Keyring::open(&shop.dir.path().join("data"), &tokens).unwrap();
    let token = |role: Role| keyring.issue("ada", "a-login", [role].into_iter().collect()).unwrap();
    let ask = |role: Role, wanted: Subscribe| {
        let mut peer = Peer::open(shop.native(), &token(role));
        peer.write(&bytes_of(wanted, 7, 1));
        let said = peer.read();
        match said.kind() {
            Kind::Records => Ok(()),
            _ => Err(rejected(&said.outcomes().remove(0).answer).reason),
        }
    };
    let forbidden = || Err("FORBIDDEN".to_owned());
    let of = |topic| wanted(0, topic, Start::Now);
    let orders = of(Some(Topic::OrderCreated));
    assert_eq!(ask(Role::Customer, orders), forbidden());
    assert_eq!(ask(Role::Customer, of(None)), forbidden());
    assert_eq!(ask(Role::Merchant, orders), forbidden());
    assert_eq!(ask(Role::Merchant, of(Some(Topic::StockUpdated))), Ok(()));
    assert_eq!(ask(Role::Support, of(None)), Ok(()));
    let group = |name: &str| Subscribe { group: Text::new(name).unwrap(), from: Start::Group, ..orders };
    assert_eq!(ask(Role::Support, group("books")), forbidden());
    assert_eq!(ask(Role::Admin, group("books")), Ok(()));
    assert_eq!(ask(Role::Admin, group("shipping")), forbidden());

    let client = |role: Role| {
        let options = ShopOptions { token: token(role), retry: Retry::NEVER, ..ShopOptions::default() };
        let address = format!("onrush://{}", shop.native());
        async move { Client::connect_with(&address, &options).await.unwrap() }
    };
    let error = client(Role::Customer).await.subscribe(orders).await.err().unwrap();
    assert!(matches!(error, CallError::Refused(refused) if refused.reason == "FORBIDDEN"));
    for (role, group, good) in [
        (Role::Support, "books", false),
        (Role::Admin, "payment-gateway", false),
        (Role::Admin, "books", true),
    ] {
        let group = Text::new(group).unwrap();
        let done = client(role).await.commit_offset(ShardId(0), group, Topic::OrderCreated, Lsn(0)).await;
        match (done, good) {
            (Ok(()), true) => {}
            (Err(CallError::Refused(refused)), false) => assert_eq!(refused.reason, "FORBIDDEN"),
            (other, _) => panic!("{role} for {group}: {other:?}"),
        }
    }
    let begun = client(Role::Admin).await.subscribe(group("books")).await.unwrap();
    assert_eq!(begun.position(), Lsn(0));
}
