//! The same closed loop where a runtime holds the connections: a task for each, all on one thread.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use onrush_benches::Failure;
use onrush_benches::cpu::thread_ns;
use onrush_net::client::native::Stream;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use super::{LOOK, READ_BYTES, SILENCE_MAX, Span, Talk, Tally, Use, round};
use crate::interrupt;
use crate::round::Round;

/// What all tasks were answered.
#[derive(Clone, Default)]
pub(crate) struct Answered(Rc<RefCell<Tally>>);

impl Answered {
    /// An answer to what was asked at that time.
    pub(crate) fn add(&self, units: usize, asked: Instant, now: Instant) {
        self.0.borrow_mut().add(units, Some(now - asked));
    }
}

/// A connection's task: it asks until it is dropped.
pub(crate) type Tasks = JoinSet<Result<Infallible, Failure>>;

/// Asks for a while. `begin` connects and starts the tasks; `server_ns` tells the CPU time of the server.
pub(crate) fn drive_tasks(
    begin: impl AsyncFnOnce(&mut Tasks, &Answered) -> Result<(), Failure>,
    span: Span,
    server_ns: &dyn Fn() -> u64,
) -> Result<Round, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let (mut tasks, answered) = (Tasks::new(), Answered::default());
        begin(&mut tasks, &answered).await?;
        until(&mut tasks, Instant::now() + span.warm).await?;
        answered.0.take();
        let (start, client, server) = (Instant::now(), thread_ns(), server_ns());
        until(&mut tasks, start + span.measured).await?;
        while answered.0.borrow().units == 0 {
            // One answer may take longer than all that was to be measured.
            if start.elapsed() > span.measured + SILENCE_MAX {
                return Err(Failure::unexpected("an answer", format!("none in {:?}", start.elapsed())));
            }
            until(&mut tasks, Instant::now() + LOOK).await?;
        }
        let took = start.elapsed().as_secs_f64();
        let spent = (thread_ns() - client, server_ns().saturating_sub(server));
        Ok(round(answered.0.take(), took, spent))
    })
}

/// Lets the tasks work until then; one that ends is an error.
async fn until(tasks: &mut Tasks, end: Instant) -> Result<(), Failure> {
    loop {
        interrupt::check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK)) => {}
            Some(ended) = tasks.join_next() => match ended? {
                Ok(never) => match never {},
                Err(failure) => return Err(failure),
            },
        }
    }
}

/// Writes what a talk has to say as far as it goes, and waits for bytes; how many came.
pub(crate) async fn exchange(
    stream: &mut Stream,
    talk: &mut impl Talk,
    buffer: &mut [u8],
) -> Result<usize, Failure> {
    let bytes = poll_fn(|context| {
        loop {
            let output = talk.output();
            if output.is_empty() {
                break;
            }
            match stream.poll_write(context, output)? {
                std::task::Poll::Ready(bytes) => talk.written(bytes),
                std::task::Poll::Pending => break,
            }
        }
        stream.poll_read(context, buffer)
    });
    match bytes.await? {
        0 => Err(Failure::unexpected("a server that goes on", "a closed connection")),
        bytes => Ok(bytes),
    }
}

/// A connection's requests, one after each answer.
pub(crate) async fn repeat(
    mut stream: Stream,
    mut talk: impl Talk,
    usage: Use,
    told: Answered,
) -> Result<Infallible, Failure> {
    let mut asked = vec![Instant::now(); usage.in_flight];
    for slot in 0..usage.in_flight {
        talk.ask(slot)?;
    }
    let (mut buffer, mut answered) = (vec![0; READ_BYTES], Vec::new());
    loop {
        let bytes = exchange(&mut stream, &mut talk, &mut buffer).await?;
        talk.input(&buffer[..bytes], &mut answered)?;
        let now = Instant::now();
        for slot in answered.drain(..) {
            told.add(usage.units, asked[slot], now);
            asked[slot] = now;
            talk.ask(slot)?;
        }
    }
}
