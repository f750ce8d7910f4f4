//! Pauses between tries.

use std::time::Duration;

/// Pauses between calls under one key: 100 ms, doubling to 10 s.
#[derive(Clone, Copy, Default, Debug)]
pub struct Retry {
    /// Calls made so far.
    pub call: u32,
}

impl Retry {
    /// The pause before the next call.
    pub fn pause(&mut self) -> Duration {
        let pause = Duration::from_millis(100 << self.call.min(7)).min(Duration::from_secs(10));
        self.call += 1;
        pause
    }

    /// The same, shortened by up to half by chance, so that many who lost one peer do not come back at
    /// once.
    pub fn jittered_pause(&mut self) -> Duration {
        let (_, dice) = uuid::Uuid::new_v4().as_u64_pair();
        self.pause().mul_f64(0.5 + (dice as u32 as f64) / (2.0 * f64::from(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_chance_takes_at_most_half_of_them() {
        let mut plain = Retry::default();
        let pauses: Vec<u64> = (0..9).map(|_| plain.pause().as_millis() as u64).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        for call in 0..9 {
            let whole = Retry { call }.pause();
            let pauses: HashSet<Duration> = (0..64).map(|_| Retry { call }.jittered_pause()).collect();
            assert!(
                pauses.iter().all(|pause| (whole / 2..=whole).contains(pause)),
                "{pauses:?} of {whole:?}"
            );
            assert!(pauses.len() > 32, "who lost a peer together would come back together: {pauses:?}");
        }
    }
}
