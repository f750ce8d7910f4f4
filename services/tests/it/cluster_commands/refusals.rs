//! What a command of a cluster does not do: it says why, and nothing is changed.

use std::process::Command;

use serde_json::{Value, json};

use super::{Nodes, Running, cluster, free_address, members, said};
use crate::binary::{FREE_PORTS, Process, assert_one_line};
use crate::wait::until;

const ADMIN: &str = "root@example.com";
const CUSTOMER: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// Each call needs a token.
const ENV: [(&str, &str); 4] = [
    ("ACCESS", "required"),
    ("JWT_SECRET", "a secret that all nodes of this cluster share"),
    ("ADMIN_EMAIL", ADMIN),
    ("ADMIN_PASSWORD", PASSWORD),
];

async fn assert_refused(mut command: Command, token: &str, code: i32, expected: &str) {
    command.env("ONRUSH_TOKEN", token);
    assert_one_line(&Running::start(command).ends().await, code, expected);
}

/// The access token of somebody who has an account.
async fn token(nodes: &Nodes, email: &str) -> String {
    let login = format!("http://{}/login", nodes.processes[&1].address("user"));
    let body = json!({"email": email, "password": PASSWORD});
    // The first admin is made once somebody leads.
    until("a token", async || {
        let answer = reqwest::Client::new().post(&login).json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["access_token"].as_str().map(str::to_owned).ok_or(answer)
    })
    .await
}

#[tokio::test]
async fn who_may_not_and_what_cannot_be_is_refused_by_name() {
    let mut nodes = Nodes::formatted(&[1], "2").await;
    nodes.peers.insert(1, free_address());
    nodes.start(1, &ENV).await;
    let admin = token(&nodes, ADMIN).await;
    let register = format!("http://{}/register", nodes.processes[&1].address("user"));
    let account = json!({"email": CUSTOMER, "password": PASSWORD, "name": "Ada"});
    let registered = reqwest::Client::new().post(register).json(&account).send().await.unwrap();
    assert_eq!(registered.status().as_u16(), 201);
    let customer = token(&nodes, CUSTOMER).await;

    let place = free_address();
    let (four, taken, itself) =
        (format!("4={place}"), format!("1={place}"), format!("1={}", nodes.peers[&1]));
    let commands: [&[&str]; 5] =
        [&["status"], &["transfer", "1"], &["add", &four], &["remove", "1"], &["replace", "1", &four]];
    for command in commands {
        for (token, reason) in
            [("", "UNAUTHENTICATED"), ("a.b.c", "INVALID_TOKEN"), (&*customer, "FORBIDDEN")]
        {
            assert_refused(nodes.asked(1, command), token, 1, &format!("onrush: {reason}: ")).await;
        }
        let unreadable = "ONRUSH_TOKEN: expected an access token";
        assert_refused(nodes.asked(1, command), "two\nlines", 1, unreadable).await;
    }
    let wrong: [(&[&str], i32, &str); 8] = [
        (&["transfer", "9"], 2, "node: expected one of the voters [1], found 9"),
        (&["add", &taken], 2, "found 1, which is connected at 127.0.0.1:"),
        (&["add", "9"], 2, "node: expected one among the peers of the nodes, or 9=HOST:PORT, found 9"),
        (&["remove", "9"], 2, "node: expected one of the nodes [1], found 9"),
        (&["remove", "1"], 1, "INVALID_FIELD: voters: expected nodes that can be a group"),
        (&["replace", "9", &four], 2, "node: expected one of the nodes [1], found 9"),
        (&["replace", "1", &itself], 2, "by: expected another node than the one that goes, found 1"),
        (
            &["replace", "1", "4"],
            2,
            "node: expected one among the peers of the nodes, or 4=HOST:PORT, found 4",
        ),
    ];
    for (command, code, expected) in wrong {
        assert_refused(nodes.asked(1, command), &admin, code, expected).await;
    }

    let ask = |arguments: &[&str]| {
        let mut command = nodes.asked(1, arguments);
        command.env("ONRUSH_TOKEN", &admin);
        command
    };
    let status = said(ask(&["status"])).await;
    assert_eq!(members(&status, "voters").as_deref(), Some("1"), "{status}");
    assert!(!status.contains("learners") && !status.contains("node 4"), "nothing was changed: {status}");
    let votes = "voters of shard 0: 1\nvoters of shard 1: 1\n";
    for there in ["1", &itself] {
        assert_eq!(said(ask(&["add", there])).await, votes);
    }
    assert!(said(ask(&["transfer", "1"])).await.starts_with("node 1 leads in term "));
}

#[tokio::test]
async fn a_shop_that_is_not_there_and_one_that_is_no_cluster_are_named() {
    let nobody = "http://127.0.0.1:1";
    let dir = tempfile::tempdir().unwrap();
    let alone = Process::start_with(dir.path(), &FREE_PORTS, &[]);
    let alone = format!("http://{}", alone.address("product"));
    for command in
        [&["status"][..], &["transfer", "2"], &["add", "2"], &["remove", "2"], &["replace", "2", "3"]]
    {
        let expected = format!("expected a shop at {nobody}, found ");
        let output = Running::start(cluster(nobody, command)).ends().await;
        assert_one_line(&output, 1, &expected);
        assert_one_line(&output, 1, "refused");
        let expected = "NO_CLUSTER: expected a node of a cluster, found an engine of its own";
        assert_refused(cluster(&alone, command), "", 1, expected).await;
    }
    let unreadable = cluster("not a URL", &["status"]);
    assert_refused(unreadable, "", 1, "server: expected a URL, found not a URL").await;
}
