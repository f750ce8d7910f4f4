//! Subscriptions: committed records in order, at least once, never above the commit point.

use std::sync::Arc;
use std::time::Duration;

use event_listener::Listener;
use onrush_proto::planted::planted;
use onrush_proto::{FactError, FactView, Lsn, ShardId};
use onrush_storage::log::{Frame, FrameError, LogReader, ReadError};

use crate::host::{InlineHost, Tail, Tailed};

/// One committed record.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The shard that committed it.
    pub shard: ShardId,
    /// Its position there.
    pub lsn: Lsn,
    /// Shard time of its frame in us.
    pub time_us: u64,
    /// A hash of the key it happened to.
    pub key_hash: u64,
    /// What happened.
    pub fact: FactView<'a>,
}

/// Why a subscription could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The position was released: `OFFSET_OUT_OF_RANGE`.
    #[error("expected a position of {first} or later, found {found}: earlier records were released")]
    OutOfRange {
        /// The first position that can be read.
        first: u64,
        /// The position asked for.
        found: u64,
    },
    /// The log's files could not be read.
    #[error(transparent)]
    Log(ReadError),
    /// A record is not a fact.
    #[error("record {lsn}: {source}")]
    Fact {
        /// Its position.
        lsn: u64,
        /// What is wrong with it.
        source: FactError,
    },
}

impl From<ReadError> for SubscribeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::OutOfRange { first, found } => Self::OutOfRange { first, found },
            other => Self::Log(other),
        }
    }
}

/// Records that were committed together, as the log has them: what crosses to another process.
#[derive(Clone)]
pub struct Batch {
    frame: Arc<Frame>,
}

impl Batch {
    /// Reads a batch that [`bytes`](Self::bytes) gave; its checksum is looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        Ok(Self { frame: Arc::new(Frame::parse(bytes)?) })
    }

    /// The whole of it.
    pub fn bytes(&self) -> &[u8] {
        self.frame.bytes()
    }

    /// The position of its last record.
    pub fn last(&self) -> Lsn {
        Lsn(self.frame.view().info().next_lsn() - 1)
    }

    /// Calls `record` for up to `max` of its records behind `cursor`, which moves past them. Returns how
    /// many.
    pub fn read(
        &self,
        shard: ShardId,
        cursor: &mut Lsn,
        max: usize,
        mut record: impl FnMut(Event<'_>),
    ) -> Result<usize, SubscribeError> {
        let (view, after) = (self.frame.view(), cursor.0);
        let time_us = view.info().time_us;
        let mut taken = 0;
        for found in view.records().filter(|found| found.lsn > after).take(max) {
            let fact = FactView::new(found.kind, found.payload)
                .map_err(|source| SubscribeError::Fact { lsn: found.lsn, source })?;
            record(Event { shard, lsn: Lsn(found.lsn), time_us, key_hash: found.key_hash, fact });
            *cursor = Lsn(found.lsn);
            taken += 1;
        }
        Ok(taken)
    }
}

/// Committed frames behind a position: from memory if the reader keeps up, else from the files.
pub(crate) struct Frames {
    tail: Arc<Tail>,
    cursor: u64,
    reader: Option<LogReader>,
    /// The frame the cursor stands in, if its reader has passed it.
    current: Option<Arc<Frame>>,
}

impl Frames {
    pub(crate) fn after(tail: Arc<Tail>, cursor: u64) -> Self {
        Self { tail, cursor, reader: None, current: None }
    }

    /// The frame that holds the record after the cursor. The cursor stays.
    pub(crate) fn next(&mut self) -> Result<Option<Arc<Frame>>, SubscribeError> {
        let unread = |frame: &&Arc<Frame>| frame.view().info().next_lsn() > self.cursor + 1;
        if let Some(frame) = self.current.as_ref().filter(unread) {
            return Ok(Some(Arc::clone(frame)));
        }
        match self.tail.after(self.cursor) {
            Tailed::End => Ok(None),
            Tailed::Frame(frame) => {
                self.reader = None;
                Ok(Some(frame))
            }
            Tailed::Older => self.next_in_files(),
        }
    }

    fn next_in_files(&mut self) -> Result<Option<Arc<Frame>>, SubscribeError> {
        let cursor = self.cursor;
        if self.reader.is_none() {
            let mut reader = self.tail.reader();
            match reader.seek(cursor + 1) {
                Err(ReadError::OutOfRange { first, .. }) if planted(24) => reader.seek(first)?,
                sought => sought?,
            }
            self.reader = Some(reader);
        }
        let Some(reader) = &mut self.reader else { return Ok(None) };
        // Asked before anything is read: a frame that was read in front of that may be another leader's, cut off since, in the
        // place of the one that was committed.
        let committed = self.tail.committed();
        while let Some(frame) = reader.next_frame()? {
            let next = frame.info().next_lsn();
            if next > cursor + 1 {
                if next - 1 <= committed {
                    let frame = Arc::new(frame.to_frame());
                    self.current = Some(Arc::clone(&frame));
                    return Ok(Some(frame));
                }
                // On disk, and not committed yet: the reader has passed it and must seek anew.
                self.reader = None;
                return Ok(None);
            }
        }
        Ok(None)
    }

    pub(crate) fn advance(&mut self, lsn: u64) {
        self.cursor = self.cursor.max(lsn);
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }
}

/// The first record that can be read; one past the end if there is none.
pub(crate) fn first(tail: &Tail) -> Result<Lsn, SubscribeError> {
    match tail.reader().seek(0) {
        // Positions begin at 1, so the reader always says which is the first.
        Err(ReadError::OutOfRange { first, .. }) => Ok(Lsn(first)),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(Lsn(tail.committed() + 1)),
    }
}

/// The first committed record that was decided at `time_us` or later; one past the end if there is none. Reads some
/// frames of the log's files: the times of frames do not fall, so it halves what is left.
pub(crate) fn first_at(tail: &Tail, time_us: u64) -> Result<Lsn, SubscribeError> {
    let mut reader = tail.reader();
    let (mut low, mut high) = (first(tail)?.0, tail.committed() + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let frame = match reader.seek(middle) {
            Ok(()) => reader.next_frame()?,
            Err(ReadError::OutOfRange { first, .. }) => {
                // Released meanwhile.
                low = low.max(first);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let Some(info) = frame.map(|frame| frame.info()) else { break };
        // All records of a frame have its time.
        match info.time_us < time_us {
            true => low = info.next_lsn().max(middle + 1),
            false => high = info.first_lsn.max(low).min(middle),
        }
    }
    Ok(Lsn(low.min(high)))
}

/// Reads one shard's committed records.
pub struct Subscription {
    shard: ShardId,
    tail: Arc<Tail>,
    frames: Frames,
    /// The inline host, which this reader must drive before there is anything to read.
    driver: Option<Arc<InlineHost>>,
}

impl Subscription {
    /// Reads from record `from` on what `tail` shows of a shard.
    pub fn over(shard: ShardId, tail: Arc<Tail>, from: Lsn) -> Self {
        Self::driven(shard, tail, from, None)
    }

    pub(crate) fn driven(
        shard: ShardId,
        tail: Arc<Tail>,
        from: Lsn,
        driver: Option<Arc<InlineHost>>,
    ) -> Self {
        let frames = Frames::after(Arc::clone(&tail), from.0.saturating_sub(1));
        Self { shard, tail, frames, driver }
    }

    /// Calls `record` for up to `max` records behind the cursor, which moves past them. Returns how
    /// many; 0 if there is nothing yet. Does not block.
    pub fn poll(&mut self, max: usize, mut record: impl FnMut(Event<'_>)) -> Result<usize, SubscribeError> {
        self.drive();
        let mut taken = 0;
        while taken < max {
            let Some(frame) = self.frames.next()? else { break };
            let mut cursor = self.cursor();
            let read = Batch { frame }.read(self.shard, &mut cursor, max - taken, &mut record);
            // Also what came before a record that cannot be read is done with.
            self.frames.advance(cursor.0);
            taken += read?;
        }
        Ok(taken)
    }

    /// The batch that holds the record behind the cursor, which moves past all of it; `None` if there is
    /// nothing yet. Does not wait, but may read the log's files.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, SubscribeError> {
        self.drive();
        let batch = self.frames.next()?.map(|frame| Batch { frame });
        if let Some(batch) = &batch {
            self.frames.advance(batch.last().0);
        }
        Ok(batch)
    }

    fn drive(&self) {
        if let Some(driver) = &self.driver {
            driver.drive();
        }
    }

    /// The last record handed over.
    pub fn cursor(&self) -> Lsn {
        Lsn(self.frames.cursor())
    }

    /// Stands behind another record: the next one handed over is the one after it.
    pub fn seek(&mut self, cursor: Lsn) {
        self.frames = Frames::after(Arc::clone(&self.tail), cursor.0);
    }

    fn has_more(&self) -> bool {
        self.tail.committed() > self.frames.cursor()
    }

    /// Resolves when there is something behind the cursor.
    pub async fn ready(&mut self) {
        loop {
            let listener = self.tail.listen();
            if self.has_more() {
                return;
            }
            listener.await;
        }
    }

    /// Blocks until there is something behind the cursor, at most `timeout`. True if there is.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let listener = self.tail.listen();
        if !self.has_more() {
            listener.wait_timeout(timeout);
        }
        self.has_more()
    }
}
