//! A closed loop of unary calls from one thread: the same client for either server.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_grpc::product::v1::product_service_client::ProductServiceClient;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::Messages;
use crate::Failure;
use crate::cpu::thread_ns;
use crate::samples::Samples;

/// Time in front of what is measured: connections open and windows grow.
const WARM: Duration = Duration::from_millis(200);

/// Which call.
#[derive(Clone, Copy)]
pub enum Call {
    /// `OrderService.CreateOrder` of one line.
    Create,
    /// `ProductService.ValidateProducts` of one line.
    Validate,
}

/// What goes with each call.
pub type Token = Option<MetadataValue<Ascii>>;

/// How many calls at once, and for how long.
#[derive(Clone, Copy)]
pub struct Load {
    /// Connections.
    pub connections: usize,
    /// Calls that each has open.
    pub in_flight: usize,
    /// Seconds that are measured.
    pub seconds: f64,
}

/// What one call came to in one round.
pub struct Run {
    /// Calls answered per second.
    pub calls_per_s: f64,
    /// Median latency.
    pub p50_us: f64,
    /// Latency that one in a hundred exceeds.
    pub p99_us: f64,
    /// CPU per call of client and server.
    pub cpu_us: f64,
    /// That of the server.
    pub server_cpu_us: f64,
}

/// What the tasks share; they run on one thread.
struct Shared {
    token: Token,
    messages: RefCell<Messages>,
    latencies_us: RefCell<Vec<f64>>,
    stopped: Cell<bool>,
}

/// A server as its caller sees it.
#[derive(Clone, Copy)]
pub struct Callee<'a> {
    /// Where it listens: `http://host:port`.
    pub address: &'a str,
    /// CPU time in ns of all that works for a call, the calling thread included.
    pub spent: &'a dyn Fn() -> u64,
}

/// Calls a server for a while.
pub fn drive(
    callee: Callee<'_>,
    call: Call,
    token: &Token,
    load: Load,
    messages: &mut Messages,
) -> Result<Run, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let shared = Rc::new(Shared {
        token: token.clone(),
        messages: RefCell::new(messages.clone()),
        latencies_us: RefCell::default(),
        stopped: Cell::new(false),
    });
    let run = runtime.block_on(LocalSet::new().run_until(measure(callee, call, load, &shared)));
    *messages = shared.messages.borrow().clone();
    run
}

async fn measure(callee: Callee<'_>, call: Call, load: Load, shared: &Rc<Shared>) -> Result<Run, Failure> {
    let Callee { address, spent } = callee;
    let mut tasks = Vec::new();
    for _ in 0..load.connections {
        let channel = Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true).connect().await?;
        for _ in 0..load.in_flight {
            tasks.push(tokio::task::spawn_local(repeat(channel.clone(), call, Rc::clone(shared))));
        }
    }
    tokio::time::sleep(WARM).await;
    shared.latencies_us.borrow_mut().clear();
    let (start, process, thread) = (Instant::now(), spent(), thread_ns());
    tokio::time::sleep(Duration::from_secs_f64(load.seconds)).await;
    let latencies: Samples = shared.latencies_us.take().into_iter().collect();
    let (took, process, thread) = (start.elapsed().as_secs_f64(), spent() - process, thread_ns() - thread);
    shared.stopped.set(true);
    for task in tasks {
        task.await??;
    }
    let calls = latencies.len().max(1) as f64;
    Ok(Run {
        calls_per_s: calls / took,
        p50_us: latencies.median(),
        p99_us: latencies.quantile(0.99),
        cpu_us: process as f64 / 1e3 / calls,
        server_cpu_us: process.saturating_sub(thread) as f64 / 1e3 / calls,
    })
}

async fn repeat(channel: Channel, call: Call, shared: Rc<Shared>) -> Result<(), Status> {
    let mut orders = OrderServiceClient::new(channel.clone());
    let mut products = ProductServiceClient::new(channel);
    while !shared.stopped.get() {
        let start = Instant::now();
        match call {
            Call::Create => {
                let mut request = Request::new(shared.messages.borrow_mut().create());
                if let Some(token) = &shared.token {
                    request.metadata_mut().insert("authorization", token.clone());
                }
                orders.create_order(request).await?;
            }
            Call::Validate => {
                let message = shared.messages.borrow_mut().validate();
                let answer = products.validate_products(message).await?;
                if !answer.get_ref().valid {
                    return Err(Status::internal("expected valid lines, found others"));
                }
            }
        }
        shared.latencies_us.borrow_mut().push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(())
}
