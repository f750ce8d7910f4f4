//! Data directories of nodes: made once, and served as what they were made.

use std::process::Command;

use super::{Nodes, Running, free_address, said};
use crate::binary::{FREE_PORTS, Process, assert_one_line, onrush};

async fn assert_refused(command: Command, code: i32, expected: &str) {
    assert_one_line(&Running::start(command).ends().await, code, expected);
}

#[tokio::test]
async fn a_directory_is_served_as_the_node_that_it_was_formatted_as() {
    let mut nodes = Nodes::formatted(&[1], "1").await;
    let serve = |arguments: &[&str]| {
        let mut command = onrush(&["serve", "--data-dir", &nodes.data(1)]);
        command.args(FREE_PORTS).args(arguments);
        command
    };
    let [one, two] = [1, 2].map(|node| format!("{node}={}", free_address()));
    let both = format!("{one},{two}");
    let another = serve(&["--node", "2", "--peers", &both]);
    assert_refused(another, 1, "node: expected 1, as the data directory was formatted, found 2").await;
    let not_among = serve(&["--peers", &two]);
    assert_refused(not_among, 1, "peers: expected node 1 itself among them, found 2").await;
    let alone = format!("expected {}", nodes.data(1));
    assert_refused(serve(&[]), 1, &alone).await;
    // What was refused has left it as it was.
    nodes.peers.insert(1, free_address());
    nodes.start(1, &[]).await;
    assert_eq!(nodes.leader(1).await, 1);
}

#[tokio::test]
async fn a_directory_that_was_formatted_for_no_cluster_is_no_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let peers = format!("1={}", free_address());
    let [fresh, alone] = ["fresh", "alone"].map(|name| dir.path().join(name));
    let mut process = Process::start_with(&alone, &FREE_PORTS, &[]);
    process.signal("-TERM");
    assert_eq!(process.wait(), 0);
    for data in [&fresh, &alone] {
        let mut command = onrush(&["serve", "--peers", &peers, "--data-dir", data.to_str().unwrap()]);
        command.args(FREE_PORTS);
        let expected = "peers: expected a data directory of a node (`onrush format`), found none";
        assert_refused(command, 1, expected).await;
    }
    assert!(!fresh.exists(), "nothing was made of it");
}

#[tokio::test]
async fn a_directory_is_formatted_once_and_with_a_key() {
    let nodes = Nodes::formatted(&[1], "1").await;
    assert_refused(nodes.format(1), 1, "expected an empty directory to format, found ").await;
    assert_refused(nodes.format(1), 1, &nodes.data(1)).await;
    let format = |arguments: &[&str]| {
        onrush(&[&["format", "--data-dir", &nodes.data(2), "--node", "2"], arguments].concat())
    };
    let keyless = format(&["--founders", "1,2"]);
    assert_refused(keyless, 2, "--cluster: expected a key, or new for a new one, found none").await;
    assert_refused(format(&["--founders", "1,2", "--cluster", "short"]), 2, "expected").await;
    let twice = format(&["--founders", "1,2,2", "--cluster", "new"]);
    assert_refused(twice, 2, "--founders: expected each node once, found 2 twice").await;
    said(format(&["--founders", "1,2", "--cluster", "new"])).await;
}
