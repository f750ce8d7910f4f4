//! One peer: what waits for it, what was counted, the connections that there are.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use quinn::Connection;
use tokio::sync::Notify;

use super::greeting::{Greeting, Instance};
use super::queue::Queue;
use super::refusal::LEFT;
use super::roster::lock;
use super::{PeerRefusal, PeerRefused, PeerStatus, Traffic};

/// A count of messages and of their bytes.
#[derive(Debug, Default)]
pub(super) struct Count {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    pub(super) fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    fn read(&self) -> Traffic {
        Traffic { messages: self.messages.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: u64,
    pub(super) queue: Queue,
    pub(super) sent: Count,
    pub(super) received: Count,
    pub(super) dropped: Count,
    known: Mutex<Known>,
    /// It has called while no connection to it stood.
    awake: Notify,
}

/// What is known of it now.
#[derive(Debug, Default)]
struct Known {
    address: String,
    /// It is no member any more: no connection is kept.
    removed: bool,
    /// The connection to it, and the process that answers at its address: that one is the node.
    called: Option<(Connection, Instance)>,
    heard: Option<(Connection, Instance)>,
    /// Another process that has called under its number.
    double: Option<Instance>,
    advertised: Option<String>,
    refused: Option<PeerRefused>,
    failure: Option<String>,
}

impl Peer {
    pub(super) fn new(node: u64, address: String, queue_bytes_max: usize) -> Self {
        Self {
            node,
            queue: Queue::new(queue_bytes_max),
            sent: Count::default(),
            received: Count::default(),
            dropped: Count::default(),
            known: Mutex::new(Known { address, ..Known::default() }),
            awake: Notify::new(),
        }
    }

    pub(super) fn address(&self) -> String {
        lock(&self.known).address.clone()
    }

    /// It is called elsewhere from now on: a connection to where it was is ended.
    pub(super) fn moves(&self, address: &str) {
        let mut known = lock(&self.known);
        if known.address != address {
            address.clone_into(&mut known.address);
            if let Some((called, _)) = known.called.take() {
                called.close(LEFT, b"");
            }
        }
    }

    /// A connection to it stands. One to somebody who was removed meanwhile, or moved, is not kept. Another process that was
    /// heard under its number is told so.
    pub(super) fn connect(&self, connection: &Connection, address: &str, answer: Greeting) -> bool {
        let mut known = lock(&self.known);
        if known.removed || known.address != address {
            return false;
        }
        let instance = answer.instance;
        if let Some((heard, other)) = known.heard.take_if(|(_, heard)| *heard != instance) {
            PeerRefusal::DuplicateNode { node: self.node }.close(&heard);
            known.double = Some(other);
        }
        known.double.take_if(|double| *double == instance);
        known.called = Some((connection.clone(), instance));
        known.advertised = Some(answer.advertised);
        known.failure = None;
        true
    }

    /// The connection to it is gone, or none was made, and so is what waited: whoever sent it sends again
    /// what still holds.
    pub(super) fn disconnect(&self, failure: String) {
        let (messages, bytes) = self.queue.clear();
        self.dropped.add(messages, bytes);
        let mut known = lock(&self.known);
        known.called = None;
        known.failure = Some(failure);
    }

    /// A connection of it stands, and replaces an older one. Where another process answers at its address, either it was
    /// started again or somebody has its number: it is called anew, and whoever answers then is the node.
    ///
    /// # Errors
    /// It is known that another process answers there.
    pub(super) fn hear(
        &self,
        connection: &Connection,
        call: &Greeting,
    ) -> Result<Option<Older>, PeerRefusal> {
        let mut known = lock(&self.known);
        let instance = call.instance;
        if known.double == Some(instance) && known.called.is_some() {
            return Err(PeerRefusal::DuplicateNode { node: self.node });
        }
        if let Some((called, _)) = known.called.take_if(|(_, there)| *there != instance) {
            called.close(LEFT, b"");
        }
        known.advertised = Some(call.advertised.clone());
        if known.called.is_none() {
            self.awake.notify_one();
        }
        let older = known.heard.replace((connection.clone(), instance));
        Ok(older.map(|(connection, was)| Older { connection, is_other_process: was != instance }))
    }

    /// Waits until it calls while no connection to it stands: it is there now, whatever it was before.
    pub(super) async fn is_awake(&self) {
        self.awake.notified().await;
    }

    /// A connection of it is gone; another one may stand already.
    pub(super) fn unhear(&self, connection: &Connection) {
        let mut known = lock(&self.known);
        known.heard.take_if(|(heard, _)| heard.stable_id() == connection.stable_id());
    }

    pub(super) fn refuse(&self, refused: PeerRefused) {
        lock(&self.known).refused = Some(refused);
    }

    /// Ends what there is: it is no member any more, or this node leaves.
    pub(super) fn end(&self, refusal: Option<&PeerRefusal>) {
        let mut known = lock(&self.known);
        known.removed = true;
        let heard = known.heard.take().map(|(connection, _)| connection);
        let called = known.called.take().map(|(connection, _)| connection);
        for connection in called.into_iter().chain(heard) {
            match refusal {
                Some(refusal) => refusal.close(&connection),
                None => connection.close(LEFT, b""),
            }
        }
    }

    pub(super) fn advertised(&self) -> Option<String> {
        lock(&self.known).advertised.clone()
    }

    pub(super) fn status(&self) -> PeerStatus {
        let known = lock(&self.known);
        PeerStatus {
            address: known.address.clone(),
            connected: known.called.is_some(),
            heard: known.heard.is_some(),
            advertised: known.advertised.clone(),
            sent: self.sent.read(),
            received: self.received.read(),
            dropped: self.dropped.read(),
            waiting_bytes: self.queue.bytes(),
            refused: known.refused.clone(),
            failure: known.failure.clone(),
        }
    }
}

/// A connection that another one has replaced.
#[derive(Debug)]
pub(super) struct Older {
    pub(super) connection: Connection,
    /// It was of another process with the same number.
    pub(super) is_other_process: bool,
}
