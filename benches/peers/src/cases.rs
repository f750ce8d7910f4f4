//! What is measured, and what is compared.

use onrush_benches::Failure;
use onrush_benches::reach::Reach;

use crate::limits::{self, EchoCase};
use crate::nats;
use crate::onrush::{self, Ask, Caller, GROUP, NativeCase, SessionCase};
use crate::postgres;
use crate::redis;
use crate::round::Round;
use crate::stage::Stage;

/// SKUs where not all want the same.
const SKUS: usize = 10_000;
/// Lines that are looked up by one request.
const LINES: usize = 64;

/// One row: who does what.
pub(crate) struct Case {
    /// Its name, for `--only`.
    pub(crate) name: &'static str,
    /// The row's first cell.
    pub(crate) what: &'static str,
    pub(crate) subject: Subject,
}

/// Whom it is measured on.
#[derive(Clone, Copy)]
pub(crate) enum Subject {
    Write,
    Echo(EchoCase),
    Bare,
    Redis(redis::Case),
    Postgres(postgres::Case),
    Nats(nats::Sync),
    Native(NativeCase),
    Quic(NativeCase),
    Session(SessionCase),
    Grpc(Caller),
    /// Orders of so many SKUs.
    Embedded(usize),
    Log,
}

impl Subject {
    /// Why it cannot be measured here; `None` if it can.
    pub(crate) fn lacks(self, stage: &Stage<'_>) -> Option<String> {
        let servers = stage.servers;
        let found = match self {
            Self::Redis(_) => servers.redis(),
            Self::Postgres(_) => servers.postgres(),
            Self::Nats(_) => servers.nats(),
            _ => return None,
        };
        match (self, found) {
            (_, Err(missing)) => Some(missing.to_string()),
            (Self::Nats(nats::Sync::Always), Ok(binary)) if !nats::syncs_always(binary) => {
                Some("this version has no such mode".into())
            }
            _ => None,
        }
    }

    pub(crate) fn measure(self, stage: &Stage<'_>) -> Result<Round, Failure> {
        match self {
            Self::Write => limits::write(stage),
            Self::Echo(case) => limits::echo(case, stage),
            Self::Bare => limits::bare(stage),
            Self::Redis(case) => redis::measure(case, stage),
            Self::Postgres(case) => postgres::measure(case, stage),
            Self::Nats(sync) => nats::measure(sync, stage),
            Self::Native(case) => onrush::native(case, stage),
            Self::Quic(case) => onrush::quic(case, stage),
            Self::Session(case) => onrush::session(case, stage),
            Self::Grpc(caller) => onrush::grpc(caller, stage),
            Self::Embedded(skus) => onrush::embedded(skus, stage),
            Self::Log => onrush::log(stage),
        }
    }
}

/// Requests under way, as every row has them whose requests are pipelined.
const PIPELINED: (usize, usize) = (64, 64);
/// The same where each is a message of so many orders.
const MESSAGES: (usize, usize, usize) = (64, 8, 4);
/// Requests under way where each connection waits for its answer.
const ONE_EACH: (usize, usize) = (50, 1);

const fn echo((connections, in_flight): (usize, usize)) -> Subject {
    Subject::Echo(EchoCase { connections, in_flight })
}

const fn redis(sync: redis::Sync, orders: usize, (connections, in_flight): (usize, usize)) -> Subject {
    let ask = redis::Ask::Orders(orders);
    Subject::Redis(redis::Case { sync, ask, skus: 1, connections, in_flight })
}

const fn stock(skus: usize, (connections, in_flight): (usize, usize)) -> Subject {
    let ask = redis::Ask::Stock(skus);
    Subject::Redis(redis::Case { sync: redis::Sync::Off, ask, skus: SKUS, connections, in_flight })
}

const fn native(ask: Ask, skus: usize, (connections, in_flight): (usize, usize)) -> Subject {
    Subject::Native(NativeCase { ask, skus, connections, in_flight })
}

const fn case(name: &'static str, what: &'static str, subject: Subject) -> Case {
    Case { name, what, subject }
}

use redis::Sync::{Always, EverySecond};

/// Every case, in the order in which they alternate.
pub(crate) const CASES: [Case; 33] = [
    case("limit-write", "durable write of 4 KiB, one after the other", Subject::Write),
    case("limit-roundtrip", "echo of 64 B over TCP, one connection, one in flight", echo((1, 1))),
    case("limit-echo-one", "echo of 64 B over TCP, 50 connections, one in flight each", echo(ONE_EACH)),
    case("limit-echo-pipelined", "echo of 64 B over TCP, 64 connections, 64 in flight each", echo(PIPELINED)),
    case("limit-grpc", "bare tonic unary call with CreateOrder's messages, 8 x 32 in flight", Subject::Bare),
    case("onrush-embedded", "Onrush embedded, groups of 8,192, one hot SKU", Subject::Embedded(1)),
    case(
        "onrush-tcp-batch",
        "Onrush TCP, batches of 8,192, two in flight, one hot SKU",
        native(Ask::Orders(GROUP), 1, (1, 2)),
    ),
    case(
        "onrush-tcp-batch-10k",
        "Onrush TCP, batches of 8,192, two in flight, 10,000 SKUs",
        native(Ask::Orders(GROUP), SKUS, (1, 2)),
    ),
    case(
        "onrush-quic-batch",
        "Onrush QUIC, batches of 8,192 on one stream, two in flight, one hot SKU",
        Subject::Quic(NativeCase { ask: Ask::Orders(GROUP), skus: 1, connections: 1, in_flight: 2 }),
    ),
    case(
        "onrush-tcp-64",
        "Onrush TCP, 64 orders per frame, 8 x 4 in flight, one hot SKU",
        native(Ask::Orders(MESSAGES.0), 1, (MESSAGES.1, MESSAGES.2)),
    ),
    case(
        "onrush-session",
        "Onrush gRPC session, 64 orders per message, 8 x 4 in flight, one hot SKU",
        Subject::Session(SessionCase { orders: MESSAGES.0, connections: MESSAGES.1, in_flight: MESSAGES.2 }),
    ),
    case(
        "onrush-tcp-100",
        "Onrush TCP, 100 orders per frame, 16 x 4 in flight, one hot SKU",
        native(Ask::Orders(100), 1, (16, 4)),
    ),
    case(
        "onrush-tcp-pipelined",
        "Onrush TCP, orders pipelined as its client does, 64 x 64 in flight, one hot SKU",
        native(Ask::Order, 1, PIPELINED),
    ),
    case(
        "onrush-tcp-frames",
        "Onrush TCP, orders pipelined, each in a frame of its own, 64 x 64 in flight, one hot SKU",
        native(Ask::Orders(1), 1, PIPELINED),
    ),
    case(
        "onrush-tcp-one",
        "Onrush TCP, 50 connections, one order in flight each, one hot SKU",
        native(Ask::Order, 1, ONE_EACH),
    ),
    case("onrush-tcp-lone", "Onrush TCP, one connection, one order in flight", native(Ask::Order, 1, (1, 1))),
    case("onrush-grpc", "Onrush gRPC, unary CreateOrder, 8 x 32 in flight", Subject::Grpc(Caller::Open)),
    case(
        "onrush-grpc-token",
        "Onrush gRPC, unary CreateOrder with a token, 8 x 32 in flight",
        Subject::Grpc(Caller::Token),
    ),
    case(
        "redis-always-one",
        "Redis, order by script, fsync always, 50 connections, one in flight each",
        redis(Always, 1, ONE_EACH),
    ),
    case(
        "redis-always-pipelined",
        "Redis, order by script, fsync always, pipelined, 64 x 64 in flight",
        redis(Always, 1, PIPELINED),
    ),
    case(
        "redis-always-script",
        "Redis, 100 orders per script, fsync always, 16 x 4 in flight",
        redis(Always, 100, (16, 4)),
    ),
    case(
        "redis-everysec-one",
        "Redis, order by script, fsync every second (not durable), 50 connections, one in flight each",
        redis(EverySecond, 1, ONE_EACH),
    ),
    case(
        "redis-everysec-pipelined",
        "Redis, order by script, fsync every second (not durable), pipelined, 64 x 64 in flight",
        redis(EverySecond, 1, PIPELINED),
    ),
    case(
        "redis-everysec-script",
        "Redis, 100 orders per script, fsync every second (not durable), 16 x 4 in flight",
        redis(EverySecond, 100, (16, 4)),
    ),
    case(
        "postgres-hot",
        "PostgreSQL, function call per order, 64 connections, one hot SKU",
        Subject::Postgres(postgres::Case { skus: 1, orders: 1 }),
    ),
    case(
        "postgres-10k",
        "PostgreSQL, function call per order, 64 connections, 10,000 SKUs",
        Subject::Postgres(postgres::Case { skus: SKUS, orders: 1 }),
    ),
    case(
        "postgres-100",
        "PostgreSQL, 100 orders per transaction, 64 connections, one hot SKU",
        Subject::Postgres(postgres::Case { skus: 1, orders: 100 }),
    ),
    case(
        "onrush-validate",
        "Onrush TCP, ValidateProducts, 64 lines per frame, 8 x 16 in flight, 10,000 SKUs",
        native(Ask::Lines(LINES), SKUS, (8, 16)),
    ),
    case(
        "redis-get",
        "Redis, GET of a SKU's stock, pipelined, 16 x 128 in flight, 10,000 SKUs",
        stock(1, (16, 128)),
    ),
    case("redis-mget", "Redis, MGET of 64 SKUs' stock, 8 x 16 in flight, 10,000 SKUs", stock(LINES, (8, 16))),
    case(
        "onrush-log",
        "Onrush log, embedded, 128 B, frames of 4,000, durable, read back by a subscriber",
        Subject::Log,
    ),
    case(
        "nats-later",
        "NATS JetStream, 128 B, file storage, not synced per acknowledgement, read back by a subscriber",
        Subject::Nats(nats::Sync::Later),
    ),
    case(
        "nats-always",
        "NATS JetStream, 128 B, file storage, synced before the acknowledgement, read back by a subscriber",
        Subject::Nats(nats::Sync::Always),
    ),
];

/// The case of a name.
pub(crate) fn position(name: &str) -> Option<usize> {
    CASES.iter().position(|case| case.name == name)
}

/// What is looked at.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    /// Units per second of a case.
    Rate(&'static str),
    /// Those of the first over those of the second.
    Ratio(&'static str, &'static str),
    /// Median latency of a case in ms.
    Ms(&'static str),
    /// Median latency of the first over the sum of the others'.
    Limit(&'static str, [&'static str; 2]),
    /// CPU time of the server per unit in us.
    Cpu(&'static str),
}

/// A figure and what it is to reach, if anything.
pub(crate) struct Claim {
    pub(crate) what: &'static str,
    pub(crate) figure: Figure,
    pub(crate) reach: Option<Reach>,
}

const fn claim(what: &'static str, figure: Figure, reach: Option<Reach>) -> Claim {
    Claim { what, figure, reach }
}

const fn at_least(bound: f64) -> Option<Reach> {
    Some(Reach::AtLeast(bound))
}

const fn at_most(bound: f64) -> Option<Reach> {
    Some(Reach::AtMost(bound))
}

use Figure::{Cpu, Limit, Ms, Rate, Ratio};

/// What the cases are measured for.
pub(crate) const CLAIMS: [Claim; 27] = [
    claim("embedded, groups of 8,192, orders/s", Rate("onrush-embedded"), at_least(1.5e6)),
    claim("TCP, batches of 8,192, orders/s", Rate("onrush-tcp-batch"), at_least(1e6)),
    claim("p50 of such a batch in ms", Ms("onrush-tcp-batch"), at_most(10.0)),
    claim("server CPU per order in such batches in us", Cpu("onrush-tcp-batch"), at_most(1.5)),
    claim("server CPU per order in Redis' scripts of 100 in us", Cpu("redis-always-script"), None),
    claim("TCP pipelined, orders/s", Rate("onrush-tcp-pipelined"), at_least(3e5)),
    claim("the same against Redis always", Ratio("onrush-tcp-pipelined", "redis-always-pipelined"), None),
    claim(
        "a frame per order against Redis always",
        Ratio("onrush-tcp-frames", "redis-always-pipelined"),
        None,
    ),
    claim(
        "100 orders per request against Redis always",
        Ratio("onrush-tcp-100", "redis-always-script"),
        None,
    ),
    claim(
        "one in flight per connection against Redis always",
        Ratio("onrush-tcp-one", "redis-always-one"),
        at_least(2.0),
    ),
    claim("the same against an echo", Ratio("onrush-tcp-one", "limit-echo-one"), None),
    claim(
        "lone order, p50 against a durable write and a round trip",
        Limit("onrush-tcp-lone", ["limit-write", "limit-roundtrip"]),
        at_most(1.5),
    ),
    claim("gRPC unary against bare tonic", Ratio("onrush-grpc", "limit-grpc"), at_least(0.65)),
    claim("with a token against bare tonic", Ratio("onrush-grpc-token", "limit-grpc"), at_least(0.5)),
    claim("QUIC batches against TCP batches", Ratio("onrush-quic-batch", "onrush-tcp-batch"), at_least(0.33)),
    claim(
        "gRPC session against TCP, 64 orders per message",
        Ratio("onrush-session", "onrush-tcp-64"),
        at_least(0.7),
    ),
    claim(
        "TCP batches against PostgreSQL, hot SKU",
        Ratio("onrush-tcp-batch", "postgres-hot"),
        at_least(100.0),
    ),
    claim(
        "TCP batches against PostgreSQL, 10,000 SKUs",
        Ratio("onrush-tcp-batch-10k", "postgres-10k"),
        at_least(40.0),
    ),
    claim(
        "TCP batches against PostgreSQL, 100 per transaction",
        Ratio("onrush-tcp-batch", "postgres-100"),
        at_least(5.0),
    ),
    claim("TCP pipelined against PostgreSQL, hot SKU", Ratio("onrush-tcp-pipelined", "postgres-hot"), None),
    claim("one in flight against PostgreSQL, hot SKU", Ratio("onrush-tcp-one", "postgres-hot"), None),
    claim("ValidateProducts, lines/s", Rate("onrush-validate"), at_least(1e7)),
    claim("the same against Redis GET", Ratio("onrush-validate", "redis-get"), None),
    claim("the same against Redis MGET", Ratio("onrush-validate", "redis-mget"), None),
    claim("durable log against JetStream as it comes", Ratio("onrush-log", "nats-later"), at_least(3.0)),
    claim("durable log against JetStream synced", Ratio("onrush-log", "nats-always"), None),
    claim("hot SKU against 10,000 SKUs", Ratio("onrush-tcp-batch", "onrush-tcp-batch-10k"), None),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn claims_are_about_cases_that_there_are() {
        let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len(), "names are unique");
        for claim in &CLAIMS {
            let named = match claim.figure {
                Rate(name) | Ms(name) | Cpu(name) => vec![name],
                Ratio(ours, theirs) => vec![ours, theirs],
                Limit(ours, [one, other]) => vec![ours, one, other],
            };
            assert!(named.iter().all(|name| names.contains(name)), "{}: {named:?}", claim.what);
        }
    }
}
