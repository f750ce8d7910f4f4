//! Replay: memory + store is the fold of the log, row by row, live and recovered.

use onrush_engine::flush::{Stored, StoredError};
use onrush_engine::shard::Shard;
use onrush_engine::tables::Memory;
use onrush_proto::{HoldState, IdempotencyKey};

use crate::mirror::Book;
use crate::report::{Verdict, Violation};

const NAME: &str = "replay";

/// Checks that a shard and its store together hold what the book holds, no more and no less.
pub(crate) fn agrees(book: &Book, shard: &Shard, stored: &Stored, whose: &str) -> Verdict {
    let view = View { book, shard, stored, whose };
    if shard.end().0 != book.end_lsn {
        return view.differ("end", book.end_lsn, shard.end());
    }
    view.small_tables()?;
    view.memory_is_known()?;
    view.rows().map_err(|failure| match failure {
        Failed::Differs(violation) => violation,
        Failed::Store(error) => Violation::new(NAME, "a store that reads", error.to_string()),
    })
}

struct View<'a> {
    book: &'a Book,
    shard: &'a Shard,
    stored: &'a Stored,
    whose: &'a str,
}

enum Failed {
    Differs(Violation),
    Store(StoredError),
}

impl From<StoredError> for Failed {
    fn from(error: StoredError) -> Self {
        Self::Store(error)
    }
}

impl From<Violation> for Failed {
    fn from(violation: Violation) -> Self {
        Self::Differs(violation)
    }
}

impl View<'_> {
    fn differ(&self, what: &str, expected: impl std::fmt::Debug, got: impl std::fmt::Debug) -> Verdict {
        let expected = format!("{what} of the {} shard to be {expected:?}", self.whose);
        Err(Violation::new(NAME, expected, format!("{got:?}")))
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, expected: T, got: T) -> Verdict {
        if expected == got { Ok(()) } else { self.differ(what, expected, got) }
    }

    /// Tables that stay in memory whole.
    fn small_tables(&self) -> Verdict {
        let (book, state) = (self.book, self.shard.state());
        self.same("number of SKUs", book.stock.len(), state.stock.len())?;
        for row in book.stock.values() {
            self.same("stock", Some(row), state.stock.row(&row.sku))?;
        }
        self.same("offsets", &book.offsets, &state.offsets)?;
        self.same("number of balances", book.ledger.len(), state.ledger.len())?;
        for row in &state.ledger {
            self.same("balances", book.ledger.get(&row.currency), Some(row))?;
        }
        Ok(())
    }

    /// What is in memory is in the book, as it is there.
    fn memory_is_known(&self) -> Verdict {
        let (book, state) = (self.book, self.shard.state());
        for entry in state.orders.iter() {
            self.same("order", book.orders.get(&entry.key), Some(&entry.row))?;
        }
        let mut undecided: Vec<_> =
            state.orders.iter().filter(|entry| entry.row.state.is_unborn()).map(|entry| entry.key).collect();
        undecided.sort_unstable();
        self.same("undecided orders", undecided, state.unborn().map(|order| order.id).collect())?;
        for entry in state.holds.iter() {
            self.same("hold", book.holds.get(&entry.key), Some(&entry.row))?;
        }
        for entry in state.documents.iter() {
            self.same("document", book.documents.get(&entry.key), Some(&entry.row))?;
        }
        for entry in state.names.iter() {
            self.same("name", book.names.get(&entry.key), Some(&entry.row))?;
        }
        Ok(())
    }

    /// What is in the book is in memory or in the store.
    fn rows(&self) -> Result<(), Failed> {
        let (book, state, stored) = (self.book, self.shard.state(), self.stored);
        for (id, row) in &book.orders {
            if state.orders.row(id).is_none() {
                self.same("stored order", Some(row), stored.order(*id)?.as_ref())?;
                if row.state.is_open() {
                    self.differ("open order", "in memory", id)?;
                }
            }
        }
        for (id, row) in &book.holds {
            if state.holds.row(id).is_none() {
                // An early release past its deadline has done its work and need not be found.
                let done = row.lines.is_empty() && row.deadline_us <= self.shard.now_us();
                if !done {
                    self.same("stored hold", Some(row), stored.hold(*id)?.as_ref())?;
                }
                if row.state == HoldState::Held {
                    self.differ("open hold", "in memory", id)?;
                }
            }
        }
        for (key, row) in &book.documents {
            if state.documents.row(key).is_none() {
                self.same("stored document", Some(row), stored.document(key)?.as_ref())?;
            }
        }
        for (key, row) in &book.names {
            if state.names.row(key).is_none() {
                self.same("stored name", Some(row), stored.name(key)?.as_ref())?;
            }
        }
        self.remembered()
    }

    fn remembered(&self) -> Result<(), Failed> {
        let (book, state, stored) = (self.book, self.shard.state(), self.stored);
        for (hash, row) in &book.keys {
            let found = match state.keys.recall(*hash) {
                Memory::Known(state) => Some(state),
                Memory::Absent => None,
                Memory::Cold => {
                    let spans = self.shard.key_spans(IdempotencyKey(*hash));
                    stored.key(*hash, &spans)?.map(|(state, _)| state)
                }
            };
            self.same(&format!("key {hash:032x}"), Some(*row), found)?;
        }
        for (hash, (units, limit)) in &book.limits {
            let found = match state.limits.recall(*hash) {
                Memory::Known(count) => Some(count),
                Memory::Absent => None,
                Memory::Cold => stored.count(*hash, &self.shard.count_spans(*hash))?,
            };
            self.same("count", Some((*units, *limit)), found.map(|count| (count.units, count.limit)))?;
        }
        Ok(())
    }
}
