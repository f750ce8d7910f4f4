//! `logins`: what a flood of logins does to those who buy.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_grpc::order::v1::{CreateOrderRequest, NewOrderLine};
use onrush_services::config::Service;
use onrush_services::serve::Serving;
use reqwest::Client;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::sync::oneshot::{self, Receiver};
use tokio::task::LocalSet;
use tonic::transport::{Channel, Endpoint};

use crate::Failure;
use crate::machine;
use crate::reach::Reach;
use crate::sale::Sale;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::shop;
use crate::table::Table;

/// How many times of what can be hashed is asked for.
const FLOOD: f64 = 20.0;
/// As `nice` counts: after everybody.
const LAST: i32 = 19;
/// Below what costs a wait.
const TRIES_PER_ADDRESS: u64 = 40;

/// CreateOrder at a fixed rate, with and without logins at 20 times what can be hashed
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Orders per second
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// Measured seconds of each half of a round
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Rounds; with and without alternate
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "{} CreateOrder a second over gRPC, open loop, latency from the time a call was due; logins of unknown users over \
         HTTP, due at {FLOOD} times what closed loops of them get hashed, from many addresses of this machine, by a thread that yields to all others; clients and server in one process; {} s each, {} \
         rounds in turns, medians",
        args.rate, args.seconds, args.rounds
    );
    machine::head("logins: a flood of them", &method);
    let dir = args.scratch.fresh()?;
    let serving =
        Serving::start(&shop::config(dir.path(), &[Service::Product, Service::Order, Service::User]))?;
    let sale = Sale::uniform(1);
    shop::open(&serving, &sale)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(measure(args, &serving, &sale)))?;
    drop(runtime);
    Ok(serving.stop()?)
}

async fn measure(args: &Args, serving: &Serving, sale: &Sale) -> Result<(), Failure> {
    let flood = Flood::new(&format!("{}/login", shop::address(serving, Service::User)?));
    let channel =
        Endpoint::from_shared(shop::address(serving, Service::Order)?)?.tcp_nodelay(true).connect().await?;
    let buyers = Buyers { channel, sku: sale.skus()[0].to_string(), made: Rc::new(Cell::new(0)) };
    let time = Duration::from_secs_f64(args.seconds);
    let capacity = flood.start(move |login| login.capacity(time)).await??;
    println!("logins that can be hashed: {capacity:.0}/s");
    println!();
    let mut table =
        Table::new(["CreateOrder", "p50 us", "p99 us", "rounds of p99", "logins/s", "hashed", "refused"]);
    let (mut calm, mut flooded) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        for is_flooded in [false, true] {
            let due = if is_flooded { capacity * FLOOD } else { 0.0 };
            let flooding = flood.start(move |login| login.at(due));
            let latencies = buyers.buy(args.rate, time).await?;
            flood.stopped.store(true, Ordering::Relaxed);
            let run = (latencies, flooding.await??);
            if is_flooded { flooded.push(run) } else { calm.push(run) }
        }
    }
    for (name, rounds) in [("calm", &calm), ("flooded", &flooded)] {
        let p99: Samples = rounds.iter().map(|(found, _)| found.quantile(0.99)).collect();
        let p50: Samples = rounds.iter().map(|(found, _)| found.median()).collect();
        let per_s = |count: fn(&Answered) -> u64| {
            let total: u64 = rounds.iter().map(|(_, answered)| count(answered)).sum();
            format!("{:.0}", total as f64 / (args.seconds * args.rounds as f64))
        };
        table.row([
            name.into(),
            format!("{:.0}", p50.median()),
            format!("{:.0}", p99.median()),
            p99.range(),
            per_s(|answered| answered.hashed + answered.refused),
            per_s(|answered| answered.hashed),
            per_s(|answered| answered.refused),
        ]);
    }
    table.print();
    println!();
    let ratios = calm
        .iter()
        .zip(&flooded)
        .map(|((calm, _), (flooded, _))| flooded.quantile(0.99) / calm.quantile(0.99));
    let ratios: Samples = ratios.collect();
    println!(
        "p99 flooded / calm  {:.2} ({})  {}",
        ratios.median(),
        ratios.range(),
        Reach::AtMost(1.15).verdict(ratios.median())
    );
    Ok(())
}

/// How logins came out.
#[derive(Clone, Copy, Default)]
struct Answered {
    hashed: u64,
    refused: u64,
}

/// Those who try passwords, on a thread that every other one goes before: on a machine of their own they would take
/// none of the shop's time.
#[derive(Clone)]
struct Flood {
    url: Arc<str>,
    /// Tries so far: no two are alike.
    tries: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Flood {
    fn new(url: &str) -> Self {
        Self { url: url.into(), tries: Arc::default(), stopped: Arc::default() }
    }

    /// Starts what `work` makes of it on a thread of its own; the receiver gets what came of it.
    fn start<T, F>(&self, work: impl FnOnce(Login) -> F + Send + 'static) -> Receiver<Result<T, Failure>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>>,
    {
        let (done, result) = oneshot::channel();
        let flood = self.clone();
        flood.stopped.store(false, Ordering::Relaxed);
        std::thread::spawn(move || {
            let run = || {
                setpriority_process(Some(gettid()), LAST)?;
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(LocalSet::new().run_until(work(Login { flood, http: Rc::default() })))
            };
            let _ = done.send(run());
        });
        result
    }
}

/// One thread's way to try passwords, each a few times from an address of its own: who errs often from one is made to
/// wait, which costs no hash.
#[derive(Clone)]
struct Login {
    flood: Flood,
    /// What tries next, and how often it did.
    http: Rc<RefCell<Option<(Client, u64)>>>,
}

impl Login {
    /// The client of the next try.
    fn client(&self, number: u64) -> Result<Client, Failure> {
        let mut http = self.http.borrow_mut();
        if let Some((client, tries)) = http.as_mut().filter(|(_, tries)| *tries < TRIES_PER_ADDRESS) {
            *tries += 1;
            return Ok(client.clone());
        }
        // No two numbers that begin an address have the same one, in this thread or a later one.
        let [_, b, c, d] = (2 + number).to_be_bytes().last_chunk().copied().unwrap_or([0; 4]);
        let from = IpAddr::from([127, b, c, d]);
        // Without certificates: to read the system's takes longer than the tries.
        let client = Client::builder().tls_certs_only([]).local_address(from).build()?;
        *http = Some((client.clone(), 1));
        Ok(client)
    }

    /// One try under an address that nobody has: it is hashed like any other, or refused for want of room.
    async fn attempt(&self) -> Result<bool, Failure> {
        let number = self.flood.tries.fetch_add(1, Ordering::Relaxed) + 1;
        let http = self.client(number)?;
        let body = json!({"email": format!("nobody-{number}@example.com"), "password": "not the password"});
        let answer = http.post(&*self.flood.url).json(&body).send().await?;
        let (status, problem) = (answer.status(), answer.json::<Value>().await?);
        match (status.as_u16(), problem["type"].as_str()) {
            (401, _) => Ok(true),
            (_, Some("urn:onrush:reason:OVERLOADED")) => Ok(false),
            _ => Err(Failure::unexpected("a login that is hashed or finds no room", problem)),
        }
    }

    /// Logins per second that get hashed by closed loops, two for each thread that may hash.
    async fn capacity(self, time: Duration) -> Result<f64, Failure> {
        let loops = 2 * std::thread::available_parallelism().map_or(1, usize::from);
        let start = Instant::now();
        let one = |login: Self| async move {
            let mut hashed = 0u64;
            while start.elapsed() < time {
                hashed += u64::from(login.attempt().await?);
            }
            Ok::<u64, Failure>(hashed)
        };
        let tasks: Vec<_> = (0..loops).map(|_| tokio::task::spawn_local(one(self.clone()))).collect();
        let mut hashed = 0;
        for task in tasks {
            hashed += task.await??;
        }
        Ok(hashed as f64 / start.elapsed().as_secs_f64())
    }

    /// Tries at a rate until it is stopped, whatever comes of it; ends when the last one is answered.
    async fn at(self, rate: f64) -> Result<Answered, Failure> {
        let (start, mut number) = (Instant::now(), 0u64);
        let mut tries = Vec::new();
        while rate > 0.0 && !self.flood.stopped.load(Ordering::Relaxed) {
            let due = (start.elapsed().as_secs_f64() * rate) as u64;
            while number < due {
                number += 1;
                let login = self.clone();
                tries.push(tokio::task::spawn_local(async move { login.attempt().await }));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut answered = Answered::default();
        for login in tries {
            match login.await?? {
                true => answered.hashed += 1,
                false => answered.refused += 1,
            }
        }
        Ok(answered)
    }
}

/// Those who buy meanwhile.
struct Buyers {
    channel: Channel,
    sku: String,
    made: Rc<Cell<u64>>,
}

impl Buyers {
    /// Orders at a rate; the latencies in us.
    async fn buy(&self, rate: f64, time: Duration) -> Result<Samples, Failure> {
        let latencies = Rc::new(RefCell::new(Samples::default()));
        let (start, mut sent) = (Instant::now(), 0u64);
        let mut calls = Vec::new();
        while start.elapsed() < time {
            let due = (start.elapsed().as_secs_f64() * rate) as u64;
            while sent < due {
                let at = start + Duration::from_secs_f64(sent as f64 / rate);
                sent += 1;
                calls.push(tokio::task::spawn_local(self.order(at, latencies.clone())));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for call in calls {
            call.await??;
        }
        Ok(latencies.take())
    }

    fn order(
        &self,
        due: Instant,
        latencies: Rc<RefCell<Samples>>,
    ) -> impl Future<Output = Result<(), Failure>> + use<> {
        let number = self.made.replace(self.made.get() + 1);
        let mut client = OrderServiceClient::new(self.channel.clone());
        let request = CreateOrderRequest {
            request_id: format!("order-{number}"),
            customer_id: format!("customer-{number}"),
            lines: vec![NewOrderLine { sku: self.sku.clone(), quantity: 1, max_unit_price: None }],
            hold_us: 0,
        };
        async move {
            client.create_order(request).await?;
            latencies.borrow_mut().push(due.elapsed().as_secs_f64() * 1e6);
            Ok(())
        }
    }
}
