//! A shard that is rebuilt from store and log while its member goes on hearing, writing and voting: a group of three that
//! has one node away cannot do without it for that long.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use onrush_storage::log::LogReader;
use onrush_storage::store::Frozen;

use super::station::Station;
use super::thread::AbortOnPanic;
use crate::recover::{LogPosition, RecoverError, recover_frozen};
use crate::shard::{Shard, ShardOptions};
use crate::views::ViewRows;

/// A rebuild under way.
pub(super) struct Rebuild {
    done: Receiver<Result<Shard, RecoverError>>,
    /// Holds files of the engine: it ends before whoever waits for it does.
    thread: Option<JoinHandle<()>>,
}

impl Rebuild {
    /// Starts it on a thread of its own, which wakes the station's sleeper when it is done. `at` lies within what is committed,
    /// which nobody takes back meanwhile.
    pub(super) fn start(
        options: ShardOptions,
        frozen: Frozen,
        log: LogReader,
        at: LogPosition,
        station: Arc<Station>,
    ) -> io::Result<Self> {
        let name = format!("rebuild-{:03}", station.id.0);
        let (answer, done) = sync_channel(1);
        let work = move || {
            let _abort = AbortOnPanic;
            let mut rebuilt = recover_frozen(options, frozen, log, at, |_| ());
            // What is published is what was committed, and so it stays.
            if let Ok(recovered) = &mut rebuilt {
                ViewRows::default().stage(recovered.shard.state_mut());
            }
            // Nobody listens any more when the engine closes.
            let _ = answer.send(rebuilt.map(|recovered| recovered.shard));
            station.call();
        };
        let thread = thread::Builder::new().name(name).spawn(work)?;
        Ok(Self { done, thread: Some(thread) })
    }

    /// The shard, once it is there.
    pub(super) fn poll(&mut self) -> Option<Result<Shard, RecoverError>> {
        self.done.try_recv().ok()
    }
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
