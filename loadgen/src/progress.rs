//! A line that says how the run is going.

use std::io::{IsTerminal, Write};

use crate::driver::Tally;
use crate::number::grouped;
use crate::plan::SECOND_NS;

/// Where progress goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    Silent,
    /// One line that is written over.
    Terminal,
    /// A line per second.
    Plain,
}

impl Style {
    fn interval_ns(self) -> u64 {
        if self == Self::Terminal { SECOND_NS / 5 } else { SECOND_NS }
    }
}

/// Writes to stderr, at most a few times per second.
pub(crate) struct Progress {
    style: Style,
    duration_s: f64,
    next_ns: u64,
    last_ns: u64,
    last_answered: u64,
}

impl Progress {
    /// For a run of that length; a terminal gets one line that moves.
    pub(crate) fn new(quiet: bool, duration_s: f64) -> Self {
        let style = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Terminal,
            (false, false) => Style::Plain,
        };
        Self { style, duration_s, next_ns: style.interval_ns(), last_ns: 0, last_answered: 0 }
    }

    /// Writes a line if it is time.
    pub(crate) fn tick(&mut self, now_ns: u64, tally: &Tally) {
        if now_ns < self.next_ns || self.style == Style::Silent {
            return;
        }
        self.next_ns = now_ns + self.style.interval_ns();
        let passed_s = (now_ns - self.last_ns).max(1) as f64 / 1e9;
        let rate = (tally.answered - self.last_answered) as f64 / passed_s;
        (self.last_ns, self.last_answered) = (now_ns, tally.answered);
        let line = self.line(now_ns, rate, tally);
        let mut stderr = std::io::stderr().lock();
        // Progress is a courtesy: a closed stderr must not end a run.
        let _ = match self.style {
            Style::Terminal => write!(stderr, "\r\x1b[2K{line}"),
            _ => writeln!(stderr, "{line}"),
        };
        let _ = stderr.flush();
    }

    fn line(&self, now_ns: u64, rate: f64, tally: &Tally) -> String {
        let sold_out =
            tally.sold_out_ns.map_or(String::new(), |ns| format!(", sold out at {:.2} s", ns as f64 / 1e9));
        format!(
            "{:5.1} of {:.0} s: {} orders/s, {} offered, {} accepted, {} paid{sold_out}",
            now_ns as f64 / 1e9,
            self.duration_s,
            grouped(rate as i64),
            grouped(tally.offered as i64),
            grouped(tally.accepted as i64),
            grouped(tally.paid as i64),
        )
    }

    /// Leaves the terminal's line free.
    pub(crate) fn finish(&mut self) {
        if self.style == Style::Terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
        }
        self.style = Style::Silent;
    }
}
