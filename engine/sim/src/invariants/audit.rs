//! The product's own audit finds the books clean, and finds the same books.

use onrush_engine::AuditReport;
use onrush_proto::OrderState::{Rejected, Reserving};

use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "audit";

/// Checks a report on a node at rest. What is broken may only be what rests on lost records, and
/// must then name it.
pub(crate) fn clean(mirror: &Mirror, report: &AuditReport) -> Verdict {
    let names_lost = |line: &String| mirror.lost.names().any(|name| line.contains(&name));
    if let Some(line) = report.violations.iter().find(|line| !names_lost(line)) {
        return Err(Violation::new(NAME, "no violation", line.clone()));
    }
    let books = &mirror.books;
    let skus: usize = books.iter().map(|book| book.stock.len()).sum();
    let orders = books.iter().flat_map(|book| book.orders.values());
    let accepted = orders.filter(|order| !matches!(order.state, Reserving | Rejected)).count();
    let sold: i64 = books.iter().flat_map(|book| book.stock.values()).map(|row| row.sold).sum();
    let expected = (skus as u64, accepted as u64, sold);
    let found = (report.skus, report.orders, report.units_sold);
    if expected != found {
        let expected = format!("(SKUs, orders, units sold) = {expected:?}");
        return Err(Violation::new(NAME, expected, format!("{found:?}")));
    }
    if report.open_cross_shard > 0 && mirror.lost.is_empty() {
        return Err(Violation::new(NAME, "nothing under way", report.open_cross_shard.to_string()));
    }
    Ok(())
}
