//! Published views show the owner's committed rows: no earlier ones, and none that are not durable.

use onrush_engine::StockView;
use onrush_engine::views::Views;

use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "views";

/// Checks everything that a shard has published.
pub(crate) fn shows(mirror: &Mirror, shard: usize, views: &Views) -> Verdict {
    let book = &mirror.books[shard];
    for row in book.stock.values() {
        let expected = StockView {
            available: row.available(),
            price: row.price,
            limit_per_customer: row.limit_per_customer,
            backorder: row.backorder,
            active: row.active,
            version: row.version,
        };
        let found = views.stock(&row.sku);
        if found != Some(expected) {
            let expected = format!("{expected:?} of {} at record {}", row.sku, book.end_lsn);
            return Err(Violation::new(NAME, expected, format!("{found:?}")));
        }
    }
    for row in book.products.values() {
        let view = views.product(&row.sku);
        let found = view.row();
        if found != Some(row) {
            let expected = format!("{row:?} at record {}", book.end_lsn);
            return Err(Violation::new(NAME, expected, format!("{found:?}")));
        }
    }
    Ok(())
}

/// Checks that nothing is published that no log has.
pub(crate) fn nothing_else(mirror: &Mirror, views: &Views) -> Verdict {
    let expected: usize = mirror.books.iter().map(|book| book.stock.len()).sum();
    match views.len() == expected {
        true => Ok(()),
        false => {
            let (expected, found) = (format!("{expected} published SKUs"), views.len().to_string());
            Err(Violation::new(NAME, expected, found))
        }
    }
}
