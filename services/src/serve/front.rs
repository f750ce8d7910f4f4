//! A front: one thread, one runtime, one socket per service.

use std::net::TcpListener as StdListener;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use onrush_grpc::DESCRIPTORS;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;

use super::background::READING_MAX;
use super::calls::{Calls, Main};
use super::connections::{Incoming, Limit};
use super::door::Door;
use super::health::PortHealth;
use super::{ServeError, Shop, scrape, server};
use crate::admin::Admin;
use crate::config::Service;
use crate::events::Log;
use crate::gateway;
use crate::http;
use crate::metrics::{Edge, Readers};
use crate::nodes::Signpost;
use crate::notification::{self, Notifications};
use crate::order::Orders;
use crate::payment::Payments;
use crate::product::Products;
use crate::recommendation::{self, Recommendations};
use crate::remote::EngineServer;
use crate::session::Sessions;
use crate::shipping::{self, Shipping};
use crate::staleness::Staleness;
use crate::transcoding;
use crate::user::Users;

/// The calls of several services over one stream.
const SESSION: &str = "onrush.session.v1.SessionService";

/// The log as a stream of events.
const LOG: &str = "onrush.log.v1.LogService";

/// What one front serves.
pub(super) struct Front {
    pub(super) shop: Shop,
    pub(super) sockets: Vec<(Service, StdListener)>,
    pub(super) limit: Limit,
    pub(super) drain: Duration,
    pub(super) stop: watch::Receiver<bool>,
}

impl Front {
    pub(super) fn start(self) -> Result<JoinHandle<()>, ServeError> {
        let start = |error| ServeError::Start { what: "a front thread", error };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(start)?;
        let work = move || {
            runtime.block_on(self.serve());
            runtime.shutdown_timeout(READING_MAX);
        };
        Builder::new().name("onrush-front".into()).spawn(work).map_err(start)
    }

    async fn serve(mut self) {
        let (backend, pump) = self.shop.backend.for_loop();
        self.shop.backend = backend;
        // Ends with the runtime, after the last call.
        if let Some(pump) = pump {
            tokio::spawn(pump);
        }
        let (drain, mut stop) = (self.drain, self.stop.clone());
        let mut servers = JoinSet::new();
        for (service, socket) in self.sockets {
            let incoming = match TcpListener::from_std(socket) {
                Ok(listener) => Incoming { listener, limit: self.limit.clone() },
                Err(error) => {
                    tracing::error!(%error, service = service.name(), "expected to listen");
                    continue;
                }
            };
            servers.spawn(serve(service, self.shop.clone(), incoming, self.stop.clone()));
        }
        drop((self.shop, self.stop));
        let ended = async { while servers.join_next().await.is_some() {} };
        let patience = async {
            // An error means that the process is gone already.
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            () = ended => {}
            () = patience => tracing::warn!("calls were still open at the end of the drain time"),
        }
    }
}

async fn serve(service: Service, shop: Shop, incoming: Incoming, stop: watch::Receiver<bool>) {
    let door = door(service, &shop, stop.clone());
    drop(shop);
    server::serve(door, incoming, stop).await;
}

fn door(service: Service, shop: &Shop, stop: watch::Receiver<bool>) -> Door {
    let Shop {
        backend,
        settlements,
        gateways,
        hearing,
        reconciler,
        pays,
        engine_token,
        gate,
        users,
        shipping: desk,
        notification: post,
        recommendation: learner,
        ml,
        metrics,
        traces,
        events,
        nodes,
        node,
        office: _,
    } = shop.clone();
    let signpost = Signpost::new(nodes, service);
    let users = Users::new(backend.clone(), users);
    let shipping = Shipping::new(desk, gate.clone());
    let main = match service {
        Service::Product => Main::Product(Products::server(backend.clone(), gate.clone())),
        Service::Order => Main::Order(Orders::server(backend.clone(), settlements.clone(), gate.clone())),
        Service::Payment => {
            Main::Payment(Payments::server(backend.clone(), settlements.clone(), gate.clone()))
        }
        Service::User => Main::User(users.clone().server()),
        Service::Shipping => Main::Shipping(shipping.clone().server()),
        Service::Notification => Main::Notification(Notifications::server(post.clone(), gate.clone())),
        Service::Recommendation => {
            Main::Recommendation(Recommendations::server(backend.clone(), learner, gate.clone()))
        }
    };
    let routes = match service {
        Service::Product | Service::Order | Service::Recommendation => http::Routes::new(),
        Service::Payment => gateway::routes(hearing),
        Service::User => users.routes(),
        Service::Shipping => shipping::routes::routes(shipping),
        Service::Notification => notification::routes::routes(post),
    };
    let ml = (service == Service::Recommendation)
        .then(|| http::Ml { ready: ml.ranker().is_some(), detail: ml.in_short() });
    let readers = Readers { positions: metrics.positions.clone(), group: group(service) };
    let vital = http::Vital { backend: backend.clone(), stop: stop.clone(), readers, ml };
    let meter = metrics.meter(service, Edge::Grpc, transcoding::methods(&counted(service)));
    let admin = Admin::server(backend.clone(), pays.then_some(gateways), (reconciler, node), gate.clone());
    let log =
        Log { stream: events, gate: gate.clone(), stop: stop.clone(), signpost: signpost.clone() }.server();
    let mut rest =
        Routes::new(admin).add_service(PortHealth::server(service, vital.clone())).add_service(log);
    if service == Service::Order {
        let (backend, meter, signpost) = (backend.clone(), meter.clone(), signpost.clone());
        let places = Sessions::places();
        rest =
            rest.add_service(Sessions { backend, settlements, gate, meter, places, stop, signpost }.server());
    }
    if let Some(token) = engine_token {
        rest = rest.add_service(EngineServer::server(backend, token));
    }
    let rest = reflected(service, rest);
    let grpc = Calls::new(main, service.grpc_name(), rest, (signpost.clone(), Staleness::of(&shop.backend)));
    let routes = routes.merge(transcoding::routes(&names(service), &grpc)).merge(scrape::routes(shop));
    let http = http::router(service, routes, vital, (&metrics, traces.clone(), signpost));
    Door::new(grpc, http, meter, traces)
}

/// The descriptors are compiled in and checked by a test; without them only reflection is missing.
fn reflected(service: Service, rest: Routes) -> Routes {
    match (reflection(service).build_v1(), reflection(service).build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => rest.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "reflection is not served");
            rest
        }
    }
}

/// The reader of the log without which a service does not do what it promises.
fn group(service: Service) -> Option<&'static str> {
    match service {
        Service::Payment => Some(gateway::worker::GROUP),
        Service::Shipping => Some(shipping::worker::GROUP),
        Service::Notification => Some(notification::worker::GROUP),
        Service::Recommendation => Some(recommendation::worker::READER),
        Service::Product | Service::Order | Service::User => None,
    }
}

/// Full names of the services of a port.
fn names(service: Service) -> Vec<&'static str> {
    let session = (service == Service::Order).then_some(SESSION);
    let all = [service.grpc_name(), LOG, "onrush.admin.v1.AdminService", "grpc.health.v1.Health"];
    all.into_iter().chain(session).collect()
}

/// Services whose calls a port counts: its own, and those whose calls come in sessions.
fn counted(service: Service) -> Vec<&'static str> {
    let within = [Service::Product, Service::Payment].map(Service::grpc_name);
    let within = within.into_iter().filter(|_| service == Service::Order);
    names(service).into_iter().chain(within).chain(["onrush.engine.v1.EngineService"]).collect()
}

fn reflection(service: Service) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    names(service).into_iter().fold(builder, |builder, name| builder.with_service_name(name))
}
