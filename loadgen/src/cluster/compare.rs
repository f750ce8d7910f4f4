//! The books of the buyers against the shop, once all is over.

use onrush_proto::{Command, OrderId, OrderState, Outcome};
use tokio::task::JoinSet;

use super::ClusterError;
use super::basket::{ITEMS, holds, sku};
use super::books::{Books, Bought};
use super::buyers::{Asked, UNITS};
use super::client::Client;
use super::nodes::Nodes;

/// Readers at a time.
const READERS: usize = 64;

/// Holds the books against every order, the stock and all nodes: what is not as it was acknowledged.
pub(super) async fn compare(
    asked: &Asked,
    nodes: &Nodes,
    books: &Books,
) -> Result<Vec<String>, ClusterError> {
    let bought: Vec<(OrderId, Bought)> =
        books.entries().bought.iter().map(|(order, bought)| (*order, bought.clone())).collect();
    let mut faults = std::mem::take(&mut books.entries().violations);
    let mut tasks = JoinSet::new();
    let chunks = bought.chunks(bought.len().div_ceil(READERS).max(1));
    for (chunk, client) in chunks.zip(asked.clients.iter().cycle()) {
        let (client, chunk) = (client.clone(), chunk.to_vec());
        tasks.spawn(async move {
            let mut faults = Vec::new();
            for (order, bought) in chunk {
                faults.extend(fault(&client, order, &bought).await);
            }
            faults
        });
    }
    while let Some(found) = tasks.join_next().await {
        faults.extend(found.unwrap_or_else(|error| vec![error.to_string()]));
    }
    let held = books.entries().held(ITEMS);
    for ((item, held), client) in (0..ITEMS).zip(held).zip(asked.clients.iter().cycle()) {
        let found = client.ask(Command::GetStock(sku(item)), 0).await;
        let found = found.map_err(|error| ClusterError::Call { what: "reading stock", error })?;
        match found.outcome {
            Outcome::Stock(row) if (row.held, row.on_hand + row.sold) == (held, UNITS) => {}
            other => {
                faults.push(format!("item {item}: expected {held} of {UNITS} units held, found {other:?}"));
            }
        }
    }
    faults.extend(audits(nodes, bought.len()).await?);
    Ok(faults)
}

/// What each node says of its own books, and how its rows differ from those of the others.
async fn audits(nodes: &Nodes, orders: usize) -> Result<Vec<String>, ClusterError> {
    let (audits, mut faults) = (nodes.audits().await?, Vec::new());
    for (node, audit) in nodes.all.iter().zip(&audits) {
        faults.extend(audit.violations.iter().map(|line| format!("node {}: {line}", node.number)));
        if audit.state_hash != audits[0].state_hash {
            let (hash, first) = (&audit.state_hash, &audits[0].state_hash);
            faults.push(format!("node {}: expected the rows of node 1, {first}, found {hash}", node.number));
        }
        if audit.orders != orders as u64 {
            let found = audit.orders;
            faults.push(format!("node {}: expected {orders} orders, found {found}", node.number));
        }
    }
    Ok(faults)
}

async fn fault(client: &Client, order: OrderId, bought: &Bought) -> Option<String> {
    let found = match client.ask(Command::GetOrder(order), 0).await {
        Ok(reply) => reply.outcome,
        Err(error) => return Some(format!("order {order}: expected it, found {error}")),
    };
    let row = match found {
        Outcome::Order(row) => row,
        other => return Some(format!("order {order}: expected it as acknowledged, found {other:?}")),
    };
    let state = if bought.cancelled { OrderState::Cancelled } else { OrderState::Pending };
    let as_acknowledged = row.state == state && holds(&row, &bought.basket);
    (!as_acknowledged)
        .then(|| format!("order {order}: expected {bought:?}, found {:?} of {:?}", row.state, row.lines))
}
