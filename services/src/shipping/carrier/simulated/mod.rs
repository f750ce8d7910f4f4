//! A carrier in process: seeded, with books of its own that outlive a crash of the shop, parcels that
//! move with the clock, and as unreliable as it is told to be.

mod behaviour;
mod books;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use behaviour::Behaviour;
pub use books::{Books, BooksError, Entry};

use super::{CarrierError, Label, Offer, Parcel, Rate, Tracking, Update};
use crate::clock::now_us;
use crate::dice::Roll;
use crate::shipping::state::ShipmentState;

/// The services: name, price of the first kilogram and of each further one in minor units, days.
const SERVICES: [(&str, i64, i64, u32); 3] =
    [("economy", 390, 40, 5), ("standard", 590, 60, 3), ("express", 1_290, 120, 1)];
/// Parcels to another country than this cost more.
const HOME: &str = "DE";
/// How much more, in percent.
const ABROAD_PERCENT: i64 = 240;
/// How late a reordered update is told.
const LATE_US: u64 = 250_000;

/// The simulated carrier.
pub struct Simulated {
    behaviour: Behaviour,
    books: Mutex<Books>,
}

impl Simulated {
    /// A carrier that behaves as told.
    pub fn new(behaviour: Behaviour, books: Books) -> Self {
        Self { behaviour, books: Mutex::new(books) }
    }

    pub(super) async fn offer(
        &self,
        parcel: &Parcel,
        call: u32,
    ) -> Result<(String, Vec<Rate>), CarrierError> {
        let roll = self.roll(&parcel.key, "offer", call);
        self.arrive(roll, call).await?;
        if self.roll(&parcel.key, "refused", 0).hits(self.behaviour.refused) {
            let detail = "the simulated carrier does not go there";
            return Err(CarrierError::Refused { code: "UNDELIVERABLE".into(), detail: detail.into() });
        }
        Ok((parcel.key.clone(), rates(parcel)))
    }

    pub(super) async fn buy(&self, offer: &Offer, call: u32) -> Result<Label, CarrierError> {
        let roll = self.roll(&offer.reference, "buy", call);
        self.arrive(roll, call).await?;
        self.books().buy(&offer.reference, now_us());
        self.reply(roll, call, self.label(&offer.reference))
    }

    pub(super) async fn find(&self, offer: &Offer, call: u32) -> Result<Option<Label>, CarrierError> {
        self.arrive(self.roll(&offer.reference, "find", call), 1).await?;
        let found = self.books().find(&offer.reference).filter(|entry| entry.voided_us == 0);
        Ok(found.map(|_| self.label(&offer.reference)))
    }

    pub(super) async fn track(&self, offer: &Offer, call: u32) -> Result<Tracking, CarrierError> {
        self.arrive(self.roll(&offer.reference, "track", call), 1).await?;
        let Some(entry) = self.books().find(&offer.reference) else { return Ok(Tracking::default()) };
        Ok(self.seen(&offer.reference, entry, now_us()))
    }

    pub(super) async fn void(&self, offer: &Offer, call: u32) -> Result<bool, CarrierError> {
        let roll = self.roll(&offer.reference, "void", call);
        self.arrive(roll, call).await?;
        let now_us = now_us();
        let mut books = self.books();
        let entry = books.find(&offer.reference);
        let pickup_us = self.behaviour.pickup_ms * 1_000;
        let inside = entry.is_none_or(|entry| entry.voided_us > 0 || now_us < entry.bought_us + pickup_us);
        if inside {
            books.void(&offer.reference, now_us);
        }
        drop(books);
        self.reply(roll, call, inside)
    }

    /// What the carrier tells at a moment, and when there is more to tell.
    fn seen(&self, reference: &str, entry: Entry, now_us: u64) -> Tracking {
        let mut tracking = Tracking::default();
        if entry.voided_us > 0 {
            return tracking;
        }
        let mut next_us = u64::MAX;
        for (index, (state, at_us, detail)) in self.course(reference, entry).into_iter().enumerate() {
            let roll = self.roll(reference, "update", index as u32);
            let late = roll.salted("reordered").hits(self.behaviour.reordered);
            let told_us = at_us + if late { LATE_US } else { 0 };
            if told_us > now_us {
                next_us = next_us.min(told_us);
                continue;
            }
            let update = Update { state, at_us, detail: detail.into(), place: "Simulated depot".into() };
            let copies = if roll.salted("doubled").hits(self.behaviour.doubled) { 2 } else { 1 };
            tracking.updates.extend(std::iter::repeat_n(update, copies));
        }
        tracking.next = (next_us != u64::MAX).then(|| Duration::from_micros(next_us - now_us));
        if self.behaviour.reordered > 0.0 {
            tracking.updates.reverse();
        }
        tracking
    }

    /// The parcel's whole way: state, time, what the carrier says of it.
    fn course(&self, reference: &str, entry: Entry) -> Vec<(ShipmentState, u64, &'static str)> {
        let Behaviour { pickup_ms, transit_ms, delivery_ms, exception, .. } = self.behaviour;
        // Each step takes at least one us, so that their times tell them apart.
        let picked_up = entry.bought_us + (pickup_ms * 1_000).max(1);
        let out = picked_up + (transit_ms * 1_000).max(2);
        let mut course = vec![(ShipmentState::InTransit, picked_up, "picked up")];
        if self.roll(reference, "exception", 0).hits(exception) {
            let half = picked_up + (out - picked_up) / 2;
            course.push((ShipmentState::Exception, half, "held at the depot"));
        }
        course.push((ShipmentState::OutForDelivery, out, "on the last van"));
        course.push((ShipmentState::Delivered, out + (delivery_ms * 1_000).max(1), "handed over"));
        course
    }

    /// A call takes its time, and a first one may never arrive.
    async fn arrive(&self, roll: Roll, call: u32) -> Result<(), CarrierError> {
        tokio::time::sleep(self.behaviour.latency(roll)).await;
        match call == 0 && roll.salted("timeout").hits(self.behaviour.timeout) {
            true => Err(CarrierError::NoAnswer),
            false => Ok(()),
        }
    }

    /// A first call may lose its reply.
    fn reply<T>(&self, roll: Roll, call: u32, answer: T) -> Result<T, CarrierError> {
        match call == 0 && roll.salted("dropped").hits(self.behaviour.dropped) {
            true => Err(CarrierError::NoAnswer),
            false => Ok(answer),
        }
    }

    fn label(&self, reference: &str) -> Label {
        let [one, two] = ["tracking", "number"]
            .map(|salt| (self.roll(reference, salt, 0).share() * f64::from(u32::MAX)) as u32);
        let tracking_number = format!("SIM{one:08X}{two:08X}");
        Label { url: format!("simulated:{tracking_number}"), tracking_number }
    }

    fn roll(&self, reference: &str, what: &str, call: u32) -> Roll {
        Roll::new(self.behaviour.seed, &format!("{reference}/{what}/{call}"))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rates(parcel: &Parcel) -> Vec<Rate> {
    let abroad = parcel.to.as_ref().is_some_and(|to| to.country != HOME);
    let percent = if abroad { ABROAD_PERCENT } else { 100 };
    let kilograms = i64::from(parcel.grams.div_ceil(1_000).max(1));
    let rate = |(service, first, more, days): (&str, i64, i64, u32)| Rate {
        id: service.into(),
        carrier: "simulated".into(),
        service: service.into(),
        minor: (first + more * (kilograms - 1)) * percent / 100,
        currency: parcel.currency.to_string(),
        days: if abroad { days * 2 } else { days },
    };
    SERVICES.map(rate).to_vec()
}

#[cfg(test)]
mod tests {
    use onrush_proto::Currency;

    use super::*;

    fn parcel(number: usize) -> Parcel {
        Parcel { key: format!("{number}:0"), to: None, grams: 500, currency: Currency::EUR }
    }

    async fn offer(carrier: &Simulated, number: usize) -> Offer {
        let (reference, rates) = carrier.offer(&parcel(number), 1).await.unwrap();
        Offer { reference, rate: rates[0].clone() }
    }

    fn carrier(behaviour: &str) -> Simulated {
        Simulated::new(behaviour.parse().unwrap(), Books::in_memory())
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_reply_has_bought_the_label_and_a_timeout_has_not() {
        let dropping = carrier("dropped=1");
        let lost = offer(&dropping, 1).await;
        assert_eq!(dropping.buy(&lost, 0).await, Err(CarrierError::NoAnswer));
        let found = dropping.find(&lost, 1).await.unwrap().unwrap();
        assert_eq!(dropping.buy(&lost, 1).await, Ok(found), "the same key goes on with the first label");

        let silent = carrier("timeout=1");
        let lost = offer(&silent, 2).await;
        assert_eq!(silent.buy(&lost, 0).await, Err(CarrierError::NoAnswer));
        assert_eq!(silent.find(&lost, 1).await, Ok(None));
        assert!(silent.buy(&lost, 1).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_label_is_given_back_until_the_parcel_is_picked_up() {
        let slow = carrier("pickup_ms=60000");
        let kept = offer(&slow, 1).await;
        slow.buy(&kept, 1).await.unwrap();
        assert_eq!(slow.void(&kept, 1).await, Ok(true));
        assert_eq!(slow.void(&kept, 2).await, Ok(true), "again is the same");
        assert_eq!(slow.find(&kept, 1).await, Ok(None));
        let quick = carrier("pickup_ms=0");
        let gone = offer(&quick, 1).await;
        quick.buy(&gone, 1).await.unwrap();
        assert_eq!(quick.void(&gone, 1).await, Ok(false));
    }

    #[test]
    fn parcels_move_with_the_clock_and_are_told_of_twice_and_late() {
        use ShipmentState::*;
        let states = |tracking: &Tracking| -> Vec<ShipmentState> {
            tracking.updates.iter().map(|update| update.state).collect()
        };
        let calm = carrier("pickup_ms=10,transit_ms=20,delivery_ms=30");
        let entry = Entry { bought_us: 1_000_000, voided_us: 0 };
        for (at_ms, expected, next_ms) in [
            (1_009, &[][..], Some(1)),
            (1_010, &[InTransit][..], Some(20)),
            (1_030, &[InTransit, OutForDelivery][..], Some(30)),
            (1_060, &[InTransit, OutForDelivery, Delivered][..], None),
        ] {
            let seen = calm.seen("a", entry, at_ms * 1_000);
            assert_eq!((states(&seen).as_slice(), seen.next), (expected, next_ms.map(Duration::from_millis)));
        }
        let wild = carrier("doubled=1,reordered=1,exception=1,pickup_ms=10,transit_ms=20,delivery_ms=30");
        let seen = wild.seen("a", entry, 9_000_000);
        assert_eq!(
            states(&seen),
            [
                Delivered,
                Delivered,
                OutForDelivery,
                OutForDelivery,
                Exception,
                Exception,
                InTransit,
                InTransit
            ]
        );
        assert!(states(&wild.seen("a", entry, 1_011_000)).is_empty(), "late");
    }
}
