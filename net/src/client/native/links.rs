//! The connections of a client: one to each node that is asked, or one for each shard to the node that leads it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use onrush_proto::frame::Welcome;

use super::link::{Link, Server};

/// Links by what they are for and where they lead.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) server: Server,
    /// What was granted when somebody was first reached.
    pub(super) granted: Arc<OnceLock<Welcome>>,
    queue_max: usize,
    per_shard: bool,
    open: Mutex<HashMap<(u16, Arc<str>), Link>>,
}

impl Links {
    pub(super) fn new(server: Server, queue_max: usize, per_shard: bool) -> Self {
        Self { server, granted: Arc::default(), queue_max, per_shard, open: Mutex::default() }
    }

    /// The link for a shard to an address, which connects when it is first asked. Must be called within a tokio runtime.
    pub(super) fn to(&self, shard: u16, address: Arc<str>) -> Link {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = if self.per_shard { shard } else { 0 };
        let link = (own, address);
        if let Some(link) = open.get(&link) {
            return link.clone();
        }
        // A shard of its own connection follows its leader with it; what is still open on the one before is answered.
        let known = |address: &str| self.server.whereabouts.knows(address);
        open.retain(|(shard, address), _| (*shard != own || !self.per_shard) && known(address));
        let (server, granted) = (self.server.clone(), Arc::clone(&self.granted));
        let started = Link::start(server, Arc::clone(&link.1), self.queue_max, granted);
        open.insert(link, started.clone());
        started
    }

    /// Whoever asks there next connects, and is welcomed, anew. What is open on this link is answered.
    pub(super) fn forget(&self, shard: u16, address: Arc<str>, link: &Link) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = if self.per_shard { shard } else { 0 };
        let place = (own, address);
        // Of many that are refused over one link, the first has it forgotten; the next one's link is another.
        if open.get(&place).is_some_and(|known| known.is_same(link)) {
            open.remove(&place);
        }
    }
}
