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
