//! A shop of one shelf for tests: exact, instant, and able to break each rule the audit knows.

use std::collections::HashMap;
use std::time::Duration;

use onrush_proto::{
    Command, CreateOrder, Delivery, GatewayResult, IdempotencyKey, Lines, Lsn, OrderId, OrderRow, OrderState,
    Outcome, PaymentState, Receipt, RecordKind, Refusal, Reply, Request, Sku, Slot, StockChange, StockRow,
};

use super::{Books, Page, Setup, Target, TargetError, Viewed};
use crate::meter::Meter;
use crate::target::events::Events;

/// A rule for the shelf to break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// Sells units that are not there.
    Oversell,
    /// Forgets every hundredth order it acknowledged.
    LoseOrders,
    /// Makes a new order for a key it has seen.
    ForgetKeys,
    /// Counts nobody's units.
    IgnoreLimits,
    /// Says sold out with units left.
    HideStock,
    /// Tells of every hundredth order nothing.
    SkipEvents,
    /// Takes the money of every hundredth payment twice.
    ChargeTwice,
}

/// The shop.
pub(crate) struct Shelf {
    fault: Fault,
    stock: HashMap<Sku, StockRow>,
    orders: HashMap<OrderId, OrderRow>,
    keys: HashMap<IdempotencyKey, (u64, Receipt)>,
    bought: HashMap<(Sku, String), u32>,
    replies: Vec<(u64, Reply)>,
    requests: u64,
}

impl Shelf {
    /// An empty shop.
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            fault,
            stock: HashMap::new(),
            orders: HashMap::new(),
            keys: HashMap::new(),
            bought: HashMap::new(),
            replies: Vec::new(),
            requests: 0,
        }
    }

    fn answer(&mut self, request: &Request) -> (Outcome, bool) {
        if let Some((body, receipt)) = self.keys.get(&request.key)
            && !(self.fault == Fault::ForgetKeys && matches!(request.command, Command::CreateOrder(_)))
        {
            return if *body == request.body {
                (Outcome::Accepted(*receipt), true)
            } else {
                (Outcome::Refused(Refusal::KeyReused), false)
            };
        }
        let outcome = self.decide(request).unwrap_or_else(Outcome::Refused);
        if let Outcome::Accepted(receipt) = &outcome
            && !request.key.is_none()
        {
            self.keys.insert(request.key, (request.body, *receipt));
        }
        (outcome, false)
    }

    fn decide(&mut self, request: &Request) -> Result<Outcome, Refusal> {
        match &request.command {
            Command::PutProduct(put) => {
                let row = StockRow {
                    sku: put.sku,
                    on_hand: 0,
                    held: 0,
                    sold: 0,
                    received: 0,
                    version: 1,
                    price: put.price,
                    limit_per_customer: put.limit_per_customer,
                    limit_returns: put.limit_returns,
                    backorder: put.backorder,
                    hold_us: put.hold_us,
                    active: put.active,
                };
                self.stock.insert(put.sku, row);
                Ok(Outcome::Accepted(Receipt::Product { version: 1 }))
            }
            Command::UpdateStock(update) => {
                let row = self.stock.get_mut(&update.sku).ok_or(Refusal::UnknownProduct)?;
                let StockChange::Set(units) = update.change else { return Err(Refusal::NotFound) };
                (row.on_hand, row.received) = (units, units);
                Ok(Outcome::Accepted(Receipt::Stock { on_hand: units, held: 0, version: 2 }))
            }
            Command::GetStock(sku) => {
                self.stock.get(sku).map(|row| Outcome::Stock(Box::new(*row))).ok_or(Refusal::UnknownProduct)
            }
            Command::CreateOrder(create) => self.create(request, create),
            Command::GetOrder(order) => {
                if self.fault == Fault::LoseOrders {
                    self.lose_orders();
                }
                let row = self.orders.get(order).ok_or(Refusal::UnknownOrder { order: *order })?;
                Ok(Outcome::Order(Box::new(row.clone())))
            }
            Command::StartPayment(start) => {
                let row =
                    self.orders.get(&start.order).ok_or(Refusal::UnknownOrder { order: start.order })?;
                let amount = row.total;
                Ok(Outcome::Accepted(Receipt::AttemptStarted { order: start.order, attempt: 1, amount }))
            }
            Command::SettleAttempt(settle) => {
                let paid = matches!(settle.result, GatewayResult::Captured { .. });
                let state = if paid { OrderState::Paid } else { OrderState::Pending };
                self.resolve(settle.order, state)?;
                Ok(Outcome::Accepted(Receipt::AttemptSettled {
                    order: settle.order,
                    attempt: settle.attempt,
                    order_state: state,
                    payment_state: PaymentState::Succeeded,
                }))
            }
            Command::CancelOrder(cancel) => {
                self.resolve(cancel.order, OrderState::Cancelled)?;
                let (order, state) = (cancel.order, OrderState::Cancelled);
                Ok(Outcome::Accepted(Receipt::OrderMoved { order, state }))
            }
            _ => Err(Refusal::NotFound),
        }
    }

    fn create(&mut self, request: &Request, create: &CreateOrder) -> Result<Outcome, Refusal> {
        let mut lines = Lines::new();
        for (index, wanted) in (0u16..).zip(&create.lines) {
            let row = self.stock.get(&wanted.sku).ok_or(Refusal::UnknownSku { line: index })?;
            let bought = self.bought.get(&(wanted.sku, create.customer.to_string())).copied().unwrap_or(0);
            let limit = row.limit_per_customer;
            if limit > 0 && bought + wanted.quantity as u32 > limit && self.fault != Fault::IgnoreLimits {
                return Err(Refusal::LimitExceeded { line: index, limit, bought });
            }
            let hidden = if self.fault == Fault::HideStock { 3 } else { 0 };
            if row.available() - hidden < wanted.quantity && self.fault != Fault::Oversell {
                let (asked, available) = (wanted.quantity as u32, row.available());
                return Err(Refusal::OutOfStock { line: index, asked, available });
            }
            let (quantity, unit_minor) = (wanted.quantity as u32, row.price.minor);
            lines.push(onrush_proto::Line { sku: wanted.sku, quantity, unit_minor });
        }
        let mut total = self.stock[&lines[0].sku].price;
        total.minor = lines.iter().map(|line| line.unit_minor * i64::from(line.quantity)).sum();
        for line in &lines {
            if let Some(row) = self.stock.get_mut(&line.sku) {
                row.held += i64::from(line.quantity);
            }
            *self.bought.entry((line.sku, create.customer.to_string())).or_default() += line.quantity;
        }
        let order = OrderId::new(Slot(0), 1_000_000, 0, self.orders.len() as u64 + 1);
        let row = OrderRow {
            id: order,
            customer: create.customer,
            lines,
            total,
            state: OrderState::Pending,
            delivery: Delivery::Waiting,
            held_until_us: 2_000_000,
            changed_us: 1_000_000,
            key: request.key,
            body: request.body,
            history: Default::default(),
            payment: None,
        };
        self.orders.insert(order, row);
        Ok(Outcome::Accepted(Receipt::Order { order, total, held_until_us: 2_000_000 }))
    }

    fn lose_orders(&mut self) {
        self.orders.retain(|order, _| order.0 % 100 != 7);
    }

    fn resolve(&mut self, order: OrderId, state: OrderState) -> Result<(), Refusal> {
        let row = self.orders.get_mut(&order).ok_or(Refusal::UnknownOrder { order })?;
        row.state = state;
        for line in &row.lines {
            let Some(stock) = self.stock.get_mut(&line.sku) else { continue };
            let units = i64::from(line.quantity);
            match state {
                OrderState::Paid => {
                    stock.held -= units;
                    stock.on_hand -= units;
                    stock.sold += units;
                }
                OrderState::Cancelled => stock.held -= units,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Target for Shelf {
    fn name(&self) -> String {
        "shelf".into()
    }

    fn submit(&mut self, tag: u64, request: Request) -> Option<Request> {
        self.requests += 1;
        let (outcome, replayed) = self.answer(&request);
        self.replies.push((tag, Reply { outcome, replayed, lsn: Lsn(self.requests) }));
        None
    }

    fn flush(&mut self) {}

    fn drain(&mut self, replies: &mut Vec<(u64, Reply)>) -> usize {
        let count = self.replies.len();
        replies.append(&mut self.replies);
        count
    }

    fn wait(&mut self, timeout: Duration) -> bool {
        if self.replies.is_empty() {
            std::thread::sleep(timeout);
        }
        !self.replies.is_empty()
    }

    fn in_flight(&self) -> usize {
        self.replies.len()
    }

    fn view(&mut self, _tag: u64, _page: Page, sku: &Sku) -> Viewed {
        if self.stock.contains_key(sku) { Viewed::Found } else { Viewed::Missing }
    }

    fn books(&mut self) -> Result<Books, TargetError> {
        if self.fault == Fault::LoseOrders {
            self.lose_orders();
        }
        let sum = |field: fn(&StockRow) -> i64| self.stock.values().map(field).sum();
        Ok(Books {
            violations: Vec::new(),
            orders: self.orders.len() as u64,
            units_received: sum(|row| row.received),
            units_available: sum(StockRow::available),
            units_held: sum(|row| row.held),
            units_sold: sum(|row| row.sold),
            open_cross_shard: 0,
        })
    }

    fn events(&mut self) -> Result<Option<Events>, TargetError> {
        let mut events = Events::default();
        for (number, row) in self.orders.values().enumerate() {
            let odd = number.is_multiple_of(100);
            if !(odd && self.fault == Fault::SkipEvents) {
                events.tell(row.id, RecordKind::OrderCreated);
            }
            let charges = if odd && self.fault == Fault::ChargeTwice { 2 } else { 1 };
            if row.state == OrderState::Paid {
                (0..charges).for_each(|_| events.tell(row.id, RecordKind::PaymentCaptured));
            }
        }
        Ok(Some(events))
    }

    fn meter(&self) -> Result<Meter, TargetError> {
        Ok(Meter::blind())
    }

    fn setup(&self) -> Setup {
        Setup::default()
    }

    fn close(self: Box<Self>) -> Result<(), TargetError> {
        Ok(())
    }
}
