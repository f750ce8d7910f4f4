//! A model of a shop's own orders.

use std::collections::{HashMap, HashSet};

use onrush_proto::CustomerId;
use onrush_scoring::counters::Listing;
use onrush_scoring::factors::GoOn;
use onrush_scoring::model::{Kept, Origin};
use onrush_scoring::sales::{Sale, Sales};
use onrush_scoring::training::{TrainError, TrainOptions, Trained, train};
use rustix::time::{ClockId, clock_gettime};

use super::counters::Counters;
use super::purchase::Purchase;

/// Learns of what was bought up to a time, with products as counters of the same know them. Who is barred is left
/// out. It takes one thread, as orders come first.
pub(super) fn learn(
    past: &[Purchase],
    counters: &Counters,
    barred: &HashSet<CustomerId>,
    go_on: GoOn<'_>,
) -> Result<Kept, TrainError> {
    let begun_s = cpu_s();
    let counted = counters.counted();
    let listings: Vec<Listing> = counted.scoring.products.iter().map(|product| product.listing).collect();
    let sales = sales(past, counters, barred);
    let options = TrainOptions::default();
    let Trained { learned, rankers, .. } = train(&sales, &listings, options, go_on)?;
    let origin = Origin {
        // It gets one when it is published.
        version: 0,
        seed: options.mlp.seed,
        last_s: sales.last_s(),
        baskets: sales.baskets().count() as u64,
        cpu_s: cpu_s() - begun_s,
    };
    let names = counted.products.iter().map(|product| product.sku.to_string()).collect();
    Ok(Kept { names, listings, learned, rankers, origin })
}

/// What a model was learned of, for people.
pub(super) fn told(origin: &Origin) -> String {
    let Origin { baskets, last_s, .. } = origin;
    format!("a model of {baskets} orders up to {last_s} (unix seconds)")
}

/// Lines of orders by number: products have their places, customers are numbered as they come.
fn sales(past: &[Purchase], counters: &Counters, barred: &HashSet<CustomerId>) -> Sales {
    let mut users: HashMap<CustomerId, u32> = HashMap::new();
    let mut sales = Vec::new();
    let willing = past.iter().filter(|purchase| !barred.contains(&purchase.customer));
    for (purchase, basket) in willing.zip(0..) {
        let next = users.len() as u32;
        let user = *users.entry(purchase.customer).or_insert(next);
        let time_s = (purchase.time_us / 1_000_000) as i64;
        for (sku, unit_minor) in &purchase.lines {
            let Some(product) = counters.place_of(sku) else { continue };
            sales.push(Sale { basket, user, product, time_s, unit_cents: Some(*unit_minor) });
        }
    }
    Sales::of(sales)
}

/// CPU time of this thread.
fn cpu_s() -> f64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::recommendation::counters::Bounds;
    use crate::recommendation::purchase::Lesson;

    pub(in crate::recommendation) const DAY_US: u64 = 24 * 3_600 * 1_000_000;
    pub(in crate::recommendation) const DAYS: u64 = 100;
    pub(in crate::recommendation) const CUSTOMERS: u64 = 40;
    const PRODUCTS: u64 = 50;

    /// Customers who buy what is theirs again, and now and then something else. One of five will be barred.
    pub(in crate::recommendation) fn past() -> Vec<Purchase> {
        let mut random = fastrand::Rng::with_seed(5);
        let mut past = Vec::new();
        for day in 0..DAYS {
            for customer in 0..CUSTOMERS {
                if random.f32() < 0.6 {
                    continue;
                }
                let mut skus = vec![(customer * 3 + random.u64(..4)) % PRODUCTS, random.u64(..PRODUCTS)];
                skus.dedup();
                let line = |sku: u64| (format!("sku-{sku}").parse().unwrap(), 100 + sku as i64);
                past.push(Purchase {
                    customer: format!("customer-{customer}").parse().unwrap(),
                    time_us: (20_000 + day) * DAY_US + customer,
                    lines: skus.into_iter().map(line).collect(),
                });
            }
        }
        past
    }

    #[test]
    fn a_model_without_some_customers_is_that_of_a_log_without_their_orders() {
        let past = past();
        let mut counters = Counters::new(Bounds::RECOMMENDED);
        past.iter().for_each(|purchase| counters.learn(&Lesson::Bought(purchase.clone())));
        let of_five = (0..CUSTOMERS).step_by(5);
        let barred: HashSet<CustomerId> =
            of_five.map(|customer| format!("customer-{customer}").parse().unwrap()).collect();
        let learn = |past: &[Purchase], barred: &HashSet<CustomerId>| {
            let kept = learn(past, &counters, barred, &|_| true).unwrap();
            Kept { origin: Origin { cpu_s: 0.0, ..kept.origin }, ..kept }
        };
        let without = learn(&past, &barred);
        let willing: Vec<Purchase> =
            past.iter().filter(|purchase| !barred.contains(&purchase.customer)).cloned().collect();
        assert_eq!(without.origin.baskets, willing.len() as u64);
        assert_eq!(without, learn(&willing, &HashSet::new()));
        let with = learn(&past, &HashSet::new());
        assert!(with.learned != without.learned && with.rankers != without.rankers);
    }
}
