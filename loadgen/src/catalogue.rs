//! Puts a scenario's items into the shop: one product and one stock change each.

use onrush_proto::{
    BrandName, CategoryName, Command, IdempotencyKey, Outcome, PutProduct, Refusal, Request, StockChange,
    Text, UpdateStock,
};

use crate::asking::{Unanswered, ask_all};
use crate::plan::Item;
use crate::random::mix;
use crate::target::Target;

/// Why the catalogue is not in the shop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// No answer.
    #[error("loading the catalogue: {0}")]
    Unanswered(#[from] Unanswered),
    /// The shop does not want an item.
    #[error(
        "loading the catalogue: expected every item to be accepted, found {count} refused, the first {sku}: {refusal}"
    )]
    Refused {
        /// How many.
        count: u64,
        /// The first one.
        sku: String,
        /// Why.
        refusal: Refusal,
    },
}

/// Loads all items. Keys are numbered, so a throttled request is safe to repeat.
pub(crate) fn load(
    target: &mut dyn Target,
    items: &[Item],
    hold_us: u64,
    seed: u64,
) -> Result<(), LoadError> {
    let mut refused: Option<(u64, Refusal)> = None;
    let mut count = 0;
    for step in [Step::Product, Step::Stock] {
        let make = |index: u64| {
            let number = u128::from(mix(seed ^ (index << 2 | step as u64))) | 1 << 127;
            Request::new(IdempotencyKey(number), step.command(&items[index as usize], hold_us))
        };
        ask_all(target, items.len() as u64, &make, &mut |index, outcome| {
            if let Outcome::Refused(refusal) = outcome {
                count += 1;
                refused.get_or_insert((index, refusal));
            }
        })?;
    }
    match refused {
        None => Ok(()),
        Some((index, refusal)) => {
            Err(LoadError::Refused { count, sku: items[index as usize].sku.to_string(), refusal })
        }
    }
}

#[derive(Clone, Copy)]
enum Step {
    Product,
    Stock,
}

impl Step {
    fn command(self, item: &Item, hold_us: u64) -> Command {
        match self {
            Self::Product => Command::PutProduct(Box::new(PutProduct {
                sku: item.sku,
                name: item.name.clone(),
                description: String::new(),
                category: CategoryName::new(&item.category).unwrap_or(CategoryName::EMPTY),
                brand: BrandName::new(&item.brand).unwrap_or(BrandName::EMPTY),
                price: item.price,
                limit_per_customer: item.limit,
                limit_returns: false,
                backorder: 0,
                hold_us,
                active: true,
            })),
            Self::Stock => Command::UpdateStock(UpdateStock {
                sku: item.sku,
                change: StockChange::Set(item.stock),
                reason: Text::new("first stock").unwrap_or(Text::EMPTY),
            }),
        }
    }
}
