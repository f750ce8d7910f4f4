//! `shard`: CPU and heap allocations of one command in a shard, without host, disk and store.

use std::collections::VecDeque;

use clap::Parser;
use onrush_proto::{
    Command, GatewayResult, OrderId, Outcome, Receipt, Refusal, Request, SettleAttempt, StartPayment, Text,
};

use crate::Failure;
use crate::cpu::thread_ns;
use crate::heap::{Allocations, counted};
use crate::lone::LoneShard;
use crate::machine;
use crate::reach::Reach;
use crate::sale::{Sale, tampered};
use crate::samples::Samples;
use crate::table::Table;

/// CPU ns and heap allocations per command, through `Shard::turn`, no disk
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Commands of each kind per round
    #[arg(long, default_value_t = 200_000)]
    pub orders: usize,
    /// Orders accepted and expired before the first measured one, so that the tables have their size
    #[arg(long, default_value_t = 300_000)]
    pub warm: usize,
    /// Rounds; the kinds alternate within each
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Commands per turn
    #[arg(long, default_value_t = 512)]
    pub group: usize,
    /// SKUs of the uniform sale
    #[arg(long, default_value_t = 10_000)]
    pub skus: usize,
    /// Orders that come between an order and its payment, and between a payment and its result
    #[arg(long, default_value_t = 50_000)]
    pub pay_after: usize,
    /// Only this kind, for profiles
    #[arg(long)]
    pub only: Option<String>,
}

/// One kind of command.
struct Kind {
    name: &'static str,
    sale: fn(&Args) -> Sale,
    /// The next commands; what must come before them goes through the shard unmeasured.
    group: fn(&mut Stage, usize) -> Result<Vec<Request>, Failure>,
    fits: fn(&Outcome) -> bool,
    reach_ns: Option<f64>,
}

const KINDS: [Kind; 7] = [
    Kind {
        name: "accepted-hot",
        sale: |_| Sale::hot(),
        group: |stage, count| Ok(stage.sale.orders(count)),
        fits: is_accepted,
        reach_ns: Some(1_000.0),
    },
    Kind {
        name: "accepted-uniform",
        sale: |args| Sale::uniform(args.skus),
        group: |stage, count| Ok(stage.sale.orders(count)),
        fits: is_accepted,
        reach_ns: Some(1_000.0),
    },
    Kind {
        name: "sold-out",
        sale: |_| Sale::sold_out(),
        group: |stage, count| Ok(stage.sale.orders(count)),
        fits: |outcome| matches!(outcome, Outcome::Refused(Refusal::OutOfStock { .. })),
        reach_ns: Some(150.0),
    },
    Kind {
        name: "replay-same-body",
        sale: |_| Sale::hot(),
        group: |stage, count| Ok(stage.asked_before(count)),
        fits: is_accepted,
        reach_ns: Some(150.0),
    },
    Kind {
        name: "replay-other-body",
        sale: |_| Sale::hot(),
        group: |stage, count| Ok(stage.asked_before(count).iter().map(tampered).collect()),
        fits: |outcome| matches!(outcome, Outcome::Refused(Refusal::KeyReused)),
        reach_ns: Some(150.0),
    },
    Kind {
        name: "pay-start",
        sale: |_| Sale::hot(),
        group: Stage::starts,
        fits: is_accepted,
        reach_ns: None,
    },
    Kind {
        name: "pay-settle",
        sale: |_| Sale::hot(),
        group: Stage::results,
        fits: is_accepted,
        reach_ns: None,
    },
];

fn is_accepted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Accepted(_))
}

/// A shard and its customers.
struct Stage {
    sale: Sale,
    lone: LoneShard,
    /// Orders that wait for their payment, then for the gateway's word on it.
    placed: VecDeque<OrderId>,
    started: VecDeque<OrderId>,
    pay_after: usize,
}

impl Stage {
    fn open(args: &Args, kind: &Kind) -> Result<Self, Failure> {
        let sale = (kind.sale)(args);
        let mut lone = LoneShard::open(&sale)?;
        let mut orders = sale.clone();
        for count in groups(args.warm, args.group) {
            pass(&mut lone, orders.orders(count));
            lone.let_go();
        }
        lone.expire();
        let (placed, started) = (VecDeque::new(), VecDeque::new());
        Ok(Self { sale: orders, lone, placed, started, pay_after: args.pay_after })
    }

    /// Orders that the shard has accepted already.
    fn asked_before(&mut self, count: usize) -> Vec<Request> {
        let orders = self.sale.orders(count);
        pass(&mut self.lone, orders.clone());
        self.lone.let_go();
        orders
    }

    /// Payments of orders that have waited their time.
    fn starts(&mut self, count: usize) -> Result<Vec<Request>, Failure> {
        while self.placed.len() < self.pay_after + count {
            pass(&mut self.lone, self.sale.orders(count));
            self.lone.expect("an order", is_accepted)?;
            let receipts = self.lone.replies().iter().filter_map(|(_, reply)| match reply.outcome {
                Outcome::Accepted(Receipt::Order { order, .. }) => Some(order),
                _ => None,
            });
            self.placed.extend(receipts);
            self.lone.let_go();
        }
        let due: Vec<OrderId> = self.placed.drain(..count).collect();
        self.started.extend(&due);
        let method = Text::new("pm_simulated").unwrap_or_default();
        let start = |order| Command::StartPayment(Box::new(StartPayment { order, method, capture: true }));
        Ok(due.into_iter().map(|order| Request::new(self.sale.key(), start(order))).collect())
    }

    /// What the gateway says of payments that have waited their time.
    fn results(&mut self, count: usize) -> Result<Vec<Request>, Failure> {
        while self.started.len() < self.pay_after + count {
            let starts = self.starts(count)?;
            pass(&mut self.lone, starts);
            self.lone.expect("a payment", is_accepted)?;
            self.lone.let_go();
        }
        let due: Vec<OrderId> = self.started.drain(..count).collect();
        let result = GatewayResult::Captured { reference: Text::new("simulated").unwrap_or_default() };
        let settle = |order| Command::SettleAttempt(Box::new(SettleAttempt { order, attempt: 1, result }));
        Ok(due.into_iter().map(|order| Request::new(self.sale.key(), settle(order))).collect())
    }
}

/// Figures of one kind in one round.
#[derive(Default)]
struct Round {
    wants_ns: u64,
    turn_ns: u64,
    commands: u64,
    frame_bytes: u64,
    heap: Allocations,
    cold: u64,
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "thread CPU time around Shard::wants, Shard::turn and the release of its effects, groups of {}, {} commands \
         of each kind in each of {} rounds after {} orders that came and expired; one-line orders with key, customer \
         limit and hold; a payment {} orders after its order, its result as long after it; no host, disk or store",
        args.group, args.orders, args.rounds, args.warm, args.pay_after
    );
    machine::head("shard: one command in a shard", &method);
    let chosen = |kind: &&Kind| args.only.as_ref().is_none_or(|only| only == kind.name);
    let kinds: Vec<&Kind> = KINDS.iter().filter(chosen).collect();
    if kinds.is_empty() {
        return Err(Failure::unexpected(KINDS.map(|kind| kind.name).join(" or "), &args.only));
    }
    let mut rounds: Vec<Vec<Round>> = kinds.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.rounds {
        for (kind, rounds) in kinds.iter().zip(&mut rounds) {
            rounds.push(measure(args, kind)?);
        }
    }
    print(&kinds, &rounds);
    Ok(())
}

fn print(kinds: &[&Kind], rounds: &[Vec<Round>]) {
    let mut table = Table::new([
        "kind",
        "both ns",
        "rounds",
        "turn ns",
        "wants ns",
        "frame B",
        "allocations",
        "heap B",
        "cold",
        "reach",
    ]);
    for (kind, rounds) in kinds.iter().zip(rounds) {
        let per = |figure: fn(&Round) -> u64| -> Samples {
            rounds.iter().map(|round| figure(round) as f64 / round.commands.max(1) as f64).collect()
        };
        let both = per(|round| round.turn_ns + round.wants_ns);
        table.row([
            kind.name.to_owned(),
            format!("{:.0}", both.median()),
            both.range(),
            format!("{:.0}", per(|round| round.turn_ns).median()),
            format!("{:.0}", per(|round| round.wants_ns).median()),
            format!("{:.0}", per(|round| round.frame_bytes).median()),
            format!("{:.5}", per(|round| round.heap.calls).median()),
            format!("{:.1}", per(|round| round.heap.bytes).median()),
            format!("{:.5}", per(|round| round.cold).median()),
            kind.reach_ns.map_or("-".to_owned(), |reach| Reach::AtMost(reach).verdict(both.median())),
        ]);
    }
    table.print();
}

fn measure(args: &Args, kind: &Kind) -> Result<Round, Failure> {
    let mut stage = Stage::open(args, kind)?;
    let mut round = Round::default();
    for count in groups(args.orders, args.group) {
        let group = (kind.group)(&mut stage, count)?;
        let lone = &mut stage.lone;
        lone.load(group);
        let cold = lone.cold();
        let mut more = true;
        while more {
            let start = thread_ns();
            lone.fetch();
            round.wants_ns += thread_ns() - start;
            let start = thread_ns();
            more = counted(&mut round.heap, || lone.turn());
            round.turn_ns += thread_ns() - start;
        }
        round.cold += lone.cold() - cold;
        lone.expect(kind.name, kind.fits)?;
        round.frame_bytes += lone.frame_bytes() as u64;
        round.commands += lone.replies().len() as u64;
        let start = thread_ns();
        lone.let_go();
        round.turn_ns += thread_ns() - start;
    }
    Ok(round)
}

fn pass(lone: &mut LoneShard, orders: Vec<Request>) {
    lone.load(orders);
    lone.batch();
}

/// Sizes of groups that make up `total`.
fn groups(total: usize, group: usize) -> impl Iterator<Item = usize> {
    (0..total).step_by(group.max(1)).map(move |at| group.min(total - at))
}
