//! Whether the shop is decided here: what acts on its events works where it is, and consumer groups are dealt their shards
//! there, and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use onrush_engine::EngineHandle;
use onrush_proto::{Refusal, ShardId};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Node, places};
use crate::backend::Backend;

/// How often it is looked whether the office was won or lost.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long who was let in waits until the office has been seen to be held.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// True while this node decides for every shard. An engine of its own always does.
#[derive(Clone)]
pub(crate) struct Office(Option<watch::Receiver<bool>>);

impl Office {
    /// For who is no node.
    pub(crate) const ALWAYS: Self = Self(None);

    /// Of a node: somebody has to [`keep_watch`].
    pub(crate) fn of_node() -> (watch::Sender<bool>, Self) {
        let (held, office) = watch::channel(false);
        (held, Self(Some(office)))
    }

    /// Ends when the office is held.
    pub(crate) async fn won(&mut self) {
        if let Some(office) = &mut self.0 {
            until(office, true).await;
        }
    }

    /// Ends when it is not.
    pub(crate) async fn lost(&mut self) {
        match &mut self.0 {
            Some(office) => until(office, false).await,
            None => std::future::pending().await,
        }
    }

    /// Ends when the office is held, and has been seen to be: whoever waits for [`left`](Self::left) then waits for its end.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`] where it is not.
    pub(crate) async fn entered(&mut self, backend: &Backend) -> Result<(), Refusal> {
        backend.must_decide()?;
        timeout(SEEN_WITHIN, self.won()).await.map_err(|_| backend.led_by())
    }

    /// Ends when the office is not held, with the refusal for whoever rests on it.
    pub(crate) async fn left(&mut self, backend: &Backend) -> Refusal {
        self.lost().await;
        backend.led_by()
    }
}

async fn until(office: &mut watch::Receiver<bool>, wanted: bool) {
    if office.wait_for(|held| *held == wanted).await.is_err() {
        // Nobody will tell any more: the process ends.
        std::future::pending::<()>().await;
    }
}

/// How often it is looked where nodes listen, if anything was recorded at all.
const PLACES_EVERY: Duration = Duration::from_millis(500);

/// Looks where nodes listen for as long as the process lives: one that is added is spoken with once it is on record.
pub(crate) async fn keep_places(node: Arc<Node>, engine: EngineHandle) {
    let mut seen = None;
    loop {
        let position = Some(places::position(&engine));
        if seen != position {
            let (node, engine) = (Arc::clone(&node), engine.clone());
            // A panic has been told where it was.
            let _ = tokio::task::spawn_blocking(move || node.look_for_places(&engine)).await;
            seen = position;
        }
        tokio::time::sleep(PLACES_EVERY).await;
    }
}

/// Looks at the office for as long as the process lives, and at what the others say of themselves.
pub(crate) async fn keep_watch(node: Arc<Node>, engine: EngineHandle, held: watch::Sender<bool>) {
    let shards = engine.slot_map().shards();
    loop {
        let decides = (0..shards).map(ShardId).all(|shard| engine.decides(shard));
        held.send_if_modified(|held| std::mem::replace(held, decides) != decides);
        node.look_around();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
