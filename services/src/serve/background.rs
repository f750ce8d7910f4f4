//! What works behind the fronts, on threads of its own: the settlement reader, the gateway's worker
//! and its webhooks; Shipping's worker; Notification's; Recommendation's.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use onrush_engine::HostKind;
use onrush_proto::{OrderId, ShardId};
use tokio::sync::{mpsc, watch};

use super::{ServeError, Shop};
use crate::backend::Backend;
use crate::config::{Config, Service};
use crate::events;
use crate::gateway::Simulated;
use crate::metrics::Positions;
use crate::notification::Post;
use crate::recommendation::Learner;
use crate::shipping::Desk;
use crate::traces::Traces;

/// How often an inline engine is driven.
const TICK: Duration = Duration::from_millis(10);

/// Starts the threads of the services that this process serves.
pub(super) fn start_all(
    config: &Config,
    shop: &Shop,
    (woken, again, followed): (
        mpsc::Receiver<OrderId>,
        mpsc::Receiver<(String, Duration)>,
        Option<events::Work>,
    ),
    stop: &watch::Receiver<bool>,
) -> Result<Vec<JoinHandle<()>>, ServeError> {
    let positions = &shop.metrics.positions;
    let mut threads = vec![start(shop.clone(), config.host, stop.clone())?];
    if let Some(followed) = followed {
        // Whoever reads much of the log holds up no payment.
        threads.push(thread("onrush-events", stop.clone(), move || drop(tokio::spawn(followed.run())))?);
    }
    if config.serves(Service::Shipping) {
        threads.push(start_shipping((shop.shipping.clone(), woken), positions.clone(), stop.clone())?);
    }
    if config.serves(Service::Notification) {
        threads.push(start_notification(
            (shop.notification.clone(), again),
            (positions.clone(), shop.traces.clone()),
            stop.clone(),
        )?);
    }
    if config.serves(Service::Recommendation) {
        shop.recommendation.restore();
        threads.push(start_recommendation((shop.recommendation.clone(), positions.clone()), stop.clone())?);
    }
    Ok(threads)
}

fn start(shop: Shop, host: HostKind, stop: watch::Receiver<bool>) -> Result<JoinHandle<()>, ServeError> {
    thread("onrush-background", stop, move || {
        spawn(&shop);
        if host == HostKind::Inline && matches!(shop.backend, Backend::Local { .. }) {
            tokio::spawn(tick(shop.backend.clone()));
        }
    })
}

/// Shipping's worker, on a thread of its own: carriers are slow, and payments do not wait for them.
fn start_shipping(
    (desk, woken): (Arc<Desk>, mpsc::Receiver<OrderId>),
    positions: Positions,
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, ServeError> {
    thread("onrush-shipping", stop, move || {
        tokio::spawn(crate::shipping::worker::run(desk, woken, positions));
    })
}

/// Notification's worker, on a thread of its own: it writes files and waits for mail servers.
fn start_notification(
    (post, again): (Arc<Post>, mpsc::Receiver<(String, Duration)>),
    measured: (Positions, Traces),
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, ServeError> {
    thread("onrush-notification", stop, move || {
        tokio::spawn(crate::notification::worker::run(post, again, measured));
    })
}

/// Recommendation's worker, on a thread of its own: it reads every record.
fn start_recommendation(
    (learner, positions): (Arc<Learner>, Positions),
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, ServeError> {
    thread("onrush-recommendation", stop, move || {
        tokio::spawn(crate::recommendation::worker::run(learner, positions));
    })
}

/// A thread with a runtime, in which `begin` spawns what works until the process ends.
pub(super) fn thread(
    name: &str,
    mut stop: watch::Receiver<bool>,
    begin: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, ServeError> {
    let start = |error| ServeError::Start { what: "a background thread", error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(start)?;
    let work = move || {
        runtime.block_on(async {
            begin();
            // An error means that the process is gone already.
            let _ = stop.wait_for(|stop| *stop).await;
            // Calls that drain still wait for what works here: go on until the last front let go.
            let _ = stop.changed().await;
        });
        // What is under way is read from the log again at the next start.
        runtime.shutdown_background();
    };
    Builder::new().name(name.into()).spawn(work).map_err(start)
}

/// An inline engine moves only when somebody calls: without calls nothing would ever expire.
async fn tick(backend: Backend) {
    let mut feed = backend.subscribe(ShardId(0), backend.end_at_last(ShardId(0)).await);
    loop {
        tokio::time::sleep(TICK).await;
        if let Err(error) = feed.poll(0, |_| ()) {
            tracing::debug!(%error, "the tick could not read the log");
        }
    }
}

/// Of several processes one works with gateways: the one that serves payments.
fn spawn(shop: &Shop) {
    for shard in (0..shop.backend.shards()).map(ShardId) {
        tokio::spawn(shop.settlements.clone().follow(shop.backend.clone(), shard));
    }
    if !shop.pays {
        return;
    }
    let worker = shop.hearing.worker();
    if let Some(webhooks) = shop.gateways.the_simulated().and_then(Simulated::webhooks) {
        tokio::spawn(worker.clone().hear(webhooks));
    }
    for shard in (0..shop.backend.shards()).map(ShardId) {
        tokio::spawn(worker.clone().follow(shard, shop.metrics.positions.clone()));
    }
}
