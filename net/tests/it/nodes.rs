//! Nodes that speak with each other: what arrives, what is refused, what a full queue does.

use onrush_net::peer::PeerOptions;

use crate::node::{Node, cluster, is_connected, options, until};

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
