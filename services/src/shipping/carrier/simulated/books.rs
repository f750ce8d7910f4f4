//! The simulated carrier's books: every label once, and when it was given back.
//!
//! They live in a file beside the shop's data, as a real carrier's books live elsewhere: a crash of
//! the shop does not touch them. One line per entry; a torn last line is cut at opening.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A parcel that was paid for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When, in us since the epoch.
    pub bought_us: u64,
    /// When the label was given back; 0 = it was not.
    pub voided_us: u64,
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
    #[error("{}: expected a carrier entry on line {line}, found {found:?}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is there.
        found: String,
    },
}

/// The books: parcels by reference.
#[derive(Default)]
pub struct Books {
    entries: HashMap<String, Entry>,
    file: Option<File>,
}

impl Books {
    /// Books that end with the process.
    pub fn in_memory() -> Self {
        Self::default()
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
        let mut books = Self { file: Some(file), ..Self::default() };
        for (index, line) in text[..whole].lines().enumerate() {
            if books.enter(line).is_none() {
                let found = line.chars().take(80).collect();
                return Err(BooksError::Damaged { path: path.into(), line: index + 1, found });
            }
        }
        Ok(books)
    }

    /// The parcel of a reference.
    pub fn find(&self, reference: &str) -> Option<Entry> {
        self.entries.get(reference).copied()
    }

    /// Pays for a label, once: again is the first.
    pub fn buy(&mut self, reference: &str, now_us: u64) -> Entry {
        if let Some(entry) = self.find(reference) {
            return entry;
        }
        self.write(&format!("{reference} bought {now_us}"));
        self.find(reference).unwrap_or(Entry { bought_us: now_us, voided_us: 0 })
    }

    /// Gives a label back, once.
    pub fn void(&mut self, reference: &str, now_us: u64) {
        if self.find(reference).is_some_and(|entry| entry.voided_us == 0) {
            self.write(&format!("{reference} voided {now_us}"));
        }
    }

    fn write(&mut self, line: &str) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(format!("{line}\n").as_bytes())
        {
            tracing::error!(%error, line, "the simulated carrier could not write its books");
        }
        self.enter(line);
    }

    fn enter(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let (reference, what, at_us) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        match what {
            "bought" => {
                self.entries.insert(reference.to_owned(), Entry { bought_us: at_us, voided_us: 0 });
            }
            "voided" => self.entries.get_mut(reference)?.voided_us = at_us,
            _ => return None,
        }
        words.next().is_none().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_survive_and_a_torn_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("books");
        let mut books = Books::open(&path).unwrap();
        books.buy("a:0", 5);
        books.buy("b:0", 6);
        books.void("b:0", 7);
        drop(books);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("c:0 bou");
        std::fs::write(&path, &text).unwrap();

        let mut books = Books::open(&path).unwrap();
        assert_eq!(books.buy("a:0", 9).bought_us, 5, "the first label stands");
        assert_eq!(books.find("b:0"), Some(Entry { bought_us: 6, voided_us: 7 }));
        assert_eq!(books.find("c:0"), None);
        drop(books);
        std::fs::write(&path, format!("junk\n{text}\n")).unwrap();
        let Err(error) = Books::open(&path) else { panic!("damage must be refused") };
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
