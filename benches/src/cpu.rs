//! CPU time spent, which a busy machine does not stretch as it does wall time.

use std::collections::BTreeMap;
use std::{fs, io};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// CPU time of the calling thread in ns.
pub fn thread_ns() -> u64 {
    in_ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// CPU time of all threads of this process in ns.
pub fn process_ns() -> u64 {
    in_ns(clock_gettime(ClockId::ProcessCPUTime))
}

/// CPU time of this process's threads in ns, summed by their names.
pub fn threads_ns() -> io::Result<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        // A thread may end between two reads.
        let (Ok(name), Ok(spent)) =
            (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
        else {
            continue;
        };
        let on_cpu = spent.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
        *threads.entry(name.trim().to_owned()).or_default() += on_cpu.unwrap_or_default();
    }
    Ok(threads)
}

fn in_ns(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
