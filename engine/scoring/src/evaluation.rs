//! How well it was foretold.

use std::collections::BTreeSet;

use crate::candidates::Task;
use crate::counters::Counters;
use crate::sales::Sales;

/// How well a list foretells what was bought, or the mean over many; of the first so many of a list.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Hits {
    /// 1 if anything among them was bought; as a mean the share of such lists.
    pub hit_rate: f64,
    /// Share of what was bought that is among them.
    pub recall: f64,
    /// The same, where what stands above counts more, against the best order.
    pub ndcg: f64,
}

impl Hits {
    /// Of a list's first `depth`: whether each was bought, the first one first; of so many that were.
    pub fn of(depth: usize, list: impl IntoIterator<Item = bool>, bought: usize) -> Self {
        let gain = |place: usize| 1.0 / (place as f64 + 2.0).log2();
        let (mut hits, mut gained) = (0usize, 0.0);
        for (place, _) in list.into_iter().take(depth).enumerate().filter(|(_, is_bought)| *is_bought) {
            hits += 1;
            gained += gain(place);
        }
        let ideal: f64 = (0..bought.min(depth)).map(gain).sum();
        Self {
            hit_rate: f64::from(u8::from(hits > 0)),
            recall: hits as f64 / bought.max(1) as f64,
            ndcg: if ideal > 0.0 { gained / ideal } else { 0.0 },
        }
    }

    /// The mean of many; 0 of none.
    pub fn mean(all: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len().max(1) as f64;
        Self {
            hit_rate: mean(|hits| hits.hit_rate),
            recall: mean(|hits| hits.recall),
            ndcg: mean(|hits| hits.ndcg),
        }
    }
}

/// Means over users.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Score {
    /// Share of users who bought anything among the first 10.
    pub hit_rate10: f64,
    /// Share of what was bought that is among the first 10.
    pub recall10: f64,
    /// The same among the first 20.
    pub recall20: f64,
    /// The same among the first 10, where what stands above counts more.
    pub ndcg10: f64,
    /// Different products among all first tens, as a share of those in the history.
    pub coverage10: f64,
    /// Users.
    pub users: usize,
}

/// What each known user bought: (user, products).
pub type Truth = Vec<(u32, BTreeSet<u32>)>;

/// What known users bought from a time on, up to another.
pub fn truth(task: Task, known: &Counters, sales: &Sales, from_s: i64, to_s: i64) -> Truth {
    let mut bought: Vec<Option<BTreeSet<u32>>> = vec![None; known.users.len()];
    for basket in sales.baskets_from(from_s).take_while(|basket| basket.time_s < to_s) {
        let Some(user) = known.users.get(basket.user as usize).filter(|user| user.baskets > 0) else {
            continue;
        };
        let found = &mut bought[basket.user as usize];
        let products = basket.lines.iter().map(|line| line.product);
        match task {
            Task::NextBasket => {
                found.get_or_insert_with(|| products.collect());
            }
            Task::Discovery => {
                found.get_or_insert_default().extend(products.filter(|product| !user.knows(*product)));
            }
        }
    }
    let found = (0..).zip(bought).filter_map(|(user, products)| Some((user, products?)));
    found.filter(|(_, products)| !products.is_empty()).collect()
}

/// Scores what was foretold, 20 products for each.
pub fn score(truth: &Truth, foretold: &[Vec<u32>], products_sold: usize) -> Score {
    let of = |depth: usize| -> Vec<Hits> {
        let lists = truth.iter().zip(foretold);
        let hits = lists.map(|((_, bought), list)| {
            Hits::of(depth, list.iter().map(|product| bought.contains(product)), bought.len())
        });
        hits.collect()
    };
    let (ten, twenty) = (Hits::mean(&of(10)), Hits::mean(&of(20)));
    let shown: BTreeSet<u32> = foretold.iter().flat_map(|list| list.iter().take(10)).copied().collect();
    Score {
        hit_rate10: ten.hit_rate,
        recall10: ten.recall,
        recall20: twenty.recall,
        ndcg10: ten.ndcg,
        coverage10: shown.len() as f64 / products_sold.max(1) as f64,
        users: truth.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Listing;
    use crate::sales::Sale;

    #[test]
    fn a_foretelling_is_scored_as_the_field_does() {
        let log2 = |number: f64| 1.0 / number.log2();
        let ideal10: f64 = (2..12).map(|place| log2(f64::from(place))).sum();
        let many: Vec<u32> = (0..20).collect();
        let table: [(&[u32], &[u32], [f64; 3]); 6] = [
            (&[1], &[1, 2, 3], [1.0, 1.0, 1.0]),
            (&[9], &[1, 2, 3], [0.0, 0.0, 0.0]),
            (&[2, 9], &[1, 2, 3], [0.5, 0.5, log2(3.0) / (log2(2.0) + log2(3.0))]),
            (&many, &many, [0.5, 1.0, 1.0]),
            (&[15], &many, [0.0, 1.0, 0.0]),
            (&many, &[0], [0.05, 0.05, log2(2.0) / ideal10]),
        ];
        for (bought, foretold, [recall10, recall20, ndcg10]) in table {
            let truth = vec![(0, bought.iter().copied().collect())];
            let found = score(&truth, &[foretold.to_vec()], 40);
            assert_eq!((found.recall10, found.recall20, found.users), (recall10, recall20, 1), "{bought:?}");
            assert!((found.ndcg10 - ndcg10).abs() < 1e-12, "{bought:?}: {found:?}");
            assert_eq!(found.coverage10, foretold.len().min(10) as f64 / 40.0);
            assert_eq!(found.hit_rate10, f64::from(u8::from(recall10 > 0.0)));
        }
        let [hit, miss] = [true, false].map(|is_bought| Hits::of(10, [is_bought], 2));
        let half = Hits { hit_rate: 0.5, recall: 0.25, ndcg: hit.ndcg / 2.0 };
        assert_eq!((Hits::mean(&[hit, miss]), Hits::mean(&[])), (half, Hits::default()));
        assert_eq!(Hits::of(10, [], 0), Hits::default());
        assert_eq!(score(&Vec::new(), &[], 0), Score::default());
    }

    #[test]
    fn the_truth_is_the_first_basket_or_all_that_is_new() {
        let sale = |basket, user, product, time_s| Sale { basket, user, product, time_s, unit_cents: None };
        let sales = Sales::of(vec![
            sale(1, 0, 5, 100),
            sale(2, 0, 5, 200),
            sale(2, 0, 6, 200),
            sale(3, 0, 7, 300),
            sale(4, 1, 6, 250),
            sale(5, 0, 8, 900),
        ]);
        let listings = [Listing { category: 0, brand: 0, price_cents: 1 }; 9];
        let known = sales.counted(&listings, 200);
        let set = |products: &[u32]| products.iter().copied().collect::<BTreeSet<u32>>();
        // The second user is not known yet.
        assert_eq!(truth(Task::NextBasket, &known, &sales, 200, 800), [(0, set(&[5, 6]))]);
        assert_eq!(truth(Task::Discovery, &known, &sales, 200, 800), [(0, set(&[6, 7]))]);
        assert_eq!(truth(Task::Discovery, &known, &sales, 200, i64::MAX), [(0, set(&[6, 7, 8]))]);
        assert_eq!(truth(Task::NextBasket, &known, &sales, 901, i64::MAX), []);
    }
}
