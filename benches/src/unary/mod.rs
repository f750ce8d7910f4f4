//! `unary`: the services' calls against a bare tonic call with the same messages.

pub mod bare;
pub mod client;

use std::path::Path;

use clap::Parser;
use onrush_grpc::order::v1::{CreateOrderRequest, NewOrderLine};
use onrush_grpc::product::v1::{ProductLine, ValidateProductsRequest};
use onrush_services::access::{Keyring, Role, Roles};
use onrush_services::config::{Config, Service, Tokens};
use onrush_services::serve::Serving;

use crate::Failure;
use crate::cpu::process_ns;
use crate::kinds::{Host, Store};
use crate::machine;
use crate::reach::Reach;
use crate::sale::Sale;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::shop;
use crate::table::Table;
use bare::Bare;
use client::{Call, Callee, Load, Run, Token};

/// CreateOrder and ValidateProducts over gRPC against a bare tonic unary call
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Measured seconds of each call per round
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Rounds; the calls alternate within each
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Connections
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
    /// Calls in flight on each connection
    #[arg(long, default_value_t = 32)]
    pub in_flight: usize,
    /// Front threads of either server
    #[arg(long, default_value_t = 1)]
    pub fronts: usize,
    /// SKUs on sale
    #[arg(long, default_value_t = 1)]
    pub skus: usize,
    /// Who drives the shards
    #[arg(long, value_enum, default_value = "thread")]
    pub host: Host,
    /// Where rows are kept
    #[arg(long, value_enum, default_value = "fjall")]
    pub store: Store,
    /// Number of shards
    #[arg(long, default_value_t = 1)]
    pub shards: u16,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// A call of one of the two servers.
struct Contender {
    name: &'static str,
    address: String,
    call: Call,
    token: Token,
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "closed loop of {} connections x {} calls in flight from one client thread over loopback, server in \
         the same process with {} front thread(s), host {:?}, store {:?}, {} shards; {} s of each call in each \
         of {} rounds; medians over rounds, ratios within a round; server CPU = process less client thread",
        args.connections,
        args.in_flight,
        args.fronts,
        args.host,
        args.store,
        args.shards,
        args.seconds,
        args.rounds
    );
    machine::head("unary: gRPC against a bare tonic call", &method);
    let dir = args.scratch.fresh()?;
    let sale = Sale::uniform(args.skus);
    let (bare, serving) = (Bare::start(args.fronts)?, Serving::start(&config(args, dir.path()))?);
    shop::open(&serving, &sale)?;
    let contenders = contenders(&bare, &serving, token(dir.path())?)?;
    let mut rounds: Vec<Vec<Run>> = contenders.iter().map(|_| Vec::new()).collect();
    let load = Load { connections: args.connections, in_flight: args.in_flight, seconds: args.seconds };
    let mut messages = Messages::of(sale);
    for _ in 0..args.rounds {
        for (contender, rounds) in contenders.iter().zip(&mut rounds) {
            rounds.push(client::drive(
                Callee { address: &contender.address, spent: &process_ns },
                contender.call,
                &contender.token,
                load,
                &mut messages,
            )?);
        }
    }
    print(&contenders, &rounds);
    bare.stop();
    Ok(serving.stop()?)
}

fn print(contenders: &[Contender], rounds: &[Vec<Run>]) {
    let heads = ["call", "calls/s", "rounds", "p50 us", "p99 us", "CPU us/call", "server"];
    let mut table = Table::new(heads);
    for (contender, rounds) in contenders.iter().zip(rounds) {
        let over = |figure: fn(&Run) -> f64| rounds.iter().map(figure).collect::<Samples>();
        let rate = over(|run| run.calls_per_s);
        table.row([
            contender.name.to_owned(),
            format!("{:.0}", rate.median()),
            rate.range(),
            format!("{:.0}", over(|run| run.p50_us).median()),
            format!("{:.0}", over(|run| run.p99_us).median()),
            format!("{:.2}", over(|run| run.cpu_us).median()),
            format!("{:.2}", over(|run| run.server_cpu_us).median()),
        ]);
    }
    table.print();
    println!();
    let pairs = [("CreateOrder", 1, 0, 0.5), ("with a token", 2, 0, 0.45), ("ValidateProducts", 4, 3, 0.7)];
    for (name, real, bare, bound) in pairs {
        let ratio: Samples = rounds[real]
            .iter()
            .zip(&rounds[bare])
            .map(|(real, bare)| real.calls_per_s / bare.calls_per_s)
            .collect();
        let verdict = Reach::AtLeast(bound).verdict(ratio.median());
        println!("{name:<16} / bare  {:.2} ({})  {verdict}", ratio.median(), ratio.range());
    }
}

/// An admin's, for a shop with its data below `dir`: staff order for others, so that the messages stay the same.
pub fn token(dir: &Path) -> Result<Token, Failure> {
    let keyring = Keyring::open(&dir.join("data"), &Tokens::default())?;
    let token = keyring.issue("00000000-0000-4000-8000-000000000000", "0123456789abcdef", admin())?;
    Ok(Some(format!("Bearer {token}").parse()?))
}

fn admin() -> Roles {
    [Role::Admin].into_iter().collect()
}

fn contenders(bare: &Bare, serving: &Serving, token: Token) -> Result<[Contender; 5], Failure> {
    let of = |name, address, call| Contender { name, address, call, token: None };
    let bare = || bare.address().to_owned();
    let order = shop::address(serving, Service::Order)?;
    Ok([
        of("bare, as CreateOrder", bare(), Call::Create),
        of("CreateOrder", order.clone(), Call::Create),
        Contender { token, ..of("CreateOrder with a token", order, Call::Create) },
        of("bare, as ValidateProducts", bare(), Call::Validate),
        of("ValidateProducts", shop::address(serving, Service::Product)?, Call::Validate),
    ])
}

fn config(args: &Args, dir: &Path) -> Config {
    Config {
        shards: Some(args.shards),
        host: args.host.into(),
        store: args.store.into(),
        fronts: args.fronts,
        ..shop::config(dir, &[Service::Product, Service::Order])
    }
}

/// Makes the messages of either server's calls.
#[derive(Clone)]
pub struct Messages {
    sale: Sale,
    made: u64,
}

impl Messages {
    /// Those of a sale.
    pub fn of(sale: Sale) -> Self {
        Self { sale, made: 0 }
    }

    /// A one-line order under a key as long as a UUID.
    fn create(&mut self) -> CreateOrderRequest {
        self.made += 1;
        let line = NewOrderLine { sku: self.sku(), quantity: 1, max_unit_price: None };
        CreateOrderRequest {
            request_id: format!("00000000-0000-4000-8000-{:012}", self.made),
            customer_id: format!("customer-{:08}", self.made),
            lines: vec![line],
            hold_us: 0,
        }
    }

    fn validate(&mut self) -> ValidateProductsRequest {
        self.made += 1;
        ValidateProductsRequest { lines: vec![ProductLine { sku: self.sku(), quantity: 1 }] }
    }

    fn sku(&self) -> String {
        let skus = self.sale.skus();
        skus[self.made as usize % skus.len()].to_string()
    }
}
