//! The priority of threads whose work can wait.

/// As `nice` counts: a tenth of what orders get where both want a core.
const PRIORITY: i32 = 10;

/// Lets orders go before the calling thread. On Linux a thread has a priority of its own.
pub(crate) fn yield_to_orders() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), PRIORITY) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::warn!(%error, name, "a thread has the same priority as all others");
    }
}
