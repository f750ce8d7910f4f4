//! grpc.health.v1 of a port: what `/ready` says, looked at when somebody asks.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::config::Service;
use crate::http::Vital;

/// How long who watches may wait for news.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Streams of one port that may watch: each looks by itself.
const WATCHERS_MAX: usize = 64;

/// How one port is.
#[derive(Clone)]
pub(super) struct PortHealth {
    vital: Vital,
    /// By its full name; the empty one means the port as well.
    service: &'static str,
    /// Room for those who watch.
    room: Arc<Semaphore>,
}

impl PortHealth {
    /// The service, ready to be served.
    pub(super) fn server(service: Service, vital: Vital) -> HealthServer<Self> {
        HealthServer::new(Self::new(service, vital))
    }

    fn new(service: Service, vital: Vital) -> Self {
        Self { vital, service: service.grpc_name(), room: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }

    fn must_know(&self, request: &Request<HealthCheckRequest>) -> Result<(), Status> {
        match ["", self.service].contains(&request.get_ref().service.as_str()) {
            true => Ok(()),
            false => {
                Err(Status::not_found(format!("expected {} or nothing, found another service", self.service)))
            }
        }
    }

    async fn status(&self) -> HealthCheckResponse {
        let status = match self.vital.is_ready().await {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        HealthCheckResponse { status: status.into() }
    }

    /// Tells of each change until the port drains, which an open stream must not hold up, or nobody listens.
    async fn tell(self, to: mpsc::Sender<Result<HealthCheckResponse, Status>>) {
        let mut stop = self.vital.stop.clone();
        let mut last = None;
        loop {
            let drains = *stop.borrow_and_update();
            let status = self.status().await;
            if last != Some(status.status) {
                last = Some(status.status);
                if to.send(Ok(status)).await.is_err() {
                    return;
                }
            }
            if drains {
                return;
            }
            tokio::select! {
                () = to.closed() => return,
                () = sleep(LOOK_EVERY) => {}
                changed = stop.changed() => if changed.is_err() { return },
            }
        }
    }
}

#[tonic::async_trait]
impl Health for PortHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.must_know(&request)?;
        Ok(Response::new(self.status().await))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.must_know(&request)?;
        let room = self.room.clone().try_acquire_owned();
        let room = room
            .map_err(|_| Status::resource_exhausted(format!("expected {WATCHERS_MAX} watchers or fewer")))?;
        let (to, statuses) = mpsc::channel(1);
        let telling = self.clone().tell(to);
        tokio::spawn(async move {
            telling.await;
            drop(room);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(statuses))))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use onrush_engine::{Engine, EngineOptions, StoreKind};
    use onrush_proto::ShardId;
    use tokio::sync::watch;
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::backend::Backend;
    use crate::metrics::{Positions, Readers};

    /// What the port says of itself on each edge: `/health`, `/ready`, and by gRPC.
    async fn said(vital: &Vital) -> (StatusCode, StatusCode, ServingStatus) {
        let answer = async |path: &str| crate::http::asked_how(vital.clone(), path).await;
        let health = PortHealth::new(Service::Shipping, vital.clone());
        let request = Request::new(HealthCheckRequest::default());
        let status = health.check(request).await.unwrap().into_inner().status();
        (answer("/health").await, answer("/ready").await, status)
    }

    const READY: (StatusCode, StatusCode, ServingStatus) =
        (StatusCode::OK, StatusCode::OK, ServingStatus::Serving);
    const NOT_READY: (StatusCode, StatusCode, ServingStatus) =
        (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE, ServingStatus::NotServing);

    fn vital(engine: &Engine, stop: watch::Receiver<bool>, positions: &Positions) -> Vital {
        let readers = Readers { positions: positions.clone(), group: Some("shipping") };
        Vital { backend: Backend::local(engine.handle()), stop, readers, ml: None }
    }

    #[tokio::test]
    async fn a_port_whose_consumer_is_gone_or_that_drains_is_alive_and_not_ready() {
        let options = EngineOptions { store: StoreKind::Memory, shards: Some(1), ..EngineOptions::default() };
        let engine = Engine::open(options).unwrap();
        let ((stop, stopped), positions) = (watch::channel(false), Positions::default());
        let vital = vital(&engine, stopped, &positions);
        assert_eq!(said(&vital).await, READY, "no group reads for this port");
        let (reader, other) =
            (positions.of("shipping", ShardId(0)), positions.of("notification", ShardId(0)));
        drop(other);
        assert_eq!(said(&vital).await, READY, "another port's reader is none of its business");
        drop(reader);
        assert_eq!(said(&vital).await, NOT_READY);
        let _again = positions.of("shipping", ShardId(0));
        assert_eq!(said(&vital).await, NOT_READY, "the lost one is still lost");
        stop.send_replace(true);
        assert_eq!(said(&vital).await, NOT_READY);
    }

    #[tokio::test]
    async fn who_watches_hears_the_first_status_each_change_and_the_end() {
        let options = EngineOptions { store: StoreKind::Memory, shards: Some(1), ..EngineOptions::default() };
        let engine = Engine::open(options).unwrap();
        let (stop, stopped) = watch::channel(false);
        let vital = vital(&engine, stopped, &Positions::default());
        let health = PortHealth::new(Service::Shipping, vital);
        let unknown = HealthCheckRequest { service: "onrush.order.v1.OrderService".into() };
        assert_eq!(
            health.check(Request::new(unknown.clone())).await.unwrap_err().code(),
            tonic::Code::NotFound
        );
        assert!(health.watch(Request::new(unknown)).await.is_err());
        let request = HealthCheckRequest { service: Service::Shipping.grpc_name().into() };
        let mut news = health.watch(Request::new(request)).await.unwrap().into_inner();
        assert_eq!(news.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
        let mut others = Vec::new();
        let full = loop {
            match health.watch(Request::new(HealthCheckRequest::default())).await {
                Ok(other) => others.push(other),
                Err(status) => break status,
            }
        };
        assert_eq!((others.len() + 1, full.code()), (WATCHERS_MAX, tonic::Code::ResourceExhausted));
        stop.send_replace(true);
        assert_eq!(news.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        assert!(news.next().await.is_none(), "an open stream would hold up the end");
    }
}
