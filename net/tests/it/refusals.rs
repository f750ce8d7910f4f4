//! Who is refused between nodes: by name, on both sides, and nothing of it is handed over.

use std::net::UdpSocket;

use onrush_net::peer::{PEER_VERSION, PeerOptions, PeerRefusal, PeerRefused, RefusedBy, Stranger as Refused};

use crate::node::{Node, is_connected, key, options, until, until_async};
use crate::stranger::{Said, Stranger, end, greet, say};

fn by_us(refusal: PeerRefusal) -> Option<PeerRefused> {
    Some(PeerRefused { by: RefusedBy::Us, refusal })
}

fn by_them(refusal: PeerRefusal) -> Option<PeerRefused> {
    Some(PeerRefused { by: RefusedBy::Them, refusal })
}

/// The last stranger that a node has refused.
fn stranger(node: &Node) -> Option<(Option<u64>, PeerRefusal)> {
    node.peers.status().stranger.map(|Refused { node, refusal, .. }| (node, refusal))
}

/// Node 1, which has node 2 for a peer.
fn first(address_of_second: String) -> Node {
    Node::start(PeerOptions { peers: [(2, address_of_second)].into(), ..options(1) })
}

#[test]
fn another_cluster_is_refused() {
    let ours = Node::start(options(1));
    let peers = [(1, ours.address())].into();
    let theirs = Node::start(PeerOptions { key: key(8), peers, ..options(2) });
    ours.knows([(2, theirs.address())]);
    let (here, there) = (key(7).id(), key(8).id());
    let refusal = |expected, found| PeerRefusal::Cluster { expected, found };
    until("both have refused", || {
        stranger(&ours) == Some((Some(2), refusal(here, there)))
            && stranger(&theirs) == Some((Some(1), refusal(there, here)))
    });
    until("both have heard why", || {
        ours.status(2).refused == by_them(refusal(there, here))
            && theirs.status(1).refused == by_them(refusal(here, there))
    });
    // It waits until it is dropped.
    ours.peers.send(2, vec![1]);
    theirs.peers.send(1, vec![1]);
    until("both are dropped", || ours.status(2).dropped.messages + theirs.status(1).dropped.messages == 2);
    assert_eq!((ours.heard_of_all(), theirs.heard_of_all()), (0, 0));
    assert!(!is_connected(&ours) && !is_connected(&theirs));
}

#[test]
fn a_node_with_the_number_of_another_one_is_refused() {
    let first = Node::start(options(1));
    let second = Node::start(PeerOptions { peers: [(2, first.address())].into(), ..options(1) });
    let refusal = PeerRefusal::DuplicateNode { node: 1 };
    until("it has refused", || stranger(&first) == Some((Some(1), refusal.clone())));
    until("the other has heard why", || second.status(2).refused == by_them(refusal.clone()));
}

/// The directory of a node was copied, and is served elsewhere: whoever answers at the node's address is the node. The other one
/// used to replace it, was replaced by it, and so on for ever, each of them heard.
#[test]
fn a_process_with_the_number_of_one_that_answers_at_its_address_is_refused() {
    let first = Node::start(options(1));
    let second = Node::start(PeerOptions { peers: [(1, first.address())].into(), ..options(2) });
    first.knows([(2, second.address())]);
    until("they speak", || is_connected(&first) && is_connected(&second));
    let copy = Node::start(PeerOptions { peers: [(1, first.address())].into(), ..options(2) });
    let refusal = PeerRefusal::DuplicateNode { node: 2 };
    until("it has heard why", || copy.status(1).refused == by_them(refusal.clone()));
    until("it comes again and is refused", || stranger(&first) == Some((Some(2), refusal.clone())));
    // What it says after that is not heard, and the node is.
    copy.peers.send(1, vec![9]);
    until("the node is heard, and hears", || {
        second.peers.send(1, vec![1]);
        first.peers.send(2, vec![2]);
        first.heard(2).contains(&vec![1]) && second.heard(1).contains(&vec![2])
    });
    let strangers = first.peers.status().strangers;
    until("it is refused again", || first.peers.status().strangers > strangers);
    assert!(!first.heard(2).contains(&vec![9]), "{:?}", first.heard(2));
    assert!(copy.heard_of_all() == 0 && !is_connected(&copy));
}

/// A node that was started again at its address is no double of itself, however fast it comes back.
#[test]
fn a_node_that_is_started_again_is_heard() {
    let first = Node::start(options(1));
    let second = Node::start(PeerOptions { peers: [(1, first.address())].into(), ..options(2) });
    first.knows([(2, second.address())]);
    until("they speak", || is_connected(&first) && is_connected(&second));
    let listen = second.peers.local_addr();
    let mut process = second;
    for round in 1..=3 {
        drop(process);
        let peers = [(1, first.address())].into();
        process = Node::start(PeerOptions { peers, listen, ..options(2) });
        until("it is heard, and hears", || {
            process.peers.send(1, vec![round]);
            first.peers.send(2, vec![round]);
            first.heard(2).contains(&vec![round]) && process.heard(1).contains(&vec![round])
        });
        assert_eq!(stranger(&first), None);
    }
}

#[test]
fn a_node_that_is_no_member_is_refused() {
    let first = Node::start(options(1));
    let third = Node::start(PeerOptions { peers: [(1, first.address())].into(), ..options(3) });
    let refusal = PeerRefusal::UnknownNode { node: 3 };
    until("it has refused", || stranger(&first) == Some((Some(3), refusal.clone())));
    until("the other has heard why", || third.status(1).refused == by_them(refusal.clone()));
    first.knows([(3, third.address())]);
    until("it is a member now", || is_connected(&first) && is_connected(&third));
    third.peers.send(1, vec![1]);
    until("it is heard", || first.heard(3) == [[1]]);
    let strangers = first.peers.status().strangers;
    first.knows([]);
    until("it has heard that it is none any more", || {
        let status = third.status(1);
        !status.connected && !status.heard && status.refused == by_them(refusal.clone())
    });
    until("it comes again and is refused", || first.peers.status().strangers > strangers);
    assert_eq!(stranger(&first), Some((Some(3), refusal)));
    assert!(!first.peers.send(3, vec![2]));
    assert_eq!((first.heard_of_all(), third.heard_of_all()), (1, 0));
}

#[test]
fn a_greeting_that_is_meant_for_another_node_is_refused() {
    let first = Node::start(options(1));
    let peers = [(1, first.address()), (3, first.address())].into();
    let second = Node::start(PeerOptions { peers, ..options(2) });
    first.knows([(2, second.address())]);
    let refusal = PeerRefusal::Addressee { expected: 1, found: 3 };
    until("it has refused", || first.status(2).refused == by_us(refusal.clone()));
    until("the other has heard why", || second.status(3).refused == by_them(refusal.clone()));
}

#[tokio::test]
async fn whoever_does_not_know_the_key_is_refused() {
    let stranger_2 = Stranger::new();
    let first = first(stranger_2.address());
    let forged = Said { key: key(8), ..Said::by(2, 1) };
    let connection = stranger_2.call(first.peers.local_addr()).await.unwrap();
    assert_eq!(greet(&connection, &forged).await, None, "nothing is said to strangers");
    assert_eq!(end(&connection).await, (3, Vec::new()));
    until_async("it is told", || stranger(&first) == Some((Some(2), PeerRefusal::Proof))).await;
    // The same where it is called.
    let mut called = stranger_2.called().await;
    called.answer(&forged).await;
    assert_eq!(end(&called.connection).await, (3, Vec::new()));
    until_async("it is told", || first.status(2).refused == by_us(PeerRefusal::Proof)).await;
    assert_eq!(first.peers.advertised(2), None);
    assert!(!first.status(2).connected && !first.status(2).heard);
}

/// Somebody who stands between two nodes and ends the TLS of both has no use of what they say.
#[tokio::test]
async fn greetings_are_worth_nothing_on_another_connection() {
    let between = Stranger::new();
    let second = Node::start(PeerOptions { peers: [(1, between.address())].into(), ..options(2) });
    let first = first(between.address());
    let mut greetings = Vec::new();
    while greetings.is_empty() {
        let called = between.called().await;
        // That of node 2 is for node 1.
        if called.greeting[32] == 2 {
            greetings.push(called);
        }
    }
    let called = &mut greetings[0];
    let connection = between.call(first.peers.local_addr()).await.unwrap();
    assert_eq!(say(&connection, &called.greeting).await, None);
    assert_eq!(end(&connection).await, (3, Vec::new()));
    // What a node says to one that it calls is no answer to one that calls it.
    let own = called.greeting.clone();
    called.sink.write_all(&own).await.unwrap();
    assert_eq!(end(&called.connection).await, (3, Vec::new()));
    until_async("it is told", || second.status(1).refused == by_us(PeerRefusal::Proof)).await;
    assert!(!first.status(2).heard && !second.status(1).connected);
}

#[tokio::test]
async fn what_is_no_greeting_of_this_version_is_refused() {
    let stranger_2 = Stranger::new();
    let first = first(stranger_2.address());
    let found = PEER_VERSION + 1;
    let version = PeerRefusal::Version { expected: PEER_VERSION.into(), found: found.into() };
    let long = PeerRefusal::Advertised { most: 1_024, found: 1_025 };
    let sound = Said::by(2, 1);
    let cases = [
        (Said { version: found, ..sound.clone() }, version.clone()),
        (Said { magic: *b"GET / HT", ..sound.clone() }, PeerRefusal::Garbage),
        (Said { length: Some(1_025), ..sound.clone() }, long.clone()),
        // The stream ends before the greeting does.
        (Said { length: Some(1_024), ..sound.clone() }, PeerRefusal::Garbage),
        (Said { advertised: b"\xff".to_vec(), ..sound.clone() }, PeerRefusal::Garbage),
    ];
    for (said, refusal) in &cases {
        let connection = stranger_2.call(first.peers.local_addr()).await.unwrap();
        assert_eq!(greet(&connection, said).await, None);
        assert_eq!(end(&connection).await.0, refusal.code(), "{refusal}");
        until_async("it is told", || stranger(&first).is_some_and(|(_, told)| told == *refusal)).await;
    }
    for bytes in [&b""[..], b"O", b"GET / HTTP/1.1\r\n\r\n", &[0; 2_000]] {
        let connection = stranger_2.call(first.peers.local_addr()).await.unwrap();
        assert_eq!(say(&connection, bytes).await, None);
        assert_eq!(end(&connection).await, (10, Vec::new()));
    }
    for (said, refusal) in cases {
        let mut called = stranger_2.called().await;
        called.answer(&said).await;
        called.sink.finish().unwrap();
        assert_eq!(end(&called.connection).await.0, refusal.code(), "{refusal}");
        until_async("it is told", || first.status(2).refused == by_us(refusal.clone())).await;
    }
    assert_eq!(first.peers.status().strangers, 9);
    assert_eq!(first.heard_of_all(), 0);
}

#[tokio::test]
async fn an_answer_of_another_node_than_was_called_is_refused() {
    let stranger_3 = Stranger::new();
    let first = first(stranger_3.address());
    for (said, refusal) in [
        (Said::by(3, 1), PeerRefusal::Addressee { expected: 2, found: 3 }),
        (Said::by(2, 9), PeerRefusal::Addressee { expected: 1, found: 9 }),
        (
            Said { cluster: [1; 16], ..Said::by(2, 1) },
            PeerRefusal::Cluster { expected: key(7).id(), found: onrush_net::peer::ClusterId([1; 16]) },
        ),
    ] {
        let mut called = stranger_3.called().await;
        called.answer(&said).await;
        assert_eq!(end(&called.connection).await.0, refusal.code());
        until_async("it is told", || first.status(2).refused == by_us(refusal.clone())).await;
    }
    assert!(!first.status(2).connected);
}

#[tokio::test]
async fn a_length_that_lies_ends_the_connection() {
    let stranger_2 = Stranger::new();
    let first = first(stranger_2.address());
    let connection = stranger_2.call(first.peers.local_addr()).await.unwrap();
    assert!(greet(&connection, &Said::by(2, 1)).await.is_some());
    until_async("it is heard", || first.status(2).heard).await;
    assert_eq!(first.peers.advertised(2).unwrap(), "here");
    let mut stream = connection.open_uni().await.unwrap();
    stream
        .write_all(&[&2u32.to_le_bytes()[..], b"ok", &u32::MAX.to_le_bytes(), b"more"].concat())
        .await
        .unwrap();
    let refusal = PeerRefusal::MessageBytes { most: 9 << 20, found: u32::MAX.into() };
    let reason = [(9u64 << 20).to_le_bytes(), u64::from(u32::MAX).to_le_bytes()].concat();
    assert_eq!(end(&connection).await, (8, reason));
    until_async("it is told", || first.status(2).refused == by_us(refusal.clone())).await;
    until_async("it is gone", || !first.status(2).heard).await;
    assert_eq!(first.heard(2), [b"ok"]);
    assert_eq!(first.heard_of_all(), 1);
}

#[tokio::test]
async fn a_stream_that_ends_is_garbage_and_before_the_greeting_there_is_none() {
    let stranger_2 = Stranger::new();
    let first = first(stranger_2.address());
    let connection = stranger_2.call(first.peers.local_addr()).await.unwrap();
    // It opens only once the greeting is proven.
    let opened = tokio::spawn({
        let connection = connection.clone();
        async move { connection.open_uni().await }
    });
    assert!(greet(&connection, &Said::by(2, 1)).await.is_some());
    let mut stream = opened.await.unwrap().unwrap();
    stream.write_all(&[9, 0, 0, 0, 1]).await.unwrap();
    stream.finish().unwrap();
    assert_eq!(end(&connection).await, (10, Vec::new()));
    until_async("it is told", || first.status(2).refused == by_us(PeerRefusal::Garbage)).await;
    let unproven = stranger_2.call(first.peers.local_addr()).await.unwrap();
    assert_eq!(greet(&unproven, &Said { key: key(8), ..Said::by(2, 1) }).await, None);
    assert!(unproven.open_uni().await.is_err());
    assert_eq!(first.heard_of_all(), 0);
}

#[tokio::test]
async fn a_newer_process_with_the_same_number_replaces_the_older() {
    let stranger_2 = Stranger::new();
    let first = first(stranger_2.address());
    let older = stranger_2.call(first.peers.local_addr()).await.unwrap();
    assert!(greet(&older, &Said::by(2, 1)).await.is_some());
    // The same process, which has found its connection broken.
    let again = stranger_2.call(first.peers.local_addr()).await.unwrap();
    assert!(greet(&again, &Said::by(2, 1)).await.is_some());
    assert_eq!(end(&older).await.0, 0);
    assert_eq!(first.status(2).refused, None);
    let newer = stranger_2.call(first.peers.local_addr()).await.unwrap();
    assert!(greet(&newer, &Said { instance: [9; 16], ..Said::by(2, 1) }).await.is_some());
    assert_eq!(end(&again).await, (7, 2u64.to_le_bytes().to_vec()));
    until_async("it is told", || first.status(2).refused == by_us(PeerRefusal::Replaced { node: 2 })).await;
    let mut stream = newer.open_uni().await.unwrap();
    stream.write_all(&[1, 0, 0, 0, 5]).await.unwrap();
    until_async("the newer is heard", || first.heard(2) == [[5]]).await;
    assert!(first.status(2).heard);
}

#[tokio::test]
async fn whoever_says_nothing_is_refused_and_so_is_another_protocol() {
    let stranger_2 = Stranger::new();
    let first = Node::start(options(1));
    let silent = stranger_2.call(first.peers.local_addr()).await.unwrap();
    let client = Stranger::speaking(b"onrush/1");
    assert!(client.call(first.peers.local_addr()).await.is_err());
    let is_tls = |(_, refusal)| matches!(refusal, PeerRefusal::Tls { .. });
    until_async("it is told", || stranger(&first).is_some_and(is_tls)).await;
    assert_eq!(end(&silent).await, (11, Vec::new()));
    until_async("it is told", || stranger(&first) == Some((None, PeerRefusal::Late))).await;
}

#[test]
fn packets_that_are_none_of_quic_harm_nobody() {
    let nodes = crate::node::cluster((1..=2).map(options));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in 0..1_200_usize {
        let packet: Vec<u8> = (0..length).map(|at| (at * length) as u8).collect();
        socket.send_to(&packet, nodes[0].peers.local_addr()).unwrap();
    }
    assert!(nodes[1].peers.send(1, vec![1]));
    until("it has arrived", || nodes[0].heard(2) == [[1]]);
}
