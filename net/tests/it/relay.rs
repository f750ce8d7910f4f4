//! An address behind which a node may be, and then another one.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Passes packets on to one node, and its answers back to whoever has sent first. While it leads nowhere, it
/// passes nothing, and nothing later either of calls that began then.
pub(crate) struct Relay {
    address: SocketAddr,
    way: Arc<Mutex<Way>>,
}

#[derive(Default)]
struct Way {
    target: Option<SocketAddr>,
    /// What stands in the packets with which calls began (RFC 9000, 17.2) that went nowhere.
    lost: HashSet<[u8; 8]>,
}

impl Relay {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let relay = Self::nowhere();
        relay.leads_to(target);
        relay
    }

    pub(crate) fn nowhere() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // So that it ends when nobody needs it.
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let way = Arc::<Mutex<Way>>::default();
        let leads_to = Arc::downgrade(&way);
        std::thread::spawn(move || pass(&socket, &leads_to));
        Self { address, way }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn leads_to(&self, target: SocketAddr) {
        self.way.lock().unwrap().target = Some(target);
    }

    /// How many calls went nowhere.
    pub(crate) fn lost(&self) -> usize {
        self.way.lock().unwrap().lost.len()
    }
}

fn pass(socket: &UdpSocket, way: &Weak<Mutex<Way>>) {
    let (mut caller, mut packet) = (None, vec![0; 1 << 16]);
    while let Some(way) = way.upgrade() {
        let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
        let mut way = way.lock().unwrap();
        let number = packet[6..14].try_into().unwrap();
        let to = match way.target {
            Some(target) if from == target => caller,
            // What the node that was there before still says comes from no caller.
            _ if caller.is_some_and(|caller| caller != from) => None,
            Some(target) => (!way.lost.contains(&number)).then_some(target),
            None => {
                way.lost.insert(number);
                None
            }
        };
        if way.target != Some(from) {
            caller = caller.or(Some(from));
        }
        // A packet that is lost is sent again.
        let _ = to.map(|to| socket.send_to(&packet[..length], to));
    }
}
