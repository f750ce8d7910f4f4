//! Requests as commands.

use onrush_grpc::product::v1::update_stock_request::Change;
use onrush_grpc::product::v1::{PutProductRequest, UpdateStockRequest};
use onrush_proto::{Command, PutProduct, StockChange, UpdateStock};

use crate::field::{self, FieldError};

/// Most bytes of a product's name.
const NAME_BYTES_MAX: usize = 400;
/// Most bytes of a product's description.
const DESCRIPTION_BYTES_MAX: usize = 64 << 10;

pub(super) fn update_stock(body: &UpdateStockRequest) -> Result<Command, FieldError> {
    let change = match body.change {
        Some(Change::Set(to)) => StockChange::Set(to),
        Some(Change::Add(by)) => StockChange::Add(by),
        Some(Change::AddIfVersion(by)) => StockChange::AddIfVersion { add: by.add, version: by.version },
        None => {
            let error = FieldError::invalid("change", "set, add or add_if_version", "none");
            return Err(error.because("MISSING_FIELD"));
        }
    };
    Ok(Command::UpdateStock(UpdateStock {
        sku: field::name("sku", &body.sku)?,
        change,
        reason: field::text("reason", &body.reason)?,
    }))
}

pub(super) fn put_product(body: PutProductRequest) -> Result<Command, FieldError> {
    bounded("name", &body.name, 1, NAME_BYTES_MAX)?;
    bounded("description", &body.description, 0, DESCRIPTION_BYTES_MAX)?;
    let price = field::money("price", body.price.as_ref())?;
    if price.minor < 0 {
        return Err(FieldError::invalid("price.minor_units", "0 or more", price.minor.to_string()));
    }
    Ok(Command::PutProduct(Box::new(PutProduct {
        sku: field::name("sku", &body.sku)?,
        category: field::text("category", &body.category)?,
        brand: field::text("brand", &body.brand)?,
        name: body.name,
        description: body.description,
        price,
        limit_per_customer: body.limit_per_customer,
        limit_returns: body.limit_returns,
        backorder: body.backorder,
        hold_us: body.hold_us,
        active: !body.withdrawn,
    })))
}

fn bounded(path: &str, value: &str, min: usize, max: usize) -> Result<(), FieldError> {
    if (min..=max).contains(&value.len()) {
        return Ok(());
    }
    let error = FieldError::invalid(path, format!("{min} to {max} bytes"), value.len().to_string());
    Err(if value.is_empty() { error.because("MISSING_FIELD") } else { error })
}
