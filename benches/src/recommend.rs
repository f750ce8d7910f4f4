//! `recommend`: a shop with months of public retail data in its log learns a model, and answers by it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use onrush_grpc::order::v1::{CreateOrderRequest, NewOrderLine};
use onrush_grpc::recommendation::v1::{
    GetModelRequest, GetOperationRequest, GetRecommendationsRequest, Operation, OperationState,
    TrainModelRequest,
};
use onrush_net::client::grpc::{Addresses, Client};
use onrush_net::client::{CallError, Retry};
use onrush_services::config::{Config, Service};
use onrush_services::retail::past::Past;
use onrush_services::serve::Serving;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::Failure;
use crate::cpu;
use crate::machine;
use crate::reach::Reach;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::shop;
use crate::table::Table;

const WEEK_S: i64 = 7 * 86_400;
/// Where published models are, in the data directory: the first, and the one that would come after it.
const MODELS: [&str; 2] = ["recommendation/model-1.onrush", "recommendation/model-2.onrush"];
/// Connections of the client, and calls in flight where the peak is looked for.
const CONNECTIONS: usize = 2;
const IN_FLIGHT: usize = 4;
/// Threads that serve calls, and those that rank.
const SERVING: [&str; 2] = ["onrush-front", "onrush-scoring"];

/// A model learned of a log of retail data, and the cost of what is answered by it
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Catalogue (.csv or .csv.zst)
    #[arg(long)]
    pub products: PathBuf,
    /// Sales (.csv or .csv.zst)
    #[arg(long)]
    pub transactions: PathBuf,
    /// The shop has lived up to that time, in unix seconds
    #[arg(long, default_value_t = 1_509_926_400)]
    pub until: i64,
    /// Products that nobody bought are added until the catalogue has so many
    #[arg(long, default_value_t = 0)]
    pub catalogue: usize,
    /// So many weeks
    #[arg(long, default_value_t = 26)]
    pub weeks: i64,
    /// Of customers, those whose number this divides
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub one_in: u32,
    /// Rounds of measurement; 0 trains twice instead, and damages the model
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Seconds of each part of a round
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Orders per second beside recommendations
    #[arg(long, default_value_t = 300.0)]
    pub order_rate: f64,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// Measures and prints; without a published model it fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "{} weeks of sales before {} (one customer in {}) as paid orders in the log; TrainModel; then {} rounds of {} s \
         each: GetRecommendations by gRPC in this process with {IN_FLIGHT} in flight, then at half of that rate, and {} \
         orders a second without and with them. CPU is that of the threads that serve and rank",
        args.weeks, args.until, args.one_in, args.rounds, args.seconds, args.order_rate
    );
    machine::head("recommend: a model of the log", &method);
    let dir = args.scratch.fresh()?;
    let config = shop::config(dir.path(), &[Service::Product, Service::Order, Service::Recommendation]);
    let from_s = args.until - args.weeks * WEEK_S;
    let mut past = Past::read(&args.products, &args.transactions, |sale| {
        sale.user % args.one_in == 0 && (from_s..args.until).contains(&sale.at_s)
    })?;
    past.widen(args.catalogue);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let hour_ago = SystemTime::now().duration_since(UNIX_EPOCH)?.saturating_sub(Duration::from_secs(3_600));
    let begun = Instant::now();
    runtime.block_on(past.live(&config.engine_options(), hour_ago.as_micros() as u64))?;
    println!(
        "log                 {} orders, {} products, written in {:.0} s",
        past.baskets().count(),
        past.skus().count(),
        begun.elapsed().as_secs_f64()
    );
    let serving = Serving::start(&config)?;
    runtime.block_on(measure(args, &serving, &past))?;
    serving.stop()?;
    if args.rounds == 0 {
        let [first, next] = MODELS.map(|model| config.data_dir.join(model));
        // The one before ranks where the newest is damaged; history does where there is none before.
        damage(&first, &next)?;
        refuses_damaged(&config, &runtime, &past, true)?;
        std::fs::remove_file(&next)?;
        damage(&first, &first)?;
        refuses_damaged(&config, &runtime, &past, false)?;
    }
    Ok(())
}

fn client(serving: &Serving) -> Result<Client, Failure> {
    let addresses = Addresses {
        product: shop::address(serving, Service::Product)?,
        order: shop::address(serving, Service::Order)?,
        recommendation: shop::address(serving, Service::Recommendation)?,
        ..Addresses::default()
    };
    Ok(Client::new(&addresses, CONNECTIONS, Retry::NEVER)?)
}

async fn measure(args: &Args, serving: &Serving, past: &Past) -> Result<(), Failure> {
    let client = client(serving)?;
    let begun = Instant::now();
    until_counted(&client, past.baskets().count() as u64).await?;
    println!("counted             in {:.1} s", begun.elapsed().as_secs_f64());
    let mut customers: Vec<String> = past.baskets().map(|basket| basket.customer.clone()).collect();
    customers.sort_unstable();
    customers.dedup();
    let shopping = Shopping {
        client,
        customers,
        skus: past.skus().collect(),
        time: Duration::from_secs_f64(args.seconds),
    };
    let mut table = Table::new(["GetRecommendations", "CPU us", "calls/s", "p50 ms", "p99 ms"]);
    if args.rounds > 0 {
        table.row(shopping.asked(args.rounds).await?.cells("by history and trends"));
    }
    shopping.train("with a model", OperationState::Published).await?;
    if args.rounds == 0 {
        // The same sales again: nothing better is found in them.
        return shopping.train("", OperationState::Kept).await;
    }
    let asked = shopping.asked(args.rounds).await?;
    table.row(asked.cells("by the model"));
    table.print();
    println!("CPU of a call       {}", Reach::AtMost(300.0).verdict(asked.cpu_us));
    println!("p99 at half of peak {}", Reach::AtMost(5.0).verdict(asked.p99_ms));
    let (mut alone, mut beside) = (Samples::default(), Samples::default());
    for round in 0..args.rounds {
        alone.push(shopping.ordered(args.order_rate, 0.0, round * 2).await?);
        beside.push(shopping.ordered(args.order_rate, asked.rate / 2.0, round * 2 + 1).await?);
    }
    let [one, other] = [alone.median(), beside.median()];
    println!("CreateOrder p99     {one:.2} ms ({}) alone", alone.range());
    println!(
        "                    {other:.2} ms ({}) beside {:.0} recommendations/s",
        beside.range(),
        asked.rate / 2.0
    );
    println!(
        "                    {:+.0} %  {}",
        (other / one - 1.0) * 100.0,
        Reach::AtMost(1.2).verdict(other / one)
    );
    Ok(())
}

/// Waits until the log is counted.
async fn until_counted(client: &Client, orders: u64) -> Result<(), Failure> {
    loop {
        let model = client.get_model(GetModelRequest {}).await?;
        if model.purchases == orders && model.records_behind == 0 {
            return Ok(());
        }
        if model.purchases > orders {
            return Err(Failure::unexpected(format!("{orders} orders"), model.purchases));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Prints what came of a training, which has to end so.
fn tell(ended: &Operation, took: Duration, (detail, state): (&str, OperationState)) -> Result<(), Failure> {
    println!("TrainModel          {:?} in {:.1} s: {}", ended.state(), took.as_secs_f64(), ended.detail);
    let mut table = Table::new(["held-out baskets", "before", "now", "history", "popularity"]);
    for metric in &ended.metrics {
        let figures = [metric.running, metric.candidate, metric.history, metric.popularity];
        let [before, now, history, popularity] = figures.map(|figure| format!("{figure:.4}"));
        table.row([format!("{} of {}", metric.name, ended.baskets), before, now, history, popularity]);
    }
    table.print();
    match ended.state() == state && ended.detail.contains(detail) {
        true => Ok(()),
        false => Err(Failure::unexpected(format!("{state:?} {detail}"), (ended.state(), &ended.detail))),
    }
}

/// While one training runs there is no other, and who asks for one is told which runs.
async fn refuses_another(client: &Client, id: &str) -> Result<(), Failure> {
    match client.train_model(TrainModelRequest { measure_only: true }).await {
        Err(CallError::Refused(refused))
            if refused.reason == "TRAINING_RUNNING" && refused.message.contains(id) =>
        {
            println!("                    a second one meanwhile: {}", refused.message);
            Ok(())
        }
        found => Err(Failure::unexpected(format!("TRAINING_RUNNING of {id}"), found)),
    }
}

/// Flips a bit in the middle of a model, and puts what comes of it elsewhere.
fn damage(model: &Path, damaged: &Path) -> Result<(), Failure> {
    let mut bytes = std::fs::read(model)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    Ok(std::fs::write(damaged, bytes)?)
}

/// A damaged model is not used and named, and everybody is answered: by the one before it, or by none.
fn refuses_damaged(config: &Config, runtime: &Runtime, past: &Past, by_another: bool) -> Result<(), Failure> {
    let serving = Serving::start(config)?;
    runtime.block_on(async {
        let client = client(&serving)?;
        until_counted(&client, past.baskets().count() as u64).await?;
        let model = client.get_model(GetModelRequest {}).await?;
        println!("a bit flipped       {}", model.ml_detail);
        let customer = past.baskets().next().map(|basket| basket.customer.clone()).unwrap_or_default();
        let page = client.get_recommendations(home(&customer)).await?.products.len();
        // Where none ranks, the version is that of the last publication that is known of: the damaged one's.
        let version = if by_another { 1 } else { 2 };
        match (model.ml_ready, model.version, model.ml_detail.contains("was refused"), page) {
            (ready, found, true, 1..) if ready == by_another && found == version => Ok(()),
            found => Err(Failure::unexpected("a page without the damaged model", found)),
        }
    })?;
    Ok(serving.stop()?)
}

/// What recommendations cost.
struct Asked {
    cpu_us: f64,
    /// Calls per second with some in flight.
    rate: f64,
    /// At half of that.
    p50_ms: f64,
    p99_ms: f64,
}

impl Asked {
    fn cells(&self, name: &str) -> [String; 5] {
        let Self { cpu_us, rate, p50_ms, p99_ms } = self;
        [
            name.into(),
            format!("{cpu_us:.0}"),
            format!("{rate:.0}"),
            format!("{p50_ms:.2}"),
            format!("{p99_ms:.2}"),
        ]
    }
}

/// Who shops for what.
struct Shopping {
    client: Client,
    customers: Vec<String>,
    skus: Vec<String>,
    time: Duration,
}

impl Shopping {
    /// Trains while customers go on asking; what comes of it has to be `state`.
    async fn train(&self, detail: &str, state: OperationState) -> Result<(), Failure> {
        let begun = Instant::now();
        let operation = self.client.train_model(TrainModelRequest::default()).await?.operation;
        let id = operation.unwrap_or_default().operation_id;
        refuses_another(&self.client, &id).await?;
        let mut answers = 0;
        let ended = loop {
            let asked = GetOperationRequest { operation_id: id.clone() };
            let operation = self.client.get_operation(asked).await?.operation.unwrap_or_default();
            if operation.state() != OperationState::Running {
                break operation;
            }
            let customer = &self.customers[answers * 7 % self.customers.len()];
            let page = self.client.get_recommendations(home(customer)).await?.products;
            if page.is_empty() {
                return Err(Failure::unexpected(
                    format!("a page for {customer} while a model is learned"),
                    page,
                ));
            }
            answers += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        println!("                    {answers} pages answered meanwhile");
        tell(&ended, begun.elapsed(), (detail, state))
    }

    /// Medians of some rounds.
    async fn asked(&self, rounds: usize) -> Result<Asked, Failure> {
        let [mut cpu_us, mut rate, mut p50_ms, mut p99_ms] = std::array::from_fn(|_| Samples::default());
        for _ in 0..rounds {
            let (spent, calls) = self.peak().await?;
            cpu_us.push(spent);
            rate.push(calls);
            let latencies = self.open_loop(calls / 2.0).await?;
            p50_ms.push(latencies.median());
            p99_ms.push(latencies.quantile(0.99));
        }
        Ok(Asked {
            cpu_us: cpu_us.median(),
            rate: rate.median(),
            p50_ms: p50_ms.median(),
            p99_ms: p99_ms.median(),
        })
    }

    /// CPU of a call in us, and calls per second, with some in flight.
    async fn peak(&self) -> Result<(f64, f64), Failure> {
        let (before, begun) = (serving_ns()?, Instant::now());
        let mut callers = JoinSet::new();
        for caller in 0..IN_FLIGHT {
            let (client, time) = (self.client.clone(), self.time);
            let customers: Vec<String> =
                self.customers.iter().skip(caller).step_by(IN_FLIGHT).cloned().collect();
            callers.spawn(async move {
                let mut calls = 0u64;
                for customer in customers.iter().cycle() {
                    if begun.elapsed() > time {
                        break;
                    }
                    client.get_recommendations(home(customer)).await?;
                    calls += 1;
                }
                Ok::<u64, Failure>(calls)
            });
        }
        let mut calls = 0;
        while let Some(ended) = callers.join_next().await {
            calls += ended??;
        }
        let spent = serving_ns()? - before;
        Ok((spent as f64 / 1e3 / calls as f64, calls as f64 / begun.elapsed().as_secs_f64()))
    }

    /// Latencies in ms at a rate, from when each call was due.
    async fn open_loop(&self, rate: f64) -> Result<Samples, Failure> {
        let (client, customers) = (&self.client, &self.customers);
        let calls = (rate * self.time.as_secs_f64()) as usize;
        paced(rate, calls, |number| {
            let (client, customer) = (client.clone(), customers[number * 7 % customers.len()].clone());
            async move { Ok(client.get_recommendations(home(&customer)).await.map(|_| ())?) }
        })
        .await
    }

    /// The 99th percentile of CreateOrder in ms at a rate, beside recommendations at another one.
    async fn ordered(&self, rate: f64, recommendations: f64, round: usize) -> Result<f64, Failure> {
        let orders = paced(rate, (rate * self.time.as_secs_f64()) as usize, |number| {
            let (client, customers, skus) = (self.client.clone(), &self.customers, &self.skus);
            let line = NewOrderLine {
                sku: skus[number * 31 % skus.len()].clone(),
                quantity: 1,
                ..Default::default()
            };
            let order = CreateOrderRequest {
                request_id: format!("{round}-{number}"),
                customer_id: customers[number * 7 % customers.len()].clone(),
                lines: vec![line],
                ..Default::default()
            };
            async move { Ok(client.create_order(order).await.map(|_| ())?) }
        });
        let latencies = if recommendations > 0.0 {
            let (orders, asked) = tokio::join!(orders, self.open_loop(recommendations));
            asked?;
            orders?
        } else {
            orders.await?
        };
        Ok(latencies.quantile(0.99))
    }
}

/// Makes calls at a rate, whatever becomes of them; how long each took in ms from when it was due.
async fn paced<F>(rate: f64, calls: usize, call: impl Fn(usize) -> F) -> Result<Samples, Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..calls {
        let due = begun + Duration::from_secs_f64(number as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let call = call(number);
        running.spawn(async move { call.await.map(|()| due.elapsed().as_secs_f64() * 1e3) });
    }
    let mut latencies = Samples::default();
    while let Some(ended) = running.join_next().await {
        latencies.push(ended??);
    }
    Ok(latencies)
}

fn home(customer: &str) -> GetRecommendationsRequest {
    GetRecommendationsRequest { customer_id: customer.into(), ..Default::default() }
}

/// CPU time of the threads that serve calls and of those that rank, in ns.
fn serving_ns() -> Result<u64, Failure> {
    let threads = cpu::threads_ns()?;
    let found: Vec<u64> = SERVING.iter().filter_map(|name| threads.get(*name)).copied().collect();
    match found.len() == SERVING.len() {
        true => Ok(found.iter().sum()),
        false => Err(Failure::unexpected(format!("threads named {SERVING:?}"), threads.keys())),
    }
}
