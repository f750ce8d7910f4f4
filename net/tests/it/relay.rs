//! An address behind which a node may be, and then another one.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Passes packets on to one node, and its answers back to whoever has sent last.
pub(crate) struct Relay {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Relay {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // So that it ends when nobody needs it.
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let target = Arc::new(Mutex::new(target));
        let leads_to = Arc::downgrade(&target);
        std::thread::spawn(move || pass(&socket, &leads_to));
        Self { address, target }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn leads_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }
}

fn pass(socket: &UdpSocket, target: &Weak<Mutex<SocketAddr>>) {
    let (mut caller, mut packet) = (None, vec![0; 1 << 16]);
    while let Some(target) = target.upgrade() {
        let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
        let target = *target.lock().unwrap();
        let to = if from == target { caller } else { Some(target) };
        if from != target {
            // What the node that was there before still says comes from no caller.
            caller = caller.or(Some(from));
            if caller != Some(from) {
                continue;
            }
        }
        // A packet that is lost is sent again.
        let _ = to.map(|to| socket.send_to(&packet[..length], to));
    }
}
