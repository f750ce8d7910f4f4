//! A client's own pair of queues: requests out in batches, replies back in batches.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use event_listener::{EventListener, Listener};
use onrush_proto::{Lsn, Outcome, Refusal, Reply, Request};

use crate::handle::EngineHandle;
use crate::host::{Parcel, PortQueue, Sink};

/// Most requests one port may have in flight.
pub const IN_FLIGHT_MAX: usize = 1 << 16;

/// One client's batch interface. Requests are grouped by shard and leave with
/// [`flush`](Self::flush); replies are taken with [`drain`](Self::drain).
pub struct Port {
    engine: EngineHandle,
    number: u32,
    queue: Arc<PortQueue>,
    /// Requests added since the last flush, by shard.
    pending: Vec<Vec<(u64, Request)>>,
    in_flight: usize,
    /// Answers that this port gave itself: refused at a full door.
    turned_away: Vec<(u64, Request)>,
    /// Hears of replies for [`poll_ready`](Self::poll_ready).
    arrived: Option<EventListener>,
}

impl Port {
    pub(crate) fn open(engine: EngineHandle) -> Self {
        let queue = Arc::new(PortQueue::new());
        let number = engine.ports().open(Sink::Queue(Arc::clone(&queue)));
        let pending = (0..engine.slot_map().shards()).map(|_| Vec::new()).collect();
        Self { engine, number, queue, pending, in_flight: 0, turned_away: Vec::new(), arrived: None }
    }

    /// Adds a request to its shard's batch. `tag` comes back with the reply. Gives the request back
    /// if [`IN_FLIGHT_MAX`] are in flight.
    #[allow(clippy::result_large_err, reason = "the request goes back to its owner")]
    pub fn submit(&mut self, tag: u64, request: Request) -> Result<(), Request> {
        if self.in_flight >= IN_FLIGHT_MAX {
            return Err(request);
        }
        self.in_flight += 1;
        let shard = self.engine.shard_of(&request);
        self.pending[usize::from(shard.0)].push((tag, request));
        Ok(())
    }

    /// Sends what was added: one parcel and one wake per shard. A full shard turns requests away;
    /// their reply is [`Refusal::Overloaded`].
    pub fn flush(&mut self) {
        for shard in 0..self.pending.len() {
            if self.pending[shard].is_empty() {
                continue;
            }
            let spare = self.queue.spare_requests.pop().unwrap_or_default();
            let requests = std::mem::replace(&mut self.pending[shard], spare);
            let parcel = Parcel::Many { port: self.number, requests };
            if let Err(Parcel::Many { mut requests, .. }) = self.engine.station(shard).send(parcel) {
                self.turned_away.append(&mut requests);
                self.pending[shard] = requests;
            }
        }
    }

    /// Hands over the replies that are there; returns how many. With the inline host this drives
    /// the shards.
    pub fn drain(&mut self, mut reply: impl FnMut(u64, Reply)) -> usize {
        self.engine.drive();
        let mut taken = 0;
        let closed = self.is_closed();
        for (tag, _) in self.turned_away.drain(..) {
            let outcome = Outcome::Refused(if closed { Refusal::Stopped } else { Refusal::Overloaded });
            reply(tag, Reply { outcome, replayed: false, lsn: Lsn(0) });
            taken += 1;
        }
        while let Some(mut replies) = self.queue.replies.pop() {
            taken += replies.len();
            for (tag, one) in replies.drain(..) {
                reply(tag, one);
            }
            // A full shelf of spares frees the vector.
            let _ = self.queue.spare_replies.push(replies);
        }
        self.in_flight -= taken;
        taken
    }

    /// Blocks until a reply is there, at most `timeout`. True if there is one.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        #[allow(clippy::disallowed_methods, reason = "the caller's patience is of no concern to a shard")]
        let deadline = Instant::now() + timeout;
        loop {
            self.engine.drive();
            let listener = self.queue.arrived.listen();
            if !self.is_quiet() {
                return true;
            }
            // Word may come late, of a reply that was taken already.
            if listener.wait_deadline(deadline).is_none() {
                return !self.is_quiet();
            }
        }
    }

    /// The same for a task of any executor: ready if a reply is there, else the task is woken when one
    /// comes.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.engine.drive();
        loop {
            let arrived = self.arrived.get_or_insert_with(|| self.queue.arrived.listen());
            // Looked at behind the listening, so that no reply comes in between.
            if !self.queue.replies.is_empty() || !self.turned_away.is_empty() {
                return Poll::Ready(());
            }
            match Pin::new(arrived).poll(context) {
                Poll::Ready(()) => self.arrived = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Requests submitted and not answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// True once the engine closes: what is sent from now on may never be looked at.
    pub(crate) fn is_closed(&self) -> bool {
        self.engine.station(0).is_closed()
    }

    pub(crate) fn queue(&self) -> &Arc<PortQueue> {
        &self.queue
    }

    fn is_quiet(&self) -> bool {
        self.queue.replies.is_empty() && self.turned_away.is_empty()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.engine.ports().close(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{Engine, EngineOptions};

    /// A reply was taken before word of it came; the word then ended the next wait at once, and a client took that
    /// for a shard that did not answer in time.
    #[test]
    fn word_of_a_reply_that_was_taken_ends_no_wait() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = Some(dir.path().join("data"));
        let engine = Engine::open(EngineOptions { data_dir, shards: Some(1), ..EngineOptions::default() });
        let engine = engine.unwrap();
        let mut port = engine.handle().port();
        let queue = Arc::clone(port.queue());
        let late = thread::spawn(move || {
            // Until the other one listens.
            while queue.arrived.notify(1) == 0 {
                thread::yield_now();
            }
            queue
                .replies
                .push(vec![(7, Reply { outcome: Outcome::Offset(Lsn(1)), replayed: false, lsn: Lsn(0) })]);
            queue.arrived.notify(1);
        });
        assert!(port.wait(Duration::from_secs(600)));
        late.join().unwrap();
        drop(port);
        engine.close().unwrap();
    }
}
