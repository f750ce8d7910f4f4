//! When each open shipment is looked at next.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use onrush_proto::OrderId;
use tokio::time::Instant;

use crate::retry::Retry;

/// The open shipments by the time they are due.
#[derive(Default)]
pub(super) struct Schedule {
    due: BTreeSet<(Instant, OrderId)>,
    places: HashMap<OrderId, Place>,
}

#[derive(Default)]
struct Place {
    /// `None` while a step is under way.
    at: Option<Instant>,
    /// True if news came during the step.
    news: bool,
    retry: Retry,
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// There is nothing more to do.
    Closed,
    /// Well: the next one is due after this long.
    Well(Duration),
    /// Not well: try again after this long, or after the usual pause.
    Badly(Option<Duration>),
}

impl Schedule {
    /// Shipments it knows.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// There is news of a shipment: it is due now.
    pub(super) fn wake(&mut self, order: OrderId, now: Instant) {
        let place = self.places.entry(order).or_insert_with(|| Place { at: Some(now), ..Place::default() });
        match place.at {
            None => place.news = true,
            Some(at) => {
                self.due.remove(&(at, order));
                place.at = Some(at.min(now));
                self.due.insert((at.min(now), order));
            }
        }
    }

    /// When the first one is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The first one that is due, with the tries of its step so far.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(OrderId, u32)> {
        let (at, order) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, order));
        let place = self.places.get_mut(&order)?;
        place.at = None;
        Some((order, place.retry.call))
    }

    /// A step ended.
    pub(super) fn ended(&mut self, order: OrderId, how: Ended, now: Instant) {
        let Some(place) = self.places.get_mut(&order) else { return };
        let pause = match how {
            Ended::Closed if place.news => Duration::ZERO,
            Ended::Closed => {
                self.places.remove(&order);
                return;
            }
            Ended::Well(pause) => {
                place.retry = Retry::default();
                pause
            }
            Ended::Badly(pause) => {
                let usual = place.retry.pause();
                pause.unwrap_or(usual)
            }
        };
        let at = if place.news { now } else { now + pause };
        place.news = false;
        place.at = Some(at);
        self.due.insert((at, order));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shipment_has_one_step_at_a_time_and_news_brings_the_next_forward() {
        let mut schedule = Schedule::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        schedule.wake(OrderId(1), start);
        schedule.wake(OrderId(1), at(5));
        assert_eq!((schedule.len(), schedule.next_at()), (1, Some(start)));
        assert_eq!(schedule.take_due(start), Some((OrderId(1), 0)));
        assert_eq!(schedule.take_due(at(9)), None, "under way");
        schedule.ended(OrderId(1), Ended::Badly(None), at(10));
        assert_eq!(schedule.take_due(at(109)), None);
        assert_eq!(schedule.take_due(at(110)), Some((OrderId(1), 1)), "tried a second time");
        schedule.wake(OrderId(1), at(111));
        schedule.ended(OrderId(1), Ended::Well(Duration::from_secs(60)), at(112));
        assert_eq!(schedule.take_due(at(112)), Some((OrderId(1), 0)), "news came meanwhile");
        schedule.ended(OrderId(1), Ended::Well(Duration::from_secs(60)), at(113));
        schedule.wake(OrderId(1), at(114));
        assert_eq!(schedule.take_due(at(114)), Some((OrderId(1), 0)));
        schedule.ended(OrderId(1), Ended::Closed, at(115));
        assert_eq!((schedule.len(), schedule.next_at()), (0, None));
    }
}
