//! CPU time spent, which a busy machine does not stretch as it does wall time.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// CPU time of the calling thread in ns.
pub fn thread_ns() -> u64 {
    in_ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// CPU time of all threads of this process in ns.
pub fn process_ns() -> u64 {
    in_ns(clock_gettime(ClockId::ProcessCPUTime))
}

fn in_ns(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
