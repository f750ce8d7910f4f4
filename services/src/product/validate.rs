//! Whether lines could be ordered now, from published views.

use std::collections::HashMap;

use onrush_engine::views::validate as validate_line;
use onrush_grpc::product::v1::{LineValidation, ProductLine, ValidateProductsResponse};
use onrush_proto::command::MAX_LINES;
use onrush_proto::{Refusal, Sku};

use crate::backend::{Backend, Shelf};
use crate::field::{self, FieldError};
use crate::status::Rejection;

/// One verdict per line. The request as a whole is refused only if it could not be an order at all.
pub(crate) async fn validate(
    backend: &Backend,
    lines: Vec<ProductLine>,
) -> Result<ValidateProductsResponse, Rejection> {
    if lines.is_empty() {
        return Err(Refusal::NoLines.into());
    }
    if lines.len() > MAX_LINES {
        return Err(Refusal::TooManyLines { found: lines.len() }.into());
    }
    let asked = lines.iter().filter_map(|line| Sku::new(&line.sku).ok());
    let shelf = backend.shelf(asked).await?;
    judge(&shelf, lines)
}

/// The verdicts on lines of which there are not too many.
pub(super) fn judge(
    shelf: &Shelf<'_>,
    lines: Vec<ProductLine>,
) -> Result<ValidateProductsResponse, Rejection> {
    let alone = lines.len() == 1;
    let mut seen = HashMap::with_capacity(if alone { 0 } else { lines.len() });
    let mut verdicts = Vec::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        let at_fault = |error| FieldError { path: format!("lines[{index}].sku"), ..error };
        let sku: Sku = field::name("sku", &line.sku).map_err(at_fault)?;
        let stock = shelf.stock(&sku);
        // Indices fit: there are at most 10,000 lines.
        let at = index as u16;
        let first = if alone { None } else { seen.insert(sku, at) };
        let refusal = match first {
            Some(first) => Some(Refusal::DuplicateSku { line: at, first }),
            None => validate_line(at, line.quantity, stock.as_ref()),
        };
        verdicts.push(LineValidation {
            sku: line.sku,
            valid: refusal.is_none(),
            reason: refusal.map(|refusal| refusal.reason().0.to_owned()).unwrap_or_default(),
            available: stock.map_or(0, |stock| stock.available.max(0)),
            unit_price: stock.map(|stock| field::money_message(stock.price)),
        });
    }
    Ok(ValidateProductsResponse { valid: verdicts.iter().all(|line| line.valid), lines: verdicts })
}
