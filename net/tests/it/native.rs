//! The client of the native protocol: batches, retries, deadlines, bounds.

use std::time::Duration;

use onrush_net::client::native::{Native, NativeOptions};
use onrush_net::client::{CallError, Key, Retry, Shop, ShopOptions};
use onrush_proto::frame::{ErrorCode, ErrorFrame, Kind, Verdict, put_verdict};
use onrush_proto::{
    Command, CreateOrder, Currency, Money, OrderId, OrderLine, Outcome, Refusal, Reply, SlotMap,
};

use crate::peer::{Arrived, Listener, Peer};

fn create(sku: &str) -> CreateOrder {
    let lines = [OrderLine::new(sku.parse().unwrap(), 1)].into_iter().collect();
    CreateOrder { customer: "ada".parse().unwrap(), lines, hold_us: 0 }
}

fn order(sku: &str) -> Command {
    Command::CreateOrder(create(sku))
}

/// As long as a test may take, so that nothing depends on how fast the machine is.
const PATIENT: Retry = Retry {
    retries: 3,
    pause: Duration::from_millis(1),
    pause_max: Duration::from_millis(2),
    timeout: Duration::from_secs(30),
};

fn options() -> NativeOptions {
    NativeOptions { retry: PATIENT, ..NativeOptions::default() }
}

async fn pair(credit: u32, options: NativeOptions) -> (Listener, Native, Peer) {
    let listener = Listener::bind().await;
    let address = listener.address();
    let (client, peer) = tokio::join!(Native::connect(&address, &options), listener.welcome(credit, 1));
    (listener, client.unwrap(), peer)
}

/// A call of its own task.
fn call(client: &Native, command: Command, key: u128) -> tokio::task::JoinHandle<Result<Reply, CallError>> {
    let client = client.clone();
    tokio::spawn(async move { client.call(command, key, false).await })
}

#[tokio::test]
async fn what_waits_while_one_is_open_goes_as_one_frame_and_answers_find_who_asked() {
    let (_listener, client, mut peer) = pair(1, options()).await;
    let calls: Vec<_> = (1..=100).map(|key| call(&client, order("tea"), key)).collect();
    let first = peer.commands().await;
    assert_eq!(first.len(), 1, "as much as there is credit for");
    peer.say(Kind::Credit, 0, 98, |_| {}).await;
    peer.accept(&first[0]).await;
    let mut rest: Vec<Arrived> = Vec::new();
    let mut frames = 0;
    while rest.len() < 99 {
        rest.extend(peer.commands().await);
        frames += 1;
    }
    assert!(frames <= 3, "99 commands in {frames} frames");
    for arrived in rest.iter().rev() {
        peer.accept(arrived).await;
    }
    for (key, call) in (1..=100).zip(calls) {
        let reply = call.await.unwrap().unwrap();
        let Outcome::Accepted(onrush_proto::Receipt::Order { order, .. }) = reply.outcome else { panic!() };
        assert_eq!(order, OrderId(key));
    }
}

/// The server went away with the answer: whether the order was made is unknown, so it is asked again.
#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    let (listener, client, mut peer) = pair(9, options()).await;
    let open = call(&client, order("tea"), 0);
    let first = peer.commands().await.remove(0);
    assert_ne!(first.key, 0, "a change that brings no key gets one");
    drop(peer);
    let mut peer = listener.accept().await;
    peer.welcome(9, 1).await;
    let again = peer.commands().await.remove(0);
    assert_eq!((again.key, &again.command), (first.key, &first.command));
    peer.accept(&again).await;
    assert!(open.await.unwrap().is_ok());
}

#[tokio::test]
async fn tries_end_and_nobody_waits_longer_than_said() {
    let retry = Retry { retries: 1, timeout: Duration::from_millis(200), ..PATIENT };
    let (_listener, client, mut peer) = pair(9, NativeOptions { retry, ..options() }).await;
    let open = call(&client, order("tea"), 7);
    let (first, second) = (peer.commands().await.remove(0), peer.commands().await.remove(0));
    assert_eq!((first.key, second.key), (7, 7));
    assert!((1..=200_000).contains(&first.patience_us), "{first:?}");
    let error = open.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Unknown { .. }), "{error}");
}

/// A connection that is dead and does not say so.
#[tokio::test]
async fn a_server_that_says_nothing_any_more_is_given_up() {
    let retry = Retry { retries: 9, timeout: Duration::from_millis(200), ..PATIENT };
    let (listener, client, peer) = pair(9, NativeOptions { retry, ..options() }).await;
    let open = call(&client, order("tea"), 7);
    let mut second = listener.accept().await;
    second.welcome(9, 1).await;
    let serve = async {
        loop {
            for arrived in second.commands().await {
                second.accept(&arrived).await;
            }
        }
    };
    tokio::select! {
        answered = open => assert!(answered.unwrap().is_ok()),
        () = serve => {}
    }
    drop(peer);
}

#[tokio::test]
async fn a_call_that_is_given_up_gives_up_the_answer_alone() {
    let (_listener, client, mut peer) = pair(1, options()).await;
    let given_up = call(&client, order("tea"), 1);
    let first = peer.commands().await.remove(0);
    given_up.abort();
    assert!(given_up.await.is_err());
    let next = call(&client, order("cup"), 2);
    peer.accept(&first).await;
    let arrived = peer.commands().await.remove(0);
    assert_eq!(arrived.key, 2);
    peer.accept(&arrived).await;
    assert!(next.await.unwrap().is_ok());
}

#[tokio::test]
async fn more_than_may_wait_is_refused_at_once() {
    let (_listener, client, mut peer) = pair(1, NativeOptions { queue_max: 2, ..options() }).await;
    let open = call(&client, order("tea"), 1);
    let first = peer.commands().await.remove(0);
    let waiting: Vec<_> = (2..=3).map(|key| call(&client, order("tea"), key)).collect();
    // They queue before this one does: one thread runs all tasks here, in their order.
    let beyond = call(&client, order("tea"), 4).await.unwrap();
    assert_eq!(beyond.unwrap_err().reason(), Some("OVERLOADED"));
    peer.accept(&first).await;
    assert!(open.await.unwrap().is_ok());
    for call in waiting {
        let arrived = peer.commands().await.remove(0);
        peer.accept(&arrived).await;
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn refusals_come_with_their_numbers_and_rejections_with_their_reason() {
    let (_listener, client, mut peer) = pair(9, NativeOptions { retry: Retry::NEVER, ..options() }).await;
    let refusal = Refusal::OutOfStock { line: 0, asked: 3, available: 1 };
    let mut errors = Vec::new();
    for turn in 0..4 {
        let open = call(&client, order("tea"), 5);
        let tag = peer.commands().await[0].tag;
        match turn {
            0 => peer.answer(tag, Outcome::Refused(refusal)).await,
            1 => peer.reject(tag, "FORBIDDEN").await,
            2 => peer.answer(tag, Outcome::Refused(Refusal::Stopped)).await,
            _ => peer.reject(tag, "GATEWAY_UNAVAILABLE").await,
        }
        errors.push(open.await.unwrap().unwrap_err());
    }
    let CallError::Refused(refused) = &errors[0] else { panic!("{:?}", errors[0]) };
    assert_eq!((refused.refusal, refused.field.as_deref()), (Some(refusal), Some("lines[0].quantity")));
    assert_eq!(errors[1].reason(), Some("FORBIDDEN"));
    for error in &errors[2..] {
        assert!(matches!(error, CallError::Unknown { .. }), "nobody knows what was done: {error}");
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    for (code, reason) in [
        (ErrorCode::Unauthenticated, Some("UNAUTHENTICATED")),
        (ErrorCode::Version, Some("UNSUPPORTED_VERSION")),
        (ErrorCode::Full, None),
    ] {
        let listener = Listener::bind().await;
        let options = NativeOptions { retry: Retry::NEVER, ..options() };
        let refuse = async {
            let mut peer = listener.accept().await;
            peer.error(&ErrorFrame::new(code, "no")).await;
            assert!(peer.is_left().await);
        };
        let address = listener.address();
        let (client, ()) = tokio::join!(Native::connect(&address, &options), refuse);
        assert_eq!(client.unwrap_err().reason(), reason, "{code:?}");
    }
}

#[tokio::test]
async fn each_shard_is_asked_on_a_connection_of_its_own() {
    let listener = Listener::bind().await;
    let (address, options) = (listener.address(), NativeOptions { per_shard: true, ..options() });
    let (client, mut first) = tokio::join!(Native::connect(&address, &options), listener.welcome(9, 2));
    let client = client.unwrap();
    let map = SlotMap::new(2).unwrap();
    let of_shard = |shard: u16| {
        let skus = (0..).map(|number| format!("tea-{number}"));
        skus.map(|sku| order(&sku)).find(|command| map.shard(command.slot()).0 == shard).unwrap()
    };
    let open: Vec<_> = (0..2u16).map(|shard| call(&client, of_shard(shard), u128::from(shard) + 1)).collect();
    let mut second = listener.accept().await;
    second.welcome(9, 2).await;
    for (shard, peer) in [&mut first, &mut second].into_iter().enumerate() {
        let arrived = peer.commands().await.remove(0);
        assert_eq!(usize::from(map.shard(arrived.command.slot()).0), shard);
        peer.accept(&arrived).await;
    }
    for call in open {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_server_that_leaves_answers_what_is_open_and_the_rest_goes_to_the_next() {
    let (listener, client, mut peer) = pair(9, options()).await;
    let open = call(&client, order("tea"), 1);
    let first = peer.commands().await.remove(0);
    peer.say(Kind::Leaving, 0, 0, |_| {}).await;
    peer.accept(&first).await;
    assert!(open.await.unwrap().is_ok());
    let next = call(&client, order("tea"), 2);
    assert!(peer.is_left().await);
    let mut peer = listener.accept().await;
    peer.welcome(9, 1).await;
    let arrived = peer.commands().await.remove(0);
    assert_eq!(arrived.key, 2);
    peer.accept(&arrived).await;
    assert!(next.await.unwrap().is_ok());
}

#[tokio::test]
async fn the_connection_ends_in_good_order_with_the_last_client() {
    let (_listener, client, mut peer) = pair(9, options()).await;
    drop(client);
    assert_eq!(peer.frame().await.0, Kind::Goodbye);
    assert!(peer.is_left().await);
}

#[tokio::test]
async fn a_shop_speaks_it() {
    let listener = Listener::bind().await;
    let address = format!("onrush://{}", listener.address());
    let options = ShopOptions { retry: PATIENT, ..ShopOptions::default() };
    let (shop, mut peer) = tokio::join!(Shop::connect_with(&address, &options), listener.welcome(9, 1));
    let shop = shop.unwrap();
    let serve = async {
        let arrived = peer.commands().await.remove(0);
        peer.accept(&arrived).await;
        assert_eq!(peer.frame().await.0, Kind::Validate);
        let price = Money::new(450, Currency::EUR);
        peer.say(Kind::Verdicts, 2, 1, |out| {
            // Of the second question.
            out.extend_from_slice(&1u64.to_le_bytes());
            put_verdict(out, &Verdict::new(None, Some((5, price))));
            put_verdict(out, &Verdict::new(Some(&Refusal::UnknownSku { line: 1 }), None));
        })
        .await;
    };
    let ask = async {
        let placed = shop.create_order(Key(77), create("tea")).await.unwrap();
        assert_eq!((placed.order, placed.total.minor), (OrderId(77), 450));
        let lines = [("tea".parse().unwrap(), 1), ("mug".parse().unwrap(), 1)];
        let validated = shop.validate(&lines).await.unwrap();
        assert_eq!((validated[0].refused.clone(), validated[0].available), (None, 5));
        assert_eq!(validated[1].refused.as_deref(), Some("UNKNOWN_SKU"));
    };
    tokio::join!(serve, ask);
}
