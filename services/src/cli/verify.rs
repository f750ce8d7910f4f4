//! `onrush verify`: checks the books of a stopped data directory.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::ArgMatches;
use onrush_engine::AuditReport;

use super::Failure;

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let given = matches.get_one::<String>("data-dir").cloned();
    let dir = given.or_else(|| std::env::var("DATA_DIR").ok()).unwrap_or_else(|| "./onrush-data".into());
    let report = onrush_engine::verify(&PathBuf::from(dir)).map_err(Failure::world)?;
    io::stdout().write_all(books(&report).as_bytes()).map_err(Failure::world)?;
    if report.ok {
        return Ok(());
    }
    Err(Failure::world(format!("expected books without a broken rule, found {}", report.violations.len())))
}

fn books(report: &AuditReport) -> String {
    let mut text = String::new();
    let rows = [
        ("SKUs", report.skus.to_string()),
        ("orders", report.orders.to_string()),
        ("units received", report.units_received.to_string()),
        ("units available", report.units_available.to_string()),
        ("units held", report.units_held.to_string()),
        ("units sold", report.units_sold.to_string()),
        ("open over shards", report.open_cross_shard.to_string()),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<20} {value}");
    }
    for (state, orders) in &report.orders_by_state {
        let _ = writeln!(text, "orders {:<13} {orders}", format!("{state:?}"));
    }
    for violation in &report.violations {
        let _ = writeln!(text, "broken: {violation}");
    }
    let _ =
        writeln!(text, "{}", if report.ok { "the books are in order" } else { "the books are NOT in order" });
    text
}
