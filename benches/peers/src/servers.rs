//! The servers of others that are on this machine. Nothing is installed here.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use onrush_benches::Failure;

use crate::{nats, postgres, redis};

/// Where servers are looked for besides PATH.
const USUAL_PLACES: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/usr/local/sbin"];
/// Where distributions keep PostgreSQL, by version.
const POSTGRES_PLACES: [&str; 2] = ["/usr/lib/postgresql", "/usr/pgsql"];

/// Servers that stand elsewhere
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Places {
    /// redis-server; found by PATH if not given
    #[arg(long, value_name = "FILE")]
    pub(crate) redis_server: Option<PathBuf>,
    /// postgres, with initdb beside it; found by PATH and in /usr/lib/postgresql if not given
    #[arg(long, value_name = "FILE")]
    pub(crate) postgres: Option<PathBuf>,
    /// nats-server; found by PATH if not given
    #[arg(long, value_name = "FILE")]
    pub(crate) nats_server: Option<PathBuf>,
    /// io-threads of Redis, 1 to 128: more are for machines with cores to spare
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=128))]
    pub(crate) io_threads: u8,
    /// wal_sync_method of PostgreSQL: which is faster depends on the disk
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wal_sync_method: WalSync,
}

/// How PostgreSQL makes its log durable.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum WalSync {
    /// Writes, then syncs: its own default on Linux.
    #[default]
    Fdatasync,
    /// Writes that are durable when they return.
    OpenDatasync,
}

impl WalSync {
    /// The setting's value.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fdatasync => "fdatasync",
            Self::OpenDatasync => "open_datasync",
        }
    }
}

/// What was found.
pub(crate) struct Servers {
    redis: Found,
    postgres: Found,
    nats: Found,
    pub(crate) io_threads: u8,
    pub(crate) wal_sync_method: WalSync,
}

/// A server, or how one gets it.
type Found = Result<PathBuf, Missing>;

/// A server that is not here.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    name: &'static str,
    /// Where it was to be, if somebody said so.
    given: Option<PathBuf>,
    install: &'static str,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, given, install } = self;
        match given {
            Some(place) => write!(f, "no {name} at {}", place.display()),
            None => write!(f, "no {name} here ({install})"),
        }
    }
}

impl Servers {
    pub(crate) fn find(places: &Places) -> Self {
        let find = |name, given: &Option<PathBuf>, install| {
            let found = given.clone().or_else(|| search(name)).filter(|path| path.is_file());
            found.ok_or_else(|| Missing { name, given: given.clone(), install })
        };
        Self {
            io_threads: places.io_threads,
            wal_sync_method: places.wal_sync_method,
            redis: find("redis-server", &places.redis_server, "apt-get install redis-server"),
            postgres: find("postgres", &places.postgres, "apt-get install postgresql"),
            nats: find(
                "nats-server",
                &places.nats_server,
                "apt-get install nats-server, or a release of github.com/nats-io/nats-server",
            ),
        }
    }

    pub(crate) fn redis(&self) -> Result<&Path, Failure> {
        there(&self.redis)
    }

    pub(crate) fn postgres(&self) -> Result<&Path, Failure> {
        there(&self.postgres)
    }

    pub(crate) fn nats(&self) -> Result<&Path, Failure> {
        there(&self.nats)
    }

    /// Each server with its version and how it runs, in lines of Markdown.
    pub(crate) fn describe(&self) -> Vec<String> {
        let line = |found: &Found, version: fn(&Path) -> Option<String>, how: String| match found {
            Ok(path) => {
                let version = version(path).unwrap_or_else(|| "of an unknown version".into());
                format!("{} {version}: {how}", name_of(path))
            }
            Err(missing) => format!("{missing}"),
        };
        vec![
            line(&self.redis, redis::version, redis::how(self.io_threads)),
            line(&self.postgres, postgres::version, postgres::how(self.wal_sync_method)),
            line(&self.nats, nats::version, nats::how()),
        ]
    }
}

fn there(found: &Found) -> Result<&Path, Failure> {
    found.as_deref().map_err(|missing| Failure::unexpected("a server", format_args!("{missing}")))
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn search(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = USUAL_PLACES.iter().map(PathBuf::from);
    let places = std::env::split_paths(&path).chain(usual).chain(postgres_places());
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// The newest version first.
fn postgres_places() -> Vec<PathBuf> {
    let entries =
        POSTGRES_PLACES.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten();
    let mut places: Vec<(u32, PathBuf)> = entries
        .map(|entry| {
            let version = entry.file_name().to_string_lossy().parse().unwrap_or(0);
            (version, entry.path().join("bin"))
        })
        .collect();
    places.sort();
    places.into_iter().rev().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_says_how_one_gets_it() {
        let places = Places { nats_server: Some("/nowhere/nats-server".into()), ..Places::default() };
        let servers = Servers::find(&places);
        let error = servers.nats().unwrap_err().to_string();
        assert!(error.contains("no nats-server at /nowhere/nats-server"), "{error}");
        assert!(servers.describe()[2].contains("/nowhere"));
        let missing = Missing { name: "postgres", given: None, install: "apt-get install postgresql" };
        assert_eq!(missing.to_string(), "no postgres here (apt-get install postgresql)");
        assert!(search("sh").is_some() && search("no-such-server").is_none());
    }
}
