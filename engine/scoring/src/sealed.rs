//! Files that say what they are: a head of 32 bytes (magic, version, length and checksum of the rest), then the
//! body. What is damaged, cut or of another version is refused; a file is replaced whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

/// Bytes of the head.
pub(crate) const HEAD_BYTES: usize = 32;

/// What a kind of file begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// The first eight bytes.
    pub magic: [u8; 8],
    /// The version that is written, and the only one that is read.
    pub version: u64,
}

/// Why a file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It is another kind of file, or of another version.
    #[error("expected {} of version {version}, found {found}", String::from_utf8_lossy(magic))]
    Kind {
        /// What it should begin with.
        magic: [u8; 8],
        /// The version that is read.
        version: u64,
        /// What it begins with.
        found: String,
    },
    /// Its numbers have their highest byte first.
    #[error(
        "expected {} with numbers in little-endian byte order, found version {version} in big-endian",
        String::from_utf8_lossy(magic)
    )]
    ByteOrder {
        /// What it begins with.
        magic: [u8; 8],
        /// Its version, read that way.
        version: u64,
    },
    /// Bytes are missing, too many or changed.
    #[error("expected {expected} bytes with checksum {checksum:016x}, found {found} that differ")]
    Damaged {
        /// Bytes when it was written.
        expected: u64,
        /// Their checksum.
        checksum: u64,
        /// Bytes now.
        found: usize,
    },
}

impl Kind {
    /// A whole file of a body.
    pub fn seal(&self, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
        bytes.extend_from_slice(&self.magic);
        for number in [self.version, body.len() as u64, xxh3_64(body)] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(body);
        bytes
    }

    /// The body of a whole file.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], SealError> {
        let kind = |found: String| SealError::Kind { magic: self.magic, version: self.version, found };
        let Some((head, body)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(kind(format!("{} bytes", bytes.len())));
        };
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| head[at + index]));
        let version = number(8);
        if head[..8] == self.magic && version.swap_bytes() == self.version {
            return Err(SealError::ByteOrder { magic: self.magic, version: self.version });
        }
        if head[..8] != self.magic || version != self.version {
            return Err(kind(format!("version {version} behind {:?}", String::from_utf8_lossy(&head[..8]))));
        }
        let (expected, checksum) = (number(16), number(24));
        if body.len() as u64 != expected || xxh3_64(body) != checksum {
            return Err(SealError::Damaged { expected, checksum, found: body.len() });
        }
        Ok(body)
    }
}

/// Puts a file in place of what is there, whole or not at all.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_if(path, bytes, |_| Ok(()))
}

/// The same if the file beside it, which is durable then, can be looked at; what was seen stays good.
pub(crate) fn replace_if<T, E: From<io::Error>>(
    path: &Path,
    bytes: &[u8],
    look: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let seen = look(&beside)?;
    fs::rename(&beside, path)?;
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        File::open(directory)?.sync_all()?;
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { magic: *b"onrush-t", version: 3 };

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = KIND.seal(b"what was written");
        assert_eq!(KIND.open(&bytes).unwrap(), b"what was written");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(KIND.open(&damaged).is_err(), "bit {bit} of byte {at}");
            }
            assert!(KIND.open(&bytes[..at]).is_err(), "cut at {at}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(KIND.open(&longer).is_err());
        let other = Kind { version: 4, ..KIND }.open(&bytes).unwrap_err().to_string();
        assert_eq!(other, "expected onrush-t of version 4, found version 3 behind \"onrush-t\"");
        let mut swapped = bytes;
        swapped[8..16].reverse();
        let found = KIND.open(&swapped).unwrap_err().to_string();
        let expected =
            "expected onrush-t with numbers in little-endian byte order, found version 3 in big-endian";
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for body in [b"one".as_slice(), b"another"] {
            replace(&path, &KIND.seal(body)).unwrap();
            assert_eq!(KIND.open(&fs::read(&path).unwrap()).unwrap(), body);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
