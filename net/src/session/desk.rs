//! What answers: all that a front knows of the shop.

use std::task::{Context, Poll};

use onrush_proto::frame::{
    Answer, Cluster, CommandEntry, DetailsView, ErrorFrame, Hello, SubscribeView, ValidateView,
};
use onrush_proto::{Lsn, SlotMap};

/// A command that is under way. Numbers are small and used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u32);

/// What became of a command at once.
#[derive(Debug)]
pub enum Taken {
    /// It will be answered by [`Desk::drain`], once.
    Later,
    /// This is the answer.
    Now(Answer),
}

/// Records of a subscription, as a whole frame.
#[derive(Debug)]
pub struct Batch {
    /// The frame.
    pub frame: Vec<u8>,
    /// The position up to which it has looked through the log.
    pub reached: Lsn,
}

/// Where the records of one subscription come from. What makes them makes no more than one frame ahead.
pub trait Feed: 'static {
    /// More bytes of records may come.
    fn grant(&self, bytes: u32);

    /// The next frame, or the answer that the subscription ends with. Not called again behind that. One task waits.
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Result<Batch, Answer>>;
}

/// Answers the connections of one front, on its thread.
pub trait Desk: 'static {
    /// A caller, for as long as its connection lives.
    type Session: 'static;

    /// Who calls, or why its connection ends. Versions are agreed on already.
    fn welcome(&mut self, hello: &Hello<'_>) -> Result<Self::Session, ErrorFrame>;

    /// A connection ended.
    fn farewell(&mut self, session: &Self::Session);

    /// Which shard owns which slot.
    fn slot_map(&self) -> SlotMap;

    /// The nodes that the shop is on, with their addresses for who comes by this door; none if it is one process.
    fn cluster(&self) -> Cluster {
        Cluster::default()
    }

    /// True if the answer to a command may be as long as an order.
    fn reads(&self, entry: &CommandEntry<'_>) -> bool;

    /// Takes a command. What is taken leaves with the next [`flush`](Self::flush).
    fn command(&mut self, session: &Self::Session, ticket: Ticket, entry: &CommandEntry<'_>) -> Taken;

    /// Appends a verdict for each line to an open frame, or says why there is none for any.
    fn validate(
        &mut self,
        session: &Self::Session,
        view: &ValidateView<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Answer>;

    /// Appends a product, or that there is none, for each SKU to an open frame, or says why there is none for any.
    fn details(
        &mut self,
        session: &Self::Session,
        view: &DetailsView<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Answer>;

    /// Begins a subscription, or says why not. Dropped, it is over.
    fn subscribe(
        &mut self,
        session: &Self::Session,
        view: &SubscribeView<'_>,
    ) -> Result<Box<dyn Feed>, Answer>;

    /// Sends what was taken.
    fn flush(&mut self);

    /// Ready if an answer is there, else the task is woken when one comes.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Hands over the answers that are there.
    fn drain(&mut self, answer: impl FnMut(Ticket, Answer));
}
