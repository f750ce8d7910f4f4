//! Fields of a request: parsed once at the edge, refused with their path.

use std::str::FromStr;

use onrush_grpc::money::v1 as wire;
use onrush_proto::{Currency, Money, OrderId, Text};

use crate::gateway::is_card_number;
pub use crate::protobuf::REQUEST_ID_BYTES_MAX;

/// Most bytes of a product's name.
const NAME_BYTES_MAX: usize = 400;
/// Most bytes of a product's description.
const DESCRIPTION_BYTES_MAX: usize = 64 << 10;

/// A field whose value is never right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}: expected {expected}, found {found}")]
pub struct FieldError {
    /// Where it stands in the request: `lines[3].sku`.
    pub path: String,
    /// The stable name of what is wrong.
    pub reason: &'static str,
    /// What was expected.
    pub expected: String,
    /// What was found, shortened.
    pub found: String,
}

impl FieldError {
    /// An error with the reason `INVALID_FIELD`.
    pub fn invalid(path: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { path: path.into(), reason: "INVALID_FIELD", expected: expected.into(), found: found.into() }
    }

    /// The same error under another reason.
    pub fn because(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }
}

/// Shown in error texts: quoted and cut.
pub fn shown(text: &str) -> String {
    let cut: String = text.chars().take(40).collect();
    let more = if cut.len() < text.len() { ".." } else { "" };
    format!("{cut:?}{more}")
}

/// A text that may be empty.
pub fn text<const N: usize>(path: &str, value: &str) -> Result<Text<N>, FieldError> {
    Text::new(value)
        .map_err(|error| FieldError::invalid(path, format!("at most {N} bytes"), format!("{}", error.found)))
}

/// A text that may not be empty.
pub fn name<const N: usize>(path: &str, value: &str) -> Result<Text<N>, FieldError> {
    if value.is_empty() {
        return Err(FieldError::invalid(path, format!("1 to {N} bytes"), "none").because("MISSING_FIELD"));
    }
    text(path, value)
}

/// A token of a payment method, or several. What looks like a card number is refused before it is on
/// record anywhere, and not repeated.
pub fn payment_method(path: &str, value: &str) -> Result<Text<47>, FieldError> {
    if is_card_number(value) {
        let error = FieldError::invalid(path, "a token of a payment gateway", "a card number");
        return Err(error.because("CARD_NUMBER"));
    }
    name(path, value)
}

/// An order's or payment's id.
pub fn order_id(path: &str, value: &str) -> Result<OrderId, FieldError> {
    OrderId::from_str(value)
        .map_err(|_| FieldError::invalid(path, "32 hex digits", shown(value)).because("INVALID_ID"))
}

/// An amount of money.
pub fn money(path: &str, value: Option<&wire::Money>) -> Result<Money, FieldError> {
    let Some(value) = value else {
        return Err(FieldError::invalid(path, "an amount of money", "none").because("MISSING_FIELD"));
    };
    let currency = Currency::from_str(&value.currency_code).map_err(|_| {
        let path = format!("{path}.currency_code");
        FieldError::invalid(&path, "three capital letters (ISO 4217)", shown(&value.currency_code))
            .because("INVALID_CURRENCY")
    })?;
    Ok(Money::new(value.minor_units, currency))
}

/// An amount in the currency of what it belongs to.
pub fn money_in(path: &str, value: Option<&wire::Money>, currency: Currency) -> Result<Money, FieldError> {
    let amount = money(path, value)?;
    if amount.currency != currency {
        let path = format!("{path}.currency_code");
        let error = FieldError::invalid(&path, currency.as_str(), amount.currency.as_str());
        return Err(error.because("CURRENCY_MISMATCH"));
    }
    Ok(amount)
}

/// The price of a product.
pub fn price(price: Money) -> Result<Money, FieldError> {
    match price.minor {
        0.. => Ok(price),
        found => Err(FieldError::invalid("price.minor_units", "0 or more", found.to_string())),
    }
}

/// What a product is called and what is said of it.
pub fn description(name: &str, description: &str) -> Result<(), FieldError> {
    bounded("name", name, 1, NAME_BYTES_MAX)?;
    bounded("description", description, 0, DESCRIPTION_BYTES_MAX)
}

fn bounded(path: &str, value: &str, min: usize, max: usize) -> Result<(), FieldError> {
    if (min..=max).contains(&value.len()) {
        return Ok(());
    }
    let error = FieldError::invalid(path, format!("{min} to {max} bytes"), value.len().to_string());
    Err(if value.is_empty() { error.because("MISSING_FIELD") } else { error })
}

/// A value of an enum; values that this version does not know are refused.
pub fn choice<E: TryFrom<i32>>(path: &str, value: i32) -> Result<E, FieldError> {
    E::try_from(value).map_err(|_| {
        FieldError::invalid(path, "a known enum value", value.to_string()).because("UNKNOWN_ENUM_VALUE")
    })
}

/// The idempotency key as the caller gave it; empty = none.
pub fn request_id(value: &str) -> Result<&str, FieldError> {
    if value.len() > REQUEST_ID_BYTES_MAX {
        let expected = format!("at most {REQUEST_ID_BYTES_MAX} bytes");
        return Err(FieldError::invalid("request_id", expected, value.len().to_string()));
    }
    Ok(value)
}

/// The wire form of an amount.
pub fn money_message(amount: Money) -> wire::Money {
    wire::Money { minor_units: amount.minor, currency_code: amount.currency.to_string() }
}

/// A time in us as the wire has it.
pub fn time_us(time_us: u64) -> i64 {
    i64::try_from(time_us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_path_expected_and_found() {
        let long = "x".repeat(40);
        assert_eq!(
            name::<39>("lines[2].sku", &long).unwrap_err().to_string(),
            "lines[2].sku: expected at most 39 bytes, found 40"
        );
        let bad = wire::Money { minor_units: 5, currency_code: "usd".into() };
        let error = money("price", Some(&bad)).unwrap_err();
        assert_eq!((error.path.as_str(), error.reason), ("price.currency_code", "INVALID_CURRENCY"));
        assert_eq!(order_id("order_id", "xyz").unwrap_err().reason, "INVALID_ID");
    }
}
