//! What a turn took long for: a member that does one thing for too long is silent, and others stand for its office.

use crate::host::clock::HostClock;

/// A turn that takes longer is told.
const SLOW_US: u64 = 100_000;

/// The parts of a turn, in their order.
const PARTS: [&str; 6] = ["write", "hear", "tick", "ask", "release", "decide"];

/// How long each part of one turn took.
pub(super) struct Steps {
    clock: HostClock,
    began_us: u64,
    last_us: u64,
    took_us: [u64; PARTS.len()],
}

/// A part.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Write,
    Hear,
    Tick,
    Ask,
    Release,
    Decide,
}

impl Steps {
    pub(super) fn start(clock: HostClock) -> Self {
        let began_us = clock.now_us();
        Self { clock, began_us, last_us: began_us, took_us: [0; PARTS.len()] }
    }

    /// A part is over.
    pub(super) fn end(&mut self, part: Part) {
        let now_us = self.clock.now_us();
        self.took_us[part as usize] += now_us - self.last_us;
        self.last_us = now_us;
    }

    /// The turn is over.
    pub(super) fn tell(&self, shard: u16) {
        let us = self.last_us - self.began_us;
        if us > SLOW_US {
            let took =
                |(part, us): (&&str, &u64)| (*us >= 1_000).then(|| format!("{part} {} ms", us / 1_000));
            let parts: Vec<String> = PARTS.iter().zip(&self.took_us).filter_map(took).collect();
            tracing::warn!(shard, ms = us / 1_000, parts = parts.join(", "), "a turn took long");
        }
    }
}
