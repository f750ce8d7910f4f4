//! History buckets: stretches of a shard's life that end between two batches.

use onrush_proto::{Fact, RecordKind, Row};

/// Orders after which a bucket ends: with their keys and index entries about one run of the store.
const ORDERS_MAX: u32 = 1 << 16;
/// Time after which a bucket with anything in it ends, in us: 15 minutes. It bounds what a quiet
/// shop's list of one bucket reads.
const LENGTH_US_MAX: u64 = 15 * 60 * 1_000_000;

/// The bucket in which orders are born now.
#[derive(Default)]
pub(crate) struct Bucket {
    pub(crate) number: u32,
    orders: u32,
    begun_us: u64,
}

impl Bucket {
    /// Begins a bucket.
    pub(crate) fn begin(&mut self, number: u32) {
        *self = Self { number: self.number.max(number), orders: 0, begun_us: 0 };
    }

    /// Counts what a fact puts into the bucket; in recovery, learns its number.
    pub(crate) fn saw(&mut self, fact: &Fact) {
        let born = matches!(fact.kind, RecordKind::OrderCreated | RecordKind::OrderReserving);
        let in_bucket = |row: &Row| match row {
            Row::Order(order) if born => Some(order.id.bucket()),
            Row::Key(key) => Some(key.bucket),
            _ => None,
        };
        for row in &fact.rows {
            match row {
                // A count makes no bucket full: there is an order for it. But none goes back behind it.
                Row::Limit(count) if count.bucket > self.number => self.begin(count.bucket),
                row => in_bucket(row).into_iter().for_each(|number| self.saw_row(number)),
            }
        }
    }

    /// Counts a row of bucket `number`.
    pub(crate) fn saw_row(&mut self, number: u32) {
        if number > self.number {
            self.begin(number);
        }
        self.orders += u32::from(number == self.number);
    }

    /// Between two batches: ends the bucket if it is full or old.
    pub(crate) fn turn(&mut self, now_us: u64) {
        if self.orders == 0 || self.begun_us == 0 {
            self.begun_us = now_us;
        } else if self.orders >= ORDERS_MAX || now_us - self.begun_us >= LENGTH_US_MAX {
            self.begin(self.number + 1);
            self.begun_us = now_us;
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::LimitRow;

    use super::*;

    /// After a crash the log may hold nothing of the last bucket but a count that went down in it.
    #[test]
    fn a_count_tells_the_bucket_and_does_not_fill_it() {
        let mut bucket = Bucket::default();
        let count = |bucket| Row::Limit(LimitRow { hash: 1, units: 1, limit: 2, bucket });
        for number in [3, 2, 3] {
            bucket.saw(&Fact::new(RecordKind::OrderExpired, 0).with(count(number)));
            assert_eq!((bucket.number, bucket.orders), (3, 0));
        }
    }
}
