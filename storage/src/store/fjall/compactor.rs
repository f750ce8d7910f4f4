//! The thread that merges runs down, and the condition the flusher waits on.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use ::fjall::{AbstractTree, compaction::Leveled};

use super::{FjallOptions, Keyspace, StoreError, Trees, store_error};

/// Compacts both trees whenever woken, one step at a time, the tree with more level 0 runs first.
pub(super) struct Compactor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    trees: Trees,
    strategies: [Arc<Leveled>; 2],
    state: Mutex<State>,
    /// Signalled at every change of the state and after every step.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Runs were ingested since the thread last looked.
    woken: bool,
    /// The thread found nothing to do and sleeps.
    idle: bool,
    stopping: bool,
    failure: Option<String>,
}

impl Compactor {
    pub(super) fn start(trees: Trees, options: &FjallOptions) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            trees,
            strategies: Keyspace::ALL.map(|keyspace| options.strategy(keyspace)),
            state: Mutex::new(State { woken: true, ..State::default() }),
            changed: Condvar::new(),
        });
        let thread = thread::Builder::new().name("store-compactor".into()).spawn({
            let shared = shared.clone();
            move || shared.run()
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Says that a run was ingested.
    pub(super) fn wake(&self) {
        self.shared.lock().woken = true;
        self.shared.changed.notify_all();
    }

    /// Blocks while the keyspace holds more than `runs_max` runs in level 0.
    pub(super) fn wait_below(&self, keyspace: Keyspace, runs_max: usize) -> Result<(), StoreError> {
        let tree = &self.shared.trees.tree(keyspace).tree;
        // An idle thread cannot lower the count: waiting for it would be forever.
        self.wait_until(|state| tree.l0_run_count() <= runs_max || (state.idle && !state.woken))
    }

    /// Blocks until there is nothing left to compact.
    pub(super) fn wait_idle(&self) -> Result<(), StoreError> {
        self.wait_until(|state| state.idle && !state.woken)
    }

    /// Finishes the step under way and ends the thread.
    pub(super) fn stop(mut self) -> Result<(), StoreError> {
        self.join();
        self.shared.lock().check()
    }

    fn wait_until(&self, done: impl Fn(&State) -> bool) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        while state.failure.is_none() && !done(&state) {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()
    }

    fn join(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic inside was caught and recorded as the failure.
            let _ = thread.join();
        }
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.join();
    }
}

impl State {
    fn check(&self) -> Result<(), StoreError> {
        match &self.failure {
            Some(detail) => Err(StoreError::Poisoned { detail: detail.clone() }),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taking the lock first keeps a waiter that has looked but does not wait yet from missing it.
    fn announce(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    fn run(&self) {
        while self.wait_for_work() {
            let swept = catch_unwind(AssertUnwindSafe(|| self.sweep()));
            let failure = match swept {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "a panic during compaction".to_owned(),
            };
            self.lock().failure = Some(failure);
            self.changed.notify_all();
            return;
        }
    }

    /// False when it is time to stop.
    fn wait_for_work(&self) -> bool {
        let mut state = self.lock();
        while !state.woken && !state.stopping {
            state.idle = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        state.woken = false;
        !state.stopping
    }

    /// Steps until neither tree changes any more.
    fn sweep(&self) -> Result<(), StoreError> {
        loop {
            let mut order = Keyspace::ALL;
            order.sort_by_key(|keyspace| std::cmp::Reverse(self.trees.tree(*keyspace).tree.l0_run_count()));
            let mut changed = false;
            for keyspace in order {
                if self.lock().stopping {
                    return Ok(());
                }
                changed |= self.step(keyspace)?;
                self.announce();
            }
            if !changed {
                return Ok(());
            }
        }
    }

    /// One choice of the strategy; false if it chose to do nothing. A run ingested meanwhile also
    /// counts as a change, which costs one more look.
    fn step(&self, keyspace: Keyspace) -> Result<bool, StoreError> {
        let tree = &self.trees.tree(keyspace).tree;
        let before = tree.current_version().id();
        let watermark = self.trees.database.supervisor.snapshot_tracker.get_seqno_safe_to_gc();
        tree.compact(self.strategies[keyspace as usize].clone(), watermark)
            .map_err(|error| store_error(keyspace, error.into()))?;
        Ok(tree.current_version().id() != before)
    }
}
