//! Where the measurement took place.

use std::fs;

/// Prints what is measured, the machine, and the method in a line.
pub fn head(what: &str, method: &str) {
    println!("{what}");
    println!("machine  {}", here());
    println!("method   {method}");
    println!();
}

/// Cores, CPU model, kernel, and the load before this process added to it.
pub fn here() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model.trim());
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    format!("{cores} cores, {model}, kernel {}, load {load} at the start", kernel.trim())
}
