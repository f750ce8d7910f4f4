//! `onrush cluster dev`: three nodes on this machine.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use clap::{Arg, ArgMatches, Command, value_parser};
use onrush_engine::Engine;
use onrush_engine::format::{ClusterFormat, ClusterKey, Format};
use onrush_engine::replication::{Members, NodeId};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Failure;
use crate::config::{SETTINGS, Service};

/// Its nodes.
const NODES: [u64; 3] = [1, 2, 3];
/// How far the ports of two nodes are apart.
const STRIDE: u16 = 100;
/// The last digits of a node's ports.
const PEER: u16 = 0;
const NATIVE: u16 = 60;

pub(super) fn command() -> Command {
    Command::new("dev").about("Runs three nodes on this machine, until it is stopped").args([
        Arg::new("data-dir")
            .long("data-dir")
            .value_name("DIR")
            .default_value("./onrush-cluster")
            .help("Where their data directories are, or are made"),
        Arg::new("base-port")
            .long("base-port")
            .value_name("PORT")
            .default_value("21000")
            .value_parser(value_parser!(u16).range(1_024..=64_000))
            .help("Node 1 has the ports from 100 above it on, node 2 from 200, node 3 from 300"),
        Arg::new("shards")
            .long("shards")
            .value_name("N")
            .default_value("1")
            .value_parser(value_parser!(u16).range(1..=256))
            .help("Shards of a cluster that is made"),
    ])
}

/// The nodes' directories and ports.
struct Plan {
    dir: PathBuf,
    base: u16,
    shards: u16,
}

impl Plan {
    fn node_dir(&self, node: u64) -> PathBuf {
        self.dir.join(format!("node-{node}"))
    }

    fn port(&self, node: u64, last: u16) -> u16 {
        self.base + node as u16 * STRIDE + last
    }

    fn service_port(&self, node: u64, service: Service) -> u16 {
        let place = Service::ALL.iter().position(|one| *one == service).unwrap_or_default();
        self.port(node, 51 + place as u16)
    }

    fn peers(&self) -> String {
        let peers = NODES.map(|node| format!("{node}=127.0.0.1:{}", self.port(node, PEER)));
        peers.join(",")
    }

    /// Makes the directories that are not there; all are of one cluster.
    fn format(&self) -> Result<(), Failure> {
        let mut key = None;
        let mut missing = Vec::new();
        for node in NODES {
            match Format::read(&self.node_dir(node)).map_err(Failure::world)? {
                Some(format) => key = key.or(format.cluster.map(|cluster| cluster.key)),
                None => missing.push(node),
            }
        }
        // A node that has forgotten what it promised does not come back under its number.
        if key.is_some() && !missing.is_empty() {
            let dir = self.dir.display();
            return Err(Failure::world(format!(
                "{dir}: expected all three nodes or none, found none of {missing:?}"
            )));
        }
        let key = match key {
            Some(key) => key,
            None => ClusterKey::fresh().map_err(Failure::world)?,
        };
        let founders = Members::of(NODES.map(NodeId)).map_err(Failure::world)?;
        for node in NODES {
            let dir = self.node_dir(node);
            if Format::read(&dir).map_err(Failure::world)?.is_none() {
                let format = ClusterFormat { node: NodeId(node), founders: founders.clone(), key };
                Engine::format_node(&dir, self.shards, format).map_err(Failure::world)?;
            }
        }
        Ok(())
    }

    fn start(&self, program: &Path, node: u64) -> Result<Child, Failure> {
        let mut command = std::process::Command::new(program);
        // Settings of one process are not those of three; how they log is.
        for setting in SETTINGS.iter().filter(|setting| !["log", "log-format"].contains(&setting.name)) {
            command.env_remove(setting.env);
        }
        command.arg("serve").args(["--peers", &self.peers()]);
        command.arg("--data-dir").arg(self.node_dir(node));
        command.args(["--native-port", &self.port(node, NATIVE).to_string()]);
        for service in Service::ALL {
            let port = self.service_port(node, service).to_string();
            command.args([&format!("--{}-port", service.name()), &port]);
        }
        // What a node says at its start is said here, for all of them.
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.map_err(|error| Failure::world(format!("node {node}: expected it to start, found: {error}")))
    }

    fn banner(&self) -> String {
        let mut text =
            "payments: simulated gateway, nothing is charged; parcels: simulated carrier, nothing is sent\n"
                .to_owned();
        for node in NODES {
            let _ = write!(text, "node {node}");
            let _ = write!(text, "  native 127.0.0.1:{}", self.port(node, NATIVE));
            for service in Service::ALL {
                let _ = write!(text, "  {} :{}", service.name(), self.service_port(node, service));
            }
            text.push('\n');
        }
        let any = self.service_port(NODES[0], Service::Product);
        let _ = writeln!(text, "status   onrush cluster status --server http://127.0.0.1:{any}");
        text
    }
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let dir = matches.get_one::<String>("data-dir").map(PathBuf::from).unwrap_or_default();
    let number = |name| matches.get_one::<u16>(name).copied().unwrap_or_default();
    let plan = Plan { dir, base: number("base-port"), shards: number("shards") };
    plan.format()?;
    let program = std::env::current_exe().map_err(Failure::world)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::world)?;
    let (mut terminate, mut interrupt) = {
        let _context = runtime.enter();
        let of = |kind| signal(kind).map_err(Failure::world);
        (of(SignalKind::terminate())?, of(SignalKind::interrupt())?)
    };
    let mut nodes = Nodes(Vec::new());
    for node in NODES {
        nodes.0.push((node, plan.start(&program, node)?));
    }
    // A closed standard output is no reason to stop.
    let _ = io::stdout().write_all(plan.banner().as_bytes());
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    nodes.stop()
}

/// Processes that end with this one.
struct Nodes(Vec<(u64, Child)>);

impl Nodes {
    fn stop(&mut self) -> Result<(), Failure> {
        for (_, child) in &self.0 {
            if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
                // One that is gone needs no telling.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let mut ended = Ok(());
        for (node, mut child) in self.0.drain(..) {
            let status = child.wait().map_err(Failure::world)?;
            if !status.success() {
                ended = Err(Failure::world(format!("node {node}: expected it to end well, found {status}")));
            }
        }
        ended
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
