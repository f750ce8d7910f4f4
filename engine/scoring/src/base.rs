//! What is learned of all users at once: factors of the products, and which of them the same users buy.
//!
//! Products have the numbers of the counters that a base was learned of. Counters that number them otherwise, as
//! those that go on while products come and leave, say which is which ([`Base::place`]).

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use std::sync::Arc;

use rkyv::{Archive, Deserialize, Serialize};

use crate::counters::{Bought, Counters, User};
use crate::factors::{AlsOptions, DIMENSIONS, Factor, Factors, GoOn, Half, Sparse};
use crate::neighbours::{Neighbour, Neighbours};

/// Factors and neighbours, as they are kept.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Learned {
    /// By the number of the product.
    pub factors: Vec<Factor>,
    /// Of each product.
    pub neighbours: Neighbours,
    /// What large factors cost when they were learned.
    pub regularization: f32,
    /// How fast confidence grew with a count.
    pub confidence: f32,
}

/// The same, with what is needed to find the factor of a user.
#[derive(Clone)]
pub struct Base {
    learned: Arc<Learned>,
    half: Half,
    places: Option<Arc<Places>>,
}

/// Numbers that are of no product.
const NOWHERE: u32 = u32::MAX;

/// Which product has which number.
struct Places {
    /// The number among the counters, by the number when it was learned.
    counted: Vec<u32>,
    /// The number when it was learned, by the number among the counters.
    learned: Vec<u32>,
}

impl Base {
    /// Learns it of what was counted up to a time; `None` if it was called off. `go_on` hears how much is done.
    pub fn learn(counters: &Counters, now_s: i64, options: AlsOptions, go_on: GoOn<'_>) -> Option<Self> {
        let AlsOptions { regularization, confidence, .. } = options;
        let products = counters.products.len();
        let mut rows = Sparse::new();
        counters.users.iter().for_each(|user| rows.push(confidences(user, now_s, confidence)));
        let factors = Factors::learn(&rows, products, options, &|done| go_on(0.7 * done))?.products;
        let mut rows = Sparse::new();
        let weights = |user: &User| -> Vec<(u32, f32)> {
            user.bought.iter().map(|bought| (bought.product, weight(bought, now_s))).collect()
        };
        counters.users.iter().for_each(|user| rows.push(weights(user).into_iter()));
        let neighbours = Neighbours::learn(&rows, products, &|done| go_on(0.7 + 0.3 * done))?;
        Some(Self::of(Learned { factors, neighbours, regularization, confidence }))
    }

    /// Goes on with what was learned before.
    pub fn of(learned: Learned) -> Self {
        let half = Half::of(&learned.factors, learned.regularization);
        Self { learned: Arc::new(learned), half, places: None }
    }

    /// Nothing: no product has a factor or neighbours.
    pub fn nothing() -> Self {
        let AlsOptions { regularization, confidence, .. } = AlsOptions::default();
        let (factors, neighbours) = (Vec::new(), Neighbours::default());
        Self::of(Learned { factors, neighbours, regularization, confidence })
    }

    /// What was learned, to be kept.
    pub fn into_learned(self) -> Learned {
        Arc::unwrap_or_clone(self.learned)
    }

    /// Products that it was learned of.
    pub fn products(&self) -> usize {
        self.learned.factors.len()
    }

    /// Says where its products are among counters, by the numbers they had when it was learned; `None` for one that
    /// is not there.
    ///
    /// # Panics
    ///
    /// If there are not as many as [`Base::products`].
    pub fn place(&mut self, places: &[Option<u32>]) {
        assert_eq!(places.len(), self.products(), "a place for each product");
        let counted: Vec<u32> = places.iter().map(|place| place.unwrap_or(NOWHERE)).collect();
        let count = places.iter().flatten().max().map_or(0, |last| *last as usize + 1);
        let mut learned = vec![NOWHERE; count];
        for (place, number) in places.iter().zip(0..) {
            if let Some(place) = place {
                learned[*place as usize] = number;
            }
        }
        self.places = Some(Arc::new(Places { counted, learned }));
    }

    /// The number that a product had when it was learned.
    fn learned(&self, product: u32) -> u32 {
        match &self.places {
            Some(places) => places.learned.get(product as usize).copied().unwrap_or(NOWHERE),
            None => product,
        }
    }

    /// The factor of a product; nothing of one that came later.
    pub fn factor(&self, product: u32) -> &Factor {
        const NONE: Factor = [0.0; DIMENSIONS];
        self.learned.factors.get(self.learned(product) as usize).unwrap_or(&NONE)
    }

    /// What is bought by those who buy a product.
    pub fn neighbours(&self, product: u32) -> impl Iterator<Item = Neighbour> + '_ {
        let found = self.learned.neighbours.of(self.learned(product)).iter();
        found.filter_map(|found| match &self.places {
            Some(places) => {
                let product = places.counted[found.product as usize];
                (product != NOWHERE).then_some(Neighbour { product, ..*found })
            }
            None => Some(*found),
        })
    }

    /// The factor of a user, of what they bought so far.
    pub fn fold_in(&self, user: &User, now_s: i64) -> Factor {
        let row = confidences(user, now_s, self.learned.confidence);
        let row = row.map(|(product, confidence)| (self.learned(product), confidence));
        let known = row.filter(|(product, _)| (*product as usize) < self.products());
        self.half.solve(&known.collect::<Vec<_>>(), &self.learned.factors)
    }
}

/// What a user bought, each with its confidence beyond 1.
fn confidences(user: &User, now_s: i64, confidence: f32) -> impl Iterator<Item = (u32, f32)> + '_ {
    let confidence = move |bought: &Bought| confidence * (0.3 + bought.history(now_s)).ln_1p();
    user.bought.iter().map(move |bought| (bought.product, confidence(bought)))
}

/// What a product in a history weighs among the others.
pub(crate) fn weight(bought: &Bought, now_s: i64) -> f32 {
    (0.5 + bought.history(now_s)).ln_1p().sqrt()
}
