//! Settings of the payment gateways.

use super::secret::read_secret;
use super::{ConfigError, Secret, Value, find, wrong};
use crate::gateway::paypal::PayPalOptions;
use crate::gateway::stripe::StripeOptions;
use crate::gateway::{GatewayOptions, ReturnUrl};

pub(super) fn of(values: &[Value]) -> Result<GatewayOptions, ConfigError> {
    let secret = |name| Ok(read_secret(values, name)?.map_or_else(|| Secret::new(""), |(secret, _)| secret));
    let text = |name| find(values, name).text.clone();
    let back = find(values, "payment-return-url");
    let return_url: Option<ReturnUrl> = match back.text.as_str() {
        "" => None,
        url => Some(
            url.parse()
                .map_err(|_| wrong(back, "an https URL such as https://shop.example/orders/{order}"))?,
        ),
    };
    let stripe = match read_secret(values, "stripe-api-key")? {
        Some((key, _)) => Some(StripeOptions {
            base: text("stripe-api-base"),
            key,
            webhook_secret: secret("stripe-webhook-secret")?,
            return_url: return_url.clone(),
            timeout: StripeOptions::TIMEOUT,
        }),
        None => None,
    };
    let paypal = match read_secret(values, "paypal-api-key")? {
        Some((key, _)) if is_pair(&key) => Some(PayPalOptions {
            base: text("paypal-api-base"),
            key,
            webhook_id: text("paypal-webhook-id"),
            return_url,
            timeout: PayPalOptions::TIMEOUT,
        }),
        Some((_, value)) => return Err(wrong(value, "client_id:secret")),
        None => None,
    };
    let routes = find(values, "payment-routes");
    let unread = |error| ConfigError::Value {
        name: routes.name,
        origin: routes.origin,
        expected: format!("routes such as JPY=stripe;*=paypal,stripe ({error})"),
        found: routes.text.clone(),
    };
    Ok(GatewayOptions { stripe, paypal, routes: routes.text.parse().map_err(unread)? })
}

fn is_pair(key: &Secret) -> bool {
    key.expose().split_once(':').is_some_and(|(id, secret)| !id.is_empty() && !secret.is_empty())
}
