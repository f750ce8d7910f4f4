//! Buyers: each asks for one thing after the other, retries what went unanswered under the same
//! key, and writes everything down, until the server is killed.

use std::sync::Arc;
use std::time::Duration;

use onrush_grpc::order::v1::{OrderPaymentStatus, OrderStatus, ProcessPaymentResponse};
use onrush_net::client::CallError;
use onrush_net::client::grpc::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::journal::{Delivery, Journal, Paid, Payment, Purchase, Standing};
use crate::random::Random;
use crate::server::Server;
use crate::shelf;

const BUYERS: u64 = 24;
/// How long a call waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a call waits whose caller comes back at once, while the first one may still be under way.
const HASTE: Duration = Duration::from_millis(2);

/// What the buyers of a cycle and the one who kills have in common.
struct Progress {
    answers: watch::Sender<u64>,
    killed: watch::Sender<bool>,
}

/// The load of one cycle.
pub(crate) struct Load {
    progress: Arc<Progress>,
    buyers: JoinSet<Journal>,
}

struct Buyer {
    name: String,
    hot: String,
    patient: Client,
    hasty: Client,
    random: Random,
    progress: Arc<Progress>,
    journal: Journal,
    keys: u64,
}

impl Load {
    pub(crate) fn start(server: &Server, seed: u64, cycle: u64) -> Self {
        let progress =
            Arc::new(Progress { answers: watch::Sender::new(0), killed: watch::Sender::new(false) });
        let (patient, hasty) = (server.client(PATIENCE), server.client(HASTE));
        let mut buyers = JoinSet::new();
        for number in 0..BUYERS {
            let buyer = Buyer {
                name: name(cycle, number),
                hot: shelf::hot(cycle),
                patient: patient.clone(),
                hasty: hasty.clone(),
                random: Random::new(seed, (cycle << 16) + number + 1),
                progress: progress.clone(),
                journal: Journal::default(),
                keys: 0,
            };
            buyers.spawn(buyer.shop());
        }
        Self { progress, buyers }
    }

    /// Waits until so many calls were answered.
    pub(crate) async fn answers(&self, count: u64) {
        let mut answers = self.progress.answers.subscribe();
        let enough = tokio::time::timeout(Duration::from_secs(60), answers.wait_for(|found| *found >= count));
        assert!(enough.await.is_ok(), "expected {count} answers, found {}", *self.progress.answers.borrow());
    }

    /// What the buyers wrote down; the server is dead.
    pub(crate) async fn journal(mut self) -> Journal {
        self.progress.killed.send_replace(true);
        let mut all = Journal::default();
        while let Some(journal) = self.buyers.join_next().await {
            let journal = journal.unwrap();
            all.purchases.extend(journal.purchases);
            all.deliveries.extend(journal.deliveries);
        }
        all
    }
}

/// The customers of a cycle.
pub(crate) fn customers(cycle: u64) -> impl Iterator<Item = String> {
    (0..BUYERS).map(move |number| name(cycle, number))
}

fn name(cycle: u64, number: u64) -> String {
    format!("buyer-{cycle}-{number}")
}

impl Buyer {
    async fn shop(mut self) -> Journal {
        while !*self.progress.killed.borrow() {
            match self.random.between(0, 19) {
                0 => self.deliver().await,
                1 | 2 => self.ask_again().await,
                3 => self.reuse_a_key().await,
                _ => self.buy().await,
            }
        }
        self.journal
    }

    fn key(&mut self) -> String {
        self.keys += 1;
        format!("{}-{}", self.name, self.keys)
    }

    fn cold(&mut self) -> String {
        shelf::cold(self.random.bits() as usize)
    }

    /// Half of the baskets hold the hot SKU, half have several lines.
    fn basket(&mut self) -> Vec<(String, i64)> {
        let mut lines = Vec::new();
        for _ in 0..if self.random.once_in(2) { self.random.between(2, 5) } else { 1 } {
            let line = (self.cold(), self.random.between(1, 3) as i64);
            if lines.iter().all(|(sku, _)| *sku != line.0) {
                lines.push(line);
            }
        }
        if self.random.once_in(2) {
            let at = self.random.between(0, lines.len() as u64 - 1) as usize;
            lines[at] = (self.hot.clone(), self.random.between(1, 2) as i64);
        }
        lines
    }

    async fn buy(&mut self) {
        let lines = self.basket();
        let mut purchase = Purchase::new(self.key(), self.name.clone(), lines);
        if self.random.once_in(10) {
            self.create(&mut purchase, &self.hasty).await;
        }
        // What is still unknown after these tries stays so until the server is back.
        for _ in 0..3 {
            if purchase.standing == Standing::Unknown && !*self.progress.killed.borrow() {
                self.create(&mut purchase, &self.patient).await;
            }
        }
        if purchase.receipt().is_some() && self.random.once_in(3) {
            self.pay(&mut purchase).await;
        }
        self.journal.purchases.push(purchase);
    }

    async fn create(&self, purchase: &mut Purchase, client: &Client) {
        match self.answer(client.create_order(purchase.request()).await) {
            Answer::Given(given) => purchase.accepted(&given),
            Answer::Refused(reason) => {
                assert_eq!(reason, "OUT_OF_STOCK", "{purchase:?}");
                assert!(purchase.receipt().is_none(), "a retry was refused: {purchase:?}");
                // A call without an answer may be decided after this one.
                if !purchase.doubtful {
                    purchase.standing = Standing::Refused;
                }
            }
            Answer::Unknown => purchase.doubtful = true,
        }
    }

    async fn pay(&mut self, purchase: &mut Purchase) {
        let key = format!("pay-{}", purchase.key);
        purchase.payment = Some(Payment { key, standing: Standing::Unknown });
        let Some(request) = purchase.payment_request() else { return };
        match self.answer(self.patient.process_payment(request).await) {
            Answer::Given(given) => note_payment(purchase, &given),
            Answer::Refused(reason) => panic!("expected a payment, found {reason}: {purchase:?}"),
            Answer::Unknown => {}
        }
    }

    async fn ask_again(&mut self) {
        let Some(at) = self.any_purchase() else { return };
        let mut purchase = self.journal.purchases[at].clone();
        if purchase.receipt().is_some() {
            self.create(&mut purchase, &self.patient).await;
        }
    }

    async fn reuse_a_key(&mut self) {
        let Some(at) = self.any_purchase() else { return };
        let other = self.journal.purchases[at].with_other_body(self.random.bits() as usize % shelf::COLD);
        if self.journal.purchases[at].receipt().is_none() {
            return;
        }
        match self.answer(self.patient.create_order(other.request()).await) {
            Answer::Refused(reason) => assert_eq!(reason, "IDEMPOTENCY_KEY_REUSED", "{other:?}"),
            Answer::Given(given) => panic!("a used key took another body: {given:?} {other:?}"),
            Answer::Unknown => {}
        }
    }

    fn any_purchase(&mut self) -> Option<usize> {
        let count = self.journal.purchases.len();
        (count > 0).then(|| self.random.bits() as usize % count)
    }

    async fn deliver(&mut self) {
        let (key, sku) = (self.key(), self.cold());
        let mut delivery =
            Delivery { key, sku, units: self.random.between(1, 9) as i64, acknowledged: false };
        match self.answer(self.patient.update_stock(delivery.request()).await) {
            Answer::Given(_) => delivery.acknowledged = true,
            Answer::Refused(reason) => panic!("expected a delivery, found {reason}: {delivery:?}"),
            Answer::Unknown => {}
        }
        self.journal.deliveries.push(delivery);
    }

    fn answer<T>(&self, result: Result<T, CallError>) -> Answer<T> {
        let answer = Answer::from(result);
        if !matches!(answer, Answer::Unknown) {
            self.progress.answers.send_modify(|count| *count += 1);
        }
        answer
    }
}

/// Notes what became of a payment; one that was told before must come back as it was.
pub(crate) fn note_payment(purchase: &mut Purchase, given: &ProcessPaymentResponse) {
    if given.payment_status() == OrderPaymentStatus::Processing {
        return;
    }
    let paid = Paid { attempt: given.attempt, decline_code: given.decline_code.clone() };
    let expected = if paid.decline_code.is_empty() { OrderStatus::Paid } else { OrderStatus::Pending };
    assert_eq!(given.order_status(), expected, "{given:?} {purchase:?}");
    let amount = given.amount.as_ref().map_or(-1, |amount| amount.minor_units);
    assert_eq!(amount, purchase.total_minor(), "the amount of {purchase:?}");
    let Some(payment) = &mut purchase.payment else { return };
    if let Standing::Acknowledged(first) = &payment.standing {
        assert_eq!((&paid, given.replayed), (first, true), "a retry of {payment:?}");
    }
    payment.standing = Standing::Acknowledged(paid);
}
