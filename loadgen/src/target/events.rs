//! The events of a run as a subscriber reads them: complete, in order, none twice.

use std::collections::HashMap;
use std::time::Duration;

use onrush_engine::SubscribeError;
use onrush_proto::row::view;
use onrush_proto::{FactView, Lsn, OrderId, OrderRow, RecordKind, RowTag, ShardId, Topic};

use onrush_services::backend::Backend;

use crate::journal::{Entry, Fate, Violations};
use crate::target::TargetError;

/// Records asked for at a time.
const RECORDS: usize = 4_096;
/// How long a committed record may take to come.
const RECORD_WAIT: Duration = Duration::from_secs(10);

/// What was told of one order.
#[derive(Clone, Copy, Default, Debug)]
struct Told {
    created: u32,
    charged: u32,
}

/// All events of a run.
#[derive(Default, Debug)]
pub(crate) struct Events {
    orders: HashMap<u128, Told>,
    pub(crate) records: u64,
    /// Shards whose first records are released: what they told nobody can read any more.
    pub(crate) shortened: u64,
    pub(crate) violations: Violations,
}

/// Hands over every record of all shards, up to where their logs end now; how many shards have released their
/// first ones. Gaps and steps back in time are noted.
pub(super) async fn read_all(
    engine: &Backend,
    violations: &mut Violations,
    take: &mut dyn FnMut(FactView<'_>),
) -> Result<u64, TargetError> {
    let mut shortened = 0;
    for (shard, end) in (0..engine.shards()).map(ShardId).zip(engine.ends().await?) {
        shortened += u64::from(read_shard(engine, (shard, end), violations, take).await?);
    }
    Ok(shortened)
}

/// True if the first records of the shard are released.
async fn read_shard(
    engine: &Backend,
    (shard, end): (ShardId, Lsn),
    violations: &mut Violations,
    take: &mut dyn FnMut(FactView<'_>),
) -> Result<bool, TargetError> {
    let mut feed = engine.subscribe(shard, Lsn(0));
    let (mut last, mut time_us, mut shortened) = (0, 0, false);
    while last < end.0 {
        if !feed.ready_within(RECORD_WAIT).await {
            return Err(TargetError::EventsEnd { shard: shard.0, expected: end.0, found: last });
        }
        let read = feed.poll(RECORDS, |event| {
            if event.lsn.0 != last + 1 || event.time_us < time_us {
                let (lsn, at) = (event.lsn.0, event.time_us);
                violations.note(|| {
                    format!(
                        "{shard:?}: expected event {} at {time_us} us or later, found {lsn} at {at}",
                        last + 1
                    )
                });
            }
            (last, time_us) = (event.lsn.0, event.time_us);
            take(event.fact);
        });
        match read {
            Ok(_) => {}
            Err(SubscribeError::OutOfRange { first, .. }) if last == 0 => {
                last = first - 1;
                feed.seek(Lsn(last));
                shortened = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(shortened)
}

impl Events {
    /// Reads the logs of all shards to where they end now.
    pub(crate) async fn read(engine: &Backend) -> Result<Self, TargetError> {
        let (mut events, mut violations) = (Self::default(), Violations::default());
        let shortened = read_all(engine, &mut violations, &mut |fact| events.enter(fact)).await?;
        violations.into_lines().into_iter().for_each(|line| events.violations.note(|| line));
        Ok(Self { shortened, ..events })
    }

    fn enter(&mut self, fact: FactView<'_>) {
        self.records += 1;
        if fact.kind.is_in(Topic::OrderCreated) || fact.kind.is_in(Topic::PaymentProcessed) {
            match order_of(fact) {
                Some(order) => self.tell(order, fact.kind),
                None => self.violations.note(|| format!("expected an order in {:?}, found none", fact.kind)),
            }
        }
    }

    /// Counts one event of an order.
    pub(crate) fn tell(&mut self, order: OrderId, kind: RecordKind) {
        let told = self.orders.entry(order.0).or_default();
        told.created += u32::from(kind.is_in(Topic::OrderCreated));
        told.charged += u32::from(kind.is_in(Topic::PaymentProcessed));
    }

    /// Orders that were told of.
    pub(crate) fn created(&self) -> u64 {
        self.orders.values().filter(|told| told.created > 0).count() as u64
    }

    /// Payments that were told of.
    pub(crate) fn charged(&self) -> u64 {
        self.orders.values().map(|told| u64::from(told.charged)).sum()
    }

    /// What is wrong with the events of an order that the client knows of.
    pub(crate) fn fault(&self, entry: &Entry) -> Option<String> {
        let told = self.orders.get(&entry.order().0).copied().unwrap_or_default();
        // What a released record told cannot be counted any more.
        let (uncreated, uncharged) = (told.created == 0, told.charged == 0);
        let released = self.shortened > 0;
        let charges = match entry.fate {
            fate if fate.is_sold() => 1..=1,
            Fate::Doubtful => 0..=1,
            _ => 0..=0,
        };
        if told.created != 1 && !(released && uncreated) {
            return Some(format!("expected one order.created, found {}", told.created));
        }
        let charged_well = charges.contains(&told.charged) || released && uncharged;
        if !charged_well {
            return Some(format!("expected {charges:?} payment.processed, found {}", told.charged));
        }
        None
    }
}

fn order_of(fact: FactView<'_>) -> Option<OrderId> {
    let bytes = fact.rows().flatten().find_map(|(tag, bytes)| (tag == RowTag::Order).then_some(bytes))?;
    let row = view::<OrderRow>(RowTag::Order, bytes).ok()?;
    Some(OrderId(row.id.0.to_native()))
}
