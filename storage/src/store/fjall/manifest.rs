//! Checks what fjall does not: that each tree's manifest is the one its `current` file vouches for.
//!
//! fjall writes the manifest's checksum beside its number and never compares it. A flipped bit in a
//! table's sequence number would then open without complaint and let old rows win over new ones.

use std::{fs, io, path::Path};

use xxhash_rust::xxh3::xxh3_128;

use super::{OpenError, is_damage};

/// `current`: manifest number, xxh3-128 of the manifest, a zero for the kind of checksum.
const CURRENT_BYTES: usize = 8 + 16 + 1;

pub(super) fn verify(dir: &Path) -> Result<(), OpenError> {
    verify_trees(dir).map_err(|source| match source {
        Failure::Io(source) if !is_damage(&source) => OpenError::Io { dir: dir.to_path_buf(), source },
        Failure::Io(source) => OpenError::Damaged { dir: dir.to_path_buf(), detail: source.to_string() },
        Failure::Damage(detail) => OpenError::Damaged { dir: dir.to_path_buf(), detail },
    })
}

enum Failure {
    Io(io::Error),
    Damage(String),
}

impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

fn verify_trees(dir: &Path) -> Result<(), Failure> {
    let trees = match fs::read_dir(dir.join("keyspaces")) {
        Ok(trees) => trees,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(source.into()),
    };
    for tree in trees {
        let tree = tree?.path();
        // A crash while a tree is created leaves none: fjall then starts it anew.
        if tree.join("current").try_exists()? {
            verify_tree(&tree)?;
        }
    }
    Ok(())
}

fn verify_tree(tree: &Path) -> Result<(), Failure> {
    let current = fs::read(tree.join("current"))?;
    let Some((number, checksum)) = parse_current(&current) else {
        return Err(Failure::Damage(format!(
            "{} of {} bytes, not {CURRENT_BYTES}",
            tree.join("current").display(),
            current.len()
        )));
    };
    let path = tree.join(format!("v{number}"));
    let found = xxh3_128(&fs::read(&path)?);
    if found != checksum {
        return Err(Failure::Damage(format!(
            "{} with checksum {found:032x}, not {checksum:032x}",
            path.display()
        )));
    }
    Ok(())
}

fn parse_current(bytes: &[u8]) -> Option<(u64, u128)> {
    let bytes: &[u8; CURRENT_BYTES] = bytes.try_into().ok()?;
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    let (checksum, kind) = rest.split_first_chunk::<16>()?;
    (kind == [0]).then(|| (u64::from_le_bytes(*number), u128::from_le_bytes(*checksum)))
}
