//! Counts the calls of one edge of one port of one front.
//!
//! The rows are known before the first call: what a caller sends picks one of them or the last, which is
//! for everything else, so no path and no id ever becomes a label. A call costs a search of a few names,
//! two looks at the clock and three additions to cells that only this front's thread writes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::family::Times;
use super::latency::Latency;
use crate::config::Service;

/// Route and method of what is none of the known ones.
pub(crate) const UNMATCHED: &str = "unmatched";

/// How calls come in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Edge {
    /// By gRPC: 17 codes.
    Grpc,
    /// By HTTP: statuses below 600.
    Http,
}

impl Edge {
    fn codes(self) -> usize {
        match self {
            Self::Grpc => 17,
            Self::Http => 600,
        }
    }

    /// What is counted for a caller that went away: CANCELLED, or the 499 that proxies use.
    fn given_up(self) -> usize {
        match self {
            Self::Grpc => 1,
            Self::Http => 499,
        }
    }
}

/// The rows of one edge.
pub(crate) struct Meter {
    service: Service,
    edge: Edge,
    rows: Vec<Row>,
    /// Rows by route, each with its method.
    by_route: HashMap<String, Vec<(String, usize)>>,
}

struct Row {
    route: String,
    method: String,
    /// Made when the row is first used: most never are.
    cells: OnceLock<Box<Cells>>,
}

struct Cells {
    codes: Box<[AtomicU64]>,
    latency: Latency,
}

/// What a row has counted.
pub(super) struct Counted<'a> {
    pub(super) service: Service,
    pub(super) edge: Edge,
    pub(super) route: &'a str,
    pub(super) method: &'a str,
    /// Codes that were seen, with how often.
    pub(super) codes: Vec<(usize, u64)>,
    cells: &'a Cells,
}

impl Counted<'_> {
    pub(super) fn add_to(&self, times: &mut Times) {
        self.cells.latency.add_to(times);
    }
}

/// One row: for calls that are counted in many, and need not be looked for each.
#[derive(Clone)]
pub(crate) struct Tally {
    meter: Arc<Meter>,
    row: usize,
}

/// A call under way. Dropped without a word it was given up.
pub(crate) struct Counting {
    tally: Tally,
    since: Instant,
    code: usize,
}

impl Meter {
    /// A meter of these methods and routes.
    pub(super) fn new(
        service: Service,
        edge: Edge,
        calls: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let known = calls.into_iter().chain([(UNMATCHED.to_owned(), UNMATCHED.to_owned())]);
        let rows: Vec<Row> =
            known.map(|(method, route)| Row { route, method, cells: OnceLock::new() }).collect();
        let mut by_route: HashMap<String, Vec<(String, usize)>> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            by_route.entry(row.route.clone()).or_default().push((row.method.clone(), at));
        }
        Self { service, edge, rows, by_route }
    }

    /// A call begins.
    pub(crate) fn begin(self: &Arc<Self>, method: &str, route: &str) -> Counting {
        self.tally(method, route).begin()
    }

    /// The row of a call.
    pub(crate) fn tally(self: &Arc<Self>, method: &str, route: &str) -> Tally {
        let methods = self.by_route.get(route);
        let found = methods.and_then(|of| of.iter().find(|(known, _)| known == method));
        let row = found.map_or(self.rows.len() - 1, |(_, row)| *row);
        Tally { meter: Arc::clone(self), row }
    }

    /// Rows that have counted anything.
    pub(super) fn counted(&self) -> impl Iterator<Item = Counted<'_>> {
        self.rows.iter().filter_map(|row| {
            let cells = row.cells.get()?;
            let codes = cells.codes.iter().map(|cell| cell.load(Ordering::Relaxed)).enumerate();
            Some(Counted {
                service: self.service,
                edge: self.edge,
                route: &row.route,
                method: &row.method,
                codes: codes.filter(|(_, calls)| *calls > 0).collect(),
                cells,
            })
        })
    }
}

impl Tally {
    /// A call begins.
    pub(crate) fn begin(self) -> Counting {
        let code = self.meter.edge.given_up();
        Counting { tally: self, since: Instant::now(), code }
    }

    /// A call was answered with this code after so long.
    pub(crate) fn count(&self, code: usize, took: Duration) {
        let Self { meter, row } = self;
        let cells = meter.rows[*row].cells.get_or_init(|| {
            let codes = (0..meter.edge.codes()).map(|_| AtomicU64::new(0)).collect();
            Box::new(Cells { codes, latency: Latency::default() })
        });
        if let Some(cell) = cells.codes.get(code) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        cells.latency.record(took);
    }

    /// A caller went away after so long.
    pub(crate) fn give_up(&self, took: Duration) {
        self.count(self.meter.edge.given_up(), took);
    }
}

impl Counting {
    /// The method and the route that it counts for; neither is a caller's own word.
    pub(crate) fn call(&self) -> (&str, &str) {
        let row = &self.tally.meter.rows[self.tally.row];
        (&row.method, &row.route)
    }

    /// It was answered with this code.
    pub(crate) fn end(mut self, code: usize) {
        self.code = code;
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.tally.count(self.code, self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_one_row_whatever_it_is_called() {
        let calls = [("GET".to_owned(), "/orders/{id}".to_owned())];
        let meter = Arc::new(Meter::new(Service::Order, Edge::Http, calls));
        meter.begin("GET", "/orders/{id}").end(200);
        meter.begin("GET", "/orders/{id}").end(404);
        for number in 0..100 {
            meter.begin("GET", &format!("/orders/{number}")).end(404);
            meter.begin(&format!("BREW{number}"), "/orders/{id}").end(405);
        }
        meter.begin("GET", "/orders/{id}").end(9_999);
        drop(meter.begin("GET", "/orders/{id}"));
        let rows: Vec<_> = meter.counted().map(|row| (row.method, row.route, row.codes)).collect();
        let expected = [
            ("GET", "/orders/{id}", vec![(200, 1), (404, 1), (499, 1)]),
            (UNMATCHED, UNMATCHED, vec![(404, 100), (405, 100)]),
        ];
        assert_eq!(rows, expected);
    }
}
