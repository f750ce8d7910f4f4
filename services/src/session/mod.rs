//! `onrush.session.v1.SessionService`: the calls of product, order and payment service in batches, over one
//! stream. A call ends in the very function that its unary handler ends in.

mod conversation;
mod desk;

use std::pin::Pin;
use std::sync::Arc;

use onrush_grpc::session::v1::session_service_server::{SessionService, SessionServiceServer};
use onrush_grpc::session::v1::{SessionRequest, SessionResponse};
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::access::Gate;
use crate::backend::Backend;
use crate::metrics::Meter;
use crate::serve::MESSAGE_BYTES_MAX;
use crate::settlements::Settlements;
use conversation::Conversation;
use desk::Desk;

/// Opens sessions.
pub(crate) struct Sessions {
    pub(crate) backend: Backend,
    pub(crate) settlements: Settlements,
    pub(crate) gate: Arc<Gate>,
    /// Counts the calls under their own names.
    pub(crate) meter: Arc<Meter>,
    /// True once nothing more is taken.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Sessions {
    /// The service, ready to be served.
    pub(crate) fn server(self) -> SessionServiceServer<Self> {
        SessionServiceServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl SessionService for Sessions {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let desk = Arc::new(Desk {
            standing: self.gate.standing(request.metadata().as_ref())?,
            backend: self.backend.clone(),
            settlements: self.settlements.clone(),
            meter: self.meter.clone(),
        });
        let mut stop = self.stop.clone();
        let stopped = async move {
            // An error means that the process is gone already.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let answer = move |call| Arc::clone(&desk).answer(call);
        let conversation = Conversation::new(request.into_inner(), answer, stopped);
        Ok(Response::new(Box::pin(conversation)))
    }
}
