//! One file in memory: what a reader sees now, and what a power loss would leave.

use std::collections::BTreeMap;

use super::prng::Prng;

/// The unit in which a disk tears, in bytes.
pub(super) const TEAR_BYTES: usize = 512;

type Piece = [u8; TEAR_BYTES];

/// The bytes as they are read, plus the durable image of every piece that differs from them.
#[derive(Default)]
pub(super) struct Inode {
    bytes: Vec<u8>,
    durable_len: usize,
    /// Written and not synced: at a crash each piece is new or old.
    dirty: BTreeMap<usize, Piece>,
    /// A sync of these failed: they look clean and are lost at a crash.
    forsaken: BTreeMap<usize, Piece>,
}

impl Inode {
    pub(super) fn zeros(len: usize) -> Self {
        Self { bytes: vec![0; len], durable_len: len, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn read(&self, offset: usize, buf: &mut [u8]) -> usize {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        count
    }

    /// A write that only the next sync makes durable.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        for piece in pieces(offset, bytes.len()) {
            let image = self.forsaken.remove(&piece).unwrap_or_else(|| self.piece(piece));
            self.dirty.entry(piece).or_insert(image);
        }
        self.put(offset, bytes);
    }

    /// A write of whole pieces that is durable at once.
    pub(super) fn write_through(&mut self, offset: usize, bytes: &[u8]) {
        for piece in pieces(offset, bytes.len()) {
            self.dirty.remove(&piece);
            self.forsaken.remove(&piece);
        }
        self.put(offset, bytes);
        self.durable_len = self.durable_len.max(offset + bytes.len());
    }

    pub(super) fn sync(&mut self) {
        self.dirty.clear();
        self.durable_len = self.bytes.len();
    }

    /// Pages are marked clean though the disk never got them, as Linux does.
    pub(super) fn fail_sync(&mut self) {
        self.forsaken.append(&mut self.dirty);
    }

    /// Pages that count as clean are dropped, and read from the disk again.
    pub(super) fn forget_cached(&mut self) {
        for (piece, image) in std::mem::take(&mut self.forsaken) {
            self.restore(piece, &image);
        }
    }

    /// Rolls the file to a state that a disk could have after power loss.
    pub(super) fn settle(&mut self, prng: &mut Prng) {
        self.forget_cached();
        for (piece, image) in std::mem::take(&mut self.dirty) {
            if prng.coin() {
                self.restore(piece, &image);
            }
        }
        if self.bytes.len() > self.durable_len && prng.coin() {
            self.bytes.truncate(self.durable_len);
        }
        self.durable_len = self.bytes.len();
    }

    pub(super) fn flip(&mut self, offset: usize, bit: u8) {
        if let Some(byte) = self.bytes.get_mut(offset) {
            *byte ^= 1 << (bit & 7);
        }
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.durable_len = self.durable_len.min(len);
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    fn piece(&self, piece: usize) -> Piece {
        let mut image = [0; TEAR_BYTES];
        self.read(piece * TEAR_BYTES, &mut image);
        image
    }

    fn restore(&mut self, piece: usize, image: &Piece) {
        let start = (piece * TEAR_BYTES).min(self.bytes.len());
        let end = (start + TEAR_BYTES).min(self.bytes.len());
        self.bytes[start..end].copy_from_slice(&image[..end - start]);
    }
}

fn pieces(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / TEAR_BYTES..(offset + len).div_ceil(TEAR_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_loses_its_bytes_even_if_the_next_one_succeeds() {
        let mut inode = Inode::zeros(1024);
        inode.write(0, &[1; 600]);
        inode.fail_sync();
        inode.sync();
        assert_eq!(inode.bytes()[..600], [1; 600], "the page cache still shows them");
        inode.settle(&mut Prng::new(0));
        assert_eq!(inode.bytes(), [0; 1024]);
    }

    #[test]
    fn synced_and_durable_bytes_survive_and_the_rest_is_old_or_new() {
        let mut torn = 0;
        for seed in 0..64 {
            let mut inode = Inode::zeros(0);
            inode.write(0, &[1; 1024]);
            inode.sync();
            inode.write_through(1024, &[2; 512]);
            inode.write(0, &[3; 1024]);
            inode.settle(&mut Prng::new(seed));
            assert_eq!(inode.bytes()[1024..], [2; 512]);
            for piece in inode.bytes()[..1024].chunks(TEAR_BYTES) {
                assert!(piece == [1; TEAR_BYTES] || piece == [3; TEAR_BYTES]);
            }
            torn += usize::from(inode.bytes()[0] != inode.bytes()[1023]);
        }
        assert!(torn > 10, "half of two pieces' outcomes are mixed, found {torn} of 64");
    }
}
