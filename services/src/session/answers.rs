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
