//! Requests as commands.

use onrush_grpc::product::v1::update_stock_request::Change;
use onrush_grpc::product::v1::{PutProductRequest, UpdateStockRequest};
use onrush_proto::{Command, PutProduct, StockChange, UpdateStock};

use crate::field::{self, FieldError};

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
    field::description(&body.name, &body.description)?;
    let price = field::price(field::money("price", body.price.as_ref())?)?;
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
