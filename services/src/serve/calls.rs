//! All gRPC calls of a port: those of its own service go straight to it, the rest by a router. Both
//! edges end here, that of gRPC and that of JSON.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use onrush_grpc::notification::v1::notification_service_server::NotificationServiceServer;
use onrush_grpc::payment::v1::payment_service_server::PaymentServiceServer;
use onrush_grpc::recommendation::v1::recommendation_service_server::RecommendationServiceServer;
use onrush_grpc::shipping::v1::shipping_service_server::ShippingServiceServer;
use onrush_grpc::user::v1::user_service_server::UserServiceServer;
use tonic::body::Body;
use tonic::codegen::http::{HeaderName, HeaderValue, Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::service::Routes;
use tonic::{Code, Status};

use crate::nodes::Signpost;
use crate::notification::Notifications;
use crate::order::{self, OrderServer};
use crate::payment::Payments;
use crate::product::{self, ProductServer};
use crate::recommendation::Recommendations;
use crate::shipping::Shipping;
use crate::staleness::{self, Staleness};
use crate::unread::Unread;
use crate::user::Users;

pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The service that a port is for.
#[derive(Clone)]
pub(super) enum Main {
    /// Products.
    Product(ProductServer),
    /// Orders.
    Order(OrderServer),
    /// Payments.
    Payment(PaymentServiceServer<Payments>),
    /// Users.
    User(UserServiceServer<Users>),
    /// Shipments.
    Shipping(ShippingServiceServer<Shipping>),
    /// Notifications.
    Notification(NotificationServiceServer<Notifications>),
    /// Recommendations.
    Recommendation(RecommendationServiceServer<Recommendations>),
}

/// Every call of one port.
#[derive(Clone)]
pub(super) struct Calls {
    main: Main,
    main_name: &'static str,
    rest: Routes,
    signpost: Signpost,
    staleness: Staleness,
}

impl Calls {
    /// The calls of the service of this full name, and of the rest.
    pub(super) fn new(
        main: Main,
        main_name: &'static str,
        rest: Routes,
        (signpost, staleness): (Signpost, Staleness),
    ) -> Self {
        Self { main, main_name, rest: rest.prepare(), signpost, staleness }
    }

    /// Answers a call.
    pub(super) fn answer(&self, request: Request<Body>) -> Answer {
        let (of, staleness) = match self.staleness.of_call(request.headers()) {
            Ok(staleness) => (self.made(request), staleness),
            Err(status) => (Of::Refused(Some(Box::new(status.into_http()))), None),
        };
        Answer { of, signpost: self.signpost.clone(), staleness }
    }

    fn made(&self, request: Request<Body>) -> Of {
        if !self.is_main(request.uri().path()) {
            return Of::Rest(Box::new(self.rest.clone().call(request)));
        }
        Of::Main(match &self.main {
            Main::Product(service) => service.call(request),
            Main::Order(service) => service.call(request),
            Main::Payment(service) => service.clone().call(request),
            Main::User(service) => service.clone().call(request),
            Main::Shipping(service) => service.clone().call(request),
            Main::Notification(service) => service.clone().call(request),
            Main::Recommendation(service) => service.clone().call(request),
        })
    }

    /// True if a call asks nobody where it came from.
    pub(super) fn is_direct(&self, path: &str) -> bool {
        match self.main {
            Main::Product(_) => product::is_direct(path),
            Main::Order(_) => path == order::CREATE_ORDER,
            _ => false,
        }
    }

    fn is_main(&self, path: &str) -> bool {
        let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(self.main_name));
        rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Service<Request<Body>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Neither the generated services nor the router ever make a caller wait here.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        self.answer(request)
    }
}

/// An answer under way.
pub(super) struct Answer {
    of: Of,
    signpost: Signpost,
    staleness: Option<HeaderValue>,
}

/// Who makes it.
enum Of {
    /// Of the main service.
    Main(BoxFuture<Response<Body>, Infallible>),
    /// Of another one.
    Rest(Box<<Routes as Service<Request<Body>>>::Future>),
    /// Nobody: it is turned away.
    Refused(Option<Box<Response<Body>>>),
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { of, signpost, staleness } = self.get_mut();
        let mut response = match of {
            Of::Main(answer) => ready!(answer.as_mut().poll(context))?,
            Of::Rest(answer) => ready!(Pin::new(answer).poll(context))?,
            Of::Refused(answer) => match answer.take() {
                Some(answer) => *answer,
                None => return Poll::Pending,
            },
        };
        if let Some(staleness) = staleness.take() {
            response.headers_mut().insert(staleness::TOLD, staleness);
        }
        Poll::Ready(Ok(led(named(response), signpost)))
    }
}

/// A refusal without details is the transport's own.
fn named(response: Response<Body>) -> Response<Body> {
    if !response.headers().contains_key(STATUS) || response.headers().contains_key(DETAILS) {
        return response;
    }
    let status = Status::from_header_map(response.headers());
    match status.as_ref().and_then(Unread::of) {
        Some(unread) => Status::from(unread).into_http(),
        None => response,
    }
}

/// A refusal that names who leads says where that is, if it is known.
fn led(response: Response<Body>, signpost: &Signpost) -> Response<Body> {
    let code = response.headers().get(STATUS).map(|code| Code::from_bytes(code.as_bytes()));
    if code != Some(Code::Unavailable) {
        return response;
    }
    match Status::from_header_map(response.headers()).and_then(|status| signpost.guided(&status)) {
        Some(status) => status.into_http(),
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::Refusal;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::config;
    use crate::nodes::Nodes;
    use crate::status::Rejection;

    #[test]
    fn who_does_not_lead_says_where_the_leaders_port_is() {
        let nodes = Nodes::default();
        nodes.replace(1, [(2, "order=b:1".parse().unwrap())]).unwrap();
        let order = Signpost::new(nodes.clone(), config::Service::Order);
        let payment = Signpost::new(nodes, config::Service::Payment);
        let found = |refusal: Refusal, signpost: &Signpost| {
            let mut status = Status::from(Rejection::from(refusal));
            status.metadata_mut().insert("x-seen", "1".parse().unwrap());
            let response = led(status.into_http(), signpost);
            assert_eq!(response.headers()["x-seen"], "1");
            let status = Status::from_header_map(response.headers()).unwrap();
            assert_eq!(status.code(), Code::Unavailable);
            let details = status.get_error_details();
            assert!(details.retry_info().is_some());
            let address = details.error_info().unwrap().metadata.get("leader_address").cloned();
            (details.error_info().unwrap().reason.clone(), address)
        };
        let leader = |leader| Refusal::NotLeader { leader };
        let table = [
            (leader(2), &order, ("NOT_LEADER", Some("b:1"))),
            (leader(2), &payment, ("NOT_LEADER", None)),
            (leader(3), &order, ("NOT_LEADER", None)),
            (leader(0), &order, ("NOT_LEADER", None)),
            (Refusal::Stopped, &order, ("SHARD_STOPPED", None)),
        ];
        for (refusal, signpost, (reason, address)) in table {
            assert_eq!(
                found(refusal, signpost),
                (reason.to_owned(), address.map(str::to_owned)),
                "{refusal:?}"
            );
        }
    }
}
