//! Nodes of a cluster, each a server of its own in this process.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use onrush_engine::Engine;
use onrush_engine::format::{ClusterFormat, ClusterKey};
use onrush_engine::replication::{Members, NodeId};
use onrush_grpc::admin::v1::HandOverRequest;
use onrush_grpc::admin::v1::admin_service_client::AdminServiceClient;
use onrush_proto::ShardId;
use onrush_services::config::{CertificateFiles, ClusterConfig, Service};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::shop::Shop;
use crate::wait::found;

/// Nodes by number.
pub(crate) struct Nodes {
    pub(crate) peers: BTreeMap<u64, String>,
    pub(crate) shops: BTreeMap<u64, Shop>,
    shards: u16,
    /// What they show to clients over TLS and QUIC, if their native ports speak TLS.
    certificate: Option<CertificateFiles>,
}

fn founders() -> Members {
    Members::of([1, 2, 3].map(NodeId)).unwrap()
}

pub(crate) fn free_address() -> String {
    // Nobody else takes it so soon.
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A directory of a node that knows the founders.
pub(crate) fn formatted(node: u64, shards: u16) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let cluster = ClusterFormat { node: NodeId(node), founders: founders(), key: ClusterKey([9; 32]) };
    Engine::format_node(&dir.path().join("data"), shards, cluster).unwrap();
    dir
}

impl Nodes {
    /// Three that have one shard.
    pub(crate) fn founded() -> Self {
        Self::founded_with(1)
    }

    /// Three that have so many shards.
    pub(crate) fn founded_with(shards: u16) -> Self {
        Self::founded_showing(shards, None)
    }

    /// The same with a certificate, over TLS.
    pub(crate) fn founded_showing(shards: u16, certificate: Option<CertificateFiles>) -> Self {
        // Nobody else takes them so soon.
        let sockets = [1, 2, 3].map(|node| (node, UdpSocket::bind("127.0.0.1:0").unwrap()));
        let address = |(node, socket): &(u64, UdpSocket)| (*node, socket.local_addr().unwrap().to_string());
        let peers = sockets.iter().map(address).collect();
        drop(sockets);
        let mut nodes = Self { peers, shops: BTreeMap::new(), shards, certificate };
        for node in [1, 2, 3] {
            nodes.start(node, formatted(node, shards));
        }
        nodes
    }

    pub(crate) fn start(&mut self, node: u64, dir: TempDir) {
        let cluster = ClusterConfig {
            node: Some(node),
            peers: self.peers.clone(),
            port: None,
            advertise: None,
            tls: None,
            election: Duration::from_millis(300),
        };
        let certificate = self.certificate.clone();
        let shop = Shop::reopen(dir, |config| {
            (config.shards, config.cluster) = (None, Some(cluster));
            config.native.quic_port = Some(0);
            (config.native.tls, config.native.certificate) = (certificate.is_some(), certificate);
        });
        self.shops.insert(node, shop);
    }

    /// True if a node decides for every shard.
    pub(crate) fn decides(&self, node: u64) -> bool {
        let engine = self.shops[&node].engine();
        (0..self.shards).map(ShardId).all(|shard| engine.decides(shard))
    }

    /// The node that decides.
    pub(crate) async fn leader(&self) -> u64 {
        let leads = || self.shops.keys().copied().find(|node| self.decides(*node));
        found("a leader", async || leads()).await
    }

    pub(crate) async fn leading(&self) -> &Shop {
        &self.shops[&self.leader().await]
    }

    /// Has the office go over to a node.
    pub(crate) async fn hand_over(&self, to: u64) {
        let from = self.leader().await;
        found("the office to go on", async || {
            let asked = HandOverRequest { shard: 0, node: to };
            let _ = admin(&self.shops[&from]).await.hand_over(asked).await;
            self.decides(to).then_some(())
        })
        .await;
    }
}

pub(crate) async fn admin(shop: &Shop) -> AdminServiceClient<Channel> {
    AdminServiceClient::connect(shop.address(Service::Order)).await.unwrap()
}
