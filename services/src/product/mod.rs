//! `onrush.product.v1.ProductService`.

mod command;
mod listing;
mod message;
mod validate;

use std::sync::Arc;

use onrush_grpc::product::v1::product_service_server::{ProductService, ProductServiceServer};
use onrush_grpc::product::v1::{
    GetProductDetailsRequest, GetProductDetailsResponse, ListProductsRequest, ListProductsResponse,
    PutProductRequest, PutProductResponse, UpdateStockRequest, UpdateStockResponse, ValidateProductsRequest,
    ValidateProductsResponse,
};
use onrush_proto::{Receipt, Refusal};
use tonic::{Request, Response, Status};

use crate::access::{Call, Gate};
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::field;
use crate::serve::MESSAGE_BYTES_MAX;
use crate::status::Rejection;

/// The handlers.
pub struct Products {
    backend: Backend,
    gate: Arc<Gate>,
}

impl Products {
    /// The service, ready to be served.
    pub fn server(backend: Backend, gate: Arc<Gate>) -> ProductServiceServer<Self> {
        ProductServiceServer::new(Self { backend, gate }).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl ProductService for Products {
    async fn validate_products(
        &self,
        request: Request<ValidateProductsRequest>,
    ) -> Result<Response<ValidateProductsResponse>, Status> {
        Ok(Response::new(validate::validate(&self.backend, &request.into_inner().lines).await?))
    }

    async fn get_product_details(
        &self,
        request: Request<GetProductDetailsRequest>,
    ) -> Result<Response<GetProductDetailsResponse>, Status> {
        let sku = field::name("sku", &request.get_ref().sku)?;
        let row = self.backend.product(&sku).await?.ok_or(Rejection::Refused(Refusal::UnknownProduct))?;
        let stock = self.backend.shelf(std::iter::once(sku)).await?.stock(&sku);
        let product = message::product(&row, stock);
        Ok(Response::new(GetProductDetailsResponse { product: Some(product) }))
    }

    async fn update_stock(
        &self,
        request: Request<UpdateStockRequest>,
    ) -> Result<Response<UpdateStockResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::UpdateStock)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        let command = command::update_stock(&body)?;
        let keyed = self.backend.keyed(caller.name(), &body.request_id, deadline, command)?;
        let accepted = self.backend.accept(keyed.request).await?;
        let Receipt::Stock { on_hand, held, version, .. } = accepted.receipt else {
            return Err(wrong_receipt("stock", &accepted.receipt).into());
        };
        Ok(Response::new(UpdateStockResponse {
            request_id: keyed.request_id,
            replayed: accepted.replayed,
            sku: body.sku,
            on_hand,
            held,
            version,
        }))
    }

    async fn put_product(
        &self,
        request: Request<PutProductRequest>,
    ) -> Result<Response<PutProductResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::PutProduct)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        let (request_id, sku) = (body.request_id.clone(), body.sku.clone());
        let command = command::put_product(body)?;
        let keyed = self.backend.keyed(caller.name(), &request_id, deadline, command)?;
        let accepted = self.backend.accept(keyed.request).await?;
        let Receipt::Product { version, .. } = accepted.receipt else {
            return Err(wrong_receipt("product", &accepted.receipt).into());
        };
        let replayed = accepted.replayed;
        Ok(Response::new(PutProductResponse { request_id: keyed.request_id, replayed, sku, version }))
    }

    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        Ok(Response::new(listing::list(&self.backend, request.into_inner()).await?))
    }
}

fn wrong_receipt(expected: &str, found: &Receipt) -> Rejection {
    Rejection::Internal(format!("expected a {expected} receipt of the engine, found {found:?}"))
}
