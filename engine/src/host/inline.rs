//! The caller's thread drives the shards. Between calls nothing happens, timers included.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::STORE_PATIENCE;
use super::worker::Worker;

/// Shards that turn when somebody calls.
pub(crate) struct InlineHost {
    workers: Mutex<Vec<Worker>>,
}

impl InlineHost {
    pub(crate) fn new(workers: Vec<Worker>) -> Self {
        Self { workers: Mutex::new(workers) }
    }

    /// Turns every shard until none has anything to do. What waits for a store that lags by its bound is waited
    /// for: nobody else would come back to it.
    pub(crate) fn drive(&self) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut turned = false;
            for worker in workers.iter_mut() {
                turned |= worker.turn();
            }
            if turned {
                continue;
            }
            if !workers.iter().any(|worker| worker.waits_for_store() && !worker.station().is_idle()) {
                return;
            }
            thread::park_timeout(STORE_PATIENCE);
        }
    }

    /// Finishes what has reached the shards, and seals their logs.
    pub(crate) fn close(&self) {
        self.drive();
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for mut worker in workers.drain(..) {
            worker.station().closing.store(true, Ordering::Release);
            worker.seal();
        }
    }
}
