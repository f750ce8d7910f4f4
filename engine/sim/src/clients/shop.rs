//! What is sold: hot and cold SKUs with all kinds of selling rules.

use onrush_proto::{
    BrandName, CategoryName, Command, Currency, CustomerId, Money, PutProduct, Sku, Slot, SlotMap,
    StockChange, Text, UpdateStock,
};

use crate::dice::Dice;

/// One SKU and its rules. Whether there is a limit never changes; prices do.
#[derive(Clone, Copy)]
pub(crate) struct Ware {
    pub(crate) sku: Sku,
    pub(crate) price: i64,
    limit: u32,
    limit_returns: bool,
    backorder: u32,
    hold_us: u64,
    stock: i64,
}

/// The catalogue and the customers.
pub(crate) struct Shop {
    pub(crate) wares: Vec<Ware>,
    pub(crate) customers: Vec<CustomerId>,
}

pub(crate) fn text<const N: usize>(content: &str) -> Text<N> {
    Text::new(content).unwrap_or_default()
}

impl Shop {
    /// Draws the catalogue and the customers, and keeps so many of each at most.
    pub(crate) fn open(dice: &mut Dice, (customers_max, wares_max): (usize, usize)) -> Self {
        let mut wares: Vec<Ware> = (0..dice.within(4, 12)).map(|number| Ware::draw(dice, number)).collect();
        wares.truncate(wares_max);
        let mut customers: Vec<CustomerId> =
            (0..dice.within(2, 8)).map(|number| text(&format!("customer-{number}"))).collect();
        customers.truncate(customers_max);
        Self { wares, customers }
    }

    /// A ware; the first ones are hot.
    pub(crate) fn ware(&self, dice: &mut Dice) -> Ware {
        let most = if dice.percent(50) { 2.min(self.wares.len()) } else { self.wares.len() };
        self.wares[dice.index(most)]
    }

    /// A SKU of its own for each shard, for the orders that are sent when all is over.
    pub(crate) fn fresh(map: SlotMap, shard: u16) -> Ware {
        let of_shard = |number: &u64| {
            let sku: Sku = text(&format!("fresh-{number}"));
            map.shard(Slot::of(sku.as_bytes())).0 == shard
        };
        let number = (0..).find(of_shard).unwrap_or(0);
        let sku = text(&format!("fresh-{number}"));
        Ware { sku, price: 500, limit: 0, limit_returns: false, backorder: 0, hold_us: 0, stock: 200 }
    }
}

impl Ware {
    fn draw(dice: &mut Dice, number: u64) -> Self {
        Self {
            sku: text(&format!("sku-{number}-{:x}", dice.below(1 << 20))),
            price: dice.within(1, 2_000) as i64,
            limit: dice.pick(&[0, 0, 1, 2, 5]),
            limit_returns: dice.percent(50),
            backorder: dice.pick(&[0, 0, 0, 3]),
            hold_us: dice.pick(&[0, 50_000, 400_000, 5_000_000]),
            stock: dice.pick(&[1, 3, 20, 200]),
        }
    }

    /// The ware with another backorder.
    pub(crate) fn allowing(self, backorder: u32) -> Self {
        Self { backorder, ..self }
    }

    /// Puts the ware at `price`.
    pub(crate) fn put(&self, price: i64, active: bool) -> Command {
        Command::PutProduct(Box::new(PutProduct {
            sku: self.sku,
            name: format!("the {} of the sale", self.sku),
            description: String::new(),
            category: CategoryName::EMPTY,
            brand: BrandName::EMPTY,
            price: Money::new(price, Currency::EUR),
            limit_per_customer: self.limit,
            limit_returns: self.limit_returns,
            backorder: self.backorder,
            hold_us: self.hold_us,
            active,
        }))
    }

    /// Brings the first units in.
    pub(crate) fn stock(&self) -> Command {
        Command::UpdateStock(UpdateStock {
            sku: self.sku,
            change: StockChange::Add(self.stock),
            reason: text("first delivery"),
        })
    }
}
