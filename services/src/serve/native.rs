//! The fronts of the native protocol, and the thread behind them.

use std::thread::JoinHandle;

use onrush_engine::EngineHandle;
use tokio::sync::watch;

use super::connections::Limit;
use super::listen::{self, ListenError, Taken};
use super::{ServeError, Shop, background};
use crate::config::{Config, EnginePlace};
use crate::native::{Front, Later, work};

/// Its port, if this process serves it.
pub(super) fn take(config: &Config) -> Result<Option<Taken>, ListenError> {
    match (&config.engine, config.native.port) {
        (EnginePlace::Here(_), Some(port)) => {
            listen::take(("native", "NATIVE_PORT"), config.address(port), config.fronts).map(Some)
        }
        _ => Ok(None),
    }
}

/// As many fronts as there are sockets, and what does for them what takes longer.
pub(super) fn start(
    config: &Config,
    shop: &Shop,
    engine: EngineHandle,
    taken: Taken,
    limit: &Limit,
    stop: &watch::Receiver<bool>,
) -> Result<(Vec<JoinHandle<()>>, JoinHandle<()>), ServeError> {
    let (later, tasks) = Later::new();
    let (backend, settlements) = (shop.backend.clone(), shop.settlements.clone());
    let worker = background::thread("onrush-native-later", stop.clone(), move || {
        let (backend, pump) = backend.for_loop();
        if let Some(pump) = pump {
            tokio::spawn(pump);
        }
        tokio::spawn(work(backend, settlements, tasks));
    })?;
    let mut fronts = Vec::new();
    for listener in taken.sockets {
        let front = Front {
            engine: engine.clone(),
            gate: shop.gate.clone(),
            later: later.clone(),
            commands: shop.metrics.native_front(),
            listener,
            limits: config.native.limits,
            places: limit.0.clone(),
            drain: config.drain,
        };
        let start = |error| ServeError::Start { what: "a front thread of the native protocol", error };
        fronts.push(front.start(stop.clone()).map_err(start)?);
    }
    Ok((fronts, worker))
}
