//! A shard whose log is this node's alone: what is on its disk has happened.
//!
//! While a frame is being written the shard decides what has arrived into the next one. What a
//! batch says leaves when its own frame is durable, and a batch without records waits for the frame
//! in front of it: its answers may rest on that.

use std::io;
use std::sync::Arc;

use onrush_proto::Refusal;
use onrush_storage::log::{AppendError, FrameBuf, Log};

use super::laps::Laps;
use super::seat::{Seat, SeatParts};
use super::station::MANY;
use super::writer::{Durable, Writer, Written};
use crate::shard::Effects;
use crate::stages::Stage;

/// A frame that is to become durable, and its time.
pub(super) struct Write {
    frame: FrameBuf,
    time_us: u64,
}

impl Durable<Write> for Log {
    type Error = AppendError;

    fn write(&mut self, Write { frame, time_us }: &mut Write) -> Result<(), AppendError> {
        self.append(frame, *time_us).map(drop)
    }
}

/// One shard at work.
pub(crate) struct Alone {
    pub(super) seat: Seat,
    writer: Writer<Log, Write>,
    /// On its way; its frame is with the writer.
    written: Option<Effects>,
}

impl Alone {
    pub(super) fn new(parts: SeatParts, log: Log) -> Self {
        Self { seat: Seat::new(parts), writer: Writer::new(log), written: None }
    }

    pub(super) fn write_beside(&mut self) -> io::Result<()> {
        self.writer.start_thread(Arc::clone(&self.seat.station))
    }

    /// True while a write is in flight.
    pub(super) fn is_writing(&self) -> bool {
        self.writer.is_writing()
    }

    /// True while a write is in flight and too little waits to be decided meanwhile.
    pub(super) fn waits_for_write(&self) -> bool {
        self.writer.is_writing() && !self.seat.station.has_many()
    }

    /// How long nothing will be due, in us; `None` = until something comes.
    pub(super) fn idle_us(&self) -> Option<u64> {
        let deadline = self.seat.shard.next_deadline_us().filter(|_| !self.seat.is_stopped())?;
        Some(deadline.saturating_sub(self.seat.clock.now_us()))
    }

    /// One turn; false if there was nothing to do.
    pub(super) fn turn(&mut self) -> bool {
        let landed = self.writer.poll().map(|written| self.land(written)).is_some();
        self.decide() || landed
    }

    /// Seals the log while it is idle.
    pub(super) fn seal(&mut self) {
        if self.seat.is_stopped() {
            return;
        }
        let now_us = self.seat.clock.now_us();
        let sealed = self.writer.disk().map_or(Ok(()), |log| log.seal(now_us));
        if let Err(error) = sealed {
            self.seat.stop(&error);
        }
    }

    /// Takes what has arrived and decides it; false if there was nothing to do.
    fn decide(&mut self) -> bool {
        if self.waits_for_write() {
            return false;
        }
        if self.seat.is_stopped() {
            self.seat.refuse_inputs(Refusal::Stopped);
            return false;
        }
        let mut laps = Laps::start();
        if !self.seat.decide(&mut laps) {
            return false;
        }
        self.commit(&mut laps);
        laps.trace();
        true
    }

    /// Sends the open batch to the disk, if the frame in front of it is there.
    fn commit(&mut self, laps: &mut Laps) {
        if self.seat.is_stopped() {
            return self.abandon();
        }
        if self.writer.is_writing() {
            // It grows on. Full, it waits here: there is nothing else to do.
            if self.seat.shard.is_full(&self.seat.open)
                && let Some(written) = self.writer.wait()
            {
                self.land(written);
            }
            return;
        }
        if self.begin_write() {
            return;
        }
        let mut batch = self.seat.take_open();
        if !batch.frame.is_empty() {
            let mut write = Write { frame: std::mem::take(&mut batch.frame), time_us: batch.time_us };
            let written = self.writer.write(&mut write);
            batch.frame = write.frame;
            if let Err(error) = written {
                self.seat.stop(&error);
                self.seat.answer_unknown(batch);
                return self.abandon();
            }
            self.seat.end(Stage::Commit, laps);
        }
        self.let_go(batch, laps);
    }

    /// Hands the open batch's frame to the writer's thread, if it is large: deciding a smaller one
    /// takes less time than waking a thread.
    fn begin_write(&mut self) -> bool {
        let open = &self.seat.open;
        let large = open.inputs >= MANY && !open.frame.is_empty();
        if !large || !self.writer.has_thread() {
            return false;
        }
        let mut batch = self.seat.take_open();
        let write = Write { frame: std::mem::take(&mut batch.frame), time_us: batch.time_us };
        match self.writer.begin(write) {
            Ok(()) => {
                self.written = Some(batch);
                true
            }
            Err(write) => {
                batch.frame = write.frame;
                self.seat.open = batch;
                false
            }
        }
    }

    /// A write came back: what was decided meanwhile takes its place, and what waited for it leaves.
    fn land(&mut self, written: Written<Write, AppendError>) {
        let mut laps = Laps::start();
        let mut batch = self.written.take().unwrap_or_default();
        if let Some(write) = written.job {
            batch.frame = write.frame;
        }
        self.seat.station.counters.stages.record(Stage::Commit, written.took_ns);
        if let Err(error) = written.result {
            self.seat.stop(&error);
            self.seat.answer_unknown(batch);
            return self.abandon();
        }
        self.tend_log();
        self.begin_write();
        self.let_go(batch, &mut laps);
        if !self.writer.is_writing() && !self.seat.open.is_empty() {
            self.commit(&mut laps);
        }
    }

    /// A batch is durable, or had nothing to make so and nothing in front of it that is not.
    fn let_go(&mut self, mut batch: Effects, laps: &mut Laps) {
        if !batch.frame.is_empty() {
            let frame = batch.frame.to_frame_in(self.seat.station.tail.spare());
            self.seat.publish(&mut batch, frame);
            self.seat.end(Stage::Apply, laps);
            // Counted before anybody is told of it.
            self.tend_log();
        }
        self.seat.let_go(batch, laps);
    }

    fn tend_log(&mut self) {
        let Some(log) = self.writer.disk() else { return };
        self.seat.count_log(log);
        self.seat.release_log(log);
    }

    /// The outcome of what was decided last is unknown; nothing else was decided.
    fn abandon(&mut self) {
        // Durable or not: what it says rests on a shard that has stopped.
        if self.writer.wait().is_some() {
            let batch = self.written.take().unwrap_or_default();
            self.seat.answer_unknown(batch);
        }
        let batch = self.seat.take_open();
        self.seat.answer_unknown(batch);
        self.seat.refuse_inputs(Refusal::Stopped);
    }
}
