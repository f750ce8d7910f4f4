//! `onrush.session.v1.SessionService`: the calls of product, order and payment service in batches, over one
//! stream. A call ends in the very function that its unary handler ends in; an order of one line takes the short way of
//! `PlainOrder`, as its unary call does, and goes with the others of its message.

mod answers;
mod conversation;
mod desk;
mod orders;
mod surface;

use std::sync::Arc;
use std::time::Duration;

use prost::bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Status, Streaming};

use crate::access::Gate;
use crate::backend::Backend;
use crate::metrics::Meter;
use crate::nodes::Signpost;
use crate::settlements::Settlements;
use crate::staleness::{self, Staleness};
use crate::traces;
use conversation::Conversation;
use desk::Desk;
use orders::Orders;
use surface::SessionServer;

/// Calls that all sessions of a front together may have open; beside them unary calls have room.
const OPEN_MAX: usize = 16_384;
/// Bytes of a message. In memory its calls take up to 60 times as many while they are counted.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Messages that wait to be read by a client.
const MESSAGES_WAITING: usize = 2;
/// How long a client may let its answers lie.
const SLOW: Duration = Duration::from_secs(30);

/// Opens sessions.
pub(crate) struct Sessions {
    pub(crate) backend: Backend,
    pub(crate) settlements: Settlements,
    pub(crate) gate: Arc<Gate>,
    /// Counts the calls under their own names.
    pub(crate) meter: Arc<Meter>,
    /// For each call that is open in any session of the front.
    pub(crate) places: Arc<Semaphore>,
    /// True once nothing more is taken.
    pub(crate) stop: watch::Receiver<bool>,
    /// Where the leader's port is.
    pub(crate) signpost: Signpost,
}

impl Sessions {
    /// The places of a front.
    pub(crate) fn places() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(OPEN_MAX))
    }

    /// The service, ready to be served.
    pub(crate) fn server(self) -> SessionServer {
        SessionServer::new(self)
    }

    /// Begins a session; the messages of its answers.
    fn open(
        &self,
        request: Request<Streaming<Bytes>>,
    ) -> Result<ReceiverStream<Result<Bytes, Status>>, Status> {
        let staleness = Staleness::of(&self.backend);
        let desk = Arc::new(Desk {
            stale_ms_max: staleness::accepted(request.metadata().as_ref())?,
            staleness,
            standing: self.gate.standing(request.metadata().as_ref())?,
            backend: self.backend.clone(),
            settlements: self.settlements.clone(),
            meter: self.meter.clone(),
            signpost: self.signpost.clone(),
        });
        let mut stop = self.stop.clone();
        let stopped = async move {
            // An error means that the process is gone already.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let orders = Orders::of(&desk);
        let answer = move |taken| Arc::clone(&desk).answer(taken);
        let places = self.places.clone();
        let conversation = Conversation::new(request.into_inner(), orders, answer, places, stopped);
        let (sender, messages) = mpsc::channel(MESSAGES_WAITING);
        tokio::spawn(traces::within(traces::current(), send(conversation, sender)));
        Ok(ReceiverStream::new(messages))
    }
}

/// Drives a conversation in a task of its own, so that one whose client does not read ends all the same.
async fn send(
    mut conversation: impl Stream<Item = Result<Bytes, Status>> + Unpin,
    sender: mpsc::Sender<Result<Bytes, Status>>,
) {
    loop {
        let message = tokio::select! {
            message = conversation.next() => message,
            () = sender.closed() => return,
        };
        let Some(message) = message else { return };
        match tokio::time::timeout(SLOW, sender.send(message)).await {
            Ok(Ok(())) => {}
            // It went away.
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::info!("a session ended: its client does not read");
                return;
            }
        }
    }
}
