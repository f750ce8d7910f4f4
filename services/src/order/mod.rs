//! `onrush.order.v1.OrderService`.

mod cancel;
mod command;
mod create;
mod direct;
mod listing;
mod message;
mod pay;
mod plain;
mod read;

use std::sync::Arc;

use onrush_grpc::order::v1::order_service_server::OrderService;
use onrush_grpc::order::v1::{
    CancelOrderRequest, CancelOrderResponse, CreateOrderRequest, CreateOrderResponse, GetOrderStatusRequest,
    GetOrderStatusResponse, ListOrdersRequest, ListOrdersResponse, ProcessPaymentRequest,
    ProcessPaymentResponse,
};
use onrush_proto::Receipt;
use tonic::{Request, Response, Status};

use crate::access::{Call, Gate};
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::settlements::Settlements;
use crate::status::Rejection;

pub(crate) use cancel::cancel;
pub(crate) use create::create;
pub(crate) use direct::{CREATE_ORDER, OrderServer};
pub(crate) use message::order as order_message;
pub(crate) use pay::pay;
pub(crate) use plain::Created;
pub(crate) use read::read;

/// The handlers.
pub struct Orders {
    backend: Backend,
    settlements: Settlements,
    gate: Arc<Gate>,
}

impl Orders {
    /// The service, ready to be served.
    pub(crate) fn server(backend: Backend, settlements: Settlements, gate: Arc<Gate>) -> OrderServer {
        OrderServer::new(Self { backend, settlements, gate })
    }
}

#[tonic::async_trait]
impl OrderService for Orders {
    async fn create_order(
        &self,
        request: Request<CreateOrderRequest>,
    ) -> Result<Response<CreateOrderResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::CreateOrder)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        Ok(Response::new(create(&self.backend, &caller, deadline, body).await?))
    }

    async fn process_payment(
        &self,
        request: Request<ProcessPaymentRequest>,
    ) -> Result<Response<ProcessPaymentResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::ProcessPayment)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        Ok(Response::new(pay(&self.backend, &self.settlements, &caller, deadline, body).await?))
    }

    async fn get_order_status(
        &self,
        request: Request<GetOrderStatusRequest>,
    ) -> Result<Response<GetOrderStatusResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::GetOrderStatus)?;
        Ok(Response::new(read(&self.backend, &caller, request.get_ref()).await?))
    }

    async fn cancel_order(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::CancelOrder)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        Ok(Response::new(cancel(&self.backend, &caller, deadline, body).await?))
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::ListOrders)?;
        Ok(Response::new(listing::list(&self.backend, &caller, request.into_inner()).await?))
    }
}

fn wrong_receipt(expected: &str, found: &Receipt) -> Rejection {
    Rejection::Internal(format!("expected a receipt of a {expected} of the engine, found {found:?}"))
}
