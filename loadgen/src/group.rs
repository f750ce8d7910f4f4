//! Closed loop for capacity: groups of orders are always under way, at least two: one being decided
//! while the other is made. No schedule, so latencies say how long a group takes, not what a buyer
//! would have felt.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use onrush_proto::{
    Command, CreateOrder, OrderId, OrderLine, OrderState, Outcome, Receipt, Refusal, Reply, Request,
};
use smallvec::smallvec;

use crate::driver::slab::{Slab, Ticket};
use crate::driver::{Tally, is_passing, key_of, settle_command, start_command};
use crate::journal::Journal;
use crate::operation::{Operation, Verdict};
use crate::plan::{Item, SECOND_NS, customer_id};
use crate::progress::Progress;
use crate::random::Random;
use crate::recorder::Recorder;
use crate::target::Target;

/// How a capacity run goes.
#[derive(Clone, Debug)]
pub(crate) struct GroupPlan {
    pub(crate) seed: u64,
    pub(crate) duration_s: f64,
    /// Orders of one group.
    pub(crate) group: u32,
    /// Groups under way.
    pub(crate) under_way: u32,
    /// Each accepted order is paid this much later; `None` = never.
    pub(crate) pay_within_ns: Option<u64>,
    /// Share of orders on item 0; the rest is uniform over the others.
    pub(crate) hot_share: f64,
    pub(crate) items: Vec<Item>,
    pub(crate) hold_us: u64,
}

/// Answers still missing this long after the last send are violations.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a tag stands for, in its two lowest bits; above them the order's ticket or, once it is
/// accepted, its number in the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Order,
    Start,
    Settle,
}

fn tag(step: Step, number: u64) -> u64 {
    number << 2 | step as u64
}

struct Sent {
    at_ns: u64,
    serial: u32,
    item: u32,
}

/// A capacity run under way.
pub(crate) struct Groups<'a> {
    plan: &'a GroupPlan,
    target: &'a mut dyn Target,
    progress: Progress,
    start: Instant,
    random: Random,
    /// Orders under way.
    sent: Slab<Sent>,
    /// Accepted orders by the time they are to be paid: a constant delay keeps them in order.
    unpaid: VecDeque<(u64, u32)>,
    /// Payments to settle: journal number and attempt.
    started: VecDeque<(u32, u16)>,
    stalled: Option<(u64, Request)>,
    pub(crate) next_serial: u32,
    pub(crate) recorder: Recorder,
    pub(crate) journal: Journal,
    pub(crate) tally: Tally,
}

impl<'a> Groups<'a> {
    /// A run that has not started.
    pub(crate) fn new(plan: &'a GroupPlan, target: &'a mut dyn Target, progress: Progress) -> Self {
        Self {
            plan,
            target,
            progress,
            start: Instant::now(),
            random: Random::new(plan.seed, 3),
            sent: Slab::with_capacity((plan.under_way * plan.group) as usize),
            unpaid: VecDeque::with_capacity(1 << 16),
            started: VecDeque::with_capacity(1 << 16),
            stalled: None,
            next_serial: 0,
            recorder: Recorder::new(plan.duration_s),
            journal: Journal::default(),
            tally: Tally::default(),
        }
    }

    /// Runs for the plan's duration, then takes every answer and pays every order.
    pub(crate) fn run(&mut self) {
        self.start = Instant::now();
        let end_ns = (self.plan.duration_s * SECOND_NS as f64) as u64;
        let mut replies = Vec::with_capacity(1 << 14);
        let mut heard_ns = 0;
        loop {
            let now_ns = self.now_ns();
            self.pass(now_ns, now_ns < end_ns);
            self.target.flush();
            self.target.drain(&mut replies);
            let answered_ns = self.now_ns();
            if !replies.is_empty() {
                heard_ns = answered_ns;
            }
            let idle = replies.is_empty();
            for (tag, reply) in replies.drain(..) {
                self.answer(tag, &reply, answered_ns);
            }
            self.progress.tick(answered_ns, &self.tally);
            if now_ns >= end_ns && self.is_done() {
                break;
            }
            if now_ns > heard_ns.max(end_ns) + ANSWER_MAX.as_nanos() as u64 {
                let missing = self.target.in_flight();
                self.journal.violations.note(|| {
                    format!("every request is answered: expected all within 30 s, {missing} were not")
                });
                break;
            }
            if idle {
                self.target.wait(Duration::from_micros(500));
            }
        }
        self.tally.done_ns = self.now_ns();
        self.progress.finish();
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn is_done(&self) -> bool {
        let nothing_due = self.unpaid.is_empty() && self.started.is_empty();
        self.stalled.is_none() && nothing_due && self.target.in_flight() == 0
    }

    fn pass(&mut self, now_ns: u64, open: bool) {
        if let Some((tag, request)) = self.stalled.take() {
            self.submit(tag, request);
        }
        while self.stalled.is_none() {
            let Some((number, attempt)) = self.started.pop_front() else { break };
            self.settle(number, attempt);
        }
        while self.stalled.is_none() && self.unpaid.front().is_some_and(|(at_ns, _)| *at_ns <= now_ns) {
            let Some((_, number)) = self.unpaid.pop_front() else { break };
            self.pay(number);
        }
        // A whole group or none: the point is the depth of a batch.
        let room = (self.plan.under_way - 1) * self.plan.group;
        while open && self.stalled.is_none() && self.sent.len() <= room as usize {
            for _ in 0..self.plan.group {
                if self.stalled.is_some() {
                    break;
                }
                self.order(now_ns);
            }
        }
    }

    fn submit(&mut self, tag: u64, request: Request) {
        self.stalled = self.target.submit(tag, request).map(|request| (tag, request));
    }

    fn order(&mut self, now_ns: u64) {
        let serial = self.next_serial;
        self.next_serial += 1;
        let others = self.plan.items.len() as u64 - 1;
        let item = if others == 0 || self.random.chance(self.plan.hot_share) {
            0
        } else {
            1 + self.random.below(others) as u32
        };
        let ticket = self.sent.insert(Sent { at_ns: now_ns, serial, item });
        self.tally.offered += 1;
        let command = Command::CreateOrder(CreateOrder {
            customer: customer_id(serial),
            lines: smallvec![OrderLine::new(self.plan.items[item as usize].sku, 1)],
            hold_us: self.plan.hold_us,
        });
        self.submit(tag(Step::Order, ticket.0), Request::new(key_of(self.plan.seed, serial, 0), command));
    }

    fn pay(&mut self, number: u32) {
        let Some(entry) = self.journal.entries().get(number as usize) else { return };
        let key = key_of(self.plan.seed, entry.serial, 1);
        let command = start_command(entry.order(), false);
        self.submit(tag(Step::Start, u64::from(number)), Request::new(key, command));
    }

    fn settle(&mut self, number: u32, attempt: u16) {
        let Some(entry) = self.journal.entries().get(number as usize) else { return };
        let key = key_of(self.plan.seed, entry.serial, 2);
        let command = settle_command(entry.order(), attempt, false);
        self.submit(tag(Step::Settle, u64::from(number)), Request::new(key, command));
    }

    fn answer(&mut self, tag: u64, reply: &Reply, now_ns: u64) {
        match tag & 3 {
            0 => self.ordered(Ticket(tag >> 2), reply, now_ns),
            1 => self.pay_started((tag >> 2) as u32, reply, now_ns),
            _ => self.pay_settled((tag >> 2) as u32, reply),
        }
    }

    fn ordered(&mut self, ticket: Ticket, reply: &Reply, now_ns: u64) {
        let Some(sent) = self.sent.remove(ticket) else {
            self.journal.violations.note(|| format!("one answer per request: tag {} came twice", ticket.0));
            return;
        };
        self.tally.answered += 1;
        let latency_ns = now_ns.saturating_sub(sent.at_ns);
        self.recorder.record(Operation::CreateOrder, Verdict::of(reply), latency_ns, now_ns);
        match &reply.outcome {
            Outcome::Accepted(Receipt::Order { order, total, .. }) => {
                self.accepted((sent.serial, sent.item), *order, total.minor, now_ns);
            }
            Outcome::Refused(Refusal::Stopped) => self.journal.unknown += 1,
            _ => {}
        }
    }

    fn accepted(&mut self, (serial, item): (u32, u32), order: OrderId, total_minor: i64, now_ns: u64) {
        let number = self.journal.enter(order, total_minor, (serial, serial), &[(item, 1)]);
        self.tally.accepted += 1;
        self.tally.accepted_in_window += 1;
        if let Some(within_ns) = self.plan.pay_within_ns {
            self.unpaid.push_back((now_ns + within_ns, number));
        }
    }

    fn pay_started(&mut self, number: u32, reply: &Reply, now_ns: u64) {
        match &reply.outcome {
            Outcome::Accepted(Receipt::AttemptStarted { attempt, .. }) => {
                self.started.push_back((number, *attempt));
            }
            Outcome::Accepted(Receipt::AttemptSettled { .. }) => self.pay_settled(number, reply),
            Outcome::Refused(Refusal::Stopped) => self.journal.doubt(number),
            Outcome::Refused(refusal) if is_passing(refusal) => self.unpaid.push_front((now_ns, number)),
            _ => {}
        }
    }

    fn pay_settled(&mut self, number: u32, reply: &Reply) {
        match &reply.outcome {
            Outcome::Accepted(Receipt::AttemptSettled { order_state, .. }) => {
                self.tally.paid += u64::from(*order_state == OrderState::Paid);
                self.journal.tell(number, *order_state);
            }
            // Attempts count from 1, and this mode makes one.
            Outcome::Refused(refusal) if is_passing(refusal) => self.started.push_back((number, 1)),
            _ => {}
        }
    }
}
