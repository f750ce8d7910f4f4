//! A server as a process of its own: started, watched, stopped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use onrush_benches::Failure;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

use crate::interrupt;

/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(60);
/// How long it may take to end before it is killed.
const END_MAX: Duration = Duration::from_secs(10);
/// How often either is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes of its log that are shown when it fails.
const LOG_BYTES: usize = 2_000;

/// A running server; dropping it ends it.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    stop: Signal,
}

/// How a server is run.
pub(crate) struct Launch<'a> {
    /// What it is called where it fails.
    pub(crate) name: &'static str,
    pub(crate) command: Command,
    /// Where its log goes.
    pub(crate) dir: &'a Path,
    /// What ends it, with all of its processes.
    pub(crate) stop: Signal,
}

impl Process {
    /// Starts it in a process group of its own: a Ctrl-C is for us, who end it.
    pub(crate) fn start(launch: Launch<'_>) -> Result<Self, Failure> {
        let Launch { name, mut command, dir, stop } = launch;
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        outlives_nobody(&mut command, stop);
        let child =
            command.spawn().map_err(|error| Failure::unexpected(format!("{name} to start"), error))?;
        Ok(Self { name, child, log, stop })
    }

    /// Waits until `ready` says something.
    pub(crate) fn wait_for<T>(&mut self, mut ready: impl FnMut(&str) -> Option<T>) -> Result<T, Failure> {
        let start = Instant::now();
        loop {
            if let Some(found) = ready(&self.log()) {
                return Ok(found);
            }
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("ended with {status}")));
            }
            if start.elapsed() > START_MAX {
                return Err(self.failure("is not ready"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until it takes connections at this port of loopback.
    pub(crate) fn wait_for_port(&mut self, port: u16) -> Result<(), Failure> {
        self.wait_for(|_| TcpStream::connect(at(port)).ok()).map(drop)
    }

    fn failure(&self, what: &str) -> Failure {
        let log = self.log();
        let tail = log.floor_char_boundary(log.len().saturating_sub(LOG_BYTES));
        Failure::unexpected(format!("{} that listens", self.name), format!("it {what}: {}", &log[tail..]))
    }

    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// CPU time of its threads and those of its children, in ns. What ended is not in it.
    pub(crate) fn cpu_ns(&self) -> u64 {
        family(self.child.id()).into_iter().map(threads_ns).sum()
    }

    fn end(&mut self) {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        let start = Instant::now();
        // One that has ended already needs no signal.
        let _ = kill_process(pid, self.stop);
        while start.elapsed() < END_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends what is run with the thread that runs it, however that ends: nobody hears of a SIGKILL in time. The kernel forgets
/// who becomes another user, so it is told behind that, where only a few calls are allowed.
pub(crate) fn outlives_nobody(command: &mut Command, signal: Signal) {
    let us = getpid();
    let tell = move || {
        set_parent_process_death_signal(Some(signal))?;
        // Who ended before that is not heard of any more.
        if getppid() == Some(us) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    #[allow(
        unsafe_code,
        reason = "only between fork and exec is a child told by whom it is not to be outlived"
    )]
    // SAFETY: after the fork it makes two system calls; it allocates nothing, takes no lock and touches no memory of others.
    unsafe {
        command.pre_exec(tell);
    }
}

/// A port of loopback.
pub(crate) fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that nobody listens at. Somebody else may take it before the server does: then the server says so.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind(at(0))?.local_addr()?.port())
}

/// A process and what descends from it.
fn family(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut family = vec![root];
    let mut at = 0;
    while at < family.len() {
        family.extend(children.get(&family[at]).into_iter().flatten());
        at += 1;
    }
    family
}

/// The parent in a line of `/proc/PID/stat`; the name in front of it may hold anything.
fn parent(stat: &str) -> Option<u32> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(1)?.parse().ok()
}

fn threads_ns(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    // A thread may end between two reads.
    let spent = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    spent.filter_map(|spent| spent.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, dir: &Path) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Process::start(Launch { name: "shell", command, dir, stop: Signal::TERM }).unwrap()
    }

    #[test]
    fn a_process_is_ready_once_it_says_so_and_its_children_count() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("(while :; do :; done) & echo ready; wait", dir.path());
        process.wait_for(|log| log.contains("ready").then_some(())).unwrap();
        let children = family(process.child.id());
        assert_eq!(children.len(), 2, "{children:?}");
        while process.cpu_ns() < 1_000_000 {
            std::thread::sleep(LOOK);
        }
        // The shell ends by its signal; its child is ours to end here.
        let child = Pid::from_raw(children[1] as i32).unwrap();
        kill_process(child, Signal::KILL).unwrap();
    }

    #[test]
    fn a_process_that_ends_shows_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("echo 'no room' >&2; exit 3", dir.path());
        let error = process.wait_for(|_| None::<()>).unwrap_err().to_string();
        assert!(error.contains("no room") && error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn names_with_brackets_have_parents() {
        assert_eq!(parent("7 (a) b) S 42 7 7 0"), Some(42));
        assert_eq!(parent("7"), None);
    }
}
