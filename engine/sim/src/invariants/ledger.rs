//! The ledger sums to zero and is the fold of the orders' postings.

use std::collections::BTreeMap;

use onrush_proto::{Currency, Posting, Row};

use super::Step;
use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "ledger";

fn post(balances: &mut [i64; 5], posting: &Posting) {
    balances[posting.from as usize] -= posting.minor;
    balances[posting.to as usize] += posting.minor;
}

/// Checks that the ledger moves by exactly the record's new postings.
pub(crate) fn record(step: &Step<'_>) -> Verdict {
    let mut expected: BTreeMap<Currency, [i64; 5]> = BTreeMap::new();
    for (before, after) in step.orders() {
        let old = before.and_then(|order| order.payment.as_ref()).map_or(0, |payment| payment.postings.len());
        let new = after.payment.iter().flat_map(|payment| payment.postings.iter().skip(old));
        let currency = after.total.currency;
        for posting in new {
            let before = step.book().ledger.get(&currency).map_or([0; 5], |row| row.balances);
            post(expected.entry(currency).or_insert(before), posting);
        }
    }
    for row in &step.fact.rows {
        if let Row::Ledger(row) = row {
            let balances = expected.remove(&row.currency);
            if balances != Some(row.balances) || row.balances.iter().sum::<i64>() != 0 {
                return Err(Violation::new(
                    NAME,
                    format!("{balances:?} in {}", step.place()),
                    format!("{row:?}"),
                ));
            }
        }
    }
    match expected.first_key_value() {
        Some((currency, balances)) => {
            let expected = format!("a ledger row of {currency} with {balances:?} in {}", step.place());
            Err(Violation::new(NAME, expected, "none"))
        }
        None => Ok(()),
    }
}

/// Checks every balance against all postings.
pub(crate) fn all(mirror: &Mirror) -> Verdict {
    for book in &mirror.books {
        let mut expected: BTreeMap<Currency, [i64; 5]> = BTreeMap::new();
        for order in book.orders.values() {
            for posting in order.payment.iter().flat_map(|payment| &payment.postings) {
                post(expected.entry(order.total.currency).or_default(), posting);
            }
        }
        let found: BTreeMap<Currency, [i64; 5]> =
            book.ledger.iter().map(|(currency, row)| (*currency, row.balances)).collect();
        if found != expected {
            return Err(Violation::new(NAME, format!("{expected:?}"), format!("{found:?}")));
        }
    }
    Ok(())
}
