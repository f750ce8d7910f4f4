//! Counts what one front of the native protocol is asked. Only its thread writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_proto::Outcome;
use onrush_proto::frame::{Answer, Operation};

use super::Metrics;
use super::family::{Family, Labels};

/// What a front serves the native protocol over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    /// TCP, with TLS or without.
    Tcp,
    /// QUIC.
    Quic,
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// It was done, or what was asked for was told.
    Accepted,
    /// The engine refused it.
    Refused,
    /// The edge did.
    Rejected,
}

impl Ending {
    const ALL: [Self; 3] = [Self::Accepted, Self::Refused, Self::Rejected];

    fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Rejected(_) => Self::Rejected,
            Answer::Reply(reply) if matches!(reply.outcome, Outcome::Refused(_)) => Self::Refused,
            Answer::Reply(_) => Self::Accepted,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
        }
    }
}

/// What a front counted.
#[derive(Default)]
pub(crate) struct Commands {
    connections: AtomicU64,
    lines: AtomicU64,
    products: AtomicU64,
    /// By operation and ending, in the order of their numbers.
    endings: [[AtomicU64; Ending::ALL.len()]; Operation::ALL.len()],
}

/// One thread writes, so that there is nothing to lock.
fn add(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

impl Commands {
    /// A caller's connection began.
    pub(crate) fn opened(&self) {
        add(&self.connections, 1);
    }

    /// It ended.
    pub(crate) fn closed(&self) {
        add(&self.connections, u64::MAX);
    }

    /// Lines were looked up.
    pub(crate) fn judged(&self, lines: usize) {
        add(&self.lines, lines as u64);
    }

    /// Products were told.
    pub(crate) fn told(&self, products: usize) {
        add(&self.products, products as u64);
    }

    /// A command was answered.
    pub(crate) fn answered(&self, operation: Operation, answer: &Answer) {
        add(&self.endings[operation as usize - 1][Ending::of(answer) as usize], 1);
    }
}

/// The name of the call that an operation is, as a label has it.
fn label(operation: Operation) -> String {
    format!("{operation:?}")
}

/// The names and words of a transport's families.
struct Words {
    commands: &'static str,
    commands_help: &'static str,
    lines: &'static str,
    lines_help: &'static str,
    products: &'static str,
    products_help: &'static str,
    connections: &'static str,
    connections_help: &'static str,
}

const TCP: Words = Words {
    commands: "native_commands",
    commands_help: "Commands of the native protocol answered, by operation and outcome",
    lines: "native_validated_lines",
    lines_help: "Lines of the native protocol that were looked up",
    products: "native_products",
    products_help: "Products of the native protocol that were looked up",
    connections: "native_connections",
    connections_help: "Connections of the native protocol whose caller is known",
};

const QUIC: Words = Words {
    commands: "native_quic_commands",
    commands_help: "Commands of the native protocol over QUIC answered, by operation and outcome",
    lines: "native_quic_validated_lines",
    lines_help: "Lines of the native protocol over QUIC that were looked up",
    products: "native_quic_products",
    products_help: "Products of the native protocol over QUIC that were looked up",
    connections: "native_quic_connections",
    connections_help: "Connections of the native protocol over QUIC whose caller is known",
};

/// Commands by operation and ending, connections and lines, over all fronts of a transport; nothing where the protocol
/// is not served.
pub(crate) fn families(metrics: &Metrics) -> Vec<Family> {
    let mut families = of(&metrics.commands(Transport::Tcp), &TCP);
    families.extend(of(&metrics.commands(Transport::Quic), &QUIC));
    families
}

fn of(fronts: &[Arc<Commands>], words: &Words) -> Vec<Family> {
    if fronts.is_empty() {
        return Vec::new();
    }
    let sum = |cell: &dyn Fn(&Commands) -> &AtomicU64| -> u64 {
        fronts.iter().map(|front| cell(front).load(Ordering::Relaxed)).sum()
    };
    let mut counts: Vec<(Labels, u64)> = Vec::new();
    for operation in Operation::ALL {
        for ending in Ending::ALL {
            let count = sum(&|front| &front.endings[operation as usize - 1][ending as usize]);
            if count > 0 {
                let labels = vec![("operation", label(operation)), ("outcome", ending.name().into())];
                counts.push((labels, count));
            }
        }
    }
    let connections = sum(&|front| &front.connections) as f64;
    let lines = sum(&|front| &front.lines);
    let products = sum(&|front| &front.products);
    vec![
        Family::counters(words.commands, words.commands_help, counts),
        Family::counters(words.lines, words.lines_help, vec![(Vec::new(), lines)]),
        Family::counters(words.products, words.products_help, vec![(Vec::new(), products)]),
        Family::gauges(words.connections, words.connections_help, vec![(Vec::new(), connections)]),
    ]
}
