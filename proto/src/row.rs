//! Rows: what a shard keeps. A fact carries whole rows, so applying one is a blind write.
//!
//! On disk a row is one schema version byte and its rkyv archive (layout features are fixed for
//! the workspace). Readers check once, when the bytes enter memory.

#![allow(missing_docs, reason = "rkyv derives public items of variant structs without docs")]

use rkyv::rancor::{Failure, Strategy};
use rkyv::ser::Serializer;
use rkyv::ser::allocator::{Arena, ArenaHandle};
use rkyv::ser::sharing::Share;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use smallvec::SmallVec;

use crate::cause::CorrelationId;
use crate::id::OrderId;
use crate::key::IdempotencyKey;
use crate::money::Money;
use crate::payment::{LedgerRow, Payment};
use crate::progress::Delivery;
use crate::receipt::Receipt;
use crate::text::{BrandName, CategoryName, CustomerId, DocKey, Sku, Text};
use crate::trace::TraceContext;

/// The schema version every encoded row starts with.
pub const ROW_VERSION: u8 = 3;

/// Stock, price and selling rules of one SKU: the row an order decision reads and writes.
///
/// `received = on_hand + sold`, `available = on_hand - held`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct StockRow {
    /// What is sold.
    pub sku: Sku,
    /// Units in the warehouse, held ones included.
    pub on_hand: i64,
    /// Units promised to unpaid orders.
    pub held: i64,
    /// Units paid for and gone.
    pub sold: i64,
    /// Units ever received: the first stock and every change since.
    pub received: i64,
    /// Counts UpdateStock and PutProduct; compare-and-set reads it.
    pub version: u64,
    /// The price of one unit.
    pub price: Money,
    /// Most units one customer may buy over the life of the sale; 0 = no limit.
    pub limit_per_customer: u32,
    /// True if a cancelled or expired unit gives the customer's limit back.
    pub limit_returns: bool,
    /// How far below zero `available` may go (backorder); 0 = never oversell.
    pub backorder: u32,
    /// Hold interval in us for orders of this SKU; 0 = the engine's default.
    pub hold_us: u64,
    /// False if the SKU is withdrawn from sale.
    pub active: bool,
}

impl StockRow {
    /// Units that a new order may take.
    pub fn available(&self) -> i64 {
        self.on_hand - self.held
    }
}

/// One change of a SKU's stock by `UpdateStock`: the line in the books that says why.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct StockChangeRow {
    /// What is sold.
    pub sku: Sku,
    /// The stock row's version after the change; with the SKU it names the change.
    pub version: u64,
    /// Units on hand before.
    pub before: i64,
    /// Units on hand after.
    pub after: i64,
    /// Why, as the caller gave it.
    pub reason: Text<63>,
    /// Shard time of the change in us.
    pub changed_us: u64,
}

/// The catalogue's description of one SKU.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct ProductRow {
    /// What is sold.
    pub sku: Sku,
    /// Its name.
    pub name: String,
    /// A longer text.
    pub description: String,
    /// The category it is listed in.
    pub category: CategoryName,
    /// The brand.
    pub brand: BrandName,
    /// Counts changes of this row.
    pub version: u64,
    /// Shard time of the last change in us.
    pub changed_us: u64,
}

/// One line of an order, with the price as it was at order time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Line {
    /// What was ordered.
    pub sku: Sku,
    /// How many.
    pub quantity: u32,
    /// Price of one unit in minor units of the order's currency.
    pub unit_minor: i64,
}

/// An order's lines: one in place, more on the heap.
pub type Lines = SmallVec<[Line; 1]>;

/// Where an order stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Archive, Serialize, Deserialize)]
pub enum OrderState {
    /// Holds on other shards are being placed; nobody outside sees the order yet.
    Reserving,
    /// A second try: holds are placed in the order of the shards, and nothing is held here yet.
    Queued,
    /// A hold on another shard was refused; the order never came to be.
    Rejected,
    /// Accepted; stock is held until the deadline.
    Pending,
    /// Paid; the stock is sold.
    Paid,
    /// Being packed.
    Fulfilling,
    /// With the carrier.
    Shipped,
    /// Arrived.
    Delivered,
    /// Called off.
    Cancelled,
    /// The deadline passed unpaid.
    Expired,
    /// A part of the money went back.
    PartiallyRefunded,
    /// All of the money went back.
    Refunded,
}

/// An order with its payment inside.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct OrderRow {
    /// Its name.
    pub id: OrderId,
    /// Who ordered.
    pub customer: CustomerId,
    /// What was ordered, at what price.
    pub lines: Lines,
    /// Sum of the lines.
    pub total: Money,
    /// Where it stands.
    pub state: OrderState,
    /// How far its delivery got; a refund hides that in `state` and does not undo it.
    pub delivery: Delivery,
    /// Until when the stock is held, shard time in us. Never changes.
    pub held_until_us: u64,
    /// Shard time of the last change in us.
    pub changed_us: u64,
    /// The key it was created under.
    pub key: IdempotencyKey,
    /// Hash of the body it was created from.
    pub body: u64,
    /// The states after the first, oldest first; [`OrderRow::states`] has the first too.
    pub history: SmallVec<[StateChange; 1]>,
    /// Attempts, refunds and postings, once there are any.
    pub payment: Option<Box<Payment>>,
}

/// A state of an order and since when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct StateChange {
    /// The state.
    pub state: OrderState,
    /// Shard time in us.
    pub at_us: u64,
}

/// The part of an order that a shard other than its home holds.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct HoldRow {
    /// The order; its slot names the home.
    pub order: OrderId,
    /// Who ordered.
    pub customer: CustomerId,
    /// The lines that live here; empty for a release that came before its hold.
    pub lines: Lines,
    /// Where it stands.
    pub state: HoldState,
    /// When to ask home, shard time in us.
    pub deadline_us: u64,
}

/// Where a hold stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Archive, Serialize, Deserialize)]
pub enum HoldState {
    /// The units are held.
    Held,
    /// The units are sold.
    Captured,
    /// The units went back unsold.
    Released,
    /// The units were sold and came back.
    Returned,
}

/// What an idempotency key stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum KeyState {
    /// The first acceptance, on the shard that decided it.
    First {
        /// Hash of the body.
        body: u64,
        /// The stored answer.
        receipt: Receipt,
    },
    /// The key lives here, what it names lives on another shard.
    Claim {
        /// A slot of the shard that decided it.
        home: u8,
    },
}

/// An idempotency key and what it stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct KeyRow {
    /// The key.
    pub key: IdempotencyKey,
    /// What it stands for.
    pub state: KeyState,
    /// The history bucket it stands in.
    pub bucket: u32,
}

/// How many units of a SKU a customer bought in this sale.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct LimitRow {
    /// Hash of (SKU, customer).
    pub hash: u128,
    /// Units.
    pub units: u32,
    /// The limit in force when the count last grew.
    pub limit: u32,
    /// The history bucket it stands in.
    pub bucket: u32,
}

/// A document of a service that is not hot.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct DocumentRow {
    /// `collection/id`.
    pub key: DocKey,
    /// Counts changes from 1.
    pub version: u64,
    /// The service's bytes; `None` once deleted.
    pub value: Option<Vec<u8>>,
    /// Shard time of the last change in us.
    pub changed_us: u64,
}

/// A name that is unique over all shards.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct NameRow {
    /// `space/name`, e.g. `email/a@example.com`.
    pub name: DocKey,
    /// Who owns it; empty once released.
    pub owner: Text<63>,
    /// False until what it names exists.
    pub confirmed: bool,
    /// An unconfirmed claim lapses here, shard time in us.
    pub deadline_us: u64,
}

/// How far a consumer group has read a topic on this shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct OffsetRow {
    /// The group.
    pub group: Text<47>,
    /// The topic's number.
    pub topic: u8,
    /// The last record done with.
    pub lsn: u64,
}

/// What fences a consumer group's position on this shard, and which event it could not handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct GroupRow {
    /// The group.
    pub group: Text<47>,
    /// The topic's number.
    pub topic: u8,
    /// Grows with each change of its members; a position committed under another is refused.
    pub generation: u64,
    /// The event that was rejected last; 0 = none.
    pub tried: u64,
    /// How often it was.
    pub tries: u16,
}

/// An event that a consumer group gave up. No state: it stands in the log alone.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct DeadLetterRow {
    /// The group.
    pub group: Text<47>,
    /// The number of the topic that it read.
    pub topic: u8,
    /// The shard whose event it is.
    pub shard: u16,
    /// The event's position there.
    pub lsn: u64,
    /// How often it was tried.
    pub tries: u16,
    /// Why the last try failed, as the consumer said.
    pub reason: String,
}

/// Any row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Row {
    /// Stock of a SKU.
    Stock(StockRow),
    /// Description of a SKU.
    Product(Box<ProductRow>),
    /// An order with its payment.
    Order(OrderRow),
    /// A part of another shard's order.
    Hold(Box<HoldRow>),
    /// An idempotency key.
    Key(KeyRow),
    /// A customer's count.
    Limit(LimitRow),
    /// A document.
    Document(Box<DocumentRow>),
    /// A unique name.
    Name(Box<NameRow>),
    /// A consumer group's position.
    Offset(OffsetRow),
    /// Balances of a currency.
    Ledger(LedgerRow),
    /// A change of stock.
    StockChange(Box<StockChangeRow>),
    /// The trace that the record's command came in. No state: it stands in the log alone.
    Trace(TraceContext),
    /// What the record's command belongs to. No state either.
    Correlation(Box<CorrelationId>),
    /// A consumer group's generation.
    Group(GroupRow),
    /// An event that was given up. No state either.
    DeadLetter(Box<DeadLetterRow>),
}

/// The kind of a row, as written in front of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum RowTag {
    /// [`StockRow`]
    Stock = 1,
    /// [`ProductRow`]
    Product = 2,
    /// [`OrderRow`]
    Order = 3,
    /// [`HoldRow`]
    Hold = 4,
    /// [`KeyRow`]
    Key = 5,
    /// [`LimitRow`]
    Limit = 6,
    /// [`DocumentRow`]
    Document = 7,
    /// [`NameRow`]
    Name = 8,
    /// [`OffsetRow`]
    Offset = 9,
    /// [`LedgerRow`]
    Ledger = 10,
    /// [`StockChangeRow`]
    StockChange = 11,
    /// [`TraceContext`]
    Trace = 12,
    /// [`CorrelationId`]
    Correlation = 13,
    /// [`GroupRow`]
    Group = 14,
    /// [`DeadLetterRow`]
    DeadLetter = 15,
}

impl RowTag {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::Stock,
        Self::Product,
        Self::Order,
        Self::Hold,
        Self::Key,
        Self::Limit,
        Self::Document,
        Self::Name,
        Self::Offset,
        Self::Ledger,
        Self::StockChange,
        Self::Trace,
        Self::Correlation,
        Self::Group,
        Self::DeadLetter,
    ];

    /// The kind of a tag byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tag| *tag as u8 == byte)
    }
}

/// Bytes that are not the row they should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RowError {
    /// An unknown schema version.
    #[error("expected row schema version {ROW_VERSION}, found {found:?} in a {tag:?} row")]
    Version {
        /// The kind of row.
        tag: RowTag,
        /// The first byte, if there is one.
        found: Option<u8>,
    },
    /// An archive that does not check.
    #[error("expected a valid {tag:?} row, found {len} bytes that do not check")]
    Archive {
        /// The kind of row.
        tag: RowTag,
        /// Length of the bytes.
        len: usize,
    },
}

/// Reused scratch memory for encoding rows: no allocation after warm-up.
pub struct RowEncoder {
    arena: Arena,
    bytes: AlignedVec<16>,
}

impl Default for RowEncoder {
    fn default() -> Self {
        Self { arena: Arena::with_capacity(16 << 10), bytes: AlignedVec::with_capacity(1 << 10) }
    }
}

type RowSerializer<'a> = Strategy<Serializer<&'a mut AlignedVec<16>, ArenaHandle<'a>, Share>, Failure>;

impl RowEncoder {
    /// The row's bytes, valid until the next call.
    pub fn encode(&mut self, row: &Row) -> &[u8] {
        match row {
            Row::Stock(row) => self.archive(row),
            Row::Product(row) => self.archive(&**row),
            Row::Order(row) => self.archive(row),
            Row::Hold(row) => self.archive(&**row),
            Row::Key(row) => self.archive(row),
            Row::Limit(row) => self.archive(row),
            Row::Document(row) => self.archive(&**row),
            Row::Name(row) => self.archive(&**row),
            Row::Offset(row) => self.archive(row),
            Row::Ledger(row) => self.archive(row),
            Row::StockChange(row) => self.archive(&**row),
            Row::Trace(context) => self.archive(context),
            Row::Correlation(id) => self.archive(&**id),
            Row::Group(row) => self.archive(row),
            Row::DeadLetter(row) => self.archive(&**row),
        }
    }

    fn archive<T>(&mut self, row: &T) -> &[u8]
    where
        T: for<'a> Serialize<RowSerializer<'a>>,
    {
        self.bytes.clear();
        self.bytes.push(ROW_VERSION);
        let mut serializer = Serializer::new(&mut self.bytes, self.arena.acquire(), Share::new());
        // The writer is a vector and the scratch arena grows: there is nothing left that can fail.
        let _: Result<usize, Failure> = rkyv::api::serialize_using(row, &mut serializer);
        &self.bytes
    }
}

/// The archived form of a row type, checked.
pub fn view<T>(tag: RowTag, bytes: &[u8]) -> Result<&T::Archived, RowError>
where
    T: Archive,
    T::Archived:
        rkyv::Portable + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, Failure>>,
{
    let (version, body) = bytes.split_first().ok_or(RowError::Version { tag, found: None })?;
    if *version != ROW_VERSION {
        return Err(RowError::Version { tag, found: Some(*version) });
    }
    rkyv::access::<T::Archived, Failure>(body).map_err(|_| RowError::Archive { tag, len: bytes.len() })
}

fn read<T>(tag: RowTag, bytes: &[u8]) -> Result<T, RowError>
where
    T: Archive,
    T::Archived: rkyv::Portable
        + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, Failure>>
        + Deserialize<T, Strategy<rkyv::de::Pool, Failure>>,
{
    let archived = view::<T>(tag, bytes)?;
    rkyv::deserialize::<T, Failure>(archived).map_err(|_| RowError::Archive { tag, len: bytes.len() })
}

impl Row {
    /// The kind of this row.
    pub fn tag(&self) -> RowTag {
        match self {
            Self::Stock(_) => RowTag::Stock,
            Self::Product(_) => RowTag::Product,
            Self::Order(_) => RowTag::Order,
            Self::Hold(_) => RowTag::Hold,
            Self::Key(_) => RowTag::Key,
            Self::Limit(_) => RowTag::Limit,
            Self::Document(_) => RowTag::Document,
            Self::Name(_) => RowTag::Name,
            Self::Offset(_) => RowTag::Offset,
            Self::Ledger(_) => RowTag::Ledger,
            Self::StockChange(_) => RowTag::StockChange,
            Self::Trace(_) => RowTag::Trace,
            Self::Correlation(_) => RowTag::Correlation,
            Self::Group(_) => RowTag::Group,
            Self::DeadLetter(_) => RowTag::DeadLetter,
        }
    }

    /// Reads a row that [`RowEncoder::encode`] wrote.
    pub fn decode(tag: RowTag, bytes: &[u8]) -> Result<Self, RowError> {
        Ok(match tag {
            RowTag::Stock => Self::Stock(read(tag, bytes)?),
            RowTag::Product => Self::Product(Box::new(read(tag, bytes)?)),
            RowTag::Order => Self::Order(read(tag, bytes)?),
            RowTag::Hold => Self::Hold(Box::new(read(tag, bytes)?)),
            RowTag::Key => Self::Key(read(tag, bytes)?),
            RowTag::Limit => Self::Limit(read(tag, bytes)?),
            RowTag::Document => Self::Document(Box::new(read(tag, bytes)?)),
            RowTag::Name => Self::Name(Box::new(read(tag, bytes)?)),
            RowTag::Offset => Self::Offset(read(tag, bytes)?),
            RowTag::Ledger => Self::Ledger(read(tag, bytes)?),
            RowTag::StockChange => Self::StockChange(Box::new(read(tag, bytes)?)),
            RowTag::Trace => Self::Trace(read(tag, bytes)?),
            RowTag::Correlation => Self::Correlation(Box::new(read(tag, bytes)?)),
            RowTag::Group => Self::Group(read(tag, bytes)?),
            RowTag::DeadLetter => Self::DeadLetter(Box::new(read(tag, bytes)?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;
    use crate::payment::{Attempt, AttemptState};
    use crate::slot::Slot;

    fn order(lines: usize) -> OrderRow {
        let line = |index: usize| Line {
            sku: Sku::new(&format!("sku-{index}")).unwrap(),
            quantity: index as u32 + 1,
            unit_minor: 995,
        };
        OrderRow {
            id: OrderId::new(Slot(3), 1_700_000_000_000_000, 2, 9),
            customer: "ada".parse().unwrap(),
            lines: (0..lines).map(line).collect(),
            total: Money::new(995, Currency::EUR),
            state: OrderState::Pending,
            delivery: Delivery::Waiting,
            held_until_us: 1,
            changed_us: 2,
            key: IdempotencyKey(77),
            body: 5,
            history: smallvec::smallvec![StateChange { state: OrderState::Pending, at_us: 2 }],
            payment: Some(Box::new(Payment {
                attempts: smallvec::smallvec![Attempt {
                    number: 1,
                    state: AttemptState::Declined,
                    capture: true,
                    minor: 995,
                    capture_minor: 0,
                    method: "pm_card".parse().unwrap(),
                    reference: Text::EMPTY,
                    decline: "insufficient_funds".parse().unwrap(),
                    started_us: 4,
                }],
                ..Payment::new()
            })),
        }
    }

    #[test]
    fn rows_survive_the_archive_at_any_offset() {
        let mut encoder = RowEncoder::default();
        for lines in [1, 2, 161] {
            let row = Row::Order(order(lines));
            let bytes = encoder.encode(&row).to_vec();
            for offset in 0..9 {
                let mut shifted = vec![0xAA; offset];
                shifted.extend_from_slice(&bytes);
                assert_eq!(Row::decode(RowTag::Order, &shifted[offset..]), Ok(row.clone()));
            }
        }
    }

    #[test]
    fn archives_need_no_alignment() {
        assert_eq!(align_of::<ArchivedOrderRow>(), 1);
        assert_eq!(align_of::<ArchivedStockRow>(), 1);
        assert_eq!(align_of::<ArchivedProductRow>(), 1);
    }

    #[test]
    fn golden_bytes_pin_the_layout() {
        let row = Row::Ledger(LedgerRow { currency: Currency::EUR, balances: [-5, 0, 5, 0, 0] });
        let mut expected = vec![ROW_VERSION];
        expected.extend_from_slice(b"EUR");
        for balance in [-5i64, 0, 5, 0, 0] {
            expected.extend_from_slice(&balance.to_le_bytes());
        }
        assert_eq!(RowEncoder::default().encode(&row), expected);
    }

    #[test]
    fn damaged_rows_are_refused_by_name() {
        let bytes = RowEncoder::default().encode(&Row::Order(order(1))).to_vec();
        assert_eq!(
            Row::decode(RowTag::Order, &[]),
            Err(RowError::Version { tag: RowTag::Order, found: None })
        );
        let mut old = bytes.clone();
        old[0] = 9;
        assert_eq!(
            Row::decode(RowTag::Order, &old),
            Err(RowError::Version { tag: RowTag::Order, found: Some(9) })
        );
        assert!(Row::decode(RowTag::Order, &bytes[..20]).is_err());
    }
}
