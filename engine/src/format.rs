//! What is frozen when a data directory is formatted.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::replication::{Members, NodeId};

/// Version of the directory's layout and of everything in it.
pub const FORMAT_VERSION: u32 = 8;
const FILE: &str = "FORMAT";

/// The frozen part of the configuration: compared at every open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format {
    /// Number of shards.
    pub shards: u16,
    /// Secret of the idempotency keys' hash.
    pub secret: [u64; 2],
    /// The cluster that it is a node of.
    pub cluster: Option<ClusterFormat>,
}

/// What all nodes of a cluster know, and nobody else: who has it speaks as a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClusterKey(pub [u8; 32]);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

/// Why a text is no key of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cluster key: expected 64 hexadecimal digits, found {found} characters")]
pub struct ClusterKeyError {
    /// Its length.
    pub found: usize,
}

impl ClusterKey {
    /// A new one.
    ///
    /// # Errors
    /// Without a source of randomness.
    pub fn fresh() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }

    /// The secret of the hash of idempotency keys, the same at all nodes. That hash is not made to hide its secret, so
    /// nodes prove themselves by the other half.
    fn hash_secret(&self) -> [u64; 2] {
        [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|byte| self.0[at + byte])))
    }

    /// What nodes prove to each other that they have: 16 bytes, and as many zeros.
    pub fn proof_secret(&self) -> [u8; 32] {
        std::array::from_fn(|byte| if byte < 16 { self.0[16 + byte] } else { 0 })
    }

    /// As digits.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for ClusterKey {
    type Err = ClusterKeyError;

    fn from_str(text: &str) -> Result<Self, ClusterKeyError> {
        let error = ClusterKeyError { found: text.chars().count() };
        let digits = text.as_bytes();
        if digits.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(error);
        }
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(digits.chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| error)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| error)?;
        }
        Ok(Self(key))
    }
}

/// A node of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterFormat {
    /// Its number: never given twice in a cluster, so that a node whose disk was lost comes back under another one.
    pub node: NodeId,
    /// Who founded the cluster: voters of every group from its first entry on.
    pub founders: Members,
    /// The cluster's key.
    pub key: ClusterKey,
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
    /// Formatted for a cluster and opened without one, or the other way round.
    #[error("expected {path} formatted for {expected}, found it formatted for {found}")]
    Cluster {
        /// The path.
        path: PathBuf,
        /// What it was opened as.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// Something is there already.
    #[error("expected an empty directory to format, found {found} in {path}")]
    NotEmpty {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
    },
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
                let format = Self { shards: shards.unwrap_or(1), secret: fresh_secret(dir)?, cluster: None };
                format.write(dir)?;
                Ok(format)
            }
        }
    }

    /// The format of a node's directory, which must be empty.
    pub(crate) fn of_node(dir: &Path, shards: u16, cluster: ClusterFormat) -> Result<Self, FormatError> {
        if onrush_proto::SlotMap::new(shards).is_none() {
            return Err(FormatError::ShardCount(shards));
        }
        let list = || fs::read_dir(dir)?.next().transpose();
        let found = list().map_err(|source| FormatError::Io { path: dir.to_path_buf(), source })?;
        if let Some(found) = found {
            let found = found.file_name().to_string_lossy().into_owned();
            return Err(FormatError::NotEmpty { path: dir.to_path_buf(), found });
        }
        Ok(Self { shards, secret: cluster.key.hash_secret(), cluster: Some(cluster) })
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
        let cluster = text.lines().any(|line| line.starts_with("node "));
        Ok(Some(Self {
            shards: field("shards")? as u16,
            secret: [field("secret0")?, field("secret1")?],
            cluster: cluster.then(|| Self::read_cluster(&path, &text)).transpose()?,
        }))
    }

    fn read_cluster(path: &Path, text: &str) -> Result<ClusterFormat, FormatError> {
        let line =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let damaged = |expected: &'static str| FormatError::Damaged {
            path: path.to_path_buf(),
            expected,
            found: line(expected).chars().take(40).collect(),
        };
        let number = |text: &str| u64::from_str_radix(text, 16).map(NodeId);
        let founders = line("founders").split(',').map(number).collect::<Result<Vec<_>, _>>();
        let founders = founders.ok().and_then(|founders| Members::of(founders).ok());
        Ok(ClusterFormat {
            node: number(line("node")).map_err(|_| damaged("node"))?,
            founders: founders.ok_or_else(|| damaged("founders"))?,
            // What was there is not told: it may be most of the key.
            key: line("key").parse().map_err(|_| FormatError::Damaged {
                path: path.to_path_buf(),
                expected: "key",
                found: format!("{} characters", line("key").len()),
            })?,
        })
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), FormatError> {
        let [first, second] = self.secret;
        let mut text = format!(
            "onrush data directory (numbers are hexadecimal)\nversion {FORMAT_VERSION:x}\nshards {:x}\nsecret0 {first:016x}\nsecret1 {second:016x}\n",
            self.shards
        );
        if let Some(ClusterFormat { node, founders, key }) = &self.cluster {
            let founders: Vec<String> = founders.voters().map(|node| format!("{:x}", node.0)).collect();
            let (founders, key) = (founders.join(","), key.to_hex());
            text.push_str(&format!("node {:x}\nfounders {founders}\nkey {key}\n", node.0));
        }
        let (path, draft) = (dir.join(FILE), dir.join("FORMAT.new"));
        let write = || {
            let mut file = create_private(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            fs::File::open(dir)?.sync_all()
        };
        write().map_err(|source| FormatError::Io { path: path.clone(), source })
    }
}

/// What is in it is nobody else's.
fn create_private(path: &Path) -> std::io::Result<fs::File> {
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
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
