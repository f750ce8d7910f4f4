//! Calls in, answers out, on one stream.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use onrush_grpc::session::v1::{Answer, Call, SessionRequest, SessionResponse};
use prost::Message as _;
use tokio_stream::Stream;
use tonic::Status;

/// Calls that one session may have open; with more nothing is read from it, which HTTP/2 tells the client.
const OPEN_MAX: usize = 16_384;
/// Calls of one message.
const CALLS_MAX: usize = 65_535;
/// Bytes of answers after which a message is full. One answer may be longer.
const ANSWERS_BYTES: usize = 1 << 20;

/// The answers to what comes in, as they are reached.
pub(super) struct Conversation<S, A, F> {
    incoming: S,
    answer: A,
    /// Calls that were read and not yet made.
    read: vec::IntoIter<Call>,
    open: FuturesUnordered<F>,
    /// Comes true when the server stops.
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// How reading ended, once it has.
    end: Option<Result<(), Status>>,
}

impl<S, A, F> Conversation<S, A, F>
where
    S: Stream<Item = Result<SessionRequest, Status>> + Unpin,
    A: Fn(Call) -> F,
    F: Future<Output = Answer>,
{
    /// Makes each call by `answer`, until the client or the server has had enough.
    pub(super) fn new(incoming: S, answer: A, stopped: impl Future<Output = ()> + Send + 'static) -> Self {
        let (open, stopped) = (FuturesUnordered::new(), Box::pin(stopped));
        Self { incoming, answer, read: Vec::new().into_iter(), open, stopped, end: None }
    }

    /// Makes what was read, and reads on while there is room.
    fn take(&mut self, context: &mut Context<'_>) {
        if self.end.is_none() && self.stopped.as_mut().poll(context).is_ready() {
            // What was read and not begun is not taken either.
            self.read = Vec::new().into_iter();
            self.end =
                Some(Err(Status::unavailable("the server stops; what has no answer may be asked again")));
        }
        while self.open.len() < OPEN_MAX {
            if let Some(call) = self.read.next() {
                self.open.push((self.answer)(call));
                continue;
            }
            if self.end.is_some() {
                return;
            }
            match Pin::new(&mut self.incoming).poll_next(context) {
                Poll::Ready(Some(Ok(message))) if message.calls.len() > CALLS_MAX => {
                    let found = message.calls.len();
                    let said = format!("calls: expected at most {CALLS_MAX}, found {found}");
                    self.end = Some(Err(Status::invalid_argument(said)));
                }
                Poll::Ready(Some(Ok(message))) => self.read = message.calls.into_iter(),
                Poll::Ready(Some(Err(status))) => self.end = Some(Err(status)),
                Poll::Ready(None) => self.end = Some(Ok(())),
                Poll::Pending => return,
            }
        }
    }

    /// Answers that are there.
    fn gather(&mut self, context: &mut Context<'_>) -> Vec<Answer> {
        let (mut answers, mut bytes) = (Vec::new(), 0);
        while bytes < ANSWERS_BYTES {
            let Poll::Ready(Some(answer)) = self.open.poll_next_unpin(context) else { break };
            bytes += answer.encoded_len();
            answers.push(answer);
        }
        answers
    }
}

// Nothing in it is pinned in place: futures lie in boxes of their own.
impl<S, A, F> Unpin for Conversation<S, A, F> {}

impl<S, A, F> Stream for Conversation<S, A, F>
where
    S: Stream<Item = Result<SessionRequest, Status>> + Unpin,
    A: Fn(Call) -> F,
    F: Future<Output = Answer>,
{
    type Item = Result<SessionResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.take(context);
        let answers = this.gather(context);
        if !answers.is_empty() {
            return Poll::Ready(Some(Ok(SessionResponse { answers })));
        }
        match &mut this.end {
            Some(end) if this.open.is_empty() => match std::mem::replace(end, Ok(())) {
                Ok(()) => Poll::Ready(None),
                Err(status) => Poll::Ready(Some(Err(status))),
            },
            // Who is waited for wakes: the client, a call or the end of the server.
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::Code;

    use super::*;

    /// Calls that came, each with what lets it go on.
    type Made = std::sync::Arc<std::sync::Mutex<Vec<(u64, oneshot::Sender<()>)>>>;

    struct Far {
        asks: mpsc::Sender<Result<SessionRequest, Status>>,
        made: Made,
        stop: oneshot::Sender<()>,
    }

    fn conversation() -> (impl Stream<Item = Result<SessionResponse, Status>> + Unpin, Far) {
        let (asks, incoming) = mpsc::channel(8);
        let made = Made::default();
        let (stop, stopped) = oneshot::channel();
        let known = made.clone();
        let answer = move |call: Call| {
            let (done, doing) = oneshot::channel();
            known.lock().unwrap().push((call.tag, done));
            async move {
                let _ = doing.await;
                Answer { tag: call.tag, answer: None }
            }
        };
        let stopped = async move {
            let _ = stopped.await;
        };
        let conversation = Conversation::new(ReceiverStream::new(incoming), answer, stopped);
        // Boxed, as it is served.
        (Box::pin(conversation), Far { asks, made, stop })
    }

    impl Far {
        async fn ask(&self, tags: impl IntoIterator<Item = u64>) {
            let calls = tags.into_iter().map(|tag| Call { tag, ..Call::default() }).collect();
            self.asks.send(Ok(SessionRequest { calls })).await.unwrap();
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

    async fn tags(
        conversation: &mut (impl Stream<Item = Result<SessionResponse, Status>> + Unpin),
    ) -> Vec<u64> {
        let message = conversation.next().await.unwrap().unwrap();
        message.answers.iter().map(|answer| answer.tag).collect()
    }

    /// Has it do what there is to do, when nothing is there to be heard.
    async fn silent(conversation: &mut (impl Stream<Item = Result<SessionResponse, Status>> + Unpin)) {
        let heard = std::future::poll_fn(|context| Poll::Ready(conversation.poll_next_unpin(context))).await;
        assert!(heard.is_pending(), "{heard:?}");
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
        let (mut conversation, Far { asks, made, stop: _stop }) = conversation();
        let calls = vec![Call { tag: 7, ..Call::default() }];
        asks.send(Ok(SessionRequest { calls })).await.unwrap();
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
    async fn a_message_of_too_many_calls_ends_it() {
        let (mut conversation, far) = conversation();
        far.ask(0..CALLS_MAX as u64 + 1).await;
        let status = conversation.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("65535, found 65536"), "{status}");
        assert_eq!(far.open(), 0);
    }
}
