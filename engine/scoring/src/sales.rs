//! Baskets of the past, by time.

use crate::counters::{Basket, Counters, Line, Listing};

/// A line as it was sold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sale {
    /// Number of the basket.
    pub basket: u32,
    /// Number of the user.
    pub user: u32,
    /// Number of the product.
    pub product: u32,
    /// When, in unix seconds.
    pub time_s: i64,
    /// What was paid for one; `None` if nobody knows.
    pub unit_cents: Option<i64>,
}

/// A basket, and where its lines are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    user: u32,
    time_s: i64,
    end: u32,
}

/// Baskets of the past.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sales {
    spans: Vec<Span>,
    lines: Vec<Line>,
    users: usize,
}

impl Sales {
    /// Puts lines in order.
    pub fn of(mut sales: Vec<Sale>) -> Self {
        sales.sort_by_key(|sale| (sale.time_s, sale.basket, sale.user, sale.product));
        let mut all = Self {
            users: sales.iter().map(|sale| sale.user as usize + 1).max().unwrap_or(0),
            ..Self::default()
        };
        for basket in sales.chunk_by(|a, b| (a.time_s, a.basket, a.user) == (b.time_s, b.basket, b.user)) {
            for lines in basket.chunk_by(|a, b| a.product == b.product) {
                all.lines.push(Line { product: lines[0].product, unit_cents: lines[0].unit_cents });
            }
            let (user, time_s) = (basket[0].user, basket[0].time_s);
            all.spans.push(Span { user, time_s, end: all.lines.len() as u32 });
        }
        all
    }

    /// One more than the highest number of a user.
    pub fn users(&self) -> usize {
        self.users
    }

    /// All baskets, by time.
    pub fn baskets(&self) -> impl Iterator<Item = Basket<'_>> + '_ {
        let begins = std::iter::once(0).chain(self.spans.iter().map(|span| span.end));
        self.spans.iter().zip(begins).map(|(span, begin)| Basket {
            user: span.user,
            time_s: span.time_s,
            lines: &self.lines[begin as usize..span.end as usize],
        })
    }

    /// Baskets from a time on.
    pub fn baskets_from(&self, from_s: i64) -> impl Iterator<Item = Basket<'_>> + '_ {
        let first = self.spans.partition_point(|span| span.time_s < from_s);
        self.baskets().skip(first)
    }

    /// When the newest basket was.
    pub fn last_s(&self) -> i64 {
        self.spans.last().map_or(0, |span| span.time_s)
    }

    /// When the oldest basket was.
    pub fn first_s(&self) -> i64 {
        self.spans.first().map_or(0, |span| span.time_s)
    }

    /// Counters of everything before a time.
    pub fn counted(&self, listings: &[Listing], until_s: i64) -> Counters {
        let mut counters = Counters::new(listings, self.users);
        self.baskets()
            .take_while(|basket| basket.time_s < until_s)
            .for_each(|basket| counters.count(&basket));
        counters
    }
}
