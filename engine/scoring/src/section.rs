//! Bytes that stay where they are while anybody looks at them: a part of a mapped file, or of memory.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

use crate::scan::AlignedBytes;

/// A part of what is shared by all that look at it. A copy is one more who looks.
#[derive(Clone)]
pub struct Section {
    whole: Arc<Whole>,
    range: Range<usize>,
}

enum Whole {
    Mapped(Mmap),
    Built(AlignedBytes),
}

impl Section {
    /// All of a mapped file.
    pub(crate) fn mapped(file: Mmap) -> Self {
        let range = 0..file.len();
        Self { whole: Arc::new(Whole::Mapped(file)), range }
    }

    /// Memory of its own.
    pub(crate) fn built(bytes: AlignedBytes) -> Self {
        let range = 0..bytes.len();
        Self { whole: Arc::new(Whole::Built(bytes)), range }
    }

    /// A part of it; `None` if it does not go so far.
    pub(crate) fn part(&self, from: usize, len: usize) -> Option<Self> {
        let start = self.range.start.checked_add(from)?;
        let end = start.checked_add(len)?;
        (end <= self.range.end).then(|| Self { whole: self.whole.clone(), range: start..end })
    }
}

impl AsRef<[u8]> for Section {
    fn as_ref(&self) -> &[u8] {
        let whole: &[u8] = match &*self.whole {
            Whole::Mapped(file) => file,
            Whole::Built(bytes) => bytes,
        };
        &whole[self.range.clone()]
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &*self.whole {
            Whole::Mapped(_) => "a mapped file",
            Whole::Built(_) => "memory",
        };
        write!(f, "bytes {:?} of {kind}", self.range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lies_within_the_whole_or_is_none() {
        let section = Section::built(AlignedBytes::copy_of(b"0123456789"));
        let part = section.part(3, 4).unwrap();
        drop(section);
        assert_eq!(part.as_ref(), b"3456");
        assert_eq!(part.part(1, 3).unwrap().as_ref(), b"456");
        for (from, len) in [(0, 5), (4, 1), (5, 0), (usize::MAX, 1), (1, usize::MAX)] {
            assert!(part.part(from, len).is_none(), "{len} from {from}");
        }
        assert_eq!(format!("{part:?}"), "bytes 3..7 of memory");
    }
}
