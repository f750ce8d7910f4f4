//! Between clients and nodes: proxies of ours, which in bad times split what they carry, hold it up, and now and then cut
//! a connection in the middle of it, in either direction.

use std::io;
use std::net::TcpListener as Listener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::ClusterError;
use crate::random::Random;

/// One piece of so many is the last one of its connection, and goes no further than its middle.
const CUTS: u64 = 150;
/// One of so many is split.
const SPLITS: u64 = 8;
/// The longest pause within one that is split.
const PAUSE_MAX_US: u64 = 5_000;
const READ_BYTES: usize = 64 << 10;

/// What becomes of bytes that came together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Passage {
    /// They go on.
    Whole,
    /// So many go on, and the others after a pause.
    Split(usize, Duration),
    /// So many go on, and nothing after them.
    Cut(usize),
}

/// Decides it, by seed.
struct Cutter {
    random: Random,
}

impl Cutter {
    fn passage(&mut self, bytes: usize) -> Passage {
        // A single byte has no middle.
        let Some(inside) = (bytes as u64).checked_sub(1).filter(|inside| *inside > 0) else {
            return Passage::Whole;
        };
        let cut = self.random.below(CUTS) == 0;
        let split = self.random.below(SPLITS) == 0;
        let at = 1 + self.random.below(inside) as usize;
        let pause = Duration::from_micros(self.random.below(PAUSE_MAX_US));
        match (cut, split) {
            (true, _) => Passage::Cut(at),
            (false, true) => Passage::Split(at, pause),
            (false, false) => Passage::Whole,
        }
    }
}

/// What all of them share.
#[derive(Default)]
struct Times {
    bad: AtomicBool,
    cuts: AtomicU64,
}

/// All proxies; they end when this is dropped.
pub(super) struct Proxies {
    times: Arc<Times>,
    _close: oneshot::Sender<()>,
}

/// Where clients find the proxy of the node at a place; its port is that of the node.
pub(super) fn host(place: usize) -> String {
    format!("127.0.1.{}", place + 1)
}

impl Proxies {
    /// In front of each of these: of a node's place, its host, and its ports.
    pub(super) fn begin(nodes: &[(usize, String, [u16; 4])], seed: u64) -> Result<Self, ClusterError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ClusterError::Runtime)?;
        let times = Arc::new(Times::default());
        for (place, target, ports) in nodes {
            for port in ports {
                let listener = listener(&host(*place), *port).map_err(ClusterError::Ports)?;
                let _context = runtime.enter();
                let listener = TcpListener::from_std(listener).map_err(ClusterError::Ports)?;
                let to = format!("{target}:{port}");
                runtime.spawn(serve(listener, to, times.clone(), seed ^ u64::from(*port)));
            }
        }
        let (close, closed) = oneshot::channel::<()>();
        let work = move || {
            // Dropped is as good as sent.
            let _ = runtime.block_on(closed);
        };
        thread::Builder::new().name("loadgen-proxies".into()).spawn(work).map_err(ClusterError::Runtime)?;
        Ok(Self { times, _close: close })
    }

    /// Times are bad from now on, or good again.
    pub(super) fn weather(&self, bad: bool) {
        self.times.bad.store(bad, Ordering::Relaxed);
    }

    /// Connections that were cut up to now.
    pub(super) fn cuts(&self) -> u64 {
        self.times.cuts.load(Ordering::Relaxed)
    }
}

fn listener(host: &str, port: u16) -> io::Result<Listener> {
    let listener = Listener::bind((host, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(listener: TcpListener, to: String, times: Arc<Times>, seed: u64) {
    let mut number = 0;
    loop {
        let Ok((near, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        number += 2;
        let (to, times) = (to.clone(), times.clone());
        tokio::spawn(async move {
            // Where nobody listens, the caller finds its connection closed.
            let Ok(far) = TcpStream::connect(&to).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let (near, far) = (near.into_split(), far.into_split());
            let cutter = |purpose| Cutter { random: Random::new(seed, purpose) };
            // Whichever ends first ends both.
            tokio::select! {
                () = carry(near.0, far.1, &times, cutter(number)) => {}
                () = carry(far.0, near.1, &times, cutter(number + 1)) => {}
            }
        });
    }
}

/// Carries bytes until their end, or a cut.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, times: &Times, mut cutter: Cutter) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..read];
        let passage = if times.bad.load(Ordering::Relaxed) { cutter.passage(read) } else { Passage::Whole };
        let passed = match passage {
            Passage::Whole => to.write_all(bytes).await,
            Passage::Split(at, pause) => {
                let first = to.write_all(&bytes[..at]).await;
                tokio::time::sleep(pause).await;
                match first {
                    Ok(()) => to.write_all(&bytes[at..]).await,
                    Err(error) => Err(error),
                }
            }
            Passage::Cut(at) => {
                times.cuts.fetch_add(1, Ordering::Relaxed);
                // What arrives is a part, if anything.
                let _ = to.write_all(&bytes[..at]).await;
                return;
            }
        };
        if passed.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cutter(seed: u64) -> Cutter {
        Cutter { random: Random::new(seed, 2) }
    }

    #[test]
    fn cuts_and_splits_lie_within_what_came_and_are_the_same_for_a_seed() {
        let (mut one, mut same) = (cutter(7), cutter(7));
        let (mut cuts, mut splits) = (0, 0);
        for bytes in (2..40).cycle().take(30_000) {
            let passage = one.passage(bytes);
            assert_eq!(passage, same.passage(bytes));
            match passage {
                Passage::Whole => {}
                Passage::Split(at, pause) => {
                    assert!((1..bytes).contains(&at) && pause < Duration::from_micros(PAUSE_MAX_US));
                    splits += 1;
                }
                Passage::Cut(at) => {
                    assert!((1..bytes).contains(&at), "{at} of {bytes}");
                    cuts += 1;
                }
            }
        }
        assert!((100..400).contains(&cuts) && (3_000..5_000).contains(&splits), "{cuts} {splits}");
        let passages = |seed| {
            let mut cutter = cutter(seed);
            [0; 200].map(|_: u8| cutter.passage(100))
        };
        assert_ne!(passages(7), passages(8));
    }

    #[test]
    fn a_byte_alone_passes() {
        let mut cutter = cutter(1);
        assert!(
            (0..10_000).all(|_| cutter.passage(1) == Passage::Whole && cutter.passage(0) == Passage::Whole)
        );
    }

    #[test]
    fn bytes_pass_as_they_are_until_times_are_bad_and_then_no_more_than_what_was_sent() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = echo.local_addr().unwrap().port();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = echo.accept().await {
                    tokio::spawn(async move {
                        let (mut from, mut to) = stream.split();
                        let _ = tokio::io::copy(&mut from, &mut to).await;
                    });
                }
            });
            let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let place = front.local_addr().unwrap();
            let times = Arc::new(Times::default());
            tokio::spawn(serve(front, format!("127.0.0.1:{port}"), times.clone(), 7));
            let said: Vec<u8> = (0..=255).collect();
            let mut stream = TcpStream::connect(place).await.unwrap();
            let mut heard = vec![0; said.len()];
            for _ in 0..50 {
                stream.write_all(&said).await.unwrap();
                stream.read_exact(&mut heard).await.unwrap();
                assert_eq!(heard, said);
            }
            times.bad.store(true, Ordering::Relaxed);
            // Each echo comes whole, or its connection ends with a part of it.
            while times.cuts.load(Ordering::Relaxed) < 3 {
                let mut heard = Vec::new();
                let mut stream = TcpStream::connect(place).await.unwrap();
                stream.write_all(&said).await.unwrap();
                let mut buffer = [0; 256];
                while heard.len() < said.len() {
                    match stream.read(&mut buffer).await {
                        Ok(read @ 1..) => heard.extend_from_slice(&buffer[..read]),
                        _ => break,
                    }
                }
                assert_eq!(heard, said[..heard.len()]);
            }
        });
    }
}
