//! Answers as outcomes. An answer that makes no sense becomes a refusal that says so.

use onrush_grpc::admin::v1 as admin;
use onrush_grpc::admin::v1::{AuditResponse, GetStockResponse, StatsResponse};
use onrush_grpc::money::v1::Money as WireMoney;
use onrush_grpc::order::v1 as order;
use onrush_grpc::order::v1::{OrderPaymentStatus, OrderStatus};
use onrush_grpc::product::v1 as product;
use onrush_net::client::CallError;
use onrush_proto::{
    Currency, CustomerId, Delivery, IdempotencyKey, Lines, Money, OrderId, OrderRow, OrderState, Outcome,
    PaymentState, Receipt, Refusal, Sku, StockRow,
};

use super::Books;
use crate::meter::Gauges;
use crate::target::StageTimes;

/// What came, and whether it is the first answer again.
pub(super) type Answer = (Outcome, bool);

const GARBLED: Refusal = Refusal::Invalid { field: "answer", expected: "an answer of this interface" };

fn answer(outcome: Option<Outcome>, replayed: bool) -> Answer {
    (outcome.unwrap_or(Outcome::Refused(GARBLED)), replayed)
}

/// An order was accepted.
pub(super) fn order_made(made: order::CreateOrderResponse) -> Answer {
    let outcome = || {
        let order: OrderId = made.order_id.parse().ok()?;
        let held_until_us = u64::try_from(made.held_until_us).ok()?;
        Some(Outcome::Accepted(Receipt::Order { order, total: money(made.total.as_ref())?, held_until_us }))
    };
    answer(outcome(), made.replayed)
}

/// A payment came to its end, or is still with the gateway: then the same key asks again.
pub(super) fn paid(paid: order::ProcessPaymentResponse) -> Answer {
    let outcome = || {
        let payment_state = payment_state(paid.payment_status)?;
        if payment_state == PaymentState::Processing {
            return Some(Outcome::Refused(Refusal::KeyInProgress));
        }
        Some(Outcome::Accepted(Receipt::AttemptSettled {
            order: paid.order_id.parse().ok()?,
            attempt: u16::try_from(paid.attempt).ok()?,
            order_state: order_state(paid.order_status)?,
            payment_state,
        }))
    };
    // A repeat that waited for the end is the first to hear of it.
    answer(outcome(), false)
}

/// An order was called off.
pub(super) fn cancelled(cancelled: order::CancelOrderResponse) -> Answer {
    let outcome = || {
        let (order, state) = (cancelled.order_id.parse().ok()?, order_state(cancelled.status)?);
        Some(Outcome::Accepted(Receipt::OrderMoved { order, state }))
    };
    answer(outcome(), cancelled.replayed)
}

/// An order was read. The wire tells neither key nor body.
pub(super) fn order_read(read: order::GetOrderStatusResponse) -> Answer {
    let outcome = || {
        let found = read.order?;
        Some(Outcome::Order(Box::new(OrderRow {
            id: found.order_id.parse().ok()?,
            customer: CustomerId::new(&found.customer_id).ok()?,
            lines: Lines::new(),
            total: money(found.total.as_ref())?,
            state: order_state(found.status)?,
            delivery: Delivery::Waiting,
            held_until_us: u64::try_from(found.held_until_us).ok()?,
            changed_us: u64::try_from(found.changed_us).ok()?,
            key: IdempotencyKey::NONE,
            body: 0,
            history: Default::default(),
            payment: None,
        })))
    };
    answer(outcome(), false)
}

/// A product was put.
pub(super) fn product_put(put: product::PutProductResponse) -> Answer {
    (Outcome::Accepted(Receipt::Product { version: put.version }), put.replayed)
}

/// Stock was changed.
pub(super) fn stock_changed(changed: product::UpdateStockResponse) -> Answer {
    let product::UpdateStockResponse { on_hand, held, version, replayed, .. } = changed;
    (Outcome::Accepted(Receipt::Stock { on_hand, held, version }), replayed)
}

/// Stock was counted by its owner. What is not counted is zero here.
pub(super) fn stock(counted: &GetStockResponse) -> Answer {
    let row = |sku: Sku| StockRow {
        sku,
        on_hand: counted.on_hand,
        held: counted.held,
        sold: counted.sold,
        received: counted.received,
        version: counted.version,
        price: Money::new(0, Currency::USD),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    };
    answer(counted.sku.parse().ok().map(|sku| Outcome::Stock(Box::new(row(sku)))), false)
}

/// A product page.
pub(super) fn details(page: product::GetProductDetailsResponse) -> Answer {
    let found = page.product.map(|product| Receipt::Product { version: product.product_version });
    answer(found.map(Outcome::Accepted), false)
}

/// Price and stock: sold out is an answer, an unknown SKU is not.
pub(super) fn validated(page: product::ValidateProductsResponse) -> Answer {
    let outcome = page.lines.first().map(|line| match line.unit_price {
        None => Outcome::Refused(Refusal::UnknownProduct),
        Some(_) => Outcome::Accepted(Receipt::Stock { on_hand: line.available, held: 0, version: 0 }),
    });
    answer(outcome, false)
}

/// A call that did not work as the refusal it carried. No answer at all is [`Refusal::Stopped`]:
/// nobody knows whether it worked.
pub(super) fn refusal(error: &CallError) -> Refusal {
    let refused = match error {
        CallError::Refused(refused) => refused,
        CallError::Unknown { .. } | CallError::Address(_) => return Refusal::Stopped,
    };
    let line = refused.field.as_deref().and_then(line_of).unwrap_or(0);
    match refused.reason.as_str() {
        "OUT_OF_STOCK" => Refusal::OutOfStock { line, asked: 0, available: 0 },
        "LIMIT_EXCEEDED" => Refusal::LimitExceeded { line, limit: 0, bought: 0 },
        "IDEMPOTENCY_KEY_REUSED" => Refusal::KeyReused,
        "IDEMPOTENCY_KEY_IN_PROGRESS" => Refusal::KeyInProgress,
        // The second is the transport's own: more calls on a connection than it takes.
        "OVERLOADED" | "ResourceExhausted" => Refusal::Overloaded,
        "DEADLINE_EXCEEDED" => Refusal::DeadlineExceeded,
        "SHARD_STOPPED" => Refusal::Stopped,
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

fn money(amount: Option<&WireMoney>) -> Option<Money> {
    let amount = amount?;
    Some(Money::new(amount.minor_units, amount.currency_code.parse().ok()?))
}

fn order_state(status: i32) -> Option<OrderState> {
    Some(match OrderStatus::try_from(status).ok()? {
        OrderStatus::Unspecified => return None,
        OrderStatus::Reserving => OrderState::Reserving,
        OrderStatus::Rejected => OrderState::Rejected,
        OrderStatus::Pending => OrderState::Pending,
        OrderStatus::Paid => OrderState::Paid,
        OrderStatus::Fulfilling => OrderState::Fulfilling,
        OrderStatus::Shipped => OrderState::Shipped,
        OrderStatus::Delivered => OrderState::Delivered,
        OrderStatus::Cancelled => OrderState::Cancelled,
        OrderStatus::Expired => OrderState::Expired,
        OrderStatus::PartiallyRefunded => OrderState::PartiallyRefunded,
        OrderStatus::Refunded => OrderState::Refunded,
    })
}

fn payment_state(status: i32) -> Option<PaymentState> {
    Some(match OrderPaymentStatus::try_from(status).ok()? {
        OrderPaymentStatus::Unspecified => return None,
        OrderPaymentStatus::RequiresPaymentMethod => PaymentState::RequiresPaymentMethod,
        OrderPaymentStatus::RequiresAction => PaymentState::RequiresAction,
        OrderPaymentStatus::Processing => PaymentState::Processing,
        OrderPaymentStatus::RequiresCapture => PaymentState::RequiresCapture,
        OrderPaymentStatus::Succeeded => PaymentState::Succeeded,
        OrderPaymentStatus::Canceled => PaymentState::Canceled,
    })
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
        refusal(&CallError::Refused(Refused {
            reason: reason.into(),
            field: field.map(str::to_owned),
            message: String::new(),
            retry_after: None,
        }))
    }

    #[test]
    fn what_the_driver_acts_on_comes_back_under_the_same_reason() {
        for refusal in [
            Refusal::OutOfStock { line: 2, asked: 0, available: 0 },
            Refusal::LimitExceeded { line: 1, limit: 0, bought: 0 },
            Refusal::KeyReused,
            Refusal::KeyInProgress,
            Refusal::Overloaded,
            Refusal::DeadlineExceeded,
            Refusal::Stopped,
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
        let empty = order::CreateOrderResponse::default();
        assert_eq!(order_made(empty).0, Outcome::Refused(GARBLED));
    }
}
