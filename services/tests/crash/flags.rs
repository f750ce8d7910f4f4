//! What the crash test is told on the command line: `cargo test -p onrush-services --test crash -- --cycles 200`.

use clap::Parser;

/// Cycles unless told: without optimisation each takes several times as long.
const CYCLES: u64 = if cfg!(debug_assertions) { 4 } else { 20 };
/// What the test is called by who lists or filters tests.
const NAME: &str = "what_was_acknowledged_survives_kills_under_load";

/// Kills a real server under load again and again, and compares what it has with what it told its buyers
#[derive(Clone, Debug, Parser)]
#[command(name = "crash", no_binary_name = false)]
pub(crate) struct Flags {
    /// Kills in all
    #[arg(long, default_value_t = CYCLES)]
    pub(crate) cycles: u64,
    /// Shards; not told, one half of the cycles has 1 and the other 4
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: Option<u16>,
    /// Decides what is asked and when the server is killed; not told, another one each time
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// What `cargo test` passes on to every test binary; a name that is not this test's passes it over
    #[command(flatten)]
    harness: Harness,
}

/// Arguments of the standard test harness that make sense here, so that `cargo test NAME` and tools that
/// list tests find what they know.
#[derive(Clone, Debug, clap::Args)]
struct Harness {
    #[arg(hide = true)]
    filters: Vec<String>,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, hide = true)]
    skip: Vec<String>,
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    ignored: bool,
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    no_capture: bool,
    #[arg(long, short, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(long, hide = true)]
    test_threads: Option<usize>,
}

impl Flags {
    /// True if the test is to run; a list is printed here.
    pub(crate) fn runs(&self) -> bool {
        let Harness { filters, exact, skip, list, ignored, .. } = &self.harness;
        let names = |filter: &String| if *exact { filter == NAME } else { NAME.contains(filter.as_str()) };
        let chosen = (filters.is_empty() || filters.iter().any(names)) && !skip.iter().any(names) && !ignored;
        if *list && chosen {
            println!("{NAME}: test");
        }
        chosen && !list
    }
}
