//! `onrush.payment.v1.PaymentService`.

mod capture;
mod listing;
mod message;
mod read;
mod refund;
mod start;

use std::sync::Arc;

use onrush_grpc::payment::v1::payment_service_server::{PaymentService, PaymentServiceServer};
use onrush_grpc::payment::v1::{
    CapturePaymentRequest, CapturePaymentResponse, CreatePaymentRequest, CreatePaymentResponse,
    GetPaymentStatusRequest, GetPaymentStatusResponse, ListTransactionsRequest, ListTransactionsResponse,
    ProcessRefundRequest, ProcessRefundResponse,
};
use onrush_proto::Receipt;
use tonic::{Request, Response, Status};

use crate::access::{Call, Gate};
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::serve::MESSAGE_BYTES_MAX;
use crate::settlements::Settlements;
use crate::status::Rejection;

pub(crate) use capture::capture;
pub(crate) use read::read;
pub(crate) use refund::refund;
pub(crate) use start::start;

/// The handlers.
pub struct Payments {
    backend: Backend,
    settlements: Settlements,
    gate: Arc<Gate>,
}

impl Payments {
    /// The service, ready to be served.
    pub fn server(backend: Backend, settlements: Settlements, gate: Arc<Gate>) -> PaymentServiceServer<Self> {
        PaymentServiceServer::new(Self { backend, settlements, gate })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl PaymentService for Payments {
    async fn create_payment(
        &self,
        request: Request<CreatePaymentRequest>,
    ) -> Result<Response<CreatePaymentResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::CreatePayment)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        Ok(Response::new(start(&self.backend, &self.settlements, &caller, deadline, body).await?))
    }

    async fn capture_payment(
        &self,
        request: Request<CapturePaymentRequest>,
    ) -> Result<Response<CapturePaymentResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::CapturePayment)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        Ok(Response::new(capture(&self.backend, &self.settlements, &caller, deadline, body).await?))
    }

    async fn get_payment_status(
        &self,
        request: Request<GetPaymentStatusRequest>,
    ) -> Result<Response<GetPaymentStatusResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::GetPaymentStatus)?;
        Ok(Response::new(read(&self.backend, &caller, request.get_ref()).await?))
    }

    async fn process_refund(
        &self,
        request: Request<ProcessRefundRequest>,
    ) -> Result<Response<ProcessRefundResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::ProcessRefund)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        Ok(Response::new(refund(&self.backend, &self.settlements, &caller, deadline, body).await?))
    }

    async fn list_transactions(
        &self,
        request: Request<ListTransactionsRequest>,
    ) -> Result<Response<ListTransactionsResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::ListTransactions)?;
        Ok(Response::new(listing::list(&self.backend, &caller, request.into_inner()).await?))
    }
}

fn wrong_receipt(expected: &str, found: &Receipt) -> Rejection {
    Rejection::Internal(format!("expected a receipt of a {expected} of the engine, found {found:?}"))
}
