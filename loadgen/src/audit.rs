//! After the run: the client's books against the engine's.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use onrush_proto::{Command, OrderRow, OrderState, Outcome, Request, StockRow};

use crate::asking::{Unanswered, ask_all};
use crate::driver::key_of;
use crate::journal::{Entry, Fate, Journal, Violations};
use crate::number::grouped;
use crate::operation::{Operation, Verdict};
use crate::plan::{Item, customer_id};
use crate::recorder::Recorder;
use crate::target::events::Events;
use crate::target::{Books, Target};

/// The money of an order has to come to rest this long after the run.
const REST_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks whether it has.
const REST_PAUSE: Duration = Duration::from_millis(200);

/// What the audit measures against.
pub(crate) struct Claims<'a> {
    pub(crate) items: &'a [Item],
    pub(crate) seed: u64,
    /// Items 0..sells_out are wanted more than there are...
    pub(crate) sells_out: u32,
    /// ...and were seen to run out, so none may be left.
    pub(crate) ran_out: bool,
    /// The money of every order comes to rest, and is followed.
    pub(crate) settles: bool,
}

/// What the audit found.
#[derive(Clone, Default, Debug)]
pub(crate) struct Findings {
    /// The books in plain words.
    pub(crate) lines: Vec<String>,
    /// Broken rules; empty = the audit passed.
    pub(crate) violations: Vec<String>,
}

impl Findings {
    /// True if no rule is broken.
    pub(crate) fn ok(&self) -> bool {
        self.violations.is_empty()
    }
}

struct Audit<'a> {
    claims: &'a Claims<'a>,
    journal: &'a Journal,
    violations: Violations,
    lines: Vec<String>,
}

/// Checks everything; the journal's own violations count too. Expiry lags found on the way are
/// filed in `recorder`.
pub(crate) fn audit(
    target: &mut dyn Target,
    claims: &Claims<'_>,
    journal: &mut Journal,
    recorder: &mut Recorder,
) -> Result<Findings, Unanswered> {
    let violations = std::mem::take(&mut journal.violations);
    let mut audit = Audit { claims, journal, violations, lines: Vec::new() };
    if claims.settles {
        audit.follow_money(target);
    }
    audit.check_stock(&stock_rows(target, claims.items)?);
    audit.check_limits();
    audit.read_orders(target, recorder)?;
    // Last: the engine's cut may not yet hold what its shards confirm to one another after a reply.
    match target.books() {
        Ok(books) => {
            audit.check_books(&books);
            audit.check_keys(&books);
        }
        Err(error) => audit.violations.note(|| error.to_string()),
    }
    match target.events() {
        Ok(Some(events)) => audit.check_events(events),
        Ok(None) => audit.lines.push(
            "events not read: the target is another process; ENGINE_TOKEN lets us at its engine".into(),
        ),
        Err(error) => audit.violations.note(|| error.to_string()),
    }
    Ok(Findings { lines: audit.lines, violations: audit.violations.into_lines() })
}

/// The owner's row of every item; `None` where the engine knows none.
fn stock_rows(target: &mut dyn Target, items: &[Item]) -> Result<Vec<Option<StockRow>>, Unanswered> {
    let mut rows = vec![None; items.len()];
    let make = |index: u64| Request::unkeyed(Command::GetStock(items[index as usize].sku));
    ask_all(target, items.len() as u64, &make, &mut |index, outcome| {
        if let Outcome::Stock(row) = outcome {
            rows[index as usize] = Some(*row);
        }
    })?;
    Ok(rows)
}

impl Audit<'_> {
    /// Waits until no gateway has anything under way, then looks at the money of every order.
    fn follow_money(&mut self, target: &mut dyn Target) {
        let until = Instant::now() + REST_WITHIN;
        let money = loop {
            match target.money() {
                Ok(Some(money)) if money.open() > 0 && Instant::now() < until => sleep(REST_PAUSE),
                Ok(Some(money)) => break money,
                Ok(None) => {
                    let line =
                        "money not followed: the target is another process; ENGINE_TOKEN lets us at it";
                    return self.lines.push(line.into());
                }
                Err(error) => return self.violations.note(|| error.to_string()),
            }
        };
        self.lines.push(money.line());
        money.violations().into_lines().into_iter().for_each(|line| self.violations.note(|| line));
    }

    fn check_books(&mut self, books: &Books) {
        for line in &books.violations {
            self.violations.note(|| format!("engine: {line}"));
        }
        let (received, available) = (books.units_received, books.units_available);
        let (held, sold) = (books.units_held, books.units_sold);
        self.lines.insert(0, units_line(received, available, held, sold));
        if received != available + held + sold {
            self.violations.note(|| format!("units are conserved: expected {received} received, found {available} available + {held} held + {sold} sold"));
        }
        let loaded: i64 = self.claims.items.iter().map(|item| item.stock).sum();
        if received != loaded {
            self.violations.note(|| format!("units received: expected {loaded} as loaded, found {received}"));
        }
        if books.open_cross_shard > 0 {
            self.lines.push(format!(
                "{} orders over several shards were open at the cut",
                grouped(books.open_cross_shard as i64)
            ));
        }
    }

    fn check_stock(&mut self, rows: &[Option<StockRow>]) {
        let items = self.claims.items.len();
        let paid = self.journal.units(items, Fate::is_sold);
        let doubtful = self.journal.units(items, |fate| fate == Fate::Doubtful);
        let mut left = 0;
        for (index, (item, row)) in self.claims.items.iter().zip(rows).enumerate() {
            let sku = item.sku;
            let Some(row) = row else {
                self.violations.note(|| format!("{sku}: expected a stock row, found none"));
                continue;
            };
            if let Some(line) = broken_stock(item, row) {
                self.violations.note(|| format!("{sku}: {line}"));
            }
            // Buys that the client knows nothing of are never paid: sold units are always known.
            let (sold, paid, doubtful) = (row.sold, paid[index], doubtful[index]);
            if sold < paid || sold > paid + doubtful {
                let unsure = if doubtful > 0 { format!(" and {doubtful} perhaps") } else { String::new() };
                self.violations.note(|| {
                    format!("{sku}: expected {paid} units sold as paid by the client{unsure}, found {sold}")
                });
            }
            if self.claims.ran_out && (index as u32) < self.claims.sells_out {
                left += row.on_hand;
            }
        }
        self.tell_sale(rows);
        if self.claims.ran_out && left != 0 {
            self.violations.note(|| {
                format!("demand above stock: expected everything sold, found {left} units left or held")
            });
        } else if self.claims.ran_out {
            self.lines.push("demand was above stock and everything was sold; nothing was oversold".into());
        } else {
            self.lines.push("nothing was oversold".into());
        }
    }

    /// What the sale is about, apart from the rest of the shop.
    fn tell_sale(&mut self, rows: &[Option<StockRow>]) {
        let sale = &rows[..self.claims.sells_out as usize];
        if sale.is_empty() || sale.len() == rows.len() {
            return;
        }
        let sum = |field: fn(&StockRow) -> i64| sale.iter().flatten().map(field).sum();
        let (received, held, sold) =
            (sum(|row| row.on_hand + row.sold), sum(|row| row.held), sum(|row| row.sold));
        let line = units_line(received, sum(StockRow::available), held, sold);
        self.lines.insert(0, format!("hot items among them: {line}"));
    }

    /// One order per key, and no order that nobody was told of.
    fn check_keys(&mut self, books: &Books) {
        let mut ids: Vec<u128> = self.journal.entries().iter().map(|entry| entry.order().0).collect();
        ids.sort_unstable();
        let known = ids.len() as u64;
        ids.dedup();
        let distinct = ids.len() as u64;
        if distinct != known {
            self.violations.note(|| {
                format!("one order per key: expected {known} orders for {known} keys, found {distinct}")
            });
        }
        let unknown = self.journal.unknown;
        if books.orders < distinct || books.orders > distinct + unknown {
            let found = books.orders;
            self.violations.note(|| format!("orders in the engine: expected {distinct} acknowledged and at most {unknown} unheard of, found {found}"));
        }
        self.lines.push(format!(
            "{} keys accepted = {} orders; {} in the engine",
            grouped(known as i64),
            grouped(distinct as i64),
            grouped(books.orders as i64)
        ));
    }

    /// One order.created per accepted order, one payment.processed per paid one, in order.
    fn check_events(&mut self, events: Events) {
        for entry in self.journal.entries() {
            if let Some(fault) = events.fault(entry) {
                self.violations.note(|| format!("events of order {}: {fault}", entry.order()));
            }
        }
        let (created, charged) = (events.created(), events.charged());
        let (known, unknown) = (self.journal.entries().len() as u64, self.journal.unknown);
        if created > known + unknown {
            self.violations.note(|| {
                format!("order.created: expected {known} and at most {unknown} unheard of, found {created}")
            });
        }
        let mut line = format!(
            "{} records in order: {} order.created, {} payment.processed among them",
            grouped(events.records as i64),
            grouped(created as i64),
            grouped(charged as i64)
        );
        if events.shortened > 0 {
            line += "; the first ones were released before the audit";
        }
        self.lines.push(line);
        events.violations.into_lines().into_iter().for_each(|line| self.violations.note(|| line));
    }

    fn check_limits(&mut self) {
        let limited = self.claims.items.iter().any(|item| item.limit > 0);
        if !limited {
            return;
        }
        let mut units: HashMap<(u32, u32), u32> = HashMap::new();
        for entry in self.journal.entries() {
            for (item, quantity) in self.journal.lines(entry) {
                if self.claims.items[*item as usize].limit > 0 {
                    *units.entry((*item, entry.customer)).or_default() += quantity;
                }
            }
        }
        let mut broken: Vec<_> = units
            .iter()
            .filter(|((item, _), units)| **units > self.claims.items[*item as usize].limit)
            .collect();
        broken.sort_unstable();
        for ((item, customer), units) in &broken {
            let item = &self.claims.items[*item as usize];
            self.violations.note(|| {
                let (sku, limit) = (item.sku, item.limit);
                format!("{sku}: expected at most {limit} units for {}, found {units}", customer_id(*customer))
            });
        }
        if broken.is_empty() {
            self.lines.push(format!("limits kept for {} buyers", grouped(units.len() as i64)));
        }
    }

    /// Reads acknowledged orders back: none may be missing or changed.
    fn read_orders(&mut self, target: &mut dyn Target, recorder: &mut Recorder) -> Result<(), Unanswered> {
        let entries = self.journal.entries();
        let step = entries.len().div_ceil(target.orders_read_max()).max(1);
        let count = entries.len().div_ceil(step);
        let first_us = entries.iter().map(|entry| entry.order().time_us()).min().unwrap_or(0);
        let make = |index: u64| Request::unkeyed(Command::GetOrder(entries[index as usize * step].order()));
        let violations = &mut self.violations;
        let seed = self.claims.seed;
        let mut lags: Vec<(u64, u64)> = Vec::new();
        ask_all(target, count as u64, &make, &mut |index, outcome| {
            let entry = &entries[index as usize * step];
            let Outcome::Order(row) = outcome else {
                violations
                    .note(|| format!("acknowledged order {}: expected it, found {outcome:?}", entry.order()));
                return;
            };
            if let Some(line) = broken_order(entry, &row, seed) {
                violations.note(|| format!("order {}: {line}", entry.order()));
            }
            if row.state == OrderState::Expired {
                let at_ns = row.changed_us.saturating_sub(first_us) * 1_000;
                let lag_ns = row.changed_us.saturating_sub(row.held_until_us) * 1_000;
                lags.push((at_ns, lag_ns));
            }
        })?;
        lags.sort_unstable();
        for (at_ns, lag_ns) in lags {
            recorder.record(Operation::ExpiryLag, Verdict::Accepted, lag_ns, at_ns);
        }
        let which = if step == 1 { "all" } else { "evenly spread" };
        self.lines.push(format!(
            "{} orders read back ({which}): same buyer, total and state",
            grouped(count as i64)
        ));
        Ok(())
    }
}

fn units_line(received: i64, available: i64, held: i64, sold: i64) -> String {
    let [received, available, held, sold] = [received, available, held, sold].map(grouped);
    format!("{received} units received = {available} available + {held} held + {sold} sold")
}

fn broken_stock(item: &Item, row: &StockRow) -> Option<String> {
    if row.available() < 0 || row.held < 0 || row.sold < 0 {
        let available = row.available();
        return Some(format!(
            "oversold: expected no negative count, found {available} available, {} held, {} sold",
            row.held, row.sold
        ));
    }
    if row.on_hand + row.sold != item.stock {
        return Some(format!(
            "expected {} units, found {} on hand + {} sold",
            item.stock, row.on_hand, row.sold
        ));
    }
    None
}

/// True if an order is paid, however far its parcel is.
fn is_on_its_way(state: OrderState) -> bool {
    use OrderState::{Delivered, Fulfilling, Paid, Shipped};
    matches!(state, Paid | Fulfilling | Shipped | Delivered)
}

/// What is wrong with an order as it is read back.
pub(crate) fn broken_order(entry: &Entry, row: &OrderRow, seed: u64) -> Option<String> {
    if row.total.minor != entry.total_minor {
        return Some(format!("expected total {}, found {}", entry.total_minor, row.total.minor));
    }
    let customer = customer_id(entry.customer);
    if row.customer != customer {
        return Some(format!("expected {customer}, found {}", row.customer));
    }
    // A remote target may not tell the key.
    let key = key_of(seed, entry.serial, 0);
    if !row.key.is_none() && row.key != key {
        return Some(format!("expected key {:032x}, found {:032x}", key.0, row.key.0));
    }
    let as_told = match entry.fate {
        Fate::Unpaid => matches!(row.state, OrderState::Pending | OrderState::Expired),
        // A shop that ships takes a paid order on by itself.
        Fate::Told(OrderState::Paid) => is_on_its_way(row.state),
        Fate::Told(state) => row.state == state,
        Fate::Doubtful => true,
    };
    if !as_told {
        return Some(format!("expected {:?} as last answered, found {:?}", entry.fate, row.state));
    }
    if row.state == OrderState::Expired && row.changed_us < row.held_until_us {
        return Some(format!(
            "expected its hold until {} us, found it released at {} us",
            row.held_until_us, row.changed_us
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::catalogue;
    use crate::cli::Cli;
    use crate::driver::Driver;
    use crate::plan::Plan;
    use crate::progress::Progress;
    use crate::target::shelf::{Fault, Shelf};

    fn plan(args: &[&str]) -> Plan {
        let cli = Cli::try_parse_from([&["loadgen"], args].concat()).unwrap();
        cli.scenario().plan().unwrap()
    }

    /// Runs a plan on a shelf; returns findings and the recorder.
    fn run(plan: &Plan, fault: Fault) -> (Findings, Recorder, crate::driver::Tally) {
        let mut shelf = Shelf::new(fault);
        catalogue::load(&mut shelf, &plan.items, plan.hold_us, plan.seed).unwrap();
        let mut driver = Driver::new(plan, &mut shelf, Progress::new(true, plan.duration_s));
        driver.run();
        let Driver { mut recorder, mut journal, tally, .. } = driver;
        let ran_out = tally.sold_out_ns.is_some();
        let claims = Claims {
            items: &plan.items,
            seed: plan.seed,
            sells_out: plan.sells_out,
            ran_out,
            settles: plan.special.settles,
        };
        let findings = audit(&mut shelf, &claims, &mut journal, &mut recorder).unwrap();
        (findings, recorder, tally)
    }

    const SALE: [&str; 7] = ["flash-sale", "--duration", "0.5", "--rate", "30000", "--stock", "200"];

    #[test]
    fn an_honest_shop_passes_and_everything_is_sold() {
        let (findings, recorder, tally) = run(&plan(&SALE), Fault::None);
        assert_eq!(findings.violations, [""; 0]);
        assert!(tally.accepted > 200 && tally.sold_out_ns.is_some(), "{tally:?}");
        for verdict in [Verdict::Accepted, Verdict::SoldOut] {
            assert!(recorder.count(Operation::CreateOrder, verdict) > 100, "{verdict:?}");
        }
        let text = findings.lines.join("\n");
        assert!(text.contains("everything was sold") && text.contains(" 0 held + "), "{text}");
    }

    #[test]
    fn each_broken_rule_is_found() {
        for (fault, expected) in [
            (Fault::Oversell, "oversold"),
            (Fault::LoseOrders, "acknowledged order"),
            (Fault::IgnoreLimits, "expected at most 2 units for customer-"),
            (Fault::HideStock, "expected everything sold, found 3"),
            (Fault::SkipEvents, "expected one order.created, found 0"),
            (Fault::ChargeTwice, "expected 1..=1 payment.processed, found 2"),
        ] {
            let (findings, ..) = run(&plan(&SALE), fault);
            assert!(!findings.ok(), "{fault:?}");
            let found = findings.violations.join("\n");
            assert!(found.contains(expected), "{fault:?}: expected {expected}, found {found}");
        }
    }

    #[test]
    fn impatient_buyers_get_one_order_per_key() {
        let plan = plan(&["retries", "--duration", "1.5", "--rate", "3000"]);
        let (findings, recorder, tally) = run(&plan, Fault::None);
        assert_eq!(findings.violations, [""; 0]);
        assert!(recorder.count(Operation::CreateOrderAgain, Verdict::Duplicate) > 100);
        assert!(recorder.count(Operation::CreateOrderOtherBody, Verdict::Duplicate) > 3);
        assert!(recorder.count(Operation::CreateOrder, Verdict::Error) > 3, "lost answers end in time-outs");
        assert!(tally.accepted > 500);
    }

    #[test]
    fn a_shop_that_forgets_keys_is_found_out() {
        let plan = plan(&["retries", "--duration", "0.5", "--rate", "3000"]);
        let (findings, ..) = run(&plan, Fault::ForgetKeys);
        let found = findings.violations.join("\n");
        assert!(found.contains("one order per key") && found.contains("expected KeyReused"), "{found}");
    }

    #[test]
    fn readers_and_baskets_run_too() {
        let (findings, recorder, _) =
            run(&plan(&["browse", "--duration", "0.5", "--rate", "2000"]), Fault::None);
        assert!(findings.ok() && recorder.count(Operation::GetProduct, Verdict::Accepted) > 1_000);
        let (findings, _, tally) =
            run(&plan(&["catalogue", "--duration", "0.5", "--rate", "2000", "--skus", "2000"]), Fault::None);
        assert_eq!(findings.violations, [""; 0]);
        assert!(tally.paid > 800, "{tally:?}");
    }
}
