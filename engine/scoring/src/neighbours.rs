//! Which products the same users buy: for each product those with the highest cosine over users, where a
//! user who buys everything says less.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use rkyv::{Archive, Deserialize, Serialize};

use crate::factors::{GoOn, Sparse};

/// Neighbours kept of a product.
pub const NEIGHBOURS_MAX: usize = 32;
/// Buyers that a product needs to have neighbours, and to be one.
const BUYERS_MIN: usize = 5;
/// Products of a user that count, those with the highest weight: what is looked at grows by the square.
const OF_USER_MAX: usize = 256;
/// What a cosine of few buyers is held down by.
const SHRINK: f32 = 0.06;

/// A product and how near it is, in 0..1.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its number.
    pub product: u32,
    /// How near.
    pub nearness: f32,
}

/// The nearest products of each, the nearest first.
#[derive(Clone, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Neighbours {
    starts: Vec<u32>,
    all: Vec<Neighbour>,
}

impl Neighbours {
    /// Finds them; `by_user` has a row of (product, weight, not negative) for each user. `None` if it was called off.
    pub fn learn(by_user: &Sparse, products: usize, go_on: GoOn<'_>) -> Option<Self> {
        let by_product = by_user.transposed(products);
        // Products with enough buyers, numbered closely.
        let known: Vec<u32> =
            (0..products as u32).filter(|at| by_product.row(*at as usize).len() >= BUYERS_MIN).collect();
        let mut place = vec![u32::MAX; products];
        known.iter().zip(0..).for_each(|(product, at)| place[*product as usize] = at);
        let users: Vec<Vec<(u32, f32)>> =
            (0..by_user.rows()).map(|user| held(by_user.row(user), &place)).collect();
        let mut squares = vec![0f32; known.len()];
        users.iter().flatten().for_each(|(at, weight)| squares[*at as usize] += weight * weight);
        let roots: Vec<f32> = squares.iter().map(|sum| sum.sqrt()).collect();
        let mut sums = Sums { of: vec![0f32; known.len()], touched: vec![0; known.len() + 1] };
        let mut neighbours = Self { starts: vec![0], all: Vec::new() };
        for (product, own) in place.iter().enumerate() {
            if product % 1_024 == 0 && !go_on(product as f32 / products as f32) {
                return None;
            }
            if *own != u32::MAX {
                let found = nearest(*own, by_product.row(product), &users, &roots, &mut sums);
                let named = found
                    .into_iter()
                    .map(|(nearness, at)| Neighbour { product: known[at as usize], nearness });
                neighbours.all.extend(named);
            }
            neighbours.starts.push(neighbours.all.len() as u32);
        }
        Some(neighbours)
    }

    /// What is wrong with it for so many products; `None` if nothing is.
    pub(crate) fn fault(&self, products: usize) -> Option<String> {
        let ends = [self.starts.first(), self.starts.last()].map(|end| end.map(|end| *end as usize));
        if self.starts.len() != products + 1 || ends != [Some(0), Some(self.all.len())] {
            return Some(format!(
                "expected the neighbours of {products} products, found {}",
                self.starts.len()
            ));
        }
        if self.starts.windows(2).any(|pair| pair[0] > pair[1]) {
            return Some("expected neighbours in the order of their products".into());
        }
        let wrong = self
            .all
            .iter()
            .find(|found| found.product as usize >= products || !(0.0..=1.0).contains(&found.nearness));
        wrong.map(|found| format!("expected a neighbour below {products} that is near, found {found:?}"))
    }

    /// The neighbours of a product.
    pub fn of(&self, product: u32) -> &[Neighbour] {
        let at = product as usize;
        let (Some(from), Some(to)) = (self.starts.get(at), self.starts.get(at + 1)) else { return &[] };
        &self.all[*from as usize..*to as usize]
    }
}

/// A sum for each product, all zero between one use and the next.
struct Sums {
    of: Vec<f32>,
    /// Room for those that are not, and one more.
    touched: Vec<u32>,
}

/// What counts of a user, by place.
fn held(row: &[(u32, f32)], place: &[u32]) -> Vec<(u32, f32)> {
    let say = 1.0 / (2.0 + row.len() as f32).ln();
    let known = row.iter().map(|(product, weight)| (place[*product as usize], weight * say));
    let mut held: Vec<(u32, f32)> = known.filter(|(at, _)| *at != u32::MAX).collect();
    if held.len() > OF_USER_MAX {
        held.select_nth_unstable_by(OF_USER_MAX, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        held.truncate(OF_USER_MAX);
        held.sort_unstable_by_key(|(at, _)| *at);
    }
    held
}

/// The nearest products of one.
fn nearest(
    own: u32,
    buyers: &[(u32, f32)],
    users: &[Vec<(u32, f32)>],
    roots: &[f32],
    sums: &mut Sums,
) -> Vec<(f32, u32)> {
    let mut count = 0;
    for (user, _) in buyers {
        let row = &users[*user as usize];
        let Ok(at) = row.binary_search_by_key(&own, |(at, _)| *at) else { continue };
        let held = row[at].1;
        for (at, weight) in row {
            let sum = &mut sums.of[*at as usize];
            // Without a branch, which nobody could foretell: the place is written to, and stays if it is the first time.
            let more = held * weight;
            sums.touched[count] = *at;
            count += usize::from(*sum == 0.0) & usize::from(more > 0.0);
            *sum += more;
        }
    }
    let root = roots[own as usize];
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(count);
    for at in sums.touched[..count].iter().copied() {
        let shared = std::mem::take(&mut sums.of[at as usize]);
        if at != own && shared > 0.0 {
            best.push((shared / (root * roots[at as usize] + SHRINK), at));
        }
    }
    let nearer = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if best.len() > NEIGHBOURS_MAX {
        best.select_nth_unstable_by(NEIGHBOURS_MAX, nearer);
        best.truncate(NEIGHBOURS_MAX);
    }
    best.sort_unstable_by(nearer);
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_same_users_buy_is_near_and_what_few_buy_is_left_out() {
        let mut rows = Sparse::new();
        for user in 0..12u32 {
            // Tea with cups, by all; a pot by half of them; a book by two.
            let all = [Some(0), Some(1), (user % 2 == 0).then_some(2), (user < 2).then_some(3)];
            rows.push(all.into_iter().flatten().map(|product| (product, 1.0)));
        }
        let neighbours = Neighbours::learn(&rows, 5, &|_| true).unwrap();
        let names = |product| neighbours.of(product).iter().map(|found| found.product).collect::<Vec<_>>();
        assert_eq!(names(0), [1, 2]);
        assert_eq!(names(2).len(), 2);
        assert!(names(3).is_empty() && names(4).is_empty() && names(99).is_empty());
        let near: Vec<f32> = neighbours.of(0).iter().map(|found| found.nearness).collect();
        assert!(near[0] > near[1] && near[0] <= 1.0 && near[1] > 0.5, "{near:?}");
        assert!(Neighbours::learn(&rows, 5, &|_| false).is_none(), "called off");
        assert_eq!(neighbours.fault(5), None);
        assert!(neighbours.fault(2).is_some() && neighbours.fault(6).is_some());
    }
}
