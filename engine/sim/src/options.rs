//! What the command line asks for.

use crate::planted::Planted;

/// What every seed of a call shares.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Number of shards; drawn from the seed if not given.
    pub shards: Option<u16>,
    /// Events of the load phase.
    pub events: u64,
    /// A bug of the host to run with.
    pub planted: Option<Planted>,
    /// Tells every event.
    pub verbose: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { shards: None, events: 3_000, planted: None, verbose: false }
    }
}

/// Which seeds run.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// Failures after which it is enough.
    pub failures: u64,
    /// Runs every bug of the host in turn.
    pub planted_all: bool,
    /// What the seeds share.
    pub run: RunOptions,
}

/// The options, in the words of the command line.
pub const USAGE: &str = "onrush-sim [--seeds N] [--first S] [--seed S] [--events E] [--shards N] \
                         [--planted NN|all] [--failures N] [--verbose]";

impl Call {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut call =
            Self { first: 1, seeds: 100, failures: 20, planted_all: false, run: RunOptions::default() };
        while let Some(name) = args.next() {
            if name == "--verbose" {
                call.run.verbose = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("expected a value behind {name}; {USAGE}"))?;
            let number =
                || value.parse::<u64>().map_err(|_| format!("{name}: expected a number, found {value:?}"));
            match name.as_str() {
                "--seeds" => call.seeds = number()?,
                "--first" => call.first = number()?,
                "--seed" => (call.first, call.seeds) = (number()?, 1),
                "--failures" => call.failures = number()?.max(1),
                "--events" => call.run.events = number()?,
                "--shards" => {
                    let shards = u16::try_from(number()?).ok().filter(|shards| (1..=64).contains(shards));
                    call.run.shards = Some(shards.ok_or("--shards: expected 1 to 64")?);
                }
                "--planted" if value == "all" => call.planted_all = true,
                "--planted" => {
                    let bug = Planted::from_number(number()? as usize);
                    call.run.planted = Some(bug.ok_or("--planted: expected 01 to 07, or all")?);
                }
                _ => return Err(format!("expected an option, found {name}; {USAGE}")),
            }
        }
        Ok(call)
    }
}
