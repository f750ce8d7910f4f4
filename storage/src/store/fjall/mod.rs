//! The store on disk: fjall's LSM trees, fed by ingestion only.
//!
//! Why ingestion only: a sorted run costs a third to a tenth of the CPU of the same rows in write
//! batches, and a finished ingestion is durable without the journal (see [`FjallStore`]).

mod compactor;
mod manifest;
mod options;
mod reader;

use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use ::fjall::{AbstractTree, Database, Keyspace as Tree, PersistMode, Readable, Snapshot};
use compactor::Compactor;
pub use options::{FjallOptions, TreeOptions};
use reader::FjallReader;

use super::{Keyspace, OpenError, RESERVED_SUFFIX, SortedRun, Store, StoreError, StoreReader, check_run};

/// fjall's manifest counts the runs of a level in one byte; one more would corrupt it silently.
const LEVEL0_RUNS_FORMAT: usize = 250;

/// Two keyspaces in one fjall database.
///
/// # Durability
/// Read from fjall 3.1.13 and its lsm-tree 3.1.10: an ingestion syncs the table file and its
/// folder, then the new manifest and its folder, then swaps the `current` pointer by a synced
/// rename. The run exists from that rename on, whole and durable; before it, its tables are orphans
/// that the next open deletes. The journal is never written, hence `manual_journal_persist` and no
/// persist call. What fjall leaves unsynced is the entry of a new keyspace in its parent folder;
/// [`open`](Self::open) syncs it.
///
/// # Compaction
/// fjall's own worker looks for work once per ingestion and has no backpressure: level 0 piles up,
/// and its run count is one byte in the manifest. So fjall runs without workers here, and a thread
/// of ours compacts until there is nothing to do; [`ingest`](Store::ingest) waits for it on a
/// condition while level 0 is over the limit.
///
/// # Cost
/// `examples/store_cost.rs` measures it, `docs/benchmarks.md` has the figures. What counts is that
/// runs end at bucket boundaries: a run above everything older is moved down without being read. A
/// second version of an order costs more than the first, least in [`Keyspace::Current`]; runs that
/// share a bucket are merged.
pub struct FjallStore {
    trees: Trees,
    heads: [Head; 2],
    compactor: Compactor,
    options: FjallOptions,
    failure: Option<String>,
    /// Counts readers: each holds a clone.
    readers: Arc<()>,
}

/// The last row of a keyspace: the applied index under the highest row key, suffixed.
#[derive(Default)]
struct Head {
    applied: u64,
    key: Vec<u8>,
}

/// What store, readers and compactor share. The database comes last: it unlocks the directory.
#[derive(Clone)]
struct Trees {
    history: Tree,
    current: Tree,
    database: Database,
}

impl Trees {
    fn tree(&self, keyspace: Keyspace) -> &Tree {
        match keyspace {
            Keyspace::History => &self.history,
            Keyspace::Current => &self.current,
        }
    }
}

impl FjallStore {
    /// Opens the store in `dir`, creating it if there is none.
    ///
    /// Options of an existing store that concern the layout of files keep the values it was created with.
    pub fn open(dir: &Path, options: FjallOptions) -> Result<Self, OpenError> {
        manifest::verify(dir)?;
        let trees = guarded(dir, || open_trees(dir, &options))?;
        let mut heads = [Head::default(), Head::default()];
        for keyspace in Keyspace::ALL {
            heads[keyspace as usize] =
                read_head(&trees.database.snapshot(), &trees, keyspace).map_err(|failure| {
                    OpenError::Damaged { dir: dir.to_path_buf(), detail: failure.to_string() }
                })?;
        }
        let compactor = Compactor::start(trees.clone(), &options)
            .map_err(|source| OpenError::Io { dir: dir.to_path_buf(), source })?;
        Ok(Self { trees, heads, compactor, options, failure: None, readers: Arc::new(()) })
    }

    /// Blocks until compaction has nothing left to do: for measurements and tests.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.compactor.wait_idle()
    }

    fn write_run(&self, keyspace: Keyspace, run: &SortedRun, head: &Head) -> ::fjall::Result<()> {
        let mut ingestion = self.trees.tree(keyspace).start_ingestion()?;
        for (key, value) in run {
            match value {
                Some(value) => ingestion.write(key, value)?,
                None => ingestion.write_tombstone(key)?,
            }
        }
        ingestion.write(&head.key[..], head.applied.to_le_bytes())?;
        ingestion.finish()
    }
}

impl Store for FjallStore {
    fn applied(&self, keyspace: Keyspace) -> u64 {
        self.heads[keyspace as usize].applied
    }

    fn ingest(&mut self, keyspace: Keyspace, run: &SortedRun, applied: u64) -> Result<(), StoreError> {
        if let Some(detail) = &self.failure {
            return Err(StoreError::Poisoned { detail: detail.clone() });
        }
        check_run(keyspace, run, self.applied(keyspace), applied)?;
        self.compactor.wait_below(keyspace, self.options.level0_runs_max)?;
        let runs = self.level0_runs(keyspace);
        if runs >= LEVEL0_RUNS_FORMAT {
            return Err(StoreError::Level0Full { keyspace, max: LEVEL0_RUNS_FORMAT, runs });
        }
        let head = self.heads[keyspace as usize].after(run, applied);
        if let Err(error) = self.write_run(keyspace, run, &head) {
            self.failure = Some(error.to_string());
            return Err(store_error(keyspace, error));
        }
        self.heads[keyspace as usize] = head;
        self.compactor.wake();
        Ok(())
    }

    fn level0_runs(&self, keyspace: Keyspace) -> usize {
        self.trees.tree(keyspace).tree.l0_run_count()
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        Arc::new(FjallReader::live(self.trees.clone(), self.readers.clone()))
    }

    fn disk_bytes(&self) -> u64 {
        Keyspace::ALL.iter().map(|keyspace| self.trees.tree(*keyspace).disk_space()).sum()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let readers = Arc::strong_count(&self.readers) - 1;
        let stopped = self.compactor.stop();
        if readers > 0 {
            return Err(StoreError::ReadersOpen { readers });
        }
        stopped
    }
}

fn open_trees(dir: &Path, options: &FjallOptions) -> ::fjall::Result<Trees> {
    let database = Database::builder(dir)
        .cache_size(options.cache_bytes)
        .manual_journal_persist(true)
        .worker_threads_unchecked(0)
        .open()?;
    let tree = |keyspace: Keyspace| database.keyspace(keyspace.name(), || options.layout(keyspace));
    let trees = Trees {
        history: tree(Keyspace::History)?,
        current: tree(Keyspace::Current)?,
        database: database.clone(),
    };
    database.persist(PersistMode::SyncAll)?;
    for folder in [Some(&*dir.join("keyspaces")), Some(dir), dir.parent()].into_iter().flatten() {
        if !folder.as_os_str().is_empty() {
            File::open(folder)?.sync_all()?;
        }
    }
    Ok(trees)
}

/// fjall panics on some damage where it could return an error; both mean the same here.
fn guarded<T>(dir: &Path, open: impl FnOnce() -> ::fjall::Result<T>) -> Result<T, OpenError> {
    let damaged = |detail| OpenError::Damaged { dir: dir.to_path_buf(), detail };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(match io_source(error) {
            Ok(source) if is_damage(&source) => damaged(source.to_string()),
            Ok(source) => OpenError::Io { dir: dir.to_path_buf(), source },
            Err(::fjall::Error::Locked) => OpenError::Locked { dir: dir.to_path_buf() },
            Err(error) => damaged(error.to_string()),
        }),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(damaged(format!("a panic while opening: {said}")))
        }
    }
}

impl Head {
    /// The head once `run` is in: its key only ever grows, so it stays the last of the keyspace.
    fn after(&self, run: &SortedRun, applied: u64) -> Self {
        // Compared with their suffixes: `a` sorts before `ab`, but its suffixed key after.
        let row_key = run.iter().next_back().map_or(&[][..], |(key, _)| key);
        let key = [row_key, &RESERVED_SUFFIX].concat().max(self.key.clone());
        Self { applied, key }
    }
}

/// The head of a keyspace as of a moment.
fn read_head(moment: &Snapshot, trees: &Trees, keyspace: Keyspace) -> Result<Head, StoreError> {
    let Some(last) = moment.last_key_value(trees.tree(keyspace)) else { return Ok(Head::default()) };
    let (key, value) = last.into_inner().map_err(|error| store_error(keyspace, error))?;
    match (key.ends_with(&RESERVED_SUFFIX), <[u8; 8]>::try_from(&value[..])) {
        (true, Ok(applied)) => Ok(Head { applied: u64::from_le_bytes(applied), key: key.to_vec() }),
        _ => Err(StoreError::Damaged {
            keyspace,
            detail: format!("a last row without applied index: key {key:02x?}"),
        }),
    }
}

/// The error of the file system inside fjall's error, if that is what it is.
fn io_source(error: ::fjall::Error) -> Result<io::Error, ::fjall::Error> {
    match error {
        ::fjall::Error::Io(source) | ::fjall::Error::Storage(::fjall::LsmError::Io(source)) => Ok(source),
        other => Err(other),
    }
}

/// A file that is missing, short, or unreadable as what it should be is damage; a refusal is not.
fn is_damage(source: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, Other, UnexpectedEof};
    matches!(source.kind(), AlreadyExists | InvalidData | InvalidInput | NotFound | Other | UnexpectedEof)
}

fn store_error(keyspace: Keyspace, error: ::fjall::Error) -> StoreError {
    match io_source(error) {
        Ok(source) if is_damage(&source) => StoreError::Damaged { keyspace, detail: source.to_string() },
        Ok(source) => StoreError::Io { keyspace, source },
        Err(error) => StoreError::Damaged { keyspace, detail: error.to_string() },
    }
}
