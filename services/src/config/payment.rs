//! Settings of the payment gateways.

use super::secret::read_secret;
use super::{ConfigError, Secret, Value, find};
use crate::gateway::GatewayOptions;
use crate::gateway::stripe::StripeOptions;

pub(super) fn of(values: &[Value]) -> Result<GatewayOptions, ConfigError> {
    let secret = |name| Ok(read_secret(values, name)?.map_or_else(|| Secret::new(""), |(secret, _)| secret));
    let base = |name| find(values, name).text.clone();
    let stripe = match read_secret(values, "stripe-api-key")? {
        Some((key, _)) => Some(StripeOptions {
            base: base("stripe-api-base"),
            key,
            webhook_secret: secret("stripe-webhook-secret")?,
            timeout: StripeOptions::TIMEOUT,
        }),
        None => None,
    };
    let routes = find(values, "payment-routes");
    let wrong = |error| ConfigError::Value {
        name: routes.name,
        origin: routes.origin,
        expected: format!("routes such as JPY=stripe;*=stripe ({error})"),
        found: routes.text.clone(),
    };
    Ok(GatewayOptions { stripe, routes: routes.text.parse().map_err(wrong)? })
}
