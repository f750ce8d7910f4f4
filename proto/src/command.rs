//! Commands: what a shard can be asked to do.

#![allow(missing_docs, reason = "rkyv derives public items of variant structs without docs")]

use rkyv::{Archive, Deserialize, Serialize};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::cause::Cause;
use crate::fact::Topic;
use crate::id::OrderId;
use crate::key::IdempotencyKey;
use crate::money::Money;
use crate::payment::GatewayResult;
use crate::row::OrderState;
use crate::slot::{Lsn, Slot};
use crate::text::{BrandName, CategoryName, CustomerId, DocKey, Sku, Text};

/// Most lines one order may have.
pub const MAX_LINES: usize = 10_000;
/// Most units one line may ask for.
pub const MAX_QUANTITY: i64 = 1_000_000;
/// Most bytes a document may hold.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// A command with what is needed to decide it once.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Request {
    /// The idempotency key; [`IdempotencyKey::NONE`] = decide each time.
    pub key: IdempotencyKey,
    /// Hash of the command; a retry must bring the same.
    pub body: u64,
    /// Wall time in us after which nobody waits for the answer; 0 = none.
    pub deadline_us: u64,
    /// What it belongs to. If it is accepted, its record has it.
    pub cause: Option<Box<Cause>>,
    /// What to do.
    pub command: Command,
}

impl Request {
    /// A request under a key.
    pub fn new(key: IdempotencyKey, command: Command) -> Self {
        let body = if key.is_none() { 0 } else { command.body_hash() };
        Self { key, body, deadline_us: 0, cause: None, command }
    }

    /// A request without a key: a read, or a command that is safe to repeat.
    pub fn unkeyed(command: Command) -> Self {
        Self::new(IdempotencyKey::NONE, command)
    }
}

/// What a shard can be asked to do.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub enum Command {
    /// Create or change a product and its selling rules.
    PutProduct(Box<PutProduct>),
    /// Change a SKU's stock.
    UpdateStock(UpdateStock),
    /// Read a SKU's stock from its owner.
    GetStock(Sku),
    /// Hold stock and create an order with its payment intent.
    CreateOrder(CreateOrder),
    /// Read an order.
    GetOrder(OrderId),
    /// Call an order off.
    CancelOrder(CancelOrder),
    /// Move a paid order towards delivery.
    MoveOrder(MoveOrder),
    /// Record a payment attempt; a gateway adapter acts on its event.
    StartPayment(Box<StartPayment>),
    /// Record what the gateway said of an attempt.
    SettleAttempt(Box<SettleAttempt>),
    /// Record that an authorised payment is to be captured; a gateway adapter acts on its event.
    CapturePayment(CapturePayment),
    /// Record a refund; a gateway adapter acts on its event.
    RefundPayment(RefundPayment),
    /// Record what the gateway said of a refund.
    SettleRefund(SettleRefund),
    /// Put a document, and perhaps emit an event with it.
    PutDocument(Box<PutDocument>),
    /// Delete a document.
    DeleteDocument(Box<DeleteDocument>),
    /// Read a document.
    GetDocument(Box<GetDocument>),
    /// Claim, confirm, release or read a unique name.
    Name(Box<NameCommand>),
    /// Record how far a consumer group has read this shard.
    CommitOffset(Box<CommitOffset>),
    /// Something of a consumer group whose members share shards.
    Group(Box<GroupCommand>),
    /// Read how all consumer groups stand on the shard of a slot.
    ListGroups(Slot),
}

/// Create or change a product. Stock is changed by [`UpdateStock`] only.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct PutProduct {
    /// What is sold.
    pub sku: Sku,
    /// Its name, 1..=400 bytes.
    pub name: String,
    /// A longer text, up to 64 KiB.
    pub description: String,
    /// The category it is listed in.
    pub category: CategoryName,
    /// The brand.
    pub brand: BrandName,
    /// The price of one unit; not negative.
    pub price: Money,
    /// Most units per customer; 0 = no limit.
    pub limit_per_customer: u32,
    /// True if a cancelled or expired unit gives the limit back.
    pub limit_returns: bool,
    /// How far below zero `available` may go; 0 = never oversell.
    pub backorder: u32,
    /// Hold interval in us; 0 = the engine's default.
    pub hold_us: u64,
    /// False withdraws the SKU from sale.
    pub active: bool,
}

/// Change a SKU's stock.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct UpdateStock {
    /// What is sold.
    pub sku: Sku,
    /// The change.
    pub change: StockChange,
    /// Why, for the books.
    pub reason: Text<63>,
}

/// How stock changes. Never below what is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum StockChange {
    /// `on_hand` becomes this.
    Set(i64),
    /// `on_hand` grows by this (shrinks if negative).
    Add(i64),
    /// Like `Add`, if the version still matches.
    AddIfVersion {
        /// The change.
        add: i64,
        /// The version that must match.
        version: u64,
    },
}

/// Hold stock and create an order.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct CreateOrder {
    /// Who orders.
    pub customer: CustomerId,
    /// What is ordered; 1..=[`MAX_LINES`] lines, each SKU once.
    pub lines: SmallVec<[OrderLine; 1]>,
    /// Hold interval in us; 0 = the SKU's or the engine's default.
    pub hold_us: u64,
}

/// One line of a new order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct OrderLine {
    /// What is ordered.
    pub sku: Sku,
    /// How many, 1..=[`MAX_QUANTITY`].
    pub quantity: i64,
    /// The most the caller pays for one unit, in minor units; `i64::MAX` = no ceiling.
    pub max_unit_minor: i64,
}

impl OrderLine {
    /// A line without a price ceiling.
    pub fn new(sku: Sku, quantity: i64) -> Self {
        Self { sku, quantity, max_unit_minor: i64::MAX }
    }
}

/// Call an order off.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct CancelOrder {
    /// The order.
    pub order: OrderId,
}

/// Move a paid order towards delivery.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct MoveOrder {
    /// The order.
    pub order: OrderId,
    /// `Fulfilling`, `Shipped` or `Delivered`.
    pub to: OrderState,
}

/// Record a payment attempt.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct StartPayment {
    /// The order.
    pub order: OrderId,
    /// The caller's token of the payment method.
    pub method: Text<47>,
    /// True if authorisation and capture are one step.
    pub capture: bool,
}

/// Record what the gateway said of an attempt.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct SettleAttempt {
    /// The order.
    pub order: OrderId,
    /// The attempt's number.
    pub attempt: u16,
    /// What the gateway said.
    pub result: GatewayResult,
}

/// Record that (a part of) an authorised payment is to be captured; the rest is voided with it.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct CapturePayment {
    /// The order.
    pub order: OrderId,
    /// Minor units, 1..=authorised.
    pub minor: i64,
}

/// Record a refund.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct RefundPayment {
    /// The order.
    pub order: OrderId,
    /// Minor units, 1..=what is left.
    pub minor: i64,
}

/// Record what the gateway said of a refund.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct SettleRefund {
    /// The order.
    pub order: OrderId,
    /// The refund's number.
    pub refund: u16,
    /// True if the money went back.
    pub succeeded: bool,
}

/// Put a document.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct PutDocument {
    /// Its key.
    pub key: DocKey,
    /// Where it lives; `None` = by its key. An order's documents live on the order's slot.
    pub placement: Option<Slot>,
    /// The service's bytes, up to [`MAX_DOCUMENT_BYTES`].
    pub value: Vec<u8>,
    /// The version it must have; 0 = it must not exist; `None` = any.
    pub expected: Option<u64>,
    /// The topic to emit the document on, in the same record.
    pub emit: Option<Topic>,
}

/// Delete a document.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct DeleteDocument {
    /// Its key.
    pub key: DocKey,
    /// Where it lives; `None` = by its key.
    pub placement: Option<Slot>,
    /// The version it must have; `None` = any.
    pub expected: Option<u64>,
}

/// Read a document.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct GetDocument {
    /// Its key.
    pub key: DocKey,
    /// Where it lives; `None` = by its key.
    pub placement: Option<Slot>,
}

/// Work on a unique name (`space/name`).
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub enum NameCommand {
    /// Claim a name until the deadline; a name that the same owner holds is claimed again.
    Claim {
        /// `space/name`.
        name: DocKey,
        /// Who claims.
        owner: Text<63>,
        /// How long an unconfirmed claim stands, in us.
        for_us: u64,
    },
    /// What the name stands for exists: it stands for good.
    Confirm {
        /// `space/name`.
        name: DocKey,
        /// Who claimed.
        owner: Text<63>,
    },
    /// Give the name back.
    Release {
        /// `space/name`.
        name: DocKey,
        /// Who owns it.
        owner: Text<63>,
    },
    /// Read who owns it.
    Get {
        /// `space/name`.
        name: DocKey,
    },
}

impl NameCommand {
    /// The name this is about.
    pub fn name(&self) -> &DocKey {
        match self {
            Self::Claim { name, .. } | Self::Confirm { name, .. } => name,
            Self::Release { name, .. } | Self::Get { name } => name,
        }
    }
}

/// Record how far a consumer group has read.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct CommitOffset {
    /// A slot of the shard that was read.
    pub slot: Slot,
    /// The group.
    pub group: Text<47>,
    /// The topic.
    pub topic: Topic,
    /// The last record done with; `None` reads the position.
    pub lsn: Option<Lsn>,
}

/// Most bytes that a consumer may say of why it rejects an event.
pub const MAX_REASON_BYTES: usize = 1_024;

/// Something of a consumer group on one shard.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct GroupCommand {
    /// A slot of the shard.
    pub slot: Slot,
    /// The group.
    pub group: Text<47>,
    /// The topic that it reads.
    pub topic: Topic,
    /// What is asked.
    pub ask: GroupAsk,
}

/// What a consumer group can be asked on one shard.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub enum GroupAsk {
    /// Read how it stands.
    Get,
    /// Begin a generation: what is committed under an older one is refused from then on.
    Fence {
        /// The new one, above that which is there.
        generation: u64,
        /// The position it begins with; `None` leaves it.
        lsn: Option<Lsn>,
        /// The position it begins with where there is none to be left.
        begin: Option<Lsn>,
    },
    /// Move the position on. One that is behind it changes nothing.
    Commit {
        /// Under which generation.
        generation: u64,
        /// The last record done with.
        lsn: Lsn,
    },
    /// An event could not be handled; all before it is done with.
    Reject {
        /// Under which generation.
        generation: u64,
        /// The event.
        lsn: Lsn,
        /// Why, up to [`MAX_REASON_BYTES`].
        reason: String,
        /// With so many tries the event is given up, and the position moves past it.
        tries_max: u16,
    },
}

impl Command {
    /// The slot that decides this command.
    pub fn slot(&self) -> Slot {
        match self {
            Self::PutProduct(put) => Slot::of(put.sku.as_bytes()),
            Self::UpdateStock(update) => Slot::of(update.sku.as_bytes()),
            Self::GetStock(sku) => Slot::of(sku.as_bytes()),
            Self::CreateOrder(create) => {
                create.lines.first().map_or(Slot(0), |line| Slot::of(line.sku.as_bytes()))
            }
            Self::GetOrder(order) => order.slot(),
            Self::CancelOrder(cancel) => cancel.order.slot(),
            Self::MoveOrder(step) => step.order.slot(),
            Self::StartPayment(start) => start.order.slot(),
            Self::SettleAttempt(settle) => settle.order.slot(),
            Self::CapturePayment(capture) => capture.order.slot(),
            Self::RefundPayment(refund) => refund.order.slot(),
            Self::SettleRefund(settle) => settle.order.slot(),
            Self::PutDocument(put) => document_slot(&put.key, put.placement),
            Self::DeleteDocument(delete) => document_slot(&delete.key, delete.placement),
            Self::GetDocument(get) => document_slot(&get.key, get.placement),
            Self::Name(name) => Slot::of(name.name().as_bytes()),
            Self::CommitOffset(commit) => commit.slot,
            Self::Group(group) => group.slot,
            Self::ListGroups(slot) => *slot,
        }
    }

    /// The order that an existing order's command is about.
    pub fn order(&self) -> Option<OrderId> {
        match self {
            Self::GetOrder(order) => Some(*order),
            Self::CancelOrder(cancel) => Some(cancel.order),
            Self::MoveOrder(step) => Some(step.order),
            Self::StartPayment(start) => Some(start.order),
            Self::SettleAttempt(settle) => Some(settle.order),
            Self::CapturePayment(capture) => Some(capture.order),
            Self::RefundPayment(refund) => Some(refund.order),
            Self::SettleRefund(settle) => Some(settle.order),
            _ => None,
        }
    }

    /// True if the command changes nothing and needs no key.
    pub fn is_read(&self) -> bool {
        match self {
            Self::GetStock(_) | Self::GetOrder(_) | Self::GetDocument(_) | Self::ListGroups(_) => true,
            Self::Name(name) => matches!(**name, NameCommand::Get { .. }),
            Self::CommitOffset(commit) => commit.lsn.is_none(),
            Self::Group(group) => group.ask == GroupAsk::Get,
            _ => false,
        }
    }

    /// A hash of everything that makes this command what it is. Two commands under one key must
    /// agree in it. XXH3-64 over a canonical byte form; a one-line order stays on the stack.
    pub fn body_hash(&self) -> u64 {
        let mut body = Body::default();
        match self {
            Self::CreateOrder(create) => {
                body.number(1).text(create.customer.as_bytes()).number(create.hold_us);
                for line in &create.lines {
                    body.text(line.sku.as_bytes())
                        .number(line.quantity as u64)
                        .number(line.max_unit_minor as u64);
                }
            }
            Self::UpdateStock(update) => {
                body.number(2).text(update.sku.as_bytes()).text(update.reason.as_bytes());
                match update.change {
                    StockChange::Set(to) => body.number(1).number(to as u64),
                    StockChange::Add(by) => body.number(2).number(by as u64),
                    StockChange::AddIfVersion { add, version } => {
                        body.number(3).number(add as u64).number(version)
                    }
                };
            }
            Self::StartPayment(start) => {
                body.number(3).order(start.order).text(start.method.as_bytes()).number(start.capture.into());
            }
            Self::SettleAttempt(settle) => {
                body.number(4).order(settle.order).number(settle.attempt.into());
                match &settle.result {
                    GatewayResult::Authorised { reference } => body.number(1).text(reference.as_bytes()),
                    GatewayResult::Captured { reference } => body.number(2).text(reference.as_bytes()),
                    GatewayResult::Declined { code } => body.number(3).text(code.as_bytes()),
                    GatewayResult::Unknown => body.number(4),
                    GatewayResult::CaptureFailed { code } => body.number(5).text(code.as_bytes()),
                };
            }
            Self::PutDocument(put) => {
                body.number(5).text(put.key.as_bytes()).text(&put.value);
                let placement = put.placement.map(|slot| u64::from(slot.0));
                for given in [placement, put.expected, put.emit.map(|topic| topic as u64)] {
                    body.number(given.is_some().into()).number(given.unwrap_or(0));
                }
            }
            // The rest is cold; the debug form names every field in order. It begins with its length,
            // which is above every number here.
            other => {
                body.text(format!("{other:?}").as_bytes());
            }
        }
        xxh3_64(&body.0)
    }
}

fn document_slot(key: &DocKey, placement: Option<Slot>) -> Slot {
    placement.unwrap_or_else(|| Slot::of(key.as_bytes()))
}

#[derive(Default)]
struct Body(SmallVec<[u8; 192]>);

impl Body {
    fn number(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn order(&mut self, order: OrderId) -> &mut Self {
        self.number(order.0 as u64).number((order.0 >> 64) as u64)
    }

    fn text(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    fn order(sku: &str, quantity: i64) -> Command {
        Command::CreateOrder(CreateOrder {
            customer: "ada".parse().unwrap(),
            lines: smallvec![OrderLine::new(sku.parse().unwrap(), quantity)],
            hold_us: 0,
        })
    }

    #[test]
    fn bodies_differ_where_commands_do() {
        let hash = order("a", 1).body_hash();
        assert_eq!(hash, order("a", 1).body_hash());
        assert_ne!(hash, order("a", 2).body_hash());
        assert_ne!(hash, order("b", 1).body_hash());
        let set = |change| {
            Command::UpdateStock(UpdateStock { sku: Sku::EMPTY, change, reason: Text::EMPTY }).body_hash()
        };
        assert_ne!(set(StockChange::Set(5)), set(StockChange::Add(5)));
    }

    #[test]
    fn bodies_of_documents_differ_where_documents_do() {
        let put = |value: &[u8], expected, emit, placement| {
            let (key, value) = ("carts/ada".parse().unwrap(), value.to_vec());
            Command::PutDocument(Box::new(PutDocument { key, placement, value, expected, emit })).body_hash()
        };
        let mut bodies = vec![
            put(b"1", None, None, None),
            put(b"2", None, None, None),
            put(b"1", Some(0), None, None),
            put(b"1", Some(1), None, None),
            put(b"1", None, Some(Topic::StockUpdated), None),
            put(b"1", None, None, Some(Slot(0))),
        ];
        assert_eq!(bodies[0], put(b"1", None, None, None));
        bodies.sort_unstable();
        bodies.dedup();
        assert_eq!(bodies.len(), 6);
    }

    #[test]
    fn bodies_of_payments_differ_where_payments_do() {
        let start = |order: u128, method: &str, capture: bool| {
            let (order, method) = (OrderId(order), method.parse().unwrap());
            Command::StartPayment(Box::new(StartPayment { order, method, capture })).body_hash()
        };
        let settle = |attempt, result| {
            Command::SettleAttempt(Box::new(SettleAttempt { order: OrderId(7), attempt, result })).body_hash()
        };
        let (reference, code) = ("r".parse().unwrap(), "r".parse().unwrap());
        let bodies = [
            start(7, "card", true),
            start(7 << 64, "card", true),
            start(7, "cash", true),
            start(7, "card", false),
            settle(1, GatewayResult::Captured { reference }),
            settle(2, GatewayResult::Captured { reference }),
            settle(1, GatewayResult::Authorised { reference }),
            settle(1, GatewayResult::Declined { code }),
            settle(1, GatewayResult::Unknown),
        ];
        let mut different = bodies.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), bodies.len());
        assert_eq!(start(7, "card", true), bodies[0]);
    }
}
