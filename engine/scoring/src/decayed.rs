//! A count in which what came earlier weighs less.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use rkyv::{Archive, Deserialize, Serialize};

/// Seconds of a day.
pub const DAY_S: i64 = 24 * 3_600;

/// A sum of events, each of which halves with its age. Adding is O(1), and events may come in any
/// sequence: the sum is the same.
#[derive(Clone, Copy, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Decayed {
    value: f32,
    /// The newest event's time: the value is as of then.
    as_of_s: i64,
}

impl Decayed {
    /// Adds an event of a time.
    pub fn add(&mut self, amount: f32, time_s: i64, half_life_s: f32) {
        if time_s >= self.as_of_s {
            self.value = self.at(time_s, half_life_s) + amount;
            self.as_of_s = time_s;
        } else {
            self.value += amount * halved(self.as_of_s - time_s, half_life_s);
        }
    }

    /// What it is at a time, or at its newest event if that is later.
    pub fn at(&self, time_s: i64, half_life_s: f32) -> f32 {
        if self.value == 0.0 {
            return 0.0;
        }
        self.value * halved((time_s - self.as_of_s).max(0), half_life_s)
    }
}

/// What is left of 1 after some time.
fn halved(age_s: i64, half_life_s: f32) -> f32 {
    (-(age_s as f32) / half_life_s).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_halves_and_adds_up_in_any_sequence() {
        let half_life_s = 90.0 * DAY_S as f32;
        let table: [(&[i64], i64, f32); 6] = [
            (&[], 10, 0.0),
            (&[0], 0, 1.0),
            (&[0], 90, 0.5),
            (&[0, 0, 0], 180, 0.75),
            (&[0, 90], 90, 1.5),
            (&[90, 0, 45], 90, 1.5 + std::f32::consts::FRAC_1_SQRT_2),
        ];
        for (days, now, expected) in table {
            let mut count = Decayed::default();
            days.iter().for_each(|day| count.add(1.0, 17_000 * DAY_S + day * DAY_S, half_life_s));
            let found = count.at(17_000 * DAY_S + now * DAY_S, half_life_s);
            assert!((found - expected).abs() < 1e-5, "{days:?} after {now} days: {found}");
        }
    }
}
