//! Where a request comes in: gRPC goes to the calls, everything else to HTTP.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::routing::future::RouteFuture;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, header};

use super::calls::{self, Calls};
use crate::metrics::{Counting, Meter, UNMATCHED};

/// All that one port answers.
#[derive(Clone)]
pub(super) struct Door {
    grpc: Calls,
    http: Router,
    meter: Arc<Meter>,
}

impl Door {
    /// A door to gRPC and to HTTP, which counts its own requests.
    pub(super) fn new(grpc: Calls, http: Router, meter: Arc<Meter>) -> Self {
        Self { grpc, http, meter }
    }

    fn count(&self, path: &str) -> Counting {
        let (route, method) = path.trim_start_matches('/').split_once('/').unwrap_or((UNMATCHED, UNMATCHED));
        self.meter.begin(method, route)
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
            true => {
                let counting = self.count(request.uri().path());
                Answer::Grpc(self.grpc.call(request), Some(counting))
            }
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
    Grpc(calls::Answer, Option<Counting>),
    /// Of HTTP.
    Http(Box<RouteFuture<Infallible>>),
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Grpc(answer, counting) => {
                let response = ready!(Pin::new(answer).poll(context))?;
                if let Some(counting) = counting.take() {
                    counting.end(code(&response) as usize);
                }
                Poll::Ready(Ok(response))
            }
            Self::Http(answer) => Poll::Ready(Ok(ready!(Pin::new(answer).poll(context))?.map(Body::new))),
        }
    }
}

/// What a call was answered with. Only a refusal says so in front of its body: else what follows is the answer.
fn code(response: &Response<Body>) -> Code {
    response.headers().get(calls::STATUS).map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}
