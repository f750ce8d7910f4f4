//! CreateOrder over gRPC without the generated code around it, if it is a plain one: its bytes are read where they
//! lie, and so is its answer written. What is not plain goes the usual way, as it came.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::HttpBody;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;
use onrush_grpc::order::v1::order_service_server::OrderServiceServer;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service as _};

use super::{Created, Orders, PlainOrder};
use crate::access::Call;
use crate::deadline::Deadline;
use crate::protobuf::Odd;
use crate::status::Rejection;

/// The path of the call.
pub(crate) const CREATE_ORDER: &str = "/onrush.order.v1.OrderService/CreateOrder";

/// Bytes of a message up to which it may be plain: a key of 255 bytes and two names.
const PLAIN_BYTES_MAX: usize = 1 << 10;
/// What is in front of a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The service, and a shorter way to the call that most callers make.
#[derive(Clone)]
pub(crate) struct OrderServer {
    orders: Arc<Orders>,
    all: OrderServiceServer<Orders>,
}

impl OrderServer {
    pub(super) fn new(orders: Orders) -> Self {
        let orders = Arc::new(orders);
        let all = OrderServiceServer::from_arc(orders.clone());
        Self { orders, all: all.max_decoding_message_size(crate::serve::MESSAGE_BYTES_MAX) }
    }

    /// Answers a call of the service.
    pub(crate) fn call(&self, request: Request<Body>) -> BoxFuture<Response<Body>, Infallible> {
        let mut all = self.all.clone();
        if request.uri().path() != CREATE_ORDER || request.headers().contains_key(ENCODING) {
            return all.call(request);
        }
        let orders = self.orders.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let mut read = Read { frames: VecDeque::new(), body };
            match read.order().await {
                Ok(order) => {
                    // What it was read from belongs to the connection, which reads on meanwhile.
                    drop(read);
                    Ok(response(orders.create(&head.headers, &order).await))
                }
                Err(Odd) => all.call(Request::from_parts(head, Body::new(read))).await,
            }
        })
    }
}

impl Orders {
    /// Creates a plain order; the bytes of the answer.
    async fn create(&self, headers: &HeaderMap, order: &PlainOrder) -> Result<Bytes, Rejection> {
        let caller = self.gate.admit(headers, Call::CreateOrder)?;
        let request = order.request(&self.backend, &caller, Deadline::stated_by(headers))?;
        let accepted = self.backend.accept(request).await?;
        let created = Created::of(&order.request_id, &accepted)?;
        let mut message = BytesMut::with_capacity(PREFIX_BYTES + created.len());
        message.put_u8(0);
        message.put_u32(created.len() as u32);
        created.put(&mut message);
        Ok(message.freeze())
    }
}

fn response(created: Result<Bytes, Rejection>) -> Response<Body> {
    match created {
        Ok(message) => {
            let mut response = Response::new(Body::new(Told { message: Some(message), ended: false }));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(header::CONTENT_TYPE, grpc);
            response
        }
        Err(rejection) => Status::from(rejection).into_http(),
    }
}

/// A body that is read, and is a body again of which nothing is gone.
struct Read {
    /// What was read of it.
    frames: VecDeque<Result<Frame<Bytes>, Status>>,
    body: Body,
}

impl Read {
    /// The order, if all of the body is a plain one in one piece.
    async fn order(&mut self) -> Result<PlainOrder, Odd> {
        let mut found = None;
        while let Some(frame) =
            std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await
        {
            let data = frame.as_ref().ok().and_then(Frame::data_ref);
            let odd = match data {
                Some(data) if data.is_empty() => false,
                Some(data) => found.replace(plain(data)).is_some(),
                None => true,
            };
            self.frames.push_back(frame);
            if odd || matches!(found, Some(Err(Odd))) {
                return Err(Odd);
            }
        }
        found.unwrap_or(Err(Odd))
    }
}

/// An order that is all of these bytes.
fn plain(data: &[u8]) -> Result<PlainOrder, Odd> {
    let ([0, len @ ..], message) = data.split_first_chunk::<PREFIX_BYTES>().ok_or(Odd)? else {
        return Err(Odd);
    };
    match u32::from_be_bytes(*len) as usize {
        len if len == message.len() && len <= PLAIN_BYTES_MAX => PlainOrder::read(message),
        _ => Err(Odd),
    }
}

impl HttpBody for Read {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(context))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.body.is_end_stream()
    }
}

/// The body of an answer: a message, then that all is well.
struct Told {
    message: Option<Bytes>,
    ended: bool,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.ended, true) {
            return Poll::Ready(None);
        }
        let ok = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
        Poll::Ready(Some(Ok(Frame::trailers(ok))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use onrush_grpc::order::v1::{CreateOrderRequest, NewOrderLine};
    use prost::Message as _;

    use super::*;

    fn message(compressed: u8, key: &str) -> Vec<u8> {
        let line = NewOrderLine { sku: "tea".into(), quantity: 1, max_unit_price: None };
        let order = CreateOrderRequest { request_id: key.into(), lines: vec![line], ..Default::default() };
        let order = order.encode_to_vec();
        let len = (order.len() as u32).to_be_bytes();
        [&[compressed], &len[..], &order].concat()
    }

    fn body(frames: impl IntoIterator<Item = Result<Frame<Bytes>, Status>>) -> Read {
        let frames = Read { frames: frames.into_iter().collect(), body: Body::empty() };
        Read { frames: VecDeque::new(), body: Body::new(frames) }
    }

    fn data(bytes: &[u8]) -> Result<Frame<Bytes>, Status> {
        Ok(Frame::data(Bytes::copy_from_slice(bytes)))
    }

    /// What is left to be read: data, and how else it ended.
    async fn rest(mut read: Read) -> (Vec<u8>, String) {
        let (mut bytes, mut end) = (Vec::new(), String::new());
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut read).poll_frame(context)).await
        {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => bytes.extend_from_slice(&data),
                Ok(Err(_)) => end.push_str("trailers"),
                Err(status) => end.push_str(status.message()),
            }
        }
        (bytes, end)
    }

    #[test]
    fn the_short_way_is_that_of_the_call() {
        use onrush_grpc::order::v1::order_service_server::SERVICE_NAME;
        assert_eq!(CREATE_ORDER, format!("/{SERVICE_NAME}/CreateOrder"));
    }

    #[tokio::test]
    async fn an_order_in_one_piece_is_read_and_anything_else_is_handed_on_as_it_came() {
        let whole = message(0, "cart-7");
        for frames in [vec![data(&whole)], vec![data(&[]), data(&whole), data(&[])]] {
            let order = body(frames).order().await.unwrap();
            assert_eq!(order.request_id.as_str(), "cart-7");
        }
        let twice = [&whole[..], &whole].concat();
        let odd = [
            vec![],
            vec![data(&whole[..9]), data(&whole[9..])],
            vec![data(&whole), data(&whole)],
            vec![data(&twice)],
            vec![data(&whole[..4])],
            vec![data(&message(1, "cart-7"))],
            vec![data(&message(0, ""))],
            vec![data(&whole), Ok(Frame::trailers(HeaderMap::new()))],
            vec![data(&whole), Err(Status::cancelled("gone"))],
        ];
        for frames in odd {
            let copy = frames.iter().map(|frame| match frame {
                Ok(frame) => {
                    frame.data_ref().map_or_else(|| Ok(Frame::trailers(HeaderMap::new())), |d| data(d))
                }
                Err(status) => Err(status.clone()),
            });
            let mut read = body(copy);
            assert_eq!(read.order().await, Err(Odd), "{frames:?}");
            assert_eq!(rest(read).await, rest(body(frames)).await);
        }
    }

    #[tokio::test]
    async fn an_answer_is_a_message_and_then_trailers() {
        let mut body = Told { message: Some(Bytes::from_static(b"bytes")), ended: false };
        let mut next = async || std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), "bytes");
        let trailers = next().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!((trailers.len(), &trailers[STATUS]), (1, &HeaderValue::from_static("0")));
        assert!(next().await.is_none() && body.is_end_stream());
    }
}
