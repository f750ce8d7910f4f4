//! What works behind the fronts, on threads of its own: the settlement reader, the gateway's worker
//! and its webhooks; Shipping's worker; Notification's; Recommendation's.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use onrush_engine::HostKind;
use onrush_proto::{OrderId, ShardId};
use tokio::sync::{Mutex, mpsc, watch};

use super::{ServeError, Shop};
use crate::backend::Backend;
use crate::cluster::Office;
use crate::config::{Config, FirstAdmin, Service};
use crate::events;
use crate::gateway::{self, Simulated};
use crate::metrics::Positions;
use crate::notification;
use crate::recommendation::Learner;
use crate::retry::Retry;
use crate::shipping;
use crate::user::{self, Users};

/// How often an inline engine is driven.
const TICK: Duration = Duration::from_millis(10);

/// How long a thread that ends waits for what it reads beside itself. Whoever reads the store keeps it from being closed;
/// what waits for a name to be found may take longer than anybody waits.
pub(super) const READING_MAX: Duration = Duration::from_secs(2);

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
    let mut threads =
        vec![start(shop.clone(), config.host, stop.clone())?, start_payments(config, shop, stop.clone())?];
    if let Some(followed) = followed {
        // Whoever reads much of the log holds up no payment.
        threads.push(thread("onrush-events", stop.clone(), move || drop(tokio::spawn(followed.run())))?);
    }
    if config.serves(Service::Shipping) {
        threads.push(start_shipping((shop, woken), positions.clone(), stop.clone())?);
    }
    if config.serves(Service::Notification) {
        threads.push(start_notification((shop, again), positions.clone(), stop.clone())?);
    }
    if config.serves(Service::Recommendation) {
        shop.recommendation.restore();
        threads.push(start_recommendation((shop.recommendation.clone(), positions.clone()), stop.clone())?);
    }
    Ok(threads)
}

fn start(shop: Shop, host: HostKind, stop: watch::Receiver<bool>) -> Result<JoinHandle<()>, ServeError> {
    thread("onrush-background", stop, move || {
        for shard in (0..shop.backend.shards()).map(ShardId) {
            tokio::spawn(shop.settlements.clone().follow(shop.backend.clone(), shard));
        }
        if host == HostKind::Inline && matches!(shop.backend, Backend::Local { .. }) {
            tokio::spawn(tick(shop.backend.clone()));
        }
    })
}

/// Shipping's worker, on a thread of its own: carriers are slow, and payments do not wait for them.
fn start_shipping(
    (shop, woken): (&Shop, mpsc::Receiver<OrderId>),
    positions: Positions,
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, ServeError> {
    let (desk, woken) = (shop.shipping.clone(), Arc::new(Mutex::new(woken)));
    let term = Term {
        office: shop.office.clone(),
        groups: vec![shipping::worker::GROUP],
        positions: positions.clone(),
    };
    thread_in_office("onrush-shipping", stop, term, move || {
        tokio::spawn(crate::shipping::worker::run(desk.clone(), woken.clone(), positions.clone()));
    })
}

/// Notification's worker, on a thread of its own: it writes files and waits for mail servers.
fn start_notification(
    (shop, again): (&Shop, mpsc::Receiver<(String, Duration)>),
    positions: Positions,
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, ServeError> {
    let (post, again) = (shop.notification.clone(), Arc::new(Mutex::new(again)));
    let groups = vec![notification::worker::GROUP];
    let term = Term { office: shop.office.clone(), groups, positions: positions.clone() };
    let measured = (positions, shop.traces.clone());
    thread_in_office("onrush-notification", stop, term, move || {
        tokio::spawn(crate::notification::worker::run(post.clone(), again.clone(), measured.clone()));
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
    stop: watch::Receiver<bool>,
    begin: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, ServeError> {
    let mut begin = Some(begin);
    let term = Term { office: Office::ALWAYS, groups: Vec::new(), positions: Positions::default() };
    thread_in_office(name, stop, term, move || begin.take().into_iter().for_each(|begin| begin()))
}

/// When something works, and as which consumer groups.
struct Term {
    office: Office,
    groups: Vec<&'static str>,
    positions: Positions,
}

/// The same for what acts on the shop's events: it works while the shop is decided here. Whoever takes office next begins
/// as after a start, with what is on record.
fn thread_in_office(
    name: &str,
    mut stop: watch::Receiver<bool>,
    Term { mut office, groups, positions }: Term,
    mut begin: impl FnMut() + Send + 'static,
) -> Result<JoinHandle<()>, ServeError> {
    let start = |error| ServeError::Start { what: "a background thread", error };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut of_term = runtime().map_err(start)?;
    let work = move || {
        loop {
            let stopped = of_term.block_on(async {
                // An error means that the process is gone already.
                let stopped = async {
                    let _ = stop.wait_for(|stop| *stop).await;
                    // Calls that drain still wait for what works here: go on until the last front let go.
                    let _ = stop.changed().await;
                };
                let term = async {
                    office.won().await;
                    begin();
                    office.lost().await;
                };
                tokio::select! {
                    () = stopped => true,
                    () = term => false,
                }
            });
            // What is under way is read from the log again, here or elsewhere.
            let over = std::mem::replace(
                &mut of_term,
                match runtime() {
                    Ok(next) => next,
                    Err(error) => return tracing::error!(%error, "a background thread ended with its term"),
                },
            );
            if stopped {
                return over.shutdown_timeout(READING_MAX);
            }
            // Its tasks end with it, and what they held of the groups' positions.
            drop(over);
            positions.forget(&groups);
        }
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

/// What works with gateways, and what a shop begins with. Of several processes one works with gateways: the one that serves
/// payments.
fn start_payments(
    config: &Config,
    shop: &Shop,
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, ServeError> {
    let webhooks = shop.gateways.the_simulated().filter(|_| shop.pays).and_then(Simulated::webhooks);
    let webhooks = webhooks.map(|webhooks| Arc::new(Mutex::new(webhooks)));
    let admin = config.first_admin.clone().filter(|_| shop.node.is_some() && config.serves(Service::User));
    let shop = shop.clone();
    let (groups, positions) = (vec![gateway::worker::GROUP], shop.metrics.positions.clone());
    let term = Term { office: shop.office.clone(), groups, positions };
    thread_in_office("onrush-payments", stop, term, move || {
        if let Some(admin) = admin.clone() {
            tokio::spawn(make_first_admin(Users::new(shop.backend.clone(), shop.users.clone()), admin));
        }
        if !shop.pays {
            return;
        }
        let worker = shop.hearing.worker();
        if let Some(webhooks) = &webhooks {
            tokio::spawn(worker.clone().hear(webhooks.clone()));
        }
        for shard in (0..shop.backend.shards()).map(ShardId) {
            tokio::spawn(worker.clone().follow(shard, shop.metrics.positions.clone()));
        }
    })
}

/// Until it is there, or somebody else decides.
async fn make_first_admin(users: Users, admin: FirstAdmin) {
    let mut retry = Retry::default();
    while let Err(error) = user::ensure_first_admin(&users, &admin).await {
        tracing::warn!(%error, "the first admin is not there yet");
        tokio::time::sleep(retry.pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_is_read_when_a_thread_is_stopped_is_read_to_its_end() {
        let (stop, stopped) = watch::channel(false);
        let (begun, has_begun) = std::sync::mpsc::channel();
        let is_read = Arc::new(AtomicBool::new(false));
        let reads = Arc::clone(&is_read);
        let thread = thread("onrush-test", stopped, move || {
            tokio::task::spawn_blocking(move || {
                begun.send(()).unwrap();
                // Far longer than it takes to stop a thread that waits for nothing.
                std::thread::park_timeout(Duration::from_millis(300));
                reads.store(true, Ordering::SeqCst);
            });
        });
        has_begun.recv().unwrap();
        stop.send_replace(true);
        drop(stop);
        thread.unwrap().join().unwrap();
        assert!(is_read.load(Ordering::SeqCst));
    }
}
