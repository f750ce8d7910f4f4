//! A closed loop of requests over some connections from one thread, the same for every server.

mod pipe;
mod tasks;

pub(crate) use pipe::{Fifo, Pipe, Took};
pub(crate) use tasks::{Answered, Tasks, drive_tasks, exchange, repeat};

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use onrush_benches::Failure;
use onrush_benches::cpu::thread_ns;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::event::{Timespec, epoll::EventFlags};

use crate::interrupt;
use crate::round::Round;

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// How often an interrupt is looked for while nothing comes.
const LOOK: Duration = Duration::from_millis(100);
/// How long a server may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// What is said and heard on one connection, without the connection.
pub(crate) trait Talk {
    /// Says the next request. `slot` comes back with its answer.
    fn ask(&mut self, slot: usize) -> Result<(), Failure>;

    /// The bytes to write.
    fn output(&mut self) -> &[u8];

    /// This many of them are gone.
    fn written(&mut self, bytes: usize);

    /// Hears bytes, and adds the slots of whole answers. An answer that is no acceptance is an error.
    fn input(&mut self, bytes: &[u8], answered: &mut Vec<usize>) -> Result<(), Failure>;
}

/// How a connection is used.
#[derive(Clone, Copy)]
pub(crate) struct Use {
    /// Requests that are open on it; 0 = it only hears.
    pub(crate) in_flight: usize,
    /// Units that an answer on it stands for.
    pub(crate) units: usize,
}

/// A connection with its requests.
pub(crate) struct Line<T> {
    stream: TcpStream,
    talk: T,
    usage: Use,
    asked: Vec<Instant>,
    /// True while the socket takes no more.
    stuffed: bool,
}

impl<T: Talk> Line<T> {
    pub(crate) fn new(stream: TcpStream, talk: T, usage: Use) -> Result<Self, Failure> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let asked = vec![Instant::now(); usage.in_flight];
        Ok(Self { stream, talk, usage, asked, stuffed: false })
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        for slot in 0..self.usage.in_flight {
            self.talk.ask(slot)?;
            self.asked[slot] = now;
        }
        Ok(())
    }

    /// Writes what the socket takes; true if all of it went.
    fn write(&mut self) -> Result<bool, Failure> {
        loop {
            let output = self.talk.output();
            if output.is_empty() {
                return Ok(true);
            }
            match self.stream.write(output) {
                Ok(bytes) => self.talk.written(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what is there; asks again for each answer.
    fn read(&mut self, work: &mut Work) -> Result<(), Failure> {
        let Work { buffer, answered, tally } = work;
        let bytes = match self.stream.read(buffer) {
            Ok(0) => return Err(Failure::unexpected("a server that goes on", "a closed connection")),
            Ok(bytes) => bytes,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.talk.input(&buffer[..bytes], answered)?;
        if answered.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        for slot in answered.drain(..) {
            // Whoever only hears has nothing asked.
            let asked = self.asked.get_mut(slot);
            tally.add(self.usage.units, asked.as_ref().map(|asked| now - **asked));
            if let Some(asked) = asked {
                *asked = now;
                self.talk.ask(slot)?;
            }
        }
        Ok(())
    }
}

/// What the loop works with.
struct Work {
    buffer: Vec<u8>,
    answered: Vec<usize>,
    tally: Tally,
}

/// What was answered since it was last emptied.
#[derive(Default)]
struct Tally {
    units: u64,
    latencies_ns: Vec<u64>,
}

impl Tally {
    fn add(&mut self, units: usize, latency: Option<Duration>) {
        self.units += units as u64;
        self.latencies_ns.extend(latency.map(|latency| latency.as_nanos() as u64));
    }
}

/// For how long requests are made.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    /// Before anything counts.
    pub(crate) warm: Duration,
    /// While it does.
    pub(crate) measured: Duration,
}

/// What is open on all lines, and who waits for which.
struct Loop<'a, T> {
    poll: OwnedFd,
    lines: &'a mut [Line<T>],
    ready: Vec<epoll::Event>,
    work: Work,
}

/// Asks for a while; `server_ns` tells the CPU time of the server.
pub(crate) fn drive<T: Talk>(
    lines: &mut [Line<T>],
    span: Span,
    server_ns: &dyn Fn() -> u64,
) -> Result<Round, Failure> {
    let mut turn = Loop::begin(lines)?;
    turn.until(Instant::now() + span.warm)?;
    turn.work.tally = Tally::default();
    let (start, client, server) = (Instant::now(), thread_ns(), server_ns());
    turn.until(start + span.measured)?;
    while turn.work.tally.units == 0 {
        // One answer may take longer than all that was to be measured.
        if start.elapsed() > span.measured + SILENCE_MAX {
            return Err(Failure::unexpected("an answer", format!("none in {:?}", start.elapsed())));
        }
        turn.until(Instant::now() + LOOK)?;
    }
    let took = start.elapsed().as_secs_f64();
    let spent = (thread_ns() - client, server_ns().saturating_sub(server));
    Ok(round(turn.work.tally, took, spent))
}

/// What was answered in so many seconds, for so much CPU time in ns of client and server.
fn round(tally: Tally, took: f64, (client, server): (u64, u64)) -> Round {
    let Tally { units, mut latencies_ns } = tally;
    latencies_ns.sort_unstable();
    let at = |q: f64| latencies_ns.get((q * latencies_ns.len() as f64) as usize).map(|ns| *ns as f64 / 1e3);
    let each = |ns: u64| ns as f64 / 1e3 / units as f64;
    Round {
        per_s: units as f64 / took,
        p50_us: at(0.5),
        p99_us: at(0.99),
        client_us: Some(each(client)),
        server_us: Some(each(server)),
    }
}

impl<'a, T: Talk> Loop<'a, T> {
    fn begin(lines: &'a mut [Line<T>]) -> Result<Self, Failure> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, line) in lines.iter_mut().enumerate() {
            epoll::add(&poll, &line.stream, epoll::EventData::new_u64(number as u64), EventFlags::IN)?;
            line.begin()?;
        }
        let work = Work { buffer: vec![0; READ_BYTES], answered: Vec::new(), tally: Tally::default() };
        let mut turn = Self { poll, ready: Vec::with_capacity(lines.len()), lines, work };
        for number in 0..turn.lines.len() {
            turn.write(number)?;
        }
        Ok(turn)
    }

    fn until(&mut self, end: Instant) -> Result<(), Failure> {
        let look = Timespec::try_from(LOOK)?;
        let mut heard = Instant::now();
        loop {
            let ready = epoll::wait(&self.poll, spare_capacity(&mut self.ready), Some(&look));
            match ready {
                Err(rustix::io::Errno::INTR) => {}
                ready => {
                    ready?;
                }
            }
            let now = Instant::now();
            if now >= end {
                self.ready.clear();
                return Ok(());
            }
            if self.ready.is_empty() {
                interrupt::check()?;
                if now - heard > SILENCE_MAX {
                    return Err(Failure::unexpected("an answer", format!("silence for {SILENCE_MAX:?}")));
                }
                continue;
            }
            heard = now;
            let mut ready = std::mem::take(&mut self.ready);
            for event in ready.drain(..) {
                self.serve(event.data.u64() as usize, event.flags)?;
            }
            self.ready = ready;
            interrupt::check()?;
        }
    }

    fn serve(&mut self, number: usize, flags: EventFlags) -> Result<(), Failure> {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.lines[number].read(&mut self.work)?;
        }
        self.write(number)
    }

    /// Writes, and waits for room where there is none.
    fn write(&mut self, number: usize) -> Result<(), Failure> {
        let line = &mut self.lines[number];
        let stuffed = !line.write()?;
        if stuffed != line.stuffed {
            line.stuffed = stuffed;
            let flags = if stuffed { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.poll, &line.stream, epoll::EventData::new_u64(number as u64), flags)?;
        }
        Ok(())
    }
}
