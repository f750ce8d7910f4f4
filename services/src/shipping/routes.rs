//! Shipping over HTTP.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use onrush_grpc::shipping::v1 as wire;
use onrush_proto::Currency;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::address::Address;
use super::carrier::{Parcel, Rate};
use super::shelf::Kept;
use super::shipment::ShipmentEvent;
use super::state::ShipmentState;
use super::{Shipping, grams, tracking_number, webhook};
use crate::access::Call;
use crate::field::{self, FieldError};
use crate::http::{Json, Problem, Routes};
use crate::status::Rejection;

/// How long a caller waits for the carrier.
const CARRIER_WAIT: Duration = Duration::from_secs(9);

/// The routes.
pub fn routes(shipping: Shipping) -> Routes {
    let pushes = OpenApiRouter::new().routes(routes!(webhook::hear)).with_state(shipping.desk.clone());
    OpenApiRouter::new()
        .routes(routes!(shipment))
        .routes(routes!(shipments))
        .routes(routes!(rates))
        .routes(routes!(track))
        .with_state(shipping)
        .merge(pushes)
}

/// A shipment.
#[derive(Serialize, ToSchema)]
struct ShipmentView {
    /// Its id: that of its order.
    shipment_id: String,
    /// The order's id.
    order_id: String,
    /// Who ordered.
    customer_id: String,
    /// Where it stands: created, label_purchased, in_transit, out_for_delivery, delivered, exception or returned.
    status: &'static str,
    /// What is inside.
    lines: Vec<LineView>,
    /// The carrier; empty until a rate is chosen.
    carrier: String,
    /// Its service.
    carrier_service: String,
    /// What the label costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<MoneyView>,
    /// The tracking number; empty until there is a label.
    tracking_number: String,
    /// Where the label can be fetched.
    label_url: String,
    /// What happened, oldest first.
    events: Vec<EventView>,
    /// Counts changes.
    version: u64,
}

/// One line of what is inside.
#[derive(Serialize, ToSchema)]
struct LineView {
    /// The stock-keeping unit.
    sku: String,
    /// Units.
    quantity: u32,
}

/// An amount.
#[derive(Serialize, ToSchema)]
struct MoneyView {
    /// Minor units, e.g. cents.
    minor_units: i64,
    /// ISO 4217.
    currency_code: String,
}

/// Something that happened.
#[derive(Serialize, ToSchema)]
struct EventView {
    /// Where it stood from then on.
    status: &'static str,
    /// When, microseconds since the Unix epoch.
    at_us: u64,
    /// A stable code; empty if all goes well.
    code: String,
    /// For people.
    detail: String,
    /// Where it was seen.
    place: String,
}

/// The shipments of an order.
#[derive(Serialize, ToSchema)]
struct ShipmentsView {
    /// None until the order is paid, then one.
    shipments: Vec<ShipmentView>,
}

/// What a rate is asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RatesBody {
    /// Where to.
    destination: AddressBody,
    /// What the parcel weighs, 1 to 70,000.
    weight_grams: u32,
}

/// A postal address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AddressBody {
    /// Who receives.
    name: String,
    /// Street and number.
    street: String,
    /// More of the street.
    #[serde(default)]
    street2: String,
    /// Town.
    city: String,
    /// State or province.
    #[serde(default)]
    state: String,
    /// Postal code.
    #[serde(default)]
    postal_code: String,
    /// Two capital letters (ISO 3166-1).
    country_code: String,
    /// For the carrier.
    #[serde(default)]
    phone: String,
}

/// What the carrier asks.
#[derive(Serialize, ToSchema)]
struct RatesView {
    /// Cheapest first.
    rates: Vec<RateView>,
}

/// What the carrier asks for one of its services.
#[derive(Serialize, ToSchema)]
struct RateView {
    /// The carrier.
    carrier: String,
    /// Its service.
    service: String,
    /// The price of the label.
    amount: MoneyView,
    /// Days to the door; 0 = it does not say.
    days: u32,
}

/// Where a parcel is. Says nothing of the buyer.
#[derive(Serialize, ToSchema)]
struct TrackView {
    /// The tracking number.
    tracking_number: String,
    /// The carrier.
    carrier: String,
    /// Where it stands.
    status: &'static str,
    /// What happened, oldest first.
    events: Vec<EventView>,
}

/// A shipment as its owner has it.
#[utoipa::path(
    get,
    path = "/shipments/{shipment_id}",
    tag = "shipping",
    security((), ("bearer" = [])),
    params(("shipment_id" = String, Path, description = "32 hex digits")),
    responses(
        (status = 200, description = "The shipment", body = ShipmentView),
        (status = 400, description = "Not an id", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such shipment", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn shipment(
    State(shipping): State<Shipping>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ShipmentView>, Rejection> {
    let caller = shipping.gate.admit(&headers, Call::GetShipment)?;
    let order = field::order_id("shipment_id", &part("shipment_id", path)?)?;
    Ok(Json(view(&shipping.desk.shipment_for(&caller, order, "shipment_id").await?)))
}

/// The shipments of an order.
#[utoipa::path(
    get,
    path = "/orders/{order_id}/shipments",
    tag = "shipping",
    security((), ("bearer" = [])),
    params(("order_id" = String, Path, description = "32 hex digits")),
    responses(
        (status = 200, description = "The shipments", body = ShipmentsView),
        (status = 400, description = "Not an id", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such order", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn shipments(
    State(shipping): State<Shipping>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ShipmentsView>, Rejection> {
    let caller = shipping.gate.admit(&headers, Call::ListShipments)?;
    let order = field::order_id("order_id", &part("order_id", path)?)?;
    let kept = shipping.desk.shipments_of(&caller, order).await?;
    Ok(Json(ShipmentsView { shipments: kept.iter().map(view).collect() }))
}

/// What the carrier asks for a parcel, cheapest first.
#[utoipa::path(
    post,
    path = "/rates",
    tag = "shipping",
    security((), ("bearer" = [])),
    request_body = RatesBody,
    responses(
        (status = 200, description = "The rates", body = RatesView),
        (status = 400, description = "A field is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The carrier refused", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The carrier gave no answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn rates(
    State(shipping): State<Shipping>,
    headers: HeaderMap,
    body: Result<Json<RatesBody>, Rejection>,
) -> Result<Json<RatesView>, Rejection> {
    shipping.gate.admit(&headers, Call::GetRates)?;
    let Json(body) = body?;
    let parcel = Parcel {
        key: format!("rates-{}", Uuid::new_v4().simple()),
        to: Some(Address::read("destination", Some(&body.destination.message()))?),
        grams: grams(body.weight_grams)?,
        currency: Currency::EUR,
    };
    let found = shipping.desk.rates(&parcel, Instant::now() + CARRIER_WAIT).await?;
    Ok(Json(RatesView { rates: found.iter().map(rate).collect() }))
}

/// Where a parcel is.
#[utoipa::path(
    get,
    path = "/track/{tracking_number}",
    tag = "shipping",
    security((), ("bearer" = [])),
    params(("tracking_number" = String, Path, description = "1 to 64 letters, digits, - and _")),
    responses(
        (status = 200, description = "Where it is", body = TrackView),
        (status = 400, description = "Not a tracking number", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such parcel", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn track(
    State(shipping): State<Shipping>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<TrackView>, Rejection> {
    let caller = shipping.gate.admit(&headers, Call::TrackShipment)?;
    let number = tracking_number(part("tracking_number", path)?)?;
    let kept = shipping.desk.tracked(&caller, &number).await?;
    let ShipmentView { carrier, status, events, .. } = view(&kept);
    Ok(Json(TrackView { tracking_number: number, carrier, status, events }))
}

/// One part of the path.
fn part(name: &str, path: Result<Path<String>, PathRejection>) -> Result<String, FieldError> {
    path.map(|Path(text)| text).map_err(|_| FieldError::invalid(name, "UTF-8 in the path", "other bytes"))
}

fn view(kept: &Kept) -> ShipmentView {
    let shipment = &kept.shipment;
    let rate = shipment.offer.as_ref().map(|offer| &offer.rate);
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    ShipmentView {
        shipment_id: shipment.order.clone(),
        order_id: shipment.order.clone(),
        customer_id: shipment.customer.clone(),
        status: shipment.state.name(),
        lines: shipment
            .lines
            .iter()
            .map(|line| LineView { sku: line.sku.clone(), quantity: line.quantity })
            .collect(),
        carrier: text(rate.map(|rate| &rate.carrier)),
        carrier_service: text(rate.map(|rate| &rate.service)),
        cost: rate.map(amount),
        tracking_number: text(shipment.label.as_ref().map(|label| &label.tracking_number)),
        label_url: text(shipment.label.as_ref().map(|label| &label.url)),
        events: shipment.events.iter().map(event).collect(),
        version: kept.version,
    }
}

fn event(event: &ShipmentEvent) -> EventView {
    EventView {
        status: ShipmentState::name(event.state),
        at_us: event.at_us,
        code: event.code.clone(),
        detail: event.detail.clone(),
        place: event.place.clone(),
    }
}

fn rate(rate: &Rate) -> RateView {
    RateView {
        carrier: rate.carrier.clone(),
        service: rate.service.clone(),
        amount: amount(rate),
        days: rate.days,
    }
}

fn amount(rate: &Rate) -> MoneyView {
    MoneyView { minor_units: rate.minor, currency_code: rate.currency.clone() }
}

impl AddressBody {
    fn message(self) -> wire::Address {
        wire::Address {
            name: self.name,
            street: self.street,
            street2: self.street2,
            city: self.city,
            state: self.state,
            postal_code: self.postal_code,
            country_code: self.country_code,
            phone: self.phone,
        }
    }
}
