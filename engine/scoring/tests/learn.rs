//! A shop of habits: what is learned foretells, is kept, and is refused if it is damaged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use onrush_scoring::baselines::{Popularity, history};
use onrush_scoring::candidates::{Chart, Moment, Task};
use onrush_scoring::counters::{Counters, Listing};
use onrush_scoring::evaluation::{Score, score, truth};
use onrush_scoring::factors::AlsOptions;
use onrush_scoring::mlp::MlpOptions;
use onrush_scoring::model::{Desk, FILE, Kept, Model, Origin};
use onrush_scoring::profile::Whom;
use onrush_scoring::sales::{Sale, Sales};
use onrush_scoring::training::{TrainError, TrainOptions, train};

const DAY_S: i64 = 86_400;
const PRODUCTS: u32 = 200;
const USERS: u32 = 90;

/// Each user has ten products that they buy again when their time has come, and tries others of their kind now
/// and then.
fn shop(days: i64, users: u32) -> Vec<Sale> {
    let mut random = fastrand::Rng::with_seed(11);
    let (mut sales, mut basket) = (Vec::new(), 0);
    let mut due = vec![[0i64; 10]; users as usize];
    for day in 0..days {
        for user in 0..users {
            if random.f32() > 0.35 {
                continue;
            }
            basket += 1;
            let of_kind = |at: u32| user % 4 + 4 * (at % (PRODUCTS / 4));
            let mut add = |product| {
                let unit_cents = Some(100 + i64::from(product));
                sales.push(Sale { basket, user, product, time_s: day * DAY_S + i64::from(user), unit_cents });
            };
            for (habit, due) in due[user as usize].iter_mut().enumerate() {
                if day >= *due {
                    add(of_kind(user / 4 * 5 + habit as u32));
                    *due = day + 4 + 3 * habit as i64;
                }
            }
            if random.f32() < 0.5 {
                add(of_kind(random.u32(..)));
            }
        }
    }
    sales
}

fn listings() -> Vec<Listing> {
    (0..PRODUCTS)
        .map(|at| Listing { category: at % 4, brand: at % 3, price_cents: 100 + i64::from(at) })
        .collect()
}

fn options() -> TrainOptions {
    let mlp = MlpOptions { epochs: 6, ..MlpOptions::default() };
    TrainOptions {
        als: AlsOptions { regularization: 5.0, threads: 2, ..AlsOptions::default() },
        mlp,
        ..TrainOptions::default()
    }
}

fn name(product: u32) -> String {
    format!("product-{product}")
}

fn learned(sales: &Sales) -> Kept {
    let trained = train(sales, &listings(), options(), &|_| true).unwrap();
    Kept {
        names: (0..PRODUCTS).map(name).collect(),
        listings: listings(),
        learned: trained.learned,
        rankers: trained.rankers,
        origin: Origin { version: 7, seed: 1, last_s: sales.last_s(), baskets: 1, cpu_s: 0.5 },
    }
}

#[test]
fn a_model_foretells_better_than_history_and_popularity_and_is_the_same_when_read_again() {
    let (all, split_s) = (shop(112, USERS), 84 * DAY_S);
    let part = |of: fn(i64, i64) -> bool| {
        Sales::of(all.iter().filter(|sale| of(sale.time_s, split_s)).copied().collect())
    };
    let (past, test) = (part(|time_s, split_s| time_s < split_s), part(|time_s, split_s| time_s >= split_s));
    let kept = learned(&past);
    let dir = tempfile::tempdir().unwrap();
    kept.write(dir.path()).unwrap();
    let model = Model::read(dir.path()).unwrap();
    assert_eq!((model.names[7].as_str(), model.origin), ("product-7", kept.origin));

    let counters = past.counted(&model.listings, i64::MAX);
    let chart = Chart::of(&counters, &model.base, split_s);
    let moment = Moment { counters: &counters, base: &model.base, chart: &chart, now_s: split_s };
    let popularity = Popularity::of(&past, split_s);
    let mut desk = Desk::default();
    let mut of_task = |task| {
        let truth = truth(task, &counters, &test, split_s, i64::MAX);
        let users: Vec<_> = truth.iter().map(|(user, _)| &*counters.users[*user as usize]).collect();
        let mut by_model = |user| -> Vec<u32> {
            model.foretell(task, user, &moment, &mut desk, 20);
            desk.ranked.iter().map(|(_, product)| *product).collect()
        };
        let model: Vec<_> = users.iter().map(|user| by_model(*user)).collect();
        if task == Task::Discovery {
            let known = |(user, found): (&&_, &Vec<u32>)| {
                let user: &onrush_scoring::counters::User = user;
                found.iter().any(|product| user.knows(*product))
            };
            assert!(!users.iter().zip(&model).any(known), "nothing that was bought before is a discovery");
        }
        let popular: Vec<_> = users.iter().map(|user| popularity.foretell(task, user, 20)).collect();
        let before: Vec<_> = users.iter().map(|user| history(user, split_s, 20)).collect();
        [model, popular, before].map(|foretold| score(&truth, &foretold, PRODUCTS as usize))
    };
    let [model, popular, before]: [Score; 3] = of_task(Task::NextBasket);
    assert!(
        model.ndcg10 > before.ndcg10 * 1.05 && before.ndcg10 > popular.ndcg10,
        "{model:?} {before:?} {popular:?}"
    );
    let [model, popular, _] = of_task(Task::Discovery);
    assert!(model.ndcg10 > popular.ndcg10 * 1.2, "{model:?} {popular:?}");
}

/// A shop numbers its products as they come, and some are gone: what is foretold is the same for the others.
#[test]
fn a_model_foretells_the_same_where_products_have_other_numbers() {
    let sales = shop(84, USERS);
    let model = Model::of(learned(&Sales::of(sales.clone()))).unwrap();
    let now_s = 84 * DAY_S;
    let foretold = |model: &Model, counters: &Counters, user: usize| -> Vec<(f32, u32)> {
        let chart = Chart::of(counters, &model.base, now_s);
        let moment = Moment { counters, base: &model.base, chart: &chart, now_s };
        let mut desk = Desk::default();
        model.foretell(Task::NextBasket, &counters.users[user], &moment, &mut desk, 20);
        desk.ranked
    };
    let counters = Sales::of(sales.clone()).counted(&listings(), now_s);
    // Backwards, with ten products in front that no model knows, and without the last product.
    let numbers: Vec<Option<u32>> =
        (0..PRODUCTS).map(|product| (product + 1 < PRODUCTS).then_some(PRODUCTS + 9 - product)).collect();
    let mut others = vec![Listing { category: 0, brand: 0, price_cents: 1 }; PRODUCTS as usize + 10];
    let mut moved = sales.clone();
    for (listing, number) in listings().iter().zip(&numbers) {
        number.iter().for_each(|number| others[*number as usize] = *listing);
    }
    moved
        .retain_mut(|sale| numbers[sale.product as usize].inspect(|number| sale.product = *number).is_some());
    let without: Vec<Sale> = sales.iter().filter(|sale| sale.product + 1 < PRODUCTS).copied().collect();
    let expected = Sales::of(without).counted(&listings(), now_s);
    let found = Sales::of(moved).counted(&others, now_s);
    let mut placed = model.clone();
    placed.base.place(&numbers);
    let mut alike = 0;
    for user in 0..USERS as usize {
        let named = |found: Vec<(f32, u32)>| -> Vec<(f32, u32)> {
            let back = |number: u32| numbers.iter().position(|known| *known == Some(number)).unwrap() as u32;
            found.into_iter().map(|(score, product)| (score, back(product))).collect()
        };
        let (one, mut other) = (foretold(&model, &expected, user), named(foretold(&placed, &found, user)));
        // Equal scores stand by number, which goes the other way there.
        other.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let near = |(a, b): (&(f32, u32), &(f32, u32))| a.1 == b.1 && (a.0 - b.0).abs() < 1e-3;
        alike += usize::from(one.len() == other.len() && one.iter().zip(&other).all(near));
    }
    // What stands at the end of a bounded list may differ where scores are equal.
    assert!(alike * 10 >= USERS as usize * 9, "{alike} of {USERS} users");
    assert!(!foretold(&model, &counters, 0).is_empty());
}

#[test]
fn a_damaged_file_and_one_that_does_not_fit_together_are_refused() {
    let kept = learned(&Sales::of(shop(70, USERS)));
    let dir = tempfile::tempdir().unwrap();
    let refused = |kept: &Kept| {
        let error = kept.write(dir.path()).err().unwrap().to_string();
        assert!(!dir.path().join("model.onrush").exists(), "one that cannot be read takes no other's place");
        error
    };
    type Spoil = fn(&mut Kept);
    let table: [(Spoil, &str); 8] = [
        (|kept| kept.names.truncate(199), "model: expected 200 names, as many as products, found 199"),
        (
            |kept| kept.learned.factors.truncate(199),
            "model: expected 200 factors, as many as products, found 199",
        ),
        (
            |kept| kept.learned.factors[3][5] = f32::NAN,
            "model: factor of item 3, dimension 5: expected a number within ±1e18, found NaN",
        ),
        (
            |kept| kept.learned.factors[4][0] = -1e13,
            "expected factors within 1e12, found others of product 4",
        ),
        (|kept| kept.learned.relations.confidence = f32::INFINITY, "a confidence above 0, found 5 and inf"),
        (|kept| kept.listings[0].category = 9_999, "model: expected a category of at most 200, found 9999"),
        (|kept| kept.listings[7].brand = 201, "model: expected a brand of at most 200, found 201"),
        (
            |kept| kept.learned.relations.neighbours = Default::default(),
            "expected the neighbours of 200 products, found 0",
        ),
    ];
    for (spoil, expected) in table {
        let mut spoiled = kept.clone();
        spoil(&mut spoiled);
        let found = refused(&spoiled);
        assert!(found.contains(expected), "{found}");
    }
    kept.write(dir.path()).unwrap();
    let (path, bytes) = (dir.path().join(FILE), std::fs::read(dir.path().join(FILE)).unwrap());
    for at in (0..bytes.len()).step_by(bytes.len() / 200) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).unwrap();
        assert!(Model::read(dir.path()).is_err(), "a bit of byte {at}");
        std::fs::write(&path, &bytes[..at]).unwrap();
        assert!(Model::read(dir.path()).is_err(), "cut at {at}");
    }
    for (at, byte, expected) in [
        (8, 2, "expected onrush-m of version 3, found version 2 behind"),
        (15, 3, "expected onrush-m of version 3, found version "),
        (0, b'O', "expected onrush-m of version 3, found version 3 behind \"Onrush-m\""),
    ] {
        let mut other = bytes.clone();
        other[at] = byte;
        std::fs::write(&path, &other).unwrap();
        let found = Model::read(dir.path()).err().unwrap().to_string();
        assert!(found.starts_with(expected), "{found}");
    }
    let mut other = bytes.clone();
    other[8..16].reverse();
    std::fs::write(&path, &other).unwrap();
    let found = Model::read(dir.path()).err().unwrap().to_string();
    assert!(found.contains("little-endian byte order, found version 3 in big-endian"), "{found}");
    std::fs::write(&path, []).unwrap();
    assert!(Model::read(dir.path()).err().unwrap().to_string().ends_with("found 0 bytes"));
}

/// A model that ranks stays as it is while its file is replaced, damaged or taken away.
#[test]
fn a_mapped_model_outlives_its_file() {
    let sales = Sales::of(shop(84, USERS));
    let kept = learned(&sales);
    let dir = tempfile::tempdir().unwrap();
    kept.write(dir.path()).unwrap();
    let model = Model::read(dir.path()).unwrap();
    let (counters, now_s) = (sales.counted(&listings(), i64::MAX), 84 * DAY_S);
    let mut desk = Desk::default();
    let mut foretold = || {
        let chart = Chart::of(&counters, &model.base, now_s);
        let moment = Moment { counters: &counters, base: &model.base, chart: &chart, now_s };
        model.foretell(Task::Discovery, &counters.users[3], &moment, &mut desk, 20);
        desk.ranked.clone()
    };
    let before = foretold();
    assert_eq!(before.len(), 20);
    let mut other = kept.clone();
    other.learned.factors.iter_mut().flatten().for_each(|number| *number = -*number);
    other.write(dir.path()).unwrap();
    assert_eq!(foretold(), before, "replaced");
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    assert_eq!(foretold(), before, "taken away");
    // In memory it is the same.
    let model = Model::of(kept).unwrap();
    let chart = Chart::of(&counters, &model.base, now_s);
    let moment = Moment { counters: &counters, base: &model.base, chart: &chart, now_s };
    model.foretell(Task::Discovery, &counters.users[3], &moment, &mut desk, 20);
    assert_eq!(desk.ranked, before);
}

#[test]
fn too_little_is_said_and_a_training_can_be_called_off() {
    let little =
        |sales: &[Sale]| train(&Sales::of(sales.to_vec()), &listings(), options(), &|_| true).err().unwrap();
    assert_eq!(little(&[]), TrainError::TooLittle { baskets: 0, discoveries: 0 });
    let one = Sale { basket: 1, user: 0, product: 5, time_s: 5, unit_cents: None };
    assert_eq!(little(&[one]), TrainError::TooLittle { baskets: 0, discoveries: 0 });
    let found = little(&shop(70, 4)).to_string();
    assert!(found.starts_with("expected at least 50 customers and weeks (or,"), "{found}");
    let sales = Sales::of(shop(70, USERS));
    // Of a young shop steps are short, and not many baskets will do.
    let young = Sales::of(shop(12, USERS));
    assert!(train(&young, &listings(), options(), &|_| true).is_ok());
    for most in [0.1, 0.5, 0.7, 0.9] {
        let ended = train(&sales, &listings(), options(), &|done| done < most).err();
        assert_eq!(ended, Some(TrainError::Cancelled), "called off at {most}");
    }
}

/// Several users in a pass have the profiles that each has alone, whoever is beside them.
#[test]
fn users_who_are_looked_at_together_are_seen_as_each_alone() {
    let sales = Sales::of(shop(70, USERS));
    let model = Model::of(learned(&sales)).unwrap();
    let (counters, now_s) = (sales.counted(&model.listings, i64::MAX), 70 * DAY_S);
    let chart = Chart::of(&counters, &model.base, now_s);
    let (mut alone, mut together) = (Desk::default(), Desk::default());
    let tasks = [Task::NextBasket, Task::Discovery];
    let whom = |at: usize| Whom { user: &counters.users[at], task: tasks[at % 2], now_s: now_s + at as i64 };
    let whom: Vec<Whom<'_>> = (0..counters.users.len()).map(whom).collect();
    for some in (1..=6).cycle().scan(0, |from, count| {
        *from += count;
        whom.get(*from - count..*from)
    }) {
        let found = together.look_together(some, &model.base);
        assert_eq!(found.len(), some.len());
        for (Whom { user, task, now_s }, found) in some.iter().zip(found) {
            let moment = Moment { counters: &counters, base: &model.base, chart: &chart, now_s: *now_s };
            alone.look(*task, user, &moment);
            assert_eq!(*found, alone.profile);
        }
    }
}
