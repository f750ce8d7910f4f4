//! Rows on their way to the store, laid over it: reads see the committed end without a flush.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use onrush_storage::store::{
    Frozen, KeyOrder, KeyRange, Keyspace, RowVisitor, RunBuilder, SortedRun, StoreError, StoreReader,
};

/// Sorted runs in memory are merged when there are more than this.
const RUNS_MAX: usize = 8;

/// One keyspace's rows that the store does not have yet.
#[derive(Default)]
pub(super) struct Pending {
    builder: RunBuilder,
    /// Sorted because somebody read; later runs win.
    runs: Vec<Arc<SortedRun>>,
}

impl Pending {
    /// Adds a row; returns its index, for [`replace`](Self::replace).
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> usize {
        self.builder.push(key, value)
    }

    /// Changes a row that was pushed at `index`; false if it is not there any more: push it again.
    pub(super) fn replace(&mut self, index: usize, key: &[u8], value: &[u8]) -> bool {
        self.builder.replace(index, key, Some(value))
    }

    /// Takes over the rows of a later one.
    pub(super) fn append(&mut self, later: &mut Self) {
        if later.runs.is_empty() {
            return self.builder.append(&mut later.builder);
        }
        self.sorted();
        self.runs.append(&mut later.sorted());
        later.runs.clear();
    }

    /// Gives the memory of a run that is done with to the rows to come.
    pub(super) fn recycle(&mut self, run: SortedRun) {
        if self.builder.is_empty() && self.builder.capacity() < run.capacity() {
            self.builder = run.into_builder();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.builder.len() + self.runs.iter().map(|run| run.len()).sum::<usize>()
    }

    /// Everything pushed so far as sorted runs, for reading.
    pub(super) fn sorted(&mut self) -> Vec<Arc<SortedRun>> {
        if !self.builder.is_empty() {
            self.runs.push(Arc::new(self.builder.finish()));
        }
        if self.runs.len() > RUNS_MAX {
            self.runs = vec![Arc::new(merged(&self.runs))];
        }
        self.runs.clone()
    }

    /// Everything pushed so far as one run; leaves nothing.
    pub(super) fn take(&mut self) -> SortedRun {
        if self.runs.is_empty() {
            return self.builder.finish();
        }
        let runs = self.sorted();
        self.runs.clear();
        merged(&runs)
    }
}

fn merged(runs: &[Arc<SortedRun>]) -> SortedRun {
    let runs: Vec<&SortedRun> = runs.iter().map(Arc::as_ref).collect();
    SortedRun::merge(&runs)
}

/// A frozen store under the rows that are on their way to it.
pub(super) struct Overlay {
    frozen: Frozen,
    history: SortedRun,
    current: SortedRun,
}

impl Overlay {
    /// Lays the generations of history (the elder first) and the rows of current over a store.
    pub(super) fn new(frozen: Frozen, history: [&mut Pending; 2], current: &mut Pending) -> Self {
        let history: Vec<_> = history.into_iter().flat_map(Pending::sorted).collect();
        Self { frozen, history: merged(&history), current: merged(&current.sorted()) }
    }

    fn run(&self, keyspace: Keyspace) -> &SortedRun {
        match keyspace {
            Keyspace::History => &self.history,
            Keyspace::Current => &self.current,
        }
    }
}

fn within(key: &[u8], from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    let after = match from {
        Bound::Included(from) => key >= from,
        Bound::Excluded(from) => key > from,
        Bound::Unbounded => true,
    };
    let before = match to {
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
        Bound::Unbounded => true,
    };
    after && before
}

impl StoreReader for Overlay {
    fn get_with(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        value: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        match self.run(keyspace).get(key) {
            Some(Some(found)) => {
                value(found);
                Ok(true)
            }
            Some(None) => Ok(false),
            None => self.frozen.reader.get_with(keyspace, key, value),
        }
    }

    fn scan(
        &self,
        keyspace: Keyspace,
        range: KeyRange<'_>,
        order: KeyOrder,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), StoreError> {
        let (from, to) = range;
        let run = self.run(keyspace);
        let rows = match from {
            Bound::Included(start) | Bound::Excluded(start) => run.range(start),
            Bound::Unbounded => run.iter(),
        };
        let mut rows: Vec<_> = rows
            .skip_while(|(key, _)| !within(key, from, Bound::Unbounded))
            .take_while(|(key, _)| within(key, Bound::Unbounded, to))
            .collect();
        if order == KeyOrder::Descending {
            rows.reverse();
        }
        lay_over(&rows, order, row, |visit| self.frozen.reader.scan(keyspace, range, order, visit))
    }

    fn freeze(&self) -> Result<Frozen, StoreError> {
        self.frozen.reader.freeze()
    }
}

type Pushed<'a> = (&'a [u8], Option<&'a [u8]>);

/// Merges `over` (in scan order) with what `scan` visits; of equal keys the upper row wins.
fn lay_over(
    over: &[Pushed<'_>],
    order: KeyOrder,
    row: &mut RowVisitor<'_>,
    scan: impl FnOnce(&mut RowVisitor<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut upper = over.iter().peekable();
    let mut broken = false;
    scan(&mut |key, value| {
        let comes_first = |ahead: &[u8]| match order {
            KeyOrder::Ascending => ahead < key,
            KeyOrder::Descending => ahead > key,
        };
        while let Some((ahead, held)) = upper.next_if(|(ahead, _)| comes_first(ahead)) {
            if held.is_some_and(|held| row(ahead, held).is_break()) {
                broken = true;
                return ControlFlow::Break(());
            }
        }
        let flow = match upper.next_if(|(same, _)| *same == key) {
            Some((_, Some(held))) => row(key, held),
            Some((_, None)) => ControlFlow::Continue(()),
            None => row(key, value),
        };
        broken = flow.is_break();
        flow
    })?;
    if !broken {
        for (key, held) in upper {
            if held.is_some_and(|held| row(key, held).is_break()) {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use onrush_storage::store::{MemoryStore, Store};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_as_if_the_rows_were_stored(
            below in prop::collection::btree_map(0u8..40, 0u8..9, 0..20),
            above in prop::collection::vec((0u8..40, 0u8..9), 0..20),
            from in 0u8..40, len in 0u8..20, most in 1usize..12,
        ) {
            let mut store = MemoryStore::new();
            let mut run = SortedRun::builder();
            for (key, value) in &below {
                run.push(&[*key], Some(&[*value]));
            }
            store.ingest(Keyspace::Current, &run.finish(), 1).unwrap();
            let mut model: BTreeMap<u8, u8> = below.clone();
            let (mut elder, mut younger) = (Pending::default(), Pending::default());
            let mut pending = Pending::default();
            for (at, (key, value)) in above.iter().enumerate() {
                pending.push(&[*key], Some(&[*value]));
                model.insert(*key, *value);
                if at % 3 == 0 {
                    pending.sorted();
                }
            }
            let frozen = store.reader().freeze().unwrap();
            let overlay = Overlay::new(frozen, [&mut elder, &mut younger], &mut pending);
            let bounds = ([from], [from.saturating_add(len)]);
            let (low, high) = (Bound::Included(bounds.0.as_slice()), Bound::Excluded(bounds.1.as_slice()));
            let mut expected: Vec<(u8, u8)> = model.range(from..from.saturating_add(len)).map(|(key, value)| (*key, *value)).collect();
            for order in [KeyOrder::Ascending, KeyOrder::Descending] {
                let mut found = Vec::new();
                let mut visit = |key: &[u8], value: &[u8]| {
                    found.push((key[0], value[0]));
                    if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                };
                overlay.scan(Keyspace::Current, (low, high), order, &mut visit).unwrap();
                let wanted: Vec<_> = expected.iter().take(most).copied().collect();
                prop_assert_eq!(found, wanted);
                expected.reverse();
            }
            for key in 0u8..40 {
                let found = overlay.get(Keyspace::Current, &[key]).unwrap();
                prop_assert_eq!(found, model.get(&key).map(|value| vec![*value]));
            }
        }
    }
}
