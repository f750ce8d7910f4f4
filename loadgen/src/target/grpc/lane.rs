//! A thread of the client: its runtime, its connections, and the calls it has under way.

use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};

use onrush_net::client::Retry;
use onrush_net::client::grpc::{Addresses, Client};
use onrush_proto::Reply;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::TargetError;
use super::message::{self, Asked};
use crate::target::operator::refused;

type Batch = Vec<(u64, Asked)>;

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
        connections: usize,
        answers: Sender<(u64, Reply)>,
    ) -> Result<Self, TargetError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(TargetError::Client)?;
        let client = {
            let _context = runtime.enter();
            Client::new(addresses, connections, Retry::default())
        };
        let client = client.map_err(|error| refused(&addresses.order, "a client", error))?;
        let (batches, incoming) = unbounded_channel();
        let work = move || run(&runtime, client, incoming, &answers);
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

fn run(
    runtime: &Runtime,
    client: Client,
    mut incoming: UnboundedReceiver<Batch>,
    answers: &Sender<(u64, Reply)>,
) {
    runtime.block_on(async {
        while let Some(batch) = incoming.recv().await {
            for (tag, asked) in batch {
                let (client, answers) = (client.clone(), answers.clone());
                tokio::spawn(async move {
                    let reply = message::ask(&client, asked).await;
                    // Nobody listens any more once the run is over.
                    let _ = answers.send((tag, reply));
                });
            }
        }
    });
}
