//! Where a request comes in: gRPC goes to the calls, everything else to HTTP.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Router;
use axum::routing::future::RouteFuture;
use onrush_proto::Cause;
use opentelemetry::trace::{SpanKind, Status};
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, header};
use tonic::transport::server::TcpConnectInfo;
use tracing::Span;

use super::calls::{self, Calls};
use crate::correlation::Correlation;
use crate::metrics::{Counting, Meter, UNMATCHED};
use crate::traces::{self, Traces};

/// All that one port answers.
#[derive(Clone)]
pub(super) struct Door {
    grpc: Calls,
    http: Router,
    meter: Arc<Meter>,
    traces: Traces,
}

impl Door {
    /// A door to gRPC and to HTTP, which counts its own requests.
    pub(super) fn new(grpc: Calls, http: Router, meter: Arc<Meter>, traces: Traces) -> Self {
        Self { grpc, http, meter, traces }
    }

    /// Answers a request that came from `peer`.
    pub(super) fn answer(&self, mut request: Request<Body>, peer: &TcpConnectInfo) -> Answer {
        let path = request.uri().path();
        if !is_grpc(&request) {
            request.extensions_mut().insert(peer.clone());
            return Answer::Http(Box::new(self.http.clone().call(request)));
        }
        let counting = self.count(path);
        if !self.grpc.is_direct(path) {
            request.extensions_mut().insert(peer.clone());
        }
        let brought = Brought::of(&request, &self.traces, &counting);
        Answer::Grpc(Grpc { answer: self.grpc.answer(request), counting: Some(counting), brought })
    }

    fn count(&self, path: &str) -> Counting {
        let (route, method) = path.trim_start_matches('/').split_once('/').unwrap_or((UNMATCHED, UNMATCHED));
        self.meter.begin(method, route)
    }
}

fn is_grpc(request: &Request<Body>) -> bool {
    let media_type = request.headers().get(header::CONTENT_TYPE);
    media_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// An answer under way.
pub(super) enum Answer {
    /// Of gRPC.
    Grpc(Grpc),
    /// Of HTTP.
    Http(Box<RouteFuture<Infallible>>),
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Grpc(answer) => answer.poll(context),
            Self::Http(answer) => Poll::Ready(Ok(ready!(Pin::new(answer).poll(context))?.map(Body::new))),
        }
    }
}

/// A call by gRPC under way.
pub(super) struct Grpc {
    answer: calls::Answer,
    counting: Option<Counting>,
    /// What most callers do not bring, and so do not pay for.
    brought: Option<Box<Brought>>,
}

/// The ids that a caller brought, in the log while the call runs.
struct Brought {
    correlation: Correlation,
    /// What its commands are told that they belong to.
    cause: Option<Cause>,
    /// Its part of the trace.
    part: traces::Span,
    span: Span,
    since: Instant,
}

impl Grpc {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Response<Body>, Infallible>> {
        let answer = Pin::new(&mut self.answer);
        let mut response = ready!(match &self.brought {
            Some(brought) => brought.poll(|| answer.poll(context)),
            None => answer.poll(context),
        })?;
        let code = code(&response);
        if let Some(counting) = self.counting.take() {
            counting.end(code as usize);
        }
        if let Some(brought) = self.brought.take() {
            brought.answered(code, &mut response);
        }
        Poll::Ready(Ok(response))
    }
}

impl Brought {
    fn of(request: &Request<Body>, traces: &Traces, counting: &Counting) -> Option<Box<Self>> {
        let correlation = Correlation::brought(request.headers(), traces)?;
        let span = correlation.span(request.method().as_str(), request.uri().path());
        let (method, service) = counting.call();
        let call = || format!("{service}/{method}");
        let part = traces.begin(SpanKind::Server, call, (correlation.context, correlation.parent));
        let cause = correlation.handed_on();
        Some(Box::new(Self { correlation, cause, part, span, since: Instant::now() }))
    }

    /// One step of the call, with its ids in the log and with the commands it gives.
    fn poll<T>(&self, step: impl FnOnce() -> T) -> T {
        self.span.in_scope(|| traces::within_poll(self.cause, step))
    }

    fn answered(mut self, code: Code, response: &mut Response<Body>) {
        let took_us = self.since.elapsed().as_micros() as u64;
        self.span.in_scope(|| tracing::info!(?code, took_us, "answered"));
        self.part.put("rpc.system", || "grpc");
        self.part.put("rpc.grpc.status_code", || i64::from(code as i32));
        self.part.end(if is_ours(code) { Status::error(code.description()) } else { Status::Unset });
        self.correlation.say_back(response.headers_mut());
    }
}

/// True if the server is to blame, by OpenTelemetry's conventions for gRPC.
fn is_ours(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    matches!(code, DataLoss | DeadlineExceeded | Internal | Unavailable | Unimplemented | Unknown)
}

/// What a call was answered with. Only a refusal says so in front of its body: else what follows is the answer.
fn code(response: &Response<Body>) -> Code {
    response.headers().get(calls::STATUS).map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}
