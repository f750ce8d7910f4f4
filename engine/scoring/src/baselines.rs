//! What a model has to beat.

use std::collections::BTreeMap;

use crate::candidates::Task;
use crate::counters::User;
use crate::decayed::DAY_S;
use crate::sales::Sales;

/// What is bought most in the last 28 days, the most bought first.
pub struct Popularity(Vec<u32>);

impl Popularity {
    /// Counts the baskets of the 28 days before a time.
    pub fn of(sales: &Sales, now_s: i64) -> Self {
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        let baskets = sales.baskets_from(now_s - 28 * DAY_S).take_while(|basket| basket.time_s < now_s);
        for line in baskets.flat_map(|basket| basket.lines) {
            *counts.entry(line.product).or_default() += 1;
        }
        let mut counts: Vec<(u32, u32)> =
            counts.into_iter().map(|(product, count)| (count, product)).collect();
        counts.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        Self(counts.into_iter().map(|(_, product)| product).collect())
    }

    /// The first ones for a user.
    pub fn foretell(&self, task: Task, user: &User, most: usize) -> Vec<u32> {
        let is_wanted = |product: &&u32| task == Task::NextBasket || !user.knows(**product);
        self.0.iter().filter(is_wanted).take(most).copied().collect()
    }
}

/// What a user bought before, by the count of which half is left after 90 days.
pub fn history(user: &User, now_s: i64, most: usize) -> Vec<u32> {
    let mut counts: Vec<(f32, u32)> =
        user.bought.iter().map(|bought| (bought.history(now_s), bought.product)).collect();
    counts.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    counts.into_iter().take(most).map(|(_, product)| product).collect()
}
