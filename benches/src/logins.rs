//! `logins`: what a flood of logins does to those who buy.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_grpc::order::v1::{CreateOrderRequest, NewOrderLine};
use onrush_services::config::Service;
use onrush_services::serve::Serving;
use reqwest::Client;
use serde_json::json;
use tokio::runtime::Builder;
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
         HTTP, due at {FLOOD} times what a closed loop of them comes to; client and server in one process; {} s each, {} \
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
    let login =
        Login { http: Client::new(), url: format!("{}/login", shop::address(serving, Service::User)?) };
    let channel =
        Endpoint::from_shared(shop::address(serving, Service::Order)?)?.tcp_nodelay(true).connect().await?;
    let buyers = Buyers { channel, sku: sale.skus()[0].to_string(), made: Rc::new(Cell::new(0)) };
    let capacity = login.capacity(Duration::from_secs_f64(args.seconds)).await?;
    println!("logins that can be hashed: {capacity:.0}/s");
    println!();
    let mut table =
        Table::new(["CreateOrder", "p50 us", "p99 us", "rounds of p99", "logins/s", "hashed", "refused"]);
    let (mut calm, mut flooded) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        for flood in [false, true] {
            let stopped = Rc::new(Cell::new(false));
            let due = if flood { capacity * FLOOD } else { 0.0 };
            let flooding = tokio::task::spawn_local(login.clone().flood(due, stopped.clone()));
            let latencies = buyers.buy(args.rate, Duration::from_secs_f64(args.seconds)).await?;
            stopped.set(true);
            let run = (latencies, flooding.await?);
            if flood { flooded.push(run) } else { calm.push(run) }
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

/// Somebody who tries passwords.
#[derive(Clone)]
struct Login {
    http: Client,
    url: String,
}

impl Login {
    /// One try under an address that nobody has: it is hashed like any other, or refused for want of room.
    async fn attempt(&self, number: u64) -> Result<bool, Failure> {
        let body = json!({"email": format!("nobody-{number}@example.com"), "password": "not the password"});
        let answer = self.http.post(&self.url).json(&body).send().await?;
        match answer.status().as_u16() {
            401 => Ok(true),
            429 | 503 => Ok(false),
            other => Err(Failure::unexpected("a login to be refused", other)),
        }
    }

    /// Logins per second that a closed loop gets hashed.
    async fn capacity(&self, time: Duration) -> Result<f64, Failure> {
        let start = Instant::now();
        let mut hashed = 0;
        while start.elapsed() < time {
            hashed += u64::from(self.attempt(hashed).await?);
        }
        Ok(hashed as f64 / start.elapsed().as_secs_f64())
    }

    /// Tries at a rate, whatever comes of it.
    async fn flood(self, rate: f64, stopped: Rc<Cell<bool>>) -> Answered {
        let answered = Rc::new(RefCell::new(Answered::default()));
        let (start, mut number) = (Instant::now(), 0u64);
        while rate > 0.0 && !stopped.get() {
            let due = (start.elapsed().as_secs_f64() * rate) as u64;
            while number < due {
                number += 1;
                let (login, counted) = (self.clone(), answered.clone());
                tokio::task::spawn_local(async move {
                    match login.attempt(u64::MAX - number).await {
                        Ok(true) => counted.borrow_mut().hashed += 1,
                        Ok(false) => counted.borrow_mut().refused += 1,
                        Err(_) => {}
                    }
                });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        answered.take()
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
