//! Settings of a node: where the others are, and how it speaks with them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use onrush_engine::HostKind;
use onrush_engine::replication::Timing;
use onrush_proto::frame::NODES_MAX;

use super::{ConfigError, EnginePlace, Tokens, Value, bounded, find, parse, plain, wrong};
use crate::access::Access;

/// What a node of a cluster is told. Who it is stands in its data directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterConfig {
    /// Who it has to be; `None`: whoever it was formatted as.
    pub node: Option<u64>,
    /// Where each node listens for the others, `host:port`, this one too.
    pub peers: BTreeMap<u64, String>,
    /// The port (UDP) that it listens at; `None`: that of its own entry.
    pub port: Option<u16>,
    /// The host that clients are told; `None`: that of its own entry.
    pub advertise: Option<String>,
    /// Files by which nodes know each other besides the cluster's key.
    pub tls: Option<PeerFiles>,
    /// How long a node waits for a leader that says nothing.
    pub election: Duration,
}

/// Certificates between nodes (PEM).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerFiles {
    /// The node's certificate, and those that vouch for it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who vouches for the others.
    pub authorities: PathBuf,
}

impl ClusterConfig {
    /// How long things take.
    pub fn timing(&self) -> Timing {
        let election_us = self.election.as_micros() as u64;
        Timing { election_us, heartbeat_us: election_us / 6, skew_us: election_us / 10 }
    }
}

pub(super) fn of(
    values: &[Value],
    place: &EnginePlace,
    host: HostKind,
) -> Result<Option<ClusterConfig>, ConfigError> {
    let given = find(values, "peers");
    if given.text.is_empty() {
        return Ok(None);
    }
    if matches!(place, EnginePlace::At(..)) {
        return Err(wrong(given, "none beside engine-addr: a node has its engine in its own process"));
    }
    if host == HostKind::Inline {
        return Err(wrong(find(values, "host"), "thread or glommio for a node of a cluster"));
    }
    let auto = |name, expected: &str, read: fn(&str) -> Option<u64>| {
        parse(find(values, name), expected, |text| match text {
            "auto" => Some(None),
            text => read(text).map(Some),
        })
    };
    Ok(Some(ClusterConfig {
        node: auto("node", "auto or the number of a node, from 1 on", |text| {
            plain(text).filter(|number| *number > 0)
        })?,
        peers: parse(given, "number=host:port of each node, separated by commas, 16 at most", peers)?,
        port: auto("peer-port", "auto or a port, 0 to 65535", |text| plain::<u16>(text).map(u64::from))?
            .map(|port| port as u16),
        advertise: match find(values, "advertise").text.as_str() {
            "" => None,
            host => Some(host.to_owned()),
        },
        tls: files(values)?,
        election: Duration::from_millis(bounded(values, "election-ms", 50, 60_000)? as u64),
    }))
}

/// What one node believes another one has to believe.
pub(super) fn check_tokens(
    values: &[Value],
    cluster: Option<&ClusterConfig>,
    access: Access,
    tokens: &Tokens,
) -> Result<(), ConfigError> {
    let good = cluster.is_none() || access == Access::Open || tokens.secret.is_some();
    let expected = "jwt-secret beside it, the same at all nodes: a token of one is to be good at the others";
    if good { Ok(()) } else { Err(wrong(find(values, "peers"), expected)) }
}

/// `1=10.0.0.1:7200,2=10.0.0.2:7200`.
pub(crate) fn peers(text: &str) -> Option<BTreeMap<u64, String>> {
    let mut peers = BTreeMap::new();
    for entry in text.split(',') {
        let (node, address) = entry.split_once('=')?;
        let node = plain::<u64>(node).filter(|node| *node > 0)?;
        let (host, port) = address.trim().rsplit_once(':')?;
        if host.is_empty() || plain::<u16>(port)? == 0 || peers.insert(node, address.trim().into()).is_some()
        {
            return None;
        }
    }
    (peers.len() <= NODES_MAX).then_some(peers)
}

/// All three files, or none.
fn files(values: &[Value]) -> Result<Option<PeerFiles>, ConfigError> {
    let given = ["peer-cert", "peer-key", "peer-ca"].map(|name| find(values, name));
    if given.iter().all(|value| value.text.is_empty()) {
        return Ok(None);
    }
    if let Some(missing) = given.iter().find(|value| value.text.is_empty()) {
        return Err(wrong(missing, "a file: peer-cert, peer-key and peer-ca go together"));
    }
    let [certificate, key, authorities] = given.map(|value| PathBuf::from(&value.text));
    Ok(Some(PeerFiles { certificate, key, authorities }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_whole_or_not_at_all() {
        let read = peers("1=a:7200, 2=[::1]:7200").unwrap();
        assert_eq!(read.into_iter().collect::<Vec<_>>(), [(1, "a:7200".into()), (2, "[::1]:7200".into())]);
        for bad in ["", "1", "1=", "1=a", "1=a:0", "1=:7", "0=a:7", "x=a:7", "1=a:7,1=b:7", "1=a:7,"] {
            assert_eq!(peers(bad), None, "{bad:?}");
        }
    }
}
