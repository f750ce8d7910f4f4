//! CreateOrder over gRPC without the generated code around it, if it is a plain one: its bytes are read where they
//! lie, and so is its answer written. What is not plain goes the usual way, as it came.

use std::convert::Infallible;
use std::sync::Arc;

use axum::http::HeaderMap;
use onrush_grpc::order::v1::order_service_server::OrderServiceServer;
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service as _};

use super::{Created, Orders};
use crate::access::Call;
use crate::deadline::Deadline;
use crate::protobuf::{Odd, PlainOrder};
use crate::status::Rejection;
use crate::unary::{self, Read};

/// The path of the call.
pub(crate) const CREATE_ORDER: &str = "/onrush.order.v1.OrderService/CreateOrder";

/// Bytes of a message up to which it may be plain: a key of 255 bytes and two names.
const PLAIN_BYTES_MAX: usize = 1 << 10;

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
        if request.uri().path() != CREATE_ORDER || request.headers().contains_key(unary::ENCODING) {
            return all.call(request);
        }
        let orders = self.orders.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let mut read = Read::of(body);
            match read.message(PLAIN_BYTES_MAX, PlainOrder::read).await {
                Ok(order) => {
                    // What it was read from belongs to the connection, which reads on meanwhile.
                    drop(read);
                    Ok(unary::response(orders.create(&head.headers, &order).await))
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
        let mut message = unary::begin(created.len());
        created.put(&mut message);
        Ok(unary::seal(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_is_that_of_the_call() {
        use onrush_grpc::order::v1::order_service_server::SERVICE_NAME;
        assert_eq!(CREATE_ORDER, format!("/{SERVICE_NAME}/CreateOrder"));
    }
}
