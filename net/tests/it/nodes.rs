//! Nodes that speak with each other: what arrives, what is refused, what a full queue does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush_net::peer::{PeerOptions, Peers, SILENCE_MAX};

use crate::node::{Node, cluster, is_connected, options, until, until_async};
use crate::relay::Relay;
use crate::stranger::{Said, Stranger};

/// A message that says how it was sent.
fn message(number: u32, bytes: usize) -> Vec<u8> {
    let mut message = number.to_le_bytes().to_vec();
    message.resize(bytes.max(4), number as u8);
    message
}

#[test]
fn three_nodes_deliver_in_order_to_each_other() {
    let nodes = cluster((1..=3).map(options));
    // Short ones together, longer than a batch, and none at all.
    let lengths = [4, 100, 20_000, 5, 2 << 20, 16 << 10, 6];
    let count = 200;
    for number in 0..count {
        for from in 1..=3 {
            for to in (1..=3).filter(|to| *to != from) {
                // One at a time of the long ones, that none is dropped.
                let length = lengths[number as usize % lengths.len()];
                let node = &nodes[from - 1].peers;
                until("there is room", || node.send(to as u64, message(number, length)));
            }
        }
    }
    for to in 1..=3u64 {
        for from in (1..=3).filter(|from| *from != to) {
            let node = &nodes[to as usize - 1];
            until("all have arrived", || node.status(from).received.messages == u64::from(count));
            let heard = node.heard(from);
            for (number, found) in (0..count).zip(&heard) {
                let expected = message(number, lengths[number as usize % lengths.len()]);
                assert!(*found == expected, "message {number} of {from} to {to}");
            }
            let bytes: usize = heard.iter().map(Vec::len).sum();
            assert_eq!(node.status(from).received.bytes, bytes as u64);
            assert_eq!(nodes[from as usize - 1].status(to).sent, node.status(from).received);
            assert_eq!(node.peers.advertised(from).unwrap(), format!("shop of {from}"));
        }
    }
}

#[test]
fn an_empty_message_arrives_and_one_to_nobody_is_counted() {
    let nodes = cluster((1..=2).map(options));
    assert!(nodes[0].peers.send(2, Vec::new()));
    until("it has arrived", || nodes[1].heard(1) == [Vec::<u8>::new()]);
    for nobody in [0, 1, 3] {
        assert!(!nodes[0].peers.send(nobody, vec![1]), "{nobody}");
    }
    assert_eq!(nodes[0].peers.status().unaddressed, 3);
    assert_eq!(nodes[0].peers.advertised(3), None);
}

#[test]
fn a_node_that_was_started_again_on_its_port_is_reached_again() {
    let mut nodes = cluster((1..=2).map(options));
    let restarted = nodes.pop().unwrap();
    let (listen, first) = (restarted.peers.local_addr(), &nodes[0]);
    restarted.peers.close();
    assert!(!restarted.peers.send(1, vec![1]), "nothing is sent any more");
    assert!(restarted.peers.set_peers(&[(1, first.address())].into()).is_err());
    until("it is missed", || !first.status(2).connected && !first.status(2).heard);
    let peers = [(1, first.address())].into();
    let second = PeerOptions { listen, peers, advertised: "elsewhere".into(), ..options(2) };
    let second = Node::start(second);
    until("they are connected", || is_connected(first) && is_connected(&second));
    assert_eq!(first.peers.advertised(2).unwrap(), "elsewhere");
    assert!(first.peers.send(2, vec![2]) && second.peers.send(1, vec![3]));
    until("both have arrived", || second.heard(1) == [[2]] && first.heard(2) == [[3]]);
    assert_eq!(first.heard_of_all(), 1);
}

/// A peer that takes messages and reads none: they wait, and then there is no room.
#[tokio::test]
async fn a_full_queue_drops_and_counts_and_what_was_taken_arrives() {
    let reader = Stranger::new();
    let bounds = PeerOptions { queue_bytes_max: 4 << 20, message_bytes_max: 1 << 20, ..options(1) };
    let node = Node::start(PeerOptions { peers: [(2, reader.address())].into(), ..bounds });
    let mut called = reader.called().await;
    called.answer(&Said::by(2, 1)).await;
    until_async("it is connected", || node.status(2).connected).await;
    assert!(!node.peers.send(2, message(0, (1 << 20) + 1)), "longer than a message may be");
    let (mut taken, mut dropped) = (0u32, 1);
    // What is under way has a bound, and what waits has one.
    while dropped < 10 {
        match node.peers.send(2, message(taken, 1 << 20)) {
            true => taken += 1,
            false => {
                dropped += 1;
                // Room is made until nothing moves any more.
                until_async("nothing moves", || node.status(2).waiting_bytes >= 3 << 20).await;
            }
        }
    }
    assert_eq!(node.status(2).dropped.messages, dropped);
    assert!(node.status(2).waiting_bytes <= 4 << 20);
    let mut stream = called.connection.accept_uni().await.unwrap();
    let mut bytes = vec![0; 4 + (1 << 20)];
    for number in 0..taken {
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes[..8], [(1u32 << 20).to_le_bytes(), number.to_le_bytes()].concat());
    }
    until_async("all have left", || node.status(2).sent.messages == u64::from(taken)).await;
    assert_eq!(node.status(2).waiting_bytes, 0);
}

#[test]
fn what_waits_for_a_node_that_is_not_there_is_dropped_in_the_end() {
    // Somebody has the port, and says nothing.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let peers = [(2, silent.local_addr().unwrap().to_string())].into();
    let bounds = PeerOptions { queue_bytes_max: 1 << 10, message_bytes_max: 1 << 10, ..options(1) };
    let bounds = PeerOptions { silence_max: SILENCE_MAX, ..bounds };
    let node = Node::start(PeerOptions { peers, ..bounds });
    let mut sent = 1;
    while node.peers.send(2, vec![1; 100]) {
        sent += 1;
    }
    until("all are dropped", || node.status(2).dropped.messages == sent);
    until("it is told why", || node.status(2).failure.is_some());
    assert!(!node.status(2).connected);
}

/// Its name has several addresses, or one that this socket cannot call, or none.
#[test]
fn a_node_is_called_by_its_name_and_is_followed_when_it_moves() {
    let (first, second) = (Node::start(options(1)), Node::start(options(2)));
    first.knows([(2, "no such host:1".to_owned())]);
    second.knows([(1, first.address())]);
    until("it is told", || {
        first.status(2).failure.is_some_and(|failure| failure.starts_with("no such host:1: "))
    });
    let port = second.peers.local_addr().port();
    first.knows([(2, format!("localhost:{port}"))]);
    until("they are connected", || is_connected(&first) && is_connected(&second));
    let moved = Node::start(options(2));
    moved.knows([(1, first.address())]);
    first.knows([(2, moved.address())]);
    until("it is called elsewhere", || first.peers.send(2, vec![1]) && !moved.heard(1).is_empty());
}

#[test]
fn a_node_that_is_dropped_leaves_at_once_and_frees_its_port() {
    let mut nodes = cluster((1..=2).map(options));
    let second = nodes.pop().unwrap();
    let address = second.peers.local_addr();
    drop(second);
    drop(std::net::UdpSocket::bind(address).unwrap());
    until("it is missed", || !nodes[0].status(2).connected && !nodes[0].status(2).heard);
    assert_eq!(nodes[0].status(2).refused, None, "to leave is no refusal");
}

/// It was killed and is back at the same address: no message said goodbye, and silence would take a minute to
/// tell.
#[test]
fn a_node_that_forgot_its_connections_says_so_when_it_is_spoken_to() {
    let first = Node::start(options(1));
    let killed = Node::start(PeerOptions { peers: [(1, first.address())].into(), ..options(2) });
    let relay = Relay::to(killed.peers.local_addr());
    first.knows([(2, relay.address())]);
    until("they are connected", || is_connected(&first) && is_connected(&killed));
    let back = Node::start(options(2));
    back.knows([(1, first.address())]);
    relay.leads_to(back.peers.local_addr());
    until("it is reached again", || {
        first.peers.send(2, vec![1]);
        !back.heard(1).is_empty()
    });
}

/// Whoever takes messages fails at one: the connection ends, and is made again.
#[test]
fn a_panic_where_messages_are_taken_ends_the_connection_alone() {
    let first = Node::start(options(1));
    let taken = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let taking = Arc::clone(&taken);
    let incoming = move |_, message: &[u8]| {
        assert!(message != [13], "this one is not taken");
        taking.lock().unwrap().push(message.to_vec());
    };
    let peers = [(1, first.address())].into();
    let second = Peers::start(PeerOptions { peers, ..options(2) }, Arc::new(incoming)).unwrap();
    first.knows([(2, second.local_addr().to_string())]);
    until("it is connected", || first.status(2).connected);
    assert!(first.peers.send(2, vec![13]));
    // It may be made again before anybody has missed it; what was sent on the one that ended is lost.
    until("what comes behind it arrives", || {
        first.peers.send(2, vec![14]);
        taken.lock().unwrap().contains(&vec![14])
    });
    until("so does what is sent back", || {
        second.send(1, vec![15]);
        first.heard(2).contains(&vec![15])
    });
    assert!(!taken.lock().unwrap().contains(&vec![13]));
}

/// The first call has gone nowhere, and would be given up long after this test was.
#[test]
fn a_node_that_calls_is_called_again_at_once() {
    let relay = Relay::nowhere();
    let patient = PeerOptions { silence_max: Duration::from_secs(600), ..options(1) };
    let first = Node::start(PeerOptions { peers: [(2, relay.address())].into(), ..patient });
    until("it has called", || relay.lost() > 0);
    let second = Node::start(options(2));
    relay.leads_to(second.peers.local_addr());
    second.knows([(1, first.address())]);
    until("both are connected", || is_connected(&first) && is_connected(&second));
}
