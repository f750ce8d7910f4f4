//! The store's own thread: reads the committed log and hands the store sorted runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_queue::SegQueue;
use event_listener::Listener;
use onrush_proto::planted::planted;
use onrush_storage::log::Frame;
use onrush_storage::store::{Keyspace, Store};

use super::snapshots::Snapshots;
use super::station::Station;
use crate::flush::{Absorber, Flush, Stored};
use crate::options::FlushOptions;
use crate::subscription::Frames;

/// How often the flusher looks whether claims were confirmed that it waits for.
const CEILING_PATIENCE: Duration = Duration::from_millis(2);

/// What the flusher can be asked.
pub(crate) enum FlushControl {
    /// Absorb up to the committed end and show all rows as of there.
    Show(Asker),
}

type Asker = SyncSender<Result<Cut, String>>;

/// All rows of a shard as of one record.
pub(crate) struct Cut {
    pub(crate) rows: Stored,
    pub(crate) lsn: u64,
    /// Keys behind this record may not have their claims yet.
    pub(crate) ceiling: u64,
}

/// The flusher from outside.
pub(crate) struct FlusherHandle {
    thread: Option<JoinHandle<Result<(), String>>>,
    closing: Arc<AtomicBool>,
    station: Arc<Station>,
}

impl FlusherHandle {
    /// Flushes what is committed, closes the store and ends the thread.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        self.closing.store(true, Ordering::Release);
        self.station.tail.notify();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err("the flusher's thread panicked".into()),
            None => Ok(()),
        }
    }
}

/// One shard's way from log to store. On a thread of its own, or step by step by whoever owns it.
pub struct Flusher {
    station: Arc<Station>,
    frames: Frames,
    absorber: Absorber,
    store: Box<dyn Store>,
    options: FlushOptions,
    snapshots: Snapshots,
    checkpoint_lsn: u64,
    controls: Arc<SegQueue<FlushControl>>,
    /// Questions that wait until this record is absorbed.
    asked: VecDeque<(u64, Asker)>,
    closing: Arc<AtomicBool>,
}

impl Flusher {
    /// A flusher that continues behind `from`.
    pub fn new(
        station: Arc<Station>,
        from: u64,
        absorber: Absorber,
        store: Box<dyn Store>,
        (options, snapshots): (FlushOptions, Snapshots),
    ) -> Self {
        let mut absorber = absorber;
        absorber.set_retention(options.retention);
        station.set_owed(absorber.first_owed());
        Self {
            frames: Frames::after(Arc::clone(&station.tail), from),
            station,
            absorber,
            store,
            options,
            snapshots,
            checkpoint_lsn: from,
            controls: Arc::default(),
            asked: VecDeque::new(),
            closing: Arc::default(),
        }
    }

    /// Where questions go.
    pub(crate) fn controls(&self) -> Arc<SegQueue<FlushControl>> {
        Arc::clone(&self.controls)
    }

    pub(crate) fn start(self) -> std::io::Result<FlusherHandle> {
        let closing = Arc::clone(&self.closing);
        let station = Arc::clone(&self.station);
        let name = format!("flush-{:03}", station.id.0);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let station = Arc::clone(&self.station);
            let ended = self.run().inspect_err(|error| {
                // Without its store a shard would grow without bound.
                tracing::error!(shard = station.id.0, %error, "flusher stopped");
                station.stopped.store(true, Ordering::Release);
            });
            station.flusher_ended.store(true, Ordering::Release);
            ended
        })?;
        Ok(FlusherHandle { thread: Some(thread), closing, station })
    }

    fn run(mut self) -> Result<(), String> {
        loop {
            let listener = self.station.tail.listen();
            let absorbed = self.absorb_committed()?;
            while let Some(FlushControl::Show(asker)) = self.controls.pop() {
                self.asked.push_back((self.station.tail.committed(), asker));
            }
            self.show();
            let closing = self.closing.load(Ordering::Acquire);
            if closing && !absorbed {
                return self.close();
            }
            if !absorbed && !closing {
                // What came while this turn ran is seen before sleeping: the listener is older.
                match self.behind_ceiling() {
                    true => drop(listener.wait_timeout(CEILING_PATIENCE)),
                    false => listener.wait(),
                }
            }
        }
    }

    /// True if something is committed that the flusher may not take yet.
    fn behind_ceiling(&self) -> bool {
        self.station.tail.committed() > self.frames.cursor()
    }

    /// Takes committed frames up to the ceiling; true if there was one.
    ///
    /// # Errors
    /// What log or store said; the flusher has then come to its end.
    pub fn absorb_committed(&mut self) -> Result<bool, String> {
        let (mut any, mut held_back) = (false, false);
        while let Some(frame) = self.frames.next().map_err(|error| error.to_string())? {
            let last = frame.view().info().next_lsn() - 1;
            held_back = last > self.station.ceiling.load(Ordering::Acquire);
            if held_back {
                break;
            }
            self.absorb(&frame)?;
            self.frames.advance(last);
            self.station.tail.set_flushed(last);
            any = true;
        }
        self.station.held_back.store(held_back, Ordering::Relaxed);
        self.station.set_owed(self.absorber.first_owed());
        Ok(any)
    }

    fn absorb(&mut self, frame: &Frame) -> Result<(), String> {
        let view = frame.view();
        let rows = self.absorber.rows();
        // A run of whole buckets is moved down the LSM unread; a full one waits a little for that.
        let (bytes, most) = (self.absorber.bytes(), self.options.log_bytes);
        let full = rows >= self.options.rows || bytes >= most / 4 * 3;
        let overfull = rows >= 4 * self.options.rows || bytes >= most.saturating_mul(2);
        if self.has_news() && (overfull || (full && self.absorber.begins_bucket(&view))) {
            self.flush()?;
        }
        self.absorber.absorb(&view).map_err(|error| error.to_string())?;
        self.station.absorbed_bytes.fetch_add(frame.bytes().len() as u64, Ordering::Release);
        Ok(())
    }

    /// True if a run would raise both keyspaces. After a crash one may be ahead of the other: then
    /// nothing is flushed, and no checkpoint believed in, before the log has caught up with both.
    fn has_news(&self) -> bool {
        let end = self.absorber.end_lsn();
        Keyspace::ALL.into_iter().all(|keyspace| self.store.applied(keyspace) < end)
    }

    fn flush(&mut self) -> Result<(), String> {
        let closing = self.closing.load(Ordering::Acquire);
        self.snapshots.owe(self.absorber.first_owed());
        let due = self.snapshots.grew(self.absorber.bytes());
        // A store that is filled from a snapshot replays from the checkpoint in it, and the log is
        // released up to the snapshot: the two must meet.
        let checkpoint =
            closing || (due && !planted(26)) || self.absorber.owes_checkpoint(self.options.checkpoint_bytes);
        let flush = match closing {
            true => Some(self.absorber.flush(checkpoint)),
            false => self.absorber.rotate(checkpoint),
        };
        let Some(flush) = flush else { return Ok(()) };
        self.ingest(flush, checkpoint)?;
        if due {
            let frozen = self.store.reader().freeze().map_err(|error| error.to_string())?;
            self.snapshots.take(frozen);
        }
        self.release();
        Ok(())
    }

    fn ingest(&mut self, flush: Flush, checkpoint: bool) -> Result<(), String> {
        let Flush { history, current, history_applied, current_applied } = &flush;
        let runs =
            [(Keyspace::Current, current, current_applied), (Keyspace::History, history, history_applied)];
        for (keyspace, run, applied) in runs {
            self.store.ingest(keyspace, run, *applied).map_err(|error| error.to_string())?;
        }
        if checkpoint {
            self.checkpoint_lsn = *history_applied;
        }
        self.station.stored.store(*history_applied.min(current_applied), Ordering::Release);
        self.absorber.recycle(flush);
        self.publish_counters();
        Ok(())
    }

    /// The log is recycled only below what a restart, a rebuilt store and consumer groups need.
    fn release(&self) {
        let needed = self.checkpoint_lsn.min(self.snapshots.oldest_kept()) + 1;
        let owed = if planted(22) { u64::MAX } else { self.absorber.first_owed() };
        let below = needed.min(owed);
        self.station.release_below.store(below, Ordering::Release);
        self.station.wake();
    }

    fn publish_counters(&self) {
        let counters = &self.station.counters;
        let runs = Keyspace::ALL.map(|keyspace| self.store.level0_runs(keyspace) as u64);
        counters.level0_runs.store(runs.into_iter().max().unwrap_or(0), Ordering::Relaxed);
        counters.store_bytes.store(self.store.disk_bytes(), Ordering::Relaxed);
    }

    /// Answers who asked for a record that is absorbed by now.
    fn show(&mut self) {
        let stopped = self.station.stopped.load(Ordering::Acquire);
        while let Some((wanted, _)) = self.asked.front() {
            let lsn = self.frames.cursor();
            if *wanted > lsn && !stopped {
                break;
            }
            let Some((_, asker)) = self.asked.pop_front() else { break };
            let ceiling = self.station.ceiling.load(Ordering::Acquire);
            let cut = self.rows().map(|rows| Cut { rows, lsn, ceiling });
            // Who asked may have given up.
            let _ = asker.send(cut);
        }
    }

    /// Writes the snapshot that waits to be written by hand; true if there was one.
    pub fn write_snapshot(&mut self) -> bool {
        self.snapshots.write_waiting()
    }

    /// All rows as of the last record absorbed.
    ///
    /// # Errors
    /// What the store said.
    pub fn rows(&mut self) -> Result<Stored, String> {
        let frozen = self.store.reader().freeze().map_err(|error| error.to_string())?;
        Ok(self.absorber.lay_over(frozen))
    }

    /// Flushes what is absorbed, writes the snapshot that waits, and closes the store.
    ///
    /// # Errors
    /// What the store said.
    pub fn close(mut self) -> Result<(), String> {
        self.closing.store(true, Ordering::Release);
        if self.has_news() {
            self.flush()?;
        }
        self.snapshots.finish();
        drop(self.frames);
        self.store.close().map_err(|error| error.to_string())
    }
}
