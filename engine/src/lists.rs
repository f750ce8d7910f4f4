//! Lists over the history, bucket by bucket from the newest on.

use onrush_proto::{CustomerId, OrderId, OrderRow, OrderState};

use crate::flush::{Stored, StoredError};

/// The order of a customer's list: newest first; the id breaks ties between shards.
fn place(id: OrderId) -> (u64, OrderId) {
    (id.time_us(), id)
}

/// Sorts newest first.
pub(crate) fn newest_first(orders: &mut [OrderRow]) {
    orders.sort_unstable_by_key(|order| std::cmp::Reverse(place(order.id)));
}

/// Adds up to `limit` orders of a customer on one shard that stand behind `before`.
pub(crate) fn orders_of(
    stored: &Stored,
    customer: &CustomerId,
    before: Option<OrderId>,
    limit: usize,
    found: &mut Vec<OrderRow>,
) -> Result<(), StoredError> {
    let mut taken = 0;
    let mut bucket = stored.previous_bucket(None)?;
    while let Some(number) = bucket.filter(|_| taken < limit) {
        let mut ids = stored.customer_orders(number, customer)?;
        ids.retain(|id| before.is_none_or(|before| place(*id) < place(before)));
        // Buckets follow time, slots do not: the newest of a bucket come first.
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(place(*id)));
        for id in ids.into_iter().take(limit - taken) {
            let of_customer = |order: &OrderRow| is_seen(order) && order.customer == *customer;
            if let Some(order) = stored.order(id)?.filter(of_customer) {
                found.push(order);
                taken += 1;
            }
        }
        bucket = stored.previous_bucket(Some(number))?;
    }
    Ok(())
}

fn is_seen(order: &OrderRow) -> bool {
    !(order.state.is_unborn() || order.state == OrderState::Rejected)
}
