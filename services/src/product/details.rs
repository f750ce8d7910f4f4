//! GetProductDetails: a product with its price and stock, as published.

use onrush_grpc::product::v1::{GetProductDetailsRequest, GetProductDetailsResponse};
use onrush_proto::Refusal;

use super::message;
use crate::backend::Backend;
use crate::field;
use crate::status::Rejection;

pub(crate) async fn details(
    backend: &Backend,
    body: &GetProductDetailsRequest,
) -> Result<GetProductDetailsResponse, Rejection> {
    let sku = field::name("sku", &body.sku)?;
    let row = backend.product(&sku).await?.ok_or(Rejection::Refused(Refusal::UnknownProduct))?;
    let stock = backend.shelf(std::iter::once(sku)).await?.stock(&sku);
    Ok(GetProductDetailsResponse { product: Some(message::product(&row, stock)) })
}
