//! Reads the log for the counters, puts in order what everybody may be shown, keeps the counters in
//! their file: on a thread of its own, which gives way to orders.

use std::sync::Arc;
use std::time::Duration;

use onrush_engine::SubscribeError;
use onrush_proto::{Lsn, ShardId, Sku};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::learner::Learner;
use super::purchase::{Lesson, Listing};
use crate::backend::{Feed, ProductFilter};
use crate::clock::now_us;
use crate::metrics::{Position, Positions};
use crate::priority::yield_to_orders;
use crate::records;
use crate::retry::Retry;
use crate::status::Rejection;

/// What reads, in measures. It keeps its place itself: the log has no group of this name.
pub(crate) const READER: &str = "recommendation";
/// Records read at once.
const BATCH_RECORDS: usize = 256;
/// Products listed at once.
const PAGE: usize = 1_000;
/// Least time between two boards. One that takes long to make is made the more seldom.
const REFRESH: Duration = Duration::from_millis(100);
/// How many times as long as it takes to make a board it stays.
const REFRESH_REST: u32 = 20;
/// Longest time between two boards: windows move though nobody buys.
const REFRESH_AT_LEAST: Duration = Duration::from_secs(60);
/// How often the counters are kept if they have changed.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Does Recommendation's work for as long as the process lives.
pub(crate) async fn run(learner: Arc<Learner>, positions: Positions) {
    yield_to_orders();
    let mut ends = Vec::new();
    for shard in shards(&learner) {
        ends.push(learner.backend.end_at_last(shard).await);
    }
    // After a loss of its last records the log is another one from there on.
    if shards(&learner).zip(&ends).any(|(shard, end)| learner.cursor(shard) > *end) {
        tracing::warn!("the log ends before what was counted: counters are rebuilt from it");
        learner.begin_anew();
    }
    if learner.is_new() {
        catalogue(&learner).await;
    }
    learner.refresh(now_us());
    let changed = Arc::new(Notify::new());
    for shard in shards(&learner) {
        let position = positions.of(READER, shard);
        tokio::spawn(follow(learner.clone(), position, changed.clone()));
    }
    keep(&learner, &changed).await;
}

fn shards(learner: &Learner) -> impl Iterator<Item = ShardId> + use<> {
    (0..learner.backend.shards()).map(ShardId)
}

/// Refreshes the board and saves the counters as they change.
async fn keep(learner: &Arc<Learner>, changed: &Notify) {
    let mut save_at: Option<Instant> = None;
    loop {
        if tokio::time::timeout(REFRESH_AT_LEAST, changed.notified()).await.is_ok() {
            save_at.get_or_insert_with(|| Instant::now() + SAVE_EVERY);
        }
        let began = Instant::now();
        learner.refresh(now_us());
        tokio::time::sleep(REFRESH.max(began.elapsed() * REFRESH_REST)).await;
        if save_at.is_some_and(|at| at <= Instant::now()) {
            learner.save();
            save_at = None;
        }
    }
}

/// Reads a shard's log from where it was read to.
async fn follow(learner: Arc<Learner>, position: Arc<Position>, changed: Arc<Notify>) {
    let shard = position.shard;
    let mut after = learner.cursor(shard);
    loop {
        let mut feed = learner.backend.subscribe(shard, Lsn(after.0 + 1));
        match read(&learner, &position, &mut feed, &changed).await {
            SubscribeError::OutOfRange { first, found } => {
                tracing::warn!(shard = shard.0, first, found, "records were released uncounted");
                after = Lsn(first.saturating_sub(1));
                // Products may have been put in them.
                catalogue(&learner).await;
            }
            error => {
                tracing::error!(shard = shard.0, %error, "the log cannot be read: its orders are not counted");
                return;
            }
        }
    }
}

async fn read(learner: &Learner, position: &Position, feed: &mut Feed, changed: &Notify) -> SubscribeError {
    loop {
        feed.ready().await;
        let mut lessons = Vec::new();
        if let Err(error) = records::read(feed, BATCH_RECORDS, |event| lessons.extend(Lesson::of(&event))) {
            return error;
        }
        learner.learn(position.shard, feed.cursor(), &lessons);
        position.reached(feed.cursor());
        if !lessons.is_empty() {
            changed.notify_one();
        }
        // A long log must not keep this thread from its other tasks.
        tokio::task::yield_now().await;
    }
}

/// Learns which products there are: those that were put before the log begins, too.
async fn catalogue(learner: &Learner) {
    let (mut after, mut retry) = (None, Retry::default());
    loop {
        match page(learner, after).await {
            Ok(None) => return,
            Ok(last) => (after, retry) = (last, Retry::default()),
            Err(error) => {
                tracing::warn!(%error, "expected the catalogue");
                tokio::time::sleep(retry.jittered_pause()).await;
            }
        }
    }
}

/// A page of the catalogue; its last product.
async fn page(learner: &Learner, after: Option<Sku>) -> Result<Option<Sku>, Rejection> {
    let any = ProductFilter { query: String::new(), category: String::new() };
    let rows = learner.backend.products(after, PAGE, any).await?;
    learner.list(rows.iter().map(|row| Listing::of(row)));
    Ok(rows.last().map(|row| row.sku))
}
