//! A session on monoio: buffers that are lent to the system, reads that are taken back.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use monoio::buf::{IoBuf as _, IoBufMut as _};
use monoio::io::{
    AsyncWriteRent as _, CancelHandle, CancelableAsyncReadRent as _, Canceller, OwnedReadHalf, OwnedWriteHalf,
};
use monoio::net::TcpStream;

use crate::session::{Runtime, Sink, Source, Stop};

/// The runtime of a front over TCP.
pub(super) struct Monoio;

impl Runtime for Monoio {
    type Stop = Cancel;

    fn sleep(time: Duration) -> impl Future<Output = ()> {
        monoio::time::sleep(time)
    }

    fn spawn<T: 'static>(task: impl Future<Output = T> + 'static) -> impl Future<Output = T> {
        monoio::spawn(task)
    }
}

/// Takes back the reads that the system holds.
#[derive(Default)]
pub(super) struct Cancel(RefCell<Canceller>);

impl Cancel {
    fn handle(&self) -> CancelHandle {
        self.0.borrow().handle()
    }
}

impl Stop for Cancel {
    fn stop(&self) {
        let canceller = self.0.take();
        self.0.replace(canceller.cancel());
    }
}

impl Source<Cancel> for OwnedReadHalf<TcpStream> {
    async fn read(&mut self, buffer: Vec<u8>, stop: &Cancel) -> (io::Result<usize>, Vec<u8>) {
        let begun = buffer.len();
        let (read, buffer) = self.cancelable_read(buffer.slice_mut(begun..), stop.handle()).await;
        (read, buffer.into_inner())
    }
}

impl Sink for OwnedWriteHalf<TcpStream> {
    async fn write(&mut self, bytes: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>) {
        let (written, slice) = monoio::io::AsyncWriteRent::write(self, bytes.slice(from..)).await;
        (written, slice.into_inner())
    }

    async fn finish(&mut self) {
        // An error means that the other side is gone.
        let _ = self.shutdown().await;
    }
}
