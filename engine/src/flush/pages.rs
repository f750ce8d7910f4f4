//! Index pages: what is found by a hash, packed many to a row of the store.
//!
//! An index entry that is a row of its own costs the store as much as the order it leads to, and
//! an order has several: its key, those of its payment, its customer, the customer's count. So the entries of one
//! generation are sorted by bucket and hash, cut into [`PARTITIONS`] parts by the hash's highest
//! bits, and each part is one row. A bucket that was written in several generations has several
//! pages per partition; a lookup reads those of one partition, the newest first.
//!
//! A page: version (1), number of entries (u32), their hashes (u128, ascending), where each value
//! ends (u32, from the first value's start), the values. Numbers are little-endian.

use super::keys::StoreKey;
use super::overlay::Pending;

const PAGE_VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;
const HASH_BYTES: usize = 16;
const END_BYTES: usize = 4;

/// Pages per bucket and generation: a full bucket's hold some 256 entries each, about 10 KB of orders' keys, for a
/// look-up to read.
const PARTITIONS: u32 = 256;

/// The part of a bucket's entries in which a hash stands.
pub(super) fn partition(hash: u128) -> u8 {
    (hash >> (u128::BITS - PARTITIONS.ilog2())) as u8
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u128,
    bucket: u32,
    /// Its place among all that were collected.
    number: u32,
    start: u32,
    len: u32,
}

/// Collects entries of one kind until they are worth pages.
#[derive(Default)]
pub(super) struct PageBuilder {
    entries: Vec<Entry>,
    values: Vec<u8>,
    page: Vec<u8>,
    /// Entries dealt to their pages.
    dealt: Vec<Entry>,
    /// Where each page's entries end in `dealt`.
    ends: Vec<u32>,
}

impl PageBuilder {
    /// Adds an entry; `parts` make up its value.
    pub(super) fn push(&mut self, bucket: u32, hash: u128, parts: [&[u8]; 2]) {
        let start = self.values.len() as u32;
        for part in parts {
            self.values.extend_from_slice(part);
        }
        let len = self.values.len() as u32 - start;
        let number = self.entries.len() as u32;
        self.entries.push(Entry { hash, bucket, number, start, len });
    }

    /// Entries collected.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Turns what was collected into rows; `lsn` tells pages of different times apart. With
    /// `unique` only the last entry of a hash in a bucket counts.
    pub(super) fn emit(&mut self, tag: u8, lsn: u64, unique: bool, rows: &mut Pending) {
        self.deal();
        let Self { dealt, ends, values, page, .. } = self;
        let mut start = 0;
        for end in ends.iter().map(|end| *end as usize) {
            let part = &mut dealt[std::mem::replace(&mut start, end)..end];
            if part.is_empty() {
                continue;
            }
            // Entries of one hash stay in the order in which they came.
            part.sort_unstable_by_key(|entry| (entry.hash, entry.number));
            let part = if unique { last_of_each(part) } else { part };
            write_page(part, values, page);
            let (bucket, partition) = (part[0].bucket, partition(part[0].hash));
            rows.push(&StoreKey::page(bucket, tag, partition, lsn).bytes, Some(page));
        }
        self.entries.clear();
        values.clear();
    }

    /// Deals the entries to their pages, in the order of those. One pass to count and one to deal leave parts
    /// that fit the nearest cache; what is scattered over many buckets is sorted, as there is little of it.
    fn deal(&mut self) {
        let Self { entries, dealt, ends, .. } = self;
        ends.clear();
        dealt.clear();
        let buckets = entries.iter().map(|entry| entry.bucket);
        let (Some(first), Some(last)) = (buckets.clone().min(), buckets.max()) else { return };
        let pages = (u64::from(last - first) + 1) * u64::from(PARTITIONS);
        let page = |entry: &Entry| {
            (entry.bucket - first) as usize * PARTITIONS as usize + usize::from(partition(entry.hash))
        };
        if pages > entries.len().max(PARTITIONS as usize) as u64 {
            dealt.append(entries);
            dealt.sort_unstable_by_key(page);
            let parts = dealt.chunk_by(|a, b| page(a) == page(b));
            ends.extend(parts.scan(0, |end, part| {
                *end += part.len() as u32;
                Some(*end)
            }));
            return;
        }
        ends.resize(pages as usize, 0);
        entries.iter().for_each(|entry| ends[page(entry)] += 1);
        let mut end = 0;
        for count in ends.iter_mut() {
            // Where the page begins, which its entries move on to where it ends.
            end += std::mem::replace(count, end);
        }
        dealt.resize(entries.len(), Entry { hash: 0, bucket: 0, number: 0, start: 0, len: 0 });
        for entry in entries.iter() {
            let at = &mut ends[page(entry)];
            dealt[*at as usize] = *entry;
            *at += 1;
        }
    }
}

/// The last entry of each hash, in front; entries are sorted.
fn last_of_each(entries: &mut [Entry]) -> &[Entry] {
    let mut kept = 0;
    for at in 0..entries.len() {
        if entries.get(at + 1).is_none_or(|next| next.hash != entries[at].hash) {
            entries[kept] = entries[at];
            kept += 1;
        }
    }
    &entries[..kept]
}

fn write_page(entries: &[Entry], values: &[u8], page: &mut Vec<u8>) {
    page.clear();
    page.push(PAGE_VERSION);
    page.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for entry in entries {
        page.extend_from_slice(&entry.hash.to_le_bytes());
    }
    let mut end = 0;
    for entry in entries {
        end += entry.len;
        page.extend_from_slice(&end.to_le_bytes());
    }
    for entry in entries {
        let start = entry.start as usize;
        page.extend_from_slice(&values[start..start + entry.len as usize]);
    }
}

/// Bytes that are not the page they should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PageError {
    /// An unknown version.
    #[error("expected an index page of version {PAGE_VERSION}, found {found:?}")]
    Version {
        /// The first byte, if there is one.
        found: Option<u8>,
    },
    /// Lengths that do not add up.
    #[error("expected an index page of {entries} entries, found {bytes} bytes that do not hold them")]
    Length {
        /// Entries by the page's head; 0 if there is no head.
        entries: u32,
        /// Bytes of the page.
        bytes: usize,
    },
}

/// A page, read in place. Its lengths were checked; hashes out of order find nothing wrong, they
/// are not found.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    hashes: &'a [[u8; HASH_BYTES]],
    ends: &'a [[u8; END_BYTES]],
    values: &'a [u8],
}

impl<'a> Page<'a> {
    /// Checks a page once.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, PageError> {
        let found = bytes.first().copied();
        if found != Some(PAGE_VERSION) {
            return Err(PageError::Version { found });
        }
        let short = |entries| PageError::Length { entries, bytes: bytes.len() };
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(short(0))?;
        let entries = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        let count = entries as usize;
        let split = |bytes: &'a [u8], len: usize| bytes.split_at_checked(len).ok_or(short(entries));
        let (hashes, rest) = split(rest, count.saturating_mul(HASH_BYTES))?;
        let (ends, values) = split(rest, count.saturating_mul(END_BYTES))?;
        let page = Self { hashes: hashes.as_chunks().0, ends: ends.as_chunks().0, values };
        let ascending = page.ends.is_sorted_by_key(|end| u32::from_le_bytes(*end));
        match ascending && page.end_of(count) == values.len() {
            true => Ok(page),
            false => Err(short(entries)),
        }
    }

    /// The values under a hash, in the order in which they came.
    pub(super) fn find(self, hash: u128) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let at = |bytes: &[u8; HASH_BYTES]| u128::from_le_bytes(*bytes);
        let first = self.hashes.partition_point(|bytes| at(bytes) < hash);
        let after = first + self.hashes[first..].partition_point(|bytes| at(bytes) == hash);
        (first..after).map(move |index| self.value(index))
    }

    /// All entries, in order of their hashes.
    pub(super) fn iter(self) -> impl Iterator<Item = (u128, &'a [u8])> {
        let hashes = self.hashes.iter().map(|bytes| u128::from_le_bytes(*bytes));
        hashes.enumerate().map(move |(index, hash)| (hash, self.value(index)))
    }

    /// All hashes, ascending.
    pub(super) fn hashes(self) -> impl Iterator<Item = u128> {
        self.hashes.iter().map(|bytes| u128::from_le_bytes(*bytes))
    }

    fn value(self, index: usize) -> &'a [u8] {
        &self.values[self.end_of(index)..self.end_of(index + 1)]
    }

    /// Where the value in front of `index` ends.
    fn end_of(self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |last| u32::from_le_bytes(self.ends[last]) as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use onrush_storage::store::SortedRun;
    use proptest::prelude::*;

    use super::*;

    fn emitted(entries: &[(u32, u128, Vec<u8>)], unique: bool) -> SortedRun {
        let (mut builder, mut rows) = (PageBuilder::default(), Pending::default());
        for (bucket, hash, value) in entries {
            let (front, back) = value.split_at(value.len() / 2);
            builder.push(*bucket, *hash, [front, back]);
        }
        builder.emit(7, 99, unique, &mut rows);
        assert_eq!(builder.len(), 0, "what was emitted is gone");
        rows.take()
    }

    fn entries() -> impl Strategy<Value = Vec<(u32, u128, Vec<u8>)>> {
        let hash = prop_oneof![0u128..4, any::<u128>().prop_map(|hash| hash >> 2 << 126), any::<u128>()];
        prop::collection::vec((0u32..3, hash, prop::collection::vec(any::<u8>(), 0..5)), 0..80)
    }

    proptest! {
        #[test]
        fn every_entry_is_found_where_its_hash_stands(entries in entries(), unique in any::<bool>()) {
            let mut model: BTreeMap<(u32, u128), Vec<Vec<u8>>> = BTreeMap::new();
            for (bucket, hash, value) in &entries {
                let values = model.entry((*bucket, *hash)).or_default();
                if unique {
                    values.clear();
                }
                values.push(value.clone());
            }
            let run = emitted(&entries, unique);
            for ((bucket, hash), values) in &model {
                let key = StoreKey::page(*bucket, 7, partition(*hash), 99);
                let page = Page::parse(run.get(&key.bytes).flatten().expect("a page")).unwrap();
                let found: Vec<Vec<u8>> = page.find(*hash).map(<[u8]>::to_vec).collect();
                prop_assert_eq!(&found, values);
            }
            let pages = run.iter().map(|(_, page)| Page::parse(page.unwrap()).unwrap());
            let all: usize = pages.map(|page| page.iter().count()).sum();
            prop_assert_eq!(all, model.values().map(Vec::len).sum::<usize>());
        }

        #[test]
        fn damaged_pages_are_refused_or_read_within_bounds(
            entries in entries(), flip in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>(),
        ) {
            for (_, page) in &emitted(&entries, false) {
                let mut page = page.unwrap().to_vec();
                prop_assert!(Page::parse(&page[..cut.index(page.len())]).is_err(), "a page that is cut");
                let at = flip.index(page.len());
                page[at] ^= 1 << bit;
                if let Ok(page) = Page::parse(&page) {
                    for (hash, _) in page.iter() {
                        prop_assert!(page.find(hash).count() <= entries.len());
                    }
                }
            }
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        assert_eq!(Page::parse(&[]).err(), Some(PageError::Version { found: None }));
        assert_eq!(Page::parse(&[9, 0, 0, 0, 0]).err(), Some(PageError::Version { found: Some(9) }));
        let expected = PageError::Length { entries: u32::MAX, bytes: 5 };
        assert_eq!(Page::parse(&[1, 255, 255, 255, 255]).err(), Some(expected));
    }
}
