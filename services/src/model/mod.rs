//! `onrush model`: a model of recommendation learned of files, and how well one foretells what is in others.
//!
//! Files have the shape that `retail` reads. Products keep the number of their line in the catalogue; users
//! are numbered as they come.

mod evaluate;
pub mod onnx;
mod report;
mod score;
mod train;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use onnx::{RankerError, ScoreError};
use onrush_scoring::model::ModelError;
use onrush_scoring::sales::Sale;
use onrush_scoring::training::TrainError;

pub use evaluate::{Evaluate, evaluate};
pub use report::Report;
pub use score::{Score, score};
pub use train::{Train, train};

use crate::retail::{self, RetailError, SaleLine};

/// Why there is no model, or nothing to say of one.
#[derive(Debug, thiserror::Error)]
pub enum ModelCommandError {
    /// A file is of no use.
    #[error(transparent)]
    Retail(#[from] RetailError),
    /// Two products have one id.
    #[error("{file}: expected each product id once, found {id} twice")]
    Twice {
        /// Which file.
        file: PathBuf,
        /// Which id.
        id: u32,
    },
    /// A product of the model is none of files.
    #[error("{file}: expected an id of digits as each product's name, found {name:?}")]
    Name {
        /// Which file.
        file: PathBuf,
        /// Which name.
        name: String,
    },
    /// There is too little to learn from, or it was called off.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Nothing of a file is left to be looked at.
    #[error("{file}: expected baskets on its side of the split, found none (split: {split_s:?})")]
    Nothing {
        /// Which.
        file: PathBuf,
        /// Where it is split.
        split_s: Option<i64>,
    },
    /// What is to be foretold is known.
    #[error("{}: expected nothing of {test_s} or later, when the test begins; found {last_s}", what.display())]
    Foreknown {
        /// The history, or the model.
        what: PathBuf,
        /// Its newest basket.
        last_s: i64,
        /// The first basket of the test.
        test_s: i64,
    },
    /// The model cannot be read or written.
    #[error("expected a model in {directory}: {source}")]
    Model {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: ModelError,
    },
    /// A network cannot be written.
    #[error("{file}: expected a file to write to: {source}")]
    Network {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A network cannot be used.
    #[error("{file}: {source}")]
    Ranker {
        /// Which.
        file: PathBuf,
        /// Why.
        source: RankerError,
    },
    /// A network gives candidates no scores.
    #[error("{file}: {source}")]
    Scores {
        /// Which.
        file: PathBuf,
        /// Why.
        source: ScoreError,
    },
    /// Rows cannot be read.
    #[error("{file}: {source}")]
    Rows {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The report cannot be written.
    #[error("{file}: expected a file to write to: {source}")]
    Report {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Numbers of users and of products, by their ids.
#[derive(Default)]
struct Numbers {
    products: HashMap<u32, u32>,
    users: HashMap<u32, u32>,
}

impl Numbers {
    /// Products in the order of a catalogue, by their names: those of files are ids.
    fn of<'a>(file: &Path, names: impl Iterator<Item = &'a str>) -> Result<Self, ModelCommandError> {
        let mut numbers = Self::default();
        for (number, name) in (0..).zip(names) {
            let named = |_| ModelCommandError::Name { file: file.to_path_buf(), name: name.to_owned() };
            let id = name.parse().map_err(named)?;
            if numbers.products.insert(id, number).is_some() {
                return Err(ModelCommandError::Twice { file: file.to_path_buf(), id });
            }
        }
        Ok(numbers)
    }

    /// Reads sales of products that are known.
    fn sales(&mut self, file: &Path) -> Result<Vec<Sale>, RetailError> {
        let Self { products, users } = self;
        let mut sales = Vec::new();
        retail::transactions(file, &|product| products.contains_key(&product), &mut |line| {
            sales.push(sale(&line, products[&line.product], users));
        })?;
        Ok(sales)
    }

    /// Reads sales of any products: one that is not known gets a number behind all others.
    fn any_sales(&mut self, file: &Path) -> Result<Vec<Sale>, RetailError> {
        let Self { products, users } = self;
        let mut sales = Vec::new();
        retail::transactions(file, &|_| true, &mut |line| {
            let next = products.len() as u32;
            let product = *products.entry(line.product).or_insert(next);
            sales.push(sale(&line, product, users));
        })?;
        Ok(sales)
    }
}

fn sale(line: &SaleLine, product: u32, users: &mut HashMap<u32, u32>) -> Sale {
    let next = users.len() as u32;
    let user = *users.entry(line.user).or_insert(next);
    let unit_cents = line.paid_cents.map(|paid| paid / i64::from(line.quantity));
    Sale { basket: line.basket, user, product, time_s: line.at_s, unit_cents }
}
