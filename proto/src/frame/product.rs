//! Products as they are published: SKUs that are asked for, and what is told of each.
//!
//! A frame of [`Kind::Details`] has a tag of 8 bytes and then as many SKUs as it counts, each a text of 39.
//!
//! A frame of [`Kind::Products`] has the tag, and for each SKU in its order an entry:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the entry, these bytes included; a multiple of 8 |
//! | 4 | 2 | number of the refusal: 22 unknown, 18 no SKU; 0 = none |
//! | 6 | 1 | flags: 2 = on sale |
//! | 7 | 1 | zero |
//! | 8 | 40 | SKU, a text of 39; zeros if it is none |
//! | 48 | 64 | category, a text of 63 |
//! | 112 | 64 | brand, a text of 63 |
//! | 176 | 8 | units available, 0 if fewer |
//! | 184 | 8 | price of one unit |
//! | 192 | 8 | version of the stock |
//! | 200 | 8 | version of the product |
//! | 208 | 8 | when the product was changed |
//! | 216 | 3 | currency |
//! | 219 | 1 | zero |
//! | 220 | 4 | most units per customer; 0 = no limit |
//! | 224 | 2 | length of the name |
//! | 226 | 2 | zero |
//! | 228 | 4 | length of the description |
//! | 232 | | name, description, zeros up to a multiple of 8 |

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::command::entry;
use super::header::{Frame, FrameError, Kind, pad, unpad};
use super::refusal;
use super::text::WireText;
use super::validate::tagged;
use crate::money::{Currency, Money};
use crate::refusal::{Reason, Refusal};
use crate::row::ProductRow;
use crate::text::{BrandName, CategoryName, Sku};

/// Most SKUs of a frame: with the longest descriptions its answer has about a megabyte.
pub const DETAILS_MAX: usize = 16;

/// Bit of [`ProductBytes::flags`].
const ACTIVE: u8 = 2;

const NO_SKU: Refusal = Refusal::Invalid { field: "skus", expected: "1 to 39 bytes of UTF-8" };

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ProductBytes {
    length: U32,
    refusal: U16,
    flags: u8,
    zero: u8,
    sku: WireText<39>,
    category: WireText<63>,
    brand: WireText<63>,
    available: I64,
    price_minor: I64,
    stock_version: U64,
    version: U64,
    changed_us: U64,
    currency: [u8; 3],
    zero_too: u8,
    limit_per_customer: U32,
    name_length: U16,
    zeros: [u8; 2],
    description_length: U32,
}

/// The SKUs of a frame, in place.
#[derive(Clone, Copy, Debug)]
pub struct DetailsView<'a> {
    /// What the answer brings back.
    pub tag: u64,
    /// How stale what the answer rests on may be at most, in ms; 0 = as it comes.
    pub stale_ms_max: u32,
    skus: &'a [WireText<39>],
}

impl<'a> DetailsView<'a> {
    /// The SKUs of a frame.
    pub fn of(frame: &Frame<'a>) -> Result<Self, FrameError> {
        let (tag, skus) = tagged(frame, Kind::Details, "Details")?;
        Ok(Self { tag, stale_ms_max: frame.argument, skus })
    }

    /// How many SKUs are asked for.
    pub fn len(&self) -> usize {
        self.skus.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.skus.is_empty()
    }

    /// The SKUs in their order; `None` where something stands that is no text, or an empty one.
    pub fn skus(&self) -> impl Iterator<Item = Option<Sku>> + use<'a> {
        self.skus.iter().map(|sku| sku.text().filter(|sku| !sku.is_empty()))
    }
}

/// What is published of a SKU's stock beside its product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProductStock {
    /// Units that a new order may take; what is below zero is told as zero.
    pub available: i64,
    /// The price of one unit.
    pub price: Money,
    /// Most units per customer; 0 = no limit.
    pub limit_per_customer: u32,
    /// True if it is on sale.
    pub active: bool,
    /// Counts changes of the stock.
    pub version: u64,
}

/// A product as it is told, in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProductEntry<'a> {
    /// What is sold.
    pub sku: Sku,
    /// Its name.
    pub name: &'a str,
    /// A longer text.
    pub description: &'a str,
    /// The category it is listed in.
    pub category: CategoryName,
    /// The brand.
    pub brand: BrandName,
    /// Its stock and price.
    pub stock: ProductStock,
    /// Counts changes of the product.
    pub version: u64,
    /// When it was changed, in us since 1970.
    pub changed_us: u64,
}

/// A SKU of which nothing is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoProduct {
    /// What was asked for; empty if it was no SKU.
    pub sku: Sku,
    /// The number of the refusal.
    pub refusal: u16,
}

impl NoProduct {
    /// The stable name of the refusal; `None` if it is of a later version.
    pub fn reason(&self) -> Option<Reason> {
        refusal::reason(self.refusal)
    }
}

/// The products of a frame.
#[derive(Clone, Debug)]
pub struct Products<'a> {
    /// The tag of the SKUs.
    pub tag: u64,
    rest: &'a [u8],
}

impl<'a> Products<'a> {
    /// The products of a frame. Every entry is looked at here.
    pub fn of(frame: &Frame<'a>) -> Result<Self, FrameError> {
        if frame.kind != Kind::Products {
            return Err(FrameError::UnexpectedKind { expected: "Products", found: frame.kind });
        }
        let wrong =
            FrameError::BodyLength { field: "Products", expected: size_of::<U64>(), found: frame.body.len() };
        let (tag, entries) = U64::ref_from_prefix(frame.body).map_err(|_| wrong)?;
        let (mut rest, mut index) = (entries, 0);
        while !rest.is_empty() {
            let (whole, behind) = entry(rest, index, size_of::<ProductBytes>())?;
            let _ = read(whole)?;
            (rest, index) = (behind, index + 1);
        }
        if index != usize::from(frame.count) {
            return Err(FrameError::Count { expected: frame.count, found: index });
        }
        Ok(Self { tag: tag.get(), rest: entries })
    }
}

impl<'a> Iterator for Products<'a> {
    type Item = Result<ProductEntry<'a>, NoProduct>;

    fn next(&mut self) -> Option<Self::Item> {
        // All entries were seen to be whole: what fails here is the end.
        let (whole, rest) = entry(self.rest, 0, size_of::<ProductBytes>()).ok()?;
        self.rest = rest;
        read(whole).ok()
    }
}

fn read(whole: &[u8]) -> Result<Result<ProductEntry<'_>, NoProduct>, FrameError> {
    let wrong = |expected| FrameError::Field { field: "product", expected };
    let (bytes, rest) = ProductBytes::ref_from_prefix(whole).map_err(|_| wrong("its fixed part"))?;
    let sku = bytes.sku.text().ok_or(wrong("a SKU of UTF-8"))?;
    let refusal = bytes.refusal.get();
    if refusal != 0 {
        let nothing = ProductBytes { length: bytes.length, ..nothing(refusal, &sku) };
        let clean = nothing.as_bytes() == whole;
        return clean.then_some(Err(NoProduct { sku, refusal })).ok_or(wrong("zeros behind a refusal"));
    }
    let clean = bytes.flags & !ACTIVE == 0 && (bytes.zero, bytes.zero_too, bytes.zeros) == (0, 0, [0; 2]);
    if !clean {
        return Err(wrong("flags of version 1, and zeros"));
    }
    let (name, description) = (bytes.name_length.get() as usize, bytes.description_length.get() as usize);
    let texts = name.checked_add(description).and_then(|length| unpad(rest, length));
    let texts = texts.ok_or(wrong("lengths that add up to the entry's, then zeros"))?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| wrong("texts of UTF-8"));
    Ok(Ok(ProductEntry {
        sku,
        name: text(&texts[..name])?,
        description: text(&texts[name..])?,
        category: bytes.category.text().ok_or(wrong("a category of UTF-8"))?,
        brand: bytes.brand.text().ok_or(wrong("a brand of UTF-8"))?,
        stock: ProductStock {
            available: bytes.available.get(),
            price: Money::new(bytes.price_minor.get(), Currency(bytes.currency)),
            limit_per_customer: bytes.limit_per_customer.get(),
            active: bytes.flags & ACTIVE != 0,
            version: bytes.stock_version.get(),
        },
        version: bytes.version.get(),
        changed_us: bytes.changed_us.get(),
    }))
}

fn nothing(refusal: u16, sku: &Sku) -> ProductBytes {
    ProductBytes { refusal: U16::new(refusal), sku: sku.into(), ..ProductBytes::new_zeroed() }
}

/// Appends a SKU to an open frame, behind its tag.
pub fn put_sku(out: &mut Vec<u8>, sku: &Sku) {
    out.extend_from_slice(WireText::from(sku).as_bytes());
}

/// Appends a product and its stock to an open frame, behind its tag. Nothing is copied but into the frame.
pub fn put_product(out: &mut Vec<u8>, row: &ProductRow, stock: &ProductStock) {
    let name = &row.name.as_bytes()[..row.name.floor_char_boundary(u16::MAX.into())];
    let bytes = ProductBytes {
        length: U32::new(0),
        refusal: U16::new(0),
        flags: if stock.active { ACTIVE } else { 0 },
        zero: 0,
        sku: (&row.sku).into(),
        category: (&row.category).into(),
        brand: (&row.brand).into(),
        available: I64::new(stock.available.max(0)),
        price_minor: I64::new(stock.price.minor),
        stock_version: U64::new(stock.version),
        version: U64::new(row.version),
        changed_us: U64::new(row.changed_us),
        currency: stock.price.currency.0,
        zero_too: 0,
        limit_per_customer: U32::new(stock.limit_per_customer),
        name_length: U16::new(name.len() as u16),
        zeros: [0; 2],
        description_length: U32::new(row.description.len() as u32),
    };
    put(out, &bytes, &[name, row.description.as_bytes()]);
}

/// Appends that nothing is told: of a SKU that nobody knows, or of what is none.
pub fn put_no_product(out: &mut Vec<u8>, sku: Option<&Sku>) {
    let refusal = if sku.is_some() { Refusal::UnknownProduct } else { NO_SKU };
    put(out, &nothing(refusal::code(&refusal), sku.unwrap_or(&Sku::EMPTY)), &[]);
}

fn put(out: &mut Vec<u8>, head: &ProductBytes, texts: &[&[u8]]) {
    let at = out.len();
    out.extend_from_slice(head.as_bytes());
    texts.iter().for_each(|text| out.extend_from_slice(text));
    pad(out, at);
    let length = (out.len() - at) as u32;
    out[at..at + size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::document::document;
    use super::super::tests::text;
    use super::super::{FRAME_BYTES_MAX, begin};
    use super::*;

    fn row(name: &str, description: &str) -> ProductRow {
        ProductRow {
            sku: text("tea"),
            name: name.into(),
            description: description.into(),
            category: text("hot drinks"),
            brand: text("ours"),
            version: 7,
            changed_us: 8,
        }
    }

    const STOCK: ProductStock = ProductStock {
        available: 5,
        price: Money { minor: 450, currency: Currency::EUR },
        limit_per_customer: 2,
        active: true,
        version: 9,
    };

    fn frame(count: u16, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        let frame = begin(&mut out, Kind::Products);
        out.extend_from_slice(&7u64.to_le_bytes());
        body(&mut out);
        frame.seal(&mut out, count, 1);
        out
    }

    fn parsed(bytes: &[u8]) -> Frame<'_> {
        Frame::read(bytes, FRAME_BYTES_MAX).unwrap().unwrap().0
    }

    fn good() -> Vec<u8> {
        frame(4, |out| {
            put_product(out, &row("Tee für Zwei", "long"), &STOCK);
            put_no_product(out, Some(&text("cup")));
            put_no_product(out, None);
            put_product(out, &row("", ""), &ProductStock { available: -1, active: false, ..STOCK });
        })
    }

    #[test]
    fn products_come_over_as_they_are() {
        let bytes = good();
        let frame = parsed(&bytes);
        let products = Products::of(&frame).unwrap();
        assert_eq!((products.tag, frame.argument), (7, 1));
        let found: Vec<_> = products.collect();
        let tea = found[0].unwrap();
        assert_eq!((tea.sku, tea.name, tea.description), (text("tea"), "Tee für Zwei", "long"));
        assert_eq!((tea.category, tea.brand, tea.stock), (text("hot drinks"), text("ours"), STOCK));
        assert_eq!((tea.version, tea.changed_us), (7, 8));
        let refused = |at: usize| found[at].unwrap_err();
        assert_eq!((refused(1).sku, refused(1).reason()), (text("cup"), Some(Reason("UNKNOWN_PRODUCT"))));
        assert_eq!((refused(2).sku, refused(2).reason()), (Sku::EMPTY, Some(Reason("INVALID_FIELD"))));
        let bare = found[3].unwrap();
        assert_eq!((bare.name, bare.stock.available, bare.stock.active), ("", 0, false));
    }

    #[test]
    fn skus_come_over_as_they_are_and_what_is_none_is_seen() {
        let mut out = Vec::new();
        let open = begin(&mut out, Kind::Details);
        out.extend_from_slice(&7u64.to_le_bytes());
        put_sku(&mut out, &text("tea"));
        put_sku(&mut out, &Sku::EMPTY);
        out.extend_from_slice(&[0xff; 40]);
        open.seal(&mut out, 3, 0);
        let view = DetailsView::of(&parsed(&out)).unwrap();
        assert_eq!((view.tag, view.len()), (7, 3));
        assert_eq!(view.skus().collect::<Vec<_>>(), [Some(text("tea")), None, None]);
        let frame = parsed(&out);
        assert!(DetailsView::of(&Frame { count: 2, ..frame }).is_err(), "a SKU too many");
    }

    #[test]
    fn a_product_that_is_cut_or_says_what_it_may_not_is_refused() {
        let bytes = good();
        let whole = parsed(&bytes);
        for length in 0..whole.body.len() {
            let cut = Frame { body: &whole.body[..length], ..whole };
            assert!(Products::of(&cut).is_err(), "cut at {length}");
        }
        // Flags, zeros, a currency of nothing, a text behind a refusal, a length that lies.
        for (at, byte) in [(6, 4), (7, 1), (219, 1), (226, 1), (224, 40), (228, 40), (231, 255), (47, 40)] {
            let mut body = whole.body.to_vec();
            body[8 + at] = byte;
            assert!(Products::of(&Frame { body: &body, ..whole }).is_err(), "byte {at}");
        }
        let second = u32::from_le_bytes(whole.body[8..12].try_into().unwrap()) as usize + 8;
        for at in 48..232 {
            let mut body = whole.body.to_vec();
            body[second + at] = 1;
            assert!(Products::of(&Frame { body: &body, ..whole }).is_err(), "byte {at} of a refusal");
        }
    }

    #[test]
    fn the_longest_answer_fits_a_frame_and_the_document_has_the_bound() {
        let longest = row(&"x".repeat(400), &"x".repeat(64 << 10));
        let bytes = frame(DETAILS_MAX as u16, |out| {
            (0..DETAILS_MAX).for_each(|_| put_product(out, &longest, &STOCK));
        });
        assert!(bytes.len() <= FRAME_BYTES_MAX);
        assert_eq!(Products::of(&parsed(&bytes)).unwrap().count(), DETAILS_MAX);
        assert!(document().contains(&format!("more than {DETAILS_MAX}")));
    }
}
