//! The simulated gateway's books: every key once, with what was decided first.
//!
//! They live in a file beside the shop's data, as a real gateway's books live elsewhere: a crash of
//! the shop does not touch them. One line per entry; a torn last line is cut at opening.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use onrush_proto::{Currency, Money, OrderId, Text};

use crate::gateway::{GatewayKey, Op};

/// What the gateway decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The money is reserved.
    Authorised,
    /// The money is taken.
    Captured,
    /// The reservation is given back.
    Voided,
    /// The money is given back.
    Refunded,
    /// Refused, with the code.
    Declined(Text<31>),
}

/// One line of the books.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Under which key.
    pub key: GatewayKey,
    /// How much.
    pub amount: Money,
    /// What was decided.
    pub decision: Decision,
}

/// What an order comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Balance {
    /// The order.
    pub order: OrderId,
    /// Its currency.
    pub currency: Currency,
    /// Minor units taken.
    pub captured: i64,
    /// Minor units given back.
    pub refunded: i64,
}

/// Books that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// The file system said no.
    #[error("{}: expected to read and append, found: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// A line that is not an entry, with whole lines after it.
    #[error("{}: expected a gateway entry on line {line}, found {found:?}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is there.
        found: String,
    },
}

/// The books.
pub struct Books {
    entries: HashMap<GatewayKey, Entry>,
    balances: HashMap<OrderId, Balance>,
    /// The orders of all entries, in the order in which they were made.
    journal: Vec<OrderId>,
    file: Option<File>,
}

impl Books {
    /// Books that end with the process.
    pub fn in_memory() -> Self {
        Self { entries: HashMap::new(), balances: HashMap::new(), journal: Vec::new(), file: None }
    }

    /// Opens the books in a file.
    pub fn open(path: &Path) -> Result<Self, BooksError> {
        let io = |error| BooksError::Io { path: path.into(), error };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64).map_err(io)?;
        file.seek(SeekFrom::Start(whole as u64)).map_err(io)?;

        let mut books = Self { file: Some(file), ..Self::in_memory() };
        for (index, line) in text[..whole].lines().enumerate() {
            let entry: Entry = line.parse().map_err(|NotAnEntry| {
                let found = line.chars().take(80).collect();
                BooksError::Damaged { path: path.into(), line: index + 1, found }
            })?;
            books.enter(entry);
        }
        Ok(books)
    }

    /// The entry under a key.
    pub fn find(&self, key: GatewayKey) -> Option<Entry> {
        self.entries.get(&key).copied()
    }

    /// The first entry under a key; made now if there is none.
    pub fn once(&mut self, key: GatewayKey, make: impl FnOnce() -> Entry) -> Entry {
        if let Some(entry) = self.find(key) {
            return entry;
        }
        let entry = make();
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(entry.line().as_bytes())
        {
            tracing::error!(%error, key = %key, "the simulated gateway could not write its books");
        }
        self.enter(entry);
        entry
    }

    fn enter(&mut self, entry: Entry) {
        let order = entry.key.order;
        let blank = Balance { order, currency: entry.amount.currency, captured: 0, refunded: 0 };
        let balance = self.balances.entry(order).or_insert(blank);
        match entry.decision {
            Decision::Captured => balance.captured += entry.amount.minor,
            Decision::Refunded => balance.refunded += entry.amount.minor,
            Decision::Authorised | Decision::Voided | Decision::Declined(_) => {}
        }
        self.journal.push(order);
        self.entries.insert(entry.key, entry);
    }

    /// An order's balance.
    pub fn balance(&self, order: OrderId) -> Option<Balance> {
        self.balances.get(&order).copied()
    }

    /// The orders of up to `max` entries behind the first `from`.
    pub fn news(&self, from: usize, max: usize) -> &[OrderId] {
        let news = self.journal.get(from..).unwrap_or_default();
        &news[..news.len().min(max)]
    }
}

impl Entry {
    fn line(&self) -> String {
        let GatewayKey { order, number, op } = self.key;
        let (decision, code) = match &self.decision {
            Decision::Authorised => ("authorised", ""),
            Decision::Captured => ("captured", ""),
            Decision::Voided => ("voided", ""),
            Decision::Refunded => ("refunded", ""),
            Decision::Declined(code) => ("declined", code.as_str()),
        };
        format!("{order} {number} {} {} {decision} {code}\n", op.name(), self.amount)
    }
}

/// A line that is not an entry.
#[derive(Debug)]
pub struct NotAnEntry;

impl FromStr for Entry {
    type Err = NotAnEntry;

    fn from_str(line: &str) -> Result<Self, NotAnEntry> {
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or(NotAnEntry);
        let order = word()?.parse().map_err(|_| NotAnEntry)?;
        let number = word()?.parse().map_err(|_| NotAnEntry)?;
        let op = word()?;
        let op = Op::ALL.into_iter().find(|known| known.name() == op).ok_or(NotAnEntry)?;
        let minor = word()?.parse().map_err(|_| NotAnEntry)?;
        let currency = word()?.parse().map_err(|_| NotAnEntry)?;
        let decision = match word()? {
            "authorised" => Decision::Authorised,
            "captured" => Decision::Captured,
            "voided" => Decision::Voided,
            "refunded" => Decision::Refunded,
            "declined" => Decision::Declined(Text::new(word()?).map_err(|_| NotAnEntry)?),
            _ => return Err(NotAnEntry),
        };
        Ok(Self { key: GatewayKey { order, number, op }, amount: Money::new(minor, currency), decision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(order: u128, decision: Decision) -> Entry {
        let key = GatewayKey { order: OrderId(order), number: 1, op: Op::Charge };
        Entry { key, amount: Money::new(995, Currency::EUR), decision }
    }

    #[test]
    fn books_survive_and_a_torn_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("books");
        let kept = entry(1, Decision::Declined(Text::new("card_declined").unwrap()));
        let mut books = Books::open(&path).unwrap();
        books.once(kept.key, || kept);
        books.once(entry(2, Decision::Captured).key, || entry(2, Decision::Captured));
        drop(books);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("000 1 char");
        std::fs::write(&path, &text).unwrap();

        let mut books = Books::open(&path).unwrap();
        assert_eq!(books.once(kept.key, || entry(1, Decision::Captured)), kept, "the first result stands");
        assert_eq!(books.balance(OrderId(2)).unwrap().captured, 995);
        assert_eq!(books.news(1, 5), [OrderId(2)]);
        assert_eq!(books.news(9, 5), []);
        drop(books);
        std::fs::write(&path, format!("junk\n{text}\n")).unwrap();
        let Err(error) = Books::open(&path) else { panic!("damage must be refused") };
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
