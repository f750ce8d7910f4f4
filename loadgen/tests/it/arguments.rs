//! Wrong arguments and wrong input end with code 2 and a message that says what to change.

use std::fs;

use crate::{loadgen, stderr, stdout, text};

#[test]
fn wrong_arguments_exit_with_2_and_name_what_was_expected() {
    for (args, expected) in [
        (vec!["flash-sail"], "flash-sale"),
        (vec!["flash-sale", "--shards", "300"], "1..=256"),
        (vec!["flash-sale", "--duration", "0"], "from 0.1 to 86400"),
        (vec!["flash-sale", "--store", "floppy"], "fjall, memory"),
        (vec!["flash-sale", "--target", "ftp://x"], "expected embedded, grpc, grpc-stream, tcp"),
        (vec!["replay"], "loadgen/README.md"),
        (vec!["replay", "--group", "5"], "expected another scenario than replay"),
        (vec!["payments", "--group", "5"], "expected another scenario than payments"),
        (vec!["neighbours", "--shards", "1"], "expected --shards of 2 to 256, found 1"),
        (vec!["payments", "--target", "tcp://127.0.0.1:1"], "found tcp://127.0.0.1:1"),
        (vec!["payments", "--gateway-p50", "9", "--gateway-p99", "8"], "at least the 9 ms"),
        (vec!["overload", "--times", "1"], "a factor from 1.1 to 100"),
        (vec!["overload", "--usual", "0"], "a share from 0.01 to 1"),
        (vec!["webhooks", "--target", "tcp"], "expected --target grpc, found tcp"),
        (vec!["crash", "--target", "embedded"], "expected --target tcp or grpc, found embedded"),
        (vec!["crash", "--store", "memory"], "expected --store fjall"),
        (vec!["crash", "--onrush", "/nowhere/onrush"], "/nowhere/onrush"),
        (vec!["compare", "bots", "--targets", "tcp"], "expected two or more, found 1"),
        (vec!["compare", "bots", "--target", "tcp"], "expected no --target, found tcp"),
        (vec!["compare", "bots", "--targets", "tcp,mars"], "found mars"),
        (vec!["compare"], "Usage"),
        (vec!["cluster", "--target", "quic"], "native, grpc, both"),
        (vec!["cluster", "--replaces", "7", "--damages", "7"], "at most 13 together, found 14"),
        (vec!["flash-sale", "--json", "/nowhere/at/all.json"], "/nowhere/at/all.json"),
    ] {
        let output = loadgen(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn help_tells_scenarios_and_exit_codes() {
    let output = loadgen(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for expected in
        ["flash-sale", "catalogue", "replay", "retries", "expiry", "browse", "Exit codes", "No real money"]
            .into_iter()
            .chain(["bots", "overload", "neighbours", "payments", "refunds", "webhooks", "crash", "compare"])
    {
        assert!(stdout(&output).contains(expected), "{expected}");
    }
}

#[test]
fn a_malformed_csv_is_named_by_file_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let (products, transactions) = (dir.path().join("products.csv"), dir.path().join("transactions.csv"));
    fs::write(&products, "id,price_cents\n1,50\n").unwrap();
    fs::write(&transactions, "basket,user,product,qty,ts\n1,1,1,1,1483271606\n2,1,1,many,1483271606\n")
        .unwrap();
    let output = loadgen(&["replay", "--products", text(&products), "--transactions", text(&transactions)]);
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(
        message.contains(
            "transactions.csv: line 3, column qty: expected a quantity of 1 to 1,000,000, found \"many\""
        ),
        "{message}"
    );
}

#[test]
fn a_window_without_baskets_names_what_the_file_spans() {
    let dir = tempfile::tempdir().unwrap();
    let (products, transactions) = (dir.path().join("products.csv"), dir.path().join("transactions.csv"));
    fs::write(&products, "id,price_cents\n1,50\n").unwrap();
    fs::write(&transactions, "basket,user,product,qty,ts\n1,1,1,1,1483271606\n").unwrap();
    let files = ["replay", "--products", text(&products), "--transactions", text(&transactions)];
    let output = loadgen(&[&files[..], &["--day", "2020-01-01"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("the file spans 1483271606 to 1483271606"), "{}", stderr(&output));
}
