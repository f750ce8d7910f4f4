//! What a session needs of the runtime that it lives on.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A runtime of one thread.
pub(crate) trait Runtime: 'static {
    /// How reads are ended from outside.
    type Stop: Stop;

    /// The time from which others are counted.
    fn now() -> Instant {
        Instant::now()
    }

    /// Over once so much time has passed.
    fn sleep(time: Duration) -> impl Future<Output = ()>;

    /// Starts a task of this thread; the future is its end.
    fn spawn<T: 'static>(task: impl Future<Output = T> + 'static) -> impl Future<Output = T>;
}

/// Ends the reads that are under way with it, and none that begin later.
pub(crate) trait Stop: Default + 'static {
    /// Ends them.
    fn stop(&self);
}

/// Where bytes come from.
pub(crate) trait Source<S> {
    /// Reads behind what a buffer holds, into the room that it has, and gives it back. 0 bytes are the end;
    /// a read that was stopped is an error.
    async fn read(&mut self, buffer: Vec<u8>, stop: &S) -> (io::Result<usize>, Vec<u8>);
}

/// Where bytes go.
pub(crate) trait Sink {
    /// Writes some of what a buffer holds from `from` on, and gives it back.
    async fn write(&mut self, bytes: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>);

    /// Says that nothing more comes.
    async fn finish(&mut self);
}

/// What `first` resolves to, unless `second` does.
pub(crate) async fn unless<T>(
    first: impl Future<Output = T>,
    mut second: impl Future<Output = ()> + Unpin,
) -> Option<T> {
    let mut first = pin!(first);
    poll_fn(|context| match pin!(&mut second).poll(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => first.as_mut().poll(context).map(Some),
    })
    .await
}

/// What a task resolves to, if it does within so much time.
pub(crate) async fn timeout<R: Runtime, T>(time: Duration, task: impl Future<Output = T>) -> Option<T> {
    let (mut task, mut over) = (pin!(task), pin!(R::sleep(time)));
    poll_fn(|context| match task.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => over.as_mut().poll(context).map(|()| None),
    })
    .await
}
