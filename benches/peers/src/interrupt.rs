//! Ctrl-C and SIGTERM: the run ends, and servers and directories with it.

use std::sync::atomic::{AtomicBool, Ordering};

use onrush_benches::Failure;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Hears signals from here on, in a thread of its own. They end nothing by themselves: whoever waits calls [`check`].
pub(crate) fn listen() -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let context = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(context);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

/// True once a signal has come.
pub(crate) fn came() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// An error once a signal has come.
pub(crate) fn check() -> Result<(), Failure> {
    if came() { Err(Failure::unexpected("a run to the end", "a signal")) } else { Ok(()) }
}
