//! A thread of the client: its runtime, its connections, and the calls it has under way.

use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};

use onrush_net::client::Retry;
use onrush_net::client::grpc::{Addresses, Client};
use onrush_net::client::session::Stream;
use onrush_proto::Reply;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::message::{self, Asked};
use super::{LinkOptions, TargetError, stream};
use crate::target::operator::refused;

pub(super) type Batch = Vec<(u64, Asked)>;

/// A client thread; ends when dropped.
pub(super) struct Lane {
    /// Unbounded as a channel; the target bounds what is in flight over all lanes.
    batches: Option<UnboundedSender<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// Starts a thread that answers into `answers`.
    pub(super) fn start(
        addresses: &Addresses,
        link: &LinkOptions,
        answers: Sender<(u64, Reply)>,
    ) -> Result<Self, TargetError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(TargetError::Client)?;
        let way = runtime.block_on(Way::open(addresses, link))?;
        let (batches, incoming) = unbounded_channel();
        let work = move || runtime.block_on(way.run(incoming, &answers));
        let thread = thread::Builder::new().name("loadgen-client".into()).spawn(work);
        Ok(Self { batches: Some(batches), thread: Some(thread.map_err(TargetError::Client)?) })
    }

    /// Has calls made.
    pub(super) fn send(&self, batch: Batch) {
        if let Some(batches) = &self.batches {
            // A thread that is gone answers nothing, which the driver reports.
            let _ = batches.send(batch);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        drop(self.batches.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How a thread asks.
enum Way {
    /// Each call by itself.
    Calls(Client),
    /// Batches over sessions; what is no call of a session goes by itself.
    Streams(Vec<Stream>, Client),
}

impl Way {
    async fn open(addresses: &Addresses, link: &LinkOptions) -> Result<Self, TargetError> {
        let order = &addresses.order;
        let client = Client::new(addresses, link.connections, Retry::default());
        let client = client.map_err(|error| refused(order, "a client", error))?;
        if !link.streams {
            return Ok(Self::Calls(client));
        }
        let streams = stream::open(order, link.connections).await;
        streams
            .map(|streams| Self::Streams(streams, client))
            .map_err(|error| refused(order, "a session", error))
    }

    async fn run(self, mut incoming: UnboundedReceiver<Batch>, answers: &Sender<(u64, Reply)>) {
        let client = match self {
            Self::Calls(client) => client,
            Self::Streams(streams, client) => return stream::run(streams, &client, incoming, answers).await,
        };
        while let Some(batch) = incoming.recv().await {
            batch.into_iter().for_each(|(tag, asked)| call(&client, tag, asked, answers));
        }
    }
}

/// Has a call made by itself.
pub(super) fn call(client: &Client, tag: u64, asked: Asked, answers: &Sender<(u64, Reply)>) {
    let (client, answers) = (client.clone(), answers.clone());
    tokio::spawn(async move {
        let reply = message::ask(&client, asked).await;
        // Nobody listens any more once the run is over.
        let _ = answers.send((tag, reply));
    });
}
