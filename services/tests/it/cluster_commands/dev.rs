//! Three nodes by one command.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use onrush_net::client::{Key, Retry, Shop as Buyer, ShopOptions};
use onrush_proto::{Sku, StockChange, Text, UpdateStock};

use super::{Running, cluster, leads, members};
use crate::binary::{assert_one_line, onrush};
use crate::clients::product;
use crate::wait::until;

/// How far each node's ports are from the first.
const NODES: [u16; 3] = [100, 200, 300];
/// That of the product service, which `onrush cluster dev` names.
const PRODUCT: u16 = 51;
/// That of the native protocol, the last one.
const NATIVE: u16 = 60;

/// A port from which on all are free, as far as they are needed. No system gives away such low ones by itself.
fn free_base() -> u16 {
    let free = |base: &u16| {
        NODES.into_iter().all(|node| {
            let at = |port| ("127.0.0.1", base + node + port);
            UdpSocket::bind(at(0)).is_ok()
                && (PRODUCT..=NATIVE).all(|port| TcpListener::bind(at(port)).is_ok())
        })
    };
    std::iter::repeat_with(|| fastrand::u16(10_000..30_000)).take(1_000).find(free).unwrap()
}

/// `onrush cluster dev` in a group of processes of its own, as a shell starts it.
struct Dev {
    base: u16,
    process: Running,
    group: Group,
}

/// A group of processes; killed when dropped, unless it has ended.
struct Group(Option<u32>);

impl Group {
    fn signal(&self, name: &str) -> bool {
        let Some(leader) = self.0 else { return false };
        Command::new("kill").args([name, "--", &format!("-{leader}")]).status().unwrap().success()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal("-KILL");
    }
}

fn dev(dir: &Path, base: u16) -> Command {
    let mut command = onrush(&["cluster", "dev", "--base-port", &base.to_string(), "--shards", "2"]);
    command.args(["--data-dir", dir.to_str().unwrap()]);
    command
}

impl Dev {
    fn start(dir: &Path, base: u16) -> Self {
        let mut command = dev(dir, base);
        command.process_group(0);
        let process = Running::start(command);
        let group = Group(Some(process.0.id()));
        Self { base, process, group }
    }

    fn port(&self, node: u64, last: u16) -> u16 {
        self.base + NODES[node as usize - 1] + last
    }

    fn url(&self, node: u64) -> String {
        format!("http://127.0.0.1:{}", self.port(node, PRODUCT))
    }

    /// Waits until a node shows all three, and one of them leads.
    async fn is_up(&self, node: u64) -> String {
        until("three nodes", async || {
            let output = Running::start(cluster(&self.url(node), &["status"])).ends().await;
            let status = String::from_utf8(output.stdout).unwrap();
            let is_up = leads(&status).is_some() && status.matches(" connected ").count() == 2;
            if is_up { Ok(status) } else { Err((status, String::from_utf8(output.stderr))) }
        })
        .await
    }

    /// Sends a signal to the process alone, or to its whole group as a terminal does, and waits for the end.
    async fn ends(mut self, signal: &str, whole_group: bool) -> Output {
        let pid = self.process.0.id().to_string();
        let told = match whole_group {
            true => self.group.signal(signal),
            false => Command::new("kill").args([signal, &pid]).status().unwrap().success(),
        };
        assert!(told, "nobody is there to be told of {signal}");
        let output = self.process.ends().await;
        self.group.0 = None;
        output
    }
}

/// Units of a product, of which there is one more. Who leads may change where three nodes have just begun.
async fn received(dev: &Dev) -> i64 {
    let places = [1, 2, 3].map(|node| format!("127.0.0.1:{}", dev.port(node, NATIVE)));
    let options = ShopOptions { retry: Retry { retries: 20, ..Retry::default() }, ..ShopOptions::default() };
    let shop = Buyer::connect_with(&format!("onrush://{}", places.join(",")), &options).await.unwrap();
    let sku: Sku = "tea".parse().unwrap();
    shop.put_product(Key::fresh(), product(sku)).await.unwrap();
    let update = UpdateStock { sku, change: StockChange::Add(1), reason: Text::EMPTY };
    shop.update_stock(Key::fresh(), update).await.unwrap().on_hand
}

#[tokio::test]
async fn three_nodes_come_up_by_one_command_end_with_it_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("cluster");
    for (run, (signal, whole_group)) in [("-TERM", false), ("-INT", true)].into_iter().enumerate() {
        let dev = Dev::start(&data, free_base());
        let status = dev.is_up(1).await;
        assert_eq!(members(&status, "voters").as_deref(), Some("1, 2, 3"), "{status}");
        assert_eq!(received(&dev).await, 1 + run as i64, "what was there before is there");
        let ports = [1, 2, 3].map(|node| dev.port(node, PRODUCT));
        let tells = format!("status   onrush cluster status --server {}\n", dev.url(1));
        let output = dev.ends(signal, whole_group).await;
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{signal}: {said}{errors}");
        // A slow disk may be warned of.
        assert!(!errors.contains("ERROR") && !errors.contains("onrush: "), "{signal}: {errors}");
        assert!(said.ends_with(&tells), "{said}");
        for port in ports {
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }
    // A node that has forgotten what it promised does not come back.
    std::fs::remove_dir_all(data.join("node-2")).unwrap();
    let output = Running::start(dev(&data, free_base())).ends().await;
    assert_one_line(&output, 1, "expected all three nodes or none, found none of [2]");
}
