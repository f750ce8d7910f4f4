//! What crosses a boundary: ids, money, commands, refusals, receipts, rows and the facts that
//! change them.
//!
//! Nothing here acts. A [`Request`] carries a [`Command`] to the shard that owns its key; the
//! shard answers with a [`Reply`], and what it accepted stands in its log as a [`Fact`]: the kind
//! of event and the resulting [`Row`]s.

pub mod cause;
pub mod command;
pub mod fact;
pub mod frame;
pub mod id;
pub mod key;
pub mod known;
pub mod money;
pub mod payment;
pub mod planted;
pub mod progress;
pub mod receipt;
pub mod refusal;
pub mod row;
pub mod slot;
pub mod text;
pub mod trace;

pub use cause::{Cause, CorrelationId};
pub use command::{
    CancelOrder, CapturePayment, Command, CommitOffset, CreateOrder, DeleteDocument, GetDocument, GroupAsk,
    GroupCommand, MoveOrder, NameCommand, OrderLine, PutDocument, PutProduct, RefundPayment, Request,
    SettleAttempt, SettleRefund, StartPayment, StockChange, UpdateStock,
};
pub use fact::{Fact, FactError, FactView, RecordKind, Topic};
pub use id::OrderId;
pub use key::{CallerKey, IdempotencyKey, KeyHasher};
pub use money::{Currency, Money};
pub use payment::{
    Account, Attempt, AttemptState, GatewayResult, LedgerRow, Payment, PaymentState, Posting, Refund,
    RefundState,
};
pub use progress::Delivery;
pub use receipt::{GroupStanding, Outcome, Receipt, Reply};
pub use refusal::{Reason, Refusal};
pub use row::{
    DeadLetterRow, DocumentRow, GroupRow, HoldRow, HoldState, KeyRow, KeyState, LimitRow, Line, Lines,
    NameRow, OffsetRow, OrderRow, OrderState, ProductRow, Row, RowError, RowTag, StateChange, StockChangeRow,
    StockRow,
};
pub use slot::{Lsn, ShardId, Slot, SlotMap};
pub use text::{BrandName, CategoryName, CustomerId, DocKey, Sku, Text, TextError};
pub use trace::TraceContext;
