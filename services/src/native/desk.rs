//! One front's way to the shop.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use onrush_engine::{EngineHandle, Port};
use onrush_net::session::{Desk, Feed, Taken, Ticket};
use onrush_proto::frame::{
    Answer, Cluster, CommandEntry, DetailsView, ErrorCode, ErrorFrame, Hello, Node, Operation, SubscribeView,
    ValidateView,
};
use onrush_proto::{Command, OrderId, Outcome, Refusal, Reply, Request, SlotMap};

use super::ask::Asker;
use super::feed::Feeds;
use super::later::{self, Done, Later, Owed, Task, What};
use super::lines::Judge;
use super::products;
use super::session::Session;
use crate::access::{Admitted, Gate};
use crate::clock::now_us;
use crate::deadline::Deadline;
use crate::metrics::Commands;
use crate::nodes::{Door, Nodes};
use crate::staleness::Staleness;
use crate::status::Rejection;

/// Answers the connections of one front by a port of its own.
pub(crate) struct ShopDesk {
    engine: EngineHandle,
    gate: Arc<Gate>,
    port: Port,
    asker: Asker,
    judge: Judge,
    staleness: Staleness,
    later: Later,
    feeds: Feeds,
    done: Arc<Done>,
    /// Changes places with what is done.
    spare: Vec<(Ticket, Operation, Answer)>,
    /// Orders that are being read for somebody who does not reach all of them.
    readers: HashMap<Ticket, (Admitted, OrderId)>,
    commands: Arc<Commands>,
    /// The time of this round, once somebody asked.
    now_us: Option<u64>,
    /// The nodes of the cluster, and by which of their doors callers come here.
    nodes: (Nodes, Door),
}

impl ShopDesk {
    pub(crate) fn new(
        engine: EngineHandle,
        gate: Arc<Gate>,
        (later, feeds): (Later, Feeds),
        commands: Arc<Commands>,
        nodes: (Nodes, Door),
    ) -> Self {
        Self {
            port: engine.port(),
            asker: Asker::new(engine.clone()),
            judge: Judge::new(engine.clone()),
            staleness: Staleness::at(&engine),
            engine,
            gate,
            later,
            feeds,
            done: Arc::default(),
            spare: Vec::new(),
            readers: HashMap::new(),
            commands,
            now_us: None,
            nodes,
        }
    }

    /// Takes a command, or says at once why not.
    fn ask(
        &mut self,
        session: &Session,
        ticket: Ticket,
        operation: Operation,
        entry: &CommandEntry<'_>,
    ) -> Result<(), Rejection> {
        let now_us = *self.now_us.get_or_insert_with(now_us);
        let caller = session.admit(operation, now_us)?;
        let request = self.asker.request(caller, operation, entry, now_us)?;
        let others = caller.reaches_all();
        match (&request.command, operation) {
            (Command::StartPayment(start), _) => {
                let order = start.order;
                self.put_off(caller, (ticket, operation), order, entry.patience_us, request)?;
            }
            (Command::CancelOrder(cancel), _) if !others => {
                let order = cancel.order;
                self.put_off(caller, (ticket, operation), order, entry.patience_us, request)?;
            }
            (Command::GetOrder(order), _) if !others => {
                let order = *order;
                self.submit(ticket, operation, request)?;
                self.readers.insert(ticket, (*caller, order));
            }
            _ => self.submit(ticket, operation, request)?,
        }
        Ok(())
    }

    /// Has a subscription followed, or says at once why not.
    fn begin(&self, session: &Session, view: &SubscribeView<'_>) -> Result<Box<dyn Feed>, Rejection> {
        let wanted = view.wanted()?;
        session.must_follow(&wanted, now_us())?;
        if wanted.shard.0 >= self.engine.slot_map().shards() {
            return Err(Refusal::Invalid { field: "shard", expected: "one of the Welcome" }.into());
        }
        let own = (view.subscription(), view.credit());
        Ok(self.feeds.begin(session.standing(), wanted, own)?)
    }

    /// Refuses whoever accepts nothing as stale as what is published here; 0 = takes it as it comes.
    fn fresh_enough(&self, stale_ms_max: u32) -> Result<(), Refusal> {
        if stale_ms_max == 0 { Ok(()) } else { self.staleness.within(stale_ms_max).map(drop) }
    }

    fn submit(&mut self, ticket: Ticket, operation: Operation, request: Request) -> Result<(), Refusal> {
        let submitted = self.port.submit(tag(ticket, operation), request);
        submitted.map_err(|_| Refusal::Overloaded)
    }

    fn put_off(
        &self,
        caller: &Admitted,
        (ticket, operation): (Ticket, Operation),
        order: OrderId,
        patience_us: u64,
        request: Request,
    ) -> Result<(), Refusal> {
        let deadline = Deadline::within_us(patience_us);
        let what = What { operation, caller: *caller, order, deadline, request };
        let owed = Owed::new(Arc::clone(&self.done), ticket, operation);
        self.later.put(Task { what, owed })
    }
}

/// A ticket and what it is for, as one number that the port brings back.
fn tag(ticket: Ticket, operation: Operation) -> u64 {
    u64::from(ticket.0) | (operation as u64) << 32
}

fn untag(tag: u64) -> (Ticket, Operation) {
    let operation = Operation::ALL[(tag >> 32) as usize - 1];
    (Ticket(tag as u32), operation)
}

impl Desk for ShopDesk {
    type Session = Session;

    fn welcome(&mut self, hello: &Hello<'_>) -> Result<Session, ErrorFrame> {
        let standing = self
            .gate
            .bearer(hello.token)
            .map_err(|denial| ErrorFrame::new(ErrorCode::Unauthenticated, denial.message))?;
        self.commands.opened();
        tracing::debug!(client = hello.name, "a native connection opened");
        Ok(Session::new(standing))
    }

    fn farewell(&mut self, _: &Session) {
        self.commands.closed();
    }

    fn slot_map(&self) -> SlotMap {
        self.engine.slot_map()
    }

    fn cluster(&self) -> Cluster {
        let (nodes, door) = &self.nodes;
        let at = nodes.at(*door).into_iter().map(|(number, address)| Node { number, address });
        // What nodes advertise is within the bounds of a frame.
        Cluster::new(nodes.own(), at.collect()).unwrap_or_default()
    }

    fn reads(&self, entry: &CommandEntry<'_>) -> bool {
        entry.operation() == Ok(Operation::GetOrder)
    }

    fn command(&mut self, session: &Session, ticket: Ticket, entry: &CommandEntry<'_>) -> Taken {
        let operation = match entry.operation() {
            Ok(operation) => operation,
            Err(refusal) => return Taken::Now(later::answer(Err(refusal.into()))),
        };
        match self.ask(session, ticket, operation, entry) {
            Ok(()) => Taken::Later,
            Err(rejection) => {
                // Nothing leaves, so nobody else starts the clock again for the next one.
                self.now_us = None;
                let answer = later::answer(Err(rejection));
                self.commands.answered(operation, &answer);
                Taken::Now(answer)
            }
        }
    }

    fn validate(&mut self, _: &Session, view: &ValidateView<'_>, out: &mut Vec<u8>) -> Result<(), Answer> {
        // What is published is open to everybody, as in the table of calls.
        self.commands.judged(view.lines.len());
        let fresh = self.fresh_enough(view.stale_ms_max);
        let judged = fresh.and_then(|()| self.judge.verdicts(view, out));
        judged.map_err(|refusal| later::answer(Err(refusal.into())))
    }

    fn details(&mut self, _: &Session, view: &DetailsView<'_>, out: &mut Vec<u8>) -> Result<(), Answer> {
        self.commands.told(view.len());
        let fresh = self.fresh_enough(view.stale_ms_max);
        let told = fresh.and_then(|()| products::tell(&self.engine, view, out));
        told.map_err(|refusal| later::answer(Err(refusal.into())))
    }

    fn subscribe(&mut self, session: &Session, view: &SubscribeView<'_>) -> Result<Box<dyn Feed>, Answer> {
        self.begin(session, view).map_err(|rejection| later::answer(Err(rejection)))
    }

    fn flush(&mut self) {
        self.now_us = None;
        self.port.flush();
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let done = self.done.poll(context);
        match self.port.poll_ready(context) {
            Poll::Pending if !done => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    fn drain(&mut self, mut answer: impl FnMut(Ticket, Answer)) {
        self.now_us = None;
        let Self { port, readers, commands, done, spare, .. } = self;
        port.drain(|tag, mut reply| {
            let (ticket, operation) = untag(tag);
            if operation == Operation::GetOrder
                && let Some((caller, order)) = readers.remove(&ticket)
            {
                hide(&mut reply, &caller, order);
            }
            let reply = Answer::Reply(reply);
            commands.answered(operation, &reply);
            answer(ticket, reply);
        });
        let mut came = done.take(std::mem::take(spare));
        for (ticket, operation, reply) in came.drain(..) {
            commands.answered(operation, &reply);
            answer(ticket, reply);
        }
        *spare = came;
    }
}

/// What is not a caller's looks as if it were not there.
fn hide(reply: &mut Reply, caller: &Admitted, order: OrderId) {
    if let Outcome::Order(row) = &reply.outcome
        && !caller.reaches(&row.customer)
    {
        reply.outcome = Outcome::Refused(Refusal::UnknownOrder { order });
    }
}
