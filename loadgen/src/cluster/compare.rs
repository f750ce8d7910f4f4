//! The books of the buyers against the shop, once all is over.

use onrush_grpc::admin::v1::AuditResponse;
use onrush_proto::{Command, OrderId, OrderState, Outcome};
use tokio::task::JoinSet;

use super::ClusterError;
use super::basket::{ITEMS, holds, sku};
use super::books::{Books, Bought};
use super::buyers::Asked;
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
    let (held, received) = {
        let entries = books.entries();
        (entries.held(ITEMS), entries.received.clone())
    };
    for ((item, held), client) in (0..ITEMS).zip(held).zip(asked.clients.iter().cycle()) {
        let units = received.get(&item).copied().unwrap_or_default();
        let found = client.ask(Command::GetStock(sku(item)), 0).await;
        let found = found.map_err(|error| ClusterError::Call { what: "reading stock", error })?;
        let found = match found.outcome {
            Outcome::Stock(row) => Some((row.held, row.on_hand + row.sold)),
            _ => None,
        };
        faults.extend(stock_fault(item, (held, units), found));
    }
    faults.extend(audits(nodes, bought.len()).await?);
    Ok(faults)
}

/// What is wrong with an item: units held and units that came in, as they were acknowledged and as the shop has them.
fn stock_fault(item: u32, told: (i64, i64), found: Option<(i64, i64)>) -> Option<String> {
    let (held, units) = told;
    if held > units {
        return Some(format!(
            "item {item}: expected at most {units} units acknowledged, found {held}: oversold"
        ));
    }
    let line = || format!("item {item}: expected {held} of {units} units held, found {found:?}");
    (found != Some(told)).then(line)
}

/// What each node says of its own books, and how its rows differ from those of the others, while nobody buys.
pub(super) async fn differences(nodes: &Nodes) -> Result<(Vec<AuditResponse>, Vec<String>), ClusterError> {
    let (audits, mut faults) = (nodes.audits().await?, Vec::new());
    for (node, audit) in nodes.all.iter().zip(&audits) {
        faults.extend(audit.violations.iter().map(|line| format!("node {}: {line}", node.number)));
        if audit.state_hash != audits[0].state_hash {
            let (hash, first) = (&audit.state_hash, &audits[0].state_hash);
            let of = nodes.all[0].number;
            faults
                .push(format!("node {}: expected the rows of node {of}, {first}, found {hash}", node.number));
        }
    }
    Ok((audits, faults))
}

/// The same, and each has as many orders as were acknowledged.
async fn audits(nodes: &Nodes, orders: usize) -> Result<Vec<String>, ClusterError> {
    let (audits, mut faults) = differences(nodes).await?;
    for (node, audit) in nodes.all.iter().zip(&audits) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_as_its_buyers_know_it_and_never_oversold() {
        for (told, found, said) in [
            ((16, 16), Some((16, 16)), None),
            ((3, 32), Some((3, 32)), None),
            ((17, 16), Some((17, 16)), Some("at most 16 units acknowledged, found 17: oversold")),
            ((16, 16), Some((15, 16)), Some("16 of 16 units held, found Some((15, 16))")),
            // More came in than was acknowledged: twice, perhaps.
            ((16, 16), Some((16, 32)), Some("16 of 16 units held, found Some((16, 32))")),
            ((0, 16), None, Some("0 of 16 units held, found None")),
        ] {
            let said = said.map(|said| format!("item 1: expected {said}"));
            assert_eq!(stock_fault(1, told, found), said, "{told:?} {found:?}");
        }
    }
}
