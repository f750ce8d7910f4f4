//! Serves the connections of one socket by HTTP/2 and HTTP/1, whichever they speak.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming as Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::{mpsc, watch};
use tokio::time::Sleep;
use tokio_stream::StreamExt as _;
use tonic::Status;
use tonic::codegen::http::{Request, Response};
use tonic::transport::server::{Connected as _, TcpConnectInfo};

use super::connections::{Connection, Incoming};
use super::door::{Answer, Door};
use crate::deadline;

/// Calls that one connection may have open: HTTP/2 bounds its streams, and a call is one.
const STREAMS_PER_CONNECTION: u32 = 4_096;
/// Bytes of request headers.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// How long nothing is accepted after the system refused a connection.
const PAUSE: Duration = Duration::from_millis(50);
/// How often an idle connection is asked whether somebody is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Serves until `stop` is true and the last connection is closed.
pub(super) async fn serve(door: Door, mut incoming: Incoming, stop: watch::Receiver<bool>) {
    let server = builder();
    let mut stopping = stop.clone();
    let mut stopped = pin!(async move {
        // An error means that the process is gone already.
        let _ = stopping.wait_for(|stop| *stop).await;
    });
    // Every connection has a sender; nothing is ever sent.
    let (open, mut closed) = mpsc::channel::<Infallible>(1);
    loop {
        let connection = tokio::select! {
            () = &mut stopped => break,
            connection = incoming.next() => connection,
        };
        match connection {
            Some(Ok(connection)) => {
                let visitor = Visitor { door: door.clone(), peer: connection.connect_info() };
                let (server, stop, open) = (server.clone(), stop.clone(), open.clone());
                tokio::spawn(async move {
                    attend(&server, connection, visitor, stop).await;
                    drop(open);
                });
            }
            Some(Err(error)) => {
                // Too many open files, say: the next try would fail as fast.
                tracing::warn!(%error, "expected a connection");
                tokio::time::sleep(PAUSE).await;
            }
            None => break,
        }
    }
    // Nobody new gets in while those who are here are waited for.
    drop((incoming, open));
    closed.recv().await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(KEEPALIVE)
        .adaptive_window(true);
    // Without it nobody bounds how long headers of HTTP/1 may take.
    server.http1().timer(TokioTimer::new());
    server
}

/// One connection, until it ends; once the server stops it takes no more requests.
async fn attend(
    server: &Builder<TokioExecutor>,
    connection: Connection,
    visitor: Visitor,
    mut stop: watch::Receiver<bool>,
) {
    let mut served = pin!(server.serve_connection(TokioIo::new(connection), visitor));
    let stopped = async {
        // An error means that the process is gone already.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = stopped => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection failed");
    }
}

/// Who is at the other end of a connection.
struct Visitor {
    door: Door,
    peer: TcpConnectInfo,
}

impl hyper::service::Service<Request<Body>> for Visitor {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Timed<Answer>;

    fn call(&self, request: Request<Body>) -> Timed<Answer> {
        let patience = deadline::stated(request.headers());
        let answer = self.door.answer(request.map(tonic::body::Body::new), &self.peer);
        Timed::new(answer, patience)
    }
}

/// An answer that comes before its caller stops waiting, or never.
struct Timed<F> {
    answer: F,
    patience: Option<Pin<Box<Sleep>>>,
}

impl<F> Timed<F> {
    fn new(answer: F, patience: Option<Duration>) -> Self {
        Self { answer, patience: patience.map(|patience| Box::pin(tokio::time::sleep(patience))) }
    }
}

impl<F: Future<Output = Result<Response<tonic::body::Body>, Infallible>> + Unpin> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { answer, patience } = &mut *self;
        if let answered @ Poll::Ready(_) = Pin::new(answer).poll(context) {
            return answered;
        }
        match patience.as_mut().map(|patience| patience.as_mut().poll(context)) {
            Some(Poll::Ready(())) => Poll::Ready(Ok(Status::cancelled("Timeout expired").into_http())),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tonic::Code;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_no_longer_is_told_so_and_who_does_not_say_waits() {
        let never = || pending::<Result<Response<tonic::body::Body>, Infallible>>();
        let second = Duration::from_secs(1);
        let late = Timed::new(never(), Some(second)).await.unwrap();
        let status = Status::from_header_map(late.headers()).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Cancelled, "Timeout expired"));

        let answer = || ready(Ok(Response::new(tonic::body::Body::empty())));
        let at_once = Timed::new(answer(), Some(Duration::ZERO)).await.unwrap();
        assert!(at_once.headers().is_empty());
        assert!(tokio::time::timeout(61 * second, Timed::new(never(), None)).await.is_err());
    }
}
