//! `SessionRequest`, read in place: an order of one line has no message of its own.

use onrush_grpc::session::v1::{Call, SessionRequest};
use prost::{DecodeError, Message as _};

use super::{Fields, Odd, PlainOrder, Value};

/// Calls of one message.
pub(crate) const CALLS_MAX: usize = 16_384;

/// A call as it was read.
#[derive(Debug)]
pub(crate) enum Asked {
    /// CreateOrder, as most are.
    Order(Order),
    /// Any other.
    Other(Call),
}

/// An order with its tag.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) tag: u64,
    /// How long its client waits; 0: it does not say.
    pub(crate) patience_us: u64,
    pub(crate) order: PlainOrder,
}

/// The calls of a `SessionRequest`: all, or none if anything of it is wrong. Orders are told apart only if `plainly`.
pub(crate) fn read(message: &[u8], plainly: bool) -> Result<Vec<Asked>, DecodeError> {
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

    /// Numbers that follow from a seed.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) as usize) % end.max(1)
        }

        fn number(&mut self) -> u64 {
            [0, 1, 127, 128, 1 << 14, 1 << 62, i64::MAX as u64, 1 << 63, u64::MAX][self.below(9)]
        }

        fn text(&mut self, longest: usize) -> String {
            let length = [0, 1, 3, longest - 1, longest, longest + 1][self.below(6)];
            "t".repeat(length)
        }

        /// A message of some calls, most of them orders of one line.
        fn message(&mut self) -> Vec<u8> {
            let calls = (0..self.below(4)).map(|_| {
                let line = NewOrderLine {
                    sku: self.text(39),
                    quantity: self.number() as i64,
                    max_unit_price: (self.below(2) == 0).then(|| self.number() as i64),
                };
                let order = CreateOrderRequest {
                    request_id: self.text(255),
                    customer_id: self.text(39),
                    lines: vec![line; [1, 1, 1, 0, 2][self.below(5)]],
                    hold_us: self.number(),
                };
                let asked = (self.below(9) > 0).then(|| Asking::CreateOrder(Box::new(order)));
                Call { tag: self.number(), patience_us: self.number(), call: asked }
            });
            SessionRequest { calls: calls.collect() }.encode_to_vec()
        }

        /// The same with something of it changed, left out, put twice or put elsewhere.
        fn damaged(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
            for _ in 0..self.below(4) {
                let (at, more) = (self.below(bytes.len()), self.below(12));
                let until = (at + more).min(bytes.len());
                let piece = bytes.get(at..until).unwrap_or_default().to_vec();
                match self.below(6) {
                    0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                    1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                    2 => bytes.truncate(at),
                    3 => drop(bytes.drain(at..until)),
                    _ => drop(bytes.splice(at..at, piece)),
                }
            }
            bytes
        }
    }

    /// How many orders were told apart in a message, if it was read in place; then the generated code reads the same.
    fn orders(message: &[u8], seed: u64) -> Option<usize> {
        let found = in_place(message).ok()?;
        let mut orders = 0;
        let told = SessionRequest::decode(message);
        let told = told.unwrap_or_else(|error| panic!("seed {seed}: taken, and yet {error}: {message:?}"));
        assert_eq!(found.len(), told.calls.len(), "seed {seed}: {message:?}");
        for (found, call) in found.into_iter().zip(told.calls) {
            match found {
                Asked::Other(other) => assert_eq!(other, call, "seed {seed}"),
                Asked::Order(found) => {
                    let Some(Asking::CreateOrder(order)) = &call.call else {
                        panic!("seed {seed}: an order, and yet {call:?}");
                    };
                    assert_eq!((found.tag, found.patience_us), (call.tag, call.patience_us), "seed {seed}");
                    // As it is read where everything is in its place: the tests of the order say how.
                    let expected = PlainOrder::read(&order.encode_to_vec());
                    assert_eq!(Ok(found.order), expected, "seed {seed}: {message:?}");
                    orders += 1;
                }
            }
        }
        Some(orders)
    }

    #[test]
    fn what_is_read_in_place_is_what_the_generated_code_reads_whatever_comes() {
        let (mut whole, mut damaged, mut odd) = (0, 0, 0);
        for seed in 0..30_000 {
            let mut dice = Dice(seed);
            let message = dice.message();
            whole += orders(&message, seed).unwrap();
            let message = dice.damaged(message);
            match orders(&message, seed) {
                Some(orders) => damaged += orders,
                None => odd += 1,
            }
            assert_eq!(read(&message, true).is_ok(), read(&message, false).is_ok(), "seed {seed}");
        }
        // Both ways were gone, and often.
        assert!(whole > 1_000 && damaged > 300 && odd > 1_000, "{whole}, {damaged}, {odd}");
    }
}
