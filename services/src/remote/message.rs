//! Questions and answers between processes of one release.

#![allow(missing_docs, reason = "rkyv derives public items of variant structs without docs")]

use onrush_engine::StockView;
use onrush_proto::{
    CustomerId, DocKey, DocumentRow, Lsn, OrderId, OrderRow, ProductRow, Reply, Request, Sku, StockChangeRow,
};
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

/// Most rows of a list, whatever is asked for.
pub(super) const ROWS_MAX: u32 = 10_000;

/// What one process asks of the one with the engine.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub enum Question {
    /// A request.
    Call(Request),
    /// Published stock of these SKUs.
    Stocks(Vec<Sku>),
    /// A published product.
    Product(Sku),
    /// Published products after a SKU.
    Products {
        /// The SKU.
        after: Option<Sku>,
        /// At most so many.
        limit: u32,
        /// Part of name, SKU or brand, in lower case; empty: any.
        query: String,
        /// The category; empty: any.
        category: String,
    },
    /// A customer's orders, newest first.
    OrdersOf {
        /// The customer.
        customer: CustomerId,
        /// Behind this one.
        before: Option<OrderId>,
        /// At most so many.
        limit: u32,
    },
    /// Documents by prefix.
    Documents {
        /// How their keys begin.
        prefix: String,
        /// After this one.
        after: Option<DocKey>,
        /// At most so many.
        limit: u32,
    },
    /// Changes of a SKU's stock.
    StockChanges {
        /// The SKU.
        sku: Sku,
        /// Behind this version.
        after: u64,
        /// At most so many.
        limit: u32,
    },
    /// Where the committed logs end.
    Ends,
    /// How many shards have stopped.
    Condition,
}

/// What the one with the engine says.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub enum Answer {
    /// To a request.
    Reply(Reply),
    /// To stocks, in the order of the question.
    Stocks(Vec<Option<StockView>>),
    /// To a product.
    Product(Option<ProductRow>),
    /// To products.
    Products(Vec<ProductRow>),
    /// To a customer's orders.
    Orders(Vec<OrderRow>),
    /// To documents.
    Documents(Vec<DocumentRow>),
    /// To changes of stock.
    StockChanges(Vec<StockChangeRow>),
    /// Where the logs end, shard by shard.
    Ends(Vec<Lsn>),
    /// Shards that have stopped.
    Condition {
        /// How many.
        stopped_shards: u16,
    },
    /// The read failed over there.
    Failed(String),
}

impl Question {
    /// True if asking twice does no more than asking once: reads, and what has a key.
    pub(super) fn bears_repetition(&self) -> bool {
        match self {
            Self::Call(request) => !request.key.is_none() || request.command.is_read(),
            _ => true,
        }
    }

    pub(super) fn encode(&self) -> Result<AlignedVec, Error> {
        rkyv::to_bytes(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        rkyv::from_bytes(bytes)
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Result<AlignedVec, Error> {
        rkyv::to_bytes(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        rkyv::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::{Command, CreateOrder, IdempotencyKey, OrderLine, Outcome, Refusal, Text};

    use super::*;

    fn question() -> Question {
        let line = OrderLine::new(Text::new("tea").unwrap(), 2);
        let create = CreateOrder {
            customer: Text::new("ada").unwrap(),
            lines: [line; 1].into_iter().collect(),
            hold_us: 7,
        };
        Question::Call(Request::new(IdempotencyKey(9), Command::CreateOrder(create)))
    }

    #[test]
    fn questions_and_answers_come_over_as_they_are() {
        assert_eq!(Question::decode(&question().encode().unwrap()).unwrap(), question());
        let invalid = Refusal::Invalid { field: "hold", expected: "at most 30 days" };
        for refusal in [invalid, Refusal::NotLeader { leader: u64::MAX }] {
            let reply = Reply { outcome: Outcome::Refused(refusal), replayed: false, lsn: Lsn(3) };
            let answer = Answer::Reply(reply);
            assert_eq!(Answer::decode(&answer.encode().unwrap()).unwrap(), answer);
        }
    }

    #[test]
    fn bytes_that_are_no_question_are_refused() {
        let bytes = question().encode().unwrap();
        assert!(Question::decode(&[]).is_err());
        assert!(Question::decode(&bytes[..8]).is_err());
        // Whatever a cut or a flipped bit makes of it, it is another question or none, and looking is safe.
        for length in 0..bytes.len() {
            assert_ne!(Question::decode(&bytes[..length]).ok(), Some(question()), "cut at {length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = Question::decode(&flipped);
        }
    }

    #[test]
    fn only_reads_and_keyed_commands_are_asked_twice() {
        let unkeyed = |command| Question::Call(Request::unkeyed(command)).bears_repetition();
        assert!(question().bears_repetition());
        assert!(unkeyed(Command::GetOrder(OrderId(1))));
        assert!(!unkeyed(Command::CancelOrder(onrush_proto::CancelOrder { order: OrderId(1) })));
        assert!(Question::Ends.bears_repetition());
    }
}
