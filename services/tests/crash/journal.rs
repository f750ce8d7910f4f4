//! What the clients remember: every key with its body and what they were told.

use onrush_grpc::order::v1::{CreateOrderRequest, CreateOrderResponse, NewOrderLine, ProcessPaymentRequest};
use onrush_grpc::product::v1::UpdateStockRequest;
use onrush_grpc::product::v1::update_stock_request::Change;

use crate::shelf;

/// What the clients remember.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) purchases: Vec<Purchase>,
    pub(crate) deliveries: Vec<Delivery>,
}

/// An order's acknowledgement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Receipt {
    pub(crate) order_id: String,
    pub(crate) total_minor: i64,
    pub(crate) held_until_us: i64,
}

/// What became of a key, as far as its client knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Standing<T> {
    Unknown,
    Refused,
    Acknowledged(T),
}

/// A basket under its key.
#[derive(Clone, Debug)]
pub(crate) struct Purchase {
    pub(crate) key: String,
    pub(crate) customer: String,
    pub(crate) lines: Vec<(String, i64)>,
    pub(crate) standing: Standing<Receipt>,
    /// True if a call under the key went without an answer.
    pub(crate) doubtful: bool,
    pub(crate) payment: Option<Payment>,
}

/// The attempt to pay an order.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) key: String,
    pub(crate) standing: Standing<Paid>,
}

/// How an attempt to pay ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Paid {
    pub(crate) attempt: u32,
    /// Empty if the money was taken.
    pub(crate) decline_code: String,
}

/// New stock under its key.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) key: String,
    pub(crate) sku: String,
    pub(crate) units: i64,
    pub(crate) acknowledged: bool,
}

impl Purchase {
    pub(crate) fn new(key: String, customer: String, lines: Vec<(String, i64)>) -> Self {
        Self { key, customer, lines, standing: Standing::Unknown, doubtful: false, payment: None }
    }

    pub(crate) fn request(&self) -> CreateOrderRequest {
        let line = |(sku, quantity): &(String, i64)| NewOrderLine {
            sku: sku.clone(),
            quantity: *quantity,
            max_unit_price: None,
        };
        CreateOrderRequest {
            request_id: self.key.clone(),
            customer_id: self.customer.clone(),
            lines: self.lines.iter().map(line).collect(),
            hold_us: 0,
        }
    }

    /// Another basket under the same key: one unit of `sku`, or of the one after it if that leads
    /// the basket already.
    pub(crate) fn with_other_body(&self, sku: usize) -> Self {
        let led_by = |sku: &String| self.lines.first().is_some_and(|(first, _)| first == sku);
        let other = [sku, sku + 1].map(shelf::cold).into_iter().find(|sku| !led_by(sku)).unwrap();
        Self::new(self.key.clone(), self.customer.clone(), vec![(other, 1)])
    }

    /// Notes an acceptance. An order that was acknowledged before must come back as it was; one
    /// that nobody can have made before must not.
    pub(crate) fn accepted(&mut self, given: &CreateOrderResponse) {
        let receipt = Receipt {
            order_id: given.order_id.clone(),
            total_minor: given.total.as_ref().map_or(-1, |total| total.minor_units),
            held_until_us: given.held_until_us,
        };
        assert_eq!(receipt.total_minor, self.total_minor(), "the total of {self:?}");
        match &self.standing {
            Standing::Acknowledged(first) => {
                assert_eq!((&receipt, given.replayed), (first, true), "a retry of {self:?}");
            }
            _ => assert!(!given.replayed || self.doubtful, "a first call was answered as a retry: {self:?}"),
        }
        self.standing = Standing::Acknowledged(receipt);
    }

    pub(crate) fn receipt(&self) -> Option<&Receipt> {
        match &self.standing {
            Standing::Acknowledged(receipt) => Some(receipt),
            _ => None,
        }
    }

    pub(crate) fn is_paid(&self) -> bool {
        let standing = self.payment.as_ref().map(|payment| &payment.standing);
        matches!(standing, Some(Standing::Acknowledged(paid)) if paid.decline_code.is_empty())
    }

    pub(crate) fn total_minor(&self) -> i64 {
        self.lines.iter().map(|(sku, quantity)| shelf::price_minor(sku) * quantity).sum()
    }

    pub(crate) fn units(&self) -> i64 {
        self.lines.iter().map(|(_, quantity)| quantity).sum()
    }

    /// The request of its payment; only for an acknowledged order with a payment.
    pub(crate) fn payment_request(&self) -> Option<ProcessPaymentRequest> {
        Some(ProcessPaymentRequest {
            request_id: self.payment.as_ref()?.key.clone(),
            order_id: self.receipt()?.order_id.clone(),
            payment_method: "pm_card".into(),
            capture_method: 0,
        })
    }
}

impl Delivery {
    pub(crate) fn request(&self) -> UpdateStockRequest {
        UpdateStockRequest {
            request_id: self.key.clone(),
            sku: self.sku.clone(),
            change: Some(Change::Add(self.units)),
            ..Default::default()
        }
    }
}
