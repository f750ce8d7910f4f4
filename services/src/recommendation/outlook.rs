//! A model's view of the counters: where its products are among them, and what sells now. It is made now and then, as
//! the charts of everybody are, and in stretches, between which whoever counts may go on.

use std::sync::Arc;

use onrush_proto::Sku;
use onrush_scoring::base::Base;
use onrush_scoring::candidates::{Chart, Survey};
use onrush_scoring::model::Model;

use super::counters::Counters;
use super::profiles::Profiles;

/// Products that are looked at in a stretch: a millisecond or two.
pub(super) const STRETCH: usize = 4_096;

/// Of which counters and of which model something was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    /// Places of products.
    generation: u64,
    /// The model.
    version: u64,
}

/// What a model makes of the counters.
pub(super) struct Outlook {
    pub(super) stamp: Stamp,
    /// Products there were.
    products: usize,
    pub(super) base: Base,
    pub(super) chart: Chart,
    /// What the base says of customers.
    pub(super) profiles: Arc<Profiles>,
}

/// An outlook in the making.
pub(super) struct Sight {
    network: Option<Arc<Model>>,
    stamp: Stamp,
    products: usize,
    /// Where the model's products are, as far as it was looked.
    places: Vec<Option<u32>>,
    /// The base with its products in their places, and what it says of customers.
    placed: Option<(Base, Arc<Profiles>)>,
    survey: Survey,
}

impl Stamp {
    pub(super) fn of(counters: &Counters, network: Option<&Model>) -> Self {
        let version = network.map_or(0, |model| model.origin.version);
        Self { generation: counters.generation(), version }
    }
}

impl Sight {
    /// Begins one of a model or none, as of a time. Where the products are is known of an outlook of the same.
    pub(super) fn begin(
        counters: &Counters,
        network: Option<Arc<Model>>,
        known: Option<&Outlook>,
        now_s: i64,
    ) -> Self {
        let (stamp, products) = (Stamp::of(counters, network.as_deref()), counters.counted().products.len());
        let same = known.filter(|known| known.stamp == stamp && known.products == products);
        let placed = same.map(|known| (known.base.clone(), known.profiles.clone()));
        Self { network, stamp, products, places: Vec::new(), placed, survey: Survey::at(now_s) }
    }

    /// Does what needs no counters: puts the base in its places once all are known.
    pub(super) fn settle(&mut self) {
        if self.placed.is_some() {
            return;
        }
        let base = match &self.network {
            None => Base::nothing(),
            Some(model) if self.places.len() == model.names.len() => {
                let mut base = model.base.clone();
                base.place(&self.places);
                base
            }
            Some(_) => return,
        };
        self.placed = Some((base, Arc::default()));
    }

    /// Looks at a stretch of the counters, which are those of before; true if there is more.
    pub(super) fn go_on(&mut self, counters: &Counters) -> bool {
        match (&self.placed, &self.network) {
            (Some((base, _)), _) => {
                let end = (self.survey.seen() + STRETCH).min(self.products);
                self.survey.go_on(&counters.counted().scoring, base, end);
                end < self.products
            }
            (None, Some(model)) => {
                let place = |name: &String| name.parse().ok().and_then(|sku: Sku| counters.place_of(&sku));
                self.places.extend(model.names.iter().skip(self.places.len()).take(STRETCH).map(place));
                true
            }
            (None, None) => true,
        }
    }

    /// True if counters are those of before: products have their places.
    pub(super) fn is_of(&self, counters: &Counters) -> bool {
        self.stamp == Stamp::of(counters, self.network.as_deref())
    }

    /// What came of it; `None` before everything was looked at.
    pub(super) fn outlook(self) -> Option<Outlook> {
        let Self { stamp, products, placed, survey, .. } = self;
        let (base, profiles) = placed?;
        Some(Outlook { stamp, products, base, chart: survey.chart(), profiles })
    }
}
