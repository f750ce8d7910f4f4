//! Redis: orders by a script on the server, and reads of what is on sale.

mod resp;
mod server;

use std::cell::RefCell;
use std::rc::Rc;

use onrush_benches::Failure;
use onrush_benches::sale::Sale;

use crate::client::{Fifo, Line, Pipe, Took, Use, drive};
use crate::process::at;
use crate::round::Round;
use crate::stage::Stage;
use resp::{Reply, bulk, bulk_number, head, reply};
use server::Server;
pub(crate) use server::{how, version};

/// Which commands of the append-only file are durable before their answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sync {
    /// All of them.
    Always,
    /// Those of a second ago.
    EverySecond,
    /// None is written: the case only reads.
    Off,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// So many orders by one call of the script.
    Orders(usize),
    /// The stock of so many SKUs, by GET if it is one, else by MGET.
    Stock(usize),
}

/// A case of this peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) sync: Sync,
    pub(crate) ask: Ask,
    pub(crate) skus: usize,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
}

/// Measures a case on a fresh server.
pub(crate) fn measure(case: Case, stage: &Stage<'_>) -> Result<Round, Failure> {
    let server = Server::start(stage, case.sync)?;
    let sale = Sale::uniform(case.skus);
    let script = server.open(&sale, case.ask)?;
    let sale = Rc::new(RefCell::new(sale));
    let (units, lines) = match case.ask {
        Ask::Orders(orders) => (orders, orders),
        Ask::Stock(skus) => (skus, skus),
    };
    let usage = Use { in_flight: case.in_flight, units };
    let mut connections = Vec::new();
    for _ in 0..case.connections {
        let talk = Asking { ask: case.ask, lines, script: script.clone(), sale: Rc::clone(&sale) };
        let stream = std::net::TcpStream::connect(at(server.port))?;
        connections.push(Line::new(stream, Pipe::new(talk), usage)?);
    }
    drive(&mut connections, stage.span, &|| server.process.cpu_ns())
}

/// One connection's requests.
struct Asking {
    ask: Ask,
    /// Orders or SKUs of a request.
    lines: usize,
    /// The script's name on the server.
    script: Vec<u8>,
    sale: Rc<RefCell<Sale>>,
}

/// Until when an order's units are held, in us: any time does, since nothing here sweeps.
const HELD_UNTIL_US: u64 = 1_800_000_000_000_000;

impl Fifo for Asking {
    fn put(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut sale = self.sale.borrow_mut();
        match self.ask {
            Ask::Orders(orders) => {
                head(out, 4 + 3 * orders);
                bulk(out, b"EVALSHA");
                bulk(out, &self.script);
                bulk_number(out, 0);
                bulk_number(out, HELD_UNTIL_US);
                for _ in 0..orders {
                    let wish = sale.wish();
                    bulk(out, &wish.key.0.to_le_bytes());
                    bulk(out, wish.customer.as_bytes());
                    bulk(out, wish.sku.as_bytes());
                }
            }
            Ask::Stock(skus) => {
                head(out, 1 + skus);
                bulk(out, if skus == 1 { b"GET" } else { b"MGET" });
                sale.basket(skus).for_each(|sku| bulk(out, sku.as_bytes()));
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], _: &mut Vec<u8>) -> Result<Option<Took>, Failure> {
        let Some((Reply { good, all, error }, length)) = reply(bytes)? else { return Ok(None) };
        if let Some(error) = error {
            return Err(Failure::unexpected("an answer of Redis", error));
        }
        if good != self.lines || all != self.lines {
            return Err(Failure::unexpected(format!("{} acceptances", self.lines), (good, all)));
        }
        Ok(Some(Took { bytes: length, answers: true }))
    }
}
