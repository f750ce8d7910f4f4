//! The real binary: what it prints, what it refuses, how it ends.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use onrush_grpc::product::v1::UpdateStockRequest;
use onrush_grpc::product::v1::update_stock_request::Change;
use onrush_net::client::Retry;
use onrush_net::client::grpc::{Addresses, Client};

use crate::shop::{order, payment, product, until_processing};

pub(crate) fn onrush(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrush"));
    // Each process has a free port for the native protocol.
    command.args(arguments).env_clear().env("NATIVE_PORT", "0").stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    onrush(arguments).output().unwrap()
}

pub(crate) const FREE_PORTS: [&str; 14] = [
    "--product-port",
    "0",
    "--order-port",
    "0",
    "--payment-port",
    "0",
    "--user-port",
    "0",
    "--shipping-port",
    "0",
    "--notification-port",
    "0",
    "--recommendation-port",
    "0",
];

/// A process that serves; killed when dropped.
pub(crate) struct Process {
    child: Child,
    banner: String,
}

impl Process {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, &FREE_PORTS, &[])
    }

    pub(crate) fn start_with(dir: &Path, more: &[&str], env: &[(&str, &str)]) -> Self {
        let mut arguments = vec!["serve", "--data-dir", dir.to_str().unwrap()];
        arguments.extend(more);
        let mut command = onrush(&arguments);
        command.envs(env.iter().copied());
        Self::spawn(command)
    }

    /// The same by a command of one's own.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            banner.push_str(&line);
            banner.push('\n');
            if line.starts_with("health") {
                break;
            }
        }
        // The rest is read on, so that the process never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, banner }
    }

    /// Where a service listens, as the banner says.
    pub(crate) fn address(&self, service: &str) -> String {
        let line = self.banner.lines().find(|line| line.starts_with(&format!("{service} "))).unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said at start.
    pub(crate) fn banner(&self) -> &str {
        &self.banner
    }

    fn errors(&mut self) -> String {
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        errors
    }

    /// Reads the log on a thread, to its end.
    pub(crate) fn read_errors(&mut self) -> std::thread::JoinHandle<String> {
        let mut stderr = self.child.stderr.take().unwrap();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    pub(crate) fn client(&self) -> Client {
        client(&|service| self.address(service))
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub(crate) fn wait(&mut self) -> i32 {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the process does not end");
    }
}

/// A client of services at these addresses.
pub(crate) fn client(address: &dyn Fn(&str) -> String) -> Client {
    let address = |service: &str| format!("http://{}", address(service));
    let addresses = Addresses {
        product: address("product"),
        order: address("order"),
        payment: address("payment"),
        shipping: address("shipping"),
        notification: address("notification"),
        recommendation: address("recommendation"),
    };
    Client::new(&addresses, 1, Retry::NEVER).unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn assert_one_line(output: &Output, code: i32, expected: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(expected), "expected {expected:?}, found {text:?}");
}

#[test]
fn it_serves_says_where_and_ends_well_on_sigterm_and_sigint() {
    let dir = tempfile::tempdir().unwrap();
    for signal in ["-TERM", "-INT"] {
        let mut process = Process::start(dir.path());
        for expected in ["no real money moves", "order    127.0.0.1:", "grpcurl -plaintext", "curl http://"] {
            assert!(process.banner.contains(expected), "{}", process.banner);
        }
        process.signal(signal);
        assert_eq!(process.wait(), 0);
        assert_eq!(process.errors(), "");
    }
}

#[test]
fn it_says_who_may_do_what() {
    let dir = tempfile::tempdir().unwrap();
    let mut open = Process::start(dir.path());
    assert!(
        open.banner.contains("access is open: without a token whoever is on this machine"),
        "{}",
        open.banner
    );
    assert!(!open.banner.contains("$TOKEN"), "{}", open.banner);
    open.signal("-TERM");
    assert_eq!((open.wait(), open.errors().as_str()), (0, ""));
    let mut required = Process::start_with(dir.path(), &FREE_PORTS, &[("ACCESS", "required")]);
    for expected in ["access needs tokens", "-H \"authorization: Bearer $TOKEN\" http://"] {
        assert!(required.banner.contains(expected), "{}", required.banner);
    }
    required.signal("-TERM");
    assert_eq!(required.wait(), 0);
    let everywhere = ["--listen", "0.0.0.0", "--access"];
    let refused = output(&[&["serve"], &everywhere[..], &["open"]].concat());
    assert_one_line(&refused, 2, "access (from flag): expected required where others can call");
    let arguments = [&everywhere[..], &["open-to-network"], &FREE_PORTS].concat();
    let mut network = Process::start_with(dir.path(), &arguments, &[]);
    network.signal("-TERM");
    assert_eq!(network.wait(), 0);
    assert!(network.errors().contains("warning: access is open: whoever reaches 0.0.0.0"));
}

#[tokio::test]
async fn sigterm_lets_open_calls_end() {
    let dir = tempfile::tempdir().unwrap();
    let slow = [&FREE_PORTS[..], &["--gateway-faults", "p50_ms=1500,p99_ms=1500"]].concat();
    let mut process = Process::start_with(dir.path(), &slow, &[]);
    let client = process.client();
    stock_up(&client).await;
    let order_id = client.create_order(order("", "ada", &[("tea", 1)])).await.unwrap().order_id;
    let (paying, paid) = (client.clone(), payment("", &order_id, "pm_card"));
    let call = tokio::spawn(async move { paying.process_payment(paid).await });
    until_processing(&client, &order_id).await;
    process.signal("-TERM");
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.order_status().as_str_name(), "ORDER_STATUS_PAID");
    // The client's connections hear of the end while this waits.
    assert_eq!(tokio::task::spawn_blocking(move || process.wait()).await.unwrap(), 0);
}

#[test]
fn a_bare_port_means_the_one_service_and_is_passed_over_aloud_by_several() {
    let dir = tempfile::tempdir().unwrap();
    for env in [&[("PORT", "0")][..], &[("PORT", "1"), ("GRPC_PORT", "0")], &[("ORDER_GRPC_PORT", "0")]] {
        let mut process = Process::start_with(dir.path(), &["--services", "order"], env);
        // A free port was asked for: neither the default nor the weaker variable's.
        let address = process.address("order");
        assert!(!address.ends_with(":50052") && !address.ends_with(":1"), "{env:?}: {address}");
        process.signal("-TERM");
        assert_eq!((process.wait(), process.errors().as_str()), (0, ""));
    }
    let mut process = Process::start_with(dir.path(), &FREE_PORTS, &[("PORT", "8080")]);
    process.signal("-TERM");
    assert_eq!(process.wait(), 0);
    let errors = process.errors();
    assert!(errors.contains("PORT=8080 is passed over") && errors.contains("ORDER_GRPC_PORT"), "{errors}");
}

#[test]
fn a_second_instance_on_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Process::start(dir.path());
    let mut arguments = vec!["--data-dir", dir.path().to_str().unwrap()];
    arguments.extend(FREE_PORTS);
    let second = output(&arguments);
    assert_one_line(&second, 1, dir.path().to_str().unwrap());
}

#[test]
fn a_taken_port_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = dir.path().to_str().unwrap();
    let refused = output(&["serve", "--services", "order", "--order-port", &port, "--data-dir", data]);
    assert_one_line(&refused, 1, &format!("127.0.0.1:{port} is taken"));
}

#[test]
fn an_unwritable_directory_and_another_shard_count_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("data");
    let mut arguments = vec!["serve", "--data-dir", below.to_str().unwrap()];
    arguments.extend(FREE_PORTS);
    assert_one_line(&output(&arguments), 1, below.to_str().unwrap());

    let formatted = dir.path().join("data");
    let mut process = Process::start(&formatted);
    process.signal("-TERM");
    process.wait();
    let mut arguments = vec!["serve", "--shards", "3", "--data-dir", formatted.to_str().unwrap()];
    arguments.extend(FREE_PORTS);
    assert_one_line(&output(&arguments), 1, "3");
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path());
    let client = process.client();
    let mut created = Vec::new();
    stock_up(&client).await;
    for index in 0..20 {
        let request = order(&format!("k{index}"), "ada", &[("tea", 1)]);
        created.push(client.create_order(request).await.unwrap());
    }
    let paid = payment("p", &created[0].order_id, "pm_card");
    client.process_payment(paid.clone()).await.unwrap();
    process.signal("-KILL");
    process.wait();

    let process = Process::start(dir.path());
    let client = process.client();
    for (index, first) in created.iter().enumerate() {
        let again = client.create_order(order(&format!("k{index}"), "ada", &[("tea", 1)])).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.order_id, first.order_id);
    }
    let again = client.process_payment(paid).await.unwrap();
    assert!(again.replayed);
    // Paid, and since then perhaps on its way by itself.
    let status = again.order_status().as_str_name();
    assert!(
        ["ORDER_STATUS_PAID", "ORDER_STATUS_FULFILLING", "ORDER_STATUS_SHIPPED"].contains(&status),
        "{status}"
    );
    let audit = client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && (audit.orders, audit.units_sold) == (20, 1), "{audit:?}");
    let books = client.reconcile(Default::default()).await.unwrap();
    assert!(books.ok && books.payments == 1, "{books:?}");
}

#[tokio::test]
async fn a_damaged_log_is_refused_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path());
    stock_up(&process.client()).await;
    process.signal("-TERM");
    assert_eq!(process.wait(), 0);
    let segment = dir.path().join("shard-000/log/000000000001.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    // Behind the segment's header of 4 KiB stands the first frame.
    bytes[4_096 + 100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let mut arguments = vec!["--data-dir", dir.path().to_str().unwrap()];
    arguments.extend(FREE_PORTS);
    assert_one_line(&output(&arguments), 1, "000000000001.segment");
}

pub(crate) async fn stock_up(client: &Client) {
    client.put_product(product("tea", 499)).await.unwrap();
    let change = Some(Change::Set(100));
    client
        .update_stock(UpdateStockRequest { sku: "tea".into(), change, ..Default::default() })
        .await
        .unwrap();
}

#[test]
fn wrong_arguments_and_values_end_with_two() {
    for arguments in [&["--colour"][..], &["fly"], &["serve", "extra"]] {
        assert_eq!(output(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_one_line(&output(&["--shards", "0"]), 2, "shards (from flag): expected auto or a whole number");
    assert_one_line(&output(&["--config", "/none.toml"]), 2, "/none.toml");
    assert_eq!(output(&["--help"]).status.code(), Some(0));
}

#[test]
fn check_config_prints_every_value_and_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("onrush.toml");
    std::fs::write(&file, "shards = 8\norder_port = 7\n").unwrap();
    let output = onrush(&["check-config", "--config", file.to_str().unwrap(), "--store", "memory"])
        .env("ORDER_GRPC_PORT", "9")
        .env("PORT", "8080")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("shards"), "8 file");
    assert_eq!(row("order-port"), "9 environment ORDER_GRPC_PORT");
    assert_eq!(row("store"), "memory flag");
    assert_eq!(row("product-port"), "50051 default");
    assert!(row("warning:").contains("PORT=8080 is passed over"), "{text}");
}

#[test]
fn verify_prints_the_books_of_a_stopped_shop() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path());
    process.signal("-TERM");
    assert_eq!(process.wait(), 0);
    let books = output(&["verify", "--data-dir", dir.path().to_str().unwrap()]);
    assert_eq!(books.status.code(), Some(0), "{}", String::from_utf8_lossy(&books.stderr));
    assert!(String::from_utf8_lossy(&books.stdout).contains("the books are in order"));
    let none = output(&["verify", "--data-dir", dir.path().join("none").to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(1));
}
