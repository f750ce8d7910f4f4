//! Memory for a matrix that is built here rather than mapped.

use std::ops::{Deref, DerefMut};

/// Matrices begin at multiples of this many bytes: a line of the cache, and the widest vector.
pub const ALIGNMENT: usize = 64;

/// A huge page of x86-64 and of most others.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes that begin at a multiple of [`ALIGNMENT`].
///
/// From 2 MiB on they begin at a huge page, and Linux is asked for such pages: a scan that misses the TLB less
/// is 1.2 to 1.3 times as fast. Where they are not to be had, ordinary pages serve.
#[derive(Debug)]
pub struct AlignedBytes {
    /// Never grown, so what begins at `start` stays where it is.
    bytes: Vec<u8>,
    start: usize,
}

impl AlignedBytes {
    /// So many zeros.
    pub fn zeroed(len: usize) -> Self {
        let alignment = if len < HUGE_PAGE { ALIGNMENT } else { HUGE_PAGE };
        let whole = len.next_multiple_of(alignment);
        let mut bytes: Vec<u8> = Vec::with_capacity(whole + alignment);
        let start = bytes.as_ptr().addr().wrapping_neg() % alignment;
        if alignment == HUGE_PAGE {
            ask_for_huge_pages(&mut bytes, start, whole);
        }
        bytes.resize(start + len, 0);
        Self { bytes, start }
    }

    /// A copy of bytes that lie anywhere.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }
}

/// Asks before the memory is touched: pages that are there already stay as small as they are.
fn ask_for_huge_pages(bytes: &mut Vec<u8>, start: usize, len: usize) {
    let unused = bytes.spare_capacity_mut();
    let Some(range) = unused.get_mut(start..start + len) else { return };
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        #[allow(unsafe_code, reason = "advice about memory is given by address")]
        // SAFETY: the range is memory of this vector alone, and this advice changes nothing that it holds.
        let asked = unsafe { madvise(range.as_mut_ptr().cast(), range.len(), Advice::LinuxHugepage) };
        // A kernel that has none says so; ordinary pages serve.
        let _ = asked;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = range;
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_at_a_line_or_a_huge_page_and_holds_zeros() {
        for len in [0, 1, 63, 64, 65, 4096, HUGE_PAGE - 1, HUGE_PAGE, HUGE_PAGE + 1, 3 * HUGE_PAGE + 17] {
            let bytes = AlignedBytes::zeroed(len);
            assert_eq!(bytes.len(), len);
            assert!(bytes.iter().all(|byte| *byte == 0));
            let alignment = if len < HUGE_PAGE { ALIGNMENT } else { HUGE_PAGE };
            assert_eq!(bytes.as_ptr().addr() % alignment, 0, "{len} bytes");
        }
    }

    #[test]
    fn stays_where_it_is_when_it_moves() {
        let mut bytes = AlignedBytes::zeroed(1000);
        bytes[999] = 7;
        let before = bytes.as_ptr();
        let moved = Box::new(bytes);
        assert_eq!((moved.as_ptr(), moved[999]), (before, 7));
        assert_eq!(**moved, *AlignedBytes::copy_of(&moved));
    }
}
