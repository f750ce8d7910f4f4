//! `replay`: recorded baskets at N times their speed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use onrush_proto::{Currency, Money, Sku};
use onrush_services::retail::{self, ProductLine, RetailError, SaleLine};

use super::{hold_us, prompt_payer};
use crate::cli::ReplayArgs;
use crate::demand::{Demand, Wish};
use crate::plan::{Item, Plan, Special, Times};

const DAY_S: i64 = 86_400;
/// Units of each product: a shop that is not sold out.
const STOCK: i64 = 100_000;

/// Why nothing can be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// No files were named.
    #[error(
        "replay needs --products FILE and --transactions FILE (.csv or .csv.zst): products with columns \
         id, price_cents and, if wanted, name, category, brand; transactions with columns basket, user, \
         product, qty, ts (unix seconds). The shape of public retail data stands in loadgen/README.md; \
         `loadgen catalogue` draws baskets of that shape without any file"
    )]
    NoFiles,
    /// The times are in the file.
    #[error("replay takes its times from the file: expected --speed, found --rate")]
    Rate,
    /// A file is of no use.
    #[error(transparent)]
    Retail(#[from] RetailError),
    /// Two products have one id.
    #[error("{file}: expected each product id once, found {id} twice")]
    Twice {
        /// Which file.
        file: PathBuf,
        /// Which id.
        id: u32,
    },
    /// The day is not a date.
    #[error("--day: expected a date such as 2017-11-04, found {0}")]
    Day(String),
    /// Nothing was bought then.
    #[error(
        "expected baskets between {from_s} and {to_s} (unix seconds), found none; the file spans {first_s} to {last_s}"
    )]
    NothingThen {
        /// Start asked for.
        from_s: i64,
        /// End asked for.
        to_s: i64,
        /// The file's first time.
        first_s: i64,
        /// The file's last time.
        last_s: i64,
    },
}

/// The recorded baskets of a window, as a plan.
pub(super) fn plan(args: &ReplayArgs) -> Result<Plan, ReplayError> {
    let (Some(products), Some(transactions)) = (&args.products, &args.transactions) else {
        return Err(ReplayError::NoFiles);
    };
    let common = &args.common;
    if common.rate.is_some() {
        return Err(ReplayError::Rate);
    }
    let (items, index) = items(products, common.stock.unwrap_or(STOCK))?;
    let mut lines: Vec<SaleLine> = Vec::new();
    retail::transactions(transactions, &|product| index.contains_key(&product), &mut |line| {
        lines.push(line)
    })?;
    let from_s = window_start(args, &lines)?;
    let length_s = (args.hours * 3_600.0) as i64;
    let baskets = baskets(&lines, from_s..from_s + length_s, &index);
    if baskets.is_empty() {
        let times = || lines.iter().map(|line| line.at_s);
        let (first_s, last_s) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        return Err(ReplayError::NothingThen { from_s, to_s: from_s + length_s, first_s, last_s });
    }
    let speed = args.speed.unwrap_or(length_s as f64 / common.duration_s());
    let duration_s = length_s as f64 / speed;
    let at_ns = |at_s: i64| ((at_s - from_s) as f64 / speed * 1e9) as u64;
    let (times, wishes) = baskets.into_iter().map(|(at_s, wish)| (at_ns(at_s), wish)).unzip();
    Ok(Plan {
        scenario: "replay",
        seed: common.seed,
        duration_s,
        start_s: 0.0,
        items,
        demand: Demand::Recorded(wishes),
        times: Times::Recorded(times),
        reads: None,
        payer: prompt_payer(duration_s),
        impatience: None,
        sells_out: 0,
        hold_us: hold_us(common, 0.0),
        special: Special::default(),
    })
}

/// The catalogue, and where each product id stands in it.
fn items(file: &Path, stock: i64) -> Result<(Vec<Item>, HashMap<u32, u32>), ReplayError> {
    let products = retail::products(file)?;
    let mut index = HashMap::with_capacity(products.len());
    let mut items = Vec::with_capacity(products.len());
    for product in products {
        if index.insert(product.id, items.len() as u32).is_some() {
            return Err(ReplayError::Twice { file: file.to_path_buf(), id: product.id });
        }
        items.push(item(product, stock));
    }
    Ok((items, index))
}

fn item(product: ProductLine, stock: i64) -> Item {
    let sku = format!("product-{}", product.id);
    let name = if product.name.is_empty() { sku.clone() } else { product.name };
    Item {
        sku: Sku::new(&sku).unwrap_or(Sku::EMPTY),
        name: clipped(name, 400),
        category: clipped(product.category, 63),
        brand: clipped(product.brand, 63),
        price: Money::new(product.price_cents, Currency::USD),
        stock,
        limit: 0,
    }
}

/// At most `bytes` bytes of a text, cut between characters.
fn clipped(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}

/// Where the window starts, in unix seconds.
fn window_start(args: &ReplayArgs, lines: &[SaleLine]) -> Result<i64, ReplayError> {
    if let Some(from_s) = args.from {
        return Ok(from_s);
    }
    if let Some(day) = &args.day {
        return day_start(day).ok_or_else(|| ReplayError::Day(day.clone()));
    }
    Ok(busiest_day(lines) * DAY_S)
}

/// The UTC day with most lines, counted from 1970; the earliest of equals.
fn busiest_day(lines: &[SaleLine]) -> i64 {
    let mut days: HashMap<i64, u64> = HashMap::new();
    lines.iter().for_each(|line| *days.entry(line.at_s.div_euclid(DAY_S)).or_default() += 1);
    days.into_iter().max_by_key(|(day, lines)| (*lines, -day)).map_or(0, |(day, _)| day)
}

/// Unix seconds of a UTC date, by the civil calendar (Hinnant's days_from_civil).
fn day_start(text: &str) -> Option<i64> {
    let mut parts = text.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if parts.next().is_some() || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if !(1..=length[month as usize - 1]).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some((era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468) * DAY_S)
}

/// Baskets of a window in time order: lines of one basket together, each product once.
fn baskets(lines: &[SaleLine], window: std::ops::Range<i64>, index: &HashMap<u32, u32>) -> Vec<(i64, Wish)> {
    let mut inside: Vec<&SaleLine> = lines.iter().filter(|line| window.contains(&line.at_s)).collect();
    inside.sort_by_key(|line| (line.basket, line.at_s));
    let mut baskets: Vec<(i64, u32, Wish)> = Vec::new();
    for line in inside {
        if baskets.last().is_none_or(|(_, basket, _)| *basket != line.basket) {
            let wish = Wish { customer: line.user, lines: Default::default() };
            baskets.push((line.at_s, line.basket, wish));
        }
        let (Some((_, _, wish)), Some(item)) = (baskets.last_mut(), index.get(&line.product)) else {
            continue;
        };
        match wish.lines.iter_mut().find(|(other, _)| other == item) {
            Some((_, quantity)) => *quantity += line.quantity,
            None => wish.lines.push((*item, line.quantity)),
        }
    }
    baskets.sort_by_key(|(at_s, basket, _)| (*at_s, *basket));
    baskets.into_iter().map(|(at_s, _, wish)| (at_s, wish)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_unix_seconds() {
        assert_eq!(day_start("1970-01-01"), Some(0));
        assert_eq!(day_start("2017-11-06"), Some(1_509_926_400));
        assert_eq!(day_start("2016-02-29"), Some(1_456_704_000));
        for wrong in ["2017-02-29", "2017-13-01", "2017-11", "yesterday", "2017-11-06-1"] {
            assert_eq!(day_start(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lines_come_together_as_baskets() {
        let line = |basket, product, quantity, at_s| SaleLine {
            basket,
            user: 5,
            product,
            quantity,
            paid_cents: None,
            at_s,
        };
        let lines = [
            line(2, 10, 1, 50),
            line(1, 11, 1, 60),
            line(2, 11, 2, 50),
            line(2, 10, 3, 51),
            line(3, 10, 1, 99),
        ];
        let index = HashMap::from([(10, 0), (11, 1)]);
        let baskets = baskets(&lines, 0..99, &index);
        assert_eq!(baskets.len(), 2, "the third basket is outside the window");
        assert_eq!((baskets[0].0, baskets[0].1.lines.as_slice()), (50, [(0, 4), (1, 2)].as_slice()));
        assert_eq!(busiest_day(&lines), 0);
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(clipped("äöü".into(), 3), "ä");
    }
}
