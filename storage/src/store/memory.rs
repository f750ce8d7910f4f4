//! The store of simulations and tests: two maps that outlive the engine.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{
    Frozen, KeyOrder, KeyRange, Keyspace, RowVisitor, SortedRun, Store, StoreError, StoreReader, check_run,
    is_empty_range,
};

type Map = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// How many runs back [`MemoryStore::lose_last_runs`] reaches.
const UNDO_RUNS: usize = 64;

/// Rows in memory. Clones share the rows, as processes share a disk: keep one in the simulation
/// while the engine that owns the other restarts.
#[derive(Clone, Default)]
pub struct MemoryStore {
    tables: Arc<RwLock<Tables>>,
}

#[derive(Default)]
struct Tables {
    history: Table,
    current: Table,
}

/// One keyspace. The map is shared with frozen readers and copied on the first write after one.
#[derive(Default)]
struct Table {
    rows: Arc<Map>,
    applied: u64,
    undo: VecDeque<Undo>,
}

/// A key's value before a run touched it.
type Before = Option<Box<[u8]>>;

/// What one run overwrote.
struct Undo {
    applied: u64,
    rows: Vec<(Box<[u8]>, Before)>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the last `count` runs of one keyspace, whole, as a crash before their sync would.
    /// Returns how many were there to lose; at most 64.
    pub fn lose_last_runs(&self, keyspace: Keyspace, count: usize) -> usize {
        let mut tables = self.write();
        let table = tables.table_mut(keyspace);
        (0..count).take_while(|_| table.undo_last()).count()
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn table(&self, keyspace: Keyspace) -> &Table {
        match keyspace {
            Keyspace::History => &self.history,
            Keyspace::Current => &self.current,
        }
    }

    fn table_mut(&mut self, keyspace: Keyspace) -> &mut Table {
        match keyspace {
            Keyspace::History => &mut self.history,
            Keyspace::Current => &mut self.current,
        }
    }
}

impl Table {
    fn apply(&mut self, run: &SortedRun, applied: u64) {
        let map = Arc::make_mut(&mut self.rows);
        let overwritten = run
            .iter()
            .map(|(key, value)| {
                let before = match value {
                    Some(value) => map.insert(key.into(), value.into()),
                    None => map.remove(key),
                };
                (key.into(), before)
            })
            .collect();
        self.undo.push_back(Undo { applied: self.applied, rows: overwritten });
        if self.undo.len() > UNDO_RUNS {
            self.undo.pop_front();
        }
        self.applied = applied;
    }

    fn without_undo(&self) -> Self {
        Self { rows: self.rows.clone(), applied: self.applied, undo: VecDeque::new() }
    }

    fn undo_last(&mut self) -> bool {
        let Some(undo) = self.undo.pop_back() else { return false };
        let map = Arc::make_mut(&mut self.rows);
        for (key, before) in undo.rows {
            match before {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        self.applied = undo.applied;
        true
    }
}

impl Store for MemoryStore {
    fn applied(&self, keyspace: Keyspace) -> u64 {
        self.read().table(keyspace).applied
    }

    fn ingest(&mut self, keyspace: Keyspace, run: &SortedRun, applied: u64) -> Result<(), StoreError> {
        let mut tables = self.write();
        let table = tables.table_mut(keyspace);
        check_run(keyspace, run, table.applied, applied)?;
        table.apply(run, applied);
        Ok(())
    }

    fn level0_runs(&self, _keyspace: Keyspace) -> usize {
        0
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        Arc::new(self.clone())
    }

    fn disk_bytes(&self) -> u64 {
        let tables = self.read();
        let rows = tables.history.rows.iter().chain(tables.current.rows.iter());
        rows.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl StoreReader for MemoryStore {
    fn get_with(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        value: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        let rows = self.read().table(keyspace).rows.clone();
        Ok(rows.get(key).map(|found| value(found)).is_some())
    }

    fn scan(
        &self,
        keyspace: Keyspace,
        range: KeyRange<'_>,
        order: KeyOrder,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), StoreError> {
        let rows = self.read().table(keyspace).rows.clone();
        if !is_empty_range(range) {
            let rows = rows.range::<[u8], _>(range);
            match order {
                KeyOrder::Ascending => visit(rows, row),
                KeyOrder::Descending => visit(rows.rev(), row),
            }
        }
        Ok(())
    }

    fn freeze(&self) -> Result<Frozen, StoreError> {
        let tables = self.read();
        let frozen =
            Tables { history: tables.history.without_undo(), current: tables.current.without_undo() };
        Ok(Frozen {
            history_applied: frozen.history.applied,
            current_applied: frozen.current.applied,
            reader: Arc::new(Self { tables: Arc::new(RwLock::new(frozen)) }),
        })
    }
}

fn visit<'a>(rows: impl Iterator<Item = (&'a Box<[u8]>, &'a Box<[u8]>)>, row: &mut RowVisitor<'_>) {
    for (key, value) in rows {
        if row(key, value) == ControlFlow::Break(()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: &[(&[u8], Option<&[u8]>)]) -> SortedRun {
        let mut builder = SortedRun::builder();
        for (key, value) in rows {
            builder.push(key, *value);
        }
        builder.finish()
    }

    #[test]
    fn a_crash_loses_whole_runs_of_one_keyspace_and_brings_back_what_they_overwrote() {
        let disk = MemoryStore::new();
        let mut store = disk.clone();
        store.ingest(Keyspace::History, &run(&[(b"a", Some(b"1")), (b"b", Some(b"1"))]), 5).unwrap();
        store.ingest(Keyspace::History, &run(&[(b"a", None), (b"c", Some(b"2"))]), 9).unwrap();
        store.ingest(Keyspace::Current, &run(&[(b"s", Some(b"2"))]), 9).unwrap();
        assert_eq!(disk.lose_last_runs(Keyspace::History, 1), 1);
        assert_eq!((disk.applied(Keyspace::History), disk.applied(Keyspace::Current)), (5, 9));
        assert_eq!(disk.get(Keyspace::History, b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(disk.get(Keyspace::History, b"c").unwrap(), None);
        assert_eq!(disk.lose_last_runs(Keyspace::History, 9), 1, "only one run was left");
        assert_eq!(disk.applied(Keyspace::History), 0);
    }
}
