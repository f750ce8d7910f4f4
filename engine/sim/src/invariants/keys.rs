//! One key, one acceptance, over all shards and all time.

use onrush_proto::{KeyState, RecordKind, Row, Slot};

use super::Step;
use crate::report::{Verdict, Violation};

const NAME: &str = "keys";

/// Checks that a record accepts a free key, and that a claim points at a durable acceptance.
pub(crate) fn record(step: &Step<'_>) -> Verdict {
    if step.fact.kind == RecordKind::OrderCreated {
        for (_, order) in step.orders().filter(|(_, order)| !order.key.is_none()) {
            free(step, order.key.0)?;
        }
    }
    for row in &step.fact.rows {
        let Row::Key(row) = row else { continue };
        match row.state {
            KeyState::First { .. } => free(step, row.key.0)?,
            KeyState::Claim { home } => claim(step, row.key.0, home)?,
        }
    }
    Ok(())
}

fn free(step: &Step<'_>, key: u128) -> Verdict {
    if step.mirror.lost.has_key(key) {
        return Ok(());
    }
    match step.mirror.firsts.get(&key) {
        Some(first) => Err(Violation::new(
            NAME,
            format!("one acceptance of key {key:032x}: {first:?}"),
            format!("another in {}", step.place()),
        )),
        None => Ok(()),
    }
}

fn claim(step: &Step<'_>, key: u128, home: u8) -> Verdict {
    let home = step.mirror.owner(Slot(home));
    let found = step.mirror.firsts.get(&key).map(|first| first.shard);
    if found == Some(home) || step.mirror.lost.has_key(key) {
        return Ok(());
    }
    let expected = format!("key {key:032x} accepted on shard {home} before {}", step.place());
    Err(Violation::new(NAME, expected, format!("accepted on {found:?}")))
}
