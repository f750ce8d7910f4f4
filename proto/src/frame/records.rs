//! Committed records on their way to a subscriber.
//!
//! The body of a frame of [`Kind::Records`] begins with
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | number of the subscription |
//! | 8 | 8 | position up to which the log was looked through |
//! | 16 | 2 | shard |
//! | 18 | 6 | zero |
//!
//! and has as many records as it counts behind that, each with
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the record, these bytes included; a multiple of 8 |
//! | 4 | 2 | kind of the record |
//! | 6 | 2 | number of rows |
//! | 8 | 8 | its position |
//! | 16 | 8 | when it was decided |
//! | 24 | 8 | hash of what it happened to |
//!
//! and its rows, each with
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the row, these bytes included; a multiple of 8 |
//! | 4 | 1 | 1 an order, 2 stock, 3 a product, 4 a document, 5 a dead letter |
//! | 5 | 3 | zero |
//! | 8 | | the row as it was behind the record |

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::command::entry;
use super::header::{Frame, FrameError, Kind, Open, begin, pad, unpad};
use super::text::WireText;
use super::{order, outcome};
use crate::fact::RecordKind;
use crate::row::{DeadLetterRow, DocumentRow, ProductRow, Row};
use crate::slot::{Lsn, ShardId};

const ORDER: u8 = 1;
const STOCK: u8 = 2;
const PRODUCT: u8 = 3;
const DOCUMENT: u8 = 4;
const DEAD_LETTER: u8 = 5;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RecordsBytes {
    subscription: U64,
    reached: U64,
    shard: U16,
    zero: [u8; 6],
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RecordBytes {
    length: U32,
    kind: U16,
    rows: U16,
    lsn: U64,
    time_us: U64,
    key_hash: U64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RowBytes {
    length: U32,
    kind: u8,
    zero: [u8; 3],
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ProductRowBytes {
    sku: WireText<39>,
    category: WireText<63>,
    brand: WireText<63>,
    version: U64,
    changed_us: U64,
    name_length: U16,
    zero: [u8; 2],
    description_length: U32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct DocumentRowBytes {
    key: WireText<127>,
    version: U64,
    changed_us: U64,
    length: U32,
    zero: [u8; 4],
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct DeadLetterRowBytes {
    group: WireText<47>,
    lsn: U64,
    shard: U16,
    tries: U16,
    topic: u8,
    zero: [u8; 1],
    reason_length: U16,
}

/// A committed record.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Its position in the shard's log.
    pub lsn: Lsn,
    /// What happened.
    pub kind: RecordKind,
    /// When it was decided, in us since 1970.
    pub time_us: u64,
    /// A hash of what it happened to.
    pub key_hash: u64,
    /// Orders, stock, products and documents as they were behind it, and letters. What a record changes beside them is
    /// not told.
    pub rows: Vec<Row>,
}

/// A frame of records that is being written at the end of a buffer.
#[derive(Debug)]
#[must_use = "a frame that is not sealed is not one"]
pub struct RecordsFrame {
    open: Open,
    subscription: u64,
    shard: ShardId,
    count: u16,
}

impl RecordsFrame {
    /// Begins a frame at the end of `out`.
    pub fn begin(out: &mut Vec<u8>, subscription: u64, shard: ShardId) -> Self {
        let open = begin(out, Kind::Records);
        out.extend_from_slice(&[0; size_of::<RecordsBytes>()]);
        Self { open, subscription, shard, count: 0 }
    }

    /// Records so far.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Bytes of the frame so far.
    pub fn length(&self, out: &[u8]) -> usize {
        self.open.length(out)
    }

    /// Appends a record; how many bytes it has. Rows that are not told to subscribers are left out.
    pub fn put(&mut self, out: &mut Vec<u8>, record: &Record) -> usize {
        let at = out.len();
        out.extend_from_slice(&[0; size_of::<RecordBytes>()]);
        let rows = record.rows.iter().filter(|row| put_row(out, row)).count();
        let head = RecordBytes {
            length: U32::new((out.len() - at) as u32),
            kind: U16::new(record.kind as u16),
            rows: U16::new(rows as u16),
            lsn: U64::new(record.lsn.0),
            time_us: U64::new(record.time_us),
            key_hash: U64::new(record.key_hash),
        };
        out[at..at + size_of::<RecordBytes>()].copy_from_slice(head.as_bytes());
        self.count += 1;
        out.len() - at
    }

    /// Ends the frame: the log was looked through up to this position.
    pub fn seal(self, out: &mut Vec<u8>, reached: Lsn) {
        let at = out.len() - self.open.length(out) + super::HEADER_BYTES;
        let head = RecordsBytes {
            subscription: U64::new(self.subscription),
            reached: U64::new(reached.0),
            shard: U16::new(self.shard.0),
            zero: [0; 6],
        };
        out[at..at + size_of::<RecordsBytes>()].copy_from_slice(head.as_bytes());
        self.open.seal(out, self.count, 0);
    }

    /// Takes back what was written of it.
    pub fn abandon(self, out: &mut Vec<u8>) {
        self.open.abandon(out);
    }
}

/// Appends a row, if it is one that is told.
fn put_row(out: &mut Vec<u8>, row: &Row) -> bool {
    let kind = match row {
        Row::Order(_) => ORDER,
        Row::Stock(_) => STOCK,
        Row::Product(_) => PRODUCT,
        Row::Document(document) if document.value.is_some() => DOCUMENT,
        Row::DeadLetter(_) => DEAD_LETTER,
        _ => return false,
    };
    let at = out.len();
    out.extend_from_slice(RowBytes { length: U32::new(0), kind, zero: [0; 3] }.as_bytes());
    match row {
        Row::Order(row) => order::put(out, row),
        Row::Stock(row) => outcome::put_stock(out, row),
        Row::Product(row) => put_product(out, row),
        Row::Document(row) => put_document(out, row),
        Row::DeadLetter(row) => put_dead_letter(out, row),
        _ => {}
    }
    pad(out, at);
    let length = (out.len() - at) as u32;
    out[at..at + size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
    true
}

fn put_product(out: &mut Vec<u8>, row: &ProductRow) {
    let name = &row.name.as_bytes()[..row.name.floor_char_boundary(u16::MAX.into())];
    let bytes = ProductRowBytes {
        sku: (&row.sku).into(),
        category: (&row.category).into(),
        brand: (&row.brand).into(),
        version: U64::new(row.version),
        changed_us: U64::new(row.changed_us),
        name_length: U16::new(name.len() as u16),
        zero: [0; 2],
        description_length: U32::new(row.description.len() as u32),
    };
    out.extend_from_slice(bytes.as_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(row.description.as_bytes());
}

fn put_document(out: &mut Vec<u8>, row: &DocumentRow) {
    let value = row.value.as_deref().unwrap_or_default();
    let bytes = DocumentRowBytes {
        key: (&row.key).into(),
        version: U64::new(row.version),
        changed_us: U64::new(row.changed_us),
        length: U32::new(value.len() as u32),
        zero: [0; 4],
    };
    out.extend_from_slice(bytes.as_bytes());
    out.extend_from_slice(value);
}

fn put_dead_letter(out: &mut Vec<u8>, row: &DeadLetterRow) {
    let reason = &row.reason.as_bytes()[..row.reason.floor_char_boundary(u16::MAX.into())];
    let bytes = DeadLetterRowBytes {
        group: (&row.group).into(),
        lsn: U64::new(row.lsn),
        shard: U16::new(row.shard),
        tries: U16::new(row.tries),
        topic: row.topic,
        zero: [0],
        reason_length: U16::new(reason.len() as u16),
    };
    out.extend_from_slice(bytes.as_bytes());
    out.extend_from_slice(reason);
}

/// The records of a frame.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    /// The number of the subscription.
    pub subscription: u64,
    /// The shard that committed them.
    pub shard: ShardId,
    /// The log was looked through up to here: nothing at or before it comes any more.
    pub reached: Lsn,
    rest: &'a [u8],
    count: u16,
    index: usize,
    last: u64,
}

impl<'a> Records<'a> {
    /// The records of a frame.
    pub fn of(frame: &Frame<'a>) -> Result<Self, FrameError> {
        if frame.kind != Kind::Records {
            return Err(FrameError::UnexpectedKind { expected: "Records", found: frame.kind });
        }
        let (expected, found) = (size_of::<RecordsBytes>(), frame.body.len());
        let wrong = FrameError::BodyLength { field: "Records", expected, found };
        let (head, rest) = RecordsBytes::ref_from_prefix(frame.body).map_err(|_| wrong)?;
        if head.zero != [0; 6] {
            return Err(FrameError::NotZero { field: "byte 18", found: head.zero[0].into() });
        }
        Ok(Self {
            subscription: head.subscription.get(),
            shard: ShardId(head.shard.get()),
            reached: Lsn(head.reached.get()),
            rest,
            count: frame.count,
            index: 0,
            last: 0,
        })
    }

    /// Bytes of the records that were not looked at yet: what they cost.
    pub fn bytes(&self) -> usize {
        self.rest.len()
    }

    fn record(&mut self) -> Result<Record, FrameError> {
        let (whole, rest) = entry(self.rest, self.index, size_of::<RecordBytes>())?;
        self.rest = rest;
        self.index += 1;
        if self.index > self.count.into() {
            return Err(FrameError::Count { expected: self.count, found: self.index });
        }
        let record = record(whole)?;
        if record.lsn.0 <= self.last || record.lsn > self.reached {
            let expected = "positions that rise up to that of the frame";
            return Err(FrameError::Field { field: "record", expected });
        }
        self.last = record.lsn.0;
        Ok(record)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, FrameError>;

    /// The next record. An error is the last one: the connection is of no use any more.
    fn next(&mut self) -> Option<Self::Item> {
        let found = self.index;
        if self.rest.is_empty() {
            let missing = std::mem::replace(&mut self.index, self.count.into()) < self.count.into();
            return missing.then_some(Err(FrameError::Count { expected: self.count, found }));
        }
        let read = self.record();
        if read.is_err() {
            (self.rest, self.index) = (&[], self.count.into());
        }
        Some(read)
    }
}

fn record(whole: &[u8]) -> Result<Record, FrameError> {
    let wrong = |expected| FrameError::Field { field: "record", expected };
    let (head, mut rest) = RecordBytes::ref_from_prefix(whole).map_err(|_| wrong("its fixed part"))?;
    let kind = RecordKind::from_number(head.kind.get()).ok_or(wrong("a kind of version 1"))?;
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let (whole, behind) = entry(rest, rows.len(), size_of::<RowBytes>())?;
        rows.push(row(whole)?);
        rest = behind;
    }
    if rows.len() != usize::from(head.rows.get()) {
        return Err(FrameError::Count { expected: head.rows.get(), found: rows.len() });
    }
    let (lsn, time_us, key_hash) = (Lsn(head.lsn.get()), head.time_us.get(), head.key_hash.get());
    Ok(Record { lsn, kind, time_us, key_hash, rows })
}

fn row(whole: &[u8]) -> Result<Row, FrameError> {
    let kind = FrameError::Field { field: "row", expected: "one of version 1" };
    let (head, body) = RowBytes::ref_from_prefix(whole).map_err(|_| kind)?;
    if head.zero != [0; 3] {
        return Err(FrameError::NotZero { field: "byte 5 of a row", found: head.zero[0].into() });
    }
    Ok(match head.kind {
        ORDER => Row::Order(order::read(body)?),
        STOCK => Row::Stock(outcome::stock(body)?),
        PRODUCT => Row::Product(Box::new(product(body)?)),
        DOCUMENT => Row::Document(Box::new(document(body)?)),
        DEAD_LETTER => Row::DeadLetter(Box::new(dead_letter(body)?)),
        _ => return Err(kind),
    })
}

fn product(body: &[u8]) -> Result<ProductRow, FrameError> {
    let wrong = |expected| FrameError::Field { field: "product", expected };
    let (bytes, rest) = ProductRowBytes::ref_from_prefix(body).map_err(|_| wrong("its fixed part"))?;
    let (name, description) = (bytes.name_length.get() as usize, bytes.description_length.get() as usize);
    let texts = name.checked_add(description).and_then(|length| unpad(rest, length));
    let texts = texts.filter(|_| bytes.zero == [0; 2]);
    let texts = texts.ok_or(wrong("lengths that add up to the row's, then zeros"))?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| wrong("texts of UTF-8"));
    Ok(ProductRow {
        sku: bytes.sku.text().ok_or(wrong("a SKU of UTF-8"))?,
        name: text(&texts[..name])?,
        description: text(&texts[name..])?,
        category: bytes.category.text().ok_or(wrong("a category of UTF-8"))?,
        brand: bytes.brand.text().ok_or(wrong("a brand of UTF-8"))?,
        version: bytes.version.get(),
        changed_us: bytes.changed_us.get(),
    })
}

fn document(body: &[u8]) -> Result<DocumentRow, FrameError> {
    let wrong = |expected| FrameError::Field { field: "document", expected };
    let (bytes, rest) = DocumentRowBytes::ref_from_prefix(body).map_err(|_| wrong("its fixed part"))?;
    let value = unpad(rest, bytes.length.get() as usize).filter(|_| bytes.zero == [0; 4]);
    let value = value.ok_or(wrong("the length of its value, then zeros"))?;
    Ok(DocumentRow {
        key: bytes.key.text().ok_or(wrong("a key of UTF-8"))?,
        version: bytes.version.get(),
        value: Some(value.to_vec()),
        changed_us: bytes.changed_us.get(),
    })
}

fn dead_letter(body: &[u8]) -> Result<DeadLetterRow, FrameError> {
    let wrong = |expected| FrameError::Field { field: "dead letter", expected };
    let (bytes, rest) = DeadLetterRowBytes::ref_from_prefix(body).map_err(|_| wrong("its fixed part"))?;
    let reason = unpad(rest, bytes.reason_length.get() as usize).filter(|_| bytes.zero == [0]);
    let reason = reason.ok_or(wrong("the length of its reason, then zeros"))?;
    Ok(DeadLetterRow {
        group: bytes.group.text().ok_or(wrong("a group of UTF-8"))?,
        topic: bytes.topic,
        shard: bytes.shard.get(),
        lsn: bytes.lsn.get(),
        tries: bytes.tries.get(),
        reason: String::from_utf8(reason.to_vec()).map_err(|_| wrong("a reason of UTF-8"))?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::document::{assert_layout, layout, table};
    use super::super::tests::{outcomes, text};
    use super::super::{FRAME_BYTES_MAX, HEADER_BYTES};
    use super::*;
    use crate::receipt::Outcome;
    use crate::row::OffsetRow;

    pub(in super::super) fn product() -> ProductRow {
        ProductRow {
            sku: text("tea"),
            name: "Tee für Zwei".into(),
            description: "long".into(),
            category: text("hot drinks"),
            brand: text("ours"),
            version: 7,
            changed_us: 8,
        }
    }

    /// A record with a row of each kind.
    pub(in super::super) fn full() -> Record {
        let mut rows = Vec::new();
        for outcome in outcomes() {
            match outcome {
                Outcome::Order(row) => rows.push(Row::Order(*row)),
                Outcome::Stock(row) => rows.push(Row::Stock(*row)),
                _ => {}
            }
        }
        rows.push(Row::Product(Box::new(product())));
        let (key, value) = (text("users/ada"), Some(b"{}".to_vec()));
        rows.push(Row::Document(Box::new(DocumentRow { key, version: 3, value, changed_us: 9 })));
        let letter = DeadLetterRow {
            group: text("books"),
            topic: 2,
            shard: 3,
            lsn: 4,
            tries: 5,
            reason: "no such shelf".into(),
        };
        rows.push(Row::DeadLetter(Box::new(letter)));
        // The token of a payment method is told to nobody, nor what an order was asked under.
        Record { lsn: Lsn(5), kind: RecordKind::OrderCreated, time_us: 6, key_hash: 7, rows }
    }

    pub(in super::super) fn frame(records: &[Record], reached: Lsn) -> Vec<u8> {
        let mut out = Vec::new();
        let mut frame = RecordsFrame::begin(&mut out, 77, ShardId(3));
        for record in records {
            let before = out.len();
            assert_eq!(frame.put(&mut out, record), out.len() - before);
        }
        frame.seal(&mut out, reached);
        out
    }

    fn parsed(bytes: &[u8]) -> Frame<'_> {
        Frame::read(bytes, FRAME_BYTES_MAX).unwrap().unwrap().0
    }

    fn all(frame: &Frame<'_>) -> Result<Vec<Record>, FrameError> {
        Records::of(frame)?.collect()
    }

    #[test]
    fn records_come_over_as_they_are() {
        let bare = Record { lsn: Lsn(9), kind: RecordKind::StockUpdated, rows: Vec::new(), ..full() };
        let bytes = frame(&[full(), bare.clone()], Lsn(11));
        let frame = parsed(&bytes);
        let records = Records::of(&frame).unwrap();
        assert_eq!((records.subscription, records.shard, records.reached), (77, ShardId(3), Lsn(11)));
        assert_eq!(records.bytes(), bytes.len() - HEADER_BYTES - 24);
        assert_eq!(all(&frame), Ok(vec![full(), bare]));
    }

    #[test]
    fn rows_that_are_nobodys_business_are_left_out() {
        let offset = Row::Offset(OffsetRow { group: text("g"), topic: 1, lsn: 4 });
        let mut rows = full().rows;
        rows.insert(1, offset);
        let bytes = frame(&[Record { rows, ..full() }], Lsn(5));
        assert_eq!(all(&parsed(&bytes)), Ok(vec![full()]));
    }

    #[test]
    fn a_frame_that_is_cut_is_no_frame_of_records() {
        let bytes = frame(&[full()], Lsn(5));
        let whole = parsed(&bytes);
        for length in 0..whole.body.len() {
            let cut = Frame { body: &whole.body[..length], ..whole };
            assert!(all(&cut).is_err(), "cut at {length}");
        }
        for count in [0, 2] {
            assert!(all(&Frame { count, ..whole }).is_err(), "{count} records");
        }
    }

    #[test]
    fn bits_that_flip_are_refused_or_read_as_what_they_say() {
        let bytes = frame(&[full()], Lsn(5));
        let whole = parsed(&bytes);
        for bit in 0..whole.body.len() * 8 {
            let mut body = whole.body.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            let flipped = Frame { body: &body, ..whole };
            let Ok(records) = all(&flipped) else { continue };
            let Ok(view) = Records::of(&flipped) else { panic!("bit {bit}") };
            let mut again = Vec::new();
            let mut written = RecordsFrame::begin(&mut again, view.subscription, view.shard);
            for record in &records {
                written.put(&mut again, record);
            }
            written.seal(&mut again, view.reached);
            assert_eq!(parsed(&again).body, body, "bit {bit}");
        }
    }

    #[test]
    fn positions_rise_up_to_that_of_the_frame() {
        for (lsns, reached) in [([5, 5], 9), ([5, 4], 9), ([5, 6], 5), ([0, 1], 9)] {
            let records = lsns.map(|lsn| Record { lsn: Lsn(lsn), ..full() });
            let bytes = frame(&records, Lsn(reached));
            assert!(all(&parsed(&bytes)).is_err(), "{lsns:?} up to {reached}");
        }
    }

    #[test]
    fn the_document_has_the_rows_and_the_kinds() {
        let product = layout!(ProductRowBytes {
            sku,
            category,
            brand,
            version,
            changed_us,
            name_length,
            zero,
            description_length
        });
        assert_layout("Rows", 0, product);
        assert_layout("Rows", 1, layout!(DocumentRowBytes { key, version, changed_us, length, zero }));
        let letter = layout!(DeadLetterRowBytes { group, lsn, shard, tries, topic, zero, reason_length });
        assert_layout("Rows", 2, letter);
        let told = RecordKind::ALL
            .into_iter()
            .filter(|kind| crate::fact::Topic::ALL.into_iter().any(|topic| kind.is_in(topic)));
        let topics = |kind: RecordKind| {
            let topics = crate::fact::Topic::ALL.into_iter().filter(|topic| kind.is_in(*topic));
            topics.map(|topic| (topic as u8).to_string()).collect::<Vec<_>>().join(", ")
        };
        let known: Vec<_> =
            told.map(|kind| vec![(kind as u16).to_string(), format!("{kind:?}"), topics(kind)]).collect();
        assert_eq!(table("Kinds of records", 0), known);
    }
}
