//! The real binary as a process: started, killed, stopped, verified.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use onrush_net::client::Retry;
use onrush_net::client::grpc::{Addresses, Client};

/// How long a process may take to end by itself.
const END_MAX: Duration = Duration::from_secs(30);
/// Connections per service of each client.
const CONNECTIONS: usize = 4;

/// A process that serves; killed when dropped.
pub(crate) struct Server {
    child: Child,
    dir: PathBuf,
    addresses: Addresses,
    /// How long it took from its start to serving.
    pub(crate) start: Duration,
}

impl Server {
    /// Starts on free ports and waits until it says where it serves.
    pub(crate) fn start(dir: &Path, shards: u16) -> Self {
        let started = Instant::now();
        let mut child = spawn(dir, shards);
        let stdout = child.stdout.take().unwrap();
        let Some(addresses) = addresses(stdout) else {
            let status = child.wait().unwrap();
            panic!("expected a server, found {status}; it said:\n{}", said(dir));
        };
        Self { child, dir: dir.into(), addresses, start: started.elapsed() }
    }

    /// Starts and kills after `life`, most likely while it recovers.
    pub(crate) async fn start_and_kill(dir: &Path, shards: u16, life: Duration) {
        let mut child = spawn(dir, shards);
        tokio::time::sleep(life).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A client whose calls wait as long as this.
    pub(crate) fn client(&self, timeout: Duration) -> Client {
        Client::new(&self.addresses, CONNECTIONS, Retry { timeout, ..Retry::NEVER }).unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        let early = self.child.try_wait().unwrap();
        assert!(early.is_none(), "expected a living server, found {early:?}; it said:\n{}", said(&self.dir));
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; it must end well.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let end = Instant::now() + END_MAX;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "it said:\n{}", said(&self.dir));
                return;
            }
            // Clients close their connections meanwhile, which the server waits for.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("expected the server to end within {END_MAX:?} of SIGTERM; it said:\n{}", said(&self.dir));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `onrush verify` on a stopped server's directory.
pub(crate) fn verify(dir: &Path) {
    let output = onrush().arg("verify").arg("--data-dir").arg(data(dir)).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(found.0, Some(0), "onrush verify said:\n{}{}", found.1, found.2);
}

fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

fn onrush() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrush"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn spawn(dir: &Path, shards: u16) -> Child {
    let errors: File = OpenOptions::new().create(true).append(true).open(dir.join("stderr")).unwrap();
    let mut command = onrush();
    command.arg("serve").arg("--data-dir").arg(data(dir)).args(["--shards", &shards.to_string()]);
    // Holds outlive the test, however many cycles: what is held or sold is what the journal says.
    command.args(["--hold-s", "31536000", "--gateway-faults", "decline=0.1,p50_ms=1,p99_ms=5"]);
    // Nothing moves an order but the test.
    command.args(["--services", "product,order,payment"]);
    command.args(["--product-port", "0", "--order-port", "0", "--payment-port", "0", "--native-port", "0"]);
    command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap()
}

/// The addresses of the banner; `None` if the process ends before it says them.
fn addresses(stdout: ChildStdout) -> Option<Addresses> {
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let mut after = |service: &str| {
        let line = lines.find(|line| line.starts_with(service))?;
        Some(format!("http://{}", line.split_whitespace().last()?))
    };
    let found = Addresses {
        product: after("product ")?,
        order: after("order ")?,
        payment: after("payment ")?,
        ..Addresses::default()
    };
    // The rest is read on, so that the process never writes to a closed pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Some(found)
}

/// What the server logged, its last lines.
fn said(dir: &Path) -> String {
    let text = std::fs::read_to_string(dir.join("stderr")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
