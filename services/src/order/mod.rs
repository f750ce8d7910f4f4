//! `onrush.order.v1.OrderService`.

mod command;
mod listing;
mod message;
mod pay;

use std::sync::Arc;

use onrush_grpc::order::v1::order_service_server::{OrderService, OrderServiceServer};
use onrush_grpc::order::v1::{
    CancelOrderRequest, CancelOrderResponse, CreateOrderRequest, CreateOrderResponse, GetOrderStatusRequest,
    GetOrderStatusResponse, ListOrdersRequest, ListOrdersResponse, ProcessPaymentRequest,
    ProcessPaymentResponse,
};
use onrush_proto::{CancelOrder, Command, OrderState, Receipt};
use tonic::{Request, Response, Status};

use crate::access::{Call, Gate};
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::field;
use crate::gateway::awaited;
use crate::serve::MESSAGE_BYTES_MAX;
use crate::settlements::Settlements;
use crate::status::Rejection;

/// The handlers.
pub struct Orders {
    backend: Backend,
    settlements: Settlements,
    gate: Arc<Gate>,
}

impl Orders {
    /// The service, ready to be served.
    pub fn server(backend: Backend, settlements: Settlements, gate: Arc<Gate>) -> OrderServiceServer<Self> {
        OrderServiceServer::new(Self { backend, settlements, gate })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
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
        let command = command::create_order(&caller, &body)?;
        let keyed = self.backend.keyed(caller.name(), &body.request_id, deadline, command)?;
        let accepted = self.backend.accept(keyed.request).await?;
        let Receipt::Order { order, total, held_until_us } = accepted.receipt else {
            return Err(wrong_receipt("order", &accepted.receipt).into());
        };
        Ok(Response::new(CreateOrderResponse {
            request_id: keyed.request_id,
            replayed: accepted.replayed,
            order_id: order.to_string(),
            total: Some(field::money_message(total)),
            held_until_us: field::time_us(held_until_us),
        }))
    }

    async fn process_payment(
        &self,
        request: Request<ProcessPaymentRequest>,
    ) -> Result<Response<ProcessPaymentResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::ProcessPayment)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        Ok(Response::new(pay::pay(&self.backend, &self.settlements, &caller, deadline, body).await?))
    }

    async fn get_order_status(
        &self,
        request: Request<GetOrderStatusRequest>,
    ) -> Result<Response<GetOrderStatusResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::GetOrderStatus)?;
        let order = field::order_id("order_id", &request.get_ref().order_id)?;
        let row = self.backend.order_for(&caller, order).await?;
        let approval = awaited(&self.backend, &row).await?;
        Ok(Response::new(GetOrderStatusResponse { order: Some(message::order(&row, approval)) }))
    }

    async fn cancel_order(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::CancelOrder)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        let order = field::order_id("order_id", &body.order_id)?;
        self.backend.must_reach(&caller, order).await?;
        let command = Command::CancelOrder(CancelOrder { order });
        let keyed = self.backend.keyed(caller.name(), &body.request_id, deadline, command)?;
        let accepted = self.backend.accept(keyed.request).await?;
        let state = match accepted.receipt {
            Receipt::OrderMoved { state, .. } => state,
            // Paid money goes back first; the order is called off when it is there.
            Receipt::Refund { order, .. } => self.backend.order(order).await?.state,
            other => return Err(wrong_receipt("moved order or refund", &other).into()),
        };
        Ok(Response::new(cancelled(keyed.request_id, accepted.replayed, body.order_id, state)))
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::ListOrders)?;
        Ok(Response::new(listing::list(&self.backend, &caller, request.into_inner()).await?))
    }
}

fn cancelled(request_id: String, replayed: bool, order_id: String, state: OrderState) -> CancelOrderResponse {
    CancelOrderResponse { request_id, replayed, order_id, status: message::order_status(state).into() }
}

fn wrong_receipt(expected: &str, found: &Receipt) -> Rejection {
    Rejection::Internal(format!("expected a receipt of a {expected} of the engine, found {found:?}"))
}
