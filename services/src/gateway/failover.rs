//! From one gateway to the next: a decline that is the gateway's own, of an attempt that certainly took
//! nothing, is followed by an attempt with the tokens that are left. Silence never is.

use onrush_proto::{Attempt, AttemptState, OrderRow, OrderState, PaymentState, Text};

use super::decline::DeclineClass;
use super::method;

/// The tokens to go on with after a declined attempt, if the decline allows it and there are any.
pub(super) fn tokens_after(attempt: &Attempt) -> Option<Text<47>> {
    let declined = attempt.state == AttemptState::Declined && attempt.capture_minor == 0;
    let class = DeclineClass::of(attempt.decline.as_str());
    let rest = method::rest(&attempt.method);
    (declined && class == DeclineClass::Gateway && !rest.is_empty()).then_some(rest)
}

/// The attempt that speaks for attempt `number`: itself, or where its tokens led. `None` while the next
/// one is to begin.
pub fn follow_up(row: &OrderRow, number: u16) -> Option<&Attempt> {
    let attempts = &row.payment.as_ref()?.attempts;
    let mut attempt = attempts.iter().find(|each| each.number == number)?;
    while let Some(rest) = tokens_after(attempt) {
        match attempts.iter().find(|each| each.number == attempt.number + 1) {
            Some(next) if next.method == rest => attempt = next,
            // Somebody else began another attempt meanwhile.
            Some(_) => break,
            None if is_open(row) => return None,
            None => break,
        }
    }
    Some(attempt)
}

/// True if the order waits for a payment.
pub(super) fn is_open(row: &OrderRow) -> bool {
    let wanted = |payment: &onrush_proto::Payment| payment.state == PaymentState::RequiresPaymentMethod;
    row.state == OrderState::Pending && row.payment.as_deref().is_some_and(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u16, state: AttemptState, method: &str, decline: &str) -> Attempt {
        Attempt {
            number,
            state,
            capture: true,
            minor: 500,
            capture_minor: 0,
            method: Text::new(method).unwrap(),
            reference: Text::EMPTY,
            decline: Text::new(decline).unwrap(),
            started_us: 0,
        }
    }

    #[test]
    fn only_a_decline_of_the_gateways_own_leads_on() {
        use AttemptState::{Authorised, Declined, Unknown};
        for (state, method, decline, expected) in [
            (Declined, "pm_1,card_2", "processing_error", Some("card_2")),
            (Declined, "pm_1", "processing_error", None),
            (Declined, "pm_1,card_2", "insufficient_funds", None),
            (Declined, "pm_1,card_2", "stolen_card", None),
            (Unknown, "pm_1,card_2", "", None),
            (Authorised, "pm_1,card_2", "", None),
        ] {
            let found = tokens_after(&attempt(1, state, method, decline));
            assert_eq!(found.as_ref().map(Text::as_str), expected, "{state:?} {method} {decline}");
        }
        let taken_before = Attempt { capture_minor: 5, ..attempt(1, Declined, "pm_1,card_2", "no_route") };
        assert_eq!(tokens_after(&taken_before), None, "a capture that failed had a reservation");
    }
}
