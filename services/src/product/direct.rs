//! Reads over gRPC without the generated code around them, if they are plain ones and the engine is in this process:
//! answered on the front's thread, from what is published, into the answer.

use std::convert::Infallible;
use std::sync::Arc;

use onrush_engine::views::Views;
use onrush_grpc::product::v1::product_service_server::ProductServiceServer;
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service as _};

use super::{Products, shown, verdicts};
use crate::backend::Backend;
use crate::protobuf::Odd;
use crate::serve::MESSAGE_BYTES_MAX;
use crate::unary::{self, Read};

/// The paths of the calls.
const VALIDATE_PRODUCTS: &str = "/onrush.product.v1.ProductService/ValidateProducts";
const GET_PRODUCT_DETAILS: &str = "/onrush.product.v1.ProductService/GetProductDetails";

/// Bytes of a message up to which it may be plain: what comes in one piece.
const PLAIN_BYTES_MAX: usize = 16 << 10;

/// What reads a message and writes the answer.
type Tell = fn(&Views, &[u8]) -> Result<Bytes, Odd>;

/// The service, and a shorter way to what is read most.
#[derive(Clone)]
pub(crate) struct ProductServer {
    products: Arc<Products>,
    all: ProductServiceServer<Products>,
}

impl ProductServer {
    pub(super) fn new(products: Products) -> Self {
        let products = Arc::new(products);
        let all = ProductServiceServer::from_arc(products.clone());
        Self { products, all: all.max_decoding_message_size(MESSAGE_BYTES_MAX) }
    }

    /// Answers a call of the service.
    pub(crate) fn call(&self, request: Request<Body>) -> BoxFuture<Response<Body>, Infallible> {
        let mut all = self.all.clone();
        let Some(tell) = tell(request.uri().path()) else { return all.call(request) };
        if !self.products.backend.has_ports() || request.headers().contains_key(unary::ENCODING) {
            return all.call(request);
        }
        let products = self.products.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let mut read = Read::of(body);
            match read.message(PLAIN_BYTES_MAX, |message| products.tell(tell, message)).await {
                Ok(told) => Ok(unary::response(Ok(told))),
                Err(Odd) => all.call(Request::from_parts(head, Body::new(read))).await,
            }
        })
    }
}

/// True if a call has a shorter way.
pub(crate) fn is_direct(path: &str) -> bool {
    tell(path).is_some()
}

fn tell(path: &str) -> Option<Tell> {
    match path {
        VALIDATE_PRODUCTS => Some(verdicts::validate),
        GET_PRODUCT_DETAILS => Some(shown::details),
        _ => None,
    }
}

impl Products {
    fn tell(&self, tell: Tell, message: &[u8]) -> Result<Bytes, Odd> {
        match &self.backend {
            Backend::Local { engine, .. } => tell(engine.views(), message),
            Backend::Remote(_) => Err(Odd),
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_grpc::product::v1::product_service_server::SERVICE_NAME;

    use super::*;

    #[test]
    fn the_short_ways_are_those_of_the_calls() {
        assert_eq!(VALIDATE_PRODUCTS, format!("/{SERVICE_NAME}/ValidateProducts"));
        assert_eq!(GET_PRODUCT_DETAILS, format!("/{SERVICE_NAME}/GetProductDetails"));
    }
}
