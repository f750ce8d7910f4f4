//! Where the run took place and what it cost.

use std::fs;

use rustix::time::ClockId;

/// The machine, for reports.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Cores this process may use.
    pub(crate) cores: usize,
    /// CPU model, if the system tells.
    pub(crate) cpu: String,
}

impl Machine {
    /// This machine.
    pub(crate) fn here() -> Self {
        Self { cores: cores(), cpu: cpu_model().unwrap_or_else(|| std::env::consts::ARCH.into()) }
    }
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// CPU time spent, in us.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct CpuTime {
    /// By all threads of this process.
    pub(crate) process_us: u64,
    /// By the calling thread, the generator.
    pub(crate) generator_us: u64,
}

impl CpuTime {
    /// So far.
    pub(crate) fn now() -> Self {
        Self { process_us: spent_us(ClockId::ProcessCPUTime), generator_us: spent_us(ClockId::ThreadCPUTime) }
    }

    /// Since `start`.
    pub(crate) fn since(start: Self) -> Self {
        let now = Self::now();
        Self {
            process_us: now.process_us - start.process_us,
            generator_us: now.generator_us - start.generator_us,
        }
    }
}

fn spent_us(clock: ClockId) -> u64 {
    let spent = rustix::time::clock_gettime(clock);
    spent.tv_sec as u64 * 1_000_000 + spent.tv_nsec as u64 / 1_000
}

/// Most memory this process ever had resident, in MiB, if the system tells.
pub(crate) fn memory_peak_mib() -> Option<u64> {
    status_kib("VmHWM:").map(|kib| kib / 1024)
}

/// Memory this process has resident now, if the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    status_kib("VmRSS:").map(|kib| kib * 1024)
}

fn status_kib(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The commit this binary was built from, if the build set `ONRUSH_COMMIT`.
pub(crate) fn commit() -> Option<&'static str> {
    option_env!("ONRUSH_COMMIT").filter(|commit| !commit.is_empty())
}

/// Lets this thread sleep to the microsecond instead of the default 50 us of slack: an open loop
/// that wakes late would count its own sleep as the target's latency. Best effort.
pub(crate) fn sleep_precisely() {
    let _ = fs::write("/proc/self/timerslack_ns", "1000");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_moves_with_work() {
        let start = CpuTime::now();
        while CpuTime::since(start).generator_us < 1_000 {}
        assert!(CpuTime::since(start).process_us >= 1_000);
    }
}
