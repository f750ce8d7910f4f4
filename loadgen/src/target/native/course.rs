//! Which node is asked: each shard has a leader, which may be another one tomorrow.
//!
//! Where there is one server alone nothing of this is done: what it says is the answer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use onrush_net::client::native::NotAsked;
use onrush_proto::frame::{Node, Welcome};
use onrush_proto::{Refusal, Reply, Request};

use super::connection::{Connection, WELCOME_MAX, refused};
use super::{LinkError, Native, Road};

/// Tries of a request after the first, at each address.
const TRIES: usize = 3;
/// The first pause before a request is asked again; it doubles with every try.
const PAUSE: Duration = Duration::from_millis(50);
/// Bound of every pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A request, to be asked again under its key if it comes to that.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) tag: u64,
    pub(super) request: Request,
    /// How often it was asked before.
    tries: usize,
    /// True if it may have been done.
    unknown: bool,
}

/// What became of one that was not answered.
#[derive(Debug)]
pub(super) enum Astray {
    /// This node leads; 0 = nobody is known to.
    Led(u64),
    /// The connection was lost.
    Lost,
}

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) replies: Vec<(u64, Reply)>,
    /// What is to be asked again, and where it was asked.
    pub(super) astray: Vec<(Box<Asking>, usize, Astray)>,
}

/// The addresses, and which of them leads.
#[derive(Debug)]
pub(super) struct Course {
    addresses: Vec<String>,
    /// The places of nodes among the addresses.
    nodes: BTreeMap<u64, usize>,
    /// What the first server granted: it says which shard a command is of.
    granted: Option<Welcome>,
    /// The place of each shard's leader.
    leaders: BTreeMap<u16, usize>,
    /// Where one is looked for that was not heard of: the first that was there.
    pub(super) home: usize,
    /// What is asked again, and from when on.
    waiting: Vec<(Instant, Box<Asking>)>,
}

impl Course {
    pub(super) fn new(addresses: &str) -> Self {
        let addresses = addresses.split(',').map(str::to_owned).collect();
        let (nodes, leaders) = (BTreeMap::new(), BTreeMap::new());
        Self { addresses, nodes, granted: None, leaders, home: 0, waiting: Vec::new() }
    }

    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// True if there is anybody else to ask.
    pub(super) fn follows(&self) -> bool {
        self.addresses.len() > 1
    }

    /// What is granted at a place.
    pub(super) fn learn(&mut self, at: usize, welcome: &Welcome) {
        let cluster = welcome.cluster();
        for Node { number, address } in cluster.nodes() {
            let known = self.addresses.iter().position(|one| one == address);
            let place = if *number == cluster.own() { Some(at) } else { known };
            let place = place.unwrap_or_else(|| {
                self.addresses.push(address.clone());
                self.addresses.len() - 1
            });
            self.nodes.insert(*number, place);
        }
        self.granted.get_or_insert_with(|| welcome.clone());
    }

    fn shard(&self, request: &Request) -> u16 {
        self.granted.as_ref().map_or(0, |granted| granted.shard(request.command.slot()).0)
    }

    /// Where a shard is asked.
    fn leader(&self, shard: u16) -> usize {
        self.leaders.get(&shard).copied().unwrap_or(self.home)
    }

    /// A shard that is asked at `from` is asked elsewhere; others may have found out more meanwhile.
    fn turn(&mut self, shard: u16, from: usize, to: usize) {
        if self.leader(shard) == from {
            self.leaders.insert(shard, to);
        }
    }

    /// What was not answered at a place is asked again, or answered once it was asked often enough.
    fn again(&mut self, asking: (Box<Asking>, usize, Astray), now: Instant) -> Option<(u64, Reply)> {
        let (mut asking, from, astray) = asking;
        let shard = self.shard(&asking.request);
        let named = match astray {
            Astray::Led(node) => self.nodes.get(&node).copied().filter(|_| node != 0),
            Astray::Lost => None,
        };
        let keyless = asking.request.key.is_none() && !asking.request.command.is_read();
        asking.unknown |= matches!(astray, Astray::Lost);
        self.turn(shard, from, named.unwrap_or((from + 1) % self.addresses.len()));
        if asking.tries >= TRIES * self.addresses.len() || (asking.unknown && keyless) {
            let last = if asking.unknown { Refusal::Stopped } else { Refusal::NotLeader { leader: 0 } };
            return Some((asking.tag, refused(last)));
        }
        // One that is named is asked at once, but for those that name each other.
        let pause = match (named, asking.tries) {
            (Some(_), 0) => Duration::ZERO,
            (_, tries) => (PAUSE * (1 << tries.min(10))).min(PAUSE_MAX),
        };
        asking.tries += 1;
        self.waiting.push((now + pause, asking));
        None
    }

    /// How long nothing is to be asked again, at most so long.
    pub(super) fn idle(&self, most: Duration) -> Duration {
        let now = Instant::now();
        let next = self.waiting.iter().map(|(due, _)| due.saturating_duration_since(now));
        // What is due waits for credit or a welcome, which wake by themselves.
        next.filter(|left| !left.is_zero()).min().map_or(most, |left| left.min(most))
    }

    /// What is due, with since when.
    fn due(&mut self, now: Instant) -> Vec<(Instant, Box<Asking>)> {
        self.waiting.extract_if(.., |(due, _)| *due <= now).collect()
    }
}

impl<R: Road> Native<R> {
    /// Takes a request whose leader is asked, if there are several to choose from; else gives it back.
    pub(super) fn pursue(&mut self, tag: u64, request: Request) -> Option<Request> {
        if !self.course.follows() {
            return Some(request);
        }
        self.in_flight += 1;
        self.put(Box::new(Asking { tag, request, tries: 0, unknown: false }), Instant::now());
        None
    }

    /// Asks again what is due, wherever it is to be asked now.
    pub(super) fn pump(&mut self) {
        let now = Instant::now();
        for astray in std::mem::take(&mut self.heard.astray) {
            let answered = self.course.again(astray, now);
            self.heard.replies.extend(answered);
        }
        for (_, asking) in self.course.due(now) {
            self.put(asking, now);
        }
    }

    fn put(&mut self, mut asking: Box<Asking>, now: Instant) {
        let at = self.course.leader(self.course.shard(&asking.request));
        for _ in 0..self.connections.len() {
            let turn = self.turn % self.connections.len();
            if self.connections[turn].at() != at {
                self.pass_on();
                continue;
            }
            asking = match self.connections[turn].pursue(asking) {
                Ok(()) => return,
                Err((asking, NotAsked::TooLarge { .. } | NotAsked::Unknown)) => {
                    return self.heard.replies.push((asking.tag, refused(Refusal::NotFound)));
                }
                Err((asking, NotAsked::Credit | NotAsked::Late | NotAsked::Early)) => asking,
            };
            self.pass_on();
        }
        let there = self.connections.iter().any(|connection| connection.at() == at);
        match there || self.open(at).is_ok() {
            true => self.course.waiting.push((now, asking)),
            // Nothing was asked, so nothing was done.
            false => self.heard.astray.push((asking, at, Astray::Led(0))),
        }
    }

    /// Connects to a place, as often as to the first.
    fn open(&mut self, at: usize) -> Result<(), LinkError> {
        let address = self.course.addresses[at].clone();
        for _ in 0..self.connections_each {
            self.connections.push(Connection::new(self.road.connect(&address)?, at));
        }
        Ok(())
    }

    /// What new connections were granted; those that were granted nothing for long are lost.
    pub(super) fn look(&mut self) {
        let Self { connections, course, heard, .. } = self;
        for connection in connections {
            match connection.granted() {
                Some(Ok(welcome)) => course.learn(connection.at(), &welcome),
                Some(Err(since)) if since > WELCOME_MAX => connection.lose(heard),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::frame::Cluster;
    use onrush_proto::{Command, IdempotencyKey, OrderId, Outcome, SlotMap, StockChange, Text, UpdateStock};

    use super::*;

    fn cluster(own: u64, nodes: &[(u64, &str)]) -> Welcome {
        let node = |(number, address): &(u64, &str)| Node { number: *number, address: (*address).into() };
        let cluster = Cluster::new(own, nodes.iter().map(node).collect()).unwrap();
        Welcome::new(1, SlotMap::new(1).unwrap(), 1 << 20, 5).of(cluster)
    }

    fn asking(key: u128) -> Box<Asking> {
        let change = StockChange::Add(1);
        let update = UpdateStock { sku: "tea".parse().unwrap(), change, reason: Text::EMPTY };
        let request = Request::new(IdempotencyKey(key), Command::UpdateStock(update));
        Box::new(Asking { tag: 7, request, tries: 0, unknown: false })
    }

    #[test]
    fn one_address_learns_of_the_others_and_follows_who_is_named() {
        let mut course = Course::new("here:1");
        assert!(!course.follows());
        course.learn(0, &cluster(2, &[(1, "a:1"), (2, "b:1"), (3, "c:1")]));
        assert_eq!(course.addresses(), ["here:1", "a:1", "c:1"], "the second is here");
        let now = Instant::now();
        assert_eq!(course.again((asking(1), 0, Astray::Led(3)), now), None);
        assert_eq!((course.leader(0), course.due(now).len()), (2, 1), "at once");
        // What was asked before that is late.
        assert_eq!(course.again((asking(1), 0, Astray::Led(1)), now), None);
        assert_eq!(course.leader(0), 2);
        assert_eq!(course.again((asking(1), 2, Astray::Lost), now), None);
        assert_eq!((course.leader(0), course.due(now).len()), (0, 1), "round, after a pause");
        assert!(course.idle(PAUSE_MAX) <= PAUSE);
    }

    #[test]
    fn tries_end_with_what_is_known() {
        for (lost, last) in [(false, Refusal::NotLeader { leader: 0 }), (true, Refusal::Stopped)] {
            let mut course = Course::new("a:1,b:1");
            let (mut next, mut tries) = (Some(asking(1)), 0);
            let answered = loop {
                let astray = if lost && tries == 0 { Astray::Lost } else { Astray::Led(0) };
                let at = course.leader(0);
                match course.again((next.take().unwrap(), at, astray), Instant::now()) {
                    Some((_, reply)) => break reply.outcome,
                    None => next = course.waiting.pop().map(|(_, asking)| asking),
                }
                tries += 1;
            };
            assert_eq!((answered, tries), (Outcome::Refused(last), TRIES * 2));
        }
    }

    /// Without a key a change that was lost may be done twice; a read may be asked again.
    #[test]
    fn what_has_no_key_is_not_asked_again_once_it_may_have_been_done() {
        let mut course = Course::new("a:1,b:1");
        let now = Instant::now();
        assert_eq!(course.again((asking(0), 0, Astray::Led(0)), now), None);
        let answered = course.again((asking(0), 0, Astray::Lost), now).unwrap();
        assert_eq!(answered, (7, refused(Refusal::Stopped)));
        let request = Request::unkeyed(Command::GetOrder(OrderId(1)));
        let read = Box::new(Asking { request, ..*asking(0) });
        assert_eq!(course.again((read, 0, Astray::Lost), now), None);
    }
}
