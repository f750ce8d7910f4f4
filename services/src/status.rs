//! From refusals and bad fields to gRPC statuses, by the one table of reasons.
//!
//! Every status carries `google.rpc.ErrorInfo{reason, domain: "onrush"}`; one field at fault adds
//! `BadRequest`; what is worth another try adds `RetryInfo`.

use std::collections::HashMap;
use std::time::Duration;

use onrush_proto::Refusal;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::field::FieldError;
use crate::nodes;
use crate::reason::{INTERNAL, Reason, reason};

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
    /// The edge turned the call away.
    #[error("{}", .0.message)]
    Denied(Denial),
    /// Something of ours broke.
    #[error("{0}")]
    Internal(String),
}

/// A call that the edge turned away before the engine saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// A name of the table.
    pub reason: &'static str,
    /// What was expected and what was found.
    pub message: String,
    /// The field or header at fault.
    pub field: Option<&'static str>,
    /// When another try makes sense.
    pub retry_after: Option<Duration>,
    /// What a program may want to read: a name and its value.
    pub fact: Option<(&'static str, String)>,
}

impl Denial {
    /// A denial that no other try helps.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), field: None, retry_after: None, fact: None }
    }

    /// The same, of this field or header.
    pub fn of(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    /// The same, with something that a program may want to read.
    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        Self { fact: Some((name, value.into())), ..self }
    }

    /// The same, worth another try after this long.
    pub fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }
}

impl From<Denial> for Rejection {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Rejection {
    /// The same of a call whose first step was accepted: that another node leads by now does not mean that nothing was done.
    pub(crate) fn behind_acceptance(self) -> Self {
        match self {
            Self::Refused(Refusal::NotLeader { .. }) => Refusal::Stopped.into(),
            other => other,
        }
    }

    /// The row of the table.
    pub fn reason(&self) -> &'static Reason {
        reason(match self {
            Self::Refused(refusal) => refusal.reason().0,
            Self::Field(error) => error.reason,
            Self::Denied(denial) => denial.reason,
            Self::Internal(_) => INTERNAL,
        })
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.reason().grpc
    }

    /// What the caller may know: of our own mistakes nothing but that there was one.
    pub fn message(&self) -> String {
        match self {
            Self::Internal(_) => "the call failed on our side".into(),
            _ => self.to_string(),
        }
    }

    /// What a program may want to read, as text.
    pub fn facts(&self) -> HashMap<String, String> {
        match self {
            Self::Refused(refusal) => metadata(refusal),
            Self::Denied(Denial { fact: Some((name, value)), .. }) => {
                HashMap::from([((*name).to_owned(), value.clone())])
            }
            _ => HashMap::new(),
        }
    }

    /// The path of the field at fault, if one is.
    pub fn field(&self) -> Option<String> {
        match self {
            // On the wire its name has its unit.
            Self::Refused(Refusal::Invalid { field: "hold", .. }) => Some("hold_us".into()),
            Self::Refused(refusal) => refusal.field(),
            Self::Field(error) => Some(error.path.clone()),
            Self::Denied(denial) => denial.field.map(str::to_owned),
            Self::Internal(_) => None,
        }
    }

    /// When another try makes sense, if it ever does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(Refusal::Overloaded) => Some(Duration::from_millis(100)),
            Self::Refused(Refusal::KeyInProgress) => Some(Duration::from_millis(20)),
            Self::Refused(Refusal::Stopped | Refusal::Unreachable) => Some(Duration::from_secs(1)),
            // Elsewhere, at once; while nobody leads there is a vote to wait for.
            Self::Refused(Refusal::NotLeader { leader: 0 }) => Some(Duration::from_millis(100)),
            Self::Refused(Refusal::NotLeader { .. }) => Some(Duration::ZERO),
            Self::Denied(denial) => denial.retry_after,
            _ => None,
        }
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
        Refusal::OffsetOutOfRange { first, found } => {
            vec![("first", first.to_string()), ("found", found.to_string())]
        }
        Refusal::StaleGeneration { expected, found } => {
            vec![("expected", expected.to_string()), ("found", found.to_string())]
        }
        Refusal::NotLeader { leader } if *leader != 0 => vec![(nodes::LEADER, leader.to_string())],
        _ => Vec::new(),
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        if let Rejection::Internal(message) = &rejection {
            tracing::error!(error = message, "a call failed on our side");
        }
        let mut details = ErrorDetails::with_error_info(rejection.reason().name, DOMAIN, rejection.facts());
        let message = rejection.message();
        if let Some(field) = rejection.field() {
            details.add_bad_request_violation(field, message.clone());
        }
        if rejection.retry_after().is_some() {
            details.set_retry_info(rejection.retry_after());
        }
        Status::with_error_details(rejection.code(), message, details)
    }
}

impl From<Denial> for Status {
    fn from(denial: Denial) -> Self {
        Rejection::from(denial).into()
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

    #[test]
    fn who_does_not_lead_says_who_does_and_when_to_ask_again() {
        for (leader, fact, wait_ms) in [(7, Some("7"), 0), (0, None, 100)] {
            let rejection = Rejection::from(Refusal::NotLeader { leader });
            assert_eq!((rejection.code(), rejection.reason().http), (Code::Unavailable, 503));
            assert_eq!(rejection.retry_after(), Some(Duration::from_millis(wait_ms)));
            let details = Status::from(rejection).get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!(info.reason, "NOT_LEADER");
            assert_eq!(info.metadata.get(nodes::LEADER).map(String::as_str), fact);
            assert_eq!(
                details.retry_info().unwrap().retry_delay.unwrap_or_default().as_millis(),
                u128::from(wait_ms)
            );
        }
    }
}
