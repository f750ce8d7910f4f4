//! What is frozen when a data directory is formatted.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Version of the directory's layout and of everything in it.
pub const FORMAT_VERSION: u32 = 6;
const FILE: &str = "FORMAT";

/// The frozen part of the configuration: compared at every open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// Number of shards.
    pub shards: u16,
    /// Secret of the idempotency keys' hash.
    pub secret: [u64; 2],
}

/// Why a directory's format could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("expected {expected} in {path}, found {found:?}")]
    Damaged {
        /// The path.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
        /// The line found.
        found: String,
    },
    /// Of another version.
    #[error("expected format version {FORMAT_VERSION} in {path}, found {found}")]
    Version {
        /// The path.
        path: PathBuf,
        /// The version found.
        found: u64,
    },
    /// Formatted with another number of shards.
    #[error("{path} was formatted with {formatted} shards, and {asked} were asked for")]
    Shards {
        /// The directory.
        path: PathBuf,
        /// Its number of shards.
        formatted: u16,
        /// The number asked for.
        asked: u16,
    },
    /// A number of shards outside 1..=256.
    #[error("expected 1 to 256 shards, found {0}")]
    ShardCount(u16),
}

impl Format {
    /// Reads the directory's format, or formats it with `shards` and a fresh secret.
    /// `None` takes the directory's number of shards as it is (1 for a new one).
    pub fn open(dir: &Path, shards: Option<u16>) -> Result<Self, FormatError> {
        if let Some(shards) = shards.filter(|shards| onrush_proto::SlotMap::new(*shards).is_none()) {
            return Err(FormatError::ShardCount(shards));
        }
        match Self::read(dir)? {
            Some(format) => match shards {
                Some(asked) if asked != format.shards => {
                    Err(FormatError::Shards { path: dir.to_path_buf(), formatted: format.shards, asked })
                }
                _ => Ok(format),
            },
            None => {
                let format = Self { shards: shards.unwrap_or(1), secret: fresh_secret(dir)? };
                format.write(dir)?;
                Ok(format)
            }
        }
    }

    /// The directory's format; `None` if it is not formatted.
    pub fn read(dir: &Path) -> Result<Option<Self>, FormatError> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FormatError::Io { path, source }),
        };
        let field = |name: &'static str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
            u64::from_str_radix(line, 16).map_err(|_| FormatError::Damaged {
                path: path.clone(),
                expected: name,
                found: line.chars().take(40).collect(),
            })
        };
        let version = field("version")?;
        if version != u64::from(FORMAT_VERSION) {
            return Err(FormatError::Version { path, found: version });
        }
        Ok(Some(Self { shards: field("shards")? as u16, secret: [field("secret0")?, field("secret1")?] }))
    }

    fn write(&self, dir: &Path) -> Result<(), FormatError> {
        let [first, second] = self.secret;
        let text = format!(
            "onrush data directory (numbers are hexadecimal)\nversion {FORMAT_VERSION:x}\nshards {:x}\nsecret0 {first:016x}\nsecret1 {second:016x}\n",
            self.shards
        );
        let (path, draft) = (dir.join(FILE), dir.join("FORMAT.new"));
        let write = || {
            let mut file = fs::File::create(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            fs::File::open(dir)?.sync_all()
        };
        write().map_err(|source| FormatError::Io { path: path.clone(), source })
    }
}

fn fresh_secret(dir: &Path) -> Result<[u64; 2], FormatError> {
    let failed = |error: getrandom::Error| FormatError::Io {
        path: dir.to_path_buf(),
        source: std::io::Error::other(error.to_string()),
    };
    Ok([getrandom::u64().map_err(failed)?, getrandom::u64().map_err(failed)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_frozen_once_written() {
        let dir = tempfile::tempdir().unwrap();
        let format = Format::open(dir.path(), Some(4)).unwrap();
        assert_eq!(Format::open(dir.path(), None).unwrap(), format);
        let error = Format::open(dir.path(), Some(2)).unwrap_err().to_string();
        assert!(error.contains("formatted with 4 shards, and 2 were asked for"), "{error}");
    }

    #[test]
    fn names_what_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), format!("version {FORMAT_VERSION:x}\nshards x\n")).unwrap();
        let error = Format::open(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("expected shards") && error.contains("found \"x\""), "{error}");
        fs::write(dir.path().join(FILE), "version 1\nshards 1\n").unwrap();
        let error = Format::open(dir.path(), None).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("expected format version {FORMAT_VERSION}"))
                && error.ends_with("found 1"),
            "{error}"
        );
        assert!(matches!(Format::open(dir.path(), Some(0)), Err(FormatError::ShardCount(0))));
    }
}
