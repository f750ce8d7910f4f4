//! UpdateStock: set or add units.

use onrush_grpc::product::v1::{UpdateStockRequest, UpdateStockResponse};
use onrush_proto::Receipt;

use super::{command, wrong_receipt};
use crate::access::Admitted;
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::status::Rejection;

pub(crate) async fn update_stock(
    backend: &Backend,
    caller: &Admitted,
    deadline: Deadline,
    body: UpdateStockRequest,
) -> Result<UpdateStockResponse, Rejection> {
    let command = command::update_stock(&body)?;
    let keyed = backend.keyed(caller.name(), &body.request_id, deadline, command)?;
    let accepted = backend.accept(keyed.request).await?;
    let Receipt::Stock { on_hand, held, version, .. } = accepted.receipt else {
        return Err(wrong_receipt("stock", &accepted.receipt));
    };
    Ok(UpdateStockResponse {
        request_id: keyed.request_id,
        replayed: accepted.replayed,
        sku: body.sku,
        on_hand,
        held,
        version,
    })
}
