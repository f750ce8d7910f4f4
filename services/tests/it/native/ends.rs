//! How connections end.

use onrush_proto::frame::{Kind, begin};

use super::peer::{Peer, create, ordered, sell};
use crate::shop::Shop;

const ORDERS: usize = 500;

fn tags(peer: &mut Peer) -> (Vec<u64>, Vec<Kind>) {
    let (mut tags, mut kinds) = (Vec::new(), Vec::new());
    for said in peer.rest() {
        match said.kind() {
            Kind::Outcomes => tags.extend(said.outcomes().iter().map(|entry| {
                ordered(&entry.answer);
                entry.tag
            })),
            kind => kinds.push(kind),
        }
    }
    tags.sort_unstable();
    (tags, kinds)
}

fn orders(peer: &mut Peer, bytes: &mut Vec<u8>) -> Vec<u64> {
    let orders = vec![(0, create("ada", &[("tea", 1)])); ORDERS];
    let first = peer.put(bytes, &orders, false);
    (first..first + ORDERS as u64).collect()
}

#[tokio::test]
async fn who_says_goodbye_hears_everything_first() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 10_000);
    let mut bytes = Vec::new();
    let asked = orders(&mut peer, &mut bytes);
    begin(&mut bytes, Kind::Goodbye).seal(&mut bytes, 0, 0);
    let taken = bytes.len();
    // Nothing behind a goodbye is taken.
    orders(&mut peer, &mut bytes);
    assert!(bytes.len() > taken);
    peer.write(&bytes);
    assert_eq!(tags(&mut peer), (asked, vec![]));
    assert_eq!(shop.client.audit(Default::default()).await.unwrap().orders, ORDERS as u64);
}

#[tokio::test]
async fn who_closes_its_half_hears_everything_too() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 10_000);
    let mut bytes = Vec::new();
    let asked = orders(&mut peer, &mut bytes);
    peer.write(&bytes);
    peer.close();
    assert_eq!(tags(&mut peer), (asked, vec![]));
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_answers_what_it_took() {
    let shop = Shop::open();
    let (mut busy, mut idle) = (Peer::open(shop.native(), ""), Peer::open(shop.native(), ""));
    sell(&mut busy, "tea", 1, 10_000);
    let mut bytes = Vec::new();
    let asked = orders(&mut busy, &mut bytes);
    busy.write(&bytes);
    // The first answers say that all of the frame was taken.
    let mut heard: Vec<u64> = busy.read().outcomes().iter().map(|entry| entry.tag).collect();
    let address = shop.native();
    let (clients, stopped) =
        (std::thread::spawn(move || (tags(&mut busy), tags(&mut idle))), shop.stop().await);
    let ((rest, busy), idle) = clients.join().unwrap();
    heard.extend(rest);
    heard.sort_unstable();
    assert_eq!((heard, busy), (asked, vec![Kind::Leaving]));
    assert_eq!(idle, (vec![], vec![Kind::Leaving]));
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    drop(stopped);
}

/// The files below a directory that this process holds open.
#[cfg(target_os = "linux")]
fn held(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    open.filter(|path| path.starts_with(dir)).collect()
}

/// Tasks of a front once outlived it, with the engine in their hands: a directory that was removed kept its place on
/// the disk until the process ended.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_shop_that_has_stopped_holds_no_file() {
    let shop = Shop::open();
    let mut peer = Peer::open(shop.native(), "");
    sell(&mut peer, "tea", 1, 10_000);
    let silent = std::net::TcpStream::connect(shop.native()).unwrap();
    let dir = shop.stop().await;
    assert!(held(dir.path()).is_empty(), "{:?}", held(dir.path()));
    drop((peer, silent));
}

/// Who was let in while the front stopped, and had not yet been listened to, was once given all the time of a Hello, which
/// was as long as the front waited for its tasks: with bad luck one was left behind.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn who_comes_while_a_shop_stops_holds_nothing_up() {
    let shop = Shop::open();
    let address = shop.native();
    let coming = std::thread::spawn(move || {
        let mut came = Vec::new();
        while let Ok(silent) = std::net::TcpStream::connect(address) {
            came.insert(0, silent);
            // As many as may be told that there are too many.
            came.truncate(64);
        }
        came
    });
    let dir = shop.stop().await;
    assert!(held(dir.path()).is_empty(), "{:?}", held(dir.path()));
    drop(coming.join().unwrap());
}
