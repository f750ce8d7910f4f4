//! Classes of declines: who has to do something before another try makes sense.

use onrush_proto::Text;

/// What a decline asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeclineClass {
    /// The bank said no to this card: the same card gets the same answer anywhere.
    Bank,
    /// The buyer has to do something: another card, other digits, a proof of who they are.
    Buyer,
    /// This gateway could not, and certainly took nothing: another one may.
    Gateway,
}

/// No gateway takes this method or currency.
pub(super) const NO_ROUTE: &str = "no_route";
/// The gateway was not reached, and another one may be.
pub(super) const UNAVAILABLE: &str = "gateway_unavailable";
/// The order was gone before the gateway was reached.
pub(super) const ORDER_CLOSED: &str = "order_closed";
/// The buyer was to approve it, and something else is to pay now.
pub(super) const REPLACED: &str = "replaced";
/// The buyer did not prove who they are.
pub(super) const NOT_AUTHENTICATED: &str = "authentication_failed";
/// The amount cannot be said in the gateway's units.
pub(super) const AMOUNT: &str = "amount_not_representable";

/// Codes that say more of the gateway than of the card.
const OF_THE_GATEWAY: [&str; 24] = [
    NO_ROUTE,
    UNAVAILABLE,
    AMOUNT,
    "amount_too_large",
    "amount_too_small",
    "card_not_supported",
    "currency_not_supported",
    "COUNTRY_NOT_SUPPORTED",
    "CURRENCY_NOT_SUPPORTED",
    "INTERNAL_SERVER_ERROR",
    "invalid_request",
    "issuer_not_available",
    "MAX_VALUE_EXCEEDED",
    "parameter_invalid",
    "parameter_unknown",
    "PAYEE_ACCOUNT_RESTRICTED",
    "payment_method_not_available",
    "PERMISSION_DENIED",
    "processing_error",
    "reenter_transaction",
    "resource_missing",
    "service_not_allowed",
    "testmode_decline",
    "try_again_later",
];

/// Codes that the buyer can do something about.
const OF_THE_BUYER: [&str; 22] = [
    NOT_AUTHENTICATED,
    "authentication_required",
    "card_velocity_exceeded",
    "expired_card",
    "incorrect_address",
    "incorrect_cvc",
    "incorrect_number",
    "incorrect_pin",
    "incorrect_zip",
    "insufficient_funds",
    "invalid_cvc",
    "invalid_expiry_month",
    "invalid_expiry_year",
    "invalid_number",
    "INSTRUMENT_DECLINED",
    "ORDER_NOT_APPROVED",
    "PAYER_ACTION_REQUIRED",
    "PAYER_CANNOT_PAY",
    // An order of PayPal's that it forgot, or never had: the buyer is to approve another.
    "RESOURCE_NOT_FOUND",
    "withdrawal_count_limit_exceeded",
    ORDER_CLOSED,
    REPLACED,
];

/// A code as it is kept: plain ASCII, cut to what fits.
pub(super) fn kept(code: &str) -> Text<31> {
    let plain: String = code.chars().filter(char::is_ascii_graphic).take(31).collect();
    Text::new(&plain).unwrap_or_default()
}

impl DeclineClass {
    /// The class of a code. What nobody knows counts as the bank's: nothing is tried again by itself.
    pub fn of(code: &str) -> Self {
        if OF_THE_GATEWAY.contains(&code) {
            Self::Gateway
        } else if OF_THE_BUYER.contains(&code) {
            Self::Buyer
        } else {
            Self::Bank
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_gateway_could_not_do_goes_elsewhere() {
        for (code, class) in [
            ("processing_error", DeclineClass::Gateway),
            (NO_ROUTE, DeclineClass::Gateway),
            ("insufficient_funds", DeclineClass::Buyer),
            (ORDER_CLOSED, DeclineClass::Buyer),
            ("RESOURCE_NOT_FOUND", DeclineClass::Buyer),
            ("generic_decline", DeclineClass::Bank),
            ("stolen_card", DeclineClass::Bank),
            ("never heard of", DeclineClass::Bank),
            ("", DeclineClass::Bank),
        ] {
            assert_eq!(DeclineClass::of(code), class, "{code}");
        }
        // A code is kept in 31 bytes: a longer one would never be found again.
        let long = OF_THE_GATEWAY.iter().chain(&OF_THE_BUYER).find(|code| code.len() > 31);
        assert_eq!(long, None);
    }
}
