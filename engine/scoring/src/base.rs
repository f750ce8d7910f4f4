//! What is learned of all users at once: factors of the products, and which of them the same users buy.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use rkyv::{Archive, Deserialize, Serialize};

use crate::counters::{Bought, Counters, User};
use crate::factors::{AlsOptions, DIMENSIONS, Factor, Factors, GoOn, Half, Sparse};
use crate::neighbours::Neighbours;

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
pub struct Base {
    learned: Learned,
    half: Half,
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
        Self { learned, half }
    }

    /// What was learned, to be kept.
    pub fn into_learned(self) -> Learned {
        self.learned
    }

    /// The factor of a product; nothing of one that came later.
    pub fn factor(&self, product: u32) -> &Factor {
        const NONE: Factor = [0.0; DIMENSIONS];
        self.learned.factors.get(product as usize).unwrap_or(&NONE)
    }

    /// What is bought by those who buy a product.
    pub fn neighbours(&self) -> &Neighbours {
        &self.learned.neighbours
    }

    /// The factor of a user, of what they bought so far.
    pub fn fold_in(&self, user: &User, now_s: i64) -> Factor {
        let known = |(product, _): &(u32, f32)| (*product as usize) < self.learned.factors.len();
        let row = confidences(user, now_s, self.learned.confidence).filter(known);
        self.half.solve(&row.collect::<Vec<_>>(), &self.learned.factors)
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
