//! Carriers: what takes parcels out into the world. A worker asks, never a handler on the way of an
//! order, and what was asked is on record before the carrier hears of it.

pub mod http;
pub mod simulated;

use std::time::Duration;

use onrush_proto::Currency;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::shipment::ShipmentEvent;
use super::state::ShipmentState;
pub use http::HttpCarrier;
pub use simulated::Simulated;

/// How long one call may take before nobody knows.
pub const CALL_MAX: Duration = Duration::from_secs(30);

/// The carrier in use.
pub enum Carrier {
    /// In process, with its own books; nothing real is shipped.
    Simulated(Simulated),
    /// An aggregator of carriers over HTTP.
    Http(Box<HttpCarrier>),
}

/// What is to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parcel {
    /// The carrier's idempotency key: `<order>:<round>`, the same for every call about it.
    pub key: String,
    /// Where to; the simulated carrier finds the way without.
    pub to: Option<Address>,
    /// What it weighs.
    pub grams: u32,
    /// The currency of the order.
    pub currency: Currency,
}

/// What a carrier asks for a parcel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// The carrier's own name of it.
    pub id: String,
    /// The carrier.
    pub carrier: String,
    /// Its service.
    pub service: String,
    /// Minor units of the currency.
    pub minor: i64,
    /// Its ISO 4217 code.
    pub currency: String,
    /// Days to the door; 0 = it does not say.
    pub days: u32,
}

/// A parcel that the carrier knows, and the rate that was chosen for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The carrier's name of the parcel.
    pub reference: String,
    /// The chosen rate.
    pub rate: Rate,
}

/// A label that is paid for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Label {
    /// The number that buyers follow.
    pub tracking_number: String,
    /// Where the label can be fetched.
    pub url: String,
}

/// What the carrier saw of a parcel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    /// Where it stood from then on.
    pub state: ShipmentState,
    /// When, in us since the epoch.
    pub at_us: u64,
    /// What the carrier says of it.
    pub detail: String,
    /// Where it was seen.
    pub place: String,
}

impl Update {
    /// As an event of the shipment.
    pub fn event(&self) -> ShipmentEvent {
        let code = if self.state == ShipmentState::Exception { "CARRIER_EXCEPTION" } else { "" };
        let event = ShipmentEvent::with_code(self.state, self.at_us, code, &self.detail);
        ShipmentEvent { place: self.place.clone(), ..event }
    }
}

/// What the carrier saw so far, in any order and perhaps more than once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tracking {
    /// The updates.
    pub updates: Vec<Update>,
    /// When it is worth asking again, if the carrier knows.
    pub next: Option<Duration>,
}

/// Why a carrier did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CarrierError {
    /// No answer came: whether the carrier acted is unknown.
    #[error("expected an answer of the carrier, found none in time")]
    NoAnswer,
    /// It wants to be left alone for a while.
    #[error("the carrier asks to be called again in {} ms", .0.as_millis())]
    Busy(Duration),
    /// It said no, and would say no again.
    #[error("the carrier refused: {code}: {detail}")]
    Refused {
        /// Its code.
        code: String,
        /// For people.
        detail: String,
    },
    /// It does not know us: an operator has to act.
    #[error("the carrier does not accept our credentials ({0})")]
    Credentials(String),
}

impl Carrier {
    /// What an operator should know at start.
    pub fn notice(&self) -> String {
        match self {
            Self::Simulated(_) => "shipping: simulated carrier, nothing real is shipped".into(),
            Self::Http(carrier) => format!("shipping: labels are bought at {}", carrier.base()),
        }
    }

    /// True if a parcel needs an address.
    pub fn needs_address(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// Tells the carrier of a parcel, which costs nothing: its name there and all rates, cheapest first.
    /// `call` counts the calls under this key, from 0.
    pub async fn offer(&self, parcel: &Parcel, call: u32) -> Result<(String, Vec<Rate>), CarrierError> {
        let (reference, mut rates) = match self {
            Self::Simulated(carrier) => carrier.offer(parcel, call).await?,
            Self::Http(carrier) => answered(carrier.offer(parcel)).await?,
        };
        rates.sort_by(|a, b| (a.minor, &a.carrier, &a.service).cmp(&(b.minor, &b.carrier, &b.service)));
        Ok((reference, rates))
    }

    /// Pays for a label.
    pub async fn buy(&self, offer: &Offer, key: &str, call: u32) -> Result<Label, CarrierError> {
        match self {
            Self::Simulated(carrier) => carrier.buy(offer, call).await,
            Self::Http(carrier) => answered(carrier.buy(offer, key)).await,
        }
    }

    /// The label of a parcel; `None` if none was paid for.
    pub async fn find(&self, offer: &Offer, call: u32) -> Result<Option<Label>, CarrierError> {
        match self {
            Self::Simulated(carrier) => carrier.find(offer, call).await,
            Self::Http(carrier) => answered(carrier.find(offer)).await,
        }
    }

    /// Where a parcel was seen.
    pub async fn track(&self, offer: &Offer, call: u32) -> Result<Tracking, CarrierError> {
        match self {
            Self::Simulated(carrier) => carrier.track(offer, call).await,
            Self::Http(carrier) => answered(carrier.track(offer)).await,
        }
    }

    /// Gives a label back; false if the parcel has left.
    pub async fn void(&self, offer: &Offer, key: &str, call: u32) -> Result<bool, CarrierError> {
        match self {
            Self::Simulated(carrier) => carrier.void(offer, call).await,
            Self::Http(carrier) => answered(carrier.void(offer, key)).await,
        }
    }
}

async fn answered<T>(call: impl Future<Output = Result<T, CarrierError>>) -> Result<T, CarrierError> {
    tokio::time::timeout(CALL_MAX, call).await.unwrap_or(Err(CarrierError::NoAnswer))
}
