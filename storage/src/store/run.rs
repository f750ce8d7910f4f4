//! A sorted run: the unit in which rows enter a store.

use std::{cmp::Ordering, fmt};

/// One row's place in the arena: the key, then the value.
///
/// The first 24 bytes of the key ride along, zero-padded and big-endian, so that sorting and
/// searching rarely touch the arena: following an offset per comparison costs ten times as much.
#[derive(Clone, Copy)]
struct Place {
    prefix: Prefix,
    offset: u64,
    key_len: u32,
    value_len: u32,
}

type Prefix = [u64; 3];

const PREFIX_BYTES: usize = size_of::<Prefix>();

/// The value length that marks a deletion; values are shorter.
const DELETED: u32 = u32::MAX;

impl Place {
    fn key(self, arena: &[u8]) -> &[u8] {
        let start = self.offset as usize;
        &arena[start..start + self.key_len as usize]
    }

    fn value(self, arena: &[u8]) -> Option<&[u8]> {
        if self.value_len == DELETED {
            return None;
        }
        let start = self.offset as usize + self.key_len as usize;
        Some(&arena[start..start + self.value_len as usize])
    }

    fn cmp_key(self, arena: &[u8], prefix: &Prefix, key: &[u8]) -> Ordering {
        self.prefix.cmp(prefix).then_with(|| {
            // Padding makes `a` and `a\0` alike: of keys with one prefix the shorter is the lower, if
            // either ends within it.
            match (self.key_len as usize).min(key.len()) <= PREFIX_BYTES {
                true => (self.key_len as usize).cmp(&key.len()),
                false => self.key(arena)[PREFIX_BYTES..].cmp(&key[PREFIX_BYTES..]),
            }
        })
    }
}

fn prefix_of(key: &[u8]) -> Prefix {
    let mut bytes = [0; PREFIX_BYTES];
    let len = key.len().min(PREFIX_BYTES);
    bytes[..len].copy_from_slice(&key[..len]);
    let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| bytes[8 * at + byte]));
    [word(0), word(1), word(2)]
}

/// Collects rows in any order. Two allocations for all rows, kept for the next run by
/// [`SortedRun::into_builder`].
#[derive(Default)]
pub struct RunBuilder {
    arena: Vec<u8>,
    places: Vec<Place>,
}

impl RunBuilder {
    /// Sets `key` to `value`, or deletes it. A later push of the same key wins. Returns the row's
    /// index, for [`replace`](Self::replace).
    ///
    /// # Panics
    /// If the key or the value is 4 GiB or longer.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> usize {
        let place = self.write(key, value);
        self.places.push(place);
        self.places.len() - 1
    }

    /// Sets `key` to `value` in the place of an earlier push of the same key, if `index` is the one
    /// which that push returned: one row instead of two that are sorted and merged. False, and
    /// nothing is done, if another key or none stands there.
    ///
    /// # Panics
    /// As [`push`](Self::push).
    pub fn replace(&mut self, index: usize, key: &[u8], value: Option<&[u8]>) -> bool {
        let prefix = prefix_of(key);
        let Some(place) = self.places.get(index).copied() else { return false };
        if place.cmp_key(&self.arena, &prefix, key).is_ne() {
            return false;
        }
        match (value, place.value_len) {
            // Most rows keep their size: then the arena does not grow.
            (Some(value), len) if value.len() == len as usize && len != DELETED => {
                let start = place.offset as usize + place.key_len as usize;
                self.arena[start..start + value.len()].copy_from_slice(value);
            }
            _ => self.places[index] = self.write(key, value),
        }
        true
    }

    fn write(&mut self, key: &[u8], value: Option<&[u8]>) -> Place {
        let offset = self.arena.len() as u64;
        let key_len = u32::try_from(key.len()).expect("a key under 4 GiB");
        let value_len = value.map_or(DELETED, |value| {
            u32::try_from(value.len()).ok().filter(|len| *len != DELETED).expect("a value under 4 GiB")
        });
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value.unwrap_or_default());
        if key.is_empty() {
            // Offsets tell which push came later, so every row takes a byte.
            self.arena.push(0);
        }
        Place { prefix: prefix_of(key), offset, key_len, value_len }
    }

    /// Adds the rows of another builder behind these; it is left empty and keeps its memory.
    pub fn append(&mut self, later: &mut Self) {
        let base = self.arena.len() as u64;
        self.arena.extend_from_slice(&later.arena);
        let moved = |place: &Place| Place { offset: place.offset + base, ..*place };
        self.places.extend(later.places.iter().map(moved));
        later.clear();
    }

    /// Bytes of rows that fit without asking for memory.
    pub fn capacity(&self) -> usize {
        self.arena.capacity()
    }

    /// Rows pushed so far, repeated keys included.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.places.clear();
    }

    /// Sorts what was pushed and freezes it; the builder is left empty.
    pub fn finish(&mut self) -> SortedRun {
        let arena = std::mem::take(&mut self.arena);
        let mut places = std::mem::take(&mut self.places);
        // Of equal keys the one pushed last lies furthest in the arena and comes first here. Rows
        // mostly arrive in order, which the stable sort makes use of.
        places.sort_by(|a, b| {
            a.cmp_key(&arena, &b.prefix, b.key(&arena)).then_with(|| b.offset.cmp(&a.offset))
        });
        places.dedup_by(|later, first| later.cmp_key(&arena, &first.prefix, first.key(&arena)).is_eq());
        SortedRun { arena, places }
    }
}

/// Rows sorted by key, each key once; a value of `None` deletes the key.
#[derive(Default)]
pub struct SortedRun {
    arena: Vec<u8>,
    places: Vec<Place>,
}

impl SortedRun {
    /// An empty builder.
    pub fn builder() -> RunBuilder {
        RunBuilder::default()
    }

    /// Turns the run's memory into an empty builder.
    pub fn into_builder(self) -> RunBuilder {
        let mut builder = RunBuilder { arena: self.arena, places: self.places };
        builder.clear();
        builder
    }

    /// One run that holds what `runs` hold together; of equal keys the later run's row wins.
    pub fn merge(runs: &[&Self]) -> Self {
        let mut merged = RunBuilder {
            arena: Vec::with_capacity(runs.iter().map(|run| run.arena.len()).sum()),
            places: Vec::with_capacity(runs.iter().map(|run| run.len()).sum()),
        };
        let mut cursors: Vec<_> = runs.iter().map(|run| run.iter().peekable()).collect();
        while let Some(key) = cursors.iter_mut().filter_map(|rows| rows.peek().map(|row| row.0)).min() {
            let mut winner = None;
            for rows in &mut cursors {
                winner = rows.next_if(|row| row.0 == key).or(winner);
            }
            if let Some((key, value)) = winner {
                merged.push(key, value);
            }
        }
        Self { arena: merged.arena, places: merged.places }
    }

    /// `None` if the run says nothing about the key, `Some(None)` if it deletes it.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let prefix = prefix_of(key);
        let found = self.places.binary_search_by(|place| place.cmp_key(&self.arena, &prefix, key)).ok()?;
        Some(self.places[found].value(&self.arena))
    }

    /// Rows from the first key that is not below `from`.
    pub fn range(&self, from: &[u8]) -> Rows<'_> {
        let prefix = prefix_of(from);
        let start = self.places.partition_point(|place| place.cmp_key(&self.arena, &prefix, from).is_lt());
        Rows { arena: &self.arena, places: self.places[start..].iter() }
    }

    /// All rows.
    pub fn iter(&self) -> Rows<'_> {
        Rows { arena: &self.arena, places: self.places.iter() }
    }

    /// Number of rows, deletions included.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if the run changes nothing.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of memory in use.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.places.len() * size_of::<Place>()
    }

    /// Bytes of rows that a [builder](Self::into_builder) made of it takes without asking for memory.
    pub fn capacity(&self) -> usize {
        self.arena.capacity()
    }
}

impl<'a> IntoIterator for &'a SortedRun {
    type Item = (&'a [u8], Option<&'a [u8]>);
    type IntoIter = Rows<'a>;

    fn into_iter(self) -> Rows<'a> {
        self.iter()
    }
}

impl fmt::Debug for SortedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

/// Rows of a [`SortedRun`] in key order.
#[derive(Clone)]
pub struct Rows<'a> {
    arena: &'a [u8],
    places: std::slice::Iter<'a, Place>,
}

impl<'a> Iterator for Rows<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let place = *self.places.next()?;
        Some((place.key(self.arena), place.value(self.arena)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl ExactSizeIterator for Rows<'_> {}

impl DoubleEndedIterator for Rows<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let place = *self.places.next_back()?;
        Some((place.key(self.arena), place.value(self.arena)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Row = (Vec<u8>, Option<Vec<u8>>);

    /// Keys of 0 to 30 bytes over a tiny alphabet with zeros: padding must not confuse the order.
    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let key = prop_oneof![
            prop::collection::vec(0u8..2, 0..20),
            prop::collection::vec(0u8..2, 0..4).prop_map(|tail| [&[7; 22][..], &tail].concat()),
            prop::collection::vec(0u8..2, 2).prop_map(|tail| [&[7; 28][..], &tail].concat()),
        ];
        prop::collection::vec((key, prop::option::of(prop::collection::vec(any::<u8>(), 0..4))), 0..60)
    }

    fn run(rows: &[Row]) -> SortedRun {
        let mut builder = SortedRun::builder();
        for (key, value) in rows {
            builder.push(key, value.as_deref());
        }
        builder.finish()
    }

    fn owned(run: &SortedRun) -> Vec<Row> {
        run.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect()
    }

    proptest! {
        #[test]
        fn holds_what_a_map_holds(rows in rows(), from in prop::collection::vec(0u8..2, 0..20)) {
            let map: BTreeMap<_, _> = rows.iter().cloned().collect();
            let run = run(&rows);
            prop_assert_eq!(owned(&run), map.clone().into_iter().collect::<Vec<_>>());
            for (key, value) in &map {
                prop_assert_eq!(run.get(key), Some(value.as_deref()));
            }
            prop_assert_eq!(run.get(&from).is_some(), map.contains_key(&from));
            let tail: Vec<_> = run.range(&from).map(|(key, _)| key.to_vec()).collect();
            prop_assert_eq!(tail, map.range(from..).map(|(key, _)| key.clone()).collect::<Vec<_>>());
        }

        #[test]
        fn merging_is_pushing_one_run_after_the_other(parts in prop::collection::vec(rows(), 0..4)) {
            let runs: Vec<_> = parts.iter().map(|part| run(part)).collect();
            let merged = SortedRun::merge(&runs.iter().collect::<Vec<_>>());
            prop_assert_eq!(owned(&merged), owned(&run(&parts.concat())));
        }
    }

    #[test]
    fn a_replaced_row_is_one_row() {
        let mut builder = SortedRun::builder();
        let row = builder.push(&[1], Some(&[1]));
        builder.push(&[0], Some(&[2]));
        assert!(builder.replace(row, &[1], Some(&[3; 9])));
        let bytes = builder.arena.len();
        assert!(builder.replace(row, &[1], Some(&[4; 9])) && builder.arena.len() == bytes);
        assert!(!builder.replace(row, &[0], None) && !builder.replace(7, &[1], None));
        let mut later = SortedRun::builder();
        later.push(&[2], None);
        builder.append(&mut later);
        assert!(later.is_empty());
        let expected = [(vec![0], Some(vec![2])), (vec![1], Some(vec![4; 9])), (vec![2], None)];
        assert_eq!(owned(&builder.finish()), expected);
    }

    #[test]
    fn a_builder_made_of_a_run_is_empty_and_keeps_the_memory() {
        let mut builder = run(&[(vec![1], Some(vec![2; 100]))]).into_builder();
        assert!(builder.is_empty() && builder.arena.capacity() >= 100);
        builder.push(&[3], None);
        assert_eq!(owned(&builder.finish()), [(vec![3], None)]);
    }
}
