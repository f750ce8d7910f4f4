//! Acknowledged means durable.

use onrush_proto::Receipt;

use crate::clients::Oracle;
use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "durable";

/// Checks that a recovered log reaches what its shard had let go.
pub(crate) fn reaches(shard: usize, promised: u64, end_lsn: u64) -> Verdict {
    if end_lsn >= promised {
        return Ok(());
    }
    let expected = format!("shard {shard} to reach record {promised}, which it had answered with");
    Err(Violation::new(NAME, expected, format!("an end at {end_lsn}")))
}

/// Checks the clients' receipts against the logs.
pub(crate) fn acknowledged(mirror: &Mirror, oracle: &Oracle) -> Verdict {
    for (key, body, receipt) in oracle.acknowledged().filter(|(key, ..)| !mirror.lost.has_key(*key)) {
        let first = mirror.firsts.get(&key);
        if first.map(|first| (first.body, first.receipt)) != Some((body, receipt)) {
            let expected = format!("key {key:032x} to stand for {receipt:?}");
            return Err(Violation::new(NAME, expected, format!("{first:?}")));
        }
        if let Receipt::Order { order, .. } = receipt
            && mirror.order(order).is_none()
        {
            return Err(Violation::new(NAME, format!("acknowledged order {order}"), "none"));
        }
    }
    for (key, first) in &mirror.firsts {
        if !oracle.may_stand(*key, first.body) && !mirror.lost.has_key(*key) {
            let expected = format!("no effect of key {key:032x}: every attempt was refused");
            return Err(Violation::new(NAME, expected, format!("{first:?}")));
        }
    }
    Ok(())
}
