//! Cold rows: what a command needs and only the store has.
//!
//! Before a turn the host asks [`Shard::wants`], reads those rows and hands them to
//! [`Shard::warm`], until nothing is missing. So a turn never reads, and commands keep their order.

use onrush_proto::{
    Command, DocKey, DocumentRow, HoldRow, IdempotencyKey, KeyState, NameRow, OrderId, OrderRow, Request,
};

use super::{Input, PeerMessage, Shard, TURN_INPUTS_MAX};
use crate::rules::inventory::limit_hash;
use crate::state::{Count, hold_deadline};
use crate::tables::Spans;

/// A row that only the store has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// An idempotency key.
    Key(IdempotencyKey),
    /// A customer's count.
    Limit(u128),
    /// An order.
    Order(OrderId),
    /// A hold for another shard's order.
    Hold(OrderId),
    /// A document.
    Document(DocKey),
    /// A name.
    Name(DocKey),
}

/// What the store answered.
#[derive(Clone, Debug)]
pub enum Found {
    /// A key and the bucket it stands in.
    Key(IdempotencyKey, Option<(KeyState, u32)>),
    /// A customer's count.
    Limit(u128, Option<Count>),
    /// An order.
    Order(OrderId, Option<Box<OrderRow>>),
    /// A hold.
    Hold(OrderId, Option<Box<HoldRow>>),
    /// A document.
    Document(DocKey, Option<Box<DocumentRow>>),
    /// A name.
    Name(DocKey, Option<Box<NameRow>>),
}

/// Hashes that the inputs of the next turn look for: collected first, then looked for together.
#[derive(Default)]
pub(crate) struct Asked {
    keys: Vec<u128>,
    counts: Vec<u128>,
}

impl Shard {
    /// Adds what the inputs of the next turn, and sweeps before it, need from the store.
    pub fn wants<'a>(&mut self, inputs: impl Iterator<Item = &'a Input>, wants: &mut Vec<Want>) {
        wants.append(&mut self.wanted);
        if !self.took_office {
            self.want_unfinished(wants);
        }
        let mut asked = std::mem::take(&mut self.asked);
        for input in inputs.take(TURN_INPUTS_MAX) {
            match input {
                Input::Request { request, .. } => self.want_request(request, &mut asked, wants),
                Input::Peer { message, .. } => self.want_peer(message, &mut asked, wants),
            }
        }
        self.state.keys.cold(&asked.keys, |hash| wants.push(Want::Key(IdempotencyKey(hash))));
        self.state.limits.cold(&asked.counts, |hash| wants.push(Want::Limit(hash)));
        asked.keys.clear();
        asked.counts.clear();
        self.asked = asked;
    }

    /// The spans of history buckets in which a cold key may stand, newest first.
    pub fn key_spans(&self, key: IdempotencyKey) -> Spans {
        self.state.keys.spans(key.0)
    }

    /// The spans of history buckets in which a cold count may stand, newest first.
    pub fn count_spans(&self, hash: u128) -> Spans {
        self.state.limits.spans(hash)
    }

    /// Takes in what the store answered.
    pub fn warm(&mut self, found: Found) {
        match found {
            Found::Key(key, row) => self.state.keys.warm(key.0, row),
            Found::Limit(hash, row) => self.state.limits.warm(hash, row.map(|count| (count, 0))),
            Found::Order(id, row) => self.state.warm_order(id, row.map(|row| *row)),
            Found::Hold(id, row) => {
                let row = row.map(|row| {
                    let deadline = hold_deadline(&row);
                    (*row, deadline)
                });
                self.state.holds.warm(id, row);
            }
            Found::Document(key, row) => self.state.documents.warm(key, row.map(|row| (*row, None))),
            Found::Name(key, row) => self.state.names.warm(key, row.map(|row| (*row, None))),
        }
    }

    /// Counts that baskets give back which this shard gives up when it takes office.
    fn want_unfinished(&self, wants: &mut Vec<Want>) {
        for order in self.state.unborn() {
            wants.extend(self.missing_counts(order));
        }
    }

    fn want_request(&self, request: &Request, asked: &mut Asked, wants: &mut Vec<Want>) {
        if !request.key.is_none() {
            asked.keys.push(request.key.0);
        }
        match &request.command {
            Command::CreateOrder(create) => {
                for line in &create.lines {
                    self.want_limit(&line.sku, &create.customer, asked);
                }
            }
            Command::PutDocument(put) => self.want_document(put.key, wants),
            Command::DeleteDocument(delete) => self.want_document(delete.key, wants),
            Command::GetDocument(get) => self.want_document(get.key, wants),
            Command::Name(name) => {
                if self.state.names.is_cold(name.name()) {
                    wants.push(Want::Name(*name.name()));
                }
            }
            other => {
                if let Some(order) = other.order() {
                    self.want_order(order, wants);
                }
            }
        }
    }

    fn want_peer(&self, message: &PeerMessage, asked: &mut Asked, wants: &mut Vec<Want>) {
        match message {
            PeerMessage::Forward { request, .. } => self.want_request(request, asked, wants),
            PeerMessage::Answered { key, .. }
            | PeerMessage::Reclaim { key, .. }
            | PeerMessage::StillRunning { key, .. } => asked.keys.push(key.0),
            PeerMessage::Hold(hold) => {
                for (_, line) in &hold.lines {
                    self.want_limit(&line.sku, &hold.customer, asked);
                }
                self.want_hold(hold.order, asked, wants);
            }
            PeerMessage::Resolve { order, .. } => self.want_hold(*order, asked, wants),
            // What a participant says may end the basket.
            PeerMessage::Ask { order }
            | PeerMessage::Held { order, .. }
            | PeerMessage::HoldRefused { order, .. } => self.want_order(*order, wants),
            PeerMessage::Confirmed { .. }
            | PeerMessage::Returned { .. }
            | PeerMessage::TookOffice
            | PeerMessage::NotRunning { .. } => {}
        }
    }

    fn want_order(&self, order: OrderId, wants: &mut Vec<Want>) {
        if !self.owns(order.slot()) {
            return;
        }
        match self.state.orders.row(&order) {
            Some(row) => wants.extend(self.missing_counts(row)),
            None if self.state.orders.is_cold(&order) => wants.push(Want::Order(order)),
            None => {}
        }
    }

    fn want_hold(&self, order: OrderId, asked: &mut Asked, wants: &mut Vec<Want>) {
        match self.state.holds.row(&order) {
            Some(hold) => {
                for line in &hold.lines {
                    self.want_limit(&line.sku, &hold.customer, asked);
                }
            }
            None if self.state.holds.is_cold(&order) => wants.push(Want::Hold(order)),
            None => {}
        }
    }

    fn want_limit(&self, sku: &onrush_proto::Sku, customer: &onrush_proto::CustomerId, asked: &mut Asked) {
        // SKUs of other shards have no row here.
        if self.state.stock.row(sku).is_some_and(|stock| stock.limit_per_customer > 0) {
            asked.counts.push(limit_hash(&self.context(), sku, customer));
        }
    }

    fn want_document(&self, key: DocKey, wants: &mut Vec<Want>) {
        if self.state.documents.is_cold(&key) {
            wants.push(Want::Document(key));
        }
    }
}
