//! A vector that grows without moving what it holds.

/// Entries of a chunk, as a power of two. Memory that was never written is not taken from the system.
const CHUNK_SHIFT: usize = 12;
const CHUNK: usize = 1 << CHUNK_SHIFT;

/// Entries by index, in chunks of one size: to grow costs one allocation, and never a copy.
pub(super) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
    /// The most there were: so much memory is in use.
    peak: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0, peak: 0 }
    }
}

impl<T> Chunks<T> {
    /// Adds an entry; returns its index.
    pub(super) fn push(&mut self, entry: T) -> usize {
        let at = self.len;
        if at >> CHUNK_SHIFT == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[at >> CHUNK_SHIFT].push(entry);
        self.len += 1;
        self.peak = self.peak.max(self.len);
        at
    }

    /// The entry at an index.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn at(&self, index: usize) -> &T {
        &self.chunks[index >> CHUNK_SHIFT][index & (CHUNK - 1)]
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn at_mut(&mut self, index: usize) -> &mut T {
        &mut self.chunks[index >> CHUNK_SHIFT][index & (CHUNK - 1)]
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All of them by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// Forgets all of them and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.chunks.iter_mut().for_each(Vec::clear);
        self.len = 0;
    }

    /// Memory that was written to, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.peak * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_stands_where_it_was_put() {
        let mut chunks = Chunks::default();
        for round in 0..2 {
            let count = 3 * CHUNK / (round + 1) + 5;
            (0..count).for_each(|entry| assert_eq!(chunks.push(entry), entry));
            *chunks.at_mut(CHUNK) += 7;
            assert_eq!(
                (chunks.len(), *chunks.at(CHUNK), *chunks.at(count - 1)),
                (count, CHUNK + 7, count - 1)
            );
            assert_eq!(chunks.iter().count(), count);
            assert!(chunks.bytes() >= (3 * CHUNK + 5) * size_of::<usize>(), "the memory stays");
            chunks.clear();
            assert_eq!((chunks.len(), chunks.iter().count()), (0, 0));
        }
    }
}
