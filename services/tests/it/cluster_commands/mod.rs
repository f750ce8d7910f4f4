//! The commands of a cluster by the real binary: nodes that are processes of their own, changed by `onrush cluster`
//! alone.

mod changes;
mod dev;
mod directories;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::binary::{Process, onrush};
use crate::wait::{found, until};

/// Milliseconds without a leader before another one is elected: the shop is away for little longer.
const ELECTION_MS: &str = "500";

/// A command that runs; killed when dropped.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// How it ends. What it says has room in its pipes.
    async fn ends(mut self) -> Output {
        let child = &mut self.0;
        let status =
            until("the command to end", async || child.try_wait().unwrap().ok_or("it runs on")).await;
        let [mut stdout, mut stderr] = [Vec::new(), Vec::new()];
        std::io::copy(child.stdout.as_mut().unwrap(), &mut stdout).unwrap();
        std::io::copy(child.stderr.as_mut().unwrap(), &mut stderr).unwrap();
        Output { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `onrush cluster ...`, asked of the shop at a URL.
fn cluster(server: &str, arguments: &[&str]) -> Command {
    onrush(&[&["cluster", "--server", server], arguments].concat())
}

/// What a command says that ends well, and says nothing of an error.
async fn said(command: Command) -> String {
    let output = Running::start(command).ends().await;
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {said}{errors}", output.status);
    said
}

fn free_address() -> String {
    // Nobody else takes it so soon.
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Nodes by number: where each is known to listen for the others, and those that run.
struct Nodes {
    dir: TempDir,
    key: String,
    founders: String,
    shards: &'static str,
    peers: BTreeMap<u64, String>,
    processes: BTreeMap<u64, Process>,
}

impl Nodes {
    /// A new cluster: directories of its founders, of which none runs yet.
    async fn formatted(founders: &[u64], shards: &'static str) -> Self {
        let numbers: Vec<String> = founders.iter().map(u64::to_string).collect();
        let (dir, processes) = (tempfile::tempdir().unwrap(), BTreeMap::new());
        let (key, peers) = ("new".into(), BTreeMap::new());
        let mut nodes = Self { dir, key, founders: numbers.join(","), shards, peers, processes };
        for node in founders {
            let told = said(nodes.format(*node)).await;
            let made = told.lines().find_map(|line| line.strip_prefix("cluster key "));
            assert_eq!(made.is_some(), nodes.key == "new", "a key is made once: {told}");
            nodes.key = made.map_or(nodes.key, str::to_owned);
        }
        nodes
    }

    /// The same, and all of them run.
    async fn founded(founders: &[u64], shards: &'static str) -> Self {
        let mut nodes = Self::formatted(founders, shards).await;
        for node in founders {
            nodes.peers.insert(*node, free_address());
        }
        for node in founders {
            nodes.start(*node, &[]).await;
        }
        nodes
    }

    /// Where a node has what is its own.
    fn data(&self, node: u64) -> String {
        self.dir.path().join(format!("node-{node}")).to_str().unwrap().to_owned()
    }

    fn format(&self, node: u64) -> Command {
        let number = node.to_string();
        let mut command = onrush(&["format", "--node", &number, "--founders", &self.founders]);
        command.args(["--shards", self.shards, "--data-dir", &self.data(node)]);
        match &*self.key {
            "new" => command.args(["--cluster", "new"]),
            key => command.env("CLUSTER_KEY", key),
        };
        command
    }

    /// Has a node serve, which knows all nodes that there are by now.
    fn serve(&self, node: u64) -> Command {
        let peers: Vec<String> = self.peers.iter().map(|(node, at)| format!("{node}={at}")).collect();
        let mut command = onrush(&["serve", "--node", &node.to_string(), "--peers", &peers.join(",")]);
        command.args(["--data-dir", &self.data(node), "--election-ms", ELECTION_MS]);
        command.args(["--services", "product,order,user"]);
        command.args(["--product-port", "0", "--order-port", "0", "--user-port", "0"]);
        command
    }

    async fn start(&mut self, node: u64, env: &[(&str, &str)]) {
        let mut command = self.serve(node);
        command.envs(env.iter().copied());
        let mut process = tokio::task::spawn_blocking(|| Process::spawn(command)).await.unwrap();
        // Read to its end, so that the process never blocks on a full pipe.
        drop(process.read_errors());
        self.processes.insert(node, process);
    }

    /// Where a node that runs is asked.
    fn url(&self, node: u64) -> String {
        format!("http://{}", self.processes[&node].address("order"))
    }

    /// A command that a node that runs is asked.
    fn asked(&self, node: u64, arguments: &[&str]) -> Command {
        cluster(&self.url(node), arguments)
    }

    async fn status(&self, node: u64) -> String {
        said(self.asked(node, &["status"])).await
    }

    /// Asks a node for the status until that is as it shall be.
    async fn shows(&self, node: u64, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        until(what, async || {
            let status = self.status(node).await;
            if is_so(&status) { Ok(status) } else { Err(status) }
        })
        .await
    }

    /// Who leads, as a node says.
    async fn leader(&self, node: u64) -> u64 {
        found("a node that leads all shards", async || leads(&self.status(node).await)).await
    }
}

/// Who leads all shards and decides, by what `status` says.
fn leads(status: &str) -> Option<u64> {
    let shards = status.lines().filter(|line| line.starts_with("shard "));
    let leaders: BTreeSet<Option<u64>> = shards
        .map(|line| {
            let (leader, more) = line.split_once("node ")?.1.split_once(" leads in term ")?;
            if more.contains("not known to decide") { None } else { leader.parse().ok() }
        })
        .collect();
    if leaders.len() == 1 { leaders.into_iter().next()? } else { None }
}

/// What `status` says of a set of each shard's group, e.g. of its `voters`; none if groups differ.
fn members(status: &str, set: &str) -> Option<String> {
    let shards = status.lines().filter(|line| line.starts_with("shard ")).count();
    let sets: Vec<&str> = status
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.strip_prefix(set)?.strip_prefix(' '))
        .collect();
    (sets.len() == shards && sets.iter().all(|one| *one == sets[0])).then(|| sets[0].to_owned())
}
