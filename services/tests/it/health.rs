//! Ready or not: what a real process says on each edge when it can no longer write, and when it ends.

use std::path::Path;
use std::process::Command;

use onrush_grpc::order::v1::CreateOrderRequest;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::binary::{FREE_PORTS, Process, client, onrush, stock_up};
use crate::shop::{order, payment, until_processing};
use crate::wait::until;

const ONE_SHARD: [&str; 8] =
    ["--services", "product,order", "--shards", "1", "--product-port", "0", "--order-port", "0"];

/// A process that a write beyond a limit does not kill: to it the disk is full.
fn unkillable(dir: &Path) -> Process {
    let program = onrush(&[]).get_program().to_owned();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(program);
    command.args(["serve", "--store", "memory", "--data-dir", dir.to_str().unwrap()]).args(ONE_SHARD);
    command.env_clear();
    Process::spawn(command)
}

/// What the order port says: `/health`, `/ready`, the latter's word, and gRPC's.
async fn said(process: &Process) -> (u16, u16, String, ServingStatus) {
    let address = format!("http://{}", process.address("order"));
    let get = async |path: &str| reqwest::get(format!("{address}{path}")).await.unwrap();
    let (health, ready) = (get("/health").await.status().as_u16(), get("/ready").await);
    let status = ready.status().as_u16();
    let body: serde_json::Value = ready.json().await.unwrap();
    let request = HealthCheckRequest { service: "onrush.order.v1.OrderService".into() };
    let mut grpc = HealthClient::new(channel(&process.address("order")).await);
    let serving = grpc.check(request).await.unwrap().into_inner().status();
    (health, status, body["status"].as_str().unwrap().to_owned(), serving)
}

async fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn one(key: &str) -> CreateOrderRequest {
    order(key, "ada", &[("tea", 1)])
}

#[tokio::test]
async fn a_shard_that_cannot_write_is_not_ready_on_any_edge_and_the_next_start_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = unkillable(dir.path());
    let shop = client(&|_| process.address("order"));
    stock_up(&client(&|_| process.address("product"))).await;
    shop.create_order(one("before")).await.unwrap();
    assert_eq!(said(&process).await, (200, 200, "serving".into(), ServingStatus::Serving));

    let pid = Pid::from_raw(process.pid() as i32).unwrap();
    let maximum = getrlimit(Resource::Fsize).maximum;
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: Some(4_096), maximum }).unwrap();
    assert!(shop.create_order(one("after")).await.is_err(), "it cannot be made durable");
    until("a port that is not ready", async || {
        let found = said(&process).await;
        let expected = (200, 503, "stopped".to_owned(), ServingStatus::NotServing);
        if found == expected { Ok(()) } else { Err(found) }
    })
    .await;
    assert!(shop.create_order(one("later")).await.is_err());

    process.signal("-KILL");
    process.wait();
    let process = unkillable(dir.path());
    assert_eq!(said(&process).await, (200, 200, "serving".into(), ServingStatus::Serving));
    let shop = client(&|_| process.address("order"));
    assert!(shop.create_order(one("before")).await.unwrap().replayed, "what was accepted is there");
    shop.create_order(one("after")).await.unwrap();
}

#[tokio::test]
async fn who_watches_hears_that_a_process_drains_before_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let slow = [&FREE_PORTS[..], &["--gateway-faults", "p50_ms=1500,p99_ms=1500"]].concat();
    let mut process = Process::start_with(dir.path(), &slow, &[]);
    let shop = process.client();
    stock_up(&shop).await;
    let mut grpc = HealthClient::new(channel(&process.address("order")).await);
    let mut news = grpc.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(news.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    // A call under way, and the stream itself, are open at the end.
    let order_id = shop.create_order(one("")).await.unwrap().order_id;
    let (paying, request) = (shop.clone(), payment("", &order_id, "pm_card"));
    let paid = tokio::spawn(async move { paying.process_payment(request).await });
    until_processing(&shop, &order_id).await;
    process.signal("-TERM");
    assert_eq!(news.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(news.next().await.is_none());
    assert!(paid.await.unwrap().is_ok());
    assert_eq!(tokio::task::spawn_blocking(move || process.wait()).await.unwrap(), 0);
}
