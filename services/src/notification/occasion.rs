//! What customers are told of, and by which way.

use onrush_grpc::notification::v1 as wire;
use serde::{Deserialize, Serialize};

use crate::field::{self, FieldError};

/// What a customer is told of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// An order was made.
    OrderConfirmation,
    /// An order was paid.
    PaymentReceipt,
    /// A parcel moved.
    ShippingUpdate,
}

/// By which way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// By mail.
    Email,
    /// By text message.
    Sms,
    /// By web push, to a browser.
    Push,
}

impl Occasion {
    /// All occasions.
    pub const ALL: [Self; 3] = [Self::OrderConfirmation, Self::PaymentReceipt, Self::ShippingUpdate];

    /// The name in keys and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::OrderConfirmation => "order_confirmation",
            Self::PaymentReceipt => "payment_receipt",
            Self::ShippingUpdate => "shipping_update",
        }
    }

    /// Reads a value of a request.
    pub(super) fn read(value: i32) -> Result<Self, FieldError> {
        match field::choice("occasion", value)? {
            wire::Occasion::Unspecified => Err(missing("occasion", "an occasion")),
            wire::Occasion::OrderConfirmation => Ok(Self::OrderConfirmation),
            wire::Occasion::PaymentReceipt => Ok(Self::PaymentReceipt),
            wire::Occasion::ShippingUpdate => Ok(Self::ShippingUpdate),
        }
    }

    /// As a message.
    pub(super) fn message(self) -> wire::Occasion {
        match self {
            Self::OrderConfirmation => wire::Occasion::OrderConfirmation,
            Self::PaymentReceipt => wire::Occasion::PaymentReceipt,
            Self::ShippingUpdate => wire::Occasion::ShippingUpdate,
        }
    }
}

impl Channel {
    /// All channels.
    pub const ALL: [Self; 3] = [Self::Email, Self::Sms, Self::Push];

    /// True if what it carries has a subject.
    pub(super) fn has_subject(self) -> bool {
        self != Self::Sms
    }

    /// The name in keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Push => "push",
        }
    }

    /// Reads a value of a request.
    pub(super) fn read(value: i32) -> Result<Self, FieldError> {
        match field::choice("channel", value)? {
            wire::Channel::Unspecified => Err(missing("channel", "a channel")),
            wire::Channel::Email => Ok(Self::Email),
            wire::Channel::Sms => Ok(Self::Sms),
            wire::Channel::Push => Ok(Self::Push),
        }
    }

    /// As a message.
    pub(super) fn message(self) -> wire::Channel {
        match self {
            Self::Email => wire::Channel::Email,
            Self::Sms => wire::Channel::Sms,
            Self::Push => wire::Channel::Push,
        }
    }
}

fn missing(path: &str, expected: &str) -> FieldError {
    FieldError::invalid(path, expected, "none").because("MISSING_FIELD")
}

/// A language: two small letters; English if it is left open.
pub(super) fn language(path: &str, text: &str) -> Result<String, FieldError> {
    match text.as_bytes() {
        [] => Ok("en".into()),
        [a, b] if a.is_ascii_lowercase() && b.is_ascii_lowercase() => Ok(text.to_owned()),
        _ => Err(FieldError::invalid(path, "two small letters (ISO 639-1)", field::shown(text))),
    }
}
