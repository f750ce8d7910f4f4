//! What all fronts share of Recommendation: what was learned with the positions up to which it was, what was made of
//! it, and the files it is kept in: the counters with their mix, and the models in a directory of their own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwap;
use onrush_proto::{CallerKey, Lsn, ShardId};
use onrush_scoring::model::{Kept, Model as Network, ModelError};

use super::board::{Board, Rows};
use super::counters::{Bounds, Counters};
use super::knowledge::Knowledge;
use super::mix::{Mix, Model};
use super::ml::Ml;
use super::models::{Found, Models, Refused};
use super::operation::Operations;
use super::outlook::{Outlook, STRETCH, Sight};
use super::purchase::{Lesson, Listing};
use super::question::Question;
use super::rank::{Asked, Ranked};
use super::scorers::Scorers;
use super::snapshot::{Snapshot, SnapshotError};
use crate::backend::Backend;
use crate::status::Denial;

/// The counters, in the data directory.
const COUNTERS_FILE: &str = "recommendation.counters";
/// Directory of the models there.
const MODEL_DIRECTORY: &str = "recommendation";

/// What is known, and up to where each shard's log is in it; which version that is.
struct Learned {
    versions: Versions,
    knowledge: Knowledge,
    cursors: Vec<Lsn>,
}

/// What was published.
#[derive(Clone)]
struct Versions {
    /// What ranks.
    ranks: u64,
    /// The highest that was given: a model may rank that is older, because the newer ones cannot be used.
    last: u64,
    /// The last mix that was published without a model, which withdrew all models before it.
    alone: u64,
    /// Newer models, which cannot be used.
    refused: Arc<[Refused]>,
}

/// What can be put to use instead of what ranks now.
pub(super) struct Candidate {
    pub(super) mix: Mix,
    /// `None` for the mix alone.
    pub(super) network: Option<Kept>,
}

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Counters(#[from] SnapshotError),
}

/// Learns from the log, and tells what it learned.
pub struct Learner {
    pub(super) backend: Backend,
    /// The network that `ML_MODEL_PATH` names.
    pub(super) named: Arc<Ml>,
    path: PathBuf,
    models: Models,
    learned: RwLock<Learned>,
    /// Swapped, not locked: threads that serve look at it.
    board: ArcSwap<Board>,
    /// Held by who writes the file: the counting thread or a training.
    saving: Mutex<()>,
    pub(super) operations: Operations,
    scorers: Scorers,
}

impl Learner {
    /// A learner that knows nothing yet, and keeps what it learns in a data directory.
    pub fn new(backend: Backend, data_dir: &Path, named: Arc<Ml>) -> Self {
        let nothing = Learned::nothing(backend.shards(), Model::default(), Found::default(), &named);
        let learned = RwLock::new(nothing);
        Self {
            backend,
            named,
            path: data_dir.join(COUNTERS_FILE),
            models: Models::of(data_dir.join(MODEL_DIRECTORY)),
            learned,
            board: ArcSwap::default(),
            saving: Mutex::default(),
            operations: Operations::default(),
            scorers: Scorers::default(),
        }
    }

    /// Goes on from what was kept, as far as it can be used.
    pub fn restore(&self) {
        let snapshot = self.kept_counters();
        let model = snapshot.as_ref().map(|snapshot| snapshot.model).unwrap_or_default();
        let found = self.models.newest(model.alone);
        let learned = match snapshot {
            Some(Snapshot { cursors, counted, .. }) => {
                let cursors = cursors.into_iter().map(Lsn).collect();
                let counters = Counters::of(Bounds::RECOMMENDED, counted);
                Learned { cursors, ..Learned::of(counters, model, found, &self.named) }
            }
            None => Learned::nothing(self.backend.shards(), model, found, &self.named),
        };
        *self.write() = learned;
    }

    /// The counters as they were kept last, if they can be used.
    fn kept_counters(&self) -> Option<Snapshot> {
        let (directory, shards) = (directory(&self.backend), self.backend.shards());
        let read = Snapshot::read(&self.path);
        let read = read.and_then(|found| found.map(|found| found.of(directory, shards)).transpose());
        read.unwrap_or_else(|error| {
            let file = self.path.display();
            tracing::warn!(%file, %error, "the snapshot is not used: counters are rebuilt from the log");
            None
        })
    }

    /// The version of what ranks.
    pub(super) fn version(&self) -> u64 {
        self.read().versions.ranks
    }

    /// Models that are newer than what ranks, and cannot be used.
    pub(super) fn refused(&self) -> Arc<[Refused]> {
        self.read().versions.refused.clone()
    }

    /// Puts a candidate to use, between one answer and the next; the new version. If it cannot be kept, what ranks
    /// stays. From then on no network that is named ranks.
    pub(super) fn publish(&self, candidate: Candidate, now_us: u64) -> Result<u64, PublishError> {
        let Candidate { mix, network } = candidate;
        let (before, last_mix, last) = {
            let learned = self.read();
            (learned.versions.clone(), learned.knowledge.mix, learned.knowledge.network().cloned())
        };
        let version = before.last + 1;
        let versions = Versions { ranks: version, last: version, refused: Arc::default(), ..before };
        match network {
            // The file says which version it is, whatever becomes of the counters'.
            Some(mut kept) => {
                kept.origin.version = version;
                // What ranks is what was written.
                let network = self.models.write(&kept)?;
                self.swap(versions, mix, Some(Arc::new(network)), now_us);
                self.save();
                let ranked = last.map(|network| network.origin.version);
                let newest: Vec<u64> = ranked.into_iter().chain([version]).collect();
                self.models.keep_only(&newest);
            }
            // Files of older models are passed over once the counters' says that the mix stands alone.
            None => {
                self.swap(Versions { alone: version, ..versions }, mix, None, now_us);
                if let Err(error) = self.write_counters() {
                    self.swap(before, last_mix, last, now_us);
                    return Err(error.into());
                }
                self.models.keep_only(&[]);
            }
        }
        Ok(version)
    }

    fn swap(&self, versions: Versions, mix: Mix, network: Option<Arc<Network>>, now_us: u64) {
        let outlook = network
            .as_ref()
            .and_then(|model| self.seen(|knowledge| Some(knowledge.sight_of(Some(model.clone()), now_us))));
        let mut learned = self.write();
        let named = named_at(versions.last, &self.named);
        let last_versions = std::mem::replace(&mut learned.versions, versions);
        let last = learned.knowledge.put(mix, network, named);
        let unused = learned.knowledge.take(outlook);
        drop(learned);
        drop((last_versions, last, unused));
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
        self.board.load_full()
    }

    /// Puts in order what is counted. It is looked at in stretches and put in order beside them: whoever counts waits for
    /// one stretch at most, and so does who asks behind them.
    pub(super) fn refresh(&self, now_us: u64) {
        let board = Arc::new(self.charted(now_us));
        let outlook = self.seen(|knowledge| knowledge.sight(now_us));
        let last = self.write().knowledge.take(outlook);
        self.board.store(board);
        drop(last);
    }

    /// What everybody may be shown as of a time. Begun anew if products get other places meanwhile.
    fn charted(&self, now_us: u64) -> Board {
        loop {
            let (mut rows, generation) = (Rows::at(now_us), self.look(|known| known.counters.generation()));
            let stretch = |rows: &mut Rows| {
                self.look(|Knowledge { counters, .. }| {
                    (counters.generation() == generation).then(|| rows.go_on(counters, STRETCH))
                })
            };
            loop {
                match stretch(&mut rows) {
                    Some(true) => {}
                    Some(false) => return rows.board(generation),
                    None => break,
                }
            }
        }
    }

    /// An outlook, which `begin` begins; the same.
    fn seen(&self, begin: impl Fn(&Knowledge) -> Option<Sight>) -> Option<Outlook> {
        loop {
            let mut sight = self.look(&begin)?;
            let stretch = |sight: &mut Sight| {
                sight.settle();
                self.look(|Knowledge { counters, .. }| sight.is_of(counters).then(|| sight.go_on(counters)))
            };
            loop {
                match stretch(&mut sight) {
                    Some(true) => {}
                    Some(false) => return sight.outlook(),
                    None => break,
                }
            }
        }
    }

    /// Has candidates put in order on a thread that ranks; at most so many stay.
    ///
    /// # Errors
    /// Too many wait for these already.
    pub(super) async fn rank(
        self: &Arc<Self>,
        asked: &Arc<Asked>,
        board: &Arc<Board>,
        most: usize,
    ) -> Result<Ranked, Denial> {
        let (learner, asked, board) = (self.clone(), asked.clone(), board.clone());
        let question = |told| Question { learner, asked, board, most, ranked: Ranked::spare(), told };
        self.scorers.ask(question).await
    }

    /// Looks at what is known, on a thread that ranks.
    ///
    /// # Errors
    /// Too many wait for these already.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&Knowledge) -> T + Send + 'static,
    ) -> Result<T, Denial> {
        self.later(|learner| learner.look(look)).await
    }

    /// Does something on a thread that ranks.
    ///
    /// # Errors
    /// Too many wait for these already.
    pub(super) async fn later<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Denial> {
        let learner = self.clone();
        self.scorers.run(move || job(&learner)).await
    }

    /// Looks at what is known. Learning waits meanwhile, and this for learning: nothing for a thread that serves.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Knowledge) -> T) -> T {
        look(&self.read().knowledge)
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
        let Learned { knowledge, cursors, .. } = &mut *learned;
        let Some(counted) = cursors.get_mut(usize::from(shard.0)) else { return };
        let news = lessons.iter().filter(|(lsn, _)| lsn > counted);
        news.for_each(|(_, lesson)| knowledge.counters.learn(lesson));
        *counted = cursor.max(*counted);
    }

    /// Learns of products as the catalogue has them.
    pub(super) fn list(&self, listings: impl Iterator<Item = Listing>) {
        let mut learned = self.write();
        listings.for_each(|listing| learned.knowledge.counters.learn(&Lesson::Listed(listing)));
    }

    /// Forgets everything: the log is not the one that was counted.
    pub(super) fn begin_anew(&self) {
        let mut learned = self.write();
        let Knowledge { counters, mix, .. } = &learned.knowledge;
        let counters = Counters::new(Bounds::RECOMMENDED).instead_of(counters);
        let (network, named) = (learned.knowledge.network().cloned(), learned.knowledge.named().clone());
        learned.knowledge = Knowledge::new(counters, *mix, network, named);
        learned.cursors.fill(Lsn(0));
        self.board.store(Arc::default());
    }

    /// Keeps what is counted in the file.
    pub(super) fn save(&self) {
        if let Err(error) = self.write_counters() {
            self.unsaved(&error);
        }
    }

    fn write_counters(&self) -> Result<(), SnapshotError> {
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = {
            // What is copied is shared until it changes: who counts waits for that, and not for the file.
            let learned = self.read();
            Snapshot {
                directory: directory(&self.backend),
                cursors: learned.cursors.iter().map(|cursor| cursor.0).collect(),
                model: learned.model(),
                counted: learned.knowledge.counters.counted().clone(),
            }
        };
        snapshot.write(&self.path)
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
    fn nothing(shards: u16, model: Model, found: Found, named: &Arc<Ml>) -> Self {
        let cursors = vec![Lsn(0); usize::from(shards)];
        Self { cursors, ..Self::of(Counters::new(Bounds::RECOMMENDED), model, found, named) }
    }

    /// Without positions. The files of counters and models may be of different times: the later version counts.
    fn of(counters: Counters, model: Model, found: Found, named: &Arc<Ml>) -> Self {
        let Found { network, refused, highest } = found;
        let last = model.version.max(highest);
        let ranks = network.as_ref().map_or(last, |network| network.origin.version);
        let versions = Versions { ranks, last, alone: model.alone, refused: refused.into() };
        let knowledge = Knowledge::new(counters, model.mix, network, named_at(last, named));
        Self { versions, knowledge, cursors: Vec::new() }
    }

    /// What was published, as it is kept.
    fn model(&self) -> Model {
        let Versions { last, alone, .. } = self.versions;
        Model { version: last, alone, mix: self.knowledge.mix }
    }
}

/// The network that is named ranks until something is published, which was better.
fn named_at(version: u64, named: &Arc<Ml>) -> Arc<Ml> {
    if version == 0 { named.clone() } else { Arc::default() }
}

/// What names the data directory: a hash under its secret. No caller's name begins like this.
fn directory(backend: &Backend) -> u128 {
    backend.hasher().key(CallerKey { caller: "\0recommendation", key: "snapshot" }).0
}

#[cfg(test)]
mod tests;
