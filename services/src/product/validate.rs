//! Whether lines could be ordered now, from published views.

use std::collections::HashMap;

use onrush_engine::StockView;
use onrush_grpc::product::v1::{LineValidation, ProductLine, ValidateProductsResponse};
use onrush_proto::command::{MAX_LINES, MAX_QUANTITY};
use onrush_proto::{Refusal, Sku};

use crate::backend::Backend;
use crate::field;
use crate::status::Rejection;

/// One verdict per line. The request as a whole is refused only if it could not be an order at all.
pub(super) fn validate(
    backend: &Backend,
    lines: &[ProductLine],
) -> Result<ValidateProductsResponse, Rejection> {
    if lines.is_empty() {
        return Err(Refusal::NoLines.into());
    }
    if lines.len() > MAX_LINES {
        return Err(Refusal::TooManyLines { found: lines.len() }.into());
    }
    let mut seen = HashMap::with_capacity(lines.len());
    let mut verdicts = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let sku: Sku = field::name(&format!("lines[{index}].sku"), &line.sku)?;
        let stock = backend.stock(&sku);
        // Indices fit: there are at most 10,000 lines.
        let at = index as u16;
        let refusal = match seen.insert(sku, at) {
            Some(first) => Some(Refusal::DuplicateSku { line: at, first }),
            None => verdict(at, line.quantity, stock),
        };
        verdicts.push(LineValidation {
            sku: line.sku.clone(),
            valid: refusal.is_none(),
            reason: refusal.map(|refusal| refusal.reason().0.to_owned()).unwrap_or_default(),
            available: stock.map_or(0, |stock| stock.available.max(0)),
            unit_price: stock.map(|stock| field::money_message(stock.price)),
        });
    }
    Ok(ValidateProductsResponse { valid: verdicts.iter().all(|line| line.valid), lines: verdicts })
}

fn verdict(line: u16, quantity: i64, stock: Option<StockView>) -> Option<Refusal> {
    if !(1..=MAX_QUANTITY).contains(&quantity) {
        return Some(Refusal::BadQuantity { line, found: quantity });
    }
    let Some(stock) = stock else { return Some(Refusal::UnknownSku { line }) };
    if !stock.active {
        return Some(Refusal::Inactive { line });
    }
    // Checked above: at most 1,000,000.
    let asked = quantity as u32;
    if stock.price.times(asked).is_none() {
        return Some(Refusal::AmountOverflow { line });
    }
    if stock.limit_per_customer != 0 && asked > stock.limit_per_customer {
        return Some(Refusal::LimitExceeded { line, limit: stock.limit_per_customer, bought: 0 });
    }
    (stock.available < quantity).then_some(Refusal::OutOfStock { line, asked, available: stock.available })
}
