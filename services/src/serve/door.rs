//! Where a request comes in: gRPC goes to the calls, everything else to HTTP.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::routing::future::RouteFuture;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, header};

use super::calls::{self, Calls};

/// All that one port answers.
#[derive(Clone)]
pub(super) struct Door {
    grpc: Calls,
    http: Router,
}

impl Door {
    /// A door to gRPC and to HTTP.
    pub(super) fn new(grpc: Calls, http: Router) -> Self {
        Self { grpc, http }
    }
}

impl Service<Request<Body>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        match is_grpc(&request) {
            true => Answer::Grpc(self.grpc.call(request)),
            false => Answer::Http(Box::new(self.http.call(request))),
        }
    }
}

fn is_grpc(request: &Request<Body>) -> bool {
    let media_type = request.headers().get(header::CONTENT_TYPE);
    media_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// An answer under way.
pub(super) enum Answer {
    /// Of gRPC.
    Grpc(calls::Answer),
    /// Of HTTP.
    Http(Box<RouteFuture<Infallible>>),
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Grpc(answer) => Pin::new(answer).poll(context),
            Self::Http(answer) => Poll::Ready(Ok(ready!(Pin::new(answer).poll(context))?.map(Body::new))),
        }
    }
}
