//! What the command line asks for.

use crate::failed::FAILED;
use crate::faults::{Fault, FaultSet};
use crate::planted::{BANK, Bug, Planted};

/// What every seed of a call shares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunOptions {
    /// Number of nodes. Several are a cluster.
    pub nodes: usize,
    /// Number of shards; drawn from the seed if not given.
    pub shards: Option<u16>,
    /// Events of the load phase.
    pub events: u64,
    /// Most customers; drawn from the seed if not given.
    pub clients: Option<usize>,
    /// Most SKUs; drawn from the seed if not given.
    pub skus: Option<usize>,
    /// Faults in 10,000 events; drawn from the seed if not given: a fifth of the seeds has none.
    pub faults: Option<u64>,
    /// Kinds of fault that are drawn and then left out.
    pub without: FaultSet,
    /// A bug to run with.
    pub planted: Option<Planted>,
    /// Tells every event.
    pub verbose: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            shards: None,
            events: 6_000,
            clients: None,
            skus: None,
            faults: None,
            without: FaultSet::default(),
            planted: None,
            verbose: false,
        }
    }
}

impl RunOptions {
    /// The command that runs `seed` with these options.
    pub fn command(&self, seed: u64) -> String {
        let mut line = format!("cargo run --release -p onrush-sim -- --seed {seed}");
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                line.push_str(&format!(" --{name} {value}"));
            }
        };
        let says_nodes = self.nodes > 1 || self.planted.is_some();
        add("nodes", says_nodes.then(|| self.nodes.to_string()));
        add("shards", self.shards.map(|shards| shards.to_string()));
        add("events", Some(self.events.to_string()));
        add("clients", self.clients.map(|clients| clients.to_string()));
        add("skus", self.skus.map(|skus| skus.to_string()));
        add("faults", self.faults.map(|faults| faults.to_string()));
        let without: Vec<String> = self.without.iter().map(Fault::name).collect();
        add("without", (!without.is_empty()).then(|| without.join(",")));
        add("planted", self.planted.map(|bug| format!("{:02}", bug.number())));
        line
    }
}

/// How the bug bank is looked through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bank {
    /// Each bug by the first seed that finds it.
    All,
    /// Each bug by the seed that is known for it, and by a search where that misses.
    Known,
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
    /// Threads that run seeds, each its own.
    pub jobs: usize,
    /// Makes each failure as small as it gets.
    pub shrink: bool,
    /// Looks for the bugs of the bank instead.
    pub bank: Option<Bank>,
    /// Runs the seeds that failed once instead, with the options that they had.
    pub failed: bool,
    /// What the seeds share.
    pub run: RunOptions,
}

/// The options, in the words of the command line.
pub const USAGE: &str = "onrush-sim [--seeds N] [--first S] [--seed S] [--events E] [--nodes N] [--shards N] \
                         [--clients N] [--skus N] [--faults N] [--without FAULT,...] [--planted NN|all|known] \
                         [--failed] [--failures N] [--jobs N] [--shrink] [--verbose]";

impl Call {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let run = RunOptions::default();
        let mut call =
            Self { first: 1, seeds: 100, failures: 20, jobs, shrink: false, bank: None, failed: false, run };
        let mut pairs = Vec::new();
        while let Some(name) = args.next() {
            match name.as_str() {
                "--verbose" => (call.run.verbose, call.jobs) = (true, 1),
                "--shrink" => call.shrink = true,
                "--failed" => call.failed = true,
                _ => {
                    let value =
                        args.next().ok_or_else(|| format!("expected a value behind {name}; {USAGE}"))?;
                    pairs.push((name, value));
                }
            }
        }
        // A bug says how many nodes it takes; whoever names another number means it.
        pairs.sort_by_key(|(name, _)| name != "--planted");
        pairs.iter().try_for_each(|(name, value)| call.set(name, value))?;
        Ok(call)
    }

    /// The runs that are asked for, each with its seed.
    pub fn runs(&self) -> Box<dyn Iterator<Item = (RunOptions, u64)> + '_> {
        if self.failed {
            return Box::new(FAILED.iter().map(|failed| (failed.run(self.run), failed.seed)));
        }
        Box::new((self.first..self.first.saturating_add(self.seeds)).map(|seed| (self.run, seed)))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number =
            || value.parse::<u64>().map_err(|_| format!("{name}: expected a number, found {value:?}"));
        let count = || Ok::<_, String>(number()?.max(1) as usize);
        match name {
            "--seeds" => self.seeds = number()?,
            "--first" => self.first = number()?,
            "--seed" => (self.first, self.seeds) = (number()?, 1),
            "--failures" => self.failures = number()?.max(1),
            "--jobs" => self.jobs = count()?,
            "--events" => self.run.events = number()?,
            "--clients" => self.run.clients = Some(count()?),
            "--skus" => self.run.skus = Some(count()?),
            "--faults" => self.run.faults = Some(number()?),
            "--nodes" => {
                let nodes = number()? as usize;
                let sizes = [1, 3, 5, 7];
                self.run.nodes = *sizes
                    .iter()
                    .find(|size| **size == nodes)
                    .ok_or_else(|| format!("--nodes: expected 1, 3, 5 or 7, found {nodes}"))?;
            }
            "--shards" => {
                let shards = u16::try_from(number()?).ok().filter(|shards| (1..=64).contains(shards));
                self.run.shards = Some(shards.ok_or("--shards: expected 1 to 64")?);
            }
            "--without" => {
                for name in value.split(',') {
                    let known = || Fault::all().map(Fault::name).collect::<Vec<_>>().join(", ");
                    let fault = Fault::from_name(name)
                        .ok_or_else(|| format!("--without: expected some of {}, found {name}", known()))?;
                    self.run.without = self.run.without.with(fault);
                }
            }
            "--planted" => self.plant(value)?,
            _ => return Err(format!("expected an option, found {name}; {USAGE}")),
        }
        Ok(())
    }

    fn plant(&mut self, value: &str) -> Result<(), String> {
        let bank = match value {
            "all" => Some(Bank::All),
            "known" => Some(Bank::Known),
            _ => None,
        };
        let is_meant = |bug: &&Bug| bank.is_some() || value.parse() == Ok(bug.planted().number());
        let meant: Vec<&Bug> = BANK.iter().filter(is_meant).collect();
        let first = meant
            .first()
            .ok_or(format!("--planted: expected the number of a bug, all, or known, found {value}"))?;
        if let Some(bug) = meant.iter().find(|bug| !bug.is_there()) {
            let number = bug.planted().number();
            return Err(format!(
                "--planted: expected a build with --cfg planted for bug {number:02} of the product, \
                 found one without; engine/sim/planted.sh builds it"
            ));
        }
        match bank {
            Some(_) => self.bank = bank,
            None => self.run = first.run(self.run),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Call, String> {
        Call::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_of_a_run_leads_to_the_run() {
        let run = RunOptions {
            nodes: 3,
            shards: Some(4),
            events: 77,
            clients: Some(2),
            skus: Some(1),
            faults: Some(60),
            without: FaultSet::default().with(Fault::Kill).with(Fault::LostWrite),
            planted: Some(Planted::SKIP_WRITE),
            verbose: false,
        };
        let command = run.command(12);
        let (_, arguments) = command.split_once(" -- ").unwrap();
        let call = parse(arguments).unwrap();
        assert_eq!((call.first, call.seeds, call.run), (12, 1, run));
    }

    #[test]
    fn seeds_that_failed_run_with_the_options_that_they_had() {
        let call = parse("--failed --events 5 --verbose").unwrap();
        let runs: Vec<_> = call.runs().collect();
        assert_eq!(runs.len(), FAILED.len());
        for ((run, seed), failed) in runs.iter().zip(&FAILED) {
            assert_eq!((*seed, run.nodes, run.verbose), (failed.seed, 3, true));
            assert!(run.events >= 6_000 && run.shards.is_some(), "{run:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("--seeds many", "--seeds: expected a number, found \"many\""),
            ("--seeds", "expected a value behind --seeds"),
            ("--without kill,fire", "found fire"),
            ("--shards 65", "expected 1 to 64"),
            ("--sees 1", "expected an option, found --sees"),
            ("--planted 30", "expected the number of a bug, all, or known, found 30"),
        ] {
            let error = parse(line).expect_err("a wrong line");
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
