//! Where nodes stand: beside each other on this machine, or each in a network namespace of its own. There each has two
//! links, one to the other nodes and one to clients, each to a bridge of ours, and the kernel cuts them.

use std::path::{Path, PathBuf};

use super::ClusterError;
use super::room::done;

/// Where namespaces lie.
const NAMESPACES: &str = "/run/netns";
/// The bridge between nodes: links to it are named after it and the node's place.
const NODES: &str = "nodes";
/// The bridge to clients. Its addresses are of this machine's own range: audits are for callers on the same machine.
const CLIENTS: &str = "clients";
/// Who has this address on a bridge is loadgen.
const OWN: u64 = 254;
/// An address of Ethernet that nobody has.
const NOBODY: &str = "02:00:00:00:00:01";
/// As bad as wires get: what relays do to them in `wires.rs`.
const BAD: &str = "netem delay 10ms 10ms loss 5% duplicate 5%";

/// Where they stand.
pub(super) enum Ground {
    /// On this machine.
    Open,
    /// In namespaces.
    Nets(Nets),
}

/// Namespaces that are there.
pub(super) struct Nets {
    /// How many nodes.
    places: usize,
    /// Numbers that nodes have, or will have.
    numbers: u64,
    /// True if the kernel can lose, double and delay.
    pub(super) netem: bool,
}

fn node_host(number: u64) -> String {
    format!("10.77.0.{number}")
}

fn client_host(place: u64) -> String {
    format!("127.78.0.{place}")
}

fn namespace(place: usize) -> String {
    format!("node{place}")
}

impl Ground {
    /// Where clients reach the node at a place.
    pub(super) fn host(&self, place: usize) -> String {
        match self {
            Self::Open => "127.0.0.1".into(),
            Self::Nets(_) => client_host(place as u64 + 1),
        }
    }

    /// Where other nodes reach the one with a number.
    pub(super) fn peer_host(&self, number: u64) -> String {
        match self {
            Self::Open => "127.0.0.1".into(),
            Self::Nets(_) => node_host(number),
        }
    }

    /// Where nodes reach relays of ours.
    pub(super) fn own_host(&self) -> String {
        self.peer_host(OWN)
    }

    /// What a node runs in.
    pub(super) fn namespace(&self, place: usize) -> Option<PathBuf> {
        match self {
            Self::Open => None,
            Self::Nets(_) => Some(Path::new(NAMESPACES).join(namespace(place))),
        }
    }

    /// What a node at a place is told of that, beyond its ports.
    pub(super) fn words(&self) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Open => &[],
            // Nobody but us is on these links.
            Self::Nets(_) => &["--listen", "0.0.0.0", "--access", "open-to-network"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// The namespaces, if nodes stand in some.
    pub(super) fn nets(&self) -> Option<&Nets> {
        match self {
            Self::Open => None,
            Self::Nets(nets) => Some(nets),
        }
    }
}

/// Addresses of this machine's own range may come over a link, and those of loopback itself are fewer than usual.
fn loopback(of: &str, within: &str) -> Result<(), ClusterError> {
    done(&format!("ip {of} link set lo up"))?;
    done(&format!("ip {of} addr del 127.0.0.1/8 dev lo"))?;
    done(&format!("ip {of} addr add 127.0.0.1/17 dev lo"))?;
    done(&format!("{within} sysctl -q -w net.ipv4.conf.all.route_localnet=1"))
}

impl Nets {
    /// Makes them, in a room of our own.
    pub(super) fn build(places: usize, numbers: u64) -> Result<Self, ClusterError> {
        done("mount -t tmpfs tmpfs /run")?;
        loopback("", "")?;
        for (bridge, address) in [(NODES, node_host(OWN)), (CLIENTS, client_host(OWN))] {
            done(&format!("ip link add {bridge} type bridge"))?;
            done(&format!("ip addr add {address}/24 dev {bridge}"))?;
            done(&format!("ip link set {bridge} up"))?;
        }
        for place in 0..places {
            let space = namespace(place);
            done(&format!("ip netns add {space}"))?;
            loopback(&format!("-n {space}"), &format!("nsenter --net={NAMESPACES}/{space}"))?;
            let number = place as u64 + 1;
            for (bridge, address) in [(NODES, node_host(number)), (CLIENTS, client_host(number))] {
                done(&format!("ip link add {bridge}{place} type veth peer name {bridge} netns {space}"))?;
                done(&format!("ip link set {bridge}{place} master {bridge} up"))?;
                done(&format!("ip -n {space} addr add {address}/24 dev {bridge}"))?;
                done(&format!("ip -n {space} link set {bridge} up"))?;
            }
        }
        let mut nets = Self { places, numbers, netem: false };
        nets.netem = nets.weather(true).and_then(|()| nets.weather(false)).is_ok();
        Ok(nets)
    }

    /// Nothing arrives at a node from the others, or leaves it for them; clients reach it.
    pub(super) fn cut_off(&self, place: usize) -> Result<(), ClusterError> {
        done(&format!("ip link set {NODES}{place} down"))
    }

    /// The same, and clients do not reach it either.
    pub(super) fn isolate(&self, place: usize) -> Result<(), ClusterError> {
        self.cut_off(place)?;
        done(&format!("ip link set {CLIENTS}{place} down"))
    }

    /// What a node says arrives at no other one; it hears everything, and clients reach it.
    pub(super) fn silence(&self, place: usize) -> Result<(), ClusterError> {
        for number in (1..=self.numbers).chain([OWN]) {
            let (space, host) = (namespace(place), node_host(number));
            done(&format!("ip -n {space} neigh replace {host} lladdr {NOBODY} dev {NODES} nud permanent"))?;
        }
        Ok(())
    }

    /// All links lose, double, delay and reorder, or do not.
    pub(super) fn weather(&self, bad: bool) -> Result<(), ClusterError> {
        for place in 0..self.places {
            match bad {
                true => done(&format!("tc qdisc add dev {NODES}{place} root {BAD}"))?,
                false => done(&format!("tc qdisc del dev {NODES}{place} root"))?,
            }
        }
        Ok(())
    }

    /// All links are whole, and everybody is heard.
    pub(super) fn heal(&self) -> Result<(), ClusterError> {
        for place in 0..self.places {
            done(&format!("ip link set {NODES}{place} up"))?;
            done(&format!("ip link set {CLIENTS}{place} up"))?;
            done(&format!("ip -n {} neigh flush dev {NODES} nud permanent", namespace(place)))?;
        }
        Ok(())
    }

    /// Another number stands at a place.
    pub(super) fn renumber(&self, place: usize, from: u64, to: u64) -> Result<(), ClusterError> {
        let space = namespace(place);
        done(&format!("ip -n {space} addr del {}/24 dev {NODES}", node_host(from)))?;
        done(&format!("ip -n {space} addr add {}/24 dev {NODES}", node_host(to)))
    }
}
