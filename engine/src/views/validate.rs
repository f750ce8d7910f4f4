//! Whether a line could be ordered now, by what is published. Only the order decides.

use onrush_proto::Refusal;
use onrush_proto::command::MAX_QUANTITY;

use super::StockView;

/// Why `quantity` units, line `line` of an order, could not be ordered now, in the order of a
/// decision; `None` if they could. What the customer bought before is not looked at. Allocates nothing.
pub fn validate(line: u16, quantity: i64, stock: Option<&StockView>) -> Option<Refusal> {
    if !(1..=MAX_QUANTITY).contains(&quantity) {
        return Some(Refusal::BadQuantity { line, found: quantity });
    }
    let Some(stock) = stock else { return Some(Refusal::UnknownSku { line }) };
    if !stock.active {
        return Some(Refusal::Inactive { line });
    }
    // Checked above: at most 1,000,000.
    let asked = quantity as u32;
    if stock.price_of(asked).is_none() {
        return Some(Refusal::AmountOverflow { line });
    }
    if stock.available + i64::from(stock.backorder) < quantity {
        return Some(Refusal::OutOfStock { line, asked, available: stock.available });
    }
    let limit = stock.limit_per_customer;
    (limit != 0 && asked > limit).then_some(Refusal::LimitExceeded { line, limit, bought: 0 })
}

#[cfg(test)]
mod tests {
    use onrush_proto::{Currency, Money};

    use super::*;

    #[test]
    fn a_line_is_refused_for_what_an_order_would_be_refused_for() {
        let tea = StockView {
            available: -1,
            price: Money::new(i64::MAX / 3, Currency::EUR),
            limit_per_customer: 3,
            backorder: 4,
            active: true,
            version: 1,
        };
        let reason = |quantity, stock: Option<&StockView>| {
            validate(7, quantity, stock).map_or("", |refusal| refusal.reason().0)
        };
        let cases = [
            (0, Some(tea), "BAD_QUANTITY"),
            (MAX_QUANTITY + 1, None, "BAD_QUANTITY"),
            (1, None, "UNKNOWN_SKU"),
            (1, Some(StockView { active: false, ..tea }), "PRODUCT_INACTIVE"),
            (4, Some(tea), "AMOUNT_OVERFLOW"),
            (3, Some(StockView { limit_per_customer: 2, ..tea }), "LIMIT_EXCEEDED"),
            (3, Some(tea), ""),
            (3, Some(StockView { backorder: 3, ..tea }), "OUT_OF_STOCK"),
        ];
        for (quantity, stock, expected) in cases {
            assert_eq!(reason(quantity, stock.as_ref()), expected, "{quantity} of {stock:?}");
        }
    }
}
