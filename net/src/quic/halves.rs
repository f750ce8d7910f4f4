//! A session on tokio and quinn.

use std::io;
use std::time::Duration;

use quinn::{RecvStream, SendStream, VarInt};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::session::{Runtime, Sink, Source, Stop};

/// The runtime of a front over QUIC: tasks of one thread.
pub(super) struct Tokio;

impl Runtime for Tokio {
    type Stop = Interrupt;

    fn sleep(time: Duration) -> impl Future<Output = ()> {
        tokio::time::sleep(time)
    }

    fn spawn<T: 'static>(task: impl Future<Output = T> + 'static) -> impl Future<Output = T> {
        let task = tokio::task::spawn_local(task);
        async {
            match task.await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Its runtime is gone, and so will we be.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }
}

/// Wakes whoever reads.
#[derive(Default)]
pub(super) struct Interrupt(Notify);

impl Interrupt {
    /// Over once it is stopped.
    pub(super) fn stopped(&self) -> Notified<'_> {
        self.0.notified()
    }
}

impl Stop for Interrupt {
    fn stop(&self) {
        self.0.notify_waiters();
    }
}

impl Source<Interrupt> for RecvStream {
    async fn read(&mut self, mut buffer: Vec<u8>, stop: &Interrupt) -> (io::Result<usize>, Vec<u8>) {
        let read = tokio::select! {
            biased;
            read = self.read_buf(&mut buffer) => read,
            () = stop.stopped() => Err(io::ErrorKind::Interrupted.into()),
        };
        (read, buffer)
    }
}

/// What goes out on a stream. One that was not finished is reset, so that nobody takes a part for the whole.
pub(super) struct Outgoing {
    stream: SendStream,
    finished: bool,
}

impl Outgoing {
    pub(super) fn new(stream: SendStream) -> Self {
        Self { stream, finished: false }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.finished {
            // An error means that it is over already.
            let _ = self.stream.reset(VarInt::from_u32(0));
        }
    }
}

impl Sink for Outgoing {
    async fn write(&mut self, bytes: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>) {
        let written = self.stream.write(&bytes[from..]).await;
        (written.map_err(io::Error::from), bytes)
    }

    async fn finish(&mut self) {
        self.finished = true;
        // An error means that it is over already.
        if self.stream.finish().is_ok() {
            // A connection that is closed sends nothing more: what was written has to be there.
            let _ = self.stream.stopped().await;
        }
    }
}
