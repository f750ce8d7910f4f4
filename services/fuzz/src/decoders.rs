//! What must hold of every message of gRPC that is read in place, whatever bytes come: what is taken is what the generated code
//! reads, and nothing is taken that it refuses.
//!
//! libFuzzer calls these functions (`main.rs`), and `cargo test` calls them with the committed corpora
//! (`services/tests/messages.rs`).

use onrush_grpc::order::v1::{CreateOrderRequest, NewOrderLine};
use onrush_grpc::product::v1::{GetProductDetailsRequest, ProductLine, ValidateProductsRequest};
use onrush_grpc::session::v1::SessionRequest;
use onrush_grpc::session::v1::call::Call as Asking;
use prost::Message as _;

use crate::heap::within;
use crate::protobuf::{Asked, Line, PlainOrder, details_sku, read_calls};

/// Bytes of heap that an order may ask for: a key that is longer than most.
const ORDER_HEAP_BYTES: usize = 512;

/// A reader and what is tried on it.
#[derive(Clone, Copy)]
pub(crate) struct Decoder {
    /// Its name, and that of its corpus.
    pub(crate) name: &'static str,
    check: fn(&[u8]),
}

/// Every message that is read in place.
pub(crate) const DECODERS: [Decoder; 4] = [
    Decoder { name: "calls", check: calls },
    Decoder { name: "details", check: details },
    Decoder { name: "lines", check: lines },
    Decoder { name: "order", check: order },
];

impl Decoder {
    /// Tries some bytes.
    ///
    /// # Panics
    /// If something does not hold: that is a bug.
    pub(crate) fn try_on(&self, input: &[u8]) {
        (self.check)(input);
    }
}

/// What the generated code reads where something was taken.
fn generated<M: prost::Message + Default>(input: &[u8]) -> M {
    M::decode(input).unwrap_or_else(|error| panic!("taken, and yet: {error}"))
}

/// The message of an order that was read.
fn message(order: &PlainOrder) -> CreateOrderRequest {
    let line = NewOrderLine {
        sku: order.line.sku.to_string(),
        quantity: order.line.quantity,
        max_unit_price: (order.line.max_unit_minor != i64::MAX).then_some(order.line.max_unit_minor),
    };
    CreateOrderRequest {
        request_id: order.request_id.as_str().to_owned(),
        customer_id: order.customer.to_string(),
        lines: vec![line],
        hold_us: order.hold_us,
    }
}

/// The same order: no ceiling is the same as the highest one.
fn assert_is(order: &PlainOrder, mut told: CreateOrderRequest) {
    for line in &mut told.lines {
        line.max_unit_price = line.max_unit_price.filter(|ceiling| *ceiling != i64::MAX);
    }
    assert_eq!(message(order), told);
}

fn order(input: &[u8]) {
    let Ok(order) = within(ORDER_HEAP_BYTES, || PlainOrder::read(input)) else { return };
    assert_is(&order, generated(input));
    assert_eq!(PlainOrder::read(&message(&order).encode_to_vec()), Ok(order), "and again");
}

/// All of a message is taken or nothing, and by both ways the same messages are refused.
fn calls(input: &[u8]) {
    let told = SessionRequest::decode(input);
    let plainly = read_calls(input, true);
    assert_eq!(plainly.is_ok(), told.is_ok(), "{told:?}");
    let (Ok(told), Ok(found)) = (told, plainly) else { return };
    assert_eq!(found.len(), told.calls.len());
    for (found, call) in found.into_iter().zip(told.calls) {
        match (found, call) {
            (Asked::Other(other), call) => assert_eq!(other, call),
            (Asked::Order(found), call) => {
                assert_eq!((found.tag, found.patience_us), (call.tag, call.patience_us));
                let Some(Asking::CreateOrder(order)) = call.call else {
                    panic!("an order, and yet {:?}", call.call);
                };
                assert_is(&found.order, *order);
            }
        }
    }
}

fn lines(input: &[u8]) {
    // Up to the first that is odd, and no allocation.
    let count = within(0, || Line::all(input).try_fold(0, |count, line| line.map(|_| count + 1)));
    let Ok(count) = count else { return };
    let told: ValidateProductsRequest = generated(input);
    let line = |line: Line<'_>| {
        assert_eq!(line.text, line.sku.as_str());
        ProductLine { sku: line.text.to_owned(), quantity: line.quantity }
    };
    let found: Vec<ProductLine> = Line::all(input).flatten().map(line).collect();
    assert_eq!((found.len(), &found), (count, &told.lines));
    assert!(told.lines.iter().all(|line| !line.sku.is_empty() && line.quantity >= 0));
}

fn details(input: &[u8]) {
    let Ok(sku) = within(0, || details_sku(input)) else { return };
    assert_eq!(generated::<GetProductDetailsRequest>(input).sku, sku.as_str());
}
