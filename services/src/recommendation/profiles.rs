//! Profiles of customers, kept from one answer to the next. One is made at the first answer after a purchase or of a
//! day, and is found until the next one: a factor is solved and the catalogue looked through once for each of a
//! customer's orders and days, not for each of their pages.

use std::sync::{Mutex, PoisonError};

use onrush_scoring::candidates::Task;
use onrush_scoring::profile::Profile;

use super::counters::Seat;

/// Profiles that are kept, at most: about 20 MB. Of customers who want the same place the last one has it.
const KEPT_MAX: usize = 1 << 15;
/// Profiles of a customer, one for each task.
const TASKS: usize = 2;

/// Whose profile it is, and of what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Whose {
    pub(super) seat: Seat,
    pub(super) task: Task,
    /// As [`onrush_scoring::profile::day`] counts them.
    pub(super) day: i64,
}

struct Kept {
    whose: Whose,
    profile: Profile,
}

/// Profiles that one base gave, placed among the counters in one way.
pub(super) struct Profiles(Vec<Mutex<Option<Box<Kept>>>>);

impl Default for Profiles {
    fn default() -> Self {
        Self((0..KEPT_MAX).map(|_| Mutex::default()).collect())
    }
}

impl Profiles {
    /// Copies the profile of a customer; false if it is not here, or they have bought since.
    pub(super) fn find(&self, whose: Whose, profile: &mut Profile) -> bool {
        let kept = self.place(whose).lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref().filter(|kept| kept.whose == whose) {
            Some(found) => {
                profile.clone_from(&found.profile);
                true
            }
            None => false,
        }
    }

    /// True if it is here.
    pub(super) fn has(&self, whose: Whose) -> bool {
        let kept = self.place(whose).lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().is_some_and(|kept| kept.whose == whose)
    }

    /// Keeps a profile in place of another one.
    pub(super) fn keep(&self, whose: Whose, profile: &Profile) {
        let mut kept = self.place(whose).lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *kept {
            Some(kept) => {
                kept.whose = whose;
                kept.profile.clone_from(profile);
            }
            None => *kept = Some(Box::new(Kept { whose, profile: profile.clone() })),
        }
    }

    fn place(&self, Whose { seat, task, .. }: Whose) -> &Mutex<Option<Box<Kept>>> {
        &self.0[(seat.number as usize * TASKS + task as usize) % KEPT_MAX]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendation::counters::{Bounds, Counters};
    use crate::recommendation::purchase::{Lesson, Purchase};

    fn buy(counters: &mut Counters, customer: &str) -> Seat {
        let customer = customer.parse().unwrap();
        let lines = vec![("tea".parse().unwrap(), 499)];
        counters.learn(&Lesson::Bought(Purchase { customer, time_us: 1, lines }));
        counters.seat_of(&customer).unwrap().0
    }

    #[test]
    fn a_profile_is_found_that_day_until_its_customer_buys_again_or_another_one_has_its_place() {
        let mut counters = Counters::new(Bounds::RECOMMENDED);
        let [ada, bob] = ["ada", "bob"].map(|customer| buy(&mut counters, customer));
        let (profiles, mut found) = (Profiles::default(), Profile::default());
        let mut find = |whose| profiles.find(whose, &mut found);
        let of = |seat| Whose { seat, task: Task::NextBasket, day: 7 };
        assert!(!find(of(ada)));
        profiles.keep(of(ada), &Profile::default());
        assert!(find(of(ada)) && !find(of(bob)));
        assert!(!find(Whose { task: Task::Discovery, ..of(ada) }) && !find(Whose { day: 8, ..of(ada) }));
        let bought = buy(&mut counters, "ada");
        assert!(!find(of(bought)));
        profiles.keep(of(bought), &Profile::default());
        assert!(find(of(bought)) && !find(of(ada)), "as it was before");
        let far = Seat { number: bought.number + (KEPT_MAX / TASKS) as u32, ..bought };
        profiles.keep(of(far), &Profile::default());
        assert!(find(of(far)) && !find(of(bought)), "the place is another's");
    }
}
