//! `onrush-bench`: measures the parts that a claim in docs/benchmarks.md names.

#![allow(clippy::print_stderr, reason = "a bench says why it could not measure")]

use std::process::ExitCode;

use clap::Parser;
use onrush_benches::heap::Counting;
use onrush_benches::{
    Failure, counts, fsync, group, idle, logins, newcomer, outage, recommend, replay, shard, store,
    subscribe, token, unary,
};

#[global_allocator]
static HEAP: Counting = Counting;

/// Measures the engine part by part; each subcommand prints machine, method and medians
#[derive(Debug, Parser)]
#[command(name = "onrush-bench", version)]
enum Bench {
    Shard(shard::Args),
    Idle(idle::Args),
    Replay(replay::Args),
    Unary(unary::Args),
    Fsync(fsync::Args),
    Group(group::Args),
    Store(store::Args),
    Subscribe(subscribe::Args),
    Token(token::Args),
    Newcomer(newcomer::Args),
    Logins(logins::Args),
    Outage(outage::Args),
    Recommend(recommend::Args),
    Counts(counts::Args),
}

fn main() -> ExitCode {
    let measured: Result<(), Failure> = match Bench::parse() {
        Bench::Shard(args) => shard::run(&args),
        Bench::Idle(args) => idle::run(&args),
        Bench::Replay(args) => replay::run(&args),
        Bench::Unary(args) => unary::run(&args),
        Bench::Fsync(args) => fsync::run(&args),
        Bench::Group(args) => group::run(&args),
        Bench::Store(args) => store::run(&args),
        Bench::Subscribe(args) => subscribe::run(&args),
        Bench::Token(args) => token::run(&args),
        Bench::Newcomer(args) => newcomer::run(&args),
        Bench::Logins(args) => logins::run(&args),
        Bench::Outage(args) => outage::run(&args),
        Bench::Recommend(args) => recommend::run(&args),
        Bench::Counts(args) => counts::run(&args),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("onrush-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
