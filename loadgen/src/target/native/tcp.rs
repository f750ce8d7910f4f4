//! Over TCP: sockets that never block, and poll.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::task::{Context, Waker};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::{Carrier, Connection, LinkError};
use super::{Each, Ready, Road};
use crate::target::TargetError;
use crate::target::server::Server;

/// TCP.
pub(crate) struct Tcp;

impl Carrier for TcpStream {
    const EMPTIES: bool = true;

    fn write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(self, buffer)
    }
}

impl Road for Tcp {
    type Carrier = TcpStream;
    const NAME: &'static str = "tcp";

    fn new(_trust: Option<&Path>) -> Result<Self, TargetError> {
        Ok(Self)
    }

    fn place(server: &Server) -> Option<String> {
        server.native_address()
    }

    fn connect(&mut self, address: &str) -> Result<TcpStream, LinkError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    fn travel(
        &mut self,
        connections: &mut [Connection<TcpStream>],
        timeout: Duration,
        each: &mut Each<'_, TcpStream>,
    ) {
        let mut interests: Vec<_> = connections.iter().map(interest).collect();
        let timeout = Timespec::try_from(timeout).ok();
        if !poll(&mut interests, timeout.as_ref()).is_ok_and(|ready| ready > 0) {
            return;
        }
        let ready: Vec<PollFlags> = interests.iter().map(PollFd::revents).collect();
        let mut context = Context::from_waker(Waker::noop());
        for (connection, ready) in connections.iter_mut().zip(ready) {
            let ready = Ready {
                reads: ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
                writes: ready.intersects(PollFlags::OUT),
            };
            each(connection, &mut context, ready);
        }
    }

    fn now<T>(&mut self, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
        act(&mut Context::from_waker(Waker::noop()))
    }
}

/// What a connection waits for.
fn interest(connection: &Connection<TcpStream>) -> PollFd<'_> {
    let writes = if connection.writes() { PollFlags::OUT } else { PollFlags::empty() };
    PollFd::new(&connection.carrier, PollFlags::IN | writes)
}
