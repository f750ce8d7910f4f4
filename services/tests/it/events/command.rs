//! `onrush topic` against a running server.

use std::process::Output;

use onrush_services::config::Service;

use super::{CREATED, orders, two_shards};
use crate::binary::{assert_one_line, onrush};
use crate::shop::Shop;

async fn topic(shop: &Shop, arguments: &[&str]) -> Output {
    let server = shop.address(Service::Product);
    let arguments: Vec<String> =
        ["topic", "--server", &server].iter().chain(arguments).map(ToString::to_string).collect();
    tokio::task::spawn_blocking(move || {
        onrush(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).output().unwrap()
    })
    .await
    .unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn topics_are_listed_followed_and_sought() {
    let (shop, [first, _]) = two_shards().await;
    let expected = orders(&shop, &first, 4).await;
    let listed = text(&topic(&shop, &["ls"]).await);
    assert!(listed.starts_with("shard 0    records 1 to "), "{listed}");
    assert!(listed.contains("\norder.created          order created\n"), "{listed}");

    let told = text(&topic(&shop, &["tail", CREATED, "--from", "beginning", "--count", "4"]).await);
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys: Vec<&str> = lines.iter().map(|line| line["key"].as_str().unwrap()).collect();
    assert_eq!(keys, expected);
    assert_eq!((&lines[0]["shard"], &lines[0]["topic"]), (&0.into(), &CREATED.into()));
    assert_eq!(lines[0]["rows"][0]["order"]["customerId"], "ada");

    let at = format!("0:{}", lines[2]["lsn"].as_str().unwrap());
    let told = text(&topic(&shop, &["tail", CREATED, "--from", &at, "--count", "1"]).await);
    assert!(told.contains(&expected[2]) && told.lines().count() == 1, "{told}");

    // A group goes on where it stopped.
    for wanted in [&expected[0..2], &expected[2..3]] {
        let count = wanted.len().to_string();
        let told = text(&topic(&shop, &["tail", CREATED, "--group", "books", "--count", &count]).await);
        assert_eq!(told.lines().count(), wanted.len());
        assert!(wanted.iter().all(|key| told.contains(key)), "{told}");
    }
    let listed = text(&topic(&shop, &["ls", CREATED]).await);
    assert!(listed.contains("  group books          generation "), "{listed}");
    let sought = text(&topic(&shop, &["seek", "books", "--to", "beginning"]).await);
    assert!(sought.starts_with("shard 0    goes on at 1\n") && sought.contains("generation "), "{sought}");
    let told = text(&topic(&shop, &["tail", CREATED, "--group", "books", "--count", "1"]).await);
    assert!(told.contains(&expected[0]), "{told}");

    assert_one_line(&topic(&shop, &["ls", "order.eaten"]).await, 1, "UNKNOWN_TOPIC");
    assert_one_line(&topic(&shop, &["seek", "nobody", "--to", "end"]).await, 1, "found none called nobody");
    assert_one_line(
        &topic(&shop, &["tail", CREATED, "--from", "0:1000000"]).await,
        1,
        "INVALID_FIELD: start.positions",
    );
    let wrong = topic(&shop, &["tail", CREATED, "--from", "yesterday"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert_one_line(
        &onrush(&["topic", "--server", "http://127.0.0.1:1", "ls"]).output().unwrap(),
        1,
        "expected a shop at",
    );
}
