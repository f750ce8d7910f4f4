//! Finds the node that leads, from any of them.

use std::time::Duration;

use clap::ArgMatches;
use onrush_grpc::admin::v1::admin_service_client::AdminServiceClient;
use onrush_grpc::admin::v1::{GetClusterRequest, GetClusterResponse, ShardGroup};

use crate::cli::Failure;
use crate::cli::server::{self, Server, refused};
use crate::config::Service;
use crate::nodes::{Advertised, Door};

/// Between two looks at a cluster that is about to change.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// Looks until somebody leads.
const LOOKS_MAX: u32 = 200;

/// Speaks to a node.
pub(super) type Client = AdminServiceClient<Server>;

/// The cluster as the node sees it that was asked.
pub(super) async fn look(client: &mut Client) -> Result<GetClusterResponse, Failure> {
    let seen = client.get_cluster(GetClusterRequest {}).await;
    Ok(seen.map_err(|status| refused(&status))?.into_inner())
}

/// The node that was named.
pub(super) async fn named(matches: &ArgMatches) -> Result<Client, Failure> {
    Ok(AdminServiceClient::new(server::connect(matches).await?))
}

/// The node that leads shard `shard`, as that sees its group.
pub(super) async fn leading(matches: &ArgMatches, shard: u32) -> Result<(Client, ShardGroup), Failure> {
    let mut client = named(matches).await?;
    for at in 0..LOOKS_MAX {
        // Whoever led a moment ago may be gone: then the one that was named knows more.
        let cluster = match look(&mut client).await {
            Ok(cluster) => cluster,
            Err(error) if at == 0 => return Err(error),
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                client = named(matches).await?;
                continue;
            }
        };
        let group = cluster.groups.iter().find(|group| group.shard == shard);
        let Some(group) = group else {
            return Err(Failure::wrong(format!("shard: expected one of the cluster's, found {shard}")));
        };
        if group.in_office {
            return Ok((client, group.clone()));
        }
        tokio::time::sleep(PAUSE).await;
        // One that was removed hears of nobody any more: another one knows.
        let next = match group.leader {
            0 => cluster.nodes[at as usize % cluster.nodes.len()].node,
            leader => leader,
        };
        if let Some(address) = address(&cluster, next).filter(|_| next != cluster.node)
            && let Ok(server) = server::connect_to(&format!("http://{address}")).await
        {
            client = AdminServiceClient::new(server);
        }
    }
    Err(Failure::world("expected a node that leads, found none"))
}

/// A port of a node that speaks gRPC.
fn address(cluster: &GetClusterResponse, node: u64) -> Option<String> {
    let told = cluster.nodes.iter().find(|one| one.node == node)?.advertised.parse::<Advertised>().ok()?;
    Service::ALL.into_iter().find_map(|service| told.address(Door::Service(service)).map(str::to_owned))
}
