//! Minor units: ISO 4217 says how many decimals a currency has, and each gateway says otherwise for some.
//! Amounts here are ISO's; what a gateway cannot say is refused, never rounded.

use onrush_proto::{Currency, Money};

/// Currencies without decimals (ISO 4217).
const NONE: [&str; 17] = [
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
    "XOF", "XPF",
];
/// Currencies with three.
const THREE: [&str; 7] = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];
/// Currencies with four.
const FOUR: [&str; 2] = ["CLF", "UYW"];

/// How a gateway counts a currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Units {
    /// Decimals.
    pub(super) exponent: u32,
    /// Amounts are multiples of this.
    pub(super) step: i64,
}

/// Decimals of a currency.
fn iso(currency: Currency) -> u32 {
    let is = |table: &[&str]| table.contains(&currency.as_str());
    match () {
        () if is(&NONE) => 0,
        () if is(&THREE) => 3,
        () if is(&FOUR) => 4,
        () => 2,
    }
}

/// How Stripe counts: ISK and UGX have two decimals that are always 00, MGA has none, and amounts with
/// three decimals end in 0.
pub(super) fn stripe(currency: Currency) -> Units {
    match currency.as_str() {
        "ISK" | "UGX" => Units { exponent: 2, step: 100 },
        "MGA" => Units { exponent: 0, step: 1 },
        _ => match iso(currency) {
            3 => Units { exponent: 3, step: 10 },
            exponent => Units { exponent, step: 1 },
        },
    }
}

/// Currencies of PayPal.
const OF_PAYPAL: [&str; 24] = [
    "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "JPY", "MXN", "MYR",
    "NOK", "NZD", "PHP", "PLN", "SEK", "SGD", "THB", "TWD", "USD",
];

/// How PayPal counts: HUF, JPY and TWD have no decimals, all others two; it does not take every currency.
pub(super) fn paypal(currency: Currency) -> Option<Units> {
    let code = currency.as_str();
    let exponent = if matches!(code, "HUF" | "JPY" | "TWD") { 0 } else { 2 };
    OF_PAYPAL.contains(&code).then_some(Units { exponent, step: 1 })
}

impl Units {
    /// An amount as the gateway counts it; `None` if it cannot say it.
    pub(super) fn outward(self, amount: Money) -> Option<i64> {
        let ours = iso(amount.currency);
        let value = if self.exponent >= ours {
            amount.minor.checked_mul(10_i64.checked_pow(self.exponent - ours)?)?
        } else {
            let unit = 10_i64.checked_pow(ours - self.exponent)?;
            (amount.minor % unit == 0).then_some(amount.minor / unit)?
        };
        (value % self.step == 0).then_some(value)
    }

    /// An amount of the gateway in ISO's minor units; `None` beyond 64 bits or below one unit.
    pub(super) fn inward(self, value: i64, currency: Currency) -> Option<i64> {
        let ours = iso(currency);
        if ours >= self.exponent {
            return value.checked_mul(10_i64.checked_pow(ours - self.exponent)?);
        }
        let unit = 10_i64.checked_pow(self.exponent - ours)?;
        (value % unit == 0).then_some(value / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, code.parse().unwrap())
    }

    #[test]
    fn stripe_counts_some_currencies_otherwise() {
        for (code, minor, expected) in [
            ("EUR", 1_099, Some(1_099)),
            ("JPY", 500, Some(500)),
            ("KRW", 1, Some(1)),
            ("ISK", 5, Some(500)),
            ("UGX", 5, Some(500)),
            ("HUF", 1_050, Some(1_050)),
            ("TWD", 1_050, Some(1_050)),
            ("MGA", 500, Some(5)),
            ("MGA", 550, None),
            ("KWD", 1_230, Some(1_230)),
            ("KWD", 1_234, None),
            ("ISK", i64::MAX, None),
        ] {
            let found = stripe(code.parse().unwrap()).outward(money(minor, code));
            assert_eq!(found, expected, "{code} {minor}");
            if let Some(value) = found {
                let currency = code.parse().unwrap();
                assert_eq!(stripe(currency).inward(value, currency), Some(minor), "{code} back");
            }
        }
        assert_eq!(stripe("ISK".parse().unwrap()).inward(550, "ISK".parse().unwrap()), None);
    }
}
