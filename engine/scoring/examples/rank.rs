//! What a ranking costs of the CPU, by task: the first one of a day or after a purchase, for which a user is looked at,
//! and those that come later. A shop of drawn orders, some rounds over all users.
//!
//! cargo run --release -p onrush-scoring --example rank [PRODUCTS [USERS [BASKETS]]]

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::error::Error;
use std::fs;

use onrush_scoring::base::{Base, Learned};
use onrush_scoring::candidates::{Chart, Moment, Task};
use onrush_scoring::counters::{Basket, Counters, Line, Listing};
use onrush_scoring::factors::AlsOptions;
use onrush_scoring::mlp::{Mlp, MlpOptions};
use onrush_scoring::model::Desk;

const ROUNDS: usize = 5;
/// Products that are ranked.
const MOST: usize = 300;
/// Lines of a basket, and seconds between two of all.
const LINES: usize = 10;
const STEP_S: i64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<usize> =
        std::env::args().skip(1).map(|number| number.parse()).collect::<Result<_, _>>()?;
    let number = |at: usize, otherwise: usize| given.get(at).copied().unwrap_or(otherwise);
    let (products, users, baskets) = (number(0, 68_000), number(1, 2_500), number(2, 70_000));
    let counters = shop(products as u32, users, baskets);
    let bought = counters.users.iter().map(|user| user.bought.len()).sum::<usize>();
    let now_s = baskets as i64 * STEP_S;
    let options = AlsOptions { steps: 1, ..AlsOptions::default() };
    let learned = Learned::learn(&counters, now_s, options, &|_| true).ok_or("it was called off")?;
    let base = Base::of(learned)?;
    let chart = Chart::of(&counters, &base, now_s);
    let mlp = Mlp::learn(&[], MlpOptions::default(), &|_| true).ok_or("it was called off")?;
    let moment = Moment { counters: &counters, base: &base, chart: &chart, now_s };
    println!("{products} products, {users} users, {} products of each", bought / users.max(1));
    let mut desk = Desk::default();
    for task in [Task::NextBasket, Task::Discovery] {
        let mut profiles = Vec::new();
        for user in &counters.users {
            desk.look(task, user, &moment);
            profiles.push(desk.profile.clone());
        }
        let [mut first, mut later] = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let begun_ns = cpu_ns()?;
            for user in &counters.users {
                desk.rank(task, user, &moment, MOST, |features, scores| mlp.score(features, scores));
            }
            first.push((cpu_ns()? - begun_ns) as f64 / 1e3 / users as f64);
            let begun_ns = cpu_ns()?;
            for (user, profile) in counters.users.iter().zip(&profiles) {
                desk.profile.clone_from(profile);
                desk.rank_by_profile(task, user, &moment, MOST, |features, scores| {
                    mlp.score(features, scores)
                });
            }
            later.push((cpu_ns()? - begun_ns) as f64 / 1e3 / users as f64);
        }
        for (name, mut us) in [("of a day or after a purchase", first), ("later", later)] {
            us.sort_unstable_by(f64::total_cmp);
            println!(
                "{task:?}, {name}: {:.1} us a ranking, median of {ROUNDS} ({:.1} to {:.1})",
                us[ROUNDS / 2],
                us[0],
                us[ROUNDS - 1]
            );
        }
    }
    Ok(())
}

/// Each user buys mostly of what they bought before, else what many buy.
fn shop(products: u32, users: usize, baskets: usize) -> Counters {
    let mut random = fastrand::Rng::with_seed(1);
    let listing = |at: u32| Listing { category: at % 300, brand: at % 2_000, price_cents: 199 };
    let mut counters = Counters::new(&(0..products).map(listing).collect::<Vec<_>>(), users);
    for at in 0..baskets {
        let user = random.usize(..users);
        let mut lines: Vec<Line> = Vec::new();
        for _ in 0..LINES {
            let known = &counters.users[user].bought;
            let share = random.f32() * random.f32() * random.f32();
            let product = match known.len() {
                many if many > 0 && random.f32() < 0.3 => known[random.usize(..many)].product,
                _ => (share * products as f32) as u32,
            };
            if lines.iter().all(|line| line.product != product) {
                lines.push(Line { product, unit_cents: None });
            }
        }
        counters.count(&Basket { user: user as u32, time_s: at as i64 * STEP_S, lines: &lines });
    }
    counters
}

/// What this thread had of the CPU, in ns.
fn cpu_ns() -> Result<u64, Box<dyn Error>> {
    let found = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(found.split(' ').next().unwrap_or_default().parse()?)
}
