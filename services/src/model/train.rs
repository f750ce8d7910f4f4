//! `onrush model train`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use onrush_scoring::counters::Listing;
use onrush_scoring::model::{Kept, Origin, Rankers};
use onrush_scoring::sales::Sales;
use onrush_scoring::sealed;
use onrush_scoring::training::{TrainOptions, Trained};
use rustix::time::{ClockId, clock_gettime};

use super::{ModelCommandError, Numbers, onnx};
use crate::retail;

/// What is learned of, and where to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Train {
    /// The catalogue.
    pub products: PathBuf,
    /// What was sold.
    pub transactions: PathBuf,
    /// Only what was sold before that time is learned of, in unix seconds.
    pub until_s: Option<i64>,
    /// Directory of the model.
    pub out: PathBuf,
    /// Where random numbers begin.
    pub seed: u64,
    /// Threads that learn factors.
    pub threads: usize,
}

/// Learns a model and writes it; `told` hears how much is done, 0..1.
///
/// # Errors
/// A file of no use, too little to learn from, or a directory that cannot be written.
pub fn train(command: &Train, told: &dyn Fn(f32)) -> Result<Origin, ModelCommandError> {
    let (mut categories, mut brands) = (HashMap::new(), HashMap::new());
    let (mut names, mut listings) = (Vec::new(), Vec::new());
    for product in retail::products(&command.products)? {
        names.push(product.id.to_string());
        listings.push(Listing {
            category: number(&mut categories, product.category),
            brand: number(&mut brands, product.brand),
            price_cents: product.price_cents,
        });
    }
    let mut numbers = Numbers::of(&command.products, names.iter().map(String::as_str))?;
    let mut sold = numbers.sales(&command.transactions)?;
    sold.retain(|sale| command.until_s.is_none_or(|until_s| sale.time_s < until_s));
    let sales = Sales::of(sold);
    let mut options = TrainOptions::default();
    (options.als.seed, options.mlp.seed) = (command.seed, command.seed);
    options.als.threads = command.threads;
    let begun_s = cpu_s();
    let go_on = |done: f32| {
        told(done);
        true
    };
    let Trained { learned, rankers, .. } =
        onrush_scoring::training::train(&sales, &listings, options, &go_on)?;
    let origin = Origin {
        version: 0,
        seed: command.seed,
        last_s: sales.last_s(),
        baskets: sales.baskets().count() as u64,
        cpu_s: cpu_s() - begun_s,
    };
    networks(&rankers, &command.out)?;
    let kept = Kept { names, listings, learned, rankers, origin };
    let failed = |source| ModelCommandError::Model { directory: command.out.clone(), source };
    kept.write(&command.out).map_err(failed)?;
    Ok(origin)
}

/// Writes the networks beside the model, which comes last: what is beside it is of the same training or of a later one
/// that did not end.
fn networks(rankers: &Rankers, directory: &Path) -> Result<(), ModelCommandError> {
    let failed = |file: &Path| {
        let file = file.to_path_buf();
        |source| ModelCommandError::Network { file, source }
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    for (name, mlp) in [("next_basket", &rankers.next_basket), ("discovery", &rankers.discovery)] {
        let file = directory.join(name).with_extension("onnx");
        sealed::replace(&file, &onnx::encode(mlp, name)).map_err(failed(&file))?;
    }
    Ok(())
}

fn number(numbers: &mut HashMap<String, u32>, name: String) -> u32 {
    let next = numbers.len() as u32;
    *numbers.entry(name).or_insert(next)
}

/// CPU time of all threads of the process.
fn cpu_s() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}
