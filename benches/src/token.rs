//! `token`: what it takes to know who calls.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use onrush_services::access::{Access, Gate, Keyring, Role};
use onrush_services::config::Tokens;
use tonic::metadata::MetadataMap;

use crate::Failure;
use crate::heap::{Allocations, counted};
use crate::machine;
use crate::reach::Reach;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::table::Table;

/// Checks of access tokens: the first of each, repeated ones, and altered ones
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Tokens in use at once
    #[arg(long, default_value_t = 1_000)]
    pub tokens: usize,
    /// Checks of each token per round
    #[arg(long, default_value_t = 200)]
    pub checks: usize,
    /// Rounds
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "{} EdDSA tokens in turn through one gate from one thread, from metadata to caller, {} checks of each per \
         round; {} rounds, a fresh gate each; medians over rounds",
        args.tokens, args.checks, args.rounds
    );
    machine::head("token: who calls", &method);
    let dir = args.scratch.fresh()?;
    let keyring = Arc::new(Keyring::open(dir.path(), &Tokens::default())?);
    let (mut good, mut altered) = (Vec::new(), Vec::new());
    for number in 0..args.tokens {
        let user = format!("00000000-0000-4000-8000-{number:012}");
        let token = keyring.issue(&user, "0123456789abcdef", Role::ALL.into_iter().collect())?;
        // In the claims: header and length stay, so nothing is refused before the signature is.
        let middle = token.find('.').unwrap_or_default() + 40;
        let bent = if token.as_bytes()[middle] == b'A' { "B" } else { "A" };
        altered.push(metadata(&format!("{}{bent}{}", &token[..middle], &token[middle + 1..]))?);
        good.push(metadata(&token)?);
    }
    let mut ns = [const { Vec::new() }; 3];
    let mut heap = [Allocations::default(); 3];
    for _ in 0..args.rounds {
        let gate = Gate::new(keyring.clone(), Access::Required)?;
        for (row, tokens, checks, believed) in
            [(0, &good, 1, true), (1, &good, args.checks, true), (2, &altered, 1, false)]
        {
            ns[row].push(counted(&mut heap[row], || check(&gate, tokens, checks, believed))?);
        }
    }
    let mut table = Table::new(["check", "ns", "rounds", "allocations"]);
    let names = ["first of a token", "again", "altered"];
    let counts = [1, args.checks, 1].map(|checks| (args.tokens * checks * args.rounds) as f64);
    for (row, name) in names.into_iter().enumerate() {
        let samples: Samples = ns[row].iter().copied().collect();
        let allocations = format!("{:.3}", heap[row].calls as f64 / counts[row]);
        table.row([name.to_owned(), format!("{:.0}", samples.median()), samples.range(), allocations]);
    }
    table.print();
    let again: Samples = ns[1].iter().copied().collect();
    println!("\nagain, ns         {}", Reach::AtMost(2_000.0).verdict(again.median()));
    Ok(())
}

fn metadata(token: &str) -> Result<MetadataMap, Failure> {
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", format!("Bearer {token}").parse()?);
    Ok(metadata)
}

/// Checks all tokens `checks` times; ns per check.
fn check(gate: &Gate, tokens: &[MetadataMap], checks: usize, believed: bool) -> Result<f64, Failure> {
    let start = Instant::now();
    for _ in 0..checks {
        for metadata in tokens {
            let caller = black_box(gate.caller(black_box(metadata.as_ref())));
            if caller.is_ok() != believed {
                return Err(Failure::unexpected("a token as it was made", caller));
            }
        }
    }
    Ok(start.elapsed().as_nanos() as f64 / (checks * tokens.len().max(1)) as f64)
}
