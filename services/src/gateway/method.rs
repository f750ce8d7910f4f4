//! Payment methods: tokens of gateways, never card data, and which gateway takes which.
//!
//! A method is one token, or several with commas between, the one to try first in front:
//! `pm_1Nv0..,paypal:8kk8451t`. A token says by its form whose it is.

use std::fmt;
use std::str::FromStr;

use onrush_proto::{Currency, Text};

/// Which gateway.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GatewayKind {
    /// In process; no real money moves.
    Simulated,
    /// Stripe.
    Stripe,
    /// PayPal.
    PayPal,
}

/// What stands before a token of PayPal, which has no form of its own: `paypal:<vault id>`, or
/// `paypal:order:<id>` of an order that the buyer approved.
pub(super) const PAYPAL_PREFIX: &str = "paypal:";
/// Tokens of Stripe begin so.
const STRIPE_PREFIXES: [&str; 3] = ["pm_", "card_", "src_"];
/// Digits of a card number (ISO/IEC 7812).
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 12..=19;

impl GatewayKind {
    /// The real ones.
    pub const REAL: [Self; 2] = [Self::Stripe, Self::PayPal];

    /// Its name in settings and measures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Stripe => "stripe",
            Self::PayPal => "paypal",
        }
    }

    /// The real gateway whose token this is.
    pub(super) fn of_token(token: &str) -> Option<Self> {
        if token.starts_with(PAYPAL_PREFIX) {
            return Some(Self::PayPal);
        }
        let stripe = STRIPE_PREFIXES.iter().any(|prefix| token.starts_with(prefix));
        stripe.then_some(Self::Stripe)
    }

    /// The gateway that gave this reference.
    pub(super) fn of_reference(reference: &str) -> Option<Self> {
        match reference.split('_').next() {
            Some("sim") => Some(Self::Simulated),
            Some("pi") => Some(Self::Stripe),
            Some("pp") => Some(Self::PayPal),
            _ => None,
        }
    }
}

impl fmt::Display for GatewayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The token to use.
pub(super) fn first(method: &Text<47>) -> &str {
    method.as_str().split(',').next().unwrap_or_default().trim()
}

/// What is left to try after the first token; empty if nothing is.
pub(super) fn rest(method: &Text<47>) -> Text<47> {
    let rest = method.as_str().split_once(',').map_or("", |(_, rest)| rest.trim());
    Text::new(rest).unwrap_or_default()
}

/// True if a card number stands in the text: nobody may bring one, since it would be on record.
pub fn is_card_number(text: &str) -> bool {
    let between = |c: char| c == ' ' || c == '-';
    text.split(|c: char| !c.is_ascii_digit() && !between(c)).any(|run| {
        let digits: Vec<u32> = run.chars().filter_map(|c| c.to_digit(10)).collect();
        CARD_DIGITS.contains(&digits.len()) && luhn(&digits)
    })
}

/// The check digit of ISO/IEC 7812-1: every second digit from the right counts double.
fn luhn(digits: &[u32]) -> bool {
    let twice = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let weighed = digits.iter().rev().enumerate();
    let sum: u32 = weighed.map(|(at, digit)| if at % 2 == 1 { twice(*digit) } else { *digit }).sum();
    sum.is_multiple_of(10)
}

/// Which gateways take which currency: `JPY=stripe;*=stripe,paypal`. Without rules all take all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Routes {
    rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    /// `None` = any that no other rule names.
    currency: Option<Currency>,
    gateways: Vec<GatewayKind>,
}

/// A text that does not say routes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoutesError {
    /// Not `currency=gateways`.
    #[error("expected a currency or *, =, and gateways, found {0:?}")]
    Rule(String),
    /// A currency that stands there twice.
    #[error("expected each currency once, found {0:?} again")]
    Twice(String),
    /// A gateway that nobody knows.
    #[error("expected one of {expected}, found {found:?}")]
    Gateway {
        /// Those that there are.
        expected: String,
        /// What was found.
        found: String,
    },
}

impl Routes {
    /// True if this gateway may take this currency.
    pub fn allow(&self, gateway: GatewayKind, currency: Currency) -> bool {
        let named = self.rules.iter().find(|rule| rule.currency == Some(currency));
        let rule = named.or_else(|| self.rules.iter().find(|rule| rule.currency.is_none()));
        match rule {
            Some(rule) => rule.gateways.contains(&gateway),
            None => self.rules.is_empty(),
        }
    }
}

impl FromStr for Routes {
    type Err = RoutesError;

    fn from_str(text: &str) -> Result<Self, RoutesError> {
        let mut rules: Vec<Rule> = Vec::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || RoutesError::Rule(part.into());
            let (currency, gateways) = part.split_once('=').ok_or_else(wrong)?;
            let currency = match currency.trim() {
                "*" => None,
                code => Some(code.parse().map_err(|_| wrong())?),
            };
            if rules.iter().any(|rule| rule.currency == currency) {
                return Err(RoutesError::Twice(part.into()));
            }
            let gateways = gateways.split(',').map(|name| gateway(name.trim())).collect::<Result<_, _>>()?;
            rules.push(Rule { currency, gateways });
        }
        Ok(Self { rules })
    }
}

fn gateway(name: &str) -> Result<GatewayKind, RoutesError> {
    let known = GatewayKind::REAL.into_iter().find(|known| known.name() == name);
    known.ok_or_else(|| RoutesError::Gateway {
        expected: GatewayKind::REAL.map(GatewayKind::name).join(" and "),
        found: name.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_found_however_they_are_written() {
        for text in ["4242424242424242", "4242 4242 4242 4242", "pm_4000-0000-0000-0002", "378282246310005"] {
            assert!(is_card_number(text), "{text}");
        }
        for text in ["pm_card_visa", "4242424242424241", "pm_1NvXYZ42424242424a", "", "0042", "sim,pm_1"] {
            assert!(!is_card_number(text), "{text}");
        }
    }

    #[test]
    fn a_method_is_tried_token_by_token() {
        let method: Text<47> = Text::new("pm_1, card_2,src_3").unwrap();
        assert_eq!((first(&method), rest(&method).as_str()), ("pm_1", "card_2,src_3"));
        let last = rest(&rest(&method));
        assert_eq!((first(&last), rest(&last).is_empty()), ("src_3", true));
        assert_eq!(GatewayKind::of_token("pm_1"), Some(GatewayKind::Stripe));
        assert_eq!(GatewayKind::of_token("paypal:8kk8451t"), Some(GatewayKind::PayPal));
        assert_eq!(GatewayKind::of_token("4242"), None);
    }

    #[test]
    fn routes_allow_what_they_name_and_errors_name_what_is_wrong() {
        let routes: Routes = "EUR=paypal; *=stripe,paypal".parse().unwrap();
        assert!(!routes.allow(GatewayKind::Stripe, Currency::EUR));
        assert!(routes.allow(GatewayKind::PayPal, Currency::EUR));
        assert!(routes.allow(GatewayKind::Stripe, Currency::USD));
        let only: Routes = "EUR=stripe".parse().unwrap();
        assert!(!only.allow(GatewayKind::Stripe, Currency::USD), "what no rule names has no way");
        assert!(Routes::default().allow(GatewayKind::Stripe, Currency::USD));
        for (text, expected) in [
            ("EUR", "expected a currency or *"),
            ("euro=stripe", "expected a currency or *"),
            ("EUR=stripe;EUR=stripe", "expected each currency once"),
            ("EUR=bank", "expected one of stripe and paypal"),
            ("EUR=", "expected one of stripe and paypal"),
            ("EUR=simulated", "found \"simulated\""),
        ] {
            let error = text.parse::<Routes>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
