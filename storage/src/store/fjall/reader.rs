//! Reads of a fjall store: live, or frozen at one moment.

use std::{ops::ControlFlow, sync::Arc};

use ::fjall::{Guard, Readable, Snapshot};

use super::{Trees, read_head, store_error};
use crate::store::{
    Frozen, KeyOrder, KeyRange, Keyspace, RESERVED_SUFFIX, RowVisitor, StoreError, StoreReader,
    is_empty_range,
};

pub(super) struct FjallReader {
    trees: Trees,
    /// The moment a frozen reader sees; a live one takes a new one for every call.
    moment: Option<Snapshot>,
    readers: Arc<()>,
}

impl FjallReader {
    pub(super) fn live(trees: Trees, readers: Arc<()>) -> Self {
        Self { trees, moment: None, readers }
    }

    fn moment(&self) -> Snapshot {
        self.moment.clone().unwrap_or_else(|| self.trees.database.snapshot())
    }
}

impl StoreReader for FjallReader {
    fn get_with(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        value: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        if key.is_empty() || key.ends_with(&RESERVED_SUFFIX) {
            return Ok(false);
        }
        let tree = self.trees.tree(keyspace);
        let found = match &self.moment {
            Some(moment) => moment.get(tree, key),
            None => tree.get(key),
        };
        let found = found.map_err(|error| store_error(keyspace, error))?;
        Ok(found.map(|found| value(&found)).is_some())
    }

    fn scan(
        &self,
        keyspace: Keyspace,
        range: KeyRange<'_>,
        order: KeyOrder,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), StoreError> {
        if is_empty_range(range) {
            return Ok(());
        }
        let rows = self.moment().range::<&[u8], _>(self.trees.tree(keyspace), range);
        match order {
            KeyOrder::Ascending => visit(keyspace, rows, row),
            KeyOrder::Descending => visit(keyspace, rows.rev(), row),
        }
    }

    fn freeze(&self) -> Result<Frozen, StoreError> {
        let moment = self.moment();
        let applied = |keyspace| Ok(read_head(&moment, &self.trees, keyspace)?.applied);
        Ok(Frozen {
            history_applied: applied(Keyspace::History)?,
            current_applied: applied(Keyspace::Current)?,
            reader: Arc::new(Self {
                trees: self.trees.clone(),
                moment: Some(moment),
                readers: self.readers.clone(),
            }),
        })
    }
}

fn visit(
    keyspace: Keyspace,
    rows: impl Iterator<Item = Guard>,
    row: &mut RowVisitor<'_>,
) -> Result<(), StoreError> {
    for guard in rows {
        let (key, value) = guard.into_inner().map_err(|error| store_error(keyspace, error))?;
        if !key.ends_with(&RESERVED_SUFFIX) && row(&key, &value) == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(())
}
