//! `SessionService` as gRPC serves it, with messages as bytes: what is in them is read where it lies.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use onrush_grpc::session::v1::session_service_server::SERVICE_NAME;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::{MESSAGE_BYTES_MAX, Sessions};

/// Serves sessions.
#[derive(Clone)]
pub(crate) struct SessionServer(Arc<Sessions>);

impl SessionServer {
    pub(super) fn new(sessions: Sessions) -> Self {
        Self(Arc::new(sessions))
    }
}

impl NamedService for SessionServer {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for SessionServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let sessions = self.0.clone();
        Box::pin(async move {
            if request.uri().path() != SESSION {
                return Ok(Status::unimplemented("").into_http());
            }
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(MESSAGE_BYTES_MAX);
            Ok(grpc.streaming(Opening(sessions), request).await)
        })
    }
}

/// The path of the one call.
const SESSION: &str = "/onrush.session.v1.SessionService/Session";

/// The one call of the service.
struct Opening(Arc<Sessions>);

impl StreamingService<Bytes> for Opening {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let opened = self.0.open(request).map(Response::new);
        Box::pin(std::future::ready(opened))
    }
}

/// Messages as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_that_of_the_call() {
        assert_eq!(SESSION, format!("/{SERVICE_NAME}/Session"));
    }
}
