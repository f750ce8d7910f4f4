//! A pass over a matrix for users that wait together.

use super::instructions::Instructions;
use super::kernel;
use super::matrix::{FACTOR_MAX, ItemMatrix, score};
use super::quantized::Quantized;
use super::rows::ItemFactors;
use super::top::{Sink, Top};
use crate::factors::Factor;

/// The largest number of users in a pass.
pub const QUERIES_MAX: usize = 4;

/// The largest number of items that a query may ask for.
pub const K_MAX: usize = 1_000;

/// What one user asks for.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The user's factor.
    pub user: &'a Factor,
    /// How many items. Of fewer there are all, of none there is nothing.
    pub k: usize,
}

/// An item that came to the top.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scored {
    /// Its number.
    pub item: u32,
    /// See [`score`].
    pub score: f32,
}

/// Why a pass was not begun.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ScanError {
    /// More users than a pass takes.
    #[error("expected at most {QUERIES_MAX} queries in a pass, found {found}")]
    Queries {
        /// How many there were.
        found: usize,
    },
    /// A query asks for more than there is room for.
    #[error("k of query {query}: expected at most {most}, found {found}")]
    K {
        /// Its place among the queries.
        query: usize,
        /// What the pass was made for.
        most: usize,
        /// What it asked for.
        found: usize,
    },
    /// A number of a user's factor is NaN, infinite or too large.
    #[error(
        "user of query {query}, dimension {dimension}: expected a number within ±{FACTOR_MAX:e}, found {found}"
    )]
    User {
        /// Its place among the queries.
        query: usize,
        /// From 0.
        dimension: usize,
        /// What stands there.
        found: f32,
    },
    /// Codes and factors are not of the same items.
    #[error("expected codes of {expected} items, as there are factors, found {found}")]
    Items {
        /// Items of the item matrix.
        expected: u32,
        /// Items of the quantized one.
        found: u32,
    },
}

/// What passes need of memory, made once and used again; one for each thread that scans.
#[derive(Debug)]
pub struct Pass {
    instructions: Instructions,
    k_max: usize,
    tops: [Top; QUERIES_MAX],
    ranked: [Vec<Scored>; QUERIES_MAX],
}

/// How many candidates codes name for the first `k` items.
///
/// What codes round off moves a score by one or two hundredths of what scores differ by; the last candidate
/// stands lower than the last of the top by several times as much.
pub const fn candidates(k: usize) -> usize {
    if k == 0 { 0 } else { k + k / 2 + 24 }
}

impl Pass {
    /// With room for queries of up to `k_max` items, itself at most [`K_MAX`].
    pub fn new(k_max: usize, instructions: Instructions) -> Self {
        let k_max = k_max.min(K_MAX);
        Self {
            instructions,
            k_max,
            tops: std::array::from_fn(|_| Top::with_room_for(candidates(k_max))),
            ranked: std::array::from_fn(|_| Vec::with_capacity(k_max)),
        }
    }

    /// What it runs with.
    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// The best items for each query by the factors of all, the best first; equal scores by number.
    ///
    /// `admit` is given the place of a query and an item, and says whether this may stand in its top. It is
    /// asked only for items that would enter it by what was seen so far, in rising order for each query.
    ///
    /// # Errors
    /// There are more queries than [`QUERIES_MAX`], one asks for more items than there is room for, or has a
    /// number that is not within ±[`FACTOR_MAX`]. Nothing was scanned then.
    pub fn exact<B: AsRef<[u8]>>(
        &mut self,
        items: &ItemMatrix<B>,
        queries: &[Query<'_>],
        admit: &mut dyn FnMut(usize, u32) -> bool,
    ) -> Result<&[Vec<Scored>], ScanError> {
        self.check(queries)?;
        self.begin(queries, |k| k);
        let blocks = items.blocks();
        let sink = &mut Sink { tops: &mut self.tops, items: items.items(), admit };
        let instructions = self.instructions;
        match queries {
            [] => {}
            [a] => kernel::exact(instructions, blocks, [a.user], sink),
            [a, b] => kernel::exact(instructions, blocks, [a.user, b.user], sink),
            [a, b, c] => kernel::exact(instructions, blocks, [a.user, b.user, c.user], sink),
            [a, b, c, d, ..] => {
                kernel::exact(instructions, blocks, [a.user, b.user, c.user, d.user], sink);
            }
        }
        Ok(self.rank(queries))
    }

    /// The best items for each query by the factors of those that the codes of all name, as of
    /// [`candidates`]; else like [`Pass::exact`].
    ///
    /// # Errors
    /// As those of [`Pass::exact`], or the codes are those of another number of items.
    pub fn quantized<B: AsRef<[u8]>>(
        &mut self,
        items: &impl ItemFactors,
        codes: &Quantized<B>,
        queries: &[Query<'_>],
        admit: &mut dyn FnMut(usize, u32) -> bool,
    ) -> Result<&[Vec<Scored>], ScanError> {
        self.check(queries)?;
        if codes.items() != items.items() {
            return Err(ScanError::Items { expected: items.items(), found: codes.items() });
        }
        self.begin(queries, candidates);
        let blocks = codes.blocks();
        let sink = &mut Sink { tops: &mut self.tops, items: items.items(), admit };
        let user = |query: &Query<'_>| codes.user_codes(query.user);
        let instructions = self.instructions;
        match queries {
            [] => {}
            [a] => kernel::quantized(instructions, blocks, [user(a)], sink),
            [a, b] => kernel::quantized(instructions, blocks, [user(a), user(b)], sink),
            [a, b, c] => kernel::quantized(instructions, blocks, [user(a), user(b), user(c)], sink),
            [a, b, c, d, ..] => {
                kernel::quantized(instructions, blocks, [user(a), user(b), user(c), user(d)], sink);
            }
        }
        for (top, query) in self.tops.iter_mut().zip(queries) {
            top.items().for_each(|item| items.touch(item));
            top.rescore(|item| items.factor(item).map_or(f32::NEG_INFINITY, |item| score(&item, query.user)));
        }
        Ok(self.rank(queries))
    }

    /// Whether all queries can be answered.
    fn check(&self, queries: &[Query<'_>]) -> Result<(), ScanError> {
        if queries.len() > QUERIES_MAX {
            return Err(ScanError::Queries { found: queries.len() });
        }
        for (query, Query { user, k }) in queries.iter().enumerate() {
            if *k > self.k_max {
                return Err(ScanError::K { query, most: self.k_max, found: *k });
            }
            let usable = |number: &f32| number.abs() <= FACTOR_MAX;
            if let Some(dimension) = user.iter().position(|number| !usable(number)) {
                return Err(ScanError::User { query, dimension, found: user[dimension] });
            }
        }
        Ok(())
    }

    fn begin(&mut self, queries: &[Query<'_>], keep: impl Fn(usize) -> usize) {
        self.tops.iter_mut().zip(queries).for_each(|(top, query)| top.begin(keep(query.k)));
    }

    /// Sorts what came to the tops.
    fn rank(&mut self, queries: &[Query<'_>]) -> &[Vec<Scored>] {
        for ((ranked, top), query) in self.ranked.iter_mut().zip(&mut self.tops).zip(queries) {
            ranked.clear();
            ranked.extend(top.first(query.k).map(|(item, score)| Scored { item, score }));
        }
        &self.ranked[..queries.len()]
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::factors::DIMENSIONS;
    use crate::scan::{AlignedBytes, ItemRows};

    struct Shelf {
        factors: Vec<Factor>,
        matrix: ItemMatrix<AlignedBytes>,
        rows: ItemRows<AlignedBytes>,
        codes: Quantized<AlignedBytes>,
    }

    impl Shelf {
        fn of(factors: Vec<Factor>) -> Self {
            let matrix = ItemMatrix::build(&factors).unwrap();
            let codes = Quantized::build(&matrix);
            Self { rows: ItemRows::build(&factors).unwrap(), factors, matrix, codes }
        }

        /// By sorting all.
        fn naive(&self, user: &Factor, k: usize, admit: impl Fn(u32) -> bool) -> Vec<Scored> {
            let items = (0..).zip(&self.factors).filter(|(item, _)| admit(*item));
            let mut scored: Vec<_> =
                items.map(|(item, factor)| Scored { item, score: score(factor, user) }).collect();
            scored.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap().then(a.item.cmp(&b.item)));
            scored.truncate(k);
            scored
        }
    }

    fn normal(random: &mut fastrand::Rng) -> Factor {
        std::array::from_fn(|_| (0..12).map(|_| random.f32()).sum::<f32>() - 6.0)
    }

    fn shelf(items: usize, seed: u64) -> (Shelf, Vec<Factor>) {
        let mut random = fastrand::Rng::with_seed(seed);
        let users = (0..8).map(|_| normal(&mut random)).collect();
        (Shelf::of((0..items).map(|_| normal(&mut random)).collect()), users)
    }

    fn all(_: usize, _: u32) -> bool {
        true
    }

    /// Bits of scores too.
    fn bits(ranked: &[Vec<Scored>]) -> Vec<Vec<(u32, u32)>> {
        let of = |ranked: &Vec<Scored>| ranked.iter().map(|s| (s.item, s.score.to_bits())).collect();
        ranked.iter().map(of).collect()
    }

    #[test]
    fn the_exact_top_is_that_of_sorting_all() {
        for items in [0, 1, 2, 15, 16, 17, 255, 256, 257, 1000, 5003] {
            let (shelf, users) = shelf(items, 1);
            for instructions in Instructions::all() {
                let mut pass = Pass::new(K_MAX, instructions);
                for k in [0, 1, 20, 1000] {
                    let query = Query { user: &users[0], k };
                    let ranked = pass.exact(&shelf.matrix, &[query], &mut all).unwrap();
                    assert_eq!(ranked, [shelf.naive(&users[0], k, |_| true)], "{items} {k} {instructions}");
                }
            }
        }
    }

    #[test]
    fn all_instructions_and_all_companies_rank_by_the_same_bits() {
        let (shelf, users) = shelf(4001, 2);
        let asked = [20, 1000, 1, 0];
        let queries: Vec<_> = users.iter().zip(asked).map(|(user, k)| Query { user, k }).collect();
        let mut portable = Pass::new(K_MAX, Instructions::portable());
        let exact: Vec<_> = queries
            .iter()
            .map(|query| bits(portable.exact(&shelf.matrix, &[*query], &mut all).unwrap()).remove(0))
            .collect();
        let quantized: Vec<_> = queries
            .iter()
            .map(|query| {
                let ranked = portable.quantized(&shelf.rows, &shelf.codes, &[*query], &mut all).unwrap();
                bits(ranked).remove(0)
            })
            .collect();
        for instructions in Instructions::all() {
            let mut pass = Pass::new(K_MAX, instructions);
            for together in 0..=QUERIES_MAX {
                let queries = &queries[..together];
                let ranked = pass.exact(&shelf.matrix, queries, &mut all).unwrap();
                assert_eq!(bits(ranked), exact[..together], "{instructions} {together}");
                let ranked = pass.quantized(&shelf.rows, &shelf.codes, queries, &mut all).unwrap();
                assert_eq!(bits(ranked), quantized[..together], "{instructions} {together}");
                let ranked = pass.quantized(&shelf.matrix, &shelf.codes, queries, &mut all).unwrap();
                assert_eq!(bits(ranked), quantized[..together], "{instructions} {together}");
            }
        }
    }

    #[test]
    fn the_largest_codes_are_summed_without_loss() {
        // Signs of all dimensions alike or not: sums of codes are as large as they get, up and down.
        let signs =
            |bits: u64| -> Factor { std::array::from_fn(|d| if bits >> d & 1 == 0 { 1.0 } else { -1.0 }) };
        let patterns = [0, u64::MAX, 0x5555_5555_5555_5555, 0x00ff_00ff_00ff_00ff, 1, 0xffff_ffff_0000_0000];
        let shelf = Shelf::of((0..300).map(|at| signs(patterns[at % 6])).collect());
        for bits in patterns {
            let user = signs(bits);
            let query = Query { user: &user, k: 100 };
            let mut portable = Pass::new(100, Instructions::portable());
            let wanted = portable.quantized(&shelf.rows, &shelf.codes, &[query], &mut all).unwrap();
            let scores = |ranked: &[Scored]| ranked.iter().map(|scored| scored.score).collect::<Vec<_>>();
            assert_eq!(scores(&wanted[0]), scores(&shelf.naive(&user, 100, |_| true)));
            for instructions in Instructions::all() {
                let mut pass = Pass::new(100, instructions);
                let ranked = pass.quantized(&shelf.rows, &shelf.codes, &[query], &mut all).unwrap();
                assert_eq!(ranked, wanted, "{instructions}");
            }
        }
    }

    #[test]
    fn equal_scores_stand_by_number() {
        let mut random = fastrand::Rng::with_seed(4);
        let few: Vec<Factor> = (0..7).map(|_| normal(&mut random)).collect();
        let shelf = Shelf::of((0..3001).map(|at| few[at % 7]).collect());
        let zeros = [0.0; DIMENSIONS];
        for user in [&normal(&mut random), &zeros] {
            for instructions in Instructions::all() {
                let mut pass = Pass::new(K_MAX, instructions);
                for k in [1, 20, 1000] {
                    let query = Query { user, k };
                    let wanted = [shelf.naive(user, k, |_| true)];
                    assert_eq!(pass.exact(&shelf.matrix, &[query], &mut all).unwrap(), wanted);
                    assert_eq!(
                        pass.quantized(&shelf.rows, &shelf.codes, &[query], &mut all).unwrap(),
                        wanted
                    );
                }
            }
        }
    }

    #[test]
    fn who_is_not_admitted_takes_no_place_and_few_are_asked_about() {
        let (shelf, users) = shelf(10_000, 6);
        let best: Vec<_> = shelf.naive(&users[1], 60, |_| true).iter().map(|scored| scored.item).collect();
        let queries = [Query { user: &users[0], k: 20 }, Query { user: &users[1], k: 20 }];
        let admitted = |n: usize, item: u32| n == 0 || !best.contains(&item);
        let wanted = [0, 1].map(|n| shelf.naive(&users[n], 20, |item| admitted(n, item)));
        for instructions in Instructions::all() {
            let mut pass = Pass::new(20, instructions);
            let asked = Cell::new(0);
            let mut admit = |n: usize, item: u32| {
                asked.set(asked.get() + 1);
                admitted(n, item)
            };
            assert_eq!(pass.exact(&shelf.matrix, &queries, &mut admit).unwrap(), wanted);
            assert!((40..3000).contains(&asked.replace(0)));
            assert_eq!(pass.quantized(&shelf.rows, &shelf.codes, &queries, &mut admit).unwrap(), wanted);
            assert!((40..3000).contains(&asked.replace(0)));
            let nobody = pass.quantized(&shelf.rows, &shelf.codes, &queries, &mut |_, _| false).unwrap();
            assert_eq!(nobody, [vec![], vec![]]);
        }
    }

    /// Which share of the exact top the codes find, for each `k`.
    fn overlap(factors: Vec<Factor>, users: &[Factor], k: usize) -> f64 {
        let shelf = Shelf::of(factors);
        let mut pass = Pass::new(k, Instructions::widest());
        let (mut found, mut wanted) = (0, 0);
        for user in users {
            let queries = [Query { user, k }];
            let exact = pass.exact(&shelf.matrix, &queries, &mut all).unwrap()[0].clone();
            let named = &pass.quantized(&shelf.rows, &shelf.codes, &queries, &mut all).unwrap()[0];
            found += named.iter().filter(|scored| exact.contains(scored)).count();
            wanted += exact.len();
        }
        found as f64 / wanted as f64
    }

    #[test]
    fn codes_find_the_top_of_random_and_of_skewed_factors() {
        let items = 4_000;
        let mut random = fastrand::Rng::with_seed(7);
        let plain: Vec<Factor> = (0..items).map(|_| normal(&mut random)).collect();
        let users: Vec<Factor> = (0..25).map(|_| normal(&mut random)).collect();
        let lengths: Vec<f32> = (0..items).map(|_| (1.5 * normal(&mut random)[0]).exp()).collect();
        type Skew<'a> = (&'a str, &'a dyn Fn(usize, usize, f32) -> f32);
        let skews: [Skew<'_>; 8] = [
            ("none", &|_, _, x| x),
            ("dimensions that fall as 1/d", &|_, d, x| x / (d + 1) as f32),
            ("dimensions over six decades", &|_, d, x| x * 10f32.powf(-(d as f32) / 10.0)),
            ("lengths by a log-normal law", &|item, _, x| x * lengths[item]),
            ("a part in common", &|_, d, x| x + if d < 8 { 30.0 } else { 1.0 }),
            ("one dimension above all", &|_, d, x| if d == 5 { 1000.0 * x } else { x }),
            ("a part in common, as long as the item", &|item, d, x| {
                (x + if d < 8 { 3.0 } else { 0.0 }) * lengths[item] / (d + 1) as f32
            }),
            ("few numbers above all", &|_, _, x| x * x * x * x * x),
        ];
        for (name, skew) in skews {
            let skewed = |item: usize| std::array::from_fn(|d| skew(item, d, plain[item][d]));
            let found = overlap((0..items).map(skewed).collect(), &users, 20);
            assert!(found >= 0.99, "{name}: {found}");
            // Users as skewed as the items, as a training gives them.
            let alike: Vec<Factor> =
                users.iter().map(|user| std::array::from_fn(|d| skew(0, d, user[d]))).collect();
            let found = overlap((0..items).map(skewed).collect(), &alike, 20);
            assert!(found >= 0.99, "{name}, users too: {found}");
        }
        assert!(overlap(plain, &users[..10], 1000) >= 0.99);
    }

    #[test]
    fn numbers_at_their_limits_leave_scores_that_order() {
        let at = |sign: f32| [sign * FACTOR_MAX; DIMENSIONS];
        let shelf = Shelf::of(vec![at(-1.0), at(1.0), [0.0; DIMENSIONS], [1e-45; DIMENSIONS]]);
        for (user, wanted) in [(at(1.0), [1, 3, 2, 0]), (at(-1.0), [0, 2, 3, 1])] {
            for instructions in Instructions::all() {
                let mut pass = Pass::new(10, instructions);
                let query = Query { user: &user, k: 10 };
                for exactly in [true, false] {
                    let ranked = match exactly {
                        true => pass.exact(&shelf.matrix, &[query], &mut all).unwrap(),
                        false => pass.quantized(&shelf.rows, &shelf.codes, &[query], &mut all).unwrap(),
                    };
                    assert_eq!(ranked[0].iter().map(|scored| scored.item).collect::<Vec<_>>(), wanted);
                    assert!(ranked[0].iter().all(|scored| scored.score.is_finite()));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let (shelf, users) = shelf(100, 8);
        let mut pass = Pass::new(50, Instructions::widest());
        let good = Query { user: &users[0], k: 5 };
        let mut refused = |queries: &[Query<'_>]| {
            let error = pass.exact(&shelf.matrix, queries, &mut all).unwrap_err();
            let also = pass.quantized(&shelf.rows, &shelf.codes, queries, &mut all).unwrap_err();
            assert_eq!(error.to_string(), also.to_string());
            error
        };
        assert_eq!(refused(&[good; 5]), ScanError::Queries { found: 5 });
        let greedy = Query { k: 1_000_000, ..good };
        assert_eq!(refused(&[good, greedy]), ScanError::K { query: 1, most: 50, found: 1_000_000 });
        let mut broken = users[1];
        broken[9] = f32::INFINITY;
        let error = refused(&[good, good, Query { user: &broken, k: 1 }]);
        assert_eq!(error, ScanError::User { query: 2, dimension: 9, found: f32::INFINITY });
        broken[9] = f32::NAN;
        let said = "user of query 0, dimension 9: expected a number within ±1e18, found NaN";
        assert_eq!(refused(&[Query { user: &broken, k: 1 }]).to_string(), said);
        let (other, _) = super::tests::shelf(99, 8);
        let error = pass.quantized(&shelf.rows, &other.codes, &[good], &mut all).unwrap_err();
        assert_eq!(error, ScanError::Items { expected: 100, found: 99 });
    }
}
