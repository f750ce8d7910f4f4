//! The segments in use, shared between the writer and its readers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::segment::Segment;

type Segments = VecDeque<Arc<Segment>>;

/// Oldest first, numbered without a gap. The lock is taken when a reader changes segments and when one
/// is added or released, never for a frame.
pub(super) struct SegmentIndex {
    segments: RwLock<Segments>,
    /// One past the last durable record.
    next_lsn: AtomicU64,
}

impl SegmentIndex {
    pub(super) fn new(segments: Segments, next_lsn: u64) -> Self {
        Self { segments: RwLock::new(segments), next_lsn: AtomicU64::new(next_lsn) }
    }

    /// The oldest Lsn that can be read; one past the end if there is none.
    pub(super) fn first_lsn(&self) -> u64 {
        let segments = self.read();
        segments.front().map_or_else(|| self.next_lsn(), |segment| segment.header.first_lsn)
    }

    /// Bytes in the segments that hold anything behind `lsn`.
    pub(super) fn bytes_behind(&self, lsn: u64) -> u64 {
        let segments = self.read();
        let ends = segments.iter().skip(1).map(|next| next.header.first_lsn - 1).chain([u64::MAX]);
        segments.iter().zip(ends).filter(|(_, last)| *last > lsn).map(|(segment, _)| segment.end()).sum()
    }

    pub(super) fn next_lsn(&self) -> u64 {
        self.next_lsn.load(Ordering::Acquire)
    }

    pub(super) fn publish_next_lsn(&self, next_lsn: u64) {
        self.next_lsn.store(next_lsn, Ordering::Release);
    }

    pub(super) fn len(&self) -> usize {
        self.read().len()
    }

    pub(super) fn push(&self, segment: Arc<Segment>) {
        self.write().push_back(segment);
    }

    /// The segment that holds `lsn`, or the last one for the Lsn to come.
    pub(super) fn holding(&self, lsn: u64) -> Option<Arc<Segment>> {
        let segments = self.read();
        let after = segments.partition_point(|segment| segment.header.first_lsn <= lsn);
        segments.get(after.checked_sub(1)?).cloned()
    }

    /// The last segment that begins in front of the frame with this index; the oldest if none does.
    pub(super) fn holding_index(&self, index: u64) -> Option<Arc<Segment>> {
        let segments = self.read();
        let in_front = |segment: &Arc<Segment>| segment.first_index().is_some_and(|first| first < index);
        let after = segments.partition_point(in_front);
        segments.get(after.saturating_sub(1)).cloned()
    }

    /// The last segment whose first frame has this index or an earlier one.
    pub(super) fn last_from(&self, index: u64) -> Option<Arc<Segment>> {
        let segments = self.read();
        let from = |segment: &&Arc<Segment>| segment.first_index().is_some_and(|first| first <= index);
        segments.iter().rev().find(from).cloned()
    }

    /// Takes the newest segment out, if it is newer than number `sequence`.
    pub(super) fn pop_behind(&self, sequence: u64) -> Option<Arc<Segment>> {
        let mut segments = self.write();
        let newer = segments.back().is_some_and(|segment| segment.header.sequence > sequence);
        if newer { segments.pop_back() } else { None }
    }

    /// The oldest segment.
    pub(super) fn first(&self) -> Option<Arc<Segment>> {
        self.read().front().cloned()
    }

    /// The segment after number `sequence`.
    pub(super) fn after(&self, sequence: u64) -> Option<Arc<Segment>> {
        let segments = self.read();
        let first = segments.front()?.header.sequence;
        segments.get((sequence + 1).checked_sub(first)? as usize).cloned()
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Segments> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Segments> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }
}
