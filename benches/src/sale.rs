//! Orders of a sale, made before they are measured.

use onrush_proto::{
    Command, CreateOrder, Currency, CustomerId, IdempotencyKey, Money, OrderLine, PutProduct, Request, Sku,
    StockChange, Text, UpdateStock,
};
use smallvec::smallvec;

/// Units per customer and SKU: the count is kept and never reached, each order has its customer.
const LIMIT: u32 = 2;
/// More than any run sells.
const PLENTY: i64 = 1 << 40;

/// SKUs on sale and a source of orders.
#[derive(Clone, Debug)]
pub struct Sale {
    skus: Vec<Sku>,
    units: i64,
    made: u64,
}

/// Who wants a unit of what.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The idempotency key.
    pub key: IdempotencyKey,
    /// Who.
    pub customer: CustomerId,
    /// What.
    pub sku: Sku,
}

impl Sale {
    /// Everybody wants the same.
    pub fn hot() -> Self {
        Self::uniform(1)
    }

    /// Each order picks one of `skus` SKUs.
    pub fn uniform(skus: usize) -> Self {
        Self { skus: (0..skus).map(|number| text("sku", number as u64)).collect(), units: PLENTY, made: 0 }
    }

    /// One SKU, and none left of it.
    pub fn sold_out() -> Self {
        Self { units: 0, ..Self::hot() }
    }

    /// What makes the SKUs sell: products with a limit per customer, and stock.
    pub fn opening(&self) -> impl Iterator<Item = Request> {
        self.skus.iter().flat_map(|sku| [product(*sku), stock(*sku, self.units)].map(Request::unkeyed))
    }

    /// The next one-line order, under a key of its own, from a customer of its own.
    pub fn order(&mut self) -> Request {
        let (key, command) = self.command();
        Request::new(key, command)
    }

    /// The same, for whoever sends it: the receiver hashes it.
    pub fn command(&mut self) -> (IdempotencyKey, Command) {
        let Wish { key, customer, sku } = self.wish();
        let lines = smallvec![OrderLine::new(sku, 1)];
        (key, Command::CreateOrder(CreateOrder { customer, lines, hold_us: 0 }))
    }

    /// The same, for whoever says it in words of their own.
    pub fn wish(&mut self) -> Wish {
        let key = self.key();
        Wish { key, customer: self.customer(), sku: self.sku() }
    }

    /// One of the SKUs, picked by how much was asked for.
    pub fn sku(&self) -> Sku {
        let pick = mixed(self.made) % self.skus.len() as u64;
        self.skus[pick as usize]
    }

    /// So many SKUs, different ones as far as there are so many; another set each time.
    pub fn basket(&mut self, count: usize) -> impl Iterator<Item = Sku> {
        self.made += 1;
        let first = mixed(self.made) as usize % self.skus.len();
        (first..first + count).map(|at| self.skus[at % self.skus.len()])
    }

    /// A key that no request of this sale has yet.
    pub fn key(&mut self) -> IdempotencyKey {
        self.made += 1;
        let key = u128::from(mixed(self.made)) << 64 | u128::from(mixed(!self.made));
        IdempotencyKey(key.max(1))
    }

    /// The next `count` orders.
    pub fn orders(&mut self, count: usize) -> Vec<Request> {
        (0..count).map(|_| self.order()).collect()
    }

    /// The SKUs.
    pub fn skus(&self) -> &[Sku] {
        &self.skus
    }

    fn customer(&self) -> CustomerId {
        text("customer", self.made)
    }
}

/// Another body under the same key: what a client must not send.
pub fn tampered(request: &Request) -> Request {
    let mut command = request.command.clone();
    if let Command::CreateOrder(order) = &mut command {
        order.hold_us += 1;
    }
    Request::new(request.key, command)
}

fn product(sku: Sku) -> Command {
    Command::PutProduct(Box::new(PutProduct {
        sku,
        name: format!("The {sku}"),
        description: String::new(),
        category: Text::EMPTY,
        brand: Text::EMPTY,
        price: Money::new(4_990, Currency::EUR),
        limit_per_customer: LIMIT,
        // So that expiry asks no store for counts.
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    }))
}

fn stock(sku: Sku, units: i64) -> Command {
    Command::UpdateStock(UpdateStock { sku, change: StockChange::Set(units), reason: Text::EMPTY })
}

/// `name-00000042`; names are far shorter than a text. Written by hand: what makes orders shares its cores with what
/// takes them.
fn text<const N: usize>(name: &str, number: u64) -> Text<N> {
    let mut bytes = [0; N];
    let end = name.len() + 9;
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[name.len()] = b'-';
    let mut rest = number;
    for digit in bytes[name.len() + 1..end].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Text::from_padded(bytes, end as u8).unwrap_or_default()
}

/// SplitMix64's output function: the same numbers in every run.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::Sale;

    #[test]
    fn everybody_has_a_key_and_a_name_and_wants_what_is_on_sale() {
        let mut sale = Sale::uniform(3);
        assert_eq!(sale.skus()[2].as_str(), "sku-00000002");
        let wishes: Vec<_> = (0..100).map(|_| sale.wish()).collect();
        assert_eq!(wishes[99].customer.as_str(), "customer-00000100");
        assert!(wishes.iter().all(|wish| sale.skus().contains(&wish.sku)));
        let keys: std::collections::BTreeSet<_> = wishes.iter().map(|wish| wish.key.0).collect();
        assert_eq!(keys.len(), 100);
        let basket: Vec<_> = sale.basket(4).collect();
        assert!(basket[0] == basket[3] && basket[0] != basket[1] && basket[1] != basket[2]);
    }
}
