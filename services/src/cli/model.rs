//! `onrush model`: trains a model of recommendation on files, and evaluates one.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::thread::available_parallelism;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::Failure;
use crate::model::{Evaluate, ModelCommandError, Report, Score, Train, evaluate, score, train};

pub(super) fn command() -> Command {
    let file = |name: &'static str, help: &'static str| {
        let value = if name == "model" || name == "out" { "DIR" } else { "FILE" };
        Arg::new(name).long(name).value_name(value).value_parser(value_parser!(PathBuf)).help(help)
    };
    let time = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("UNIX_S").value_parser(value_parser!(i64)).help(help)
    };
    let train = Command::new("train").about("Learns a model of what was sold").args([
        file("products", "Catalogue (.csv or .csv.zst): id, price_cents; if wanted name, category, brand")
            .required(true),
        file("transactions", "Sales: basket, user, product, qty, ts (unix seconds); if wanted paid_cents")
            .required(true),
        file("out", "Directory of the model").required(true),
        time("until", "Learns of what was sold before that time only"),
        Arg::new("seed").long("seed").value_name("N").value_parser(value_parser!(u64)).default_value("1"),
        Arg::new("threads")
            .long("threads")
            .value_name("N")
            .value_parser(value_parser!(u16).range(1..=256))
            .help("Threads that learn factors [default: one for each core]"),
    ]);
    let evaluate = Command::new("evaluate").about("Says how well a model foretells").args([
        file("model", "Directory of the model").required(true),
        file("history", "Sales that are known when it foretells").required(true),
        file("test", "Sales that it is to foretell").required(true),
        time("split", "Of the history counts what is before that time, of the test what is not"),
        file("onnx", "Ranks next baskets by the network of that file in place of the model's own"),
        file("json", "Writes the figures there, too"),
    ]);
    let score = Command::new("score").hide(true).about("Scores rows of features, as JSON").args([
        file("onnx", "The network").required(true),
        file("model", "Directory of a model whose own network scores, too").required(true),
        file("rows", "Rows of 32 floats of 32 bits, little-endian").required(true),
        Arg::new("rounds")
            .long("rounds")
            .value_name("N")
            .value_parser(value_parser!(u32))
            .help("How often each scores them, in turns; the time is the median [default: 1]"),
    ]);
    Command::new("model")
        .about("Trains and evaluates models of recommendation on files")
        .subcommand_required(true)
        .subcommand(train)
        .subcommand(evaluate)
        .subcommand(score)
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    match matches.subcommand() {
        Some(("train", matches)) => run_train(matches),
        Some(("score", matches)) => run_score(matches),
        Some((_, matches)) => run_evaluate(matches),
        None => Ok(()),
    }
}

fn path(matches: &ArgMatches, name: &str) -> PathBuf {
    matches.get_one::<PathBuf>(name).cloned().unwrap_or_default()
}

fn run_train(matches: &ArgMatches) -> Result<(), Failure> {
    let cores = available_parallelism().map_or(1, usize::from);
    let command = Train {
        products: path(matches, "products"),
        transactions: path(matches, "transactions"),
        until_s: matches.get_one("until").copied(),
        out: path(matches, "out"),
        seed: matches.get_one("seed").copied().unwrap_or(1),
        threads: matches.get_one::<u16>("threads").map_or(cores, |threads| usize::from(*threads)),
    };
    let shows = io::stderr().is_terminal();
    let told = |done: f32| {
        if shows {
            let _ = write!(io::stderr(), "\rlearning: {:3.0} %", done * 100.0);
        }
    };
    let origin = train(&command, &told);
    if shows {
        let _ = writeln!(io::stderr());
    }
    let origin = origin.map_err(Failure::world)?;
    let (baskets, cpu_s, out) = (origin.baskets, origin.cpu_s, command.out.display());
    say(&format!("learned of {baskets} baskets in {cpu_s:.1} s of CPU time; the model is in {out}\n"))
}

fn run_evaluate(matches: &ArgMatches) -> Result<(), Failure> {
    let command = Evaluate {
        model: path(matches, "model"),
        history: path(matches, "history"),
        test: path(matches, "test"),
        split_s: matches.get_one("split").copied(),
        onnx: matches.get_one("onnx").cloned(),
    };
    let report = evaluate(&command).map_err(Failure::world)?;
    if let Some(file) = matches.get_one::<PathBuf>("json") {
        let mut text = serde_json::to_string_pretty(&report).map_err(Failure::world)?;
        text.push('\n');
        let failed = |source| Failure::world(ModelCommandError::Report { file: file.clone(), source });
        fs::write(file, text).map_err(failed)?;
    }
    say(&table(&report))
}

fn run_score(matches: &ArgMatches) -> Result<(), Failure> {
    let command = Score {
        onnx: path(matches, "onnx"),
        model: path(matches, "model"),
        rows: path(matches, "rows"),
        rounds: matches.get_one::<u32>("rounds").map_or(1, |rounds| *rounds as usize),
    };
    let scored = score(&command).map_err(Failure::world)?;
    say(&format!("{}\n", serde_json::to_string(&scored).map_err(Failure::world)?))
}

fn table(report: &Report) -> String {
    let Report { next_basket, discovery, train_cpu_s, baselines } = report;
    let of = [
        ("next basket", Some(next_basket)),
        ("  history, half after 90 days", baselines.history90.next_basket.as_ref()),
        ("  popularity of 28 days", baselines.popularity28.next_basket.as_ref()),
        ("discovery", Some(discovery)),
        ("  popularity of 28 days", baselines.popularity28.discovery.as_ref()),
    ];
    let mut text = format!(
        "{:<32}{:>9}{:>11}{:>11}{:>13}{:>8}\n",
        "", "NDCG@10", "Recall@10", "Recall@20", "coverage@10", "users"
    );
    for (name, row) in of.into_iter().filter_map(|(name, row)| Some((name, row?))) {
        let _ = writeln!(
            text,
            "{name:<32}{:>9.4}{:>11.4}{:>11.4}{:>13.4}{:>8}",
            row.ndcg10, row.recall10, row.recall20, row.coverage10, row.users
        );
    }
    let _ = writeln!(text, "training took {train_cpu_s:.1} s of CPU time");
    text
}

fn say(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(Failure::world)
}
