//! What all fronts share of Recommendation: the counters with their positions, what was made of them,
//! and the file they are kept in.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use onrush_proto::{CallerKey, Lsn, ShardId};

use super::board::Board;
use super::counters::{Bounds, Counters};
use super::mix::{Mix, Model};
use super::operation::Operations;
use super::purchase::{Lesson, Listing};
use super::snapshot::{Snapshot, SnapshotError};
use crate::backend::Backend;

/// The counters, and up to where each shard's log is in them; the model in use.
struct Learned {
    model: Model,
    counters: Counters,
    cursors: Vec<Lsn>,
}

/// Learns from the log, and tells what it learned.
pub struct Learner {
    pub(super) backend: Backend,
    path: PathBuf,
    learned: RwLock<Learned>,
    board: RwLock<Arc<Board>>,
    /// Held by who writes the file: the counting thread or a training.
    saving: Mutex<()>,
    pub(super) operations: Operations,
}

impl Learner {
    /// A learner that knows nothing yet and keeps what it learns at `path`.
    pub fn new(backend: Backend, path: PathBuf) -> Self {
        let learned = RwLock::new(Learned::nothing(backend.shards()));
        Self {
            backend,
            path,
            learned,
            board: RwLock::default(),
            saving: Mutex::default(),
            operations: Operations::default(),
        }
    }

    /// Goes on from the snapshot, if there is one that can be used.
    pub fn restore(&self) {
        let (directory, shards) = (directory(&self.backend), self.backend.shards());
        let read = Snapshot::read(&self.path);
        match read.and_then(|found| found.map(|found| found.of(directory, shards)).transpose()) {
            Ok(Some(Snapshot { cursors, model, counted, .. })) => {
                *self.write() = Learned {
                    model,
                    counters: Counters::of(Bounds::RECOMMENDED, counted),
                    cursors: cursors.into_iter().map(Lsn).collect(),
                };
            }
            Ok(None) => {}
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, %error, "the snapshot is not used: counters are rebuilt from the log");
            }
        }
    }

    /// The model in use.
    pub(super) fn model(&self) -> Model {
        self.read().model
    }

    /// Puts another mix to use, between one answer and the next; the new version.
    pub(super) fn publish(&self, mix: Mix) -> u64 {
        let version = {
            let model = &mut self.write().model;
            *model = Model { version: model.version + 1, mix };
            model.version
        };
        self.save();
        version
    }

    /// Ends what is under way, and keeps what was learned.
    pub fn close(&self) {
        self.operations.stop();
        self.save();
    }

    /// How many records there are up to these ends that are not looked at.
    pub(super) fn records_behind(&self, ends: &[Lsn]) -> u64 {
        let learned = self.read();
        let behind = ends.iter().zip(&learned.cursors).map(|(end, cursor)| end.0.saturating_sub(cursor.0));
        behind.sum()
    }

    /// What everybody may be shown, as it was last put in order.
    pub(super) fn board(&self) -> Arc<Board> {
        self.board.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts in order what is counted.
    pub(super) fn refresh(&self, now_us: u64) {
        let board = Arc::new(Board::of(&self.read().counters, now_us));
        *self.board.write().unwrap_or_else(PoisonError::into_inner) = board;
    }

    /// Looks at the counters. Learning waits meanwhile.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Counters) -> T) -> T {
        look(&self.read().counters)
    }

    /// Up to where a shard's log is counted.
    pub(super) fn cursor(&self, shard: ShardId) -> Lsn {
        self.read().cursors.get(usize::from(shard.0)).copied().unwrap_or_default()
    }

    /// True if nothing was ever counted.
    pub(super) fn is_new(&self) -> bool {
        self.read().cursors.iter().all(|cursor| *cursor == Lsn(0))
    }

    /// Learns what a shard's records up to `cursor` say. What is counted already is passed over.
    pub(super) fn learn(&self, shard: ShardId, cursor: Lsn, lessons: &[(Lsn, Lesson)]) {
        let mut learned = self.write();
        let Learned { counters, cursors, .. } = &mut *learned;
        let Some(counted) = cursors.get_mut(usize::from(shard.0)) else { return };
        let news = lessons.iter().filter(|(lsn, _)| lsn > counted);
        news.for_each(|(_, lesson)| counters.learn(lesson));
        *counted = cursor.max(*counted);
    }

    /// Learns of products as the catalogue has them.
    pub(super) fn list(&self, listings: impl Iterator<Item = Listing>) {
        let mut learned = self.write();
        listings.for_each(|listing| learned.counters.learn(&Lesson::Listed(listing)));
    }

    /// Forgets everything: the log is not the one that was counted.
    pub(super) fn begin_anew(&self) {
        let mut learned = self.write();
        *learned = Learned { model: learned.model, ..Learned::nothing(self.backend.shards()) };
    }

    /// Keeps what is counted in the file.
    pub(super) fn save(&self) {
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = {
            let learned = self.read();
            Snapshot {
                directory: directory(&self.backend),
                cursors: learned.cursors.iter().map(|cursor| cursor.0).collect(),
                model: learned.model,
                counted: learned.counters.counted().clone(),
            }
        };
        if let Err(error) = snapshot.write(&self.path) {
            self.unsaved(&error);
        }
    }

    fn unsaved(&self, error: &SnapshotError) {
        let file = self.path.display();
        tracing::warn!(%file, %error, "the counters are not kept: the log will be read again");
    }

    fn read(&self) -> RwLockReadGuard<'_, Learned> {
        self.learned.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Learned> {
        self.learned.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Learned {
    fn nothing(shards: u16) -> Self {
        let model = Model::default();
        Self {
            model,
            counters: Counters::new(Bounds::RECOMMENDED),
            cursors: vec![Lsn(0); usize::from(shards)],
        }
    }
}

/// What names the data directory: a hash under its secret. No caller's name begins like this.
fn directory(backend: &Backend) -> u128 {
    backend.hasher().key(CallerKey { caller: "\0recommendation", key: "snapshot" }).0
}
