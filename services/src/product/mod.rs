//! `onrush.product.v1.ProductService`.

mod command;
mod details;
mod direct;
mod listing;
mod message;
mod put;
mod shown;
mod stock;
mod validate;
mod verdicts;

use std::sync::Arc;

use onrush_grpc::product::v1::product_service_server::ProductService;
use onrush_grpc::product::v1::{
    GetProductDetailsRequest, GetProductDetailsResponse, ListProductsRequest, ListProductsResponse,
    PutProductRequest, PutProductResponse, UpdateStockRequest, UpdateStockResponse, ValidateProductsRequest,
    ValidateProductsResponse,
};
use onrush_proto::Receipt;
use tonic::{Request, Response, Status};

use crate::access::{Call, Gate};
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::status::Rejection;

pub(crate) use details::details;
pub(crate) use direct::{ProductServer, is_direct};
pub(crate) use put::put;
pub(crate) use stock::update_stock;
pub(crate) use validate::validate;

/// The handlers.
pub struct Products {
    backend: Backend,
    gate: Arc<Gate>,
}

impl Products {
    /// The service, ready to be served.
    pub(crate) fn server(backend: Backend, gate: Arc<Gate>) -> ProductServer {
        ProductServer::new(Self { backend, gate })
    }
}

#[tonic::async_trait]
impl ProductService for Products {
    async fn validate_products(
        &self,
        request: Request<ValidateProductsRequest>,
    ) -> Result<Response<ValidateProductsResponse>, Status> {
        Ok(Response::new(validate(&self.backend, request.into_inner().lines).await?))
    }

    async fn get_product_details(
        &self,
        request: Request<GetProductDetailsRequest>,
    ) -> Result<Response<GetProductDetailsResponse>, Status> {
        Ok(Response::new(details(&self.backend, request.get_ref()).await?))
    }

    async fn update_stock(
        &self,
        request: Request<UpdateStockRequest>,
    ) -> Result<Response<UpdateStockResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::UpdateStock)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        Ok(Response::new(update_stock(&self.backend, &caller, deadline, body).await?))
    }

    async fn put_product(
        &self,
        request: Request<PutProductRequest>,
    ) -> Result<Response<PutProductResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::PutProduct)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        Ok(Response::new(put(&self.backend, &caller, deadline, body).await?))
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
