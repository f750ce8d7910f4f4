//! Clients' reply queues.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crossbeam_queue::{ArrayQueue, SegQueue};
use event_listener::Event;
use hashbrown::HashMap;
use onrush_proto::{Reply, Request};

use super::desk::Desk;
use crate::tables::FixedState;

/// Emptied vectors kept for reuse per port.
const SPARES_MAX: usize = 64;

/// Where replies go.
#[derive(Clone)]
pub(crate) enum Sink {
    /// A client that takes replies in batches.
    Queue(Arc<PortQueue>),
    /// Single calls that are waited for one by one.
    Desk(Arc<Desk>),
}

/// The shared half of a [`Port`](crate::Port).
pub(crate) struct PortQueue {
    pub(crate) replies: SegQueue<Vec<(u64, Reply)>>,
    pub(crate) arrived: Event,
    pub(crate) spare_replies: ArrayQueue<Vec<(u64, Reply)>>,
    pub(crate) spare_requests: ArrayQueue<Vec<(u64, Request)>>,
}

impl PortQueue {
    pub(crate) fn new() -> Self {
        Self {
            replies: SegQueue::new(),
            arrived: Event::new(),
            spare_replies: ArrayQueue::new(SPARES_MAX),
            spare_requests: ArrayQueue::new(SPARES_MAX),
        }
    }
}

/// All ports of an engine by number.
#[derive(Default)]
pub(crate) struct Ports {
    next: AtomicU32,
    sinks: RwLock<HashMap<u32, Sink, FixedState>>,
    /// Counts closings, so that workers drop what they remember.
    closed: AtomicU64,
}

impl Ports {
    pub(crate) fn open(&self, sink: Sink) -> u32 {
        let port = self.next.fetch_add(1, Ordering::Relaxed);
        self.sinks.write().unwrap_or_else(PoisonError::into_inner).insert(port, sink);
        port
    }

    pub(crate) fn close(&self, port: u32) {
        self.sinks.write().unwrap_or_else(PoisonError::into_inner).remove(&port);
        self.closed.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn sink(&self, port: u32) -> Option<Sink> {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner).get(&port).cloned()
    }

    pub(crate) fn closings(&self) -> u64 {
        self.closed.load(Ordering::Acquire)
    }
}
