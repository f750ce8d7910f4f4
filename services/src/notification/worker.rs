//! Reads what customers are told of from the log as a consumer group, and tries unsent letters again:
//! off the fronts, a bounded number at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use onrush_engine::Event;
use onrush_proto::{Cause, OrderId, OrderRow, RecordKind, Row, RowTag, ShardId, Topic};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use super::notice::{NoticeState, Position};
use super::occasion::Occasion;
use super::post::{self, Post};
use super::reset::{self, Reset};
use super::story::{Parcel, Story};
use crate::clock::now_us;
use crate::consumer::{Consumer, Handler};
use crate::metrics::Positions;
use crate::retry::Retry;
use crate::traces::{self, Traces};

/// The consumer group.
pub const GROUP: &str = "notification";

/// Letters under way at once, per shard.
const LETTERS_MAX: usize = 32;
/// Unsent letters read at once at start.
const PAGE: usize = 1_024;
/// Events older than this are passed over: a shop that begins to send mails does not send those of
/// last year.
const STALE_US: u64 = 24 * 3_600 * 1_000_000;

/// What a record says.
struct News {
    at: Position,
    what: What,
    cause: Option<Cause>,
}

enum What {
    Ordered(OrderRow),
    Paid(OrderRow),
    Moved(Parcel),
    Forgotten(Reset),
}

struct Reader {
    post: Arc<Post>,
    traces: Traces,
}

/// Does Notification's work for as long as it is let. `again` are the letters to try again.
pub(crate) async fn run(
    post: Arc<Post>,
    again: Arc<Mutex<mpsc::Receiver<(String, Duration)>>>,
    (positions, traces): (Positions, Traces),
) {
    let mut again = again.lock().await;
    for shard in (0..post.backend.shards()).map(ShardId) {
        let (backend, position) = (post.backend.clone(), positions.of(GROUP, shard));
        let consumer = Consumer { backend, topic: Topic::OrderCreated, position };
        tokio::spawn(consumer.follow(Reader { post: post.clone(), traces: traces.clone() }));
    }
    let (found, mut left) = mpsc::channel(PAGE);
    tokio::spawn(find_unsent(post.clone(), found));
    tokio::spawn(reset::find_open(post.clone()));
    let mut due: BTreeSet<(Instant, String)> = BTreeSet::new();
    // Beside the loop: it alone takes what comes in, and a try may have something to put there.
    let mut trying = JoinSet::new();
    loop {
        let next_at = due.first().map(|(at, _)| *at);
        tokio::select! {
            Some((id, pause)) = again.recv() => {
                due.insert((Instant::now() + pause, id));
            }
            Some((id, pause)) = left.recv() => {
                due.insert((Instant::now() + pause, id));
            }
            () = sleep_until(next_at.unwrap_or_else(Instant::now)),
                if next_at.is_some() && trying.len() < LETTERS_MAX =>
            {
                let Some((_, id)) = due.pop_first() else { continue };
                let post = post.clone();
                trying.spawn(async move { (post.try_again(&id, false).await.map(drop), id) });
            }
            // What is not sent comes back by itself, with its pause.
            Some(tried) = trying.join_next() => match tried {
                Ok((Ok(()), _)) => {}
                Ok((Err(rejection), id)) => {
                    tracing::warn!(id, %rejection, "an unsent letter waits");
                    due.insert((Instant::now() + post.pause(2), id));
                }
                Err(error) => tracing::error!(%error, "an unsent letter was not tried"),
            },
        }
    }
}

/// Finds what an earlier process did not send.
async fn find_unsent(post: Arc<Post>, found: mpsc::Sender<(String, Duration)>) {
    let mut after = None;
    let mut retry = Retry::default();
    loop {
        let rows = match post.unsent(after, PAGE).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "expected the unsent letters");
                tokio::time::sleep(retry.pause()).await;
                continue;
            }
        };
        let Some(last) = rows.last() else { return };
        after = Some(last.key);
        for row in &rows {
            let Ok(letter) = post::letter(row) else { continue };
            if letter.notice.state == NoticeState::Delayed {
                let _ = found.send((letter.notice.id, post.pause(1))).await;
            }
        }
    }
}

impl Handler for Reader {
    type Picked = News;

    fn pick(&self, event: &Event<'_>) -> Option<News> {
        let what = match event.fact.kind {
            RecordKind::OrderCreated => What::Ordered(order(event)?),
            RecordKind::PaymentCaptured => What::Paid(order(event)?),
            RecordKind::ShippingUpdated => What::Moved(document(event).filter(Parcel::is_news)?),
            RecordKind::PasswordResetAsked => What::Forgotten(document(event)?),
            _ => return None,
        };
        let at = Position { shard: event.shard.0, lsn: event.lsn.0, time_us: event.time_us };
        (event.time_us + STALE_US > now_us()).then(|| News { at, what, cause: event.fact.cause() })
    }

    async fn handle(&mut self, batch: Vec<News>) {
        let mut telling = JoinSet::new();
        for news in batch {
            if telling.len() == LETTERS_MAX {
                telling.join_next().await;
            }
            let (post, traces) = (self.post.clone(), self.traces.clone());
            telling.spawn(async move { tell(&post, news, &traces).await });
        }
        while let Some(told) = telling.join_next().await {
            if let Err(error) = told {
                tracing::error!(%error, "a customer was not told");
            }
        }
    }
}

async fn tell(post: &Arc<Post>, news: News, traces: &Traces) {
    let (order, occasion, story): (OrderId, _, _) = match news.what {
        What::Ordered(row) => {
            (row.id, Occasion::OrderConfirmation, Story::of_order(&post.backend, &row).await)
        }
        What::Paid(row) => (row.id, Occasion::PaymentReceipt, Story::of_order(&post.backend, &row).await),
        What::Moved(parcel) => match parcel.order.parse() {
            Ok(order) => (order, Occasion::ShippingUpdate, parcel.story()),
            Err(_) => return,
        },
        What::Forgotten(reset) => {
            let work = reset::answer(post, &reset);
            return match news.cause {
                Some(cause) => {
                    let log = traces::log("password_reset", cause);
                    traces::within(Some(cause), work).instrument(log).await
                }
                None => work.await,
            };
        }
    };
    let work = tell_customer(post, news.at, order, occasion, story);
    traces.follow(news.cause, (occasion.name(), order), work).await;
}

async fn tell_customer(post: &Post, at: Position, order: OrderId, occasion: Occasion, story: Story) {
    let mut retry = Retry::default();
    let mut again = false;
    while let Err(rejection) = post.tell(at, order, (occasion, again), story.clone()).await {
        // What was sent is perhaps not on record.
        again = true;
        tracing::warn!(%order, %rejection, "a customer waits to be told");
        tokio::time::sleep(retry.pause()).await;
    }
}

fn order(event: &Event<'_>) -> Option<OrderRow> {
    let (_, bytes) = event.fact.rows().flatten().find(|(tag, _)| *tag == RowTag::Order)?;
    match Row::decode(RowTag::Order, bytes) {
        Ok(Row::Order(order)) => Some(order),
        _ => None,
    }
}

/// The document of an event, as far as it is read here.
fn document<T: serde::de::DeserializeOwned>(event: &Event<'_>) -> Option<T> {
    let (_, bytes) = event.fact.rows().flatten().find(|(tag, _)| *tag == RowTag::Document)?;
    match Row::decode(RowTag::Document, bytes) {
        Ok(Row::Document(row)) => serde_json::from_slice(row.value.as_deref()?).ok(),
        _ => None,
    }
}
