//! The open loop: one thread that sends what is due, takes what is answered, and waits for
//! neither.
//!
//! A pass sends everything that is due (arrivals, payments, retries), flushes once and drains
//! once. A target that pushes back delays sends, never the times they are measured from.

mod buying;
mod closing;
mod paying;
mod reading;
mod refunding;
pub(crate) mod slab;
mod timers;

use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use onrush_proto::{Command, IdempotencyKey, OrderId, Reply, Request};

use crate::demand::Basket;
use crate::journal::Journal;
use crate::operation::{Operation, Verdict};
use crate::plan::{Plan, SECOND_NS, Times};
use crate::progress::Progress;
use crate::random::{Random, mix};
use crate::recorder::Recorder;
use crate::schedule::Arrivals;
use crate::target::Target;
pub(crate) use buying::order_command;
pub(crate) use paying::{is_passing, settle_command, start_command};
use slab::{Slab, Ticket};
use timers::{Due, Timers};

/// Sends of one pass, so that answers are never left lying while a burst is offered.
const SENDS_PER_PASS_MAX: usize = 4_096;
/// Answers still missing this long after the last send are violations.
const ANSWER_NS_MAX: u64 = 30 * SECOND_NS;
/// Random streams of one life.
const STREAMS: u64 = 16;
/// Longest nap with nothing under way.
const NAP_NS_MAX: u64 = 2_000_000;

/// What the run's headline is made of.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    /// Buys of the schedule that came.
    pub(crate) offered: u64,
    /// Distinct orders accepted.
    pub(crate) accepted: u64,
    /// Distinct orders accepted between T0 and the first sell-out.
    pub(crate) accepted_in_window: u64,
    /// Orders sent and answered, whatever the answer.
    pub(crate) answered: u64,
    /// Buyers turned away unheard: the target had as many requests under way as it takes.
    pub(crate) turned_away: u64,
    /// Orders paid.
    pub(crate) paid: u64,
    /// Charges that the gateway left without an answer at first.
    pub(crate) silences: u64,
    /// Refunds that went through, and those that would have given back too much.
    pub(crate) refunds: [u64; 2],
    /// First refusal for want of stock of an item the sale is about, in ns since the start.
    pub(crate) sold_out_ns: Option<u64>,
    /// Last acceptance of such an item.
    pub(crate) last_sold_ns: Option<u64>,
    /// Buys given up after their last retry.
    pub(crate) given_up: u64,
    /// Orders sold after the schedule's end.
    pub(crate) last_calls: u64,
    /// When the schedule was done and everything answered.
    pub(crate) done_ns: u64,
}

/// A request on its way.
struct Flight {
    operation: Operation,
    /// When it should have been sent: latency counts from here.
    intended_ns: u64,
    /// Whose it is; reads have none.
    buy: Option<Ticket>,
    /// Which one of several: a refund's number.
    number: u16,
    /// The client stopped waiting; the answer counts for the books only.
    abandoned: bool,
    /// The answer came and was lost on the way.
    lost: bool,
}

/// A buy from its arrival to its last answer.
struct Buy {
    serial: u32,
    customer: u32,
    lines: Basket,
    placed: Option<Placed>,
    /// Timers and flights that name it; it ends with the last of them.
    uses: u16,
    sends: u8,
    retries: u8,
    declines: u8,
    /// Calls to the gateway for the attempt that is under way.
    calls: u8,
    /// Refunds asked for that went through, and those that were refused.
    refunds: [u8; 2],
    /// How its first send is filed.
    filed: Operation,
    last_call: bool,
    /// A send went unanswered: there may be an order that the client knows nothing of.
    doubtful: bool,
    /// Counted in [`Journal::unknown`].
    unknown: bool,
}

/// The order a buy became.
#[derive(Clone, Copy)]
struct Placed {
    order: OrderId,
    total_minor: i64,
    held_until_us: u64,
    /// Its number in the journal.
    number: u32,
}

/// Times of the buys.
enum Source<'a> {
    Drawn(Arrivals),
    Recorded(std::slice::Iter<'a, u64>),
}

impl Iterator for Source<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self {
            Self::Drawn(arrivals) => arrivals.next(),
            Self::Recorded(times) => times.next().copied(),
        }
    }
}

/// A scenario under way.
pub(crate) struct Driver<'a> {
    plan: &'a Plan,
    target: &'a mut dyn Target,
    progress: Progress,
    start: Instant,
    arrivals: Peekable<Source<'a>>,
    reads: Option<Peekable<Arrivals>>,
    wishes: Random,
    habits: Random,
    timers: Timers,
    buys: Slab<Buy>,
    flights: Slab<Flight>,
    /// What the target gave back; sent before anything else.
    stalled: Option<(Ticket, Request)>,
    replies: Vec<(u64, Reply)>,
    next_serial: u32,
    /// The schedule is over: units that came back are offered again.
    last_call: bool,
    last_send_ns: u64,
    /// Once it is set nothing more is sent: the target is gone.
    halt: Option<Arc<AtomicBool>>,
    pub(crate) recorder: Recorder,
    pub(crate) journal: Journal,
    pub(crate) tally: Tally,
}

/// The key of a buy's `step`: a function of seed and number, so nothing needs to remember it.
pub(crate) fn key_of(seed: u64, serial: u32, step: u32) -> IdempotencyKey {
    let number = u64::from(step) << 32 | u64::from(serial);
    let high = mix(mix(seed) ^ number);
    let low = mix(high ^ number.rotate_left(32));
    IdempotencyKey((u128::from(high) << 64 | u128::from(low)).max(1))
}

impl Tally {
    /// What came of one life, added to that of the lives before. Times are those of the last one.
    pub(crate) fn and(self, later: Self) -> Self {
        Self {
            offered: self.offered + later.offered,
            accepted: self.accepted + later.accepted,
            accepted_in_window: self.accepted_in_window + later.accepted_in_window,
            answered: self.answered + later.answered,
            turned_away: self.turned_away + later.turned_away,
            paid: self.paid + later.paid,
            silences: self.silences + later.silences,
            given_up: self.given_up + later.given_up,
            last_calls: self.last_calls + later.last_calls,
            ..later
        }
    }
}

impl<'a> Driver<'a> {
    /// A driver that has not started.
    pub(crate) fn new(plan: &'a Plan, target: &'a mut dyn Target, progress: Progress) -> Self {
        // Each life of a server has streams of its own; keys go on with the buyers.
        let stream = |purpose| Random::new(plan.seed, purpose + plan.special.life * STREAMS);
        let source = match &plan.times {
            Times::Along(curve) => Source::Drawn(Arrivals::new(curve.clone(), stream(1))),
            Times::Recorded(times) => Source::Recorded(times.iter()),
        };
        let reads = plan.reads.as_ref();
        Self {
            plan,
            target,
            progress,
            start: Instant::now(),
            arrivals: source.peekable(),
            reads: reads.map(|reads| Arrivals::new(reads.curve.clone(), stream(2)).peekable()),
            wishes: stream(3),
            habits: stream(4),
            timers: Timers::with_capacity(1 << 16),
            buys: Slab::with_capacity(1 << 16),
            flights: Slab::with_capacity(1 << 16),
            stalled: None,
            replies: Vec::with_capacity(1 << 14),
            next_serial: 0,
            last_call: false,
            last_send_ns: 0,
            halt: None,
            recorder: Recorder::new(plan.duration_s),
            journal: Journal::default(),
            tally: Tally::default(),
        }
    }

    /// A driver that goes on where another one left off on the same target: with its journal, and buyers and
    /// keys behind the first `serial`.
    pub(crate) fn after(self, journal: Journal, serial: u32) -> Self {
        Self { journal, next_serial: serial, ..self }
    }

    /// A driver that stops sending once somebody sets this.
    pub(crate) fn until(self, halt: Arc<AtomicBool>) -> Self {
        Self { halt: Some(halt), ..self }
    }

    /// True once the target is gone.
    fn is_halted(&self) -> bool {
        self.halt.as_ref().is_some_and(|halt| halt.load(Ordering::Relaxed))
    }

    /// Buyers behind all that came.
    pub(crate) fn next_serial(&self) -> u32 {
        self.next_serial
    }

    /// Runs the schedule to its end, takes every answer, then sells what came back.
    pub(crate) fn run(&mut self) {
        self.start = Instant::now();
        self.run_until_quiet();
        self.tally.done_ns = self.now_ns();
        if !self.is_halted() {
            self.sell_what_came_back();
        }
        self.progress.finish();
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn run_until_quiet(&mut self) {
        loop {
            if self.is_halted() {
                self.let_go();
            } else {
                self.pass();
            }
            let drained = self.take_answers();
            self.progress.tick(self.now_ns(), &self.tally);
            if self.is_quiet() {
                return;
            }
            if drained == 0 && !self.pause() {
                let missing = self.target.in_flight();
                self.journal.violations.note(|| {
                    format!("every request is answered: expected all within 30 s, {missing} were not")
                });
                return;
            }
        }
    }

    /// Sends nothing any more. What was never sent left no trace; what waits to be sent neither.
    fn let_go(&mut self) {
        self.stalled = None;
        self.timers.clear();
        self.arrivals = Source::Recorded([].iter()).peekable();
        self.reads = None;
    }

    /// Sends what is due, in one flush.
    fn pass(&mut self) {
        let now_ns = self.now_ns();
        if let Some((tag, request)) = self.stalled.take() {
            self.stalled = self.target.submit(tag.0, request).map(|request| (tag, request));
        }
        let mut budget = SENDS_PER_PASS_MAX;
        while budget > 0 && self.stalled.is_none() {
            let Some((at_ns, due)) = self.timers.pop(now_ns) else { break };
            self.act(at_ns, due);
            budget -= 1;
        }
        while budget > 0 && self.stalled.is_none() && self.arrive(now_ns) {
            budget -= 1;
        }
        while budget > 0 && self.stalled.is_none() && self.read(now_ns) {
            budget -= 1;
        }
        self.target.flush();
    }

    fn act(&mut self, at_ns: u64, due: Due) {
        let buy = match due {
            Due::Send { buy }
            | Due::OtherBody { buy }
            | Due::Pay { buy }
            | Due::Settle { buy, .. }
            | Due::Refund { buy, .. }
            | Due::SettleRefund { buy, .. }
            | Due::Cancel { buy } => buy,
            Due::Timeout { flight } => return self.time_out(at_ns, flight),
        };
        match due {
            Due::OtherBody { .. } => self.send_other_body(at_ns, buy),
            Due::Pay { .. } => self.start_payment(at_ns, buy),
            Due::Settle { attempt, .. } => self.settle_payment(at_ns, buy, attempt),
            Due::Cancel { .. } => self.cancel(at_ns, buy),
            Due::Refund { number, .. } => self.ask_refund(at_ns, buy, number),
            Due::SettleRefund { refund, .. } => self.settle_refund(at_ns, buy, refund),
            Due::Send { .. } | Due::Timeout { .. } => self.send_order(at_ns, buy),
        }
        self.release(buy);
    }

    /// Hands a request to the target. Only called while nothing is stalled.
    fn send(&mut self, operation: Operation, intended_ns: u64, buy: Ticket, request: Request) -> Ticket {
        self.last_send_ns = self.now_ns();
        self.recorder.record_lateness(self.last_send_ns.saturating_sub(intended_ns));
        self.hold(buy);
        let flight =
            Flight { operation, intended_ns, buy: Some(buy), number: 0, abandoned: false, lost: false };
        let tag = self.flights.insert(flight);
        self.stalled = self.target.submit(tag.0, request).map(|request| (tag, request));
        tag
    }

    /// A step of a buy under a key of its own.
    fn keyed(&self, serial: u32, step: u32, command: Command) -> Request {
        Request::new(key_of(self.plan.seed, serial, step), command)
    }

    fn take_answers(&mut self) -> usize {
        let mut replies = std::mem::take(&mut self.replies);
        let count = self.target.drain(&mut replies);
        let now_ns = self.now_ns();
        for (tag, reply) in replies.drain(..) {
            self.answer(Ticket(tag), &reply, now_ns);
        }
        self.replies = replies;
        count
    }

    fn answer(&mut self, tag: Ticket, reply: &Reply, now_ns: u64) {
        let Some(flight) = self.flights.find(tag) else {
            self.journal.violations.note(|| format!("one answer per request: tag {} came twice", tag.0));
            return;
        };
        let Flight { operation, buy, abandoned, number, .. } = *flight;
        let latency_ns = now_ns.saturating_sub(flight.intended_ns);
        if !abandoned && self.loses_answer(operation) {
            // The client will find out by its time-out, which removes the flight.
            if let Some(flight) = self.flights.find(tag) {
                flight.lost = true;
            }
            return;
        }
        self.flights.remove(tag);
        let verdict = Verdict::of(reply);
        if !abandoned {
            self.recorder.record(operation, verdict, latency_ns, now_ns);
        }
        let Some(buy) = buy else { return };
        match operation {
            Operation::StartPayment | Operation::ProcessPayment => self.payment_started(buy, reply, now_ns),
            Operation::SettlePayment => self.payment_settled(buy, reply, now_ns),
            // The gateway is asked again in any case.
            Operation::SettleUnknown => {}
            Operation::Refund => self.refund_answered(buy, number, reply, now_ns),
            Operation::SettleRefund => self.refund_settled(buy, number, reply, now_ns),
            Operation::CancelOrder => self.cancelled(buy, reply, now_ns),
            Operation::CreateOrderOtherBody => self.other_body_answered(buy, reply),
            _ => self.order_answered(buy, reply, abandoned, now_ns),
        }
        self.release(buy);
    }

    /// Sets a timer for a buy, which lives at least until it fires.
    fn later(&mut self, at_ns: u64, buy: Ticket, due: Due) {
        self.hold(buy);
        self.timers.set(at_ns, due);
    }

    fn hold(&mut self, buy: Ticket) {
        if let Some(buy) = self.buys.find(buy) {
            buy.uses += 1;
        }
    }

    fn release(&mut self, ticket: Ticket) {
        let Some(buy) = self.buys.find(ticket) else { return };
        buy.uses -= 1;
        if buy.uses == 0 {
            self.buys.remove(ticket);
        }
    }

    fn is_quiet(&mut self) -> bool {
        self.stalled.is_none()
            && self.timers.next_ns().is_none()
            && self.target.in_flight() == 0
            && self.arrivals.peek().is_none()
            && self.reads.as_mut().is_none_or(|reads| reads.peek().is_none())
    }

    /// Waits for an answer or for what is due next; false if answers are overdue and nothing else
    /// is left to do.
    fn pause(&mut self) -> bool {
        let now_ns = self.now_ns();
        let read_ns = self.reads.as_mut().and_then(|reads| reads.peek().copied());
        let next =
            [self.arrivals.peek().copied(), read_ns, self.timers.next_ns()].into_iter().flatten().min();
        let due = next.filter(|_| self.target.has_room());
        let left = due.map_or(NAP_NS_MAX, |at_ns| at_ns.saturating_sub(now_ns)).min(NAP_NS_MAX);
        if self.target.in_flight() > 0 {
            self.target.wait(Duration::from_nanos(left));
        } else if left > 0 {
            std::thread::sleep(Duration::from_nanos(left));
        }
        next.is_some() || now_ns < self.last_send_ns + ANSWER_NS_MAX
    }
}

#[cfg(test)]
mod tests;
