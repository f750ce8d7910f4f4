//! Answers of a server as replies. An answer that makes no sense becomes a refusal that says so.

use onrush_grpc::admin::v1 as admin;
use onrush_grpc::admin::v1::{AuditResponse, StatsResponse};
use onrush_grpc::payment::v1 as payment;
use onrush_grpc::product::v1 as product;
use onrush_net::client::CallError;
use onrush_proto::{Lsn, Money, Outcome, PaymentState, Receipt, RefundState, Refusal, Reply};

use super::{Books, StageTimes};
use crate::meter::Gauges;
use crate::plan::CURRENCY;

const GARBLED: Refusal = Refusal::Invalid { field: "answer", expected: "an answer of this interface" };

/// A page as a reply.
pub(super) fn of_page(outcome: Outcome) -> Reply {
    Reply { outcome, replayed: false, lsn: Lsn(0) }
}

/// A payment that is still with the gateway is asked for again under its key; a repeat that waited for the
/// end is the first to hear of it.
pub(super) fn settled(reply: Reply) -> Reply {
    match reply.outcome {
        Outcome::Accepted(Receipt::AttemptSettled { payment_state: PaymentState::Processing, .. }) => {
            Reply { outcome: Outcome::Refused(Refusal::KeyInProgress), ..reply }
        }
        Outcome::Accepted(Receipt::AttemptSettled { .. }) => Reply { replayed: false, ..reply },
        _ => reply,
    }
}

/// A refund that was taken on: settled, or still with the gateway.
pub(super) fn refunded(made: &payment::ProcessRefundResponse) -> Outcome {
    let receipt = || {
        let refund = made.refund.as_ref()?;
        let state = match payment::RefundStatus::try_from(refund.status).ok()? {
            payment::RefundStatus::Succeeded => RefundState::Succeeded,
            payment::RefundStatus::Pending => RefundState::Pending,
            payment::RefundStatus::Failed => RefundState::Failed,
            payment::RefundStatus::Unspecified => return None,
        };
        let (order, amount) = (made.payment_id.parse().ok()?, Money::new(refund.minor_units, CURRENCY));
        Some(Receipt::Refund { order, refund: refund.number.try_into().ok()?, amount, state })
    };
    receipt().map_or(Outcome::Refused(GARBLED), Outcome::Accepted)
}

/// A product page.
pub(super) fn details(page: product::GetProductDetailsResponse) -> Outcome {
    let found = page.product.map(|product| Receipt::Product { version: product.product_version });
    found.map_or(Outcome::Refused(GARBLED), Outcome::Accepted)
}

/// Price and stock: sold out is an answer, an unknown SKU is not.
pub(super) fn validated(page: product::ValidateProductsResponse) -> Outcome {
    let outcome = page.lines.first().map(|line| match line.unit_price {
        None => Outcome::Refused(Refusal::UnknownProduct),
        Some(_) => Outcome::Accepted(Receipt::Stock { on_hand: line.available, held: 0, version: 0 }),
    });
    outcome.unwrap_or(Outcome::Refused(GARBLED))
}

/// A call that did not work as the refusal it carried. No answer at all is [`Refusal::Stopped`]:
/// nobody knows whether it worked.
pub(super) fn refusal(error: &CallError) -> Refusal {
    let refused = match error {
        CallError::Refused(refused) => refused,
        CallError::Unknown { .. } | CallError::Address(_) | CallError::Trust(_) => return Refusal::Stopped,
    };
    let line = refused.field.as_deref().and_then(line_of).unwrap_or(0);
    by_reason(&refused.reason, line)
}

/// The refusal of a stable name. Its numbers do not travel with it.
pub(super) fn by_reason(reason: &str, line: u16) -> Refusal {
    match reason {
        "OUT_OF_STOCK" => Refusal::OutOfStock { line, asked: 0, available: 0 },
        "LIMIT_EXCEEDED" => Refusal::LimitExceeded { line, limit: 0, bought: 0 },
        "IDEMPOTENCY_KEY_REUSED" => Refusal::KeyReused,
        "IDEMPOTENCY_KEY_IN_PROGRESS" => Refusal::KeyInProgress,
        // The second is the transport's own: more calls on a connection than it takes.
        "OVERLOADED" | "ResourceExhausted" => Refusal::Overloaded,
        "DEADLINE_EXCEEDED" => Refusal::DeadlineExceeded,
        "SHARD_STOPPED" => Refusal::Stopped,
        // Its number does not travel as a number.
        "NOT_LEADER" => Refusal::NotLeader { leader: 0 },
        "REFUND_ABOVE_CAPTURED" => Refusal::RefundAboveCaptured { asked: 0, left: 0 },
        "UNKNOWN_SKU" => Refusal::UnknownSku { line },
        "PRODUCT_INACTIVE" => Refusal::Inactive { line },
        "UNKNOWN_PRODUCT" => Refusal::UnknownProduct,
        "UNKNOWN_ORDER" | "NOT_FOUND" => Refusal::NotFound,
        _ => Refusal::Invalid { field: "request", expected: "a request that the server takes" },
    }
}

/// The line of a field's path: 3 of `lines[3].quantity`.
fn line_of(field: &str) -> Option<u16> {
    field.strip_prefix("lines[")?.split_once(']')?.0.parse().ok()
}

/// The server's audit as books.
pub(super) fn books(report: AuditResponse) -> Books {
    let was = |state: &str| state != "Reserving" && state != "Rejected";
    let accepted = report.orders_by_state.iter().filter(|count| was(&count.state));
    let orders = accepted.map(|count| count.orders).sum();
    let mut violations = report.violations;
    if report.violations_dropped > 0 {
        violations.push(format!("and {} more", report.violations_dropped));
    }
    if !report.ok && violations.is_empty() {
        violations.push("the server's audit failed without naming a rule".into());
    }
    Books {
        violations,
        orders,
        units_received: report.units_received,
        units_available: report.units_available,
        units_held: report.units_held,
        units_sold: report.units_sold,
        open_cross_shard: report.open_cross_shard,
    }
}

/// The server's counters as gauges.
pub(super) fn gauges(stats: &StatsResponse) -> Gauges {
    Gauges {
        process_bytes: stats.process_bytes,
        state_bytes: stats.state_bytes,
        orders_in_memory: stats.orders_in_memory,
        remembered_keys: stats.remembered_keys,
        lag_bytes: stats.store_lag_bytes,
        lag_bytes_max: stats.store_lag_bytes_max,
        level0_runs: stats.level0_runs,
    }
}

/// The server's word on a stage.
pub(super) fn stage(times: admin::StageTimes) -> StageTimes {
    let admin::StageTimes { stage, turns, p50_ns, p90_ns, p99_ns, max_ns, total_ns } = times;
    StageTimes { stage, turns, p50_ns, p90_ns, p99_ns, max_ns, total_ns }
}

#[cfg(test)]
mod tests {
    use onrush_net::client::Refused;

    use super::*;

    fn of_reason(reason: &str, field: Option<&str>) -> Refusal {
        refusal(&CallError::from(Refused {
            reason: reason.into(),
            field: field.map(str::to_owned),
            message: String::new(),
            retry_after: None,
            refusal: None,
            leader_address: None,
        }))
    }

    #[test]
    fn what_the_driver_acts_on_comes_back_under_the_same_reason() {
        for refusal in [
            Refusal::OutOfStock { line: 2, asked: 0, available: 0 },
            Refusal::LimitExceeded { line: 1, limit: 0, bought: 0 },
            Refusal::RefundAboveCaptured { asked: 0, left: 0 },
            Refusal::KeyReused,
            Refusal::KeyInProgress,
            Refusal::Overloaded,
            Refusal::DeadlineExceeded,
            Refusal::Stopped,
            Refusal::NotLeader { leader: 0 },
            Refusal::UnknownSku { line: 7 },
            Refusal::UnknownProduct,
            Refusal::NotFound,
        ] {
            assert_eq!(of_reason(refusal.reason().0, refusal.field().as_deref()), refusal);
        }
    }

    #[test]
    fn silence_and_strangeness_have_their_refusals() {
        assert_eq!(of_reason("ResourceExhausted", None), Refusal::Overloaded);
        assert!(matches!(of_reason("MARTIAN", None), Refusal::Invalid { field: "request", .. }));
        assert_eq!(refusal(&CallError::Address("x".into())), Refusal::Stopped);
        assert_eq!(validated(product::ValidateProductsResponse::default()), Outcome::Refused(GARBLED));
    }
}
