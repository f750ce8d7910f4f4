//! A shop that lived before: what files say was sold, put into the log of a data directory as paid orders, each at its
//! time. For tests and measurements of what learns from the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_engine::{ClockOptions, CloseError, Engine, EngineHandle, EngineOptions, OpenError};
use onrush_proto::{
    CallerKey, Command, CreateOrder, Currency, GatewayResult, Money, OrderLine, Outcome, PutProduct, Receipt,
    Request, SettleAttempt, Sku, StartPayment, StockChange, Text, TextError, UpdateStock,
};
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinSet};

use super::{ProductLine, RetailError, SaleLine, products, transactions};

const DAY_S: i64 = 86_400;
/// Days between two settings of the clock: an engine reads it when it is opened, and opening takes its time.
const STRIDE: i64 = 4;
/// The last segment is looked through at each opening.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Of each product, so that nothing is ever sold out.
const UNITS: i64 = 100_000_000;
/// Most products that are put at once: a whole large catalogue is more than may wait in front of a shard.
const PUTS_MAX: usize = 8_192;

/// What the clock of the past says.
static WALL_US: AtomicU64 = AtomicU64::new(0);
/// Held by who sets it: one past is put at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

fn wall_us() -> u64 {
    WALL_US.load(Ordering::Relaxed)
}

/// Why there is no past.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// A file is of no use.
    #[error(transparent)]
    Retail(#[from] RetailError),
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be closed.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// A task did not end.
    #[error(transparent)]
    Task(#[from] JoinError),
    /// A name is none.
    #[error(transparent)]
    Name(#[from] TextError),
    /// The engine took something not.
    #[error("expected it to be accepted, found {found}")]
    Refused {
        /// What it said.
        found: String,
    },
}

/// A customer, and the products of one of their baskets, as the shop names them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Basket {
    /// The customer's id.
    pub customer: String,
    /// SKUs, each once.
    pub skus: Vec<String>,
}

/// A catalogue, and what was bought of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Past {
    products: Vec<ProductLine>,
    days: BTreeMap<i64, Vec<Basket>>,
}

impl Past {
    /// Reads a catalogue, and what is wanted of the sales of a file.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn read(
        catalogue: &Path,
        sales: &Path,
        wanted: impl Fn(&SaleLine) -> bool,
    ) -> Result<Self, PastError> {
        let products = products(catalogue)?;
        let known: BTreeSet<u32> = products.iter().map(|product| product.id).collect();
        let mut baskets: BTreeMap<(i64, u32, u32), BTreeSet<u32>> = BTreeMap::new();
        transactions(sales, &|product| known.contains(&product), &mut |line| {
            if wanted(&line) {
                baskets.entry((line.at_s, line.basket, line.user)).or_default().insert(line.product);
            }
        })?;
        let mut days: BTreeMap<i64, Vec<Basket>> = BTreeMap::new();
        for ((at_s, _, user), products) in baskets {
            let skus = products.into_iter().map(sku).collect();
            days.entry(at_s / DAY_S).or_default().push(Basket { customer: format!("customer-{user}"), skus });
        }
        Ok(Self { products, days })
    }

    /// Adds products that nobody bought until there are so many: each is of the category and brand, and has the price,
    /// of one that is there. An empty catalogue stays so.
    pub fn widen(&mut self, products: usize) {
        let known = self.products.len();
        let Some(last) = self.products.iter().map(|product| product.id).max() else { return };
        for (id, at) in (last..=u32::MAX).skip(1).zip(known..products) {
            let like = self.products[at - known].clone();
            self.products.push(ProductLine { id, ..like });
        }
    }

    /// All baskets, by day.
    pub fn baskets(&self) -> impl Iterator<Item = &Basket> {
        self.days.values().flatten()
    }

    /// SKUs of the catalogue.
    pub fn skus(&self) -> impl Iterator<Item = String> + '_ {
        self.products.iter().map(|product| sku(product.id))
    }

    /// Puts it into a new data directory, so that the last day is `last_us`. Times are those of its days, but for
    /// steps of four of them. Who puts another one in this process meanwhile waits.
    ///
    /// # Errors
    /// The engine cannot be opened or closed, or refuses something.
    pub async fn live(&self, options: &EngineOptions, last_us: u64) -> Result<(), PastError> {
        let _alone = ALONE.lock().await;
        let last = self.days.keys().last().copied().unwrap_or(0);
        let steps = |day: i64| (last - day) / STRIDE;
        let days: Vec<(&i64, &Vec<Basket>)> = self.days.iter().collect();
        for (number, days) in days.chunk_by(|(a, _), (b, _)| steps(**a) == steps(**b)).enumerate() {
            let before_s = (steps(*days[0].0) * STRIDE * DAY_S) as u64;
            WALL_US.store(last_us.saturating_sub(before_s * 1_000_000), Ordering::Relaxed);
            let clock = ClockOptions { accept_jump: true, wall_us, ..options.clock };
            let engine =
                Engine::open(EngineOptions { clock, segment_bytes: SEGMENT_BYTES, ..options.clone() })?;
            if number == 0 {
                self.put_catalogue(&engine.handle()).await?;
            }
            for (day, baskets) in days {
                let mut orders = JoinSet::new();
                for (number, basket) in baskets.iter().enumerate() {
                    orders.spawn(buy(engine.handle(), format!("{day}-{number}"), basket.clone()));
                }
                all(orders).await?;
            }
            tokio::task::spawn_blocking(move || engine.close()).await??;
        }
        Ok(())
    }

    async fn put_catalogue(&self, handle: &EngineHandle) -> Result<(), PastError> {
        for some in self.products.chunks(PUTS_MAX) {
            let mut puts = JoinSet::new();
            for product in some {
                puts.spawn(sell(handle.clone(), listing(product)?));
            }
            all(puts).await?;
        }
        Ok(())
    }
}

/// A product, and units of it.
async fn sell(handle: EngineHandle, put: PutProduct) -> Result<(), PastError> {
    let stock = UpdateStock { sku: put.sku, change: StockChange::Add(UNITS), reason: Text::EMPTY };
    accepted(&handle, Request::unkeyed(Command::PutProduct(Box::new(put)))).await?;
    accepted(&handle, Request::unkeyed(Command::UpdateStock(stock))).await.map(|_| ())
}

fn sku(product: u32) -> String {
    format!("p-{product}")
}

/// A product as the shop has it: names that are too long are cut.
fn listing(product: &ProductLine) -> Result<PutProduct, PastError> {
    Ok(PutProduct {
        sku: sku(product.id).parse()?,
        name: format!("Product {}", product.id),
        description: String::new(),
        category: cut(&product.category, 60).parse()?,
        brand: cut(&product.brand, 60).parse()?,
        price: Money::new(product.price_cents, Currency::EUR),
        limit_per_customer: 0,
        limit_returns: true,
        backorder: 0,
        hold_us: 0,
        active: true,
    })
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// An order, paid.
async fn buy(handle: EngineHandle, name: String, basket: Basket) -> Result<(), PastError> {
    let Basket { customer, skus } = basket;
    let key = |part: &str| handle.key(CallerKey { caller: &customer, key: &format!("{name}-{part}") });
    let skus: Vec<Sku> = skus.iter().map(|sku| sku.parse()).collect::<Result<_, _>>()?;
    let lines = skus.into_iter().map(|sku| OrderLine::new(sku, 1)).collect();
    let order = CreateOrder { customer: customer.parse()?, lines, hold_us: 0 };
    let created = accepted(&handle, Request::new(key("order"), Command::CreateOrder(order))).await?;
    let Receipt::Order { order, .. } = created else {
        return Err(PastError::Refused { found: format!("{created:?}") });
    };
    let pay = StartPayment { order, method: "past".parse()?, capture: true };
    accepted(&handle, Request::new(key("pay"), Command::StartPayment(Box::new(pay)))).await?;
    let result = GatewayResult::Captured { reference: Text::EMPTY };
    let settle = SettleAttempt { order, attempt: 1, result };
    accepted(&handle, Request::new(key("settle"), Command::SettleAttempt(Box::new(settle)))).await?;
    Ok(())
}

async fn accepted(handle: &EngineHandle, request: Request) -> Result<Receipt, PastError> {
    match handle.call(request).await.outcome {
        Outcome::Accepted(receipt) => Ok(receipt),
        other => Err(PastError::Refused { found: format!("{other:?}") }),
    }
}

async fn all(mut tasks: JoinSet<Result<(), PastError>>) -> Result<(), PastError> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalogue_is_widened_by_products_that_nobody_bought() {
        let line = |id: u32, category: &str| ProductLine {
            id,
            name: String::new(),
            price_cents: i64::from(id),
            category: category.into(),
            brand: "brand".into(),
        };
        let products = vec![line(7, "tea"), line(3, "pots")];
        let mut past = Past { products, ..Past::default() };
        let skus = |past: &Past| past.skus().collect::<Vec<_>>();
        past.widen(1);
        assert_eq!(skus(&past), ["p-7", "p-3"], "there are so many");
        past.widen(5);
        assert_eq!(skus(&past), ["p-7", "p-3", "p-8", "p-9", "p-10"]);
        assert_eq!((past.products[4].category.as_str(), past.products[4].price_cents), ("tea", 7));
        let mut none = Past::default();
        none.widen(5);
        assert_eq!(skus(&none).len(), 0);
    }
}
