//! What speaks for products, while a ranking is made.

use super::window::Window;

/// What speaks for a product.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Evidence {
    /// How likely it is bought, against the likeliest, as the model has it.
    pub(super) foretold: Option<f64>,
    /// The decayed count, and the orders behind it.
    pub(super) history: Option<(f64, u32)>,
    /// Orders with both over all that is looked at, and the strongest of them: which, and its orders.
    pub(super) together: Option<(u32, usize, u32)>,
    pub(super) trend: Option<(f64, Window, u64)>,
}

/// Evidence by the place of its product. Kept from one ranking to the next, so that nothing is taken anew.
#[derive(Default)]
pub(super) struct Sheet {
    /// One more than where a place's evidence stands; 0 for none.
    entries: Vec<u32>,
    found: Vec<(u32, Evidence)>,
}

impl Sheet {
    /// An empty one for so many products.
    pub(super) fn clear(&mut self, products: usize) {
        for (place, _) in self.found.drain(..) {
            self.entries[place as usize] = 0;
        }
        if self.entries.len() < products {
            self.entries.resize(products, 0);
        }
    }

    /// What speaks for the product of a place.
    ///
    /// # Panics
    /// If there are not so many products.
    pub(super) fn of(&mut self, place: u32) -> &mut Evidence {
        let entry = &mut self.entries[place as usize];
        if *entry == 0 {
            self.found.push((place, Evidence::default()));
            *entry = self.found.len() as u32;
        }
        &mut self.found[*entry as usize - 1].1
    }

    /// All that anything speaks for: (place, evidence).
    pub(super) fn found(&self) -> &[(u32, Evidence)] {
        &self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_holds_what_was_put_and_nothing_of_before() {
        let mut sheet = Sheet::default();
        for products in [4, 9, 2] {
            sheet.clear(products);
            assert_eq!(sheet.found(), []);
            sheet.of(1).foretold = Some(0.5);
            sheet.of(0).history = Some((1.0, 2));
            sheet.of(1).history = Some((3.0, 4));
            let one = Evidence { foretold: Some(0.5), history: Some((3.0, 4)), ..Evidence::default() };
            let nought = Evidence { history: Some((1.0, 2)), ..Evidence::default() };
            assert_eq!(sheet.found(), [(1, one), (0, nought)]);
        }
    }
}
