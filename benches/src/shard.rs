//! `shard`: CPU and heap allocations of one command in a shard, without host, disk and store.

use clap::Parser;
use onrush_proto::{Outcome, Refusal, Request};

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
    /// Only this kind, for profiles
    #[arg(long)]
    pub only: Option<String>,
}

/// One kind of command.
struct Kind {
    name: &'static str,
    sale: fn(&Args) -> Sale,
    /// What is measured, from the next order.
    ask: fn(Request) -> Request,
    /// True if the order is accepted first, unmeasured.
    again: bool,
    fits: fn(&Outcome) -> bool,
    reach_ns: f64,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "accepted-hot",
        sale: |_| Sale::hot(),
        ask: |order| order,
        again: false,
        fits: |outcome| matches!(outcome, Outcome::Accepted(_)),
        reach_ns: 1_000.0,
    },
    Kind {
        name: "accepted-uniform",
        sale: |args| Sale::uniform(args.skus),
        ask: |order| order,
        again: false,
        fits: |outcome| matches!(outcome, Outcome::Accepted(_)),
        reach_ns: 1_000.0,
    },
    Kind {
        name: "sold-out",
        sale: |_| Sale::sold_out(),
        ask: |order| order,
        again: false,
        fits: |outcome| matches!(outcome, Outcome::Refused(Refusal::OutOfStock { .. })),
        reach_ns: 150.0,
    },
    Kind {
        name: "replay-same-body",
        sale: |_| Sale::hot(),
        ask: |order| order,
        again: true,
        fits: |outcome| matches!(outcome, Outcome::Accepted(_)),
        reach_ns: 150.0,
    },
    Kind {
        name: "replay-other-body",
        sale: |_| Sale::hot(),
        ask: |order| tampered(&order),
        again: true,
        fits: |outcome| matches!(outcome, Outcome::Refused(Refusal::KeyReused)),
        reach_ns: 150.0,
    },
];

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
        "thread CPU time around Shard::turn and the release of its effects, groups of {}, {} commands of \
         each kind in each of {} rounds after {} orders that came and expired; one-line orders with key, customer limit \
         and hold; no host, disk or store",
        args.group, args.orders, args.rounds, args.warm
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
        "turn ns",
        "rounds",
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
        let turn = per(|round| round.turn_ns);
        table.row([
            kind.name.to_owned(),
            format!("{:.0}", turn.median()),
            turn.range(),
            format!("{:.0}", per(|round| round.wants_ns).median()),
            format!("{:.0}", per(|round| round.frame_bytes).median()),
            format!("{:.5}", per(|round| round.heap.calls).median()),
            format!("{:.1}", per(|round| round.heap.bytes).median()),
            format!("{:.5}", per(|round| round.cold).median()),
            Reach::AtMost(kind.reach_ns).verdict(turn.median()),
        ]);
    }
    table.print();
}

fn measure(args: &Args, kind: &Kind) -> Result<Round, Failure> {
    let mut sale = (kind.sale)(args);
    let mut lone = LoneShard::open(&sale)?;
    let mut round = Round::default();
    for orders in groups(args.warm, args.group) {
        pass(&mut lone, sale.orders(orders));
        lone.let_go();
    }
    lone.expire();
    for orders in groups(args.orders, args.group) {
        let mut group = sale.orders(orders);
        if kind.again {
            pass(&mut lone, group.clone());
            lone.let_go();
        }
        group = group.into_iter().map(kind.ask).collect();
        lone.load(group);
        let cold = lone.cold();
        let start = thread_ns();
        lone.fetch();
        round.wants_ns += thread_ns() - start;
        round.cold += lone.cold() - cold;
        let start = thread_ns();
        counted(&mut round.heap, || lone.turn());
        round.turn_ns += thread_ns() - start;
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
    lone.fetch();
    lone.turn();
}

/// Sizes of groups that make up `total`.
fn groups(total: usize, group: usize) -> impl Iterator<Item = usize> {
    (0..total).step_by(group.max(1)).map(move |at| group.min(total - at))
}
