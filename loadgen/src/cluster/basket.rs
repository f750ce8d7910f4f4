//! What a buyer wants under a number: the same whenever it is asked, since it is asked again under the same key.

use onrush_proto::{Command, CreateOrder, OrderLine, OrderRow, Sku, Text};
use smallvec::SmallVec;

use crate::random::mix;

/// Items on sale.
pub(super) const ITEMS: u32 = 16;
/// The first so many of them are scarce: they are sold out again and again.
pub(super) const SCARCE: u32 = 2;
/// Minor units that one of each costs.
pub(super) const PRICE: i64 = 100;
/// One order of so many has several lines.
const BASKETS: u64 = 3;

/// Items with their units: different items, so that the order lies on several shards where there are some.
pub(super) type Basket = SmallVec<[(u32, u32); 4]>;

pub(super) fn sku(item: u32) -> Sku {
    Text::new(&format!("item-{item}")).unwrap_or_default()
}

/// How orders come to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    pub(super) seed: u64,
    /// True if each order has one line.
    pub(super) lone: bool,
}

impl Wishes {
    /// What is bought under a number: one line, or 2 to 4.
    pub(super) fn basket(self, number: u64) -> Basket {
        let bits = mix(self.seed ^ mix(number));
        let more = mix(bits);
        let several = !self.lone && more.is_multiple_of(BASKETS);
        let lines = if several { 2 + (more >> 32) as u32 % 3 } else { 1 };
        let first = (bits % u64::from(ITEMS)) as u32;
        // An odd step goes through all sixteen before one comes again.
        let step = ((more >> 40) as u32 % ITEMS) | 1;
        let line = |line: u32| ((first + line * step) % ITEMS, 1 + (bits >> (32 + line)) as u32 % 2);
        (0..lines).map(line).collect()
    }

    /// The key of what is done for a purpose under a number.
    pub(super) fn key(self, number: u64, purpose: u64) -> u128 {
        u128::from(mix(self.seed ^ purpose)) << 64 | u128::from(mix(number ^ mix(purpose))) | 1
    }

    /// Asks for it.
    pub(super) fn order(self, number: u64) -> Command {
        let customer = Text::new(&format!("buyer-{}", number % 9_973)).unwrap_or_default();
        let line = |(item, units): (u32, u32)| OrderLine::new(sku(item), i64::from(units));
        let lines = self.basket(number).into_iter().map(line).collect();
        Command::CreateOrder(CreateOrder { customer, lines, hold_us: 0 })
    }
}

/// What one costs that has these lines.
pub(super) fn total(basket: &Basket) -> i64 {
    basket.iter().map(|(_, units)| i64::from(*units) * PRICE).sum()
}

/// An item that may be sold out, if there is one among them.
pub(super) fn scarce(basket: &Basket) -> Option<u32> {
    basket.iter().map(|(item, _)| *item).find(|item| *item < SCARCE)
}

/// True if an order is of this.
pub(super) fn holds(row: &OrderRow, basket: &Basket) -> bool {
    let wanted = basket.iter().map(|(item, units)| (sku(*item), *units));
    row.lines.iter().map(|line| (line.sku, line.quantity)).eq(wanted) && row.total.minor == total(basket)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const WISHES: Wishes = Wishes { seed: 7, lone: false };

    #[test]
    fn baskets_have_different_items_and_are_the_same_whenever_they_are_asked_for() {
        let baskets: Vec<Basket> = (0..3_000).map(|number| WISHES.basket(number)).collect();
        let mut sizes = [0; 5];
        for (number, basket) in (0..).zip(&baskets) {
            sizes[basket.len()] += 1;
            assert_eq!(*basket, WISHES.basket(number));
            let items: BTreeSet<u32> = basket.iter().map(|(item, _)| *item).collect();
            assert_eq!(items.len(), basket.len(), "{basket:?}");
            assert!(
                basket.iter().all(|(item, units)| *item < ITEMS && (1..=2).contains(units)),
                "{basket:?}"
            );
        }
        assert_eq!(sizes[0], 0);
        assert!(sizes[1] > 1_800 && sizes[2..].iter().all(|count| *count > 200), "{sizes:?}");
        let other = Wishes { seed: 8, ..WISHES };
        assert_ne!(baskets, (0..3_000).map(|number| other.basket(number)).collect::<Vec<_>>());
        let lone = Wishes { lone: true, ..WISHES };
        assert!((0..3_000).all(|number| lone.basket(number).len() == 1));
    }

    #[test]
    fn a_basket_costs_what_its_units_cost() {
        assert_eq!(total(&Basket::from_slice(&[(1, 2), (5, 1)])), 3 * PRICE);
    }

    #[test]
    fn some_baskets_may_be_sold_out() {
        let of = |items: &[u32]| scarce(&items.iter().map(|item| (*item, 1)).collect());
        assert_eq!((of(&[5, 1, 0]), of(&[2, 15]), of(&[0])), (Some(1), None, Some(0)));
        let some = (0..3_000).filter(|number| scarce(&WISHES.basket(*number)).is_some()).count();
        assert!((400..900).contains(&some), "{some}");
    }

    #[test]
    fn keys_differ_by_number_and_by_purpose() {
        let keys: BTreeSet<u128> =
            (0..1_000).flat_map(|number| [1, 2].map(|purpose| WISHES.key(number, purpose))).collect();
        assert_eq!(keys.len(), 2_000);
    }
}
