//! A server over its gRPC services: one in this process on free ports, or one at an address.

mod lane;
mod message;
mod stream;

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use onrush_net::client::grpc::Addresses;
use onrush_proto::{Reply, Request, Sku};

use super::operator::{Operator, beside};
use super::server::Server;
use super::{Books, EmbeddedOptions, Page, Setup, Target, TargetError, Viewed};
use crate::meter::Meter;
use crate::target::events::Events;
use crate::target::money::Money;
use lane::Lane;
use message::Asked;

/// Orders that an audit reads back: each is a call of its own.
const ORDERS_READ_MAX: usize = 20_000;
/// How the client reaches the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkOptions {
    /// Threads of the client.
    pub(crate) threads: usize,
    /// Connections per service and thread; with `streams` sessions per thread.
    pub(crate) connections: usize,
    /// True for batches over sessions, else each call goes by itself.
    pub(crate) streams: bool,
    /// Most calls under way.
    pub(crate) in_flight_max: usize,
}

/// A server, and the calls under way to it.
pub(crate) struct Grpc {
    name: String,
    lanes: Vec<Lane>,
    next_lane: usize,
    /// Submitted and not yet flushed.
    batch: Vec<(u64, Asked)>,
    answers: Receiver<(u64, Reply)>,
    /// The answer that ended a wait.
    heard: Option<(u64, Reply)>,
    in_flight: usize,
    in_flight_max: usize,
    operator: Operator,
}

impl Grpc {
    /// Starts a server in this process, on an empty directory and free ports.
    pub(crate) fn boot(engine: &EmbeddedOptions, link: &LinkOptions) -> Result<Self, TargetError> {
        let server = Server::start(engine)?;
        let addresses = server.addresses();
        let name = if link.streams { "grpc-stream" } else { "grpc" };
        Self::link(name.into(), &addresses, Some(server), link)
    }

    /// Connects to a running server whose shop is empty.
    pub(crate) fn connect(
        order: &str,
        product: Option<&str>,
        payment: Option<&str>,
        link: &LinkOptions,
    ) -> Result<Self, TargetError> {
        let addresses = beside(order, product, payment);
        let target = Self::link(addresses.order.clone(), &addresses, None, link)?;
        target.operator.must_be_empty()?;
        Ok(target)
    }

    /// Connects to a server that we started as a process with this `ENGINE_TOKEN`, whatever is in its shop.
    pub(crate) fn attach(
        addresses: &Addresses,
        engine_token: &str,
        link: &LinkOptions,
    ) -> Result<Self, TargetError> {
        let target = Self::link("grpc".into(), addresses, None, link)?;
        Ok(Self { operator: target.operator.trusted(engine_token), ..target })
    }

    /// Where its payment service is.
    pub(crate) fn payment_address(&self) -> &str {
        self.operator.payment_address()
    }

    fn link(
        name: String,
        addresses: &Addresses,
        server: Option<Server>,
        link: &LinkOptions,
    ) -> Result<Self, TargetError> {
        let (sender, answers) = mpsc::channel();
        let start = |_| Lane::start(addresses, link, sender.clone());
        let lanes: Result<Vec<Lane>, TargetError> = (0..link.threads).map(start).collect();
        Ok(Self {
            name,
            lanes: lanes?,
            next_lane: 0,
            batch: Vec::new(),
            answers,
            heard: None,
            in_flight: 0,
            in_flight_max: link.in_flight_max,
            operator: Operator::new(addresses, server)?,
        })
    }

    fn ask(&mut self, tag: u64, asked: Asked) {
        self.in_flight += 1;
        self.batch.push((tag, asked));
    }
}

impl Target for Grpc {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn submit(&mut self, tag: u64, request: Request) -> Option<Request> {
        if !self.has_room() {
            return Some(request);
        }
        self.ask(tag, Asked::Request(request));
        None
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let share = self.batch.len().div_ceil(self.lanes.len());
        while !self.batch.is_empty() {
            let rest = self.batch.split_off(share.min(self.batch.len()));
            let part = std::mem::replace(&mut self.batch, rest);
            self.lanes[self.next_lane].send(part);
            self.next_lane = (self.next_lane + 1) % self.lanes.len();
        }
    }

    fn drain(&mut self, replies: &mut Vec<(u64, Reply)>) -> usize {
        let before = replies.len();
        while let Some(answer) = self.heard.take().or_else(|| self.answers.try_recv().ok()) {
            replies.push(answer);
        }
        let count = replies.len() - before;
        self.in_flight -= count;
        count
    }

    fn wait(&mut self, timeout: Duration) -> bool {
        if self.heard.is_none() {
            self.heard = self.answers.recv_timeout(timeout).ok();
        }
        self.heard.is_some()
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.in_flight_max
    }

    fn settles(&self) -> bool {
        true
    }

    fn orders_read_max(&self) -> usize {
        ORDERS_READ_MAX
    }

    fn view(&mut self, tag: u64, page: Page, sku: &Sku) -> Viewed {
        self.ask(tag, Asked::Page(page, *sku));
        Viewed::Sent
    }

    fn books(&mut self) -> Result<Books, TargetError> {
        self.operator.books()
    }

    fn events(&mut self) -> Result<Option<Events>, TargetError> {
        self.operator.events()
    }

    fn money(&mut self) -> Result<Option<Money>, TargetError> {
        self.operator.money()
    }

    fn meter(&self) -> Result<Meter, TargetError> {
        self.operator.meter()
    }

    fn setup(&self) -> Setup {
        self.operator.setup()
    }

    fn close(self: Box<Self>) -> Result<(), TargetError> {
        let Self { lanes, operator, .. } = *self;
        // First the connections: a server that ends waits for them.
        drop(lanes);
        operator.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_address_is_named() {
        let link = LinkOptions { threads: 1, connections: 1, streams: false, in_flight_max: 8 };
        let error = Grpc::connect("http://127.0.0.1:1", None, None, &link).err().unwrap().to_string();
        assert!(error.contains("expected a server at http://127.0.0.1:1 that answers"), "{error}");
    }
}
