//! Calls in, answers out, on one stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use onrush_grpc::session::v1::{Answer, Call};
use prost::bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::Status;

use super::answers::Answers;
use super::orders::Orders;
use crate::field::FieldError;
use crate::protobuf::{Asked, CALLS_MAX, read_calls};
use crate::status::Denial;
use crate::unread::Unread;

/// Calls that one session may have open; with more nothing is read from it. HTTP/2 tells the client, and what else it
/// sends on that connection waits behind it.
const OPEN_MAX: usize = 4_096;
/// Calls that are begun, and messages that are read, before others of the front have their turn.
const CALLS_PER_TURN: usize = 256;
const MESSAGES_PER_TURN: usize = 16;
/// Bytes of answers after which a message is full. One answer may be longer.
const ANSWERS_BYTES: usize = 1 << 20;

/// A call that was taken.
pub(super) struct Taken {
    pub(super) call: Call,
    /// When it arrived.
    pub(super) at: Instant,
    /// Its place among those of the front, until it is answered.
    pub(super) place: OwnedSemaphorePermit,
}

type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The answers to what comes in, as they are reached.
pub(super) struct Conversation<S, A, F> {
    incoming: S,
    answer: A,
    /// Calls that were read and not yet made, and when.
    read: vec::IntoIter<Asked>,
    at: Instant,
    open: FuturesUnordered<F>,
    /// Calls that need no future; `None`: all do.
    orders: Option<Orders>,
    answers: Answers,
    places: Arc<Semaphore>,
    /// The next place, while there is none.
    place: Option<Waiting<Option<OwnedSemaphorePermit>>>,
    /// Comes true when the server stops; `None` once it has.
    stopped: Option<Waiting<()>>,
    /// How reading ended, once it has.
    end: Option<Result<(), Status>>,
}

impl<S, A, F> Conversation<S, A, F>
where
    S: Stream<Item = Result<Bytes, Status>> + Unpin,
    A: Fn(Taken) -> F,
    F: Future<Output = Answer>,
{
    /// Makes each call by `orders` or by `answer`, until the client or the server has had enough. A call takes one of
    /// the `places`.
    pub(super) fn new(
        incoming: S,
        orders: Option<Orders>,
        answer: A,
        places: Arc<Semaphore>,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self {
            incoming,
            answer,
            read: Vec::new().into_iter(),
            at: Instant::now(),
            open: FuturesUnordered::new(),
            orders,
            answers: Answers::default(),
            places,
            place: None,
            stopped: Some(Box::pin(stopped)),
            end: None,
        }
    }

    /// Once the server stops: what was read and not begun is not taken, and nothing more is read.
    fn heed_stop(&mut self, context: &mut Context<'_>) {
        if self.stopped.as_mut().is_none_or(|stopped| stopped.as_mut().poll(context).is_pending()) {
            return;
        }
        self.stopped = None;
        let unasked = std::mem::take(&mut self.read).len() > 0;
        if unasked || self.end.is_none() {
            let message =
                "the server stops; what has no answer may be asked again elsewhere, under the same key";
            self.end = Some(Err(Denial::new("SERVER_STOPPING", message).into()));
        }
    }

    /// Makes what was read, and reads on while there is room.
    fn take(&mut self, context: &mut Context<'_>) {
        self.heed_stop(context);
        let (mut calls, mut messages) = (0, 0);
        while self.open() < OPEN_MAX {
            if calls == CALLS_PER_TURN || messages == MESSAGES_PER_TURN {
                context.waker().wake_by_ref();
                return;
            }
            if self.read.len() > 0 {
                let Poll::Ready(Some(place)) = self.poll_place(context) else { return };
                let Some(asked) = self.read.next() else { return };
                self.make(asked, place);
                calls += 1;
            } else if self.end.is_none() {
                let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_next(context) else { return };
                self.hear(next);
                messages += 1;
            } else {
                return;
            }
        }
    }

    fn make(&mut self, asked: Asked, place: OwnedSemaphorePermit) {
        match (asked, &mut self.orders) {
            (Asked::Order(order), Some(orders)) => orders.take(order, self.at, place, &mut self.answers),
            (Asked::Other(call), _) => self.open.push((self.answer)(Taken { call, at: self.at, place })),
            // They are told apart only where somebody takes them.
            (Asked::Order(_), None) => {}
        }
    }

    /// Calls that wait for an answer.
    fn open(&self) -> usize {
        self.open.len() + self.orders.as_ref().map_or(0, Orders::open)
    }

    /// A place for the next call; the front has only so many.
    fn poll_place(&mut self, context: &mut Context<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        if self.place.is_none() {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                return Poll::Ready(Some(place));
            }
            let places = self.places.clone();
            // Nobody closes the semaphore.
            self.place = Some(Box::pin(async move { places.acquire_owned().await.ok() }));
        }
        let place = self.place.as_mut().map_or(Poll::Pending, |place| place.as_mut().poll(context));
        if place.is_ready() {
            self.place = None;
        }
        place
    }

    fn hear(&mut self, next: Option<Result<Bytes, Status>>) {
        match next {
            Some(Ok(message)) => match self.read(&message) {
                Ok(calls) => (self.read, self.at) = (calls.into_iter(), Instant::now()),
                Err(status) => self.end = Some(Err(status)),
            },
            Some(Err(status)) => self.end = Some(Err(Unread::of(&status).map_or(status, Status::from))),
            None => self.end = Some(Ok(())),
        }
    }

    fn read(&self, message: &[u8]) -> Result<Vec<Asked>, Status> {
        let calls = read_calls(message, self.orders.is_some()).map_err(|error| {
            let status = Status::internal(error.to_string());
            Unread::of(&status).map_or(status, Status::from)
        })?;
        match calls.len() {
            0..=CALLS_MAX => Ok(calls),
            found => {
                let expected = format!("at most {CALLS_MAX} calls");
                Err(FieldError::invalid("calls", expected, found.to_string()).into())
            }
        }
    }

    /// Answers that are there.
    fn gather(&mut self, context: &mut Context<'_>) {
        let Self { orders, answers, open, .. } = self;
        if let Some(orders) = orders {
            orders.flush();
            orders.gather(context, answers);
        }
        while answers.len() < ANSWERS_BYTES {
            let Poll::Ready(Some(answer)) = open.poll_next_unpin(context) else { break };
            answers.put(&answer);
        }
    }
}

// Nothing in it is pinned in place: futures lie in boxes of their own.
impl<S, A, F> Unpin for Conversation<S, A, F> {}

impl<S, A, F> Stream for Conversation<S, A, F>
where
    S: Stream<Item = Result<Bytes, Status>> + Unpin,
    A: Fn(Taken) -> F,
    F: Future<Output = Answer>,
{
    type Item = Result<Bytes, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.take(context);
        this.gather(context);
        if let Some(message) = this.answers.take() {
            return Poll::Ready(Some(Ok(message)));
        }
        let idle = this.open() == 0 && this.read.len() == 0;
        match &mut this.end {
            Some(end) if idle => match std::mem::replace(end, Ok(())) {
                Ok(()) => Poll::Ready(None),
                Err(status) => Poll::Ready(Some(Err(status))),
            },
            // Who is waited for wakes: the client, a call, a place or the end of the server.
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_grpc::session::v1::{SessionRequest, SessionResponse};
    use prost::Message as _;
    use tokio::sync::{mpsc, oneshot};
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::Code;

    use super::*;

    /// Calls that came, each with what lets it go on.
    type Made = std::sync::Arc<std::sync::Mutex<Vec<(u64, oneshot::Sender<()>)>>>;

    struct Far {
        places: Arc<Semaphore>,
        asks: mpsc::Sender<Result<Bytes, Status>>,
        made: Made,
        stop: oneshot::Sender<()>,
    }

    fn conversation() -> (impl Stream<Item = Result<Bytes, Status>> + Unpin, Far) {
        let (asks, incoming) = mpsc::channel(8);
        let made = Made::default();
        let (stop, stopped) = oneshot::channel();
        let known = made.clone();
        let answer = move |Taken { call, place, .. }| {
            let (done, doing) = oneshot::channel();
            known.lock().unwrap().push((call.tag, done));
            async move {
                let _ = doing.await;
                drop(place);
                Answer { tag: call.tag, answer: None }
            }
        };
        let stopped = async move {
            let _ = stopped.await;
        };
        let places = Arc::new(Semaphore::new(OPEN_MAX + 1));
        let conversation =
            Conversation::new(ReceiverStream::new(incoming), None, answer, places.clone(), stopped);
        // Boxed: a future of an async block does not move.
        (Box::pin(conversation), Far { places, asks, made, stop })
    }

    impl Far {
        async fn ask(&self, tags: impl IntoIterator<Item = u64>) {
            let calls = tags.into_iter().map(|tag| Call { tag, ..Call::default() }).collect();
            self.asks.send(Ok(SessionRequest { calls }.encode_to_vec().into())).await.unwrap();
        }

        /// Lets a call end.
        fn end(&self, tag: u64) {
            let mut made = self.made.lock().unwrap();
            let at = made.iter().position(|(made, _)| *made == tag).unwrap();
            made.remove(at).1.send(()).unwrap();
        }

        fn open(&self) -> usize {
            self.made.lock().unwrap().len()
        }
    }

    async fn tags(conversation: &mut (impl Stream<Item = Result<Bytes, Status>> + Unpin)) -> Vec<u64> {
        let message = conversation.next().await.unwrap().unwrap();
        SessionResponse::decode(message).unwrap().answers.iter().map(|answer| answer.tag).collect()
    }

    /// Has it do what there is to do, in as many turns as it takes, when nothing is there to be heard.
    async fn silent(conversation: &mut (impl Stream<Item = Result<Bytes, Status>> + Unpin)) {
        for _ in 0..2 * OPEN_MAX / CALLS_PER_TURN {
            let heard =
                std::future::poll_fn(|context| Poll::Ready(conversation.poll_next_unpin(context))).await;
            assert!(heard.is_pending(), "{heard:?}");
        }
    }

    #[tokio::test]
    async fn answers_come_as_they_are_reached_and_together_if_they_are() {
        let (mut conversation, far) = conversation();
        far.ask([1, 2, 3]).await;
        silent(&mut conversation).await;
        far.end(3);
        assert_eq!(tags(&mut conversation).await, [3]);
        far.end(2);
        far.end(1);
        let mut both = tags(&mut conversation).await;
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
    }

    #[tokio::test]
    async fn a_client_that_has_asked_everything_hears_the_rest() {
        let (mut conversation, Far { asks, made, stop: _stop, .. }) = conversation();
        let calls = vec![Call { tag: 7, ..Call::default() }];
        asks.send(Ok(SessionRequest { calls }.encode_to_vec().into())).await.unwrap();
        drop(asks);
        silent(&mut conversation).await;
        made.lock().unwrap().pop().unwrap().1.send(()).unwrap();
        assert_eq!(tags(&mut conversation).await, [7]);
        assert!(conversation.next().await.is_none());
    }

    #[tokio::test]
    async fn with_too_many_open_nothing_is_read() {
        let (mut conversation, far) = conversation();
        let most = OPEN_MAX as u64;
        far.ask(0..most + 5).await;
        silent(&mut conversation).await;
        assert_eq!(far.open(), OPEN_MAX);
        far.end(3);
        assert_eq!(tags(&mut conversation).await, [3]);
        silent(&mut conversation).await;
        assert_eq!(far.open(), OPEN_MAX, "the place of the one is taken by the next");
    }

    #[tokio::test]
    async fn a_server_that_stops_answers_what_is_open_and_takes_no_more() {
        let (mut conversation, far) = conversation();
        far.ask([1]).await;
        silent(&mut conversation).await;
        far.ask([2]).await;
        let Far { made, stop, .. } = far;
        stop.send(()).unwrap();
        silent(&mut conversation).await;
        let (tag, done) = made.lock().unwrap().pop().unwrap();
        assert_eq!((tag, made.lock().unwrap().len()), (1, 0));
        done.send(()).unwrap();
        assert_eq!(tags(&mut conversation).await, [1]);
        let status = conversation.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(conversation.next().await.is_none());
    }

    #[tokio::test]
    async fn a_call_waits_for_a_place_of_the_front() {
        let (mut conversation, far) = conversation();
        let others = far.places.clone().acquire_many_owned(OPEN_MAX as u32 + 1).await.unwrap();
        far.ask([1]).await;
        silent(&mut conversation).await;
        assert_eq!(far.open(), 0);
        drop(others);
        silent(&mut conversation).await;
        far.end(1);
        assert_eq!(tags(&mut conversation).await, [1]);
        silent(&mut conversation).await;
        assert_eq!(far.places.available_permits(), OPEN_MAX + 1, "and gives it back");
    }

    #[tokio::test]
    async fn a_client_that_has_asked_everything_hears_of_a_stop_what_was_not_begun() {
        let (mut conversation, far) = conversation();
        far.ask(0..OPEN_MAX as u64 + 5).await;
        silent(&mut conversation).await;
        let Far { asks, made, stop, .. } = far;
        drop(asks);
        silent(&mut conversation).await;
        stop.send(()).unwrap();
        for (_, done) in made.lock().unwrap().drain(..) {
            done.send(()).unwrap();
        }
        let mut heard = 0;
        let end = loop {
            match conversation.next().await.unwrap() {
                Ok(message) => heard += SessionResponse::decode(message).unwrap().answers.len(),
                Err(status) => break status,
            }
        };
        assert_eq!((heard, end.code()), (OPEN_MAX, Code::Unavailable));
    }

    #[tokio::test]
    async fn a_message_of_too_many_calls_ends_it() {
        let (mut conversation, far) = conversation();
        far.ask(0..CALLS_MAX as u64 + 1).await;
        let status = conversation.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("at most 16384 calls, found 16385"), "{status}");
        assert_eq!(far.open(), 0);
    }
}
