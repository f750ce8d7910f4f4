//! Money that is reserved: captured, renewed before it is captured late, and given back.

use std::time::Duration;

use onrush_proto::GatewayResult;
use serde_json::{Value, json};

use super::message::{Authorization, Capture, Order, decimal};
use super::{FORGOTTEN, PayPal, Said, id_of, segment};
use crate::clock::now_us;
use crate::gateway::decline::{self, kept as code};
use crate::gateway::{GatewayKey, Step, Trouble};

/// For so long PayPal vouches for a reservation. Afterwards, until it expires, it is renewed before the money is
/// taken; that may be done once.
const HONOUR: Duration = Duration::from_secs(3 * 86_400);

impl PayPal {
    /// Takes (a part of) a reservation.
    pub(in crate::gateway) async fn capture(&self, step: &Step) -> Result<GatewayResult, Trouble> {
        let failed = |code| Ok(GatewayResult::CaptureFailed { code });
        let Some(order) = self.order(id_of(step.reference.as_str())).await? else {
            return failed(code(FORGOTTEN));
        };
        if let Some(result) = order.captured(step.reference)? {
            return Ok(result);
        }
        let (Some(value), Some(reserved)) = (decimal(step.amount), order.authorization()) else {
            return failed(code(decline::AMOUNT));
        };
        let amount = json!({"currency_code": step.amount.currency.as_str(), "value": value});
        let authorization = self.renewed(step, reserved, &amount).await?;
        let path = format!("v2/payments/authorizations/{}/capture", segment(&authorization));
        let body = json!({"amount": amount, "final_capture": true});
        match self.post::<Capture>(&path, &step.key.to_string(), &body).await? {
            Said::Done(capture) => match capture.taken()? {
                true => Ok(GatewayResult::Captured { reference: step.reference }),
                false => failed(code("CAPTURE_DECLINED")),
            },
            Said::Refused(code) => {
                let order = self.order(id_of(step.reference.as_str())).await?;
                let captured = order.map(|order| order.captured(step.reference)).transpose()?.flatten();
                Ok(captured.unwrap_or(GatewayResult::CaptureFailed { code }))
            }
        }
    }

    /// The authorization to capture: the first one, or, once PayPal does not vouch for that any more, the one
    /// that renews it. Where PayPal does not renew it, the first may still be captured: it decides.
    async fn renewed(
        &self,
        step: &Step,
        reserved: &Authorization,
        amount: &Value,
    ) -> Result<String, Trouble> {
        if reserved.age(now_us()) <= HONOUR {
            return Ok(reserved.id.clone());
        }
        let GatewayKey { order, number, .. } = step.key;
        let path = format!("v2/payments/authorizations/{}/reauthorize", segment(&reserved.id));
        let (key, body) = (format!("{order}:{number}:reauthorize"), json!({"amount": amount}));
        match self.post::<Authorization>(&path, &key, &body).await? {
            Said::Done(renewed) if renewed.is_pending() => Err(Trouble::Pending),
            Said::Done(renewed) if renewed.is_open() => Ok(renewed.id),
            Said::Done(_) => Ok(reserved.id.clone()),
            Said::Refused(issue) => {
                tracing::warn!(key = %step.key, %issue, "a reservation was not renewed");
                Ok(reserved.id.clone())
            }
        }
    }

    /// Gives a reservation back; that of the first one is that of what renewed it.
    pub(in crate::gateway) async fn void(&self, step: &Step) -> Result<(), Trouble> {
        // What PayPal forgot reserves nothing.
        let open = |order: Option<Order>| order?.open_authorization().map(|open| open.id.clone());
        let order = self.order(id_of(step.reference.as_str())).await?;
        let Some(authorization) = open(order) else { return Ok(()) };
        let path = format!("v2/payments/authorizations/{}/void", segment(&authorization));
        match self.post::<Value>(&path, &step.key.to_string(), &json!({})).await? {
            Said::Done(_) => Ok(()),
            Said::Refused(code) => {
                if open(self.order(id_of(step.reference.as_str())).await?).is_none() {
                    return Ok(());
                }
                tracing::error!(key = %step.key, %code, "a reservation was not given back");
                Err(Trouble::NoAnswer)
            }
        }
    }
}
