//! A model in a file: the catalogue it was learned of, the base, and the re-rankers.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use std::fs;
use std::io;
use std::path::Path;

use rkyv::rancor::Error;
use rkyv::{Archive, Deserialize, Serialize};

use crate::base::{Base, Learned};
use crate::candidates::{Gathered, Moment, Task};
use crate::counters::{Counters, Listing, User};
use crate::features::Features;
use crate::mlp::Mlp;
use crate::sealed::{self, Kind, SealError};

/// How far from 0 a number of a factor may be: beyond, sums of squares of many are no numbers any more.
const FACTOR_MAX: f32 = 1e12;
/// Its name in the directory of a model.
pub const FILE: &str = "model.onrush";
const KIND: Kind = Kind { magic: *b"onrush-m", version: 2 };

/// The re-rankers, one for each task.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Rankers {
    pub next_basket: Mlp,
    pub discovery: Mlp,
}

/// How a model came about.
#[derive(Clone, Copy, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Origin {
    /// Counts what was published where it is used; 0 = made of files.
    pub version: u64,
    /// Where random numbers began.
    pub seed: u64,
    /// When the newest basket was that it was learned of, in unix seconds.
    pub last_s: i64,
    /// Baskets that it was learned of.
    pub baskets: u64,
    /// What learning took of the CPU, in seconds, over all threads.
    pub cpu_s: f64,
}

/// All of a model, as it is kept.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Kept {
    /// Names of the products, by number.
    pub names: Vec<String>,
    pub listings: Vec<Listing>,
    pub learned: Learned,
    pub rankers: Rankers,
    pub origin: Origin,
}

/// A model that ranks.
#[derive(Clone)]
pub struct Model {
    /// Names of the products, by number.
    pub names: Vec<String>,
    /// Products as the catalogue had them.
    pub listings: Vec<Listing>,
    /// What was learned of all users at once.
    pub base: Base,
    /// The re-rankers.
    pub rankers: Rankers,
    /// How it came about.
    pub origin: Origin,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is damaged, or something else.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// It is not an archive.
    #[error("expected a model, found: {0}")]
    Archive(Error),
    /// What stands in it does not fit together.
    #[error("model: {0}")]
    Content(String),
}

impl Model {
    /// Reads the model of a directory.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        Self::decode(&fs::read(directory.join(FILE))?)
    }

    fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::of(rkyv::from_bytes::<Kept, Error>(KIND.open(bytes)?).map_err(ModelError::Archive)?)
    }

    /// A model of what is kept, if that fits together.
    pub fn of(kept: Kept) -> Result<Self, ModelError> {
        if let Some(fault) = kept.fault() {
            return Err(ModelError::Content(fault));
        }
        let Kept { names, listings, learned, rankers, origin } = kept;
        Ok(Self { names, listings, base: Base::of(learned), rankers, origin })
    }

    /// The best products of a user, the best first; at most so many.
    pub fn foretell(&self, task: Task, user: &User, moment: &Moment<'_>, desk: &mut Desk, most: usize) {
        desk.rank(task, user, moment, most, |features, scores| self.rankers.of(task).score(features, scores));
    }

    /// Counters of its catalogue, of which nothing was bought yet.
    pub fn counters(&self, users: usize) -> Counters {
        Counters::new(&self.listings, users)
    }
}

/// What ranking needs; kept between users, so that nothing is taken anew.
#[derive(Default)]
pub struct Desk {
    gathered: Gathered,
    scores: Vec<f32>,
    /// (score, number of the product), the best first.
    pub ranked: Vec<(f32, u32)>,
}

impl Rankers {
    /// The one for a task.
    pub fn of(&self, task: Task) -> &Mlp {
        match task {
            Task::NextBasket => &self.next_basket,
            Task::Discovery => &self.discovery,
        }
    }
}

impl Desk {
    /// Ranks the candidates of a user by what `score` says of their numbers; at most so many stay.
    pub fn rank(
        &mut self,
        task: Task,
        user: &User,
        moment: &Moment<'_>,
        most: usize,
        score: impl FnOnce(&[Features], &mut Vec<f32>),
    ) {
        let Self { gathered, scores, ranked } = self;
        gathered.gather(task, user, moment);
        score(&gathered.features, scores);
        ranked.clear();
        ranked.extend(scores.iter().copied().zip(gathered.products.iter().copied()));
        ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.truncate(most);
    }
}

impl Kept {
    /// Puts it in place of what a directory has, whole or not at all.
    pub fn write(&self, directory: &Path) -> Result<(), ModelError> {
        let body = rkyv::to_bytes::<Error>(self).map_err(ModelError::Archive)?;
        fs::create_dir_all(directory)?;
        Ok(sealed::replace(&directory.join(FILE), &KIND.seal(&body))?)
    }

    /// What does not fit together; `None` if all does.
    fn fault(&self) -> Option<String> {
        let Learned { factors, neighbours, regularization, confidence } = &self.learned;
        let products = self.listings.len();
        for (name, found) in [("names", self.names.len()), ("factors", factors.len())] {
            if found != products {
                return Some(format!("expected {products} {name}, as many as products, found {found}"));
            }
        }
        // As many categories as products, and one for those that have none.
        let category = self.listings.iter().find(|listing| listing.category as usize > products);
        if let Some(listing) = category {
            return Some(format!("expected a category of at most {products}, found {}", listing.category));
        }
        if !(regularization.is_finite()
            && *regularization > 0.0
            && confidence.is_finite()
            && *confidence > 0.0)
        {
            let found = format!("{regularization} and {confidence}");
            return Some(format!("expected a regularization and a confidence above 0, found {found}"));
        }
        let wrong = factors
            .iter()
            .zip(0..)
            .find(|(factor, _)| factor.iter().any(|value| value.abs().is_nan() || value.abs() > FACTOR_MAX));
        if let Some((_, product)) = wrong {
            return Some(format!(
                "expected factors within {FACTOR_MAX:e}, found others of product {product}"
            ));
        }
        let rankers = [("next_basket", &self.rankers.next_basket), ("discovery", &self.rankers.discovery)];
        let of_ranker = |(name, mlp): (&str, &Mlp)| mlp.fault().map(|fault| format!("{name}: {fault}"));
        neighbours.fault(products).or_else(|| rankers.into_iter().find_map(of_ranker))
    }
}
