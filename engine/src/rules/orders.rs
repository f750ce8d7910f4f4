//! Orders: create, cancel, expire, move.

use onrush_proto::planted::planted;
use onrush_proto::{
    CreateOrder, Delivery, Fact, LimitRow, Line, Lines, Money, MoveOrder, OrderId, OrderLine, OrderRow,
    OrderState, Receipt, RecordKind, Refusal, Request, Row,
    command::{MAX_LINES, MAX_QUANTITY},
};
use smallvec::SmallVec;

use super::inventory::{self, HOLD_US_MAX, Priced, Resolution, Rows};
use super::payments;
use super::{Accepted, Context, Decision};
use crate::state::{State, order_receipt};
use crate::tables::hash_of;

/// Checks what needs no state: the number of lines, their quantities, each SKU once.
pub fn check_shape(create: &CreateOrder) -> Result<(), Refusal> {
    if create.lines.is_empty() {
        return Err(Refusal::NoLines);
    }
    if create.lines.len() > MAX_LINES {
        return Err(Refusal::TooManyLines { found: create.lines.len() });
    }
    if create.customer.is_empty() {
        return Err(Refusal::Invalid { field: "customer_id", expected: "1 to 39 bytes" });
    }
    if create.hold_us > HOLD_US_MAX {
        return Err(Refusal::Invalid { field: "hold", expected: "at most 30 days" });
    }
    let bad = create.lines.iter().position(|line| !(1..=MAX_QUANTITY).contains(&line.quantity));
    if let Some(line) = bad {
        return Err(Refusal::BadQuantity { line: line as u16, found: create.lines[line].quantity });
    }
    check_each_once(create)
}

fn check_each_once(create: &CreateOrder) -> Result<(), Refusal> {
    if create.lines.len() == 1 {
        return Ok(());
    }
    let mut order: SmallVec<[u16; 16]> = (0..create.lines.len() as u16).collect();
    let sku = |index: u16| create.lines[usize::from(index)].sku;
    order.sort_unstable_by(|a, b| sku(*a).cmp(&sku(*b)).then(a.cmp(b)));
    let twin =
        order.windows(2).filter(|pair| sku(pair[0]) == sku(pair[1])).map(|pair| (pair[1], pair[0])).min();
    match twin {
        Some((line, first)) => Err(Refusal::DuplicateSku { line, first }),
        None => Ok(()),
    }
}

/// Creates an order whose lines all live on this shard: hold, limit, order and payment intent in
/// one record, made in `fact`.
pub fn create(
    state: &State,
    context: &Context,
    request: &Request,
    create: &CreateOrder,
    fact: &mut Fact,
) -> Result<Receipt, Refusal> {
    // The order comes first, and what it says is known last: its place is kept for it, also from one
    // that was refused to the next.
    fact.rows.truncate(1);
    if fact.rows.is_empty() {
        fact.rows.push(Row::Limit(LimitRow { hash: 0, units: 0, limit: 0, bucket: 0 }));
    }
    let lines = create.lines.iter().enumerate().map(|(index, line)| (index as u16, line));
    let priced = inventory::price(state, context, (&create.customer, None), lines, &mut fact.rows)?;
    let order = new_order(context, request, create, priced, OrderState::Pending);
    let receipt = order_receipt(&order);
    (fact.kind, fact.key_hash) = (RecordKind::OrderCreated, hash_of(&order.id));
    fact.rows[0] = Row::Order(order);
    Ok(receipt)
}

/// Begins an order over several shards: holds the lines that live here and records the order as
/// reserving. Lines of other shards carry no price yet.
pub fn reserve(state: &State, context: &Context, request: &Request, create: &CreateOrder) -> Decision {
    let home = context.map.shard(request.command.slot());
    let own = create.lines.iter().enumerate().map(|(index, line)| (index as u16, line));
    let own = own.filter(|(_, line)| context.map.shard(onrush_proto::Slot::of(line.sku.as_bytes())) == home);
    let mut rows = Rows::new();
    let mut held = inventory::price(state, context, (&create.customer, None), own, &mut rows)?;
    held.lines = with_unpriced(create, std::mem::take(&mut held.lines));
    let order = new_order(context, request, create, held, OrderState::Reserving);
    let receipt = order_receipt(&order);
    let mut fact = Fact::new(RecordKind::OrderReserving, hash_of(&order.id)).with(Row::Order(order));
    fact.rows.extend(rows);
    Ok(Accepted { fact, receipt })
}

/// All lines of an order; those that are not `priced` carry no price yet.
fn with_unpriced(create: &CreateOrder, priced: Lines) -> Lines {
    let mut priced = priced.into_iter().peekable();
    let line = |line: &OrderLine| {
        let found = priced.next_if(|priced| priced.sku == line.sku);
        found.unwrap_or(Line { sku: line.sku, quantity: line.quantity as u32, unit_minor: 0 })
    };
    create.lines.iter().map(line).collect()
}

/// Begins the second try of an order over several shards. Nothing is held yet: lines that live
/// here wait until the shards before this one hold theirs.
pub fn queue(state: &State, context: &Context, request: &Request, create: &CreateOrder) -> Decision {
    let first = create.lines.first().ok_or(Refusal::NoLines)?;
    let price = state.stock.row(&first.sku).ok_or(Refusal::UnknownSku { line: 0 })?.price;
    let own = create.lines.iter().filter_map(|line| state.stock.row(&line.sku));
    let unheld = Priced {
        lines: with_unpriced(create, Lines::new()),
        total_minor: 0,
        currency: price.currency,
        hold_us: own.map(|stock| stock.hold_us).max().unwrap_or(0),
    };
    let order = new_order(context, request, create, unheld, OrderState::Queued);
    let receipt = order_receipt(&order);
    let fact = Fact::new(RecordKind::OrderReserving, hash_of(&order.id)).with(Row::Order(order));
    Ok(Accepted { fact, receipt })
}

/// Holds the lines of a queued order that live here. `own` carries each line's index in the order.
pub fn hold_queued(
    state: &State,
    context: &Context,
    order: &OrderRow,
    own: &[(u16, OrderLine)],
) -> Result<Fact, Refusal> {
    let lines = own.iter().map(|(index, line)| (*index, line));
    let (mut rows, whose) = (Rows::new(), (&order.customer, Some(order.total.currency)));
    let held = inventory::price(state, context, whose, lines, &mut rows)?;
    let mut reserving = order.clone();
    reserving.enter(OrderState::Reserving, context.now_us);
    for ((index, _), priced) in own.iter().zip(&held.lines) {
        reserving.lines[usize::from(*index)] = *priced;
    }
    reserving.total = Money::new(held.total_minor, order.total.currency);
    let mut fact = Fact::new(RecordKind::OrderReserving, hash_of(&order.id)).with(Row::Order(reserving));
    fact.rows.extend(rows);
    Ok(fact)
}

fn new_order(
    context: &Context,
    request: &Request,
    create: &CreateOrder,
    priced: Priced,
    state: OrderState,
) -> OrderRow {
    let hold_us = [create.hold_us, priced.hold_us, context.default_hold_us].into_iter().find(|us| *us > 0);
    OrderRow {
        id: OrderId::new(request.command.slot(), context.now_us, context.bucket, context.lsn),
        customer: create.customer,
        lines: priced.lines,
        total: Money::new(priced.total_minor, priced.currency),
        state,
        delivery: Delivery::Waiting,
        held_until_us: context.now_us + hold_us.unwrap_or_default(),
        changed_us: context.now_us,
        key: request.key,
        body: request.body,
        history: SmallVec::new(),
        payment: None,
    }
}

/// Accepts a reserving order once every shard has priced and held its lines.
pub fn accept(context: &Context, order: &OrderRow, priced: &[Line]) -> Decision {
    let mut accepted = order.clone();
    accepted.enter(OrderState::Pending, context.now_us);
    let mut total = Money::new(0, order.total.currency);
    let mut by_sku: Vec<&Line> = priced.iter().collect();
    by_sku.sort_unstable_by_key(|line| line.sku);
    for (index, line) in accepted.lines.iter_mut().enumerate() {
        if let Ok(found) = by_sku.binary_search_by_key(&line.sku, |found| found.sku) {
            *line = *by_sku[found];
        }
        total = Money::new(line.unit_minor, total.currency)
            .times(line.quantity)
            .and_then(|sum| total.plus(sum))
            .ok_or(Refusal::AmountOverflow { line: index as u16 })?;
    }
    accepted.total = total;
    let receipt = order_receipt(&accepted);
    let fact = Fact::new(RecordKind::OrderCreated, hash_of(&order.id)).with(Row::Order(accepted));
    Ok(Accepted { fact, receipt })
}

/// Gives up a reserving order; its lines here are as if never asked for.
pub fn reject(state: &State, context: &Context, order: &OrderRow) -> Fact {
    close(state, context, order, RecordKind::OrderRejected, (OrderState::Rejected, Resolution::Reject))
}

/// Expires a pending order whose deadline has passed.
pub fn expire(state: &State, context: &Context, order: &OrderRow) -> Fact {
    close(state, context, order, RecordKind::OrderExpired, (OrderState::Expired, Resolution::Release))
}

/// Calls an order off. A pending one at once; a paid one when its money is back.
pub fn cancel(
    state: &State,
    context: &Context,
    order: &OrderRow,
    fact: &mut Fact,
) -> Result<Receipt, Refusal> {
    let to = OrderState::Cancelled;
    if let Some(refund) = order.calling_off() {
        return Err(Refusal::BeingCancelled { refund: refund.number });
    }
    match order.state {
        OrderState::Pending => {
            *fact = close(state, context, order, RecordKind::OrderCancelled, (to, Resolution::Release));
            Ok(Receipt::OrderMoved { order: order.id, state: to })
        }
        _ if order.may_become(to) => payments::refund_to_cancel(state, context, order, fact),
        from => Err(Refusal::IllegalTransition { from, to }),
    }
}

fn close(
    state: &State,
    context: &Context,
    order: &OrderRow,
    kind: RecordKind,
    (to, how): (OrderState, Resolution),
) -> Fact {
    let mut closed = order.clone();
    closed.enter(to, context.now_us);
    let ledger = payments::void_open(state, context, &mut closed);
    let mut fact = Fact::new(kind, hash_of(&order.id)).with(Row::Order(closed));
    if order.state.is_held() {
        inventory::resolve(state, context, (&order.customer, &order.lines), how, &mut fact.rows);
    }
    fact.rows.extend(ledger);
    fact
}

/// Moves a paid order towards delivery, unless it is being called off.
pub fn step(context: &Context, order: &OrderRow, step: &MoveOrder) -> Decision {
    let illegal = Refusal::IllegalTransition { from: order.state, to: step.to };
    let delivery = Delivery::of(step.to).filter(|_| order.may_become(step.to)).ok_or(illegal)?;
    if let Some(refund) = order.calling_off() {
        return Err(Refusal::BeingCancelled { refund: refund.number });
    }
    let mut moved = OrderRow { delivery, ..order.clone() };
    moved.enter(step.to, context.now_us);
    let fact = Fact::new(RecordKind::OrderMoved, hash_of(&order.id)).with(Row::Order(moved));
    Ok(Accepted { fact, receipt: Receipt::OrderMoved { order: order.id, state: step.to } })
}

/// True if the order is pending and its deadline has passed: dead, swept or not.
pub fn is_dead(order: &OrderRow, now_us: u64) -> bool {
    let open = order.state == OrderState::Pending || planted(9) && order.state == OrderState::Paid;
    open && order.held_until_us <= now_us
}
