//! CreateOrder as nearly all of them are: one line under a key. Read in place and answered in place, without a
//! message between the wire and the command.

use onrush_proto::{Command, CreateOrder, Money, OrderId, Receipt, Request};
use prost::bytes::BufMut;
use smallvec::smallvec;

use super::wrong_receipt;
use crate::access::Admitted;
use crate::backend::{Accepted, Backend};
use crate::deadline::Deadline;
use crate::field;
use crate::protobuf::{
    PlainOrder, RequestId, bytes_len, money_len, number_len, put_begin, put_money, put_number, put_text,
    text_len,
};
use crate::status::Rejection;

impl PlainOrder {
    /// What the engine is asked for a caller.
    pub(crate) fn request(
        &self,
        backend: &Backend,
        caller: &Admitted,
        deadline: Deadline,
    ) -> Result<Request, Rejection> {
        let Self { request_id, customer, line, hold_us } = self;
        let customer = caller.customer(customer.as_str())?;
        let order = CreateOrder { customer, lines: smallvec![*line], hold_us: *hold_us };
        let key = backend.caller_key(caller.name(), request_id.as_str());
        let mut request = Request::new(key, Command::CreateOrder(order));
        request.deadline_us = deadline.wall_us();
        Ok(request)
    }
}

/// The answer to an order that was accepted, as its `CreateOrderResponse` says it.
pub(crate) struct Created<'a> {
    request_id: &'a str,
    replayed: bool,
    order: OrderId,
    total: Money,
    held_until_us: i64,
}

impl<'a> Created<'a> {
    /// That of an acceptance.
    pub(crate) fn of(request_id: &'a RequestId, accepted: &Accepted) -> Result<Self, Rejection> {
        let Receipt::Order { order, total, held_until_us } = accepted.receipt else {
            return Err(wrong_receipt("order", &accepted.receipt));
        };
        Ok(Self {
            request_id: request_id.as_str(),
            replayed: accepted.replayed,
            order,
            total,
            held_until_us: field::time_us(held_until_us),
        })
    }

    /// Bytes that it takes.
    pub(crate) fn len(&self) -> usize {
        text_len(self.request_id)
            + number_len(self.replayed.into())
            + bytes_len(HEX)
            + bytes_len(money_len(self.total))
            + number_len(self.held_until_us as u64)
    }

    /// Writes them.
    pub(crate) fn put(&self, out: &mut impl BufMut) {
        put_text(out, 1, self.request_id);
        put_number(out, 2, self.replayed.into());
        put_begin(out, 3, HEX);
        out.put_slice(&hex(self.order));
        put_money(out, 4, self.total);
        put_number(out, 5, self.held_until_us as u64);
    }
}

/// Digits of an id.
const HEX: usize = 32;

fn hex(order: OrderId) -> [u8; HEX] {
    let mut digits = [0; HEX];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(order.0.to_be_bytes()) {
        *pair = [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use onrush_grpc::order::v1::{CreateOrderRequest, CreateOrderResponse, NewOrderLine};
    use onrush_proto::Lsn;
    use prost::Message as _;

    use super::*;

    fn request_id() -> RequestId {
        let line = NewOrderLine { sku: "tea".into(), quantity: 1, max_unit_price: None };
        let request_id = "cart-7".into();
        let asked = CreateOrderRequest { request_id, lines: vec![line], ..Default::default() };
        PlainOrder::read(&asked.encode_to_vec()).unwrap().request_id
    }

    #[test]
    fn an_acceptance_is_written_as_the_generated_code_writes_it() {
        let order: OrderId = "0123456789abcdef00000000deadbeef".parse().unwrap();
        for (minor, held_until_us, replayed) in [(0, 0, false), (-5, 1, true), (i64::MAX, u64::MAX, true)] {
            let total = Money::new(minor, "EUR".parse().unwrap());
            let receipt = Receipt::Order { order, total, held_until_us };
            let request_id = request_id();
            let accepted = Accepted { receipt, replayed, lsn: Lsn(7) };
            let created = Created::of(&request_id, &accepted).unwrap();
            let mut out = Vec::new();
            created.put(&mut out);
            let expected = CreateOrderResponse {
                request_id: "cart-7".into(),
                replayed,
                order_id: order.to_string(),
                total: Some(field::money_message(total)),
                held_until_us: field::time_us(held_until_us),
            };
            assert_eq!(out, expected.encode_to_vec());
            assert_eq!(out.len(), created.len());
        }
    }
}
