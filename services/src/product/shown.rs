//! GetProductDetails: a published row is read where it lies, straight into the answer.

use onrush_engine::StockView;
use onrush_engine::views::Views;
use onrush_proto::ProductRow;
use prost::bytes::{BufMut, Bytes};

use crate::field;
use crate::protobuf::{
    Odd, bytes_len, details_sku, money_len, number_len, put_begin, put_money, put_number, put_text, text_len,
};
use crate::unary;

/// Answers a `GetProductDetailsRequest` as its `GetProductDetailsResponse`, sealed. A SKU that is none, or that nobody
/// knows, is [`Odd`].
pub(super) fn details(views: &Views, message: &[u8]) -> Result<Bytes, Odd> {
    let sku = details_sku(message)?;
    let product = views.product(&sku);
    let shown = Shown { row: product.row().ok_or(Odd)?, stock: views.stock(&sku) };
    let len = shown.len();
    let mut out = unary::begin(bytes_len(len));
    put_begin(&mut out, 1, len);
    shown.put(&mut out);
    Ok(unary::seal(out))
}

/// A `Product` as it is published.
struct Shown<'a> {
    row: &'a ProductRow,
    stock: Option<StockView>,
}

impl Shown<'_> {
    /// Fields 1 to 5.
    fn texts(&self) -> [&str; 5] {
        let ProductRow { sku, name, description, category, brand, .. } = self.row;
        [sku.as_str(), name, description, category.as_str(), brand.as_str()]
    }

    /// Fields 7 to 12.
    fn numbers(&self) -> [u64; 6] {
        let stock = self.stock.as_ref();
        [
            stock.map_or(0, |stock| stock.available.max(0) as u64),
            stock.map_or(0, |stock| stock.limit_per_customer.into()),
            stock.is_some_and(|stock| stock.active).into(),
            stock.map_or(0, |stock| stock.version),
            self.row.version,
            field::time_us(self.row.changed_us) as u64,
        ]
    }

    /// Bytes that it takes.
    fn len(&self) -> usize {
        let price = self.stock.map_or(0, |stock| bytes_len(money_len(stock.price)));
        self.texts().map(text_len).iter().sum::<usize>()
            + price
            + self.numbers().map(number_len).iter().sum::<usize>()
    }

    /// Writes them.
    fn put(&self, out: &mut impl BufMut) {
        (1..).zip(self.texts()).for_each(|(field, text)| put_text(out, field, text));
        if let Some(stock) = self.stock {
            put_money(out, 6, stock.price);
        }
        (7..).zip(self.numbers()).for_each(|(field, number)| put_number(out, field, number));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use onrush_engine::views::ShardViews;
    use onrush_grpc::product::v1::{GetProductDetailsRequest, GetProductDetailsResponse};
    use onrush_proto::{Currency, Money, SlotMap, StockRow, Text};
    use prost::Message as _;

    use super::super::message;
    use super::*;

    fn views(row: &ProductRow, stock: &StockRow) -> Views {
        let shard = ShardViews::default();
        shard.publish_stock(0, stock);
        shard.publish_stock(1, &StockRow { sku: "bare".parse().unwrap(), ..*stock });
        shard.publish_product(row.clone());
        Views::new(vec![Arc::new(shard)], SlotMap::new(1).unwrap())
    }

    fn asked(sku: &str) -> Vec<u8> {
        GetProductDetailsRequest { sku: sku.into() }.encode_to_vec()
    }

    fn tea() -> (ProductRow, StockRow) {
        let sku = "tea".parse().unwrap();
        let row = ProductRow {
            sku,
            name: "Tee für Zwei".into(),
            description: "long ".repeat(100),
            category: Text::new("hot drinks").unwrap(),
            brand: Text::new("ours").unwrap(),
            version: 7,
            changed_us: 1_700_000_000_000_000,
        };
        let stock = StockRow {
            sku,
            on_hand: 300,
            held: 1,
            sold: 0,
            received: 300,
            version: 9,
            price: Money::new(450, Currency::EUR),
            limit_per_customer: 2,
            limit_returns: false,
            backorder: 0,
            hold_us: 0,
            active: true,
        };
        (row, stock)
    }

    #[test]
    fn a_product_is_written_as_the_generated_code_writes_it() {
        let (row, stock) = tea();
        let bare = ProductRow { category: Text::EMPTY, brand: Text::EMPTY, version: 0, ..row.clone() };
        let empty = ProductRow { name: String::new(), description: String::new(), ..bare };
        let far = ProductRow { changed_us: u64::MAX, version: u64::MAX, ..row.clone() };
        let stocks = [
            stock,
            StockRow { held: 400, limit_per_customer: 0, active: false, version: 0, ..stock },
            StockRow { on_hand: i64::MAX, limit_per_customer: u32::MAX, version: u64::MAX, ..stock },
            StockRow { price: Money::new(0, Currency::EUR), ..stock },
            StockRow { price: Money::new(-1, Currency::EUR), ..stock },
        ];
        for (row, stock) in
            [row, empty, far].iter().flat_map(|row| stocks.iter().map(move |stock| (row, stock)))
        {
            let views = views(row, stock);
            let told = details(&views, &asked("tea")).unwrap();
            let product = Some(message::product(row, views.stock(&row.sku)));
            let expected = GetProductDetailsResponse { product }.encode_to_vec();
            assert_eq!(told[unary::PREFIX_BYTES..], expected, "{row:?} {stock:?}");
            assert_eq!(
                told[..unary::PREFIX_BYTES],
                [&[0], &(expected.len() as u32).to_be_bytes()[..]].concat()
            );
        }
        let alone = Shown { row: &tea().0, stock: None };
        let mut out = Vec::new();
        alone.put(&mut out);
        assert_eq!(out, message::product(alone.row, None).encode_to_vec());
        assert_eq!(out.len(), alone.len());
    }

    #[test]
    fn what_the_edge_has_to_refuse_is_odd() {
        let (row, stock) = tea();
        let views = views(&row, &stock);
        let long = "s".repeat(40);
        for sku in ["", "nobody", "bare", &long] {
            assert_eq!(details(&views, &asked(sku)), Err(Odd), "{sku}");
        }
        let whole = asked("tea");
        for bytes in
            [&[&whole[..], &whole].concat()[..], &whole[..4], &[0x10, 1], &[0x0a, 1, 0xff], &[0x08, 1]]
        {
            assert_eq!(details(&views, bytes), Err(Odd), "{bytes:?}");
        }
    }
}
