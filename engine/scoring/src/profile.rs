//! What is known of a user for a day, or until they buy again: their factor, and the products that it goes best with.

use crate::base::{Base, Fold};
use crate::candidates::{Bounds, Task};
use crate::counters::User;
use crate::decayed::DAY_S;
use crate::factors::{DIMENSIONS, Factor};
use crate::scan::{Instructions, Pass, Query};

/// Most products that a profile names.
const HIGHEST_MAX: usize = {
    let (basket, discovery) = (Bounds::of(Task::NextBasket).factors, Bounds::of(Task::Discovery).factors);
    if basket > discovery { basket } else { discovery }
};

/// What a base says of a user for a task, as of the beginning of the day or of their last basket, whichever is later: the
/// same for the rest of the [`day`] unless they buy again, the base is another one, or it is placed otherwise.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    pub(crate) factor: Factor,
    /// Products of the whole catalogue with the highest products of factors, the highest first.
    highest: [u32; HIGHEST_MAX],
    count: usize,
}

/// The day of a time: profiles are of one.
pub fn day(now_s: i64) -> i64 {
    now_s.div_euclid(DAY_S)
}

impl Default for Profile {
    fn default() -> Self {
        Self { factor: [0.0; DIMENSIONS], highest: [0; HIGHEST_MAX], count: 0 }
    }
}

/// What looking at users needs; kept between them, so that nothing is taken anew.
pub(crate) struct Look {
    fold: Fold,
    pass: Pass,
}

impl Default for Look {
    fn default() -> Self {
        Self { fold: Fold::default(), pass: Pass::new(HIGHEST_MAX, Instructions::widest()) }
    }
}

impl Profile {
    /// Looks at a user at a time.
    pub(crate) fn look(&mut self, task: Task, user: &User, base: &Base, now_s: i64, look: &mut Look) {
        let Look { fold, pass } = look;
        let then_s = user.last_s.max(day(now_s) * DAY_S);
        let counts = user.bought.iter().map(|bought| (bought.product, bought.history(then_s)));
        self.factor = base.fold(counts, fold);
        self.count = 0;
        let mut admit =
            |_: usize, item: u32| base.counted(item).is_some_and(|product| task.admits(user, product));
        let query = [Query { user: &self.factor, k: Bounds::of(task).factors }];
        // A factor that is no number is near nothing.
        let found = pass.quantized(base.factors(), base.codes(), &query, &mut admit);
        let found = found.ok().and_then(|found| found.first()).into_iter().flatten();
        // What nobody bought has a factor of nothing, and goes with nobody.
        let found = found.filter(|found| found.score > 0.0);
        for (place, product) in
            self.highest.iter_mut().zip(found.filter_map(|found| base.counted(found.item)))
        {
            *place = product;
            self.count += 1;
        }
    }

    /// Products that the factor goes best with, the best first.
    pub(crate) fn highest(&self) -> &[u32] {
        &self.highest[..self.count]
    }
}
