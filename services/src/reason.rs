//! The one table of reasons: for each stable name what gRPC and HTTP say.
//!
//! `docs/api/reasons.md` is made of it.

use tonic::Code;
use tonic::Code::{
    Aborted, AlreadyExists, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound,
    OutOfRange, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable, Unimplemented,
};

/// Why a call was not done, on every edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reason {
    /// The stable name.
    pub name: &'static str,
    /// The gRPC code.
    pub grpc: Code,
    /// The HTTP status.
    pub http: u16,
    /// What it is, in a few words that never change with the case.
    pub title: &'static str,
}

const fn row(name: &'static str, grpc: Code, http: u16, title: &'static str) -> Reason {
    Reason { name, grpc, http, title }
}

/// The name of what is our own fault.
pub const INTERNAL: &str = "INTERNAL";

/// Every reason.
pub const REASONS: &[Reason] = &[
    // Of the engine, in the order in which it refuses.
    row("DEADLINE_EXCEEDED", DeadlineExceeded, 504, "The deadline passed"),
    row("OVERLOADED", ResourceExhausted, 429, "A bounded queue is full"),
    row("ENGINE_UNREACHABLE", Unavailable, 503, "The engine's process cannot be reached"),
    row("SHARD_STOPPED", Unavailable, 503, "A shard has stopped"),
    // Not 421, which reads as the caller's mistake: who leads changes by itself, and while nobody does there is no
    // better place to ask. What stands between callers and us knows by 503 that another try is worth it.
    row("NOT_LEADER", Unavailable, 503, "Another node leads the shard; nothing was begun here"),
    row("SERVER_STOPPING", Unavailable, 503, "The server is about to stop"),
    row("IDEMPOTENCY_KEY_REUSED", FailedPrecondition, 422, "The key was used with another body"),
    row("IDEMPOTENCY_KEY_IN_PROGRESS", Aborted, 409, "The first call with this key still runs"),
    row("NO_LINES", InvalidArgument, 400, "No lines"),
    row("TOO_MANY_LINES", InvalidArgument, 400, "Too many lines"),
    row("BAD_QUANTITY", InvalidArgument, 400, "A quantity that is never right"),
    row("DUPLICATE_SKU", InvalidArgument, 400, "A SKU stands there twice"),
    row("UNKNOWN_SKU", NotFound, 404, "No such SKU"),
    row("PRODUCT_INACTIVE", FailedPrecondition, 409, "The product is withdrawn"),
    row("MIXED_CURRENCIES", InvalidArgument, 400, "Lines in several currencies"),
    row("PRICE_CHANGED", FailedPrecondition, 409, "The price is above the ceiling"),
    row("AMOUNT_OVERFLOW", InvalidArgument, 400, "An amount beyond 64 bits"),
    row("LIMIT_EXCEEDED", ResourceExhausted, 429, "The customer's limit is reached"),
    row("OUT_OF_STOCK", FailedPrecondition, 409, "Not enough in stock"),
    row("INVALID_FIELD", InvalidArgument, 400, "A value that is never right"),
    row("UNKNOWN_ORDER", NotFound, 404, "No such order"),
    row("UNKNOWN_ATTEMPT", NotFound, 404, "No such attempt"),
    row("UNKNOWN_REFUND", NotFound, 404, "No such refund"),
    row("UNKNOWN_PRODUCT", NotFound, 404, "No such product"),
    row("NOT_FOUND", NotFound, 404, "Not found"),
    row("ILLEGAL_TRANSITION", FailedPrecondition, 409, "The order does not go there"),
    row("ORDER_BEING_CANCELLED", FailedPrecondition, 409, "The order is being called off"),
    row("ILLEGAL_PAYMENT_STATE", FailedPrecondition, 409, "The payment does not allow it now"),
    row("HOLD_RESOLVED", FailedPrecondition, 409, "The hold was resolved before"),
    row("CAPTURE_ABOVE_AUTHORISED", FailedPrecondition, 409, "More than is left to capture"),
    row("REFUND_ABOVE_CAPTURED", FailedPrecondition, 409, "More than is left to refund"),
    row("VERSION_MISMATCH", Aborted, 412, "Another version is there"),
    row("BELOW_HELD", FailedPrecondition, 409, "Stock would fall below what is held"),
    row("BACKORDER_BELOW_OWED", FailedPrecondition, 409, "Less backorder than is owed already"),
    row("NAME_TAKEN", AlreadyExists, 409, "The name is taken"),
    row("OFFSET_OUT_OF_RANGE", OutOfRange, 410, "Records from that position on were released"),
    row("STALE_GENERATION", Aborted, 409, "The group has another generation by now"),
    // Of clusters.
    row("NO_CLUSTER", FailedPrecondition, 409, "The process is no node of a cluster"),
    row("GROUP_DECLINED", FailedPrecondition, 409, "The group does not do that now"),
    // Of events.
    row("UNKNOWN_TOPIC", NotFound, 404, "No such topic"),
    row("MEMBER_REPLACED", Aborted, 409, "Another consumer came under the member's name"),
    row("LEASE_OVER", DeadlineExceeded, 408, "The member of a group said nothing for too long"),
    // Of payments.
    row("CARD_NUMBER", InvalidArgument, 400, "A card number where a token is expected"),
    row("GATEWAY_UNAVAILABLE", Unavailable, 503, "The payment gateway gave no answer"),
    // Of shipments.
    row("UNKNOWN_SHIPMENT", NotFound, 404, "No such shipment"),
    row("UNKNOWN_ADDRESS", NotFound, 404, "No address of this customer"),
    row("ILLEGAL_SHIPMENT_STATE", FailedPrecondition, 409, "The shipment does not allow it now"),
    row("LABEL_NOT_RETURNED", FailedPrecondition, 409, "The carrier keeps the label"),
    row("CARRIER_REFUSED", FailedPrecondition, 409, "The carrier refused"),
    row("CARRIER_UNAVAILABLE", Unavailable, 503, "The carrier gave no answer"),
    // Of notifications.
    row("UNKNOWN_CONTACT", NotFound, 404, "Nobody said how to reach the customer"),
    row("UNKNOWN_NOTIFICATION", NotFound, 404, "No such unsent letter"),
    row("INVALID_TEMPLATE", InvalidArgument, 400, "A template that cannot be told"),
    // Of recommendations.
    row("TRAINING_RUNNING", FailedPrecondition, 409, "A training is under way"),
    row("UNKNOWN_OPERATION", NotFound, 404, "No such training"),
    // Of fields.
    row("MISSING_FIELD", InvalidArgument, 400, "A field is missing"),
    row("UNKNOWN_FIELD", InvalidArgument, 400, "A field that nobody knows"),
    row("INVALID_ID", InvalidArgument, 400, "Not an id"),
    row("INVALID_CURRENCY", InvalidArgument, 400, "Not a currency"),
    row("CURRENCY_MISMATCH", InvalidArgument, 400, "Another currency is expected"),
    row("UNKNOWN_ENUM_VALUE", InvalidArgument, 400, "A value that nobody knows"),
    row("INVALID_PAGE_TOKEN", InvalidArgument, 400, "Not a token of this list"),
    row("INVALID_EMAIL", InvalidArgument, 400, "Not an e-mail address"),
    row("WEAK_PASSWORD", InvalidArgument, 400, "A password that is easy to guess"),
    // Of the transport.
    row("MESSAGE_TOO_LARGE", OutOfRange, 413, "The message is too large"),
    row("INVALID_MESSAGE", InvalidArgument, 400, "The message cannot be read"),
    row("MESSAGE_TOO_DEEP", InvalidArgument, 400, "The message is nested too deeply"),
    row("UNKNOWN_METHOD", Unimplemented, 404, "No such call"),
    row("UNKNOWN_PATH", NotFound, 404, "Nothing is there"),
    row("METHOD_NOT_ALLOWED", Unimplemented, 405, "The path has no such method"),
    row("STREAMING_CALL", Unimplemented, 501, "A stream, which JSON does not carry"),
    row("UNSUPPORTED_ENCODING", Unimplemented, 415, "An encoding that is not spoken here"),
    row("UNSUPPORTED_MEDIA_TYPE", InvalidArgument, 415, "A media type that is not read here"),
    row("SLOW_REQUEST", DeadlineExceeded, 408, "The request did not arrive in time"),
    row("PRECONDITION_REQUIRED", FailedPrecondition, 428, "If-Match is missing"),
    row("TOO_MANY_REQUESTS", ResourceExhausted, 429, "Too many requests"),
    // Of processes.
    row("ELSEWHERE", FailedPrecondition, 409, "Another process of the shop can do this"),
    // Of who calls.
    row("NOT_LOCAL", PermissionDenied, 403, "For callers on this machine only"),
    row("UNAUTHENTICATED", Unauthenticated, 401, "No access token"),
    row("INVALID_TOKEN", Unauthenticated, 401, "Not an access token that is good now"),
    row("INVALID_RESET_TOKEN", Unauthenticated, 401, "Not the token of the last mail, or too late"),
    row("INVALID_REFRESH_TOKEN", Unauthenticated, 401, "Not the last token of a login that goes on"),
    row("INVALID_CREDENTIALS", Unauthenticated, 401, "No account with this address and password"),
    row("FORBIDDEN", PermissionDenied, 403, "Not allowed"),
    row("NO_LOGIN_PROVIDER", NotFound, 404, "No provider whose users may log in"),
    row("LOGIN_PROVIDER_UNAVAILABLE", Unavailable, 503, "The login provider gave no answer"),
    row("LOGIN_STATE_MISMATCH", InvalidArgument, 400, "Not the answer to a login that this browser began"),
    row("LOGIN_REFUSED", Unauthenticated, 401, "The login provider refused"),
    row("INVALID_ID_TOKEN", Unauthenticated, 401, "Not the login provider's word to us"),
    row("EMAIL_NOT_VERIFIED", PermissionDenied, 403, "The login provider has not verified the address"),
    row("LOGIN_NOT_LINKED", PermissionDenied, 403, "The account took its link to this login back"),
    row("LOGIN_LINKED", FailedPrecondition, 409, "The login or the account has another link"),
    row("INSUFFICIENT_SCOPE", PermissionDenied, 403, "Not among what the user granted"),
    row("UNKNOWN_CLIENT", NotFound, 404, "No such client"),
    row("TOO_MANY_CLIENTS", FailedPrecondition, 409, "As many clients as there may be"),
    row("TOO_MANY_GRANTS", FailedPrecondition, 409, "The user granted as much as there may be"),
    row("UNKNOWN_USER", NotFound, 404, "No such user"),
    row("EMAIL_TAKEN", AlreadyExists, 409, "The address has an account"),
    row("OWN_ROLES", FailedPrecondition, 409, "Nobody changes their own roles"),
    // Of ourselves.
    row(INTERNAL, Internal, 500, "Our mistake"),
];

/// The row of a name; one that the table does not have counts as our own mistake.
pub fn reason(name: &str) -> &'static Reason {
    let known = REASONS.iter().find(|reason| reason.name == name);
    known.unwrap_or(&REASONS[REASONS.len() - 1])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Names in capitals between quotes.
    fn names(text: &str) -> impl Iterator<Item = &str> {
        let capitals = |name: &&str| {
            name.len() > 3 && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase())
        };
        text.split('"').filter(capitals)
    }

    #[test]
    fn every_refusal_has_its_row_and_every_name_one() {
        let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let refusals = std::fs::read_to_string(crate_dir.join("../proto/src/refusal.rs")).unwrap();
        let unread = std::fs::read_to_string(crate_dir.join("src/unread.rs")).unwrap();
        let table: BTreeSet<&str> = REASONS.iter().map(|reason| reason.name).collect();
        assert_eq!(table.len(), REASONS.len(), "a name stands there twice");
        let asked: Vec<&str> = names(&refusals).chain(names(&unread)).collect();
        assert!(asked.len() > 30, "{asked:?}");
        for name in asked {
            assert!(table.contains(name), "expected a row for {name}");
        }
        assert_eq!(reason("NOBODY_SAID_THIS").name, INTERNAL);
    }
}
