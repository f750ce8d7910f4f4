//! `onrush.shipping.v1.ShippingService`, and what stands behind it: a subscriber that opens a shipment
//! for each paid order, and a carrier that is asked for the rest.

mod address;
pub mod carrier;
mod desk;
mod message;
mod request;
pub mod routes;
mod schedule;
mod shelf;
mod shipment;
mod state;
mod webhook;
pub mod worker;

use std::sync::Arc;

use onrush_grpc::shipping::v1::shipping_service_server::{ShippingService, ShippingServiceServer};
use onrush_grpc::shipping::v1::{
    CancelShipmentRequest, CancelShipmentResponse, GetAddressRequest, GetAddressResponse, GetRatesRequest,
    GetRatesResponse, GetShipmentRequest, GetShipmentResponse, ListShipmentsRequest, ListShipmentsResponse,
    PutAddressRequest, PutAddressResponse, ResolveExceptionRequest, ResolveExceptionResponse,
    ReturnShipmentRequest, ReturnShipmentResponse, TrackShipmentRequest, TrackShipmentResponse,
};
use onrush_proto::{Command, Currency, PutDocument, Receipt};
use tonic::{Request, Response, Status};
use uuid::Uuid;

pub use address::Address;
pub use desk::Desk;
pub use shelf::Kept;
pub use shipment::Shipment;
pub use state::ShipmentState;

use crate::access::{Call, Gate};
use crate::deadline::Deadline;
use crate::field::{self, FieldError, shown};
use crate::serve::MESSAGE_BYTES_MAX;
use crate::status::{Denial, Rejection};
use carrier::Parcel;

/// Most bytes of what callers say about a shipment.
const REASON_BYTES_MAX: usize = 200;
/// The heaviest parcel.
const GRAMS_MAX: u32 = 70_000;

/// The handlers.
#[derive(Clone)]
pub struct Shipping {
    desk: Arc<Desk>,
    gate: Arc<Gate>,
}

impl Shipping {
    /// The handlers of one front.
    pub fn new(desk: Arc<Desk>, gate: Arc<Gate>) -> Self {
        Self { desk, gate }
    }

    /// The gRPC service, ready to be served.
    pub fn server(self) -> ShippingServiceServer<Self> {
        ShippingServiceServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl ShippingService for Shipping {
    async fn get_shipment(
        &self,
        request: Request<GetShipmentRequest>,
    ) -> Result<Response<GetShipmentResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::GetShipment)?;
        let order = field::order_id("shipment_id", &request.get_ref().shipment_id)?;
        let kept = self.desk.shipment_for(&caller, order, "shipment_id").await?;
        Ok(Response::new(GetShipmentResponse { shipment: Some(message::shipment(&kept)) }))
    }

    async fn list_shipments(
        &self,
        request: Request<ListShipmentsRequest>,
    ) -> Result<Response<ListShipmentsResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::ListShipments)?;
        let order = field::order_id("order_id", &request.get_ref().order_id)?;
        let kept = self.desk.shipments_of(&caller, order).await?;
        Ok(Response::new(ListShipmentsResponse { shipments: kept.iter().map(message::shipment).collect() }))
    }

    async fn get_rates(
        &self,
        request: Request<GetRatesRequest>,
    ) -> Result<Response<GetRatesResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::GetRates)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        let parcel = Parcel {
            key: format!("rates-{}", Uuid::new_v4().simple()),
            to: Some(Address::read("destination", body.destination.as_ref())?),
            grams: grams(body.weight_grams)?,
            currency: Currency::EUR,
        };
        let rates = self.desk.rates(&parcel, deadline.answer_at()).await?;
        Ok(Response::new(GetRatesResponse { rates: rates.iter().map(message::rate).collect() }))
    }

    async fn track_shipment(
        &self,
        request: Request<TrackShipmentRequest>,
    ) -> Result<Response<TrackShipmentResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::TrackShipment)?;
        let number = tracking_number(request.into_inner().tracking_number)?;
        let kept = self.desk.tracked(&caller, &number).await?;
        Ok(Response::new(message::tracking(&kept, number)))
    }

    async fn put_address(
        &self,
        request: Request<PutAddressRequest>,
    ) -> Result<Response<PutAddressResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::PutAddress)?;
        let deadline = Deadline::of(request.metadata());
        let body = request.into_inner();
        let customer = caller.customer(&body.customer_id)?;
        let address = Address::read("address", body.address.as_ref())?;
        let value = serde_json::to_vec(&address).unwrap_or_default();
        let put =
            PutDocument { key: Address::key(&customer), placement: None, value, expected: None, emit: None };
        let backend = &self.desk.shelf.backend;
        let command = Command::PutDocument(Box::new(put));
        let keyed = backend.keyed(caller.name(), &body.request_id, deadline, command)?;
        let accepted = backend.accept(keyed.request).await?;
        let Receipt::Document { version } = accepted.receipt else {
            let message = format!("expected a document's receipt, found {:?}", accepted.receipt);
            return Err(Rejection::Internal(message).into());
        };
        let (request_id, replayed) = (keyed.request_id, accepted.replayed);
        Ok(Response::new(PutAddressResponse { request_id, replayed, version }))
    }

    async fn get_address(
        &self,
        request: Request<GetAddressRequest>,
    ) -> Result<Response<GetAddressResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::GetAddress)?;
        let customer = caller.named(&request.get_ref().customer_id)?;
        let (address, version) = self.desk.address(&caller, &customer).await?;
        Ok(Response::new(GetAddressResponse { address: Some(address.message()), version }))
    }

    async fn cancel_shipment(
        &self,
        request: Request<CancelShipmentRequest>,
    ) -> Result<Response<CancelShipmentResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::CancelShipment)?;
        let until = Deadline::of(request.metadata()).answer_at();
        let body = request.into_inner();
        let order = field::order_id("shipment_id", &body.shipment_id)?;
        let reason = address::plain("reason", &body.reason, REASON_BYTES_MAX)?;
        let kept = self.desk.cancel(order, &reason, until).await?;
        if kept.shipment.state != ShipmentState::Returned && !kept.shipment.state.is_inside() {
            let message = "the carrier did not take the label back: the parcel may have left";
            return Err(Denial::new("LABEL_NOT_RETURNED", message).into());
        }
        Ok(Response::new(CancelShipmentResponse { shipment: Some(message::shipment(&kept)) }))
    }

    async fn return_shipment(
        &self,
        request: Request<ReturnShipmentRequest>,
    ) -> Result<Response<ReturnShipmentResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::ReturnShipment)?;
        let body = request.into_inner();
        let order = field::order_id("shipment_id", &body.shipment_id)?;
        let reason = address::plain("reason", &body.reason, REASON_BYTES_MAX)?;
        let kept = self.desk.give_back(order, &reason).await?;
        Ok(Response::new(ReturnShipmentResponse { shipment: Some(message::shipment(&kept)) }))
    }

    async fn resolve_exception(
        &self,
        request: Request<ResolveExceptionRequest>,
    ) -> Result<Response<ResolveExceptionResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::ResolveException)?;
        let body = request.into_inner();
        let order = field::order_id("shipment_id", &body.shipment_id)?;
        let detail = address::plain("detail", &body.detail, REASON_BYTES_MAX)?;
        let kept = self.desk.resolve(order, &detail).await?;
        Ok(Response::new(ResolveExceptionResponse { shipment: Some(message::shipment(&kept)) }))
    }
}

fn grams(grams: u32) -> Result<u32, FieldError> {
    match grams {
        1..=GRAMS_MAX => Ok(grams),
        _ => Err(FieldError::invalid("weight_grams", format!("1 to {GRAMS_MAX}"), grams.to_string())),
    }
}

fn tracking_number(number: String) -> Result<String, FieldError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match number.len() {
        0 => {
            let error = FieldError::invalid("tracking_number", "a tracking number", "none");
            Err(error.because("MISSING_FIELD"))
        }
        1..=64 if number.bytes().all(plain) => Ok(number),
        _ => {
            let expected = "1 to 64 letters, digits, - and _";
            Err(FieldError::invalid("tracking_number", expected, shown(&number)))
        }
    }
}
