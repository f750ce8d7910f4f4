//! A thread's calls over sessions: what the driver hands over at once is one message on one stream, the streams in turn.

use std::collections::HashSet;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onrush_grpc::product::v1 as product;
use onrush_grpc::session::v1::answer::Answer as Told;
use onrush_grpc::session::v1::call::Call as Named;
use onrush_grpc::session::v1::{Answer, Call, SessionRequest};
use onrush_net::client::grpc::Client;
use onrush_net::client::session::{self, Messages, Stream};
use onrush_net::client::{CallError, Retry};
use onrush_proto::{Command, Outcome, Refusal, Reply, Request};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::Page;
use super::lane::{self, Batch};
use super::message::{self, Asked};
use crate::target::reply;

/// Opens this many streams at an order service.
pub(super) async fn open(order: &str, count: usize) -> Result<Vec<Stream>, CallError> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(Stream::open(order, "", &Retry::default()).await?);
    }
    Ok(streams)
}

/// Sends batches until there are no more.
pub(super) async fn run(
    streams: Vec<Stream>,
    client: &Client,
    mut incoming: UnboundedReceiver<Batch>,
    answers: &Sender<(u64, Reply)>,
) {
    let lines: Vec<Line> = streams.into_iter().map(|stream| Line::start(stream, answers.clone())).collect();
    for line in lines.iter().cycle() {
        let Some(batch) = incoming.recv().await else { return };
        let (alone, batch) = batch.into_iter().partition(|(_, asked)| is_apart(asked));
        let alone: Batch = alone;
        alone.into_iter().for_each(|(tag, asked)| lane::call(client, tag, asked, answers));
        line.send(batch, answers).await;
    }
}

/// True for a call of a service that sessions do not reach.
fn is_apart(asked: &Asked) -> bool {
    matches!(asked, Asked::Request(Request { command: Command::GetStock(_), .. }))
}

/// Tags of the calls that are open on a stream; `None` once it has ended.
type Open = Arc<Mutex<Option<HashSet<u64>>>>;

/// One stream.
struct Line {
    asks: mpsc::Sender<SessionRequest>,
    open: Open,
}

impl Line {
    fn start(stream: Stream, answers: Sender<(u64, Reply)>) -> Self {
        let (asks, messages) = stream.split();
        let open: Open = Arc::new(Mutex::new(Some(HashSet::new())));
        tokio::spawn(hear(messages, open.clone(), answers));
        Self { asks, open }
    }

    /// Sends a batch as one message. What cannot be asked is answered here.
    async fn send(&self, batch: Batch, answers: &Sender<(u64, Reply)>) {
        if batch.is_empty() {
            return;
        }
        let mut calls = Vec::with_capacity(batch.len());
        for (tag, asked) in batch {
            match call(tag, asked) {
                Ok(call) => calls.push(call),
                Err(error) => tell(answers, tag, refused(reply::refusal(&error))),
            }
        }
        let tags: Vec<u64> = calls.iter().map(|call| call.tag).collect();
        let live = match lock(&self.open).as_mut() {
            Some(open) => {
                open.extend(&tags);
                true
            }
            None => false,
        };
        if live && self.asks.send(SessionRequest { calls }).await.is_ok() {
            return;
        }
        // Whoever finds a tag first answers it.
        let mine = |tag: &&u64| !live || lock(&self.open).as_mut().is_some_and(|open| open.remove(*tag));
        tags.iter().filter(mine).for_each(|tag| tell(answers, *tag, refused(Refusal::Stopped)));
    }
}

fn lock(open: &Open) -> MutexGuard<'_, Option<HashSet<u64>>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(answers: &Sender<(u64, Reply)>, tag: u64, reply: Reply) {
    // Nobody listens any more once the run is over.
    let _ = answers.send((tag, reply));
}

fn refused(refusal: Refusal) -> Reply {
    reply::of_page(Outcome::Refused(refusal))
}

/// Hears a stream to its end; what is open then has no answer.
async fn hear(mut messages: Messages, open: Open, answers: Sender<(u64, Reply)>) {
    while let Ok(Some(message)) = messages.message().await {
        for answer in message.answers {
            let tag = answer.tag;
            if lock(&open).as_mut().is_some_and(|open| open.remove(&tag)) {
                tell(&answers, tag, reply_of(answer));
            }
        }
    }
    let left = lock(&open).take().unwrap_or_default();
    left.into_iter().for_each(|tag| tell(&answers, tag, refused(Refusal::Stopped)));
}

fn call(tag: u64, asked: Asked) -> Result<Call, CallError> {
    let named = match asked {
        Asked::Request(request) => match request.command {
            Command::RefundPayment(back) => {
                Named::ProcessRefund(Box::new(message::process_refund(request.key.0, &back)))
            }
            command => return session::call(tag, request.key.0, command, 0),
        },
        Asked::Page(Page::Product, sku) => {
            Named::GetProductDetails(Box::new(product::GetProductDetailsRequest { sku: sku.to_string() }))
        }
        Asked::Page(Page::Validate, sku) => {
            Named::ValidateProducts(Box::new(message::validate_products(&sku)))
        }
    };
    Ok(Call { tag, patience_us: 0, call: Some(named) })
}

fn reply_of(answer: Answer) -> Reply {
    let reply = match answer.answer {
        Some(Told::GetProductDetails(page)) => return reply::of_page(reply::details(*page)),
        Some(Told::ValidateProducts(page)) => return reply::of_page(reply::validated(*page)),
        Some(Told::ProcessRefund(made)) => return message::refunded(*made),
        told => session::reply(Answer { tag: answer.tag, answer: told }),
    };
    reply::settled(reply.unwrap_or_else(|error| refused(reply::refusal(&error))))
}
