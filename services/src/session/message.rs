//! Messages of calls, read in place: an order of one line has no message of its own.

use onrush_grpc::session::v1::{Call, SessionRequest};
use prost::{DecodeError, Message as _};

use super::conversation::CALLS_MAX;
use crate::order::PlainOrder;
use crate::protobuf::{Fields, Odd, Value};

/// A call as it was read.
#[derive(Debug)]
pub(super) enum Asked {
    /// CreateOrder, as most are.
    Order(Order),
    /// Any other.
    Other(Call),
}

/// An order with its tag.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) tag: u64,
    /// How long its client waits; 0: it does not say.
    pub(super) patience_us: u64,
    pub(super) order: PlainOrder,
}

/// The calls of a `SessionRequest`: all, or none if anything of it is wrong. Orders are told apart only if `plainly`.
pub(super) fn read(message: &[u8], plainly: bool) -> Result<Vec<Asked>, DecodeError> {
    if plainly && let Ok(calls) = in_place(message) {
        return Ok(calls);
    }
    Ok(SessionRequest::decode(message)?.calls.into_iter().map(Asked::Other).collect())
}

fn in_place(message: &[u8]) -> Result<Vec<Asked>, Odd> {
    let mut calls = Vec::new();
    for field in Fields::of(message) {
        let (1, Value::Bytes(call)) = field? else { return Err(Odd) };
        // Too many are refused: they are counted where each takes less.
        if calls.len() == CALLS_MAX {
            return Err(Odd);
        }
        calls.push(match order(call) {
            Ok(order) => Asked::Order(order),
            // What is wrong with it is for the generated code to say, of the message as a whole.
            Err(Odd) => Asked::Other(Call::decode(call).map_err(|_| Odd)?),
        });
    }
    Ok(calls)
}

fn order(call: &[u8]) -> Result<Order, Odd> {
    let (mut tag, mut patience_us, mut order) = (None, None, None);
    for field in Fields::of(call) {
        let (number, value) = field?;
        let first = match number {
            1 => tag.replace(value.number()?).is_none(),
            2 => patience_us.replace(value.number()?).is_none(),
            7 => order.replace(PlainOrder::read(value.bytes()?)?).is_none(),
            _ => false,
        };
        if !first {
            return Err(Odd);
        }
    }
    let (tag, patience_us) = (tag.unwrap_or(0), patience_us.unwrap_or(0));
    Ok(Order { tag, patience_us, order: order.ok_or(Odd)? })
}

#[cfg(test)]
mod tests {
    use onrush_grpc::order::v1::{CreateOrderRequest, NewOrderLine};
    use onrush_grpc::session::v1::call::Call as Asking;

    use super::*;

    fn call(tag: u64, lines: usize) -> Call {
        let line = NewOrderLine { sku: "tea".into(), quantity: 1, max_unit_price: None };
        let lines = vec![line; lines];
        let order = CreateOrderRequest { request_id: "cart-7".into(), lines, ..Default::default() };
        Call { tag, patience_us: 5, call: Some(Asking::CreateOrder(Box::new(order))) }
    }

    fn told(message: &[u8], plainly: bool) -> Vec<String> {
        let told = |asked: &Asked| match asked {
            Asked::Order(order) => format!("order {} within {}", order.tag, order.patience_us),
            Asked::Other(call) => format!("call {}", call.tag),
        };
        read(message, plainly).unwrap().iter().map(told).collect()
    }

    #[test]
    fn orders_of_one_line_are_told_apart_and_all_others_are_calls() {
        let calls = vec![call(1, 1), call(2, 2), call(300, 1), Call { tag: 4, ..Call::default() }];
        let message = SessionRequest { calls }.encode_to_vec();
        assert_eq!(told(&message, true), ["order 1 within 5", "call 2", "order 300 within 5", "call 4"]);
        assert_eq!(told(&message, false), ["call 1", "call 2", "call 300", "call 4"]);
        // A field that nobody knows is passed over by the generated code.
        let newer = [&message[..], &[0x10, 1]].concat();
        assert_eq!(told(&newer, true), ["call 1", "call 2", "call 300", "call 4"]);
        assert!(read(&[], true).unwrap().is_empty());
    }

    #[test]
    fn of_a_message_that_does_not_read_nothing_is_taken() {
        let message = SessionRequest { calls: vec![call(1, 1), call(2, 1)] }.encode_to_vec();
        let first = SessionRequest { calls: vec![call(1, 1)] }.encoded_len();
        for cut in (1..message.len()).filter(|cut| *cut != first) {
            let error = read(&message[..cut], true).unwrap_err();
            assert_eq!(error, SessionRequest::decode(&message[..cut]).unwrap_err(), "{cut}");
        }
        let mut no_text = message;
        let at = no_text.windows(3).rposition(|three| three == b"tea").unwrap();
        no_text[at] = 0xff;
        let error = read(&no_text, true).unwrap_err();
        assert!(error.to_string().contains("NewOrderLine.sku"), "{error}");
    }
}
