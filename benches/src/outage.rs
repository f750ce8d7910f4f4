//! `outage`: what becomes of payments while the gateway is down, and when it is back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use onrush_grpc::order::v1::{
    CreateOrderRequest, GetOrderStatusRequest, NewOrderLine, OrderPaymentStatus, ProcessPaymentRequest,
};
use onrush_net::client::grpc::{Addresses, Client};
use onrush_net::client::{CallError, Retry};
use onrush_services::config::Service;
use onrush_services::gateway::simulated::Faults;
use onrush_services::serve::Serving;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::Failure;
use crate::machine;
use crate::reach::Reach;
use crate::sale::Sale;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::shop;

/// How long buyers pay before the gateway goes.
const BEFORE: Duration = Duration::from_secs(2);
/// How often orders that wait are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Into how many turns the first looks are dealt.
const TURNS: i64 = 100;

/// Orders that are paid while the simulated gateway fails every call, until each is settled
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Seconds that the gateway is down
    #[arg(long, default_value_t = 60.0)]
    pub down: f64,
    /// Orders per second that are made and paid, from two seconds before until it is back
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    /// Most seconds to wait for the last order after it is back
    #[arg(long, default_value_t = 120.0)]
    pub patience: f64,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let method = format!(
        "{} orders a second, each paid at once, over gRPC in this process; from 2 s after the start the simulated gateway \
         fails every call for {} s; then until no order waits; the audit at the end",
        args.rate, args.down
    );
    machine::head("outage: the gateway is down", &method);
    let dir = args.scratch.fresh()?;
    let mut config = shop::config(dir.path(), &[Service::Product, Service::Order, Service::Payment]);
    config.gateway_faults = Faults {
        brownout_ratio: 1.0,
        brownout_at_ms: BEFORE.as_millis() as u64,
        brownout_ms: (args.down * 1e3) as u64,
        ..Faults::default()
    };
    let serving = Serving::start(&config)?;
    // The gateway's clock began in there.
    let start = Instant::now();
    let sale = Sale::uniform(1);
    shop::open(&serving, &sale)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(args, &serving, &sale, start))?;
    drop(runtime);
    Ok(serving.stop()?)
}

async fn measure(args: &Args, serving: &Serving, sale: &Sale, start: Instant) -> Result<(), Failure> {
    let addresses = Addresses {
        product: shop::address(serving, Service::Product)?,
        order: shop::address(serving, Service::Order)?,
        payment: shop::address(serving, Service::Payment)?,
        ..Addresses::default()
    };
    let client = Arc::new(Client::new(&addresses, 4, Retry::NEVER)?);
    let back = start + BEFORE + Duration::from_secs_f64(args.down);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / args.rate));
    let mut buyers = JoinSet::new();
    let sku = sale.skus()[0].to_string();
    let mut number = 0;
    while Instant::now() < back {
        ticks.tick().await;
        number += 1;
        buyers.spawn(buy(
            client.clone(),
            sku.clone(),
            number,
            (back, Duration::from_secs_f64(args.patience)),
        ));
    }
    let (mut waited, mut last) = (0, Duration::ZERO);
    let mut after = Samples::default();
    while let Some(settled) = buyers.join_next().await {
        let at = settled??;
        if at > back {
            waited += 1;
            last = last.max(at - back);
            after.push((at - back).as_secs_f64());
        }
    }
    if waited == 0 {
        return Err(Failure::unexpected("orders that wait for the gateway", number));
    }
    let audit = client.audit(Default::default()).await?;
    if !audit.ok {
        return Err(Failure::unexpected("an audit without a finding", audit));
    }
    println!("orders              {number}");
    println!("paid                {}", audit.units_sold);
    println!("waited for it       {waited}");
    println!(
        "settled after       p50 {:.2} s, p99 {:.2} s of its return",
        after.median(),
        after.quantile(0.99)
    );
    println!(
        "the last one        {:.2} s  {}",
        last.as_secs_f64(),
        Reach::AtMost(60.0).verdict(last.as_secs_f64())
    );
    println!("audit               ok");
    match audit.units_sold == number {
        true => Ok(()),
        false => Err(Failure::unexpected(format!("{number} paid orders"), audit.units_sold)),
    }
}

/// Makes an order, pays for it, and waits until it is settled; when it was.
async fn buy(
    client: Arc<Client>,
    sku: String,
    number: i64,
    (back, patience): (Instant, Duration),
) -> Result<Instant, Failure> {
    let create = CreateOrderRequest {
        request_id: format!("order-{number}"),
        customer_id: format!("customer-{number}"),
        lines: vec![NewOrderLine { sku, quantity: 1, max_unit_price: None }],
        hold_us: 0,
    };
    let order_id = client.create_order(create).await?.order_id;
    let pay = ProcessPaymentRequest {
        request_id: format!("payment-{number}"),
        order_id: order_id.clone(),
        payment_method: "pm_card".into(),
        capture_method: 0,
    };
    // Without an answer in time the attempt goes on.
    if let Err(refused @ CallError::Refused(_)) = client.process_payment(pay).await {
        return Err(refused.into());
    }
    loop {
        let ask = GetOrderStatusRequest { order_id: order_id.clone() };
        let order = client.get_order_status(ask).await?.order.unwrap_or_default();
        if order.payment_status() == OrderPaymentStatus::Succeeded {
            return Ok(Instant::now());
        }
        if Instant::now() > back + patience {
            return Err(Failure::unexpected("a paid order in time", order.payment_status()));
        }
        // While it is away there is nothing to see, and looks of thousands at once would be a load of their own.
        let away = back.saturating_duration_since(Instant::now());
        let turn = LOOK.mul_f64((number % TURNS) as f64 / TURNS as f64);
        tokio::time::sleep(if away.is_zero() { LOOK } else { away + turn }).await;
    }
}
