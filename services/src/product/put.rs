//! PutProduct: create a product or change it.

use onrush_grpc::product::v1::{PutProductRequest, PutProductResponse};
use onrush_proto::Receipt;

use super::{command, wrong_receipt};
use crate::access::Admitted;
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::status::Rejection;

pub(crate) async fn put(
    backend: &Backend,
    caller: &Admitted,
    deadline: Deadline,
    body: PutProductRequest,
) -> Result<PutProductResponse, Rejection> {
    let (request_id, sku) = (body.request_id.clone(), body.sku.clone());
    let command = command::put_product(body)?;
    let keyed = backend.keyed(caller.name(), &request_id, deadline, command)?;
    let accepted = backend.accept(keyed.request).await?;
    let Receipt::Product { version, .. } = accepted.receipt else {
        return Err(wrong_receipt("product", &accepted.receipt));
    };
    Ok(PutProductResponse { request_id: keyed.request_id, replayed: accepted.replayed, sku, version })
}
