//! Over QUIC: a runtime that runs while the driver waits.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use onrush_net::client::native::{Stream, Transport};
use onrush_net::tls::Trust;
use tokio::runtime::{Builder, Runtime};

use super::connection::{Carrier, Connection, LinkError};
use super::{Each, Ready, Road};
use crate::target::TargetError;
use crate::target::server::Server;

/// How often the runtime comes round before the driver goes on: it moves packets between two looks.
const TURNS: usize = 2;

/// QUIC.
pub(crate) struct Quic {
    runtime: Runtime,
    trust: Trust,
}

fn io_of(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Carrier for Stream {
    // It reads one packet's worth at a time.
    const EMPTIES: bool = false;

    fn write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        io_of(self.poll_write(context, bytes))
    }

    fn read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        io_of(self.poll_read(context, buffer))
    }
}

impl Road for Quic {
    type Carrier = Stream;
    const NAME: &'static str = "quic";

    fn new(trust: Option<&Path>) -> Result<Self, TargetError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(TargetError::Client)?;
        let trust = trust.map_or(Trust::System, |path| Trust::Pinned(path.into()));
        Ok(Self { runtime, trust })
    }

    fn place(server: &Server) -> Option<String> {
        server.native_quic_address()
    }

    fn connect(&mut self, address: &str) -> Result<Stream, LinkError> {
        let transport = Transport::Quic(self.trust.clone());
        Ok(self.runtime.block_on(Stream::open(address, &transport))??)
    }

    fn travel(
        &mut self,
        connections: &mut [Connection<Stream>],
        timeout: Duration,
        each: &mut Each<'_, Stream>,
    ) {
        let both = Ready { reads: true, writes: true };
        // Looked at once, then whenever something wakes; what that was, only the connections know.
        let mut looked = false;
        let moved = poll_fn(|context| {
            let before = std::mem::replace(&mut looked, true);
            connections.iter_mut().for_each(|connection| each(connection, context, both));
            if before { Poll::Ready(()) } else { Poll::Pending }
        });
        self.runtime.block_on(async {
            turns().await;
            // An error means that nothing woke.
            let _ = tokio::time::timeout(timeout, moved).await;
        });
    }

    fn now<T>(&mut self, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let mut act = Some(act);
        self.runtime.block_on(async {
            let done = poll_fn(|context| match act.take() {
                Some(act) => Poll::Ready(act(context)),
                None => Poll::Pending,
            });
            let done = done.await;
            turns().await;
            done
        })
    }
}

/// Lets the runtime write what is to leave and read what has come.
async fn turns() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}
