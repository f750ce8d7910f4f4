//! The shipped clients as buyers use them: both follow the leader under the same key.

use std::time::Duration;

use onrush_net::client::native::{Native, NativeOptions};
use onrush_net::client::{CallError, Retry, grpc};
use onrush_proto::{Command, Reply};

use super::ClusterError;
use crate::cli::Protocols;

/// As long as an office may stand empty, and more.
const RETRY: Retry = Retry {
    retries: 40,
    pause: Duration::from_millis(5),
    pause_max: Duration::from_millis(50),
    timeout: Duration::from_secs(1),
};
/// Connections of gRPC to each service of each node.
const CONNECTIONS: usize = 1;

/// Where clients find the nodes: all of them, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Doors {
    /// `host:port` of the native protocol.
    pub(super) native: String,
    /// Where the services are.
    pub(super) services: grpc::Addresses,
}

/// A client of one protocol. Clones share their connections.
#[derive(Clone)]
pub(super) enum Client {
    Native(Native),
    Grpc(grpc::Client),
}

impl Client {
    /// One of each protocol that is spoken.
    pub(super) async fn open(doors: &Doors, protocols: Protocols) -> Result<Vec<Self>, ClusterError> {
        let failed = |error| ClusterError::Call { what: "connecting to the cluster", error };
        let mut clients = Vec::new();
        if protocols != Protocols::Grpc {
            let options = NativeOptions { retry: RETRY, ..NativeOptions::default() };
            clients.push(Self::Native(Native::connect(&doors.native, &options).await.map_err(failed)?));
        }
        if protocols != Protocols::Native {
            let client = grpc::Client::new(&doors.services, CONNECTIONS, RETRY);
            clients.push(Self::Grpc(client.map_err(failed)?));
        }
        Ok(clients)
    }

    /// Has a command done; a key of 0 for what only reads.
    pub(super) async fn ask(&self, command: Command, key: u128) -> Result<Reply, CallError> {
        match self {
            Self::Native(client) => client.call(command, key, false).await,
            Self::Grpc(client) => client.ask(key, command).await,
        }
    }

    /// What it speaks.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::Native(_) => "native",
            Self::Grpc(_) => "grpc",
        }
    }
}
