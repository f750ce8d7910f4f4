//! How well it was foretold.

use std::collections::BTreeSet;

use crate::candidates::Task;
use crate::counters::Counters;
use crate::sales::Sales;

/// Means over users.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Score {
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
    let mut sum = Score { users: truth.len(), ..Score::default() };
    let mut shown: BTreeSet<u32> = BTreeSet::new();
    for ((_, bought), foretold) in truth.iter().zip(foretold) {
        let hits =
            |depth: usize| foretold.iter().take(depth).filter(|product| bought.contains(product)).count();
        sum.recall10 += hits(10) as f64 / bought.len() as f64;
        sum.recall20 += hits(20) as f64 / bought.len() as f64;
        let gain = |place: usize| 1.0 / (place as f64 + 2.0).log2();
        let found = foretold.iter().take(10).zip(0..).filter(|(product, _)| bought.contains(product));
        let gained: f64 = found.map(|(_, place)| gain(place)).sum();
        let ideal: f64 = (0..bought.len().min(10)).map(gain).sum();
        sum.ndcg10 += gained / ideal;
        shown.extend(foretold.iter().take(10));
    }
    let count = truth.len().max(1) as f64;
    Score {
        recall10: sum.recall10 / count,
        recall20: sum.recall20 / count,
        ndcg10: sum.ndcg10 / count,
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
        }
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
