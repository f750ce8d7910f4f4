//! What is known of a user for a day, or until they buy again: their factor, and the products that it goes best with.

use crate::base::{Base, Fold};
use crate::candidates::{Bounds, Task};
use crate::counters::User;
use crate::decayed::DAY_S;
use crate::factors::{DIMENSIONS, Factor};
use crate::scan::{Instructions, Pass, QUERIES_MAX, Query};

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

/// Who is looked at, for which task, and when.
#[derive(Clone, Copy)]
pub struct Whom<'a> {
    /// The user.
    pub user: &'a User,
    /// What is foretold of them.
    pub task: Task,
    /// The time, in unix seconds.
    pub now_s: i64,
}

impl Look {
    /// Looks at users, so many at once as a pass takes: the catalogue is looked through once for them. What comes of
    /// it is what looking at each alone gives. There is a profile for each.
    pub(crate) fn together(&mut self, base: &Base, whom: &[Whom<'_>], profiles: &mut [Profile]) {
        let some = whom.chunks(QUERIES_MAX).zip(profiles.chunks_mut(QUERIES_MAX));
        for (whom, profiles) in some {
            let is_done = self.pass(base, whom, profiles);
            // A factor that is no number spoils a pass, for nobody but its own user.
            if !is_done && whom.len() > 1 {
                for (one, profile) in whom.iter().zip(profiles) {
                    self.pass(base, std::slice::from_ref(one), std::slice::from_mut(profile));
                }
            }
        }
    }

    /// The same of one pass; false if it was none.
    fn pass(&mut self, base: &Base, whom: &[Whom<'_>], profiles: &mut [Profile]) -> bool {
        let Self { fold, pass } = self;
        let mut factors = [[0.0; DIMENSIONS]; QUERIES_MAX];
        for ((Whom { user, now_s, .. }, profile), factor) in whom.iter().zip(&mut *profiles).zip(&mut factors)
        {
            let then_s = user.last_s.max(day(*now_s) * DAY_S);
            let counts = user.bought.iter().map(|bought| (bought.product, bought.history(then_s)));
            *factor = base.fold(counts, fold);
            *profile = Profile { factor: *factor, ..Profile::default() };
        }
        let none = Query { user: &factors[0], k: 0 };
        let mut queries = [none; QUERIES_MAX];
        for ((query, factor), Whom { task, .. }) in queries.iter_mut().zip(&factors).zip(whom) {
            *query = Query { user: factor, k: Bounds::of(*task).factors };
        }
        let mut admit = |at: usize, item: u32| {
            let Whom { user, task, .. } = whom[at];
            base.counted(item).is_some_and(|product| task.admits(user, product))
        };
        // A factor that is no number is near nothing.
        let found = pass.quantized(base.factors(), base.codes(), &queries[..whom.len()], &mut admit);
        let Ok(found) = found else { return false };
        for (profile, found) in profiles.iter_mut().zip(found) {
            // What nobody bought has a factor of nothing, and goes with nobody.
            let found = found.iter().filter(|found| found.score > 0.0);
            let products = found.filter_map(|found| base.counted(found.item));
            for (place, product) in profile.highest.iter_mut().zip(products) {
                *place = product;
                profile.count += 1;
            }
        }
        true
    }
}

impl Profile {
    /// Products that the factor goes best with, the best first.
    pub(crate) fn highest(&self) -> &[u32] {
        &self.highest[..self.count]
    }
}
