//! Why a host cannot drive shards here.

/// Why the `glommio` host cannot run. The `thread` host runs everywhere.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// This build does not have it: cargo feature `glommio` is off, or the system is not Linux.
    #[error("expected a host of this build, found `glommio`: built without the glommio host; use `thread`")]
    NotBuilt,
    /// The kernel or the container's seccomp profile refuses io_uring.
    #[error("the `glommio` host expects io_uring, found it refused: {0}; allow it or use `thread`")]
    IoUring(std::io::Error),
    /// Too little memory may be locked.
    #[error(
        "the `glommio` host expects a locked-memory limit of at least {needed_bytes} bytes, \
         found {found_bytes}; raise `ulimit -l` or use `thread`"
    )]
    LockedMemory {
        /// The process's soft limit.
        found_bytes: u64,
        /// What an executor needs.
        needed_bytes: u64,
    },
    /// A node of a cluster has deadlines that nobody would keep between calls.
    #[error("expected a host with threads for a node of a cluster, found `inline`; use `thread`")]
    InlineNode,
    /// An executor could not be started.
    #[error("the `glommio` host cannot start an executor: {0}; use `thread`")]
    Executor(String),
}
