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
use crate::scan::{AlignedBytes, ItemFactors as _, ItemMatrix, ItemRows, MatrixError, Quantized};
use crate::section::Section;

/// Factors and neighbours, as they were learned.
#[derive(Clone, PartialEq, Debug)]
pub struct Learned {
    /// By the number of the product.
    pub factors: Vec<Factor>,
    /// What is known beside them.
    pub relations: Relations,
}

/// Neighbours, and how factors were learned.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Relations {
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
    factors: Arc<ItemRows<Section>>,
    codes: Arc<Quantized<Section>>,
    relations: Arc<Relations>,
    half: Half,
    placed: Arc<Placed>,
}

/// Numbers that are of no product.
const NOWHERE: u32 = u32::MAX;
/// Neighbours in a line of the cache.
const LINE: usize = 8;
/// The factor of what has none.
const NO_FACTOR: Factor = [0.0; DIMENSIONS];

/// Where products are among counters, and what is near them there.
struct Placed {
    /// The number when it was learned, by the number among the counters; `None` if they are the same.
    learned: Option<Vec<u32>>,
    /// The other way round.
    counted: Option<Vec<u32>>,
    /// Numbers among the counters of all that is near anything: they are fewer than the products, and have places of
    /// their own.
    near: Vec<u32>,
    /// The place there, by the number when it was learned.
    near_places: Vec<u32>,
    /// Where the neighbours of a product begin, by the number when it was learned.
    starts: Vec<u32>,
    /// Neighbours, each with its place in `near` in place of its number.
    neighbours: Vec<Neighbour>,
}

/// What finding a user's factor takes, kept between users.
#[derive(Default)]
pub(crate) struct Fold {
    /// (place in `factors`, confidence).
    row: Vec<(u32, f32)>,
    factors: Vec<Factor>,
}

impl Learned {
    /// Learns it of what was counted up to a time; `None` if it was called off. `go_on` hears how much is done.
    pub fn learn(counters: &Counters, now_s: i64, options: AlsOptions, go_on: GoOn<'_>) -> Option<Learned> {
        let AlsOptions { regularization, confidence, .. } = options;
        let products = counters.products.len();
        let mut rows = Sparse::new();
        let confidences = |user: &User| -> Vec<(u32, f32)> {
            let of = |bought: &Bought| (bought.product, held(confidence, bought.history(now_s)));
            user.bought.iter().map(of).collect()
        };
        counters.users.iter().for_each(|user| rows.push(confidences(user).into_iter()));
        let factors = Factors::learn(&rows, products, options, &|done| go_on(0.7 * done))?.products;
        let mut rows = Sparse::new();
        let weights = |user: &User| -> Vec<(u32, f32)> {
            user.bought.iter().map(|bought| (bought.product, weight(bought.history(now_s)))).collect()
        };
        counters.users.iter().for_each(|user| rows.push(weights(user).into_iter()));
        let neighbours = Neighbours::learn(&rows, products, &|done| go_on(0.7 + 0.3 * done))?;
        Some(Learned { factors, relations: Relations { neighbours, regularization, confidence } })
    }
}

impl Base {
    /// Goes on with what was learned before.
    ///
    /// # Errors
    /// A factor is too large to be scanned, or no number.
    pub fn of(learned: Learned) -> Result<Self, MatrixError> {
        let Learned { factors, relations } = learned;
        Ok(Self::with(ItemRows::build(&factors)?.shared(), codes_of(&factors)?.shared(), relations))
    }

    /// The same of factors that lie where they are, in rows and in a byte a number.
    pub(crate) fn with(factors: ItemRows<Section>, codes: Quantized<Section>, relations: Relations) -> Self {
        let half = Half::of_rows(&factors, relations.regularization);
        let placed = Placed::of(&relations.neighbours, factors.items() as usize, None);
        let (factors, codes, relations) = (Arc::new(factors), Arc::new(codes), Arc::new(relations));
        Self { factors, codes, relations, half, placed: Arc::new(placed) }
    }

    /// Nothing: no product has a factor or neighbours.
    pub fn nothing() -> Self {
        let AlsOptions { regularization, confidence, .. } = AlsOptions::default();
        let relations = Relations { neighbours: Neighbours::default(), regularization, confidence };
        Self::with(ItemRows::none().shared(), Quantized::none().shared(), relations)
    }

    /// Products that it was learned of.
    pub fn products(&self) -> usize {
        self.factors.items() as usize
    }

    /// Says where its products are among counters, by the numbers they had when it was learned; `None` for one that
    /// is not there.
    ///
    /// # Panics
    ///
    /// If there are not as many as [`Base::products`].
    pub fn place(&mut self, places: &[Option<u32>]) {
        assert_eq!(places.len(), self.products(), "a place for each product");
        let placed = Placed::of(&self.relations.neighbours, places.len(), Some(places));
        self.placed = Arc::new(placed);
    }

    /// The number that a product had when it was learned; one that is not below [`Base::products`] for those that
    /// came later.
    pub(crate) fn learned(&self, product: u32) -> u32 {
        match &self.placed.learned {
            Some(learned) => learned.get(product as usize).copied().unwrap_or(NOWHERE),
            None => product,
        }
    }

    /// The number among the counters of what had a number when it was learned; `None` if it is not there.
    pub(crate) fn counted(&self, learned: u32) -> Option<u32> {
        match &self.placed.counted {
            Some(counted) => counted.get(learned as usize).copied().filter(|number| *number != NOWHERE),
            None => Some(learned),
        }
    }

    /// The factor of a product; nothing of one that came later.
    pub fn factor(&self, product: u32) -> Factor {
        self.factors.factor(self.learned(product)).unwrap_or(NO_FACTOR)
    }

    /// Factors by the numbers that products had when they were learned.
    pub(crate) fn factors(&self) -> &ItemRows<Section> {
        &self.factors
    }

    /// The same in a byte a number.
    pub(crate) fn codes(&self) -> &Quantized<Section> {
        &self.codes
    }

    /// What is bought by those who buy a product, the nearest first.
    pub fn neighbours(&self, product: u32) -> impl Iterator<Item = Neighbour> + '_ {
        let near = &self.placed.near;
        self.near_of(product)
            .iter()
            .map(|found| Neighbour { product: near[found.product as usize], ..*found })
    }

    /// The same, each with its place among [`Base::near`].
    pub(crate) fn near_of(&self, product: u32) -> &[Neighbour] {
        self.near_in(self.near_range(product))
    }

    /// Where they lie. Asked for each product before the first is looked at: memory brings many in the time of one.
    pub(crate) fn near_range(&self, product: u32) -> (u32, u32) {
        let Placed { starts, neighbours, .. } = &*self.placed;
        let at = self.learned(product) as usize;
        let (Some(from), Some(to)) = (starts.get(at), starts.get(at.wrapping_add(1))) else { return (0, 0) };
        let some = neighbours.get(*from as usize..*to as usize).unwrap_or_default().iter();
        std::hint::black_box(some.step_by(LINE).fold(0, |all, found| all | found.product));
        (*from, *to)
    }

    /// What lies there.
    pub(crate) fn near_in(&self, (from, to): (u32, u32)) -> &[Neighbour] {
        &self.placed.neighbours[from as usize..to as usize]
    }

    /// All that is near anything.
    pub(crate) fn near(&self) -> &[u32] {
        &self.placed.near
    }

    /// Where a product is among them, by the number it had when it was learned; one beyond them if it is not there.
    pub(crate) fn near_place(&self, learned: u32) -> u32 {
        self.placed.near_places.get(learned as usize).copied().unwrap_or(NOWHERE)
    }

    /// The factor of a user, of products and their decayed counts.
    pub(crate) fn fold(&self, counts: impl Iterator<Item = (u32, f32)> + Clone, fold: &mut Fold) -> Factor {
        let Fold { row, factors } = fold;
        row.clear();
        factors.clear();
        counts.clone().for_each(|(product, _)| self.factors.touch(self.learned(product)));
        for (product, count) in counts {
            let Some(factor) = self.factors.factor(self.learned(product)) else { continue };
            row.push((factors.len() as u32, held(self.relations.confidence, count)));
            factors.push(factor);
        }
        self.half.solve(row, factors)
    }
}

impl Placed {
    fn of(neighbours: &Neighbours, products: usize, places: Option<&[Option<u32>]>) -> Self {
        let learned = places.map(|places| {
            let count = places.iter().flatten().max().map_or(0, |last| *last as usize + 1);
            let mut learned = vec![NOWHERE; count];
            for (place, number) in places.iter().zip(0..) {
                if let Some(place) = place {
                    learned[*place as usize] = number;
                }
            }
            learned
        });
        let place_of = |number: u32| places.map_or(Some(number), |places| places[number as usize]);
        let number = |place: &Option<u32>| place.unwrap_or(NOWHERE);
        let mut placed = Self {
            learned,
            counted: places.map(|places| places.iter().map(number).collect()),
            near: Vec::new(),
            near_places: vec![NOWHERE; products],
            starts: vec![0],
            neighbours: Vec::new(),
        };
        for product in 0..products as u32 {
            for found in neighbours.of(product) {
                let Some(number) = place_of(found.product) else { continue };
                let at = &mut placed.near_places[found.product as usize];
                if *at == NOWHERE {
                    *at = placed.near.len() as u32;
                    placed.near.push(number);
                }
                placed.neighbours.push(Neighbour { product: *at, ..*found });
            }
            placed.starts.push(placed.neighbours.len() as u32);
        }
        placed
    }
}

/// Factors in a byte a number.
pub(crate) fn codes_of(factors: &[Factor]) -> Result<Quantized<AlignedBytes>, MatrixError> {
    Ok(Quantized::build(&ItemMatrix::build(factors)?))
}

/// The confidence beyond 1 that a decayed count is held with.
fn held(confidence: f32, count: f32) -> f32 {
    confidence * (0.3 + count).ln_1p()
}

/// What a product in a history weighs among the others, by its decayed count.
pub(crate) fn weight(count: f32) -> f32 {
    (0.5 + count).ln_1p().sqrt()
}
