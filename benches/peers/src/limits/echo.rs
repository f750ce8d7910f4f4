//! A server that gives back what it is sent.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use onrush_benches::Failure;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::client::{Fifo, Line, Pipe, Took, Use, drive};
use crate::process::at;
use crate::role::{Role, announce};
use crate::round::Round;
use crate::stage::Stage;

/// Bytes of a message: about an order's.
const MESSAGE: [u8; 64] = [0xA5; 64];
/// Bytes that are read in one go.
const READ_BYTES: usize = 64 << 10;
/// Bytes that may wait for a client: as many as the client has open.
const UNSENT_BYTES_MAX: usize = 4 << 20;

/// How many messages are under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
}

/// Measures a case.
pub(crate) fn measure(case: Case, stage: &Stage<'_>) -> Result<Round, Failure> {
    let role = Role::start("echo", stage)?;
    let address = role.address("echo")?;
    let usage = Use { in_flight: case.in_flight, units: 1 };
    let line = || Line::new(TcpStream::connect(&address)?, Pipe::new(Echo), usage);
    let mut lines = (0..case.connections).map(|_| line()).collect::<Result<Vec<_>, Failure>>()?;
    drive(&mut lines, stage.span, &|| role.process.cpu_ns())
}

struct Echo;

impl Fifo for Echo {
    fn put(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        out.extend_from_slice(&MESSAGE);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], _: &mut Vec<u8>) -> Result<Option<Took>, Failure> {
        match bytes.first_chunk::<{ MESSAGE.len() }>() {
            None => Ok(None),
            Some(message) if *message == MESSAGE => Ok(Some(Took { bytes: MESSAGE.len(), answers: true })),
            Some(other) => Err(Failure::unexpected("an echo", other)),
        }
    }
}

/// A client of the server.
struct Guest {
    stream: TcpStream,
    unsent: Vec<u8>,
}

/// The server: one thread that serves until it is ended.
pub(crate) fn role() -> Result<(), Failure> {
    let listener = TcpListener::bind(at(0))?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    announce("echo", listener.local_addr()?)?;
    let mut guests: Vec<Option<Guest>> = Vec::new();
    let (mut ready, mut buffer) = (Vec::with_capacity(256), vec![0; READ_BYTES]);
    loop {
        epoll::wait(&poll, spare_capacity(&mut ready), None)?;
        for event in ready.drain(..) {
            let number = event.data.u64();
            let Some(guest) = guests.get_mut(number as usize) else {
                welcome(&listener, &poll, &mut guests)?;
                continue;
            };
            let stays = guest.as_mut().is_none_or(|guest| guest.serve(&poll, number, &mut buffer).is_ok());
            if !stays {
                *guest = None;
            }
        }
    }
}

fn welcome(listener: &TcpListener, poll: &OwnedFd, guests: &mut Vec<Option<Guest>>) -> Result<(), Failure> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll::add(poll, &stream, EventData::new_u64(guests.len() as u64), EventFlags::IN)?;
        guests.push(Some(Guest { stream, unsent: Vec::new() }));
    }
}

impl Guest {
    /// Gives back what came; an error is its end.
    fn serve(&mut self, poll: &OwnedFd, number: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        let waited = !self.unsent.is_empty();
        match self.stream.read(buffer) {
            Ok(0) => return Err(Failure::unexpected("a message", "the end")),
            Ok(bytes) => self.unsent.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if self.unsent.len() > UNSENT_BYTES_MAX {
            return Err(Failure::unexpected("a client that reads", self.unsent.len()));
        }
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(bytes) => drop(self.unsent.drain(..bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let waits = !self.unsent.is_empty();
        if waits != waited {
            let flags = if waits { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(poll, &self.stream, EventData::new_u64(number), flags)?;
        }
        Ok(())
    }
}
