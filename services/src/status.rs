//! The one table from refusals and bad fields to gRPC statuses.
//!
//! Every status carries `google.rpc.ErrorInfo{reason, domain: "onrush"}`; one field at fault adds
//! `BadRequest`; what is worth another try adds `RetryInfo`.

use std::collections::HashMap;
use std::time::Duration;

use onrush_proto::Refusal;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::field::FieldError;

/// The domain of every reason.
pub const DOMAIN: &str = "onrush";

/// Why a call was not done.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The engine refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The edge refused a field.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The caller may not call this from where it is.
    #[error("expected a caller on this machine, found one elsewhere")]
    NotLocal,
    /// Something of ours broke.
    #[error("{0}")]
    Internal(String),
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Rejection {
    /// The stable name.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason().0,
            Self::Field(error) => error.reason,
            Self::NotLocal => "NOT_LOCAL",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal_code(refusal),
            Self::Field(_) => Code::InvalidArgument,
            Self::NotLocal => Code::PermissionDenied,
            Self::Internal(_) => Code::Internal,
        }
    }

    fn field(&self) -> Option<String> {
        match self {
            // On the wire its name has its unit.
            Self::Refused(Refusal::Invalid { field: "hold", .. }) => Some("hold_us".into()),
            Self::Refused(refusal) => refusal.field(),
            Self::Field(error) => Some(error.path.clone()),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(Refusal::Overloaded) => Some(Duration::from_millis(100)),
            Self::Refused(Refusal::KeyInProgress) => Some(Duration::from_millis(20)),
            Self::Refused(Refusal::Stopped) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

fn refusal_code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::DeadlineExceeded => Code::DeadlineExceeded,
        Refusal::Overloaded | Refusal::LimitExceeded { .. } => Code::ResourceExhausted,
        Refusal::Stopped => Code::Unavailable,
        Refusal::KeyInProgress | Refusal::VersionMismatch { .. } => Code::Aborted,
        Refusal::NameTaken => Code::AlreadyExists,
        Refusal::NoLines
        | Refusal::TooManyLines { .. }
        | Refusal::BadQuantity { .. }
        | Refusal::DuplicateSku { .. }
        | Refusal::MixedCurrencies { .. }
        | Refusal::AmountOverflow { .. }
        | Refusal::Invalid { .. } => Code::InvalidArgument,
        Refusal::UnknownSku { .. }
        | Refusal::UnknownOrder { .. }
        | Refusal::UnknownAttempt { .. }
        | Refusal::UnknownRefund { .. }
        | Refusal::UnknownProduct
        | Refusal::NotFound => Code::NotFound,
        Refusal::KeyReused
        | Refusal::Inactive { .. }
        | Refusal::PriceChanged { .. }
        | Refusal::OutOfStock { .. }
        | Refusal::IllegalTransition { .. }
        | Refusal::BeingCancelled { .. }
        | Refusal::IllegalPayment { .. }
        | Refusal::HoldResolved { .. }
        | Refusal::CaptureAboveAuthorised { .. }
        | Refusal::RefundAboveCaptured { .. }
        | Refusal::BackorderBelowOwed { .. }
        | Refusal::BelowHeld { .. } => Code::FailedPrecondition,
    }
}

/// What a program may want to read of a refusal, as text.
fn metadata(refusal: &Refusal) -> HashMap<String, String> {
    let pairs: Vec<(&str, String)> = match refusal {
        Refusal::OutOfStock { asked, available, .. } => {
            vec![("asked", asked.to_string()), ("available", available.to_string())]
        }
        Refusal::LimitExceeded { limit, bought, .. } => {
            vec![("limit", limit.to_string()), ("bought", bought.to_string())]
        }
        Refusal::PriceChanged { price, ceiling, .. } => {
            vec![("price", price.to_string()), ("ceiling", ceiling.to_string())]
        }
        Refusal::IllegalTransition { from, to } => {
            vec![("from", format!("{from:?}")), ("to", format!("{to:?}"))]
        }
        Refusal::BeingCancelled { refund } => vec![("refund", refund.to_string())],
        Refusal::IllegalPayment { state } => vec![("state", format!("{state:?}"))],
        Refusal::CaptureAboveAuthorised { asked, left } | Refusal::RefundAboveCaptured { asked, left } => {
            vec![("asked", asked.to_string()), ("left", left.to_string())]
        }
        Refusal::VersionMismatch { expected, found } => {
            vec![("expected", expected.to_string()), ("found", found.to_string())]
        }
        Refusal::BackorderBelowOwed { asked, owed } => {
            vec![("asked", asked.to_string()), ("owed", owed.to_string())]
        }
        Refusal::BelowHeld { on_hand, held } => {
            vec![("on_hand", on_hand.to_string()), ("held", held.to_string())]
        }
        _ => Vec::new(),
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        if let Rejection::Internal(message) = &rejection {
            tracing::error!(message, "a call failed on our side");
        }
        let facts = match &rejection {
            Rejection::Refused(refusal) => metadata(refusal),
            _ => HashMap::new(),
        };
        let mut details = ErrorDetails::with_error_info(rejection.reason(), DOMAIN, facts);
        let message = rejection.to_string();
        if let Some(field) = rejection.field() {
            details.add_bad_request_violation(field, message.clone());
        }
        if rejection.retry_after().is_some() {
            details.set_retry_info(rejection.retry_after());
        }
        Status::with_error_details(rejection.code(), message, details)
    }
}

impl From<FieldError> for Status {
    fn from(error: FieldError) -> Self {
        Rejection::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_carry_reason_field_and_retry() {
        let status = Status::from(Rejection::from(Refusal::OutOfStock { line: 3, asked: 2, available: 1 }));
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OUT_OF_STOCK", "onrush"));
        assert_eq!(info.metadata["available"], "1");
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "lines[3].quantity");

        let busy = Status::from(Rejection::from(Refusal::Overloaded)).get_error_details();
        assert!(busy.retry_info().unwrap().retry_delay.is_some());
    }
}
