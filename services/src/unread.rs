//! Calls that the transport refused before a handler saw them, in the terms of the services.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::reason::reason;
use crate::status::DOMAIN;

/// How tonic says that a message is longer than allowed.
const TOO_LARGE: &str = "Error, decoded message length too large: ";
/// How prost begins what it says of bytes that are not a message.
const NOT_A_MESSAGE: &str = "failed to decode Protobuf message: ";

/// A call that nobody could read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unread {
    reason: &'static str,
    /// Path of the field at fault, without positions in lists.
    field: Option<String>,
    message: String,
}

impl Unread {
    /// What a status without details says; `None` if it says nothing of ours.
    pub(crate) fn of(status: &Status) -> Option<Self> {
        let unread = |reason, message: &str| Self { reason, field: None, message: message.into() };
        match status.code() {
            Code::OutOfRange => {
                let message = status.message().strip_prefix(TOO_LARGE).unwrap_or(status.message());
                let message = format!("the message is too large: {message}");
                Some(unread("MESSAGE_TOO_LARGE", &message))
            }
            Code::Internal => {
                let message = status.message().strip_prefix(NOT_A_MESSAGE).unwrap_or(status.message());
                let (field, what) = place(message);
                let message = field.as_ref().map_or(what.to_owned(), |field| format!("{field}: {what}"));
                let unread = unread("INVALID_MESSAGE", &message);
                Some(Self { field, ..unread })
            }
            Code::Unimplemented if status.message().is_empty() => {
                let message = "expected a call of this port's services, found another one";
                Some(unread("UNKNOWN_METHOD", message))
            }
            Code::Unimplemented => Some(unread("UNSUPPORTED_ENCODING", status.message())),
            _ => None,
        }
    }
}

impl From<Unread> for Status {
    fn from(unread: Unread) -> Self {
        let mut details = ErrorDetails::with_error_info(unread.reason, DOMAIN, HashMap::new());
        if let Some(field) = unread.field {
            details.add_bad_request_violation(field, unread.message.clone());
        }
        Status::with_error_details(reason(unread.reason).grpc, unread.message, details)
    }
}

/// Splits `NewOrderLine.sku: CreateOrderRequest.lines: what is wrong`, innermost first, into the path
/// `lines.sku` and what is wrong.
fn place(message: &str) -> (Option<String>, &str) {
    let (mut fields, mut rest) = (Vec::new(), message);
    while let Some((step, after)) = rest.split_once(": ") {
        let Some((_, field)) = step.split_once('.').filter(|_| !step.contains(' ')) else { break };
        fields.push(field);
        rest = after;
    }
    fields.reverse();
    ((!fields.is_empty()).then(|| fields.join(".")), rest)
}

#[cfg(test)]
mod tests {
    use onrush_grpc::order::v1::CreateOrderRequest;
    use prost::Message;

    use super::*;

    #[test]
    fn a_decode_error_names_the_path_of_the_field() {
        // customer_id = "\xff", and the same inside of lines[0].sku.
        let cases: [(&[u8], &str); 2] =
            [(&[0x12, 1, 0xff], "customer_id"), (&[0x1a, 3, 0x0a, 1, 0xff], "lines.sku")];
        for (bytes, field) in cases {
            let error = CreateOrderRequest::decode(bytes).unwrap_err();
            let unread = Unread::of(&Status::internal(error.to_string())).unwrap();
            assert_eq!(unread.reason, "INVALID_MESSAGE");
            assert_eq!(unread.field.as_deref(), Some(field), "{error}");
            assert!(unread.message.contains("not UTF-8"), "{}", unread.message);
        }
    }

    #[test]
    fn what_a_service_says_itself_stays() {
        assert_eq!(Unread::of(&Status::not_found("unknown service")), None);
        assert_eq!(Unread::of(&Status::ok("")), None);
    }
}
