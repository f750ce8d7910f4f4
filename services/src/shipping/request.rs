//! What callers ask of a shipment, and what becomes of it.

use onrush_proto::{CustomerId, OrderId};
use tokio::time::{Instant, timeout_at};

use super::address::Address;
use super::carrier::{CarrierError, Parcel, Rate};
use super::desk::{Desk, Next, Trouble};
use super::shelf::{Kept, PutError};
use super::shipment::ShipmentEvent;
use super::state::ShipmentState;
use crate::access::Admitted;
use crate::clock::now_us;
use crate::status::{Denial, Rejection};

/// Tries against somebody who changes the same shipment.
const TRIES: usize = 8;

impl Desk {
    /// An order's shipment.
    pub(super) async fn shipment(&self, order: OrderId, field: &'static str) -> Result<Kept, Rejection> {
        self.shelf.load(order).await?.ok_or_else(|| unknown(field))
    }

    /// The same for a caller: what is not theirs looks as if it were not there.
    pub(super) async fn shipment_for(
        &self,
        caller: &Admitted,
        order: OrderId,
        field: &'static str,
    ) -> Result<Kept, Rejection> {
        let kept = self.shipment(order, field).await?;
        if caller.reaches_named(&kept.shipment.customer) { Ok(kept) } else { Err(unknown(field)) }
    }

    /// The parcel of a tracking number, for a caller.
    pub(super) async fn tracked(&self, caller: &Admitted, tracking_number: &str) -> Result<Kept, Rejection> {
        let order = self.shelf.tracked(tracking_number).await?;
        let order = order.ok_or_else(|| unknown("tracking_number"))?;
        self.shipment_for(caller, order, "tracking_number").await
    }

    /// The shipments of an order, for a caller: none until it is paid, then one.
    pub(super) async fn shipments_of(
        &self,
        caller: &Admitted,
        order: OrderId,
    ) -> Result<Option<Kept>, Rejection> {
        self.shelf.backend.must_reach(caller, order).await?;
        let kept = self.shelf.load(order).await?;
        if kept.is_none() {
            // An order without a shipment is not the same as no order.
            self.shelf.backend.order(order).await?;
        }
        Ok(kept)
    }

    /// A customer's address with its version, for a caller.
    pub(super) async fn address(
        &self,
        caller: &Admitted,
        customer: &CustomerId,
    ) -> Result<(Address, u64), Rejection> {
        let missing = || Denial::new("UNKNOWN_ADDRESS", "no address of this customer is known");
        let found = match caller.reaches(customer) {
            true => self.shelf.address(customer).await?,
            false => None,
        };
        Ok(found.ok_or_else(|| missing().of("customer_id"))?)
    }

    /// What the carrier asks for a parcel that nobody ordered yet.
    pub(super) async fn rates(&self, parcel: &Parcel, until: Instant) -> Result<Vec<Rate>, Rejection> {
        let asked = timeout_at(until, self.carrier.offer(parcel, 1)).await;
        match asked.unwrap_or(Err(CarrierError::NoAnswer)) {
            Ok((_, rates)) => Ok(rates),
            Err(CarrierError::Refused { code, detail }) => {
                Err(Denial::new("CARRIER_REFUSED", format!("{code}: {detail}")).of("destination").into())
            }
            Err(error) => {
                let pause = super::desk::LATER;
                Err(Denial::new("CARRIER_UNAVAILABLE", error.to_string()).after(pause).into())
            }
        }
    }

    /// Calls a shipment off. What is to be is on record first; the label goes back within the caller's
    /// patience, or after it.
    pub(super) async fn cancel(
        &self,
        order: OrderId,
        reason: &str,
        until: Instant,
    ) -> Result<Kept, Rejection> {
        let marked = self
            .change(order, |kept| {
                let shipment = &mut kept.shipment;
                match shipment.state {
                    ShipmentState::Returned => Ok(Change::None),
                    state if state.is_inside() => {
                        let first = shipment.called_off.is_none();
                        shipment.called_off.get_or_insert_with(|| reason.to_owned());
                        Ok(if first { Change::Quiet } else { Change::None })
                    }
                    ShipmentState::Exception if shipment.label.is_none() => {
                        let event = event(ShipmentState::Returned, "CALLED_OFF", reason);
                        shipment.advance(event);
                        Ok(Change::Event)
                    }
                    state => Err(illegal(state, "is called off")),
                }
            })
            .await?;
        if !marked.shipment.state.is_inside() {
            return Ok(marked);
        }
        self.wake(order);
        // The same step as the worker's: whoever comes second finds it done.
        let done = timeout_at(until, self.until_outside(order)).await;
        match done {
            Ok(kept) => kept,
            Err(_) => self.shipment(order, "shipment_id").await,
        }
    }

    async fn until_outside(&self, order: OrderId) -> Result<Kept, Rejection> {
        for call in 1.. {
            let kept = self.shipment(order, "shipment_id").await?;
            if !kept.shipment.state.is_inside() {
                return Ok(kept);
            }
            let pause = match self.step(order, call).await {
                Ok(Next::Nothing) | Err(Trouble::Conflict) => std::time::Duration::ZERO,
                Ok(Next::After(pause)) => pause,
                Err(Trouble::Rejected(rejection)) => return Err(rejection),
                Err(trouble @ Trouble::Carrier(_)) => trouble.pause().unwrap_or(super::desk::LATER),
            };
            tokio::time::sleep(pause).await;
        }
        self.shipment(order, "shipment_id").await
    }

    /// The parcel is back.
    pub(super) async fn give_back(&self, order: OrderId, reason: &str) -> Result<Kept, Rejection> {
        self.change(order, |kept| {
            let state = kept.shipment.state;
            if state == ShipmentState::Returned {
                return Ok(Change::None);
            }
            if state.is_inside() || kept.shipment.label.is_none() {
                return Err(illegal(state, "comes back; CancelShipment calls off what has not left"));
            }
            kept.shipment.advance(event(ShipmentState::Returned, "GIVEN_BACK", reason));
            Ok(Change::Event)
        })
        .await
    }

    /// An exception was looked after.
    pub(super) async fn resolve(&self, order: OrderId, detail: &str) -> Result<Kept, Rejection> {
        let resolved = self
            .change(order, |kept| {
                let state = kept.shipment.state;
                if state != ShipmentState::Exception {
                    return Err(illegal(state, "is an exception"));
                }
                let mut to = kept.shipment.before_exception();
                if kept.shipment.label.is_some() && to == ShipmentState::Created {
                    to = ShipmentState::LabelPurchased;
                }
                if to == ShipmentState::Created {
                    // What the carrier refused it would refuse again under the same key.
                    kept.shipment.offer = None;
                    kept.shipment.round += 1;
                }
                kept.shipment.advance(event(to, "RESOLVED", detail));
                Ok(Change::Event)
            })
            .await?;
        self.wake(order);
        Ok(resolved)
    }

    /// Changes a shipment as it is now, however many others do.
    async fn change(
        &self,
        order: OrderId,
        change: impl Fn(&mut Kept) -> Result<Change, Rejection>,
    ) -> Result<Kept, Rejection> {
        for _ in 0..TRIES {
            let mut kept = self.shipment(order, "shipment_id").await?;
            let emit = match change(&mut kept)? {
                Change::None => return Ok(kept),
                Change::Quiet => false,
                Change::Event => true,
            };
            match self.shelf.put(&mut kept, emit).await {
                Ok(()) => return Ok(kept),
                Err(PutError::Conflict) => {}
                Err(PutError::Rejected(rejection)) => return Err(rejection),
            }
        }
        Err(onrush_proto::Refusal::Overloaded.into())
    }
}

/// What a caller's wish does to a shipment.
enum Change {
    /// It is so already.
    None,
    /// It goes on record, and nobody is told yet.
    Quiet,
    /// It is an event.
    Event,
}

fn event(state: ShipmentState, code: &str, detail: &str) -> ShipmentEvent {
    ShipmentEvent::with_code(state, now_us(), code, detail)
}

fn unknown(field: &'static str) -> Rejection {
    Denial::new("UNKNOWN_SHIPMENT", format!("{field}: no such shipment")).of(field).into()
}

fn illegal(state: ShipmentState, what: &str) -> Rejection {
    let message = format!("expected a shipment that {what}, found one that is {}", state.name());
    Denial::new("ILLEGAL_SHIPMENT_STATE", message).into()
}
