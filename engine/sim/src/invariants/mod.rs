//! What must hold, one file each.
//!
//! | file | invariant | checked |
//! |---|---|---|
//! | [`units`] | per SKU received = available + held + sold; held and sold are exactly the orders' and holds' lines; none negative unless backordered | every record |
//! | [`orders`] | orders are born pending, reserving or queued, move only along the declared graph, are delivered step by step whatever is refunded, keep who, what and until when | every record |
//! | [`payments`] | 0 <= refunded <= captured <= authorised; refunds, pending included, <= captured; sums follow from postings | every record |
//! | [`ledger`] | balances sum to zero and are the fold of the orders' postings | every record |
//! | [`keys`] | one key, one acceptance over all shards; a claim points at a durable acceptance | every record |
//! | [`limits`] | a customer's count is what the orders say, and never above the limit | every record |
//! | [`expiry`] | nothing expires before its deadline or is honoured after it | every record, every turn |
//! | [`baskets`] | an order over several shards is accepted only while all its parts are held; parts end as home says | every record, at the end |
//! | [`lsns`] | positions are gapless, time never runs back, recovered frames are the frames that were appended | every frame, every recovery |
//! | [`replay`] | memory + store = the fold of the log, live and recovered, from store + log and from the log alone | every 1,000 events, every recovery |
//! | [`durable`] | what left a shard is in its log after every crash; acknowledged keys keep their receipts; a refusal has no effect | every reply, every 1,000 events, every recovery |
//! | [`delivery`] | a subscriber is handed every committed record once per pass and in order, or told where the log begins; a group that carries money never meets a gap | every record read, at the end |
//! | [`views`] | published stock and catalogue are the owner's committed rows, at every commit and never before it | every turn, every commit, every recovery |
//! | [`poison`] | after a failed durable write a shard answers nothing but that it has stopped | every reply and message |
//! | [`damage`] | lost, misdirected and flipped bytes in front of something durable are refused with file and offset; what a flip or a lost write in the last unsealed frame takes is that frame and nothing else | every recovery |
//! | [`audit`] | the product's audit is clean and counts what the books count; after a lost tail it names what rested on it | at the end |
//! | [`liveness`] | when faults and load end, everything comes to an end and fresh orders are taken on every shard | at the end |
//!
//! Of a cluster:
//!
//! | file | what must hold | when it is checked |
//! |---|---|---|
//! | [`elections`] | one leader in a term | after everything a node does |
//! | [`matching`] | an index and a term name one entry, behind one entry | every entry written to any disk |
//! | [`commits`] | what is committed is on the disks of a quorum, stays, and every later leader has it | after everything a node does, every restart |
//! | [`monotone`] | terms in which a node has spoken survive it; applied <= committed <= written | after everything a node does |
//! | [`linear`] | a read shows no less than anybody had been told when it was asked | every read |
//!
//! Idempotency as clients see it is judged reply by reply in `clients::oracle`.

pub(crate) mod audit;
pub(crate) mod baskets;
pub(crate) mod commits;
pub(crate) mod damage;
pub(crate) mod delivery;
pub(crate) mod durable;
pub(crate) mod elections;
pub(crate) mod expiry;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod limits;
pub(crate) mod linear;
pub(crate) mod liveness;
pub(crate) mod lsns;
pub(crate) mod matching;
pub(crate) mod monotone;
pub(crate) mod orders;
pub(crate) mod payments;
pub(crate) mod poison;
pub(crate) mod replay;
pub(crate) mod units;
pub(crate) mod views;

use onrush_proto::{Fact, OrderId, OrderRow, Row};

use crate::mirror::{Book, Mirror};
use crate::report::Verdict;

/// A record about to be entered in the books, which stand as they were before it.
pub(crate) struct Step<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) shard: usize,
    pub(crate) lsn: u64,
    pub(crate) time_us: u64,
    pub(crate) fact: &'a Fact,
}

impl<'a> Step<'a> {
    pub(crate) fn book(&self) -> &'a Book {
        &self.mirror.books[self.shard]
    }

    /// The order rows of the record, each with the row before it.
    pub(crate) fn orders(&self) -> impl Iterator<Item = (Option<&'a OrderRow>, &'a OrderRow)> {
        let book = self.book();
        self.fact.rows.iter().filter_map(move |row| match row {
            Row::Order(order) => Some((book.orders.get(&order.id), order)),
            _ => None,
        })
    }

    /// For messages: which record of which shard.
    pub(crate) fn place(&self) -> String {
        format!("{:?} at record {} of shard {}", self.fact.kind, self.lsn, self.shard)
    }

    pub(crate) fn of(&self, order: OrderId) -> String {
        format!("{} of order {order}", self.place())
    }
}

/// Checks a record against the books.
pub(crate) fn record(step: &Step<'_>) -> Verdict {
    units::record(step)?;
    orders::record(step)?;
    payments::record(step)?;
    ledger::record(step)?;
    keys::record(step)?;
    limits::record(step)?;
    expiry::record(step)?;
    baskets::record(step)
}
