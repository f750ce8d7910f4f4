//! What is done with a shipment: one step at a time, each beginning with what is on record, so that a
//! crash between any two of them ends in the same place.

use std::time::Duration;

use onrush_proto::{Command, Delivery, MoveOrder, OrderId, OrderRow, OrderState, Refusal, Request};
use tokio::sync::mpsc;

use super::carrier::{Carrier, CarrierError, Label, Offer, Parcel};
use super::shelf::{Kept, PutError, Shelf};
use super::shipment::{Shipment, ShipmentEvent};
use super::state::ShipmentState;
use crate::backend::Backend;
use crate::clock::now_us;
use crate::status::Rejection;
use crate::traces::{self, Traces};

/// The heaviest parcel that is asked for.
const GRAMS_MAX: u64 = 70_000;
/// When an order that is being called off is looked at again.
const UNDECIDED: Duration = Duration::from_millis(500);
/// When a carrier that gave no answer is asked again on behalf of a caller who waits.
pub(super) const LATER: Duration = Duration::from_millis(500);
/// Shipments that handlers may have changed before the worker hears of the first; what is lost here
/// is looked at when it is due.
const WAKES_MAX: usize = 4_096;
/// When a carrier that does not know us is asked again.
const LOCKED_OUT: Duration = Duration::from_secs(60);

/// Does the steps.
pub struct Desk {
    pub(super) shelf: Shelf,
    pub(super) carrier: Carrier,
    /// What a unit weighs.
    unit_grams: u32,
    /// How often a parcel is asked about if the carrier does not say.
    poll: Duration,
    wakes: mpsc::Sender<OrderId>,
    pub(super) traces: Traces,
}

/// What comes after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Nothing, until somebody says otherwise.
    Nothing,
    /// The next step, after this long.
    After(Duration),
}

/// Why a step did not end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Somebody else changed the shipment: begin again.
    Conflict,
    /// The engine.
    Rejected(Rejection),
    /// The carrier.
    Carrier(CarrierError),
}

impl From<Rejection> for Trouble {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<CarrierError> for Trouble {
    fn from(error: CarrierError) -> Self {
        Self::Carrier(error)
    }
}

impl From<PutError> for Trouble {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Conflict => Self::Conflict,
            PutError::Rejected(rejection) => Self::Rejected(rejection),
        }
    }
}

impl Trouble {
    /// When to try again, where this says so itself.
    pub(super) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Conflict => Some(Duration::ZERO),
            Self::Carrier(CarrierError::Busy(pause)) => Some(*pause),
            Self::Carrier(CarrierError::Credentials(_)) => Some(LOCKED_OUT),
            _ => None,
        }
    }
}

impl Desk {
    /// A desk that sends parcels with a carrier.
    ///
    /// With it come the shipments that its callers change, for the worker to hear of.
    pub(crate) fn new(
        backend: Backend,
        carrier: Carrier,
        (unit_grams, poll): (u32, Duration),
        traces: Traces,
    ) -> (Self, mpsc::Receiver<OrderId>) {
        let (wakes, woken) = mpsc::channel(WAKES_MAX);
        (Self { shelf: Shelf { backend }, carrier, unit_grams, poll, wakes, traces }, woken)
    }

    /// There is news of a shipment.
    pub(super) fn wake(&self, order: OrderId) {
        if self.wakes.try_send(order).is_err() {
            tracing::debug!(%order, "the worker hears of a shipment when it is due");
        }
    }

    /// The carrier in use.
    pub fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    /// Opens the shipment of an order that was paid by a record; once, however often it is asked.
    pub(super) async fn open(&self, order: &OrderRow, asked_by: (u16, u64)) -> Result<(), Rejection> {
        let mut kept = Kept { order: order.id, shipment: Shipment::new(order, asked_by), version: 0 };
        match self.shelf.put(&mut kept, true).await {
            Ok(()) | Err(PutError::Conflict) => Ok(()),
            Err(PutError::Rejected(rejection)) => Err(rejection),
        }
    }

    /// The next thing to do for an order's shipment. `call` counts the tries of this step, from 0.
    pub(super) async fn step(&self, order: OrderId, call: u32) -> Result<Next, Trouble> {
        let Some(kept) = self.shelf.load(order).await? else { return Ok(Next::Nothing) };
        let cause = kept.shipment.cause();
        match kept.shipment.state {
            ShipmentState::Created => {
                // A try that ended in nothing is made again, for hours if the carrier is away.
                let counts = |done: &_| matches!(done, Ok(Next::Nothing | Next::After(Duration::ZERO)));
                let work = self.step_of(kept, call);
                self.traces.follow_if(cause, ("buy label", order), work, counts).await
            }
            // A look at a parcel is no part of its own: there may be hundreds.
            _ => traces::within(cause, self.step_of(kept, call)).await,
        }
    }

    async fn step_of(&self, kept: Kept, call: u32) -> Result<Next, Trouble> {
        match kept.shipment.state {
            ShipmentState::Created => self.label(kept, call).await,
            ShipmentState::LabelPurchased if self.is_off(&kept).await? => self.call_off(kept, call).await,
            ShipmentState::Delivered | ShipmentState::Returned => Ok(Next::Nothing),
            _ => self.track(kept, call).await,
        }
    }

    async fn is_off(&self, kept: &Kept) -> Result<bool, Rejection> {
        Ok(kept.shipment.called_off.is_some() || is_gone(&self.shelf.backend.order(kept.order).await?))
    }

    /// From the paid order to the label.
    async fn label(&self, mut kept: Kept, call: u32) -> Result<Next, Trouble> {
        let order = self.shelf.backend.order(kept.order).await?;
        if kept.shipment.called_off.is_some() || is_gone(&order) {
            return self.call_off(kept, call).await;
        }
        // From here on a buyer who cancels finds the order in fulfilment, and its refund calls us off.
        if order.calling_off().is_some() || !self.move_order(kept.order, Delivery::Fulfilling).await? {
            return Ok(Next::After(UNDECIDED));
        }
        let asked = kept.shipment.offer.clone();
        let bought = match self.buy(&mut kept, &order, call).await {
            // Without an offer on record the carrier was only told of the parcel, which costs nothing.
            Err(Trouble::Carrier(CarrierError::Refused { code, detail })) => {
                tracing::info!(order = %kept.order, code, detail, asked = asked.is_some(), "the carrier refused");
                let event = ShipmentEvent::with_code(ShipmentState::Exception, now_us(), &code, &detail);
                kept.shipment.advance(event);
                self.shelf.put(&mut kept, true).await?;
                return Ok(Next::Nothing);
            }
            bought => bought?,
        };
        self.labelled(kept, bought).await
    }

    async fn buy(&self, kept: &mut Kept, order: &OrderRow, call: u32) -> Result<Label, Trouble> {
        let key = kept.shipment.carrier_key();
        if let Some(offer) = kept.shipment.offer.clone() {
            // It may have been bought by a call that got no answer.
            if let Some(label) = self.carrier.find(&offer, call).await? {
                return Ok(label);
            }
            return Ok(self.carrier.buy(&offer, &key, call).await?);
        }
        let offer = self.offer(kept, order, call).await?;
        kept.shipment.offer = Some(offer.clone());
        self.shelf.put(kept, false).await?;
        Ok(self.carrier.buy(&offer, &key, call).await?)
    }

    /// Tells the carrier of the parcel and takes its cheapest rate.
    async fn offer(&self, kept: &Kept, order: &OrderRow, call: u32) -> Result<Offer, Trouble> {
        let to = self.shelf.address(&order.customer).await?.map(|(address, _)| address);
        let grams = (kept.shipment.units() * u64::from(self.unit_grams)).clamp(1, GRAMS_MAX) as u32;
        let parcel = Parcel { key: kept.shipment.carrier_key(), to, grams, currency: order.total.currency };
        let (reference, rates) = self.carrier.offer(&parcel, call).await?;
        match rates.into_iter().next() {
            Some(rate) => Ok(Offer { reference, rate }),
            None => {
                let (code, detail) = ("NO_RATES", "the carrier has no rate for this parcel");
                Err(CarrierError::Refused { code: code.into(), detail: detail.into() }.into())
            }
        }
    }

    async fn labelled(&self, mut kept: Kept, label: Label) -> Result<Next, Trouble> {
        self.shelf.remember(&label.tracking_number, kept.order).await?;
        kept.shipment.label = Some(label);
        kept.shipment.advance(ShipmentEvent::plain(ShipmentState::LabelPurchased, now_us()));
        self.shelf.put(&mut kept, true).await?;
        Ok(Next::After(Duration::ZERO))
    }

    /// Follows the parcel: what the carrier saw goes on record in its order, each step as an event.
    async fn track(&self, mut kept: Kept, call: u32) -> Result<Next, Trouble> {
        let (Some(offer), Some(_)) = (kept.shipment.offer.clone(), &kept.shipment.label) else {
            // An exception before there was a label waits for somebody to look after it.
            return Ok(Next::Nothing);
        };
        let mut tracking = self.carrier.track(&offer, call).await?;
        tracking.updates.sort_by_key(|update| update.at_us);
        for update in &tracking.updates {
            if !kept.shipment.take_in(update) {
                continue;
            }
            // The order first: a crash in between tells the step again, and the order stays where it is.
            match update.state {
                ShipmentState::InTransit | ShipmentState::OutForDelivery => {
                    self.move_order(kept.order, Delivery::Shipped).await?;
                }
                ShipmentState::Delivered => {
                    self.move_order(kept.order, Delivery::Delivered).await?;
                }
                _ => {}
            }
            self.shelf.put(&mut kept, true).await?;
        }
        Ok(match kept.shipment.state.is_open() {
            true => Next::After(tracking.next.unwrap_or(self.poll)),
            false => Next::Nothing,
        })
    }

    /// Gives the label back, if there is one: an order that is called off gets no parcel.
    async fn call_off(&self, mut kept: Kept, call: u32) -> Result<Next, Trouble> {
        let reason = kept.shipment.called_off.clone();
        if let Some(offer) = kept.shipment.offer.clone() {
            let key = kept.shipment.carrier_key();
            if !self.carrier.void(&offer, &key, call).await? {
                return self.too_late(kept, &offer, call).await;
            }
        }
        let code = if reason.is_some() { "CALLED_OFF" } else { "ORDER_CANCELLED" };
        let detail = reason.unwrap_or_else(|| "the order was called off before the parcel left".into());
        kept.shipment.advance(ShipmentEvent::with_code(ShipmentState::Returned, now_us(), code, &detail));
        self.shelf.put(&mut kept, true).await?;
        Ok(Next::Nothing)
    }

    /// The parcel has left, or the carrier keeps the label: somebody has to get it back.
    async fn too_late(&self, mut kept: Kept, offer: &Offer, call: u32) -> Result<Next, Trouble> {
        if kept.shipment.label.is_none() {
            kept.shipment.label = self.carrier.find(offer, call).await?;
        }
        if let Some(label) = &kept.shipment.label {
            self.shelf.remember(&label.tracking_number, kept.order).await?;
        }
        let detail = "the order was called off and the carrier did not take the label back";
        let event =
            ShipmentEvent::with_code(ShipmentState::Exception, now_us(), "LABEL_NOT_RETURNED", detail);
        kept.shipment.advance(event);
        kept.shipment.called_off = None;
        self.shelf.put(&mut kept, true).await?;
        Ok(Next::After(self.poll))
    }

    /// Moves the order along to this stage, step by step; false if it does not go there now. Where it
    /// stands further already, it stays.
    async fn move_order(&self, order: OrderId, to: Delivery) -> Result<bool, Rejection> {
        loop {
            let state = match self.shelf.backend.order(order).await?.delivery {
                at if at >= to => return Ok(true),
                Delivery::Waiting => OrderState::Fulfilling,
                Delivery::Fulfilling => OrderState::Shipped,
                Delivery::Shipped | Delivery::Delivered => OrderState::Delivered,
            };
            let request = Request::unkeyed(Command::MoveOrder(MoveOrder { order, to: state }));
            match self.shelf.backend.accept(request).await {
                Ok(_) => {}
                Err(Rejection::Refused(
                    Refusal::IllegalTransition { .. } | Refusal::BeingCancelled { .. },
                )) => {
                    let row = self.shelf.backend.order(order).await?;
                    return Ok(row.delivery >= to);
                }
                Err(rejection) => return Err(rejection),
            }
        }
    }
}

/// True if an order is paid for and may go out.
pub(super) fn is_to_ship(order: &OrderRow) -> bool {
    order.state.is_sold() && order.state != OrderState::Refunded && order.delivery == Delivery::Waiting
}

/// True if an order was paid for and is no more.
pub(super) fn is_gone(order: &OrderRow) -> bool {
    !order.state.is_sold() || order.state == OrderState::Refunded
}
