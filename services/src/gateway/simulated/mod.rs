//! A gateway in process: seeded, with books of its own that outlive a crash of the shop, and as
//! unreliable as it is told to be.

mod books;
mod faults;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use onrush_proto::{GatewayResult, Money, OrderId, Text};
use tokio::sync::mpsc;

pub use books::{Balance, Books, BooksError, Decision, Entry};
pub use faults::Faults;

use super::{Booked, Charge, GatewayKey, Op, Trouble, Webhook, method};
use crate::dice::Roll;
use faults::cast;

/// Webhooks that wait to be read; more are lost, as they are in life.
const WEBHOOKS_MAX: usize = 65_536;

/// The simulated gateway.
pub struct Simulated {
    faults: Faults,
    books: Mutex<Books>,
    start: Instant,
    events: AtomicU64,
    webhooks: mpsc::Sender<Webhook>,
    unread: Mutex<Option<mpsc::Receiver<Webhook>>>,
}

impl Simulated {
    /// A gateway that fails as `faults` says.
    pub fn new(faults: Faults, books: Books) -> Self {
        let (webhooks, unread) = mpsc::channel(WEBHOOKS_MAX);
        Self {
            faults,
            books: Mutex::new(books),
            start: Instant::now(),
            events: AtomicU64::new(1),
            webhooks,
            unread: Mutex::new(Some(unread)),
        }
    }

    /// The stream of webhooks; there is one.
    pub fn webhooks(&self) -> Option<mpsc::Receiver<Webhook>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// An order's balance in the gateway's books.
    pub fn balance(&self, order: OrderId) -> Option<Balance> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).balance(order)
    }

    /// What the books say of the order that a charge was for: refunds are booked by order here.
    pub(super) fn booked(&self, reference: &str) -> Booked {
        let order = reference.split('_').nth(2).and_then(|order| order.parse().ok());
        let balance = order.and_then(|order| self.balance(order));
        balance.map_or(Booked::default(), |Balance { captured, refunded, .. }| Booked { captured, refunded })
    }

    /// The orders of up to `max` of the gateway's entries behind the first `from`, oldest first.
    pub fn news(&self, from: usize, max: usize) -> Vec<OrderId> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).news(from, max).to_vec()
    }

    pub(super) async fn charge(&self, charge: Charge, call: u32) -> Result<GatewayResult, Trouble> {
        let token = Text::new(method::first(&charge.method)).unwrap_or_default();
        let entry = self
            .act(charge.key, call, token, |roll| {
                let decision = match self.decline(&charge, roll) {
                    Some(code) => Decision::Declined(code),
                    None if charge.capture => Decision::Captured,
                    None => Decision::Authorised,
                };
                Entry { key: charge.key, amount: charge.amount, decision }
            })
            .await?;
        Ok(entry.result())
    }

    pub(super) async fn query(&self, key: GatewayKey, call: u32) -> Result<Option<GatewayResult>, Trouble> {
        let roll = cast(self.faults.seed, key, call).salted("query");
        tokio::time::sleep(self.faults.latency(roll)).await;
        if self.browned_out(roll) {
            return Err(Trouble::NoAnswer);
        }
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(books.find(key).map(|entry| entry.result()))
    }

    pub(super) async fn capture(
        &self,
        key: GatewayKey,
        amount: Money,
        call: u32,
    ) -> Result<GatewayResult, Trouble> {
        let decide = |roll: Roll| {
            let fails = roll.salted("capture").hits(self.faults.capture_decline);
            let code = Text::new("authorization_expired").unwrap_or_default();
            let decision = if fails { Decision::Declined(code) } else { Decision::Captured };
            Entry { key, amount, decision }
        };
        Ok(self.act(key, call, Text::EMPTY, decide).await?.result())
    }

    pub(super) async fn void(&self, key: GatewayKey, amount: Money, call: u32) -> Result<(), Trouble> {
        let entry = Entry { key, amount, decision: Decision::Voided };
        self.act(key, call, Text::EMPTY, |_| entry).await.map(|_| ())
    }

    pub(super) async fn refund(&self, key: GatewayKey, amount: Money, call: u32) -> Result<bool, Trouble> {
        let entry = Entry { key, amount, decision: Decision::Refunded };
        let made = self.act(key, call, Text::EMPTY, |_| entry).await?;
        Ok(made.decision == Decision::Refunded)
    }

    /// One call: it takes its time, may never arrive, is booked once, and may lose its reply.
    async fn act(
        &self,
        key: GatewayKey,
        call: u32,
        method: Text<47>,
        decide: impl FnOnce(Roll) -> Entry,
    ) -> Result<Entry, Trouble> {
        let roll = cast(self.faults.seed, key, call);
        tokio::time::sleep(self.faults.latency(roll)).await;
        let lost = call == 0
            && (roll.salted("timeout").hits(self.faults.timeout) || method.as_str() == "pm_timeout");
        if lost || self.browned_out(roll) {
            return Err(Trouble::NoAnswer);
        }
        let entry = self.books.lock().unwrap_or_else(PoisonError::into_inner).once(key, || {
            // Whether it is declined depends on the key alone: a later call decides the same.
            decide(cast(self.faults.seed, key, 0))
        });
        self.push(key, roll);
        let dropped = call == 0
            && (roll.salted("dropped").hits(self.faults.dropped) || method.as_str() == "pm_dropped_reply");
        if dropped { Err(Trouble::NoAnswer) } else { Ok(entry) }
    }

    fn decline(&self, charge: &Charge, roll: Roll) -> Option<Text<31>> {
        let code = match method::first(&charge.method) {
            "pm_card_declined" => "card_declined",
            "pm_card_insufficient_funds" => "insufficient_funds",
            _ if roll.salted("decline").hits(self.faults.decline) => "generic_decline",
            _ => return None,
        };
        Text::new(code).ok()
    }

    fn browned_out(&self, roll: Roll) -> bool {
        let since_start = self.start.elapsed();
        let hit = || roll.salted("brownout").hits(self.faults.brownout_ratio);
        self.faults.in_outage(since_start) || self.faults.in_brownout(since_start) && hit()
    }

    /// Tells what became of a key; perhaps twice, perhaps after later news.
    fn push(&self, key: GatewayKey, roll: Roll) {
        let webhook = Webhook { event: self.events.fetch_add(1, Ordering::Relaxed), key };
        let copies = if roll.salted("doubled").hits(self.faults.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let webhooks = self.webhooks.clone();
            if roll.salted("reordered").hits(self.faults.reordered) {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    // A full queue loses it; the reconciler settles what nobody told.
                    let _ = webhooks.try_send(webhook);
                });
            } else {
                let _ = webhooks.try_send(webhook);
            }
        }
    }
}

impl Entry {
    /// What a charge or a capture came to.
    fn result(&self) -> GatewayResult {
        let reference = reference(self.key);
        match self.decision {
            Decision::Authorised | Decision::Voided => GatewayResult::Authorised { reference },
            Decision::Captured | Decision::Refunded => GatewayResult::Captured { reference },
            Decision::Declined(code) if self.key.op == Op::Capture => GatewayResult::CaptureFailed { code },
            Decision::Declined(code) => GatewayResult::Declined { code },
        }
    }
}

/// The gateway's own name of a charge.
fn reference(key: GatewayKey) -> Text<63> {
    let op = match key.op {
        Op::Charge | Op::Capture | Op::Void => "ch",
        Op::Refund => "re",
    };
    Text::new(&format!("sim_{op}_{}_{}", key.order, key.number)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use onrush_proto::Currency;

    use super::*;

    fn charge(sequence: u128, method: &str) -> Charge {
        let key = GatewayKey { order: OrderId(sequence), number: 1, op: Op::Charge };
        let amount = Money::new(995, Currency::EUR);
        Charge { key, amount, method: Text::new(method).unwrap(), capture: true, started_us: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_call_gets_the_first_result_and_is_booked_once() {
        let gateway = Simulated::new("decline=0.5,seed=7".parse().unwrap(), Books::in_memory());
        for sequence in 0..100 {
            let first = gateway.charge(charge(sequence, "pm"), 0).await.unwrap();
            assert_eq!(gateway.charge(charge(sequence, "pm"), 1).await, Ok(first));
        }
        let balances = (0..100).filter_map(|order| gateway.balance(OrderId(order)));
        let captured: i64 = balances.map(|balance| balance.captured).sum();
        assert!((30 * 995..70 * 995).contains(&captured), "about half are declined, found {captured}");
        assert_eq!(captured % 995, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_reply_has_taken_the_money_and_a_timeout_has_not() {
        let gateway = Simulated::new(Faults::default(), Books::in_memory());
        let dropped = charge(1, "pm_dropped_reply");
        assert_eq!(gateway.charge(dropped, 0).await, Err(Trouble::NoAnswer));
        assert!(matches!(gateway.query(dropped.key, 1).await, Ok(Some(GatewayResult::Captured { .. }))));
        let timeout = charge(2, "pm_timeout");
        assert_eq!(gateway.charge(timeout, 0).await, Err(Trouble::NoAnswer));
        assert_eq!(gateway.query(timeout.key, 1).await, Ok(None));
        assert!(gateway.charge(timeout, 1).await.is_ok(), "the same key goes through later");
    }

    #[tokio::test(start_paused = true)]
    async fn in_an_outage_nobody_hears_anything_and_nothing_is_booked() {
        let gateway = Simulated::new("outage_ms=3600000".parse().unwrap(), Books::in_memory());
        let asked = charge(1, "pm");
        for call in 0..50 {
            assert_eq!(gateway.charge(asked, call).await, Err(Trouble::NoAnswer));
            assert_eq!(gateway.query(asked.key, call).await, Err(Trouble::NoAnswer));
        }
        assert_eq!(gateway.balance(OrderId(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn webhooks_come_doubled_and_late() {
        let gateway = Simulated::new("doubled=1,reordered=1".parse().unwrap(), Books::in_memory());
        let mut webhooks = gateway.webhooks().unwrap();
        gateway.charge(charge(1, "pm"), 0).await.unwrap();
        assert!(webhooks.try_recv().is_err(), "late");
        let first = webhooks.recv().await.unwrap();
        assert_eq!(webhooks.recv().await.unwrap(), first, "doubled under one event id");
    }
}
