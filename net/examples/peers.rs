//! Two nodes of a cluster on loopback: how long a short message takes there and back, and how much of long
//! ones arrives in a second.
//!
//! `cargo run --release -p onrush-net --example peers`

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use onrush_net::peer::{ClusterKey, PeerOptions, Peers};

const ROUND_TRIPS: usize = 20_000;
const SHORT_BYTES: usize = 64;
const LONG_BYTES: usize = 1 << 20;
const LONG_MESSAGES: u64 = 2_048;

#[allow(clippy::print_stdout, reason = "it is what this is for")]
fn main() -> Result<(), Box<dyn Error>> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let key = ClusterKey::generate()?;
    let (heard, hears) = mpsc::channel();
    let (asked, asks) = mpsc::channel();
    let bytes = Arc::new(AtomicU64::new(0));
    let arriving = Arc::clone(&bytes);
    let first = Peers::start(
        PeerOptions::new(key.clone(), 1, listen),
        Arc::new(move |_, message: &[u8]| {
            // An error means that nobody waits any more.
            let _ = heard.send(message.len());
        }),
    )?;
    let second = Peers::start(
        PeerOptions::new(key, 2, listen),
        Arc::new(move |_, message: &[u8]| match message.len() {
            SHORT_BYTES => drop(asked.send(message.to_vec())),
            length => drop(arriving.fetch_add(length as u64, Ordering::Relaxed)),
        }),
    )?;
    first.set_peers(&[(2, second.local_addr().to_string())].into())?;
    second.set_peers(&[(1, first.local_addr().to_string())].into())?;
    let is_connected = |peers: &Peers| peers.status().peers.values().all(|peer| peer.connected && peer.heard);
    while !is_connected(&first) || !is_connected(&second) {
        thread::sleep(Duration::from_millis(1));
    }
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let answering = &second;
        scope.spawn(move || {
            asks.iter().take(ROUND_TRIPS).for_each(|message| {
                answering.send(1, message);
            });
        });
        let mut times = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let began = Instant::now();
            first.send(2, vec![7; SHORT_BYTES]);
            hears.recv()?;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        for (name, at) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            let index = ((times.len() as f64 * at) as usize).min(times.len() - 1);
            println!("{SHORT_BYTES} B there and back, {name}: {:?}", times[index]);
        }
        Ok(())
    })?;
    let began = Instant::now();
    for _ in 0..LONG_MESSAGES {
        while !first.send(2, vec![7; LONG_BYTES]) {
            thread::sleep(Duration::from_micros(200));
        }
    }
    while bytes.load(Ordering::Relaxed) < LONG_MESSAGES * LONG_BYTES as u64 {
        thread::sleep(Duration::from_micros(200));
    }
    let rate = LONG_MESSAGES as f64 / began.elapsed().as_secs_f64();
    println!("{} messages of 1 MiB: {rate:.0} MiB/s", LONG_MESSAGES);
    Ok(())
}
