//! Who wants what: baskets and customers.

use smallvec::{SmallVec, smallvec};

use crate::plan::is_hot_phase;
use crate::random::Random;
use crate::zipf::Popularity;

/// Lines of a basket as (index into the run's items, units); one line stays in place.
pub(crate) type Basket = SmallVec<[(u32, u32); 1]>;

/// Most lines of a retail basket, as in the data the shape was fitted on.
pub(crate) const BASKET_LINES_MAX: u32 = 161;
/// Basket lines are log-normal(mu, sigma), rounded down.
const BASKET_MU: f64 = 1.724;
const BASKET_SIGMA: f64 = 1.115;
/// Shares of quantities 1, 2, 3, ... of a line in public retail data.
const QUANTITY_SHARES: [f64; 12] = [
    0.79973, 0.146715, 0.026386, 0.015647, 0.004238, 0.003581, 0.000567, 0.001002, 0.000339, 0.000887,
    0.000086, 0.000821,
];
/// The hot set moves on this often.
const ROTATION_NS: u64 = 30_000_000_000;

/// One customer's wish.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Wish {
    /// Who.
    pub(crate) customer: u32,
    /// What.
    pub(crate) lines: Basket,
}

/// Where wishes come from.
#[derive(Clone, Debug)]
pub(crate) enum Demand {
    /// Most buyers want one of a few hot items.
    Hot(Hot),
    /// Skewed baskets over a whole catalogue.
    Retail(Retail),
    /// A crowd with bots in it.
    Bots(Bots),
    /// A steady crowd, and one SKU that takes all in every other phase.
    Neighbours(Neighbours),
    /// Recorded baskets, in order.
    Recorded(Vec<Wish>),
}

/// A sale's crowd.
#[derive(Clone, Debug)]
pub(crate) struct Hot {
    /// Items 0..hot are what the sale is about.
    pub(crate) hot: u32,
    /// All items.
    pub(crate) items: u32,
    /// Share of buys on the hot ones.
    pub(crate) share: f64,
    /// Customers 0..customers.
    pub(crate) customers: u32,
    /// Customers 0..eager come back again and again, to run into the limit.
    pub(crate) eager: u32,
    /// Share of arrivals by eager customers.
    pub(crate) eager_share: f64,
    /// A buyer takes 1..=this many units, one in four buyers more than one.
    pub(crate) quantity_max: u32,
}

/// A supermarket's crowd.
#[derive(Clone, Debug)]
pub(crate) struct Retail {
    /// Which items.
    pub(crate) popularity: Popularity,
    /// Customers 0..customers.
    pub(crate) customers: u32,
}

/// A sale's crowd in which few are many.
#[derive(Clone, Debug)]
pub(crate) struct Bots {
    /// Customers 0..bots.
    pub(crate) bots: u32,
    /// The customers behind them.
    pub(crate) people: u32,
    /// Share of arrivals that are of bots.
    pub(crate) arrivals: f64,
    /// Units of a hot item per customer; 0 = no limit.
    pub(crate) limit: u32,
    /// Items 0..hot are what the sale is about.
    pub(crate) hot: u32,
    /// All items.
    pub(crate) items: u32,
    /// Share of people's buys on the hot ones.
    pub(crate) share: f64,
}

/// A steady crowd on items 1..items, beside which all want item 0 in every other phase.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours {
    /// All items.
    pub(crate) items: u32,
    /// Share of arrivals for item 0 in its phases.
    pub(crate) hot: f64,
    /// Length of a phase.
    pub(crate) phase_ns: u64,
    /// Customers 0..customers.
    pub(crate) customers: u32,
}

impl Demand {
    /// Customers are numbered below this; those of a recording are not counted.
    pub(crate) fn customers(&self) -> u32 {
        match self {
            Self::Hot(hot) => hot.customers,
            Self::Retail(retail) => retail.customers,
            Self::Bots(bots) => bots.bots + bots.people,
            Self::Neighbours(neighbours) => neighbours.customers,
            Self::Recorded(_) => u32::MAX,
        }
    }

    /// The wish of arrival number `arrival` at `at_ns`; `None` past the end of a recording.
    pub(crate) fn wish(&self, arrival: u32, at_ns: u64, random: &mut Random) -> Option<Wish> {
        match self {
            Self::Hot(hot) => Some(hot.wish(random)),
            Self::Retail(retail) => Some(retail.wish(at_ns, random)),
            Self::Bots(bots) => Some(bots.wish(random)),
            Self::Neighbours(neighbours) => Some(neighbours.wish(at_ns, random)),
            Self::Recorded(wishes) => wishes.get(arrival as usize).cloned(),
        }
    }
}

impl Hot {
    fn wish(&self, random: &mut Random) -> Wish {
        let eager = random.chance(self.eager_share);
        let customer = random.below(u64::from(if eager { self.eager } else { self.customers })) as u32;
        let item = if self.items == self.hot || random.chance(self.share) {
            random.below(u64::from(self.hot)) as u32
        } else {
            self.hot + random.below(u64::from(self.items - self.hot)) as u32
        };
        let several = self.quantity_max > 1 && random.chance(0.25);
        let quantity = if several { 2 + random.below(u64::from(self.quantity_max - 1)) as u32 } else { 1 };
        Wish { customer, lines: smallvec![(item, quantity)] }
    }
}

impl Bots {
    fn wish(&self, random: &mut Random) -> Wish {
        if !random.chance(self.arrivals) {
            let people = Hot {
                hot: self.hot,
                items: self.items,
                share: self.share,
                customers: self.people,
                eager: 1,
                eager_share: 0.0,
                quantity_max: if self.limit == 0 { 2 } else { self.limit.min(2) },
            };
            let wish = people.wish(random);
            return Wish { customer: self.bots + wish.customer, ..wish };
        }
        let (customer, item) = (random.below(self.bots.into()) as u32, random.below(self.hot.into()) as u32);
        // More than the limit at once, or as much as it allows again and again, each time under a new key.
        let allowed = if self.limit == 0 { 2 } else { self.limit };
        let quantity = if random.chance(0.5) {
            allowed + 1 + random.below(3) as u32
        } else {
            1 + random.below(allowed.into()) as u32
        };
        Wish { customer, lines: smallvec![(item, quantity)] }
    }
}

impl Neighbours {
    fn wish(&self, at_ns: u64, random: &mut Random) -> Wish {
        let hot = is_hot_phase(self.phase_ns, at_ns) && random.chance(self.hot);
        let item = if hot { 0 } else { 1 + random.below(u64::from(self.items) - 1) as u32 };
        Wish { customer: random.below(self.customers.into()) as u32, lines: smallvec![(item, 1)] }
    }
}

impl Retail {
    fn wish(&self, at_ns: u64, random: &mut Random) -> Wish {
        let items = self.popularity.len();
        // A seventh of the catalogue further each time: the old hot set falls into the tail.
        let shift = (at_ns / ROTATION_NS) * u64::from(items / 7 + 1);
        let customer = random.below(u64::from(self.customers)) as u32;
        let mut lines = Basket::new();
        for _ in 0..basket_lines(random).min(items) {
            let rank = self.popularity.draw(random);
            let item = ((u64::from(rank) + shift) % u64::from(items)) as u32;
            // A product drawn twice is one line, as on a receipt.
            if lines.iter().all(|(other, _)| *other != item) {
                lines.push((item, quantity(random)));
            }
        }
        Wish { customer, lines }
    }
}

/// Lines of one basket.
pub(crate) fn basket_lines(random: &mut Random) -> u32 {
    (random.lognormal(BASKET_MU, BASKET_SIGMA) as u32).clamp(1, BASKET_LINES_MAX)
}

/// Units of one line.
pub(crate) fn quantity(random: &mut Random) -> u32 {
    let mut left = random.unit();
    for (units, share) in (1..).zip(QUANTITY_SHARES) {
        if left < share {
            return units;
        }
        left -= share;
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 200_000;

    #[test]
    fn basket_sizes_have_the_published_shape() {
        let mut random = Random::new(4, 1);
        let mut sizes: Vec<u32> = (0..DRAWS).map(|_| basket_lines(&mut random)).collect();
        sizes.sort_unstable();
        let mean = sizes.iter().map(|size| f64::from(*size)).sum::<f64>() / DRAWS as f64;
        // shapes.json: mean 10.2, p50 5, p99 60 (the fit's own p99 is heavier: e^(1.724 + 2.33 * 1.115) = 75).
        assert!((mean - 10.2).abs() < 0.6, "mean {mean}");
        assert_eq!(sizes[DRAWS / 2], 5);
        assert!((55..80).contains(&sizes[DRAWS * 99 / 100]), "p99 {}", sizes[DRAWS * 99 / 100]);
        assert_eq!((sizes[0], sizes[DRAWS - 1]), (1, BASKET_LINES_MAX));
    }

    #[test]
    fn four_lines_in_five_are_for_one_unit() {
        let mut random = Random::new(4, 2);
        let mut counts = [0f64; 13];
        (0..DRAWS).for_each(|_| counts[quantity(&mut random) as usize] += 1.0);
        // shapes.json: 1 -> 0.79973, 2 -> 0.146715, 4 -> 0.015647.
        for (units, share) in [(1, 0.79973), (2, 0.146715), (4, 0.015647)] {
            assert!((counts[units] / DRAWS as f64 - share).abs() < 0.004, "{units} units");
        }
    }

    #[test]
    fn retail_baskets_name_each_item_once_and_the_hot_set_moves() {
        let retail = Retail { popularity: Popularity::new(500), customers: 10 };
        let mut random = Random::new(5, 1);
        let mut head = |at_ns| {
            let wishes: Vec<Wish> = (0..2_000).map(|_| retail.wish(at_ns, &mut random)).collect();
            for wish in &wishes {
                let mut items: Vec<u32> = wish.lines.iter().map(|line| line.0).collect();
                items.sort_unstable();
                items.dedup();
                assert_eq!(items.len(), wish.lines.len());
            }
            wishes.iter().flat_map(|wish| &wish.lines).filter(|line| line.0 < 20).count()
        };
        let before = head(0);
        assert!(before as f64 > 1.1 * head(2 * ROTATION_NS) as f64, "the first ranks cool down");
    }

    #[test]
    fn nine_buyers_in_ten_want_the_hot_item() {
        let crowd = Hot {
            hot: 1,
            items: 100,
            share: 0.9,
            customers: 1_000,
            eager: 10,
            eager_share: 0.05,
            quantity_max: 2,
        };
        let mut random = Random::new(6, 1);
        let wishes: Vec<Wish> = (0..20_000).map(|_| crowd.wish(&mut random)).collect();
        let hot = wishes.iter().filter(|wish| wish.lines[0].0 == 0).count();
        assert!((17_800..18_200).contains(&hot), "{hot}");
        assert!(wishes.iter().all(|wish| (1..=2).contains(&wish.lines[0].1)));
    }

    #[test]
    fn a_third_of_the_arrivals_are_of_few_who_ask_for_too_much() {
        let crowd = Bots { bots: 20, people: 980, arrivals: 0.35, limit: 2, hot: 1, items: 10, share: 0.9 };
        let mut random = Random::new(6, 1);
        let wishes: Vec<Wish> = (0..20_000).map(|_| crowd.wish(&mut random)).collect();
        let (bots, people): (Vec<&Wish>, Vec<&Wish>) = wishes.iter().partition(|wish| wish.customer < 20);
        assert!((6_700..7_300).contains(&bots.len()), "{}", bots.len());
        let above = bots.iter().filter(|wish| wish.lines[0].1 > 2).count();
        assert!((above as f64 / bots.len() as f64 - 0.5).abs() < 0.03, "{above}");
        assert!(people.iter().all(|wish| wish.customer < 1_000 && wish.lines[0].1 <= 2));
    }

    #[test]
    fn the_one_item_is_wanted_in_every_other_phase_only() {
        let crowd = Neighbours { items: 5, hot: 0.9, phase_ns: 100, customers: 10 };
        let mut random = Random::new(6, 1);
        let mut hot = |at_ns| {
            (0..10_000).filter(|_| crowd.wish(at_ns, &mut random).lines[0].0 == 0).count() as f64 / 10_000.0
        };
        assert_eq!([hot(0), hot(250)], [0.0, 0.0]);
        assert!((hot(150) - 0.9).abs() < 0.02);
    }
}
