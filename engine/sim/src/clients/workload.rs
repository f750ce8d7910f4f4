//! What clients ask for next.

use onrush_proto::{
    CallerKey, CancelOrder, CapturePayment, Command, CommitOffset, CreateOrder, DeleteDocument, Delivery,
    DocKey, GetDocument, IdempotencyKey, KeyHasher, Lsn, MoveOrder, NameCommand, OrderId, OrderLine,
    OrderState, PutDocument, RefundPayment, Request, Slot, StartPayment, StockChange, Topic, UpdateStock,
};
use smallvec::SmallVec;

use super::shop::{Shop, text};
use crate::dice::Dice;
use crate::mirror::Mirror;
use crate::plan::Plan;

/// Requests kept for retries.
const PAST_MAX: usize = 200;
/// Bytes of a document that fills a log.
const LARGE_BYTES: usize = 3_000;

/// Draws requests from its own stream.
pub(crate) struct Workload {
    pub(crate) dice: Dice,
    pub(crate) shop: Shop,
    hasher: KeyHasher,
    serial: u64,
    /// What was sent under a key, to be sent again.
    past: Vec<Request>,
    /// Orders that clients know of.
    orders: Vec<OrderId>,
    opening: Vec<Command>,
    wishes: [u64; 8],
}

impl Workload {
    pub(crate) fn new(mut dice: Dice, hasher: KeyHasher, plan: &Plan) -> Self {
        let shop = Shop::open(&mut dice, plan.parties);
        let opening = shop.wares.iter().flat_map(|ware| [ware.stock(), ware.put(ware.price, true)]).collect();
        Self {
            dice,
            shop,
            hasher,
            serial: 0,
            past: Vec::new(),
            orders: Vec::new(),
            opening,
            wishes: plan.wishes,
        }
    }

    /// A client learned of an order.
    pub(crate) fn knows(&mut self, order: OrderId) {
        self.orders.push(order);
    }

    /// Puts a command under a key of its own.
    pub(crate) fn keyed(&mut self, command: Command) -> Request {
        self.serial += 1;
        let key = self.hasher.key(CallerKey { caller: "sim", key: &self.serial.to_string() });
        let request = Request::new(key, command);
        if self.past.len() == PAST_MAX {
            let at = self.dice.index(PAST_MAX);
            self.past.swap_remove(at);
        }
        self.past.push(request.clone());
        request
    }

    /// Everything sent lately under a key.
    pub(crate) fn past(&self) -> &[Request] {
        &self.past
    }

    /// The next request.
    pub(crate) fn next(&mut self, mirror: &Mirror, now_us: u64) -> Request {
        if let Some(command) = self.opening.pop() {
            return self.keyed(command);
        }
        if !self.past.is_empty() && self.dice.percent(18) {
            return self.again();
        }
        let command = self.command(mirror);
        let mut request = match command {
            command if command.is_read() => Request::unkeyed(command),
            command => self.keyed(command),
        };
        if self.dice.percent(3) {
            request.deadline_us = now_us + self.dice.below(20_000);
        }
        request
    }

    /// A retry with the same key: mostly the same body, sometimes another.
    pub(crate) fn again(&mut self) -> Request {
        if self.past.is_empty() {
            let command = self.create();
            return self.keyed(command);
        }
        let recent = self.past.len().min(12);
        let reach = if self.dice.percent(60) { recent } else { self.past.len() };
        let at = self.past.len() - 1 - self.dice.index(reach);
        let request = self.past[at].clone();
        self.retry(request, 80)
    }

    /// Asks again under the same key, with such a chance for the same.
    pub(crate) fn retry(&mut self, request: Request, same: u64) -> Request {
        if self.dice.percent(same) {
            return request;
        }
        let other = match (&request.command, self.dice.percent(50)) {
            (Command::CreateOrder(create), true) => {
                let mut create = create.clone();
                create.lines[0].quantity += 1;
                Command::CreateOrder(create)
            }
            _ => self.create(),
        };
        self.reuse(request.key, other)
    }

    /// Something else under a key that was sent before.
    pub(crate) fn another_under(&mut self, key: IdempotencyKey) -> Option<Request> {
        self.past.iter().any(|request| request.key == key).then(|| {
            let other = self.create();
            self.reuse(key, other)
        })
    }

    /// A large document in the place of the one before it: the log grows, and what a store holds does not.
    pub(crate) fn fill(&mut self, mirror: &Mirror, shard: usize) -> Request {
        let of_shard = |number: u64| {
            let key: DocKey = text(&format!("users/large-{number}"));
            (mirror.owner(Slot::of(key.as_bytes())) == shard).then_some(key)
        };
        let key = (0..).find_map(of_shard).unwrap_or_else(|| self.doc_key());
        let value = vec![self.serial as u8; LARGE_BYTES];
        let put = PutDocument { key, placement: None, value, expected: None, emit: None };
        Request::unkeyed(Command::PutDocument(Box::new(put)))
    }

    /// A look at a row.
    pub(crate) fn look(&mut self, mirror: &Mirror) -> Request {
        loop {
            let command = self.read(mirror);
            if command.is_read() {
                return Request::unkeyed(command);
            }
        }
    }

    fn reuse(&mut self, key: IdempotencyKey, command: Command) -> Request {
        let request = Request::new(key, command);
        if self.past.len() < PAST_MAX {
            self.past.push(request.clone());
        }
        request
    }

    fn command(&mut self, mirror: &Mirror) -> Command {
        match self.dice.weighted(&self.wishes) {
            0 => self.create(),
            1 => self.change_stock(mirror),
            2 => self.change_product(),
            3 => self.pay(mirror),
            4 => self.call_off(mirror),
            5 => self.document(mirror),
            6 => self.name(),
            _ => self.read(mirror),
        }
    }

    fn create(&mut self) -> Command {
        let lines = if self.dice.percent(70) { 1 } else { self.dice.within(2, 4) };
        let mut basket: SmallVec<[OrderLine; 1]> = SmallVec::new();
        for _ in 0..lines {
            let ware = self.shop.ware(&mut self.dice);
            if self.dice.percent(97) && basket.iter().any(|line| line.sku == ware.sku) {
                continue;
            }
            let quantity = if self.dice.percent(97) { self.dice.within(1, 3) as i64 } else { 0 };
            let ceiling = if self.dice.percent(15) { ware.price } else { i64::MAX };
            basket.push(OrderLine { sku: ware.sku, quantity, max_unit_minor: ceiling });
        }
        let customer = self.dice.pick(&self.shop.customers);
        let hold_us = self.dice.pick(&[0, 0, 20_000, 1_000_000]);
        Command::CreateOrder(CreateOrder { customer, lines: basket, hold_us })
    }

    fn change_stock(&mut self, mirror: &Mirror) -> Command {
        let sku = self.shop.ware(&mut self.dice).sku;
        let row = mirror.books[mirror.owner_of_sku(&sku)].stock.get(&sku);
        let change = match self.dice.below(4) {
            0 => StockChange::Set(self.dice.below(30) as i64),
            1 => {
                let version = row.map_or(0, |row| row.version) + u64::from(self.dice.percent(20));
                StockChange::AddIfVersion { add: self.dice.within(1, 5) as i64, version }
            }
            _ => StockChange::Add(self.dice.within(0, 12) as i64 - 3),
        };
        Command::UpdateStock(UpdateStock { sku, change, reason: text("count") })
    }

    fn change_product(&mut self) -> Command {
        let ware = self.shop.ware(&mut self.dice);
        let price = (ware.price + self.dice.below(5) as i64 - 2).max(0);
        let active = self.dice.percent(85);
        match self.dice.percent(20) {
            true => ware.allowing(self.dice.below(4) as u32).put(price, active),
            false => ware.put(price, active),
        }
    }

    /// An order: mostly a young one.
    fn order(&mut self) -> Option<OrderId> {
        let reach = if self.dice.percent(70) { self.orders.len().min(10) } else { self.orders.len() };
        (reach > 0).then(|| self.orders[self.orders.len() - 1 - self.dice.index(reach)])
    }

    fn pay(&mut self, mirror: &Mirror) -> Command {
        let Some(order) = self.order() else { return self.create() };
        let row = mirror.order(order);
        let total = row.map_or(1, |row| row.total.minor);
        let payment = row.and_then(|row| row.payment.as_deref());
        let captured = payment.map_or(0, |payment| payment.captured);
        let due = payment.is_some_and(|payment| payment.state == onrush_proto::PaymentState::RequiresCapture);
        match self.dice.below(10) {
            0..=3 if due => {
                let minor =
                    if self.dice.percent(70) { total } else { self.dice.below(total as u64 + 2) as i64 };
                Command::CapturePayment(CapturePayment { order, minor })
            }
            4..=7 if captured > 0 => {
                let minor = if self.dice.percent(30) {
                    captured
                } else {
                    self.dice.below(captured as u64 + 2) as i64
                };
                Command::RefundPayment(RefundPayment { order, minor })
            }
            _ => Command::StartPayment(Box::new(StartPayment {
                order,
                method: text("pm_card"),
                capture: self.dice.percent(70),
            })),
        }
    }

    fn call_off(&mut self, mirror: &Mirror) -> Command {
        let Some(order) = self.order() else { return self.create() };
        if self.dice.percent(60) {
            return Command::CancelOrder(CancelOrder { order });
        }
        use OrderState::{Delivered, Fulfilling, Shipped};
        let to = match mirror.order(order).map(|row| row.delivery) {
            Some(Delivery::Fulfilling) if self.dice.percent(80) => Shipped,
            Some(Delivery::Shipped) if self.dice.percent(80) => Delivered,
            _ => self.dice.pick(&[Fulfilling, Fulfilling, Shipped, Delivered]),
        };
        Command::MoveOrder(MoveOrder { order, to })
    }

    fn doc_key(&mut self) -> DocKey {
        text(&format!("users/{}", self.dice.below(9)))
    }

    fn document(&mut self, mirror: &Mirror) -> Command {
        let key = self.doc_key();
        let row = mirror.books[mirror.owner(Slot::of(key.as_bytes()))].documents.get(&key);
        let live = row.filter(|row| row.value.is_some()).map_or(0, |row| row.version);
        let expected = match self.dice.below(3) {
            0 => None,
            1 => Some(live),
            _ => Some(self.dice.below(live + 2)),
        };
        if self.dice.percent(20) {
            return Command::DeleteDocument(Box::new(DeleteDocument { key, placement: None, expected }));
        }
        let value = vec![self.serial as u8; self.dice.index(600)];
        let emit = self.dice.percent(50).then_some(Topic::UserUpdated);
        Command::PutDocument(Box::new(PutDocument { key, placement: None, value, expected, emit }))
    }

    fn name(&mut self) -> Command {
        let name = text(&format!("email/{}", self.dice.below(6)));
        let owner = text(&format!("user-{}", self.dice.below(4)));
        Command::Name(Box::new(match self.dice.below(5) {
            0 => NameCommand::Confirm { name, owner },
            1 => NameCommand::Release { name, owner },
            2 => NameCommand::Get { name },
            _ => NameCommand::Claim { name, owner, for_us: self.dice.within(1, 3_000_000) },
        }))
    }

    fn read(&mut self, mirror: &Mirror) -> Command {
        let pick = self.dice.below(5);
        match (pick, self.order()) {
            (0 | 1, Some(order)) => Command::GetOrder(order),
            (2, _) => Command::GetDocument(Box::new(GetDocument { key: self.doc_key(), placement: None })),
            (3, _) => {
                let slot = Slot(self.dice.below(256) as u8);
                let end = mirror.books[mirror.owner(slot)].end_lsn;
                let lsn = self.dice.percent(80).then(|| Lsn(self.dice.below(end + 2)));
                let group = text(&format!("group-{}", self.dice.below(3)));
                Command::CommitOffset(Box::new(CommitOffset { slot, group, topic: Topic::OrderCreated, lsn }))
            }
            _ => Command::GetStock(self.shop.ware(&mut self.dice).sku),
        }
    }
}
