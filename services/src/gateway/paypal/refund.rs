//! Money that goes back.

use serde_json::json;

use super::message::{Refund, decimal};
use super::{PayPal, Said, id_of, segment};
use crate::gateway::{Step, Trouble};

impl PayPal {
    pub(in crate::gateway) async fn refund(&self, step: &Step) -> Result<bool, Trouble> {
        // There is nothing to give back of what PayPal does not know.
        let Some(order) = self.order(id_of(step.reference.as_str())).await? else { return Ok(false) };
        let key = step.key.to_string();
        if let Some(refund) = order.refund(&key) {
            return refund.done().ok_or(Trouble::Pending);
        }
        let (Some(value), Some(capture)) = (decimal(step.amount), order.capture()) else { return Ok(false) };
        let amount = json!({"currency_code": step.amount.currency.as_str(), "value": value});
        let path = format!("v2/payments/captures/{}/refund", segment(&capture.id));
        let body = json!({"amount": amount, "custom_id": key});
        match self.post::<Refund>(&path, &key, &body).await? {
            Said::Done(refund) => refund.done().ok_or(Trouble::Pending),
            Said::Refused(_) => Ok(self.refunded(step).await?.unwrap_or(false)),
        }
    }

    /// Whether the refund under this key was made; `None` if there is none.
    pub(in crate::gateway) async fn refunded(&self, step: &Step) -> Result<Option<bool>, Trouble> {
        let order = self.order(id_of(step.reference.as_str())).await?;
        match order.as_ref().and_then(|order| order.refund(&step.key.to_string())) {
            Some(refund) => refund.done().map(Some).ok_or(Trouble::Pending),
            None => Ok(None),
        }
    }
}
