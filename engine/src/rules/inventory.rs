//! Stock: put, change, hold, capture, release.
//!
//! `available = on_hand - held`, `received = on_hand + sold`; none is negative unless the SKU
//! allows backorder. After the two-phase transfers of TigerBeetle.

use onrush_proto::planted::planted;
use onrush_proto::{
    Currency, CustomerId, Fact, LimitRow, Line, Lines, OrderLine, ProductRow, PutProduct, Receipt,
    RecordKind, Refusal, Row, Sku, StockChange, StockChangeRow, StockRow, UpdateStock,
};
use smallvec::SmallVec;

use super::{Accepted, Context, Decision};
use crate::state::{Count, State};
use crate::tables::hash_of;

const NAME_BYTES_MAX: usize = 400;
const DESCRIPTION_BYTES_MAX: usize = 64 << 10;
/// A ceiling for stock counts: sums of 10,000 lines stay far inside 64 bits.
const UNITS_MAX: u64 = 1 << 48;
/// Longest hold: 30 days in us.
pub const HOLD_US_MAX: u64 = 30 * 24 * 3600 * 1_000_000;

/// Rows that a change of several lines leaves behind.
pub type Rows = SmallVec<[Row; 3]>;

/// Create or change a product. Stock counts stay as they are, so what is owed already must stay allowed.
pub fn put_product(state: &State, context: &Context, put: &PutProduct) -> Decision {
    check_product(put)?;
    let old = state.stock.row(&put.sku);
    let owed = old.map_or(0, |row| -row.available());
    if owed > i64::from(put.backorder) {
        return Err(Refusal::BackorderBelowOwed { asked: put.backorder, owed });
    }
    let stock = StockRow {
        price: put.price,
        limit_per_customer: put.limit_per_customer,
        limit_returns: put.limit_returns,
        backorder: put.backorder,
        hold_us: put.hold_us,
        active: put.active,
        version: old.map_or(1, |row| row.version + 1),
        ..old.copied().unwrap_or(unstocked(put.sku))
    };
    let product = ProductRow {
        sku: put.sku,
        name: put.name.clone(),
        description: put.description.clone(),
        category: put.category,
        brand: put.brand,
        version: stock.version,
        changed_us: context.now_us,
    };
    let fact = Fact::new(RecordKind::ProductPut, hash_of(&put.sku))
        .with(Row::Stock(stock))
        .with(Row::Product(Box::new(product)));
    Ok(Accepted { fact, receipt: Receipt::Product { version: stock.version } })
}

fn check_product(put: &PutProduct) -> Result<(), Refusal> {
    let invalid = |field, expected| Err(Refusal::Invalid { field, expected });
    match put {
        _ if put.sku.is_empty() => invalid("sku", "1 to 39 bytes"),
        _ if put.name.is_empty() || put.name.len() > NAME_BYTES_MAX => invalid("name", "1 to 400 bytes"),
        _ if put.description.len() > DESCRIPTION_BYTES_MAX => invalid("description", "at most 65,536 bytes"),
        _ if put.price.minor < 0 => invalid("price", "an amount that is not negative"),
        _ if put.hold_us > HOLD_US_MAX => invalid("hold", "at most 30 days"),
        _ => Ok(()),
    }
}

fn unstocked(sku: Sku) -> StockRow {
    StockRow {
        sku,
        on_hand: 0,
        held: 0,
        sold: 0,
        received: 0,
        version: 0,
        price: onrush_proto::Money::new(0, Currency::USD),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: false,
    }
}

/// Set, add, or add if the version matches; never below what is held.
pub fn update_stock(state: &State, context: &Context, update: &UpdateStock) -> Decision {
    let old = state.stock.row(&update.sku).ok_or(Refusal::UnknownProduct)?;
    let on_hand = match update.change {
        StockChange::Set(to) => Some(to),
        StockChange::Add(by) => old.on_hand.checked_add(by),
        StockChange::AddIfVersion { version, .. } if version != old.version => {
            return Err(Refusal::VersionMismatch { expected: version, found: old.version });
        }
        StockChange::AddIfVersion { add, .. } => old.on_hand.checked_add(add),
    };
    let expected = "a stock within plus or minus 2^48 units";
    let on_hand = on_hand
        .filter(|units| units.unsigned_abs() <= UNITS_MAX)
        .ok_or(Refusal::Invalid { field: "change", expected })?;
    if on_hand < old.held - i64::from(old.backorder) {
        return Err(Refusal::BelowHeld { on_hand, held: old.held });
    }
    let stock = StockRow {
        on_hand,
        received: old.received + (on_hand - old.on_hand),
        version: old.version + 1,
        ..*old
    };
    let change = StockChangeRow {
        sku: update.sku,
        version: stock.version,
        before: old.on_hand,
        after: on_hand,
        reason: update.reason,
        changed_us: context.now_us,
    };
    let fact = Fact::new(RecordKind::StockUpdated, hash_of(&update.sku))
        .with(Row::Stock(stock))
        .with(Row::StockChange(Box::new(change)));
    Ok(Accepted { fact, receipt: Receipt::Stock { on_hand, held: stock.held, version: stock.version } })
}

/// Lines with today's prices.
#[derive(Debug)]
pub struct Priced {
    /// The lines.
    pub lines: Lines,
    /// Sum of the lines in minor units.
    pub total_minor: i64,
    /// The currency of all lines.
    pub currency: Currency,
    /// The longest hold that the SKUs name in us; 0 = none does.
    pub hold_us: u64,
}

/// Lines that can be held.
#[derive(Debug)]
pub struct Holdable {
    /// The lines with today's prices.
    pub lines: Lines,
    /// Stock and count rows with the units held.
    pub rows: Rows,
}

/// Holds lines of another shard's order, whose lines elsewhere are in `currency`.
pub fn hold<'a>(
    state: &State,
    context: &Context,
    customer: &CustomerId,
    currency: Option<Currency>,
    lines: impl Iterator<Item = (u16, &'a OrderLine)>,
) -> Result<Holdable, Refusal> {
    let mut rows = Rows::new();
    let priced = price(state, context, (customer, currency), lines, &mut rows)?;
    Ok(Holdable { lines: priced.lines, rows })
}

/// Checks lines in order, prices them, and adds the stock and count rows that hold them to `rows`.
/// Their shape is checked before (each SKU once, quantities in bounds). `lines` carries each line's
/// index in its order, for the refusal; `currency` is that of the order's lines elsewhere, if there
/// are any.
pub fn price<'a>(
    state: &State,
    context: &Context,
    (customer, currency): (&CustomerId, Option<Currency>),
    lines: impl Iterator<Item = (u16, &'a OrderLine)>,
    rows: &mut Rows,
) -> Result<Priced, Refusal> {
    let mut priced = Priced {
        lines: Lines::new(),
        total_minor: 0,
        currency: currency.unwrap_or(Currency::USD),
        hold_us: 0,
    };
    for (index, line) in lines {
        let stock = state.stock.row(&line.sku).ok_or(Refusal::UnknownSku { line: index })?;
        if priced.lines.is_empty() && currency.is_none() {
            priced.currency = stock.price.currency;
        }
        let quantity = check_line(stock, index, line, priced.currency)?;
        priced.total_minor = stock
            .price
            .times(quantity)
            .and_then(|price| priced.total_minor.checked_add(price.minor))
            .ok_or(Refusal::AmountOverflow { line: index })?;
        let available = if planted(11) { stock.on_hand } else { stock.available() };
        if available + i64::from(stock.backorder) < i64::from(quantity) {
            return Err(Refusal::OutOfStock { line: index, asked: quantity, available });
        }
        // Behind the stock: most of a sale is refused there, and needs no count.
        if let Some(count) = count_up(state, context, customer, stock, (index, quantity))? {
            rows.push(count);
        }
        priced.hold_us = priced.hold_us.max(stock.hold_us);
        rows.push(Row::Stock(StockRow { held: stock.held + i64::from(quantity), ..*stock }));
        priced.lines.push(Line { sku: line.sku, quantity, unit_minor: stock.price.minor });
    }
    Ok(priced)
}

fn check_line(stock: &StockRow, index: u16, line: &OrderLine, currency: Currency) -> Result<u32, Refusal> {
    if !stock.active {
        return Err(Refusal::Inactive { line: index });
    }
    if stock.price.currency != currency {
        return Err(Refusal::MixedCurrencies { line: index });
    }
    if stock.price.minor > line.max_unit_minor {
        let (price, ceiling) = (stock.price.minor, line.max_unit_minor);
        return Err(Refusal::PriceChanged { line: index, price, ceiling });
    }
    Ok(line.quantity as u32)
}

/// The customer's count after the purchase, if the SKU has a limit.
fn count_up(
    state: &State,
    context: &Context,
    customer: &CustomerId,
    stock: &StockRow,
    (line, quantity): (u16, u32),
) -> Result<Option<Row>, Refusal> {
    let limit = stock.limit_per_customer;
    if limit == 0 {
        return Ok(None);
    }
    let hash = limit_hash(context, &stock.sku, customer);
    // A cold count was asked of the store before this decision.
    let bought = state.limits.known(hash).map_or(0, |count| count.units);
    match bought.checked_add(quantity).filter(|units| *units <= limit) {
        Some(units) => Ok(Some(Row::Limit(LimitRow { hash, units, limit, bucket: context.bucket }))),
        None => Err(Refusal::LimitExceeded { line, limit, bought }),
    }
}

/// Where a customer's count of a SKU stands.
pub fn limit_hash(context: &Context, sku: &Sku, customer: &CustomerId) -> u128 {
    context.hasher.pair(sku.as_bytes(), customer.as_bytes())
}

/// What becomes of held or sold units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// Held units are sold.
    Capture,
    /// Held units go back; the limit too, if the SKU says so.
    Release,
    /// Held units go back as if they had never been asked for.
    Reject,
    /// Sold units come back.
    Return,
    /// Released units are sold after all; only where [`can_retake`] says so.
    Retake,
}

/// The rows of `lines` after a resolution. Lines of other shards (unknown SKUs here) are skipped.
pub fn resolve(
    state: &State,
    context: &Context,
    (customer, lines): (&CustomerId, &[Line]),
    how: Resolution,
    rows: &mut Rows,
) {
    for line in lines {
        let Some(stock) = state.stock.row(&line.sku) else { continue };
        let units = i64::from(line.quantity);
        let mut after = *stock;
        match how {
            Resolution::Capture => {
                after.held -= units;
                after.on_hand -= units;
                after.sold += units;
            }
            Resolution::Release | Resolution::Reject => after.held -= units,
            Resolution::Return => {
                after.on_hand += units;
                after.sold -= units;
            }
            Resolution::Retake => {
                after.on_hand -= units;
                after.sold += units;
            }
        }
        rows.push(Row::Stock(after));
        let returns = match how {
            Resolution::Reject => stock.limit_per_customer > 0,
            Resolution::Release | Resolution::Return => gave_back(stock),
            Resolution::Capture | Resolution::Retake => false,
        };
        if returns {
            rows.extend(count_down(state, context, customer, line));
        }
        if how == Resolution::Retake && gave_back(stock) {
            let counted = count_up(state, context, customer, stock, (0, line.quantity));
            rows.extend(counted.ok().flatten());
        }
    }
}

fn count_down(state: &State, context: &Context, customer: &CustomerId, line: &Line) -> Option<Row> {
    let hash = limit_hash(context, &line.sku, customer);
    let Count { units, limit } = state.limits.known(hash)?;
    let units = units.saturating_sub(line.quantity);
    Some(Row::Limit(LimitRow { hash, units, limit, bucket: context.bucket }))
}

/// True if released units of every line could be sold to the customer now.
pub fn can_retake(state: &State, context: &Context, customer: &CustomerId, lines: &[Line]) -> bool {
    lines.iter().all(|line| {
        state.stock.row(&line.sku).is_some_and(|stock| {
            let counted = (0, line.quantity);
            let allowed = !gave_back(stock) || count_up(state, context, customer, stock, counted).is_ok();
            allowed && stock.available() + i64::from(stock.backorder) >= i64::from(line.quantity)
        })
    })
}

/// True if the release of units gave the customer's limit back.
fn gave_back(stock: &StockRow) -> bool {
    stock.limit_per_customer > 0 && stock.limit_returns
}
