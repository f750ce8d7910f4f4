//! What must hold when the server is back: everything that was acknowledged, nothing twice, nothing
//! oversold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use onrush_grpc::admin::v1::AuditResponse;
use onrush_grpc::order::v1::{GetOrderStatusRequest, ListOrdersRequest, OrderStatus};
use onrush_net::client::grpc::Client;
use tokio::task::JoinSet;

use crate::answer::{Answer, answered, given};
use crate::journal::{Delivery, Journal, Purchase, Standing};
use crate::load::note_payment;
use crate::random::Random;
use crate::shelf;

/// Calls under way at once.
const AT_ONCE: usize = 32;
/// How long baskets over shards and payments may take to end once nobody asks for new ones.
const QUIET_MAX: Duration = Duration::from_secs(30);

/// Settles every key of a journal: what was acknowledged must be there, what is unknown is asked
/// again under its key. Keys are re-used with another body now and then.
pub(crate) async fn settle(client: &Client, random: &mut Random, journal: Journal) -> Journal {
    let dice = |purchase| (purchase, random.bits());
    let purchases: Vec<_> = journal.purchases.into_iter().map(dice).collect();
    let purchases = all(purchases, |(purchase, dice)| {
        let client = client.clone();
        async move { settled(&client, purchase, dice).await }
    })
    .await;
    let deliveries = all(journal.deliveries, |delivery| {
        let client = client.clone();
        async move { delivered(&client, delivery).await }
    })
    .await;
    Journal { purchases, deliveries }
}

async fn settled(client: &Client, mut purchase: Purchase, dice: u64) -> Purchase {
    if purchase.standing == Standing::Refused {
        return purchase;
    }
    let before = if dice.is_multiple_of(4) {
        match other_body(client, &mut purchase, dice as usize >> 8).await {
            Before::Other => return purchase,
            before => before,
        }
    } else {
        Before::NotAsked
    };
    match answered(|| client.create_order(purchase.request())).await {
        Answer::Given(given) => {
            purchase.accepted(&given);
            assert!(
                before != Before::First || given.replayed,
                "a used key made a second order: {purchase:?}"
            );
        }
        Answer::Refused(reason) => {
            assert!(purchase.receipt().is_none(), "an acknowledged order is gone ({reason}): {purchase:?}");
            assert!(before != Before::First, "a used key was refused ({reason}): {purchase:?}");
            assert_eq!(reason, "OUT_OF_STOCK", "{purchase:?}");
            purchase.standing = Standing::Refused;
        }
        Answer::Unknown => unreachable!("answered() waits for an answer"),
    }
    order_stands(client, &mut purchase).await;
    purchase
}

/// Whose the key was when another body came under it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    NotAsked,
    /// The first body's.
    First,
    /// Nobody's: it is the other body's now.
    Other,
}

/// Asks for another basket under a purchase's key. Which of the two baskets the key stands for may
/// be open before; it is not after.
async fn other_body(client: &Client, purchase: &mut Purchase, sku: usize) -> Before {
    let mut other = purchase.with_other_body(sku % shelf::COLD);
    match answered(|| client.create_order(other.request())).await {
        Answer::Refused(reason) => {
            assert_eq!(reason, "IDEMPOTENCY_KEY_REUSED", "{other:?} after {purchase:?}");
            return Before::First;
        }
        Answer::Given(given) => {
            assert!(purchase.receipt().is_none(), "a used key took another body: {given:?} {purchase:?}");
            other.accepted(&given);
        }
        Answer::Unknown => unreachable!("answered() waits for an answer"),
    }
    let late = answered(|| client.create_order(purchase.request())).await;
    let refused = matches!(&late, Answer::Refused(reason) if reason == "IDEMPOTENCY_KEY_REUSED");
    assert!(refused, "a key made two orders: {late:?} {purchase:?} {other:?}");
    *purchase = other;
    Before::Other
}

/// The order as its owner has it, and its payment.
async fn order_stands(client: &Client, purchase: &mut Purchase) {
    let Some(order_id) = purchase.receipt().map(|receipt| receipt.order_id.clone()) else { return };
    if let Some(request) = purchase.payment_request() {
        let start = Instant::now();
        loop {
            let given = given(|| client.process_payment(request.clone())).await;
            note_payment(purchase, &given);
            let open = purchase.payment.as_ref().is_some_and(|payment| payment.standing == Standing::Unknown);
            if !open {
                break;
            }
            assert!(start.elapsed() < QUIET_MAX, "expected an end of the payment of {purchase:?}");
        }
    }
    let request = GetOrderStatusRequest { order_id };
    let order = given(|| client.get_order_status(request.clone())).await.order.unwrap_or_default();
    let expected = if purchase.is_paid() { OrderStatus::Paid } else { OrderStatus::Pending };
    assert_eq!(order.status(), expected, "{order:?} {purchase:?}");
    assert_eq!(order.total.map_or(-1, |total| total.minor_units), purchase.total_minor(), "{purchase:?}");
    assert_eq!(order.held_until_us, purchase.receipt().map_or(0, |receipt| receipt.held_until_us));
    let lines = order.lines.iter().map(|line| (line.sku.clone(), i64::from(line.quantity)));
    assert_eq!(lines.collect::<Vec<_>>(), purchase.lines, "{purchase:?}");
}

async fn delivered(client: &Client, mut delivery: Delivery) -> Delivery {
    let given = given(|| client.update_stock(delivery.request())).await;
    assert!(given.replayed || !delivery.acknowledged, "an acknowledged delivery is gone: {delivery:?}");
    delivery.acknowledged = true;
    delivery
}

/// Older purchases, taken at random, are still what they were.
pub(crate) async fn spot_check(client: &Client, random: &mut Random, journal: &Journal, count: u64) {
    if journal.purchases.is_empty() {
        return;
    }
    let any = |_| journal.purchases[random.bits() as usize % journal.purchases.len()].clone();
    let purchases = (0..count).map(any).collect();
    settle(client, random, Journal { purchases, deliveries: Vec::new() }).await;
}

/// Each of these customers has the orders of the journal and no other.
pub(crate) async fn listed(client: &Client, journal: &Journal, customers: impl Iterator<Item = String>) {
    let mut expected: BTreeMap<String, BTreeSet<String>> =
        customers.map(|name| (name, BTreeSet::new())).collect();
    for purchase in &journal.purchases {
        if let Some(receipt) = purchase.receipt() {
            let mine = expected.entry(purchase.customer.clone()).or_default();
            assert!(mine.insert(receipt.order_id.clone()), "two keys have one order: {purchase:?}");
        }
    }
    all(expected.into_iter().collect(), |(customer, expected)| {
        let client = client.clone();
        async move { assert_eq!(orders_of(&client, &customer).await, expected, "orders of {customer}") }
    })
    .await;
}

async fn orders_of(client: &Client, customer: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut request =
        ListOrdersRequest { customer_id: customer.into(), page_size: 1_000, ..Default::default() };
    loop {
        let page = given(|| client.list_orders(request.clone())).await;
        for order in page.orders {
            assert!(found.insert(order.order_id.clone()), "an order is listed twice: {order:?}");
        }
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

/// The server's books are in order and say what the journal of all settled keys says.
pub(crate) async fn books(client: &Client, journal: &Journal, cycle: u64) {
    let accepted: Vec<&Purchase> =
        journal.purchases.iter().filter(|purchase| purchase.receipt().is_some()).collect();
    let ordered: i64 = accepted.iter().map(|purchase| purchase.units()).sum();
    let sold = accepted.iter().filter(|purchase| purchase.is_paid()).map(|purchase| purchase.units()).sum();
    let stocked = shelf::COLD as i64 * shelf::COLD_UNITS + cycle as i64 * shelf::HOT_UNITS;
    let received = stocked + journal.deliveries.iter().map(|delivery| delivery.units).sum::<i64>();

    let audit = quiet_audit(client).await;
    assert!(audit.ok, "{:#?}", audit.violations);
    let found =
        (audit.orders, audit.units_received, audit.units_available, audit.units_held, audit.units_sold);
    let expected = (accepted.len() as u64, received, received - ordered, ordered - sold, sold);
    assert_eq!(found, expected, "(orders, units received, available, held, sold)");
    for cycle in 1..=cycle {
        let hot = shelf::hot(cycle);
        let lines = accepted.iter().flat_map(|purchase| &purchase.lines);
        let units: i64 = lines.filter(|(sku, _)| *sku == hot).map(|(_, quantity)| quantity).sum();
        assert!(units <= shelf::HOT_UNITS, "{hot} is oversold: {units} of {}", shelf::HOT_UNITS);
    }
    let gateway = client.reconcile(Default::default()).await.unwrap();
    assert!(gateway.ok && gateway.open == 0, "{gateway:#?}");
}

/// The audit once nothing is open over shards any more.
async fn quiet_audit(client: &Client) -> AuditResponse {
    let start = Instant::now();
    loop {
        let audit = client.audit(Default::default()).await.unwrap();
        if audit.open_cross_shard == 0 || !audit.ok {
            return audit;
        }
        assert!(start.elapsed() < QUIET_MAX, "expected no open basket over shards, found {audit:?}");
    }
}

/// Does something for all items, some at once.
async fn all<T, R, F>(items: Vec<T>, work: impl Fn(T) -> F) -> Vec<R>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let (mut under_way, mut done) = (JoinSet::new(), Vec::with_capacity(items.len()));
    for item in items {
        if under_way.len() == AT_ONCE {
            done.extend(under_way.join_next().await.map(Result::unwrap));
        }
        under_way.spawn(work(item));
    }
    done.extend(under_way.join_all().await);
    done
}
