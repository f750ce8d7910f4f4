//! Sessions of gRPC: messages of so many orders, the next one after each that is answered.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Instant;

use onrush_benches::Failure;
use onrush_benches::sale::Sale;
use onrush_grpc::session::v1::answer::Answer as Told;
use onrush_grpc::session::v1::{Answer, SessionRequest};
use onrush_net::client::Retry;
use onrush_net::client::session::{Stream, call};

use super::server::Server;
use crate::client::{Answered, Use, drive_tasks};
use crate::round::Round;
use crate::stage::Stage;

/// A case over sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Orders of a message.
    pub(crate) orders: usize,
    pub(crate) connections: usize,
    /// Messages that each has open.
    pub(crate) in_flight: usize,
}

/// Measures a case on a fresh server.
pub(crate) fn measure(case: Case, stage: &Stage<'_>) -> Result<Round, Failure> {
    let server = Server::start(stage, &[])?;
    let sale = Sale::hot();
    server.open(&sale)?;
    let (address, sale) = (server.grpc()?, Rc::new(RefCell::new(sale)));
    let usage = Use { in_flight: case.in_flight, units: case.orders };
    let begin = async |tasks: &mut crate::client::Tasks, answered: &Answered| {
        for _ in 0..case.connections {
            let stream = Stream::open(&address, "", &Retry::default()).await?;
            tasks.spawn_local(repeat(stream, Rc::clone(&sale), usage, answered.clone()));
        }
        Ok(())
    };
    drive_tasks(begin, stage.span, &|| server.process().cpu_ns())
}

async fn repeat(
    stream: Stream,
    sale: Rc<RefCell<Sale>>,
    usage: Use,
    answered: Answered,
) -> Result<Infallible, Failure> {
    let (asks, mut answers) = stream.split();
    let mut asked = vec![Instant::now(); usage.in_flight];
    let mut left = vec![usage.units; usage.in_flight];
    let mut due: VecDeque<usize> = (0..usage.in_flight).collect();
    let closed = || Failure::unexpected("a server that goes on", "a closed session");
    loop {
        tokio::select! {
            permit = asks.reserve(), if !due.is_empty() => {
                let permit = permit.map_err(|_| closed())?;
                if let Some(slot) = due.pop_front() {
                    permit.send(message(slot, usage.units, &mut sale.borrow_mut())?);
                }
            }
            heard = answers.message() => {
                let now = Instant::now();
                for Answer { tag, answer } in heard?.ok_or_else(closed)?.answers {
                    if !matches!(answer, Some(Told::CreateOrder(_))) {
                        return Err(Failure::unexpected("an acceptance", answer));
                    }
                    let slot = tag as usize;
                    left[slot] -= 1;
                    if left[slot] == 0 {
                        answered.add(usage.units, asked[slot], now);
                        (asked[slot], left[slot]) = (now, usage.units);
                        due.push_back(slot);
                    }
                }
            }
        }
    }
}

/// So many orders; the tag of each is the message's slot.
fn message(slot: usize, orders: usize, sale: &mut Sale) -> Result<SessionRequest, Failure> {
    let call = |_| {
        let (key, command) = sale.command();
        call(slot as u64, key.0, command, 0)
    };
    Ok(SessionRequest { calls: (0..orders).map(call).collect::<Result<_, _>>()? })
}
