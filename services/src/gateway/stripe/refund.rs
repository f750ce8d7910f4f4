//! Money that goes back.

use super::message::{Refund, Refunds};
use super::{PAGE, Said, Stripe, outward};
use crate::gateway::{Step, Trouble};

impl Stripe {
    pub(in crate::gateway) async fn refund(&self, step: &Step, asked: bool) -> Result<bool, Trouble> {
        if asked && let Some(refund) = self.find_refund(step).await? {
            return refund.done().ok_or(Trouble::Pending);
        }
        let Some(amount) = outward(step.amount) else { return Ok(false) };
        let form = [
            ("payment_intent", step.reference.to_string()),
            ("amount", amount.to_string()),
            ("metadata[order_id]", step.key.order.to_string()),
            ("metadata[onrush_key]", step.key.to_string()),
        ];
        match self.said::<Refund>(self.post("refunds", &step.key.to_string()).form(&form)).await? {
            Said::Done(refund) => refund.done().ok_or(Trouble::Pending),
            Said::Declined(_) | Said::Refused(_) => match self.find_refund(step).await? {
                Some(refund) => refund.done().ok_or(Trouble::Pending),
                None => Ok(false),
            },
        }
    }

    /// Whether the refund under this key was made; `None` if there is none.
    pub(in crate::gateway) async fn refunded(&self, step: &Step) -> Result<Option<bool>, Trouble> {
        match self.find_refund(step).await? {
            Some(refund) => refund.done().map(Some).ok_or(Trouble::Pending),
            None => Ok(None),
        }
    }

    /// The refund under this key, if there is one.
    async fn find_refund(&self, step: &Step) -> Result<Option<Refund>, Trouble> {
        let (limit, key) = (PAGE.to_string(), step.key.to_string());
        let query = [("payment_intent", step.reference.as_str()), ("limit", limit.as_str())];
        match self.said::<Refunds>(self.get("refunds").query(&query)).await? {
            Said::Done(found) => Ok(found.data.into_iter().find(|refund| refund.metadata.onrush_key == key)),
            Said::Declined(_) | Said::Refused(_) => Err(Trouble::NoAnswer),
        }
    }
}
