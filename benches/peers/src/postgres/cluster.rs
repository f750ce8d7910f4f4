//! `postgres` on a directory of its own, as a user who may run it.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use onrush_benches::Failure;
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use super::wire::Client;
use crate::process::{Launch, Process, at, free_port, outlives_nobody};
use crate::servers::WalSync;
use crate::stage::Stage;

/// The database's first user.
const USER: &str = "postgres";
/// Whom the servers of root run as: the first of them that there is.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// How it runs: durable, and nothing comes in between while it is measured.
const SETTINGS: [(&str, &str); 15] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("wal_buffers", "64MB"),
    ("min_wal_size", "1GB"),
    ("max_wal_size", "16GB"),
    ("checkpoint_timeout", "1h"),
    ("shared_buffers", "1GB"),
    ("max_connections", "100"),
    ("autovacuum", "on"),
    ("jit", "off"),
    ("commit_delay", "0"),
    ("huge_pages", "try"),
];

/// A running server.
pub(super) struct Cluster {
    process: Process,
    port: u16,
    /// Removed behind the process.
    _dir: TempDir,
}

/// Who runs a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// The first of [`ACCOUNTS`] in a text like `/etc/passwd`.
    fn find(accounts: &str) -> Option<Self> {
        let of = |wanted: &&str| {
            let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
            let line =
                accounts.lines().map(fields).find(|fields| fields.first().is_some_and(|f| f == wanted))?;
            Some(Self { user: line.get(2)?.parse().ok()?, group: line.get(3)?.parse().ok()? })
        };
        ACCOUNTS.iter().find_map(of)
    }

    /// Who is to run the server; `None` if we are.
    fn needed() -> Result<Option<Self>, Failure> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let found = Self::find(&fs::read_to_string("/etc/passwd")?);
        let none = || Failure::unexpected("an account for PostgreSQL, which root may not run", ACCOUNTS);
        found.map(Some).ok_or_else(none)
    }

    fn enter(self, command: &mut Command) {
        command.uid(self.user).gid(self.group);
    }
}

impl Cluster {
    /// Makes the files and starts the server.
    pub(super) fn start(stage: &Stage<'_>) -> Result<Self, Failure> {
        let (binary, dir, port) = (stage.servers.postgres()?, stage.fresh()?, free_port()?);
        let (account, data) = (Account::needed()?, dir.path().join("data"));
        fs::create_dir(&data)?;
        let run = |program: &Path| {
            let mut command = Command::new(program);
            command.current_dir(&data).arg("-D").arg(&data);
            if let Some(account) = account {
                account.enter(&mut command);
            }
            command
        };
        if let Some(Account { user, group }) = account {
            chown(&data, Some(user), Some(group))?;
        }
        initialise(run(&binary.with_file_name("initdb")), &data)?;
        let mut command = run(binary);
        command.args(["-p", &port.to_string()]);
        for (name, value) in [("listen_addresses", "127.0.0.1"), ("unix_socket_directories", "")] {
            command.args(["-c", &format!("{name}={value}")]);
        }
        for (name, value) in settings(stage.servers.wal_sync_method) {
            command.args(["-c", &format!("{name}={value}")]);
        }
        // An immediate end: what was measured is thrown away.
        let launch = Launch { name: "postgres", command, dir: dir.path(), stop: Signal::QUIT };
        let mut process = Process::start(launch)?;
        // It listens before it answers.
        process.wait_for(|_| connect(port).ok())?;
        Ok(Self { process, port, _dir: dir })
    }

    pub(super) fn connect(&self) -> Result<Client, Failure> {
        connect(self.port)
    }

    pub(super) fn cpu_ns(&self) -> u64 {
        self.process.cpu_ns()
    }
}

fn connect(port: u16) -> Result<Client, Failure> {
    let stream = TcpStream::connect(at(port))?;
    stream.set_nodelay(true)?;
    Client::greet(stream, USER)
}

fn initialise(mut command: Command, data: &Path) -> Result<(), Failure> {
    command.args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    outlives_nobody(&mut command, Signal::TERM);
    let done = command.output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    // A server of another account has to be able to walk there.
    Err(Failure::unexpected(format!("initdb to fill {}, which its account must reach", data.display()), said))
}

/// What it calls itself.
pub(crate) fn version(binary: &Path) -> Option<String> {
    let said = Command::new(binary).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.split_whitespace().nth(2).map(str::to_owned)
}

fn settings(sync: WalSync) -> impl Iterator<Item = (&'static str, &'static str)> {
    SETTINGS.into_iter().chain([("wal_sync_method", sync.name())])
}

/// What else was tried, in short runs in turns on two cores that had other work, too.
const TRIED: &str = "`--wal-sync-method open_datasync` was tried: 0.7x with the hot SKU, as much with 10,000, 0.8x by hundreds";

/// How it runs, in words.
pub(crate) fn how(sync: WalSync) -> String {
    let words: Vec<_> = settings(sync).map(|(name, value)| format!("`{name} = {value}`")).collect();
    format!("{}; {TRIED}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_has_an_account_of_its_own_or_that_of_nobody() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n";
        assert_eq!(Account::find(passwd), Some(Account { user: 65_534, group: 65_533 }));
        let passwd = format!("{passwd}postgres:x:101:104::/var/lib/postgresql:/bin/bash\n");
        assert_eq!(Account::find(&passwd), Some(Account { user: 101, group: 104 }));
        assert_eq!(Account::find("root:x:0:0::/root:/bin/sh\n"), None);
    }
}
