//! Answers that gather to a message: a `SessionResponse` as its bytes.

use onrush_grpc::session::v1::Answer;
use prost::Message as _;
use prost::bytes::{Bytes, BytesMut};

use crate::order::Created;
use crate::protobuf::{bytes_len, number_len, put_begin, put_number};

/// Numbers of fields of a message, and of an answer.
const ANSWERS: u8 = 1;
const TAG: u8 = 1;
const CREATE_ORDER: u8 = 7;

/// Answers, one behind the other.
#[derive(Default)]
pub(super) struct Answers(BytesMut);

impl Answers {
    /// Bytes of them.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one.
    pub(super) fn put(&mut self, answer: &Answer) {
        let len = answer.encoded_len();
        self.0.reserve(bytes_len(len));
        put_begin(&mut self.0, ANSWERS, len);
        answer.encode_raw(&mut self.0);
    }

    /// Adds that of an order.
    pub(super) fn put_created(&mut self, tag: u64, created: &Created<'_>) {
        let len = created.len();
        let answer_len = number_len(tag) + bytes_len(len);
        self.0.reserve(bytes_len(answer_len));
        put_begin(&mut self.0, ANSWERS, answer_len);
        put_number(&mut self.0, TAG, tag);
        put_begin(&mut self.0, CREATE_ORDER, len);
        created.put(&mut self.0);
    }

    /// The message; `None` if there is nothing in it.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        (self.len() > 0).then(|| self.0.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use onrush_grpc::order::v1::{CreateOrderRequest, NewOrderLine};
    use onrush_grpc::session::v1::SessionResponse;
    use onrush_grpc::session::v1::answer::Answer as Said;
    use onrush_proto::{Currency, Lsn, Money, OrderId, Receipt};

    use super::*;
    use crate::backend::Accepted;
    use crate::protobuf::PlainOrder;

    #[test]
    fn an_order_is_answered_as_the_generated_code_answers_it() {
        let line = NewOrderLine { sku: "tea".into(), quantity: 1, max_unit_price: None };
        let asked =
            CreateOrderRequest { request_id: "cart-7".into(), lines: vec![line], ..Default::default() };
        let request_id = PlainOrder::read(&asked.encode_to_vec()).unwrap().request_id;
        let receipt = Receipt::Order {
            order: OrderId(7 << 64 | 9),
            total: Money::new(450, Currency::EUR),
            held_until_us: 1_795_641_334_000_000,
        };
        let accepted = Accepted { receipt, replayed: true, lsn: Lsn(5) };
        let tags = [0, 1, 127, 128, u64::MAX];
        let mut answers = Answers::default();
        for tag in tags {
            answers.put_created(tag, &Created::of(&request_id, &accepted).unwrap());
        }
        let told = SessionResponse::decode(answers.take().unwrap()).unwrap();
        assert_eq!(told.answers.iter().map(|answer| answer.tag).collect::<Vec<_>>(), tags);
        let mut by_the_generated_code = Answers::default();
        for answer in &told.answers {
            let Some(Said::CreateOrder(created)) = &answer.answer else { panic!("an order") };
            assert_eq!((created.request_id.as_str(), created.replayed), ("cart-7", true));
            by_the_generated_code.put(answer);
        }
        let again = SessionResponse::decode(by_the_generated_code.take().unwrap()).unwrap();
        assert_eq!(again, told);
        assert_eq!(answers.take(), None);
    }
}
