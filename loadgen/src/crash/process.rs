//! The real server as a process: started, killed, stopped, verified.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use onrush_net::client::grpc::Addresses;
use rustix::process::{Pid, Signal, kill_process};

use super::CrashError;

/// How long a process may take until it says where it serves: it reads its whole log before.
const START_MAX: Duration = Duration::from_secs(120);
/// How long a process may take to end by itself.
const END_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether it has.
const END_PAUSE: Duration = Duration::from_millis(5);
/// Lines of its log that an error tells.
const SAID_LINES: usize = 20;

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) binary: PathBuf,
    /// Its data and its log are below this directory.
    pub(crate) dir: PathBuf,
    pub(crate) shards: u16,
    /// What drives the shards, if somebody says.
    pub(crate) host: Option<String>,
    /// Lets the audit at its engine.
    pub(crate) engine_token: String,
    /// The cluster that it is a node of.
    pub(crate) node: Option<NodeSetup>,
}

/// A node of a cluster, which others find where they found it before.
#[derive(Clone, Debug)]
pub(crate) struct NodeSetup {
    pub(crate) number: u64,
    /// The cluster's founders.
    pub(crate) founders: String,
    /// Where all nodes reach each other.
    pub(crate) peers: String,
    pub(crate) key: String,
    /// Ports of product, order, payment and the native protocol.
    pub(crate) ports: [u16; 4],
    /// MiB of log between two snapshots.
    pub(crate) snapshot_mib: u32,
    /// What else it is told of where it stands.
    pub(crate) words: Vec<String>,
    /// The network namespace that it serves in.
    pub(crate) namespace: Option<PathBuf>,
}

/// Where it serves.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) services: Addresses,
    /// `host:port` of the native protocol.
    pub(crate) native: String,
}

/// A process that serves; killed when dropped.
pub(crate) struct Process {
    child: Child,
    setup: Setup,
    pub(crate) places: Places,
    /// From its start to serving.
    pub(crate) start: Duration,
}

impl Setup {
    /// Everything that it keeps.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    fn command(&self) -> Command {
        Self::alone(Command::new(&self.binary))
    }

    /// The same in its network namespace, if it has one: the process is replaced, and signals reach the server.
    fn command_within(&self) -> Command {
        let Some(space) = self.node.as_ref().and_then(|node| node.namespace.as_ref()) else {
            return self.command();
        };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", space.display())).arg(&self.binary);
        Self::alone(command)
    }

    /// Nothing of our own environment reaches it.
    fn alone(mut command: Command) -> Command {
        command.env_clear().stdin(Stdio::null());
        // What its log tells is the caller's choice.
        command.envs(std::env::var_os("LOG").map(|filter| ("LOG", filter)));
        command
    }

    fn failed(&self, source: std::io::Error) -> CrashError {
        CrashError::Start { binary: self.binary.clone(), source }
    }

    /// The last lines of its log.
    fn said(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SAID_LINES)..].join("\n")
    }

    fn spawn(&self) -> Result<Child, CrashError> {
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(|source| CrashError::Directory { dir: self.dir.clone(), source })?;
        let mut command = self.command_within();
        command.arg("serve").arg("--data-dir").arg(self.data());
        match &self.node {
            None => command.args(["--shards", &self.shards.to_string()]),
            Some(node) => command
                .args(["--peers", &node.peers])
                .args(["--snapshot-mib", &node.snapshot_mib.to_string()])
                .args(&node.words),
        };
        if let Some(host) = &self.host {
            command.args(["--host", host]);
        }
        // Declines come from the cards that buyers pay with; nothing else moves an order.
        command.args(["--gateway-faults", "p50_ms=1,p99_ms=5", "--services", "product,order,payment"]);
        let ports = self.node.as_ref().map_or([0; 4], |node| node.ports);
        for (flag, port) in
            ["--product-port", "--order-port", "--payment-port", "--native-port"].iter().zip(ports)
        {
            command.args([flag, port.to_string().as_str()]);
        }
        command.args(["--native-quic-port", "off"]);
        command.env("ENGINE_TOKEN", &self.engine_token).stdout(Stdio::piped()).stderr(log);
        command.spawn().map_err(|source| self.failed(source))
    }

    /// Makes the directory of a node.
    pub(crate) fn format(&self) -> Result<(), CrashError> {
        let Some(node) = &self.node else { return Ok(()) };
        std::fs::create_dir_all(&self.dir)
            .map_err(|source| CrashError::Directory { dir: self.dir.clone(), source })?;
        let mut command = self.command();
        command.arg("format").arg("--data-dir").arg(self.data());
        command.args(["--node", &node.number.to_string(), "--founders", &node.founders]);
        command.args(["--shards", &self.shards.to_string()]);
        let formatted =
            command.env("CLUSTER_KEY", &node.key).output().map_err(|source| self.failed(source))?;
        match formatted.status.success() {
            true => Ok(()),
            false => {
                let said = String::from_utf8_lossy(&formatted.stderr).into_owned();
                Err(CrashError::Ended { status: formatted.status, said })
            }
        }
    }

    /// Starts a server on free ports and waits until it says where it serves.
    pub(crate) fn start(&self) -> Result<Process, CrashError> {
        let started = Instant::now();
        let mut child = self.spawn()?;
        let over = watch(child.id());
        let places = child.stdout.take().and_then(places);
        drop(over);
        match places {
            Some(places) => Ok(Process { child, setup: self.clone(), places, start: started.elapsed() }),
            None => {
                let _ = child.kill();
                let status = child.wait().map_err(|source| self.failed(source))?;
                Err(CrashError::Ended { status, said: self.said() })
            }
        }
    }

    /// What `onrush verify` says of the directory of a server that has ended; `Err` holds its complaint.
    pub(crate) fn verify(&self) -> Result<String, String> {
        let output = self.command().arg("verify").arg("--data-dir").arg(self.data()).output();
        let told = |Output { status, stdout, stderr }: Output| {
            let text =
                [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).join("\n");
            if status.success() { Ok(text) } else { Err(format!("{status}: {text}")) }
        };
        output.map_err(|error| error.to_string()).and_then(told)
    }
}

impl Process {
    /// SIGKILL. It must not have ended by itself before.
    pub(crate) fn kill(mut self) -> Result<(), CrashError> {
        self.alive()?;
        self.child.kill().map_err(|source| self.setup.failed(source))?;
        self.child.wait().map_err(|source| self.setup.failed(source))?;
        Ok(())
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it stand still, or go on.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), CrashError> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.map_or(Ok(()), |pid| kill_process(pid, signal)).map_err(|error| self.setup.failed(error.into()))
    }

    fn alive(&mut self) -> Result<(), CrashError> {
        match self.child.try_wait().map_err(|source| self.setup.failed(source))? {
            None => Ok(()),
            Some(status) => Err(CrashError::Ended { status, said: self.setup.said() }),
        }
    }

    /// SIGTERM; it must end well.
    pub(crate) fn stop(mut self) -> Result<(), CrashError> {
        self.alive()?;
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(|error| self.setup.failed(error.into()))?;
        }
        let end = Instant::now() + END_MAX;
        while Instant::now() < end {
            match self.child.try_wait().map_err(|source| self.setup.failed(source))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(CrashError::Ended { status, said: self.setup.said() }),
                None => sleep(END_PAUSE),
            }
        }
        Err(CrashError::Endless { said: self.setup.said() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends a process that says nothing for too long, unless what is returned is dropped before.
fn watch(id: u32) -> Sender<()> {
    let (over, waits) = channel::<()>();
    std::thread::spawn(move || {
        if waits.recv_timeout(START_MAX) == Err(RecvTimeoutError::Timeout)
            && let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw)
        {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    over
}

/// What the banner says, service by service in the order in which it names them; `None` if the process ends
/// before it does.
fn places(stdout: ChildStdout) -> Option<Places> {
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let places = read_places(&mut lines);
    // The rest is read on, so that the process never writes to a closed pipe.
    std::thread::spawn(move || lines.for_each(drop));
    places
}

fn read_places(lines: &mut impl Iterator<Item = String>) -> Option<Places> {
    let mut after = |name: &str| {
        let line = lines.find(|line| line.split_whitespace().next() == Some(name))?;
        line.split_whitespace().last().map(str::to_owned)
    };
    let (product, order, payment) = (after("product")?, after("order")?, after("payment")?);
    let [product, order, payment] = [product, order, payment].map(|place| format!("http://{place}"));
    let services = Addresses { product, order, payment, ..Addresses::default() };
    Some(Places { services, native: after("native")? })
}

/// The server's binary: where it was said to be, else beside our own.
pub(crate) fn binary(given: Option<&Path>) -> Result<PathBuf, CrashError> {
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.join("onrush"))
    };
    let path = given.map(Path::to_path_buf).or_else(beside).unwrap_or_else(|| "onrush".into());
    if path.is_file() { Ok(path) } else { Err(CrashError::NoBinary { path }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_tells_where_the_server_serves() {
        let banner = "onrush 0.1.0: data in x, shards: 1, durable by y\n\
                      payments: simulated gateway, no real money moves\n\
                      product  127.0.0.1:1\n  curl product\norder    127.0.0.1:2\npayment  127.0.0.1:3\n\
                      native   127.0.0.1:4\n";
        let mut lines = banner.lines().map(str::to_owned);
        let places = read_places(&mut lines).unwrap();
        assert_eq!(places.services.order, "http://127.0.0.1:2");
        assert_eq!(
            (places.services.payment.as_str(), places.native.as_str()),
            ("http://127.0.0.1:3", "127.0.0.1:4")
        );
        assert!(read_places(&mut banner.lines().take(3).map(str::to_owned)).is_none());
    }

    #[test]
    fn a_binary_that_is_not_there_is_named() {
        let error = binary(Some(Path::new("no/such/onrush"))).unwrap_err().to_string();
        assert!(error.contains("no/such/onrush") && error.contains("--onrush"), "{error}");
    }
}
