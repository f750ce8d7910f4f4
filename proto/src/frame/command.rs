//! Commands in a frame of [`Kind::Commands`].
//!
//! Each entry has 40 bytes in front of what its operation needs:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the entry, these bytes included; a multiple of 8 |
//! | 4 | 1 | operation |
//! | 5 | 3 | zero |
//! | 8 | 8 | tag, which the answer brings back |
//! | 16 | 8 | patience in us from arrival on, after which nobody waits; 0 = none |
//! | 24 | 16 | idempotency key; 0 = none |

use zerocopy::little_endian::{I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::{Frame, FrameError, Kind, pad, unpad};
use super::subscribe::topic;
use super::text::WireText;
use crate::command::{
    CancelOrder, CapturePayment, Command, CommitOffset, CreateOrder, MAX_LINES, OrderLine, PutProduct,
    RefundPayment, StartPayment, StockChange, UpdateStock,
};
use crate::id::OrderId;
use crate::money::{Currency, Money};
use crate::refusal::Refusal;
use crate::slot::{Lsn, Slot};

/// What can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Operation {
    /// Hold stock and create an order.
    CreateOrder = 1,
    /// Read an order.
    GetOrder = 2,
    /// Call an order off.
    CancelOrder = 3,
    /// Record a payment attempt; answered once it is recorded.
    StartPayment = 4,
    /// The same, answered once the gateway has settled it.
    Pay = 5,
    /// Take (a part of) what was authorised.
    CapturePayment = 6,
    /// Give (a part of) what was taken back.
    RefundPayment = 7,
    /// Create or change a product.
    PutProduct = 8,
    /// Change a SKU's stock.
    UpdateStock = 9,
    /// Read a SKU's stock from its owner.
    GetStock = 10,
    /// Record how far a consumer group has come.
    CommitOffset = 11,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 11] = [
        Self::CreateOrder,
        Self::GetOrder,
        Self::CancelOrder,
        Self::StartPayment,
        Self::Pay,
        Self::CapturePayment,
        Self::RefundPayment,
        Self::PutProduct,
        Self::UpdateStock,
        Self::GetStock,
        Self::CommitOffset,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct EntryBytes {
    length: U32,
    operation: u8,
    zero: [u8; 3],
    tag: U64,
    patience_us: U64,
    key: U128,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CreateOrderBytes {
    customer: WireText<39>,
    hold_us: U64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct LineBytes {
    sku: WireText<39>,
    quantity: I64,
    max_unit_minor: I64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StartPaymentBytes {
    order: U128,
    method: WireText<47>,
    capture: u8,
    zero: [u8; 7],
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct AmountBytes {
    order: U128,
    minor: I64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct UpdateStockBytes {
    sku: WireText<39>,
    change: u8,
    zero: [u8; 7],
    amount: I64,
    version: U64,
    reason: WireText<63>,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CommitOffsetBytes {
    group: WireText<47>,
    lsn: U64,
    shard: U16,
    topic: u8,
    zero: [u8; 5],
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct PutProductBytes {
    sku: WireText<39>,
    category: WireText<63>,
    brand: WireText<63>,
    price_minor: I64,
    hold_us: U64,
    currency: [u8; 3],
    flags: u8,
    limit_per_customer: U32,
    backorder: U32,
    name_length: U16,
    zero: [u8; 2],
    description_length: U32,
    zero_too: [u8; 4],
}

/// Bits of [`PutProductBytes::flags`].
const LIMIT_RETURNS: u8 = 1;
const ACTIVE: u8 = 2;

/// Numbers of [`StockChange`].
const SET: u8 = 1;
const ADD: u8 = 2;
const ADD_IF_VERSION: u8 = 3;

/// One command, in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandEntry<'a> {
    /// What its answer brings back.
    pub tag: u64,
    /// How long somebody waits for the answer, in us; 0 = for ever.
    pub patience_us: u64,
    /// The idempotency key as the client gave it; 0 = none.
    pub key: u128,
    operation: u8,
    body: &'a [u8],
}

/// The commands of a frame, in place.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    rest: &'a [u8],
}

impl<'a> Commands<'a> {
    /// The commands of a frame. Every entry's form is looked at here, so that of a broken frame nothing is
    /// done at all.
    pub fn of(frame: &Frame<'a>) -> Result<Self, FrameError> {
        if frame.kind != Kind::Commands {
            return Err(FrameError::UnexpectedKind { expected: "Commands", found: frame.kind });
        }
        let (mut rest, mut index) = (frame.body, 0);
        while !rest.is_empty() {
            let (whole, behind) = entry(rest, index, size_of::<EntryBytes>())?;
            if let Ok((head, _)) = EntryBytes::ref_from_prefix(whole)
                && head.zero != [0; 3]
            {
                return Err(FrameError::NotZero { field: "byte 5 of an entry", found: head.zero[0].into() });
            }
            (rest, index) = (behind, index + 1);
        }
        if index != usize::from(frame.count) {
            return Err(FrameError::Count { expected: frame.count, found: index });
        }
        Ok(Self { rest: frame.body })
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = CommandEntry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // All entries were seen to be whole: what fails here is the end.
        let (whole, rest) = entry(self.rest, 0, size_of::<EntryBytes>()).ok()?;
        self.rest = rest;
        let (head, body) = EntryBytes::ref_from_prefix(whole).ok()?;
        Some(CommandEntry {
            tag: head.tag.get(),
            patience_us: head.patience_us.get(),
            key: head.key.get(),
            operation: head.operation,
            body,
        })
    }
}

/// Splits the entry at the beginning of `rest` off. Every entry begins with its length in four bytes.
pub(super) fn entry(rest: &[u8], index: usize, least: usize) -> Result<(&[u8], &[u8]), FrameError> {
    let most = rest.len();
    let found = U32::read_from_prefix(rest).map_or(0, |(length, _)| length.get());
    let wrong = FrameError::EntryLength { index, least, most, found };
    let length = found as usize;
    if length < least || !length.is_multiple_of(8) {
        return Err(wrong);
    }
    rest.split_at_checked(length).ok_or(wrong)
}

const fn invalid(field: &'static str, expected: &'static str) -> Refusal {
    Refusal::Invalid { field, expected }
}

/// A command with something where nothing stands in version 1: what a later one says there would be lost.
const NOT_ZERO: Refusal = invalid("reserved", "zeros where nothing is said");

fn zero(bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(NOT_ZERO) }
}

/// The fixed part of a body, if the body is at least as long.
fn head<T: FromBytes + KnownLayout + Immutable + Unaligned>(bytes: &[u8]) -> Result<(&T, &[u8]), Refusal> {
    T::ref_from_prefix(bytes).map_err(|_| invalid("length", "the bytes that the operation has"))
}

/// A body without a variable part.
fn whole<T: FromBytes + KnownLayout + Immutable + Unaligned>(bytes: &[u8]) -> Result<&T, Refusal> {
    T::ref_from_bytes(bytes).map_err(|_| invalid("length", "the bytes that the operation has"))
}

macro_rules! text {
    ($field:literal, $text:expr) => {
        $text.text().ok_or(invalid($field, "UTF-8 with zeros behind it"))
    };
}

impl CommandEntry<'_> {
    /// Bytes of the entry.
    pub fn length(&self) -> usize {
        size_of::<EntryBytes>() + self.body.len()
    }

    /// What is asked. What is not one of [`Operation::ALL`] is refused by itself.
    pub fn operation(&self) -> Result<Operation, Refusal> {
        Operation::of(self.operation).ok_or(invalid("operation", "one of version 1"))
    }

    /// The command. What a field may say beyond its form is for the shop to judge.
    pub fn command(&self) -> Result<Command, Refusal> {
        let order = |bytes| whole::<U128>(bytes).map(|order| OrderId(order.get()));
        Ok(match self.operation()? {
            Operation::CreateOrder => Command::CreateOrder(create_order(self.body)?),
            Operation::GetOrder => Command::GetOrder(order(self.body)?),
            Operation::CancelOrder => Command::CancelOrder(CancelOrder { order: order(self.body)? }),
            Operation::StartPayment | Operation::Pay => {
                Command::StartPayment(Box::new(start_payment(self.body)?))
            }
            Operation::CapturePayment => {
                let AmountBytes { order, minor } = whole(self.body)?;
                Command::CapturePayment(CapturePayment { order: OrderId(order.get()), minor: minor.get() })
            }
            Operation::RefundPayment => {
                let AmountBytes { order, minor } = whole(self.body)?;
                Command::RefundPayment(RefundPayment { order: OrderId(order.get()), minor: minor.get() })
            }
            Operation::PutProduct => Command::PutProduct(Box::new(put_product(self.body)?)),
            Operation::UpdateStock => Command::UpdateStock(update_stock(self.body)?),
            Operation::CommitOffset => Command::CommitOffset(Box::new(commit_offset(self.body)?)),
            Operation::GetStock => Command::GetStock(text!("sku", whole::<WireText<39>>(self.body)?)?),
        })
    }
}

fn create_order(body: &[u8]) -> Result<CreateOrder, Refusal> {
    let (head, rest): (&CreateOrderBytes, _) = head(body)?;
    let lines = <[LineBytes]>::ref_from_bytes(rest)
        .map_err(|_| invalid("length", "48 bytes and 56 for each line"))?;
    if lines.len() > MAX_LINES {
        return Err(Refusal::TooManyLines { found: lines.len() });
    }
    let line = |line: &LineBytes| {
        let (quantity, max_unit_minor) = (line.quantity.get(), line.max_unit_minor.get());
        Ok(OrderLine { sku: text!("lines.sku", line.sku)?, quantity, max_unit_minor })
    };
    Ok(CreateOrder {
        customer: text!("customer_id", head.customer)?,
        lines: lines.iter().map(line).collect::<Result<_, Refusal>>()?,
        hold_us: head.hold_us.get(),
    })
}

fn start_payment(body: &[u8]) -> Result<StartPayment, Refusal> {
    let bytes: &StartPaymentBytes = whole(body)?;
    let capture = match bytes.capture {
        0 => false,
        1 => true,
        _ => return Err(invalid("capture", "0 or 1")),
    };
    zero(&bytes.zero)?;
    Ok(StartPayment {
        order: OrderId(bytes.order.get()),
        method: text!("payment_method", bytes.method)?,
        capture,
    })
}

fn update_stock(body: &[u8]) -> Result<UpdateStock, Refusal> {
    let bytes: &UpdateStockBytes = whole(body)?;
    let (amount, version) = (bytes.amount.get(), bytes.version.get());
    let change = match bytes.change {
        SET | ADD if version != 0 => return Err(invalid("version", "0 but with change 3")),
        SET => StockChange::Set(amount),
        ADD => StockChange::Add(amount),
        ADD_IF_VERSION => StockChange::AddIfVersion { add: amount, version },
        _ => return Err(invalid("change", "1 to 3")),
    };
    zero(&bytes.zero)?;
    Ok(UpdateStock { sku: text!("sku", bytes.sku)?, change, reason: text!("reason", bytes.reason)? })
}

fn commit_offset(body: &[u8]) -> Result<CommitOffset, Refusal> {
    let bytes: &CommitOffsetBytes = whole(body)?;
    zero(&bytes.zero)?;
    // Slots are dealt round-robin, so a shard's number is one of its slots.
    let slot = u8::try_from(bytes.shard.get()).map_err(|_| invalid("shard", "one of the Welcome"))?;
    Ok(CommitOffset {
        slot: Slot(slot),
        group: text!("group", bytes.group)?,
        topic: topic(bytes.topic).ok_or(invalid("topic", "1 to 16"))?,
        lsn: Some(Lsn(bytes.lsn.get())),
    })
}

fn put_product(body: &[u8]) -> Result<PutProduct, Refusal> {
    let (bytes, rest): (&PutProductBytes, _) = head(body)?;
    let (name, description) = (bytes.name_length.get() as usize, bytes.description_length.get() as usize);
    if rest.len() as u64 != (name as u64 + description as u64).next_multiple_of(8) {
        return Err(invalid("name_length", "lengths that add up to the entry's"));
    }
    let rest = unpad(rest, name + description).ok_or(NOT_ZERO)?;
    zero(&bytes.zero)?;
    zero(&bytes.zero_too)?;
    let text = |field, bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| invalid(field, "UTF-8 with zeros behind it"))
    };
    if bytes.flags & !(LIMIT_RETURNS | ACTIVE) != 0 {
        return Err(invalid("flags", "0 to 3"));
    }
    if !bytes.currency.iter().all(u8::is_ascii_uppercase) {
        return Err(invalid("price.currency", "three capital letters (ISO 4217)"));
    }
    Ok(PutProduct {
        sku: text!("sku", bytes.sku)?,
        name: text("name", &rest[..name])?,
        description: text("description", &rest[name..])?,
        category: text!("category", bytes.category)?,
        brand: text!("brand", bytes.brand)?,
        price: Money::new(bytes.price_minor.get(), Currency(bytes.currency)),
        limit_per_customer: bytes.limit_per_customer.get(),
        limit_returns: bytes.flags & LIMIT_RETURNS != 0,
        backorder: bytes.backorder.get(),
        hold_us: bytes.hold_us.get(),
        active: bytes.flags & ACTIVE != 0,
    })
}

/// Appends a command as an entry of an open frame; false, and nothing is written, if no operation stands
/// for it. `settled` asks a [`StartPayment`] to be answered once it is settled.
pub fn put_command(
    out: &mut Vec<u8>,
    tag: u64,
    patience_us: u64,
    key: u128,
    command: &Command,
    settled: bool,
) -> bool {
    let Some(operation) = operation(command, settled) else { return false };
    let at = out.len();
    let head = EntryBytes {
        length: U32::new(0),
        operation: operation as u8,
        zero: [0; 3],
        tag: U64::new(tag),
        patience_us: U64::new(patience_us),
        key: U128::new(key),
    };
    out.extend_from_slice(head.as_bytes());
    put_body(out, command);
    pad(out, at);
    let length = (out.len() - at) as u32;
    out[at..at + size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
    true
}

fn operation(command: &Command, settled: bool) -> Option<Operation> {
    Some(match command {
        Command::CreateOrder(_) => Operation::CreateOrder,
        Command::GetOrder(_) => Operation::GetOrder,
        Command::CancelOrder(_) => Operation::CancelOrder,
        Command::StartPayment(_) if settled => Operation::Pay,
        Command::StartPayment(_) => Operation::StartPayment,
        Command::CapturePayment(_) => Operation::CapturePayment,
        Command::RefundPayment(_) => Operation::RefundPayment,
        Command::PutProduct(_) => Operation::PutProduct,
        Command::UpdateStock(_) => Operation::UpdateStock,
        Command::GetStock(_) => Operation::GetStock,
        Command::CommitOffset(commit) if commit.lsn.is_some() => Operation::CommitOffset,
        _ => return None,
    })
}

fn put_body(out: &mut Vec<u8>, command: &Command) {
    match command {
        Command::CreateOrder(create) => {
            let head =
                CreateOrderBytes { customer: (&create.customer).into(), hold_us: U64::new(create.hold_us) };
            out.extend_from_slice(head.as_bytes());
            for line in &create.lines {
                let line = LineBytes {
                    sku: (&line.sku).into(),
                    quantity: I64::new(line.quantity),
                    max_unit_minor: I64::new(line.max_unit_minor),
                };
                out.extend_from_slice(line.as_bytes());
            }
        }
        Command::GetOrder(order) => out.extend_from_slice(&order.0.to_le_bytes()),
        Command::CancelOrder(cancel) => out.extend_from_slice(&cancel.order.0.to_le_bytes()),
        Command::StartPayment(start) => {
            let body = StartPaymentBytes {
                order: U128::new(start.order.0),
                method: (&start.method).into(),
                capture: start.capture.into(),
                zero: [0; 7],
            };
            out.extend_from_slice(body.as_bytes());
        }
        Command::CapturePayment(CapturePayment { order, minor })
        | Command::RefundPayment(RefundPayment { order, minor }) => {
            let body = AmountBytes { order: U128::new(order.0), minor: I64::new(*minor) };
            out.extend_from_slice(body.as_bytes());
        }
        Command::PutProduct(put) => put_product_body(out, put),
        Command::UpdateStock(update) => put_stock_body(out, update),
        Command::CommitOffset(commit) => {
            let body = CommitOffsetBytes {
                group: (&commit.group).into(),
                lsn: U64::new(commit.lsn.map_or(0, |lsn| lsn.0)),
                shard: U16::new(commit.slot.0.into()),
                topic: commit.topic as u8,
                zero: [0; 5],
            };
            out.extend_from_slice(body.as_bytes());
        }
        Command::GetStock(sku) => out.extend_from_slice(WireText::from(sku).as_bytes()),
        // No operation stands for them.
        _ => {}
    }
}

fn put_stock_body(out: &mut Vec<u8>, update: &UpdateStock) {
    let (change, amount, version) = match update.change {
        StockChange::Set(to) => (SET, to, 0),
        StockChange::Add(by) => (ADD, by, 0),
        StockChange::AddIfVersion { add, version } => (ADD_IF_VERSION, add, version),
    };
    let body = UpdateStockBytes {
        sku: (&update.sku).into(),
        change,
        zero: [0; 7],
        amount: I64::new(amount),
        version: U64::new(version),
        reason: (&update.reason).into(),
    };
    out.extend_from_slice(body.as_bytes());
}

fn put_product_body(out: &mut Vec<u8>, put: &PutProduct) {
    let flag = |bit, set| if set { bit } else { 0 };
    let name = &put.name.as_bytes()[..put.name.floor_char_boundary(u16::MAX.into())];
    let body = PutProductBytes {
        sku: (&put.sku).into(),
        category: (&put.category).into(),
        brand: (&put.brand).into(),
        price_minor: I64::new(put.price.minor),
        hold_us: U64::new(put.hold_us),
        currency: put.price.currency.0,
        flags: flag(LIMIT_RETURNS, put.limit_returns) | flag(ACTIVE, put.active),
        limit_per_customer: U32::new(put.limit_per_customer),
        backorder: U32::new(put.backorder),
        name_length: U16::new(name.len() as u16),
        zero: [0; 2],
        description_length: U32::new(put.description.len() as u32),
        zero_too: [0; 4],
    };
    out.extend_from_slice(body.as_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(put.description.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::document::{assert_layout, layout};
    use super::*;

    #[test]
    fn the_document_has_the_layouts() {
        let create = "Body of CreateOrder";
        assert_layout(create, 0, layout!(CreateOrderBytes { customer, hold_us }));
        assert_layout(create, 1, layout!(LineBytes { sku, quantity, max_unit_minor }));
        let start = layout!(StartPaymentBytes { order, method, capture, zero });
        assert_layout("Body of StartPayment and Pay", 0, start);
        assert_layout("Body of CapturePayment and RefundPayment", 0, layout!(AmountBytes { order, minor }));
        let stock = layout!(UpdateStockBytes { sku, change, zero, amount, version, reason });
        assert_layout("Body of UpdateStock", 0, stock);
        let commit = layout!(CommitOffsetBytes { group, lsn, shard, topic, zero });
        assert_layout("Body of CommitOffset", 0, commit);
        let product = layout!(PutProductBytes {
            sku,
            category,
            brand,
            price_minor,
            hold_us,
            currency,
            flags,
            limit_per_customer,
            backorder,
            name_length,
            zero,
            description_length,
            zero_too
        });
        assert_layout("Body of PutProduct", 0, product);
    }
}
