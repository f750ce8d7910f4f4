//! From a command to its rule.

use onrush_proto::{
    Command, CreateOrder, DocKey, Fact, GroupAsk, NameCommand, OrderId, OrderRow, OrderState, Outcome,
    Receipt, RecordKind, Refusal, Request, Slot,
};

use super::{Effects, Origin, Shard};
use crate::rules::groups::Step;
use crate::rules::payments::Settlement;
use crate::rules::{Accepted, documents, groups, inventory, names, orders, payments};
use crate::tables::hash_of;

/// What a command comes to.
enum Verdict {
    /// A record: the fact was made.
    Accept(Receipt),
    /// An acceptance that changes nothing: only its key is worth a record.
    Known(Receipt),
    /// An answer without a record.
    Answer(Outcome),
}

impl From<Settlement> for Verdict {
    fn from(settlement: Settlement) -> Self {
        match settlement {
            Settlement::Changes(receipt) => Self::Accept(receipt),
            Settlement::Known(receipt) => Self::Known(receipt),
        }
    }
}

impl Verdict {
    /// An acceptance whose fact was made elsewhere.
    fn of(accepted: Accepted, fact: &mut Fact) -> Self {
        *fact = accepted.fact;
        Self::Accept(accepted.receipt)
    }

    fn of_step(step: Step, fact: &mut Fact) -> Self {
        match step {
            Step::Changes(accepted) => Self::of(accepted, fact),
            Step::Known(receipt) => Self::Known(receipt),
        }
    }
}

/// A fact that no rule has made yet.
fn unmade() -> Fact {
    Fact::new(RecordKind::OrderCreated, 0)
}

/// True if dead holds that are not swept yet would change the answer. Of an order that is short
/// this shows when it is decided.
fn rests_on_units(command: &Command) -> bool {
    use Command::{GetStock, SettleAttempt, UpdateStock};
    matches!(command, GetStock(_) | UpdateStock(_) | SettleAttempt(_))
}

/// True if a refusal may be owed to holds that are dead.
pub(crate) fn is_short(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::OutOfStock { .. } | Refusal::LimitExceeded { .. } | Refusal::Overloaded)
}

impl Shard {
    /// Decides a request whose key is free, and answers it. False if it takes another turn: dead holds
    /// that it rests on could not all be swept.
    pub(crate) fn decide(&mut self, origin: Origin, request: &Request, out: &mut Effects) -> bool {
        if let Command::CreateOrder(create) = &request.command {
            return self.create(origin, request, create, out);
        }
        if let Some(order) = request.command.order() {
            self.bury(order, out);
        }
        if rests_on_units(&request.command) && !self.sweep_all(out) {
            return false;
        }
        let mut fact = self.take_spare_fact();
        match self.verdict(&request.command, &mut fact) {
            Ok(Verdict::Accept(receipt)) => {
                self.turn_ends = self.wants_more_counts(&request.command);
                let moved = fact.kind;
                self.accept_fact(origin, request, (&mut fact, receipt), out);
                if let Some(order) = request.command.order() {
                    self.resolve_elsewhere(order, moved, out);
                }
            }
            Ok(Verdict::Known(receipt)) if request.key.is_none() => {
                self.answer_now(origin, request.key, Outcome::Accepted(receipt), out);
            }
            Ok(Verdict::Known(receipt)) => {
                let fact = Fact::new(RecordKind::KeyKept, hash_of(&request.key.0));
                self.accept(origin, request, Accepted { fact, receipt }, out);
            }
            Ok(Verdict::Answer(outcome)) => self.answer_now(origin, request.key, outcome, out),
            Err(refusal) => self.refuse(origin, request.key, refusal, out),
        }
        self.spare_fact = Some(fact);
        true
    }

    fn take_spare_fact(&mut self) -> Box<Fact> {
        self.spare_fact.take().unwrap_or_else(|| Box::new(unmade()))
    }

    /// False if it could not be decided: it fell short, and the dead are not all swept.
    fn create(&mut self, origin: Origin, request: &Request, create: &CreateOrder, out: &mut Effects) -> bool {
        let mut fact = self.take_spare_fact();
        let decided = self.create_in(&mut fact, origin, (request, create), out);
        self.spare_fact = Some(fact);
        decided
    }

    fn create_in(
        &mut self,
        fact: &mut Fact,
        origin: Origin,
        (request, create): (&Request, &CreateOrder),
        out: &mut Effects,
    ) -> bool {
        let mut decision = self.decide_order(request, create, fact);
        if self.backlog && decision.as_ref().is_err_and(is_short) {
            if !self.sweep_all(out) {
                return false;
            }
            decision = self.decide_order(request, create, fact);
        }
        match decision {
            Ok(receipt) if fact.kind == RecordKind::OrderReserving => {
                let fact = std::mem::replace(fact, unmade());
                self.reserve(origin, request, create, Accepted { fact, receipt }, out);
            }
            Ok(receipt) => self.accept_fact(origin, request, (fact, receipt), out),
            Err(refusal) => self.refuse(origin, request.key, refusal, out),
        }
        true
    }

    fn decide_order(
        &self,
        request: &Request,
        create: &CreateOrder,
        fact: &mut Fact,
    ) -> Result<Receipt, Refusal> {
        orders::check_shape(create)?;
        if self.state.orders.open_len() >= self.options.open_orders_max {
            return Err(Refusal::Overloaded);
        }
        let own = |line: &onrush_proto::OrderLine| self.owns(Slot::of(line.sku.as_bytes()));
        if create.lines.len() > 1 && !create.lines.iter().all(own) {
            let accepted = orders::reserve(&self.state, &self.context(), request, create)?;
            *fact = accepted.fact;
            return Ok(accepted.receipt);
        }
        orders::create(&self.state, &self.context(), request, create, fact)
    }

    /// True if from this command on orders of a SKU need counts that nobody asked the store for.
    fn wants_more_counts(&self, command: &Command) -> bool {
        let Command::PutProduct(put) = command else { return false };
        self.state.stock.row(&put.sku).is_some_and(|old| {
            let counted = put.limit_per_customer > 0;
            counted && (old.limit_per_customer == 0 || put.limit_returns != old.limit_returns)
        })
    }

    /// What a command comes to; what is recorded of it is made in `fact`.
    fn verdict(&self, command: &Command, fact: &mut Fact) -> Result<Verdict, Refusal> {
        let (state, context) = (&self.state, &self.context());
        Ok(match command {
            Command::PutProduct(put) => Verdict::of(inventory::put_product(state, context, put)?, fact),
            Command::UpdateStock(update) => {
                Verdict::of(inventory::update_stock(state, context, update)?, fact)
            }
            Command::GetStock(sku) => {
                let row = state.stock.row(sku).ok_or(Refusal::UnknownProduct)?;
                Verdict::Answer(Outcome::Stock(Box::new(*row)))
            }
            Command::CreateOrder(_) => return Err(Refusal::NotFound),
            Command::GetOrder(order) => {
                Verdict::Answer(Outcome::Order(Box::new(self.order(*order)?.clone())))
            }
            Command::CancelOrder(cancel) => {
                Verdict::Accept(orders::cancel(state, context, self.order(cancel.order)?, fact)?)
            }
            Command::MoveOrder(step) => {
                Verdict::of(orders::step(context, self.order(step.order)?, step)?, fact)
            }
            Command::StartPayment(start) => {
                Verdict::Accept(payments::start(state, context, self.order(start.order)?, start, fact)?)
            }
            Command::SettleAttempt(settle) => {
                payments::settle(state, context, self.order(settle.order)?, settle, fact)?.into()
            }
            Command::CapturePayment(capture) => {
                Verdict::Accept(payments::capture(state, context, self.order(capture.order)?, capture, fact)?)
            }
            Command::RefundPayment(refund) => {
                Verdict::Accept(payments::refund(state, context, self.order(refund.order)?, refund, fact)?)
            }
            Command::SettleRefund(settle) => {
                payments::settle_refund(state, context, self.order(settle.order)?, settle, fact)?.into()
            }
            Command::PutDocument(put) => Verdict::of(documents::put(state, context, put)?, fact),
            Command::DeleteDocument(delete) => Verdict::of(documents::delete(state, context, delete)?, fact),
            Command::GetDocument(get) => Verdict::Answer(self.document(&get.key)?),
            Command::Name(name) => match &**name {
                NameCommand::Get { name } => Verdict::Answer(self.name(name)?),
                change => Verdict::of(names::decide(state, context, change)?, fact),
            },
            Command::CommitOffset(commit) if commit.lsn.is_none() => {
                Verdict::Answer(Outcome::Offset(onrush_proto::Lsn(groups::position(state, commit))))
            }
            Command::CommitOffset(commit) => Verdict::of(groups::commit(state, context, commit)?, fact),
            Command::Group(group) if group.ask == GroupAsk::Get => {
                let standing = groups::standing(state, (group.group, group.topic as u8));
                Verdict::Answer(Outcome::Groups(vec![standing]))
            }
            Command::Group(group) => Verdict::of_step(groups::decide(state, context, group)?, fact),
            Command::ListGroups(_) => Verdict::Answer(Outcome::Groups(groups::all(state).collect())),
        })
    }

    /// An order that somebody outside may see.
    pub(crate) fn order(&self, order: OrderId) -> Result<&OrderRow, Refusal> {
        let hidden = |state: OrderState| state.is_unborn() || state == OrderState::Rejected;
        let row = self.state.orders.row(&order).filter(|row| !hidden(row.state));
        row.ok_or(Refusal::UnknownOrder { order })
    }

    fn document(&self, key: &DocKey) -> Result<Outcome, Refusal> {
        let row = self.state.documents.row(key).filter(|row| row.value.is_some()).ok_or(Refusal::NotFound)?;
        Ok(Outcome::Document(Box::new(row.clone())))
    }

    fn name(&self, name: &DocKey) -> Result<Outcome, Refusal> {
        let row = self
            .state
            .names
            .row(name)
            .filter(|row| names::stands(row, self.now_us))
            .ok_or(Refusal::NotFound)?;
        Ok(Outcome::Name(Box::new(row.clone())))
    }
}
