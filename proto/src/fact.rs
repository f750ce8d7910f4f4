//! Facts: what the log holds. One accepted command is one record: its kind and the resulting rows.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};
use smallvec::SmallVec;

use crate::cause::Cause;
use crate::row::{Row, RowEncoder, RowError, RowTag};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u16)]
pub enum RecordKind {
    /// A product was put.
    ProductPut = 1,
    /// Stock was changed.
    StockUpdated = 2,
    /// An order waits for its holds on other shards.
    OrderReserving = 10,
    /// An order was accepted.
    OrderCreated = 11,
    /// A hold on another shard was refused.
    OrderRejected = 12,
    /// An order was called off.
    OrderCancelled = 13,
    /// An order's deadline passed.
    OrderExpired = 14,
    /// An order moved towards delivery.
    OrderMoved = 15,
    /// A payment attempt waits for the gateway.
    PaymentStarted = 20,
    /// Money was reserved.
    PaymentAuthorised = 21,
    /// Money was taken.
    PaymentCaptured = 22,
    /// An attempt was declined.
    PaymentDeclined = 23,
    /// Nobody knows how an attempt went.
    PaymentUnknown = 24,
    /// A refund waits for the gateway.
    RefundStarted = 25,
    /// Money went back.
    RefundSucceeded = 26,
    /// A refund failed.
    RefundFailed = 27,
    /// A reservation of money was given back uncaptured.
    PaymentVoided = 28,
    /// A capture of reserved money waits for the gateway.
    CaptureStarted = 29,
    /// A part of another shard's order is held here.
    HoldPlaced = 30,
    /// That part is sold.
    HoldCaptured = 31,
    /// That part went back.
    HoldReleased = 32,
    /// An idempotency key names something on another shard.
    KeyClaimed = 40,
    /// A repetition that changed nothing got its answer under a key of its own.
    KeyKept = 41,
    /// A document was put.
    DocumentPut = 50,
    /// A document was deleted.
    DocumentDeleted = 51,
    /// A document was put and is an event of `shipping.updated`.
    ShippingUpdated = 52,
    /// A document was put and is an event of `notification.sent`.
    NotificationSent = 53,
    /// A document was put and is an event of `user.updated`.
    UserUpdated = 54,
    /// A document was put and is an event of `user.password_reset`.
    PasswordResetAsked = 55,
    /// A unique name changed hands.
    NameChanged = 60,
    /// A consumer group moved on.
    OffsetCommitted = 70,
    /// A consumer group's members changed, or its position was set: a new generation.
    GroupFenced = 71,
    /// A consumer group could not handle an event; it will come again.
    EventRejected = 72,
    /// A consumer group gave an event up: it is an event of `dead.letters`.
    DeadLettered = 73,
}

impl RecordKind {
    /// All kinds.
    pub const ALL: [Self; 34] = [
        Self::ProductPut,
        Self::StockUpdated,
        Self::OrderReserving,
        Self::OrderCreated,
        Self::OrderRejected,
        Self::OrderCancelled,
        Self::OrderExpired,
        Self::OrderMoved,
        Self::PaymentStarted,
        Self::PaymentAuthorised,
        Self::PaymentCaptured,
        Self::PaymentDeclined,
        Self::PaymentUnknown,
        Self::RefundStarted,
        Self::RefundSucceeded,
        Self::RefundFailed,
        Self::PaymentVoided,
        Self::CaptureStarted,
        Self::HoldPlaced,
        Self::HoldCaptured,
        Self::HoldReleased,
        Self::KeyClaimed,
        Self::KeyKept,
        Self::DocumentPut,
        Self::DocumentDeleted,
        Self::ShippingUpdated,
        Self::NotificationSent,
        Self::UserUpdated,
        Self::PasswordResetAsked,
        Self::NameChanged,
        Self::OffsetCommitted,
        Self::GroupFenced,
        Self::EventRejected,
        Self::DeadLettered,
    ];

    /// The kind of a number in the log.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }

    /// True if records of this kind are events of `topic`.
    pub fn is_in(self, topic: Topic) -> bool {
        match topic {
            Topic::StockUpdated => matches!(self, Self::StockUpdated | Self::ProductPut),
            Topic::OrderCreated => self == Self::OrderCreated,
            Topic::OrderCancelled => self == Self::OrderCancelled,
            Topic::OrderExpired => self == Self::OrderExpired,
            Topic::OrderUpdated => self == Self::OrderMoved,
            Topic::StockReleased => {
                matches!(self, Self::OrderCancelled | Self::OrderExpired | Self::HoldReleased)
            }
            Topic::PaymentStarted => {
                matches!(
                    self,
                    Self::PaymentStarted | Self::RefundStarted | Self::PaymentVoided | Self::CaptureStarted
                )
            }
            Topic::PaymentProcessed => self == Self::PaymentCaptured,
            Topic::PaymentAuthorised => self == Self::PaymentAuthorised,
            Topic::PaymentFailed => self == Self::PaymentDeclined,
            Topic::PaymentUnknown => self == Self::PaymentUnknown,
            Topic::PaymentRefunded => self == Self::RefundSucceeded,
            Topic::ShippingUpdated => self == Self::ShippingUpdated,
            Topic::NotificationSent => self == Self::NotificationSent,
            Topic::UserUpdated => self == Self::UserUpdated,
            Topic::PasswordResetAsked => self == Self::PasswordResetAsked,
            Topic::DeadLetters => self == Self::DeadLettered,
        }
    }
}

/// A filter on record kinds, under the name that subscribers know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum Topic {
    /// `stock.updated`
    StockUpdated = 1,
    /// `order.created`
    OrderCreated = 2,
    /// `order.cancelled`
    OrderCancelled = 3,
    /// `order.expired`
    OrderExpired = 4,
    /// `order.updated`
    OrderUpdated = 5,
    /// `stock.released`
    StockReleased = 6,
    /// `payment.started`: attempts, captures and refunds for gateway adapters to act on
    PaymentStarted = 7,
    /// `payment.processed`
    PaymentProcessed = 8,
    /// `payment.authorised`
    PaymentAuthorised = 9,
    /// `payment.failed`
    PaymentFailed = 10,
    /// `payment.unknown`
    PaymentUnknown = 11,
    /// `payment.refunded`
    PaymentRefunded = 12,
    /// `shipping.updated`
    ShippingUpdated = 13,
    /// `notification.sent`
    NotificationSent = 14,
    /// `user.updated`
    UserUpdated = 15,
    /// `user.password_reset`
    PasswordResetAsked = 16,
    /// `dead.letters`: events that a consumer group gave up
    DeadLetters = 17,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 17] = [
        Self::StockUpdated,
        Self::OrderCreated,
        Self::OrderCancelled,
        Self::OrderExpired,
        Self::OrderUpdated,
        Self::StockReleased,
        Self::PaymentStarted,
        Self::PaymentProcessed,
        Self::PaymentAuthorised,
        Self::PaymentFailed,
        Self::PaymentUnknown,
        Self::PaymentRefunded,
        Self::ShippingUpdated,
        Self::NotificationSent,
        Self::UserUpdated,
        Self::PasswordResetAsked,
        Self::DeadLetters,
    ];

    /// The dotted name.
    pub fn name(self) -> &'static str {
        match self {
            Self::StockUpdated => "stock.updated",
            Self::OrderCreated => "order.created",
            Self::OrderCancelled => "order.cancelled",
            Self::OrderExpired => "order.expired",
            Self::OrderUpdated => "order.updated",
            Self::StockReleased => "stock.released",
            Self::PaymentStarted => "payment.started",
            Self::PaymentProcessed => "payment.processed",
            Self::PaymentAuthorised => "payment.authorised",
            Self::PaymentFailed => "payment.failed",
            Self::PaymentUnknown => "payment.unknown",
            Self::PaymentRefunded => "payment.refunded",
            Self::ShippingUpdated => "shipping.updated",
            Self::NotificationSent => "notification.sent",
            Self::UserUpdated => "user.updated",
            Self::PasswordResetAsked => "user.password_reset",
            Self::DeadLetters => "dead.letters",
        }
    }

    /// The topic of a dotted name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// True if groups that read the topic with this number carry money or goods: their positions
    /// hold the log back from being recycled.
    pub fn holds_log(number: u8) -> bool {
        [Self::PaymentStarted, Self::PaymentProcessed].iter().any(|topic| *topic as u8 == number)
    }

    /// The topic with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| *topic as u8 == number)
    }

    /// The kind of record that puts a document on this topic, if documents may.
    pub fn document_kind(self) -> Option<RecordKind> {
        match self {
            Self::ShippingUpdated => Some(RecordKind::ShippingUpdated),
            Self::NotificationSent => Some(RecordKind::NotificationSent),
            Self::UserUpdated => Some(RecordKind::UserUpdated),
            Self::PasswordResetAsked => Some(RecordKind::PasswordResetAsked),
            _ => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One accepted command: its kind and the rows as they are after it.
#[derive(Clone, PartialEq, Debug)]
pub struct Fact {
    /// What happened.
    pub kind: RecordKind,
    /// A hash of the key it happened to, for compaction and tracing.
    pub key_hash: u64,
    /// The resulting rows. An accepted order's key row is not among them: the order row carries it.
    pub rows: SmallVec<[Row; 3]>,
}

impl Fact {
    /// A fact without rows yet.
    pub fn new(kind: RecordKind, key_hash: u64) -> Self {
        Self { kind, key_hash, rows: SmallVec::new() }
    }

    /// Adds a resulting row.
    pub fn with(mut self, row: Row) -> Self {
        self.rows.push(row);
        self
    }

    /// Appends the record's payload to `out`: per row a tag byte, a length (u32, little-endian)
    /// and the encoded row.
    pub fn encode(&self, encoder: &mut RowEncoder, out: &mut Vec<u8>) {
        self.rows.iter().for_each(|row| Self::encode_row(row, encoder, out));
    }

    /// Appends one more row to a payload, as if the fact had carried it last.
    pub fn encode_row(row: &Row, encoder: &mut RowEncoder, out: &mut Vec<u8>) {
        let bytes = encoder.encode(row);
        out.push(row.tag() as u8);
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    }
}

/// A payload that is not a fact.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FactError {
    /// An unknown record kind.
    #[error("expected a known record kind, found {0}")]
    Kind(u16),
    /// An unknown row tag.
    #[error("expected a row tag at byte {at}, found {found}")]
    Tag {
        /// Offset in the payload.
        at: usize,
        /// The byte found.
        found: u8,
    },
    /// The payload ends inside a row.
    #[error("expected {expected} bytes at byte {at}, found {found}")]
    Short {
        /// Offset in the payload.
        at: usize,
        /// Bytes wanted.
        expected: usize,
        /// Bytes left.
        found: usize,
    },
    /// A row that does not check.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// A record's payload, read in place.
#[derive(Clone, Copy, Debug)]
pub struct FactView<'a> {
    /// What happened.
    pub kind: RecordKind,
    payload: &'a [u8],
}

impl<'a> FactView<'a> {
    /// Views a record. Rows are checked as they are read.
    pub fn new(kind: u16, payload: &'a [u8]) -> Result<Self, FactError> {
        let kind = RecordKind::from_number(kind).ok_or(FactError::Kind(kind))?;
        Ok(Self { kind, payload })
    }

    /// The rows in order: tag and encoded bytes.
    pub fn rows(self) -> FactRows<'a> {
        FactRows { payload: self.payload, at: 0 }
    }

    /// What the record's command belongs to, if it said so.
    pub fn cause(self) -> Option<Cause> {
        let (mut trace, mut correlation) = (None, None);
        let wanted = |tag: RowTag| matches!(tag, RowTag::Trace | RowTag::Correlation);
        for (tag, bytes) in self.rows().flatten().filter(|(tag, _)| wanted(*tag)) {
            match Row::decode(tag, bytes) {
                Ok(Row::Trace(context)) => trace = Some(context),
                Ok(Row::Correlation(id)) => correlation = Some(*id),
                _ => {}
            }
        }
        Cause::new(trace, correlation)
    }

    /// Reads the whole fact.
    pub fn read(self, key_hash: u64) -> Result<Fact, FactError> {
        let mut fact = Fact::new(self.kind, key_hash);
        for row in self.rows() {
            let (tag, bytes) = row?;
            fact.rows.push(Row::decode(tag, bytes)?);
        }
        Ok(fact)
    }
}

/// Iterates the rows of a [`FactView`].
pub struct FactRows<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> FactRows<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], FactError> {
        let rest = &self.payload[self.at..];
        if rest.len() < count {
            let short = FactError::Short { at: self.at, expected: count, found: rest.len() };
            self.at = self.payload.len();
            return Err(short);
        }
        self.at += count;
        Ok(&rest[..count])
    }

    fn row(&mut self) -> Result<(RowTag, &'a [u8]), FactError> {
        let at = self.at;
        let head = self.take(5)?;
        let tag = RowTag::from_byte(head[0]).ok_or(FactError::Tag { at, found: head[0] })?;
        let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        Ok((tag, self.take(len)?))
    }
}

impl<'a> Iterator for FactRows<'a> {
    type Item = Result<(RowTag, &'a [u8]), FactError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.payload.len() {
            return None;
        }
        let row = self.row();
        if row.is_err() {
            self.at = self.payload.len();
        }
        Some(row)
    }
}
