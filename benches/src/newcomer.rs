//! `newcomer`: from the start of the binary on an empty directory to the mails of a first purchase.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use onrush_services::config::Service;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::Failure;
use crate::machine;
use crate::reach::Reach;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::table::Table;

/// How often what comes by itself is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How long it may take at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of order, payment and parcel on its way.
const MAILS: usize = 3;

/// A first purchase on embedded defaults, all services in one process, from its start
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Rounds, each on a directory of its own
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// The binary; the one beside this one if not given
    #[arg(long)]
    pub binary: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "`onrush serve` with its defaults but for free ports; ready = /ready of all seven ports answers 200; then over \
         HTTP register, login, a product with stock, an order, its payment, until the mails of order, payment and \
         parcel on its way are sent; {} rounds, medians, time from the start of the process",
        args.rounds
    );
    machine::head("newcomer: from nothing to the mail", &method);
    let binary = binary(args)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut marks: Vec<Samples> = vec![Samples::default(); STEPS.len()];
    for _ in 0..args.rounds {
        let dir = args.scratch.fresh()?;
        let start = Instant::now();
        let process = Process::start(&binary, &dir.path().join("data"))?;
        for (samples, took) in marks.iter_mut().zip(runtime.block_on(purchase(&process, start))?) {
            samples.push(took.as_secs_f64());
        }
    }
    let mut table = Table::new(["after the start", "s", "rounds"]);
    for (step, samples) in STEPS.iter().zip(&marks) {
        table.row([(*step).to_owned(), format!("{:.3}", samples.median()), samples.range()]);
    }
    table.print();
    println!();
    println!("all ports ready     {}", Reach::AtMost(1.0).verdict(marks[0].median()));
    println!("the last mail sent  {}", Reach::AtMost(2.0).verdict(marks[STEPS.len() - 1].median()));
    Ok(())
}

const STEPS: [&str; 4] = ["all ports ready", "logged in", "paid", "the last mail sent"];

fn binary(args: &Args) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe()?.with_file_name("onrush");
    let binary = args.binary.clone().unwrap_or(beside);
    match binary.exists() {
        true => Ok(binary),
        false => {
            Err(Failure::unexpected("the binary of `cargo build --release --bin onrush`", binary.file_name()))
        }
    }
}

/// A shop of its own; killed when dropped.
struct Process {
    child: Child,
    addresses: Vec<(&'static str, String)>,
}

impl Process {
    fn start(binary: &Path, data: &Path) -> Result<Self, Failure> {
        let ports = Service::ALL.map(|service| format!("--{}-port=0", service.name()));
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data-dir").arg(data).args(ports).env_clear();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take();
        let mut process = Self { child, addresses: Vec::new() };
        for line in out.into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let line = line?;
            let mut words = line.split_whitespace();
            let (first, second) = (words.next(), words.next());
            let named = Service::ALL.map(Service::name).into_iter().find(|name| first == Some(*name));
            if let (Some(name), Some(address)) = (named, second) {
                process.addresses.push((name, format!("http://{address}")));
            }
            if line.starts_with("health") {
                break;
            }
        }
        Ok(process)
    }

    fn address(&self, service: Service) -> Result<&str, Failure> {
        let found = self.addresses.iter().find(|(name, _)| *name == service.name());
        let address = found.map(|(_, address)| address.as_str());
        address.ok_or_else(|| Failure::unexpected(service.name(), &self.addresses))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Buys something; when each of [`STEPS`] was done.
async fn purchase(process: &Process, start: Instant) -> Result<[Duration; STEPS.len()], Failure> {
    let http = Client::new();
    for service in Service::ALL {
        let url = format!("{}/ready", process.address(service)?);
        let ready = async || http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
        wait_for("a ready port", ready).await?;
    }
    let ready = start.elapsed();
    let users = process.address(Service::User)?;
    let newcomer = json!({"email": "ada@example.com", "password": "a long enough password", "name": "Ada"});
    let user = post(&http, format!("{users}/register"), &newcomer, None).await?;
    let login = json!({"email": newcomer["email"], "password": newcomer["password"]});
    let tokens = post(&http, format!("{users}/login"), &login, None).await?;
    let token = tokens["access_token"].as_str();
    let logged_in = start.elapsed();
    let call = async |service: Service, method: &str, body: Value, token: Option<&str>| {
        let address = process.address(service)?;
        post(&http, format!("{address}/{}/{method}", service.grpc_name()), &body, token).await
    };
    let product = json!({"sku": "tea", "name": "Tea", "price": {"minorUnits": "499", "currencyCode": "EUR"}});
    call(Service::Product, "PutProduct", product, None).await?;
    call(Service::Product, "UpdateStock", json!({"sku": "tea", "set": "10"}), None).await?;
    let lines = json!([{"sku": "tea", "quantity": "1"}]);
    let order = json!({"customerId": user["id"], "lines": lines});
    let created = call(Service::Order, "CreateOrder", order, token).await?;
    let payment = json!({"orderId": created["orderId"], "paymentMethod": "pm_card"});
    call(Service::Order, "ProcessPayment", payment, token).await?;
    let paid = start.elapsed();
    let ask = json!({"orderId": created["orderId"]});
    wait_for("the mails", async || {
        let told = call(Service::Notification, "ListNotifications", ask.clone(), token).await;
        told.is_ok_and(|told| sent(&told) >= MAILS)
    })
    .await?;
    Ok([ready, logged_in, paid, start.elapsed()])
}

/// How many of the mails were sent.
fn sent(told: &Value) -> usize {
    let notices = told["notifications"].as_array().cloned().unwrap_or_default();
    let is_sent = |notice: &&Value| notice["status"] == "NOTIFICATION_STATUS_SENT";
    notices.iter().filter(is_sent).count()
}

async fn post(http: &Client, url: String, body: &Value, token: Option<&str>) -> Result<Value, Failure> {
    let mut request = http.post(&url).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await?;
    let (status, body) = (answer.status(), answer.json::<Value>().await?);
    match status.is_success() {
        true => Ok(body),
        false => Err(Failure::unexpected(format!("{url} to be answered"), body)),
    }
}

async fn wait_for(what: &str, mut done: impl AsyncFnMut() -> bool) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        if Instant::now() > end {
            return Err(Failure::unexpected(what, "nothing in time"));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
