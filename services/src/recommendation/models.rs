//! Models that were published, each a file of its own that is named by its version. The one that ranks and the one that
//! ranked before it are kept: where the newest turns out to be damaged at start, the one before it ranks.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onrush_scoring::model::{Kept, Model as Network, ModelError};

/// What stands before a version in the name of a file, and behind it.
const NAME: [&str; 2] = ["model-", ".onrush"];
/// The highest version that a name may say: there is room for as many publications above it.
const VERSION_MAX: u64 = u64::MAX / 2;

/// The directory of the models.
pub(super) struct Models(PathBuf);

/// What was found there.
#[derive(Default)]
pub(super) struct Found {
    /// The newest that can be used.
    pub(super) network: Option<Arc<Network>>,
    /// Newer ones, which cannot, the newest first.
    pub(super) refused: Vec<Refused>,
    /// The highest version that there is a file of; 0 for none.
    pub(super) highest: u64,
}

/// A file that is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    version: u64,
    /// What was expected of it, and what was found.
    why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, why } = self;
        write!(f, "version {version} was refused: {why}")
    }
}

impl Models {
    pub(super) fn of(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Where a version is.
    pub(super) fn path(&self, version: u64) -> PathBuf {
        let [before, behind] = NAME;
        self.0.join(format!("{before}{version}{behind}"))
    }

    /// The newest model that is whole and compatible, of those that were not withdrawn: from a version on. What is
    /// refused is told aloud, and left where it is.
    pub(super) fn newest(&self, from: u64) -> Found {
        let versions = self.versions().unwrap_or_else(|error| {
            let directory = self.0.display();
            tracing::warn!(%directory, %error, "expected a directory of models");
            Vec::new()
        });
        let highest = versions.first().copied().unwrap_or_default();
        let mut found = Found { highest, ..Found::default() };
        for version in versions.into_iter().take_while(|version| *version >= from) {
            let path = self.path(version);
            match read(&path, version) {
                Ok(network) => {
                    found.network = Some(Arc::new(network));
                    break;
                }
                Err(error) => {
                    let file = path.display();
                    tracing::warn!(%file, %error, "the model is not used: the one before it is, if there is one");
                    found.refused.push(Refused { version, why: error.to_string() });
                }
            }
        }
        found
    }

    /// Writes a model under its version, whole or not at all. It is durable then, and mapped.
    pub(super) fn write(&self, kept: &Kept) -> Result<Network, ModelError> {
        kept.write_file(&self.path(kept.origin.version))
    }

    /// Removes all but some versions. One that cannot be removed stays, and is told.
    pub(super) fn keep_only(&self, kept: &[u64]) {
        let removed = self.versions().and_then(|versions| {
            let others = versions.into_iter().filter(|version| !kept.contains(version));
            others.map(|version| self.path(version)).try_for_each(fs::remove_file)
        });
        if let Err(error) = removed {
            let directory = self.0.display();
            tracing::warn!(%directory, %error, "expected to remove models that are of no use any more");
        }
    }

    /// Versions that there are files of, the newest first.
    fn versions(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut versions = Vec::new();
        for entry in entries {
            versions.extend(entry?.file_name().to_str().and_then(version));
        }
        versions.sort_unstable_by(|a, b| b.cmp(a));
        Ok(versions)
    }
}

/// The version that a name says, written in no other way.
fn version(name: &str) -> Option<u64> {
    let [before, behind] = NAME;
    let digits = name.strip_prefix(before)?.strip_suffix(behind)?;
    let version = digits.parse().ok().filter(|version: &u64| version.to_string() == digits)?;
    (version <= VERSION_MAX).then_some(version)
}

/// The model of a file that is named by a version.
fn read(path: &Path, version: u64) -> Result<Network, ModelError> {
    let network = Network::read_file(path)?;
    match network.origin.version {
        found if found == version => Ok(network),
        found => Err(ModelError::Content(format!("expected version {version}, found version {found}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendation::knowledge::tests::kept;

    #[test]
    fn names_say_versions_in_one_way() {
        for (name, expected) in [
            ("model-0.onrush", Some(0)),
            ("model-17.onrush", Some(17)),
            ("model-9223372036854775807.onrush", Some(VERSION_MAX)),
            ("model-9223372036854775808.onrush", None),
            ("model-017.onrush", None),
            ("model-+1.onrush", None),
            ("model-.onrush", None),
            ("model-1.new", None),
            ("model.onrush", None),
        ] {
            assert_eq!(version(name), expected, "{name}");
        }
    }

    #[test]
    fn the_newest_that_is_whole_and_what_its_name_says_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let models = Models::of(dir.path().join("models"));
        let found = |from: u64| {
            let Found { network, refused, highest } = models.newest(from);
            let refused: Vec<String> = refused.iter().map(Refused::to_string).collect();
            (network.map(|network| network.origin.version), refused, highest)
        };
        assert_eq!(found(0), (None, vec![], 0));
        for version in [3, 9, 10, 12] {
            models.write(&kept(version)).unwrap();
        }
        // What is of no version is nobody's.
        fs::write(models.0.join("model.onrush"), "of before").unwrap();
        assert_eq!(found(0), (Some(12), vec![], 12));
        let bytes = fs::read(models.path(12)).unwrap();
        fs::write(models.path(12), &bytes[..bytes.len() - 1]).unwrap();
        fs::copy(models.path(9), models.path(10)).unwrap();
        let (used, refused, highest) = found(0);
        assert_eq!((used, highest), (Some(9), 12));
        assert!(refused[0].starts_with("version 12 was refused: expected ") && refused[0].contains("found"));
        assert_eq!(refused[1], "version 10 was refused: model: expected version 10, found version 9");
        // Those that were withdrawn are not looked at.
        assert_eq!(found(10).0, None);
        assert_eq!(found(13), (None, vec![], 12));
        models.keep_only(&[9, 12]);
        assert_eq!(models.versions().unwrap(), [12, 9]);
        assert!(models.0.join("model.onrush").exists());
    }
}
