//! Shipping's settings.

use std::time::Duration;

use super::secret::read_secret;
use super::{ConfigError, Secret, Value, bounded, find, parse, wrong};
use crate::shipping::Address;
use crate::shipping::carrier::http::HttpOptions;
use crate::shipping::carrier::simulated::Behaviour;

/// What Shipping is told.
#[derive(Clone, PartialEq, Debug)]
pub struct ShippingConfig {
    /// How the simulated carrier behaves.
    pub behaviour: Behaviour,
    /// The real carrier; without it the simulated one.
    pub api: Option<HttpOptions>,
    /// What a unit weighs.
    pub unit_grams: u32,
    /// How often a parcel is asked about if the carrier does not say.
    pub poll: Duration,
}

impl Default for ShippingConfig {
    fn default() -> Self {
        Self { behaviour: Behaviour::default(), api: None, unit_grams: 500, poll: Duration::from_secs(900) }
    }
}

impl ShippingConfig {
    pub(super) fn of(values: &[Value]) -> Result<Self, ConfigError> {
        let faults = find(values, "carrier-faults");
        let behaviour = faults.text.parse().map_err(|error| ConfigError::Value {
            name: faults.name,
            origin: faults.origin,
            expected: format!("a behaviour such as timeout=0.1,pickup_ms=1000 ({error})"),
            found: faults.text.clone(),
        })?;
        let key = read_secret(values, "shipping-api-key")?.map(|(key, _)| key);
        let expected = "a sender: name;street;city;state;postal code;country such as DE";
        let from = parse(find(values, "shipping-from"), expected, |text| match text {
            "" => Some(None),
            _ => sender(text).map(Some),
        })?;
        let api = match (key, from) {
            (None, _) => None,
            (Some(key), Some(from)) => {
                let base = find(values, "shipping-api-base").text.clone();
                let pushes = read_secret(values, "shipping-webhook-secret")?;
                let webhook_secret = pushes.map_or_else(|| Secret::new(""), |(secret, _)| secret);
                Some(HttpOptions { base, key, webhook_secret, from, timeout: HttpOptions::TIMEOUT })
            }
            (Some(_), None) => {
                let expected = format!("{expected}, since there is a shipping-api-key");
                return Err(wrong(find(values, "shipping-from"), expected));
            }
        };
        Ok(Self {
            behaviour,
            api,
            unit_grams: bounded(values, "unit-grams", 1, 70_000)? as u32,
            poll: Duration::from_secs(bounded(values, "shipping-poll-s", 1, 86_400)? as u64),
        })
    }
}

fn sender(text: &str) -> Option<Address> {
    let parts: Vec<String> = text.split(';').map(|part| part.trim().to_owned()).collect();
    let [name, street, city, state, postal_code, country]: [String; 6] = parts.try_into().ok()?;
    let complete = [&name, &street, &city].into_iter().all(|part| !part.is_empty());
    let known = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    (complete && known).then(|| Address {
        name,
        street,
        city,
        state,
        postal_code,
        country,
        ..Default::default()
    })
}
