//! Nodes of a cluster that a script leads: over the native protocol, and over gRPC call by call and in sessions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use onrush_grpc::order::v1 as order;
use onrush_grpc::order::v1::order_service_server::{OrderService, OrderServiceServer};
use onrush_grpc::session::v1::answer::Answer as Told;
use onrush_grpc::session::v1::call::Call as Asked;
use onrush_grpc::session::v1::session_service_server::{SessionService, SessionServiceServer};
use onrush_grpc::session::v1::{Answer, Failure, SessionRequest, SessionResponse};
use onrush_proto::frame::{
    Cluster, Commands, FRAME_BYTES_MAX, Frame, Kind, Node, RecordsFrame, Subscribe, SubscribeView, Welcome,
    begin, put_reply,
};
use onrush_proto::{
    Command, Currency, Lsn, Money, OrderId, Outcome, Receipt, Refusal, Reply, ShardId, SlotMap,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

/// What a node is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    /// Which one.
    pub(crate) node: u64,
    /// About which shard; over gRPC 0.
    pub(crate) shard: u16,
    /// How many were asked before, by whomever.
    pub(crate) number: usize,
    /// The key; 0 of a read.
    pub(crate) key: u128,
}

/// What it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Does {
    /// Leads: does it, once for each key.
    Lead,
    /// Says that this one leads.
    Name(u64),
    /// Leads, and is gone before it says so.
    LeadAndDie,
}

type Script = dyn Fn(Ask) -> Does + Send + Sync;

/// Nodes that share what they did, as nodes share a log.
pub(crate) struct Nodes {
    script: Box<Script>,
    shards: SlotMap,
    /// True if callers are told where the others are.
    tells: AtomicBool,
    addresses: OnceLock<Vec<String>>,
    asked: Mutex<Vec<Ask>>,
    /// How often each key was done.
    effects: Mutex<BTreeMap<u128, u32>>,
    dead: Vec<(AtomicBool, Notify)>,
    /// Where subscriptions began: node and position.
    followed: Mutex<Vec<(u64, u64)>>,
}

impl Nodes {
    fn new(count: usize, shards: u16, tells: bool, script: Box<Script>) -> Arc<Self> {
        Arc::new(Self {
            script,
            shards: SlotMap::new(shards).unwrap(),
            tells: AtomicBool::new(tells),
            addresses: OnceLock::new(),
            asked: Mutex::default(),
            effects: Mutex::default(),
            dead: (0..count).map(|_| Default::default()).collect(),
            followed: Mutex::default(),
        })
    }

    async fn listen(&self) -> Vec<TcpListener> {
        let mut listeners = Vec::new();
        for _ in &self.dead {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string());
        self.addresses.set(addresses.collect()).unwrap();
        listeners
    }

    /// Nodes numbered from 1 on, that speak the native protocol.
    pub(crate) async fn native(
        (count, shards): (usize, u16),
        tells: bool,
        script: impl Fn(Ask) -> Does + Send + Sync + 'static,
    ) -> Arc<Self> {
        let nodes = Self::new(count, shards, tells, Box::new(script));
        for (node, listener) in (1..).zip(nodes.listen().await) {
            tokio::spawn(Arc::clone(&nodes).serve_native(node, listener));
        }
        nodes
    }

    /// The same over gRPC.
    pub(crate) async fn grpc(
        count: usize,
        tells: bool,
        script: impl Fn(Ask) -> Does + Send + Sync + 'static,
    ) -> Arc<Self> {
        let nodes = Self::new(count, 1, tells, Box::new(script));
        for (node, listener) in (1..).zip(nodes.listen().await) {
            let port = Port { nodes: Arc::clone(&nodes), node };
            let server = tonic::transport::Server::builder()
                .add_service(OrderServiceServer::new(port.clone()))
                .add_service(SessionServiceServer::new(port));
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            tokio::spawn(server.serve_with_incoming(incoming));
        }
        nodes
    }

    /// The addresses of these nodes, with commas.
    pub(crate) fn at(&self, nodes: &[u64]) -> String {
        nodes.iter().map(|node| self.address(*node).unwrap()).collect::<Vec<_>>().join(",")
    }

    fn address(&self, node: u64) -> Option<String> {
        self.addresses.get().unwrap().get(usize::try_from(node).unwrap().wrapping_sub(1)).cloned()
    }

    /// Who was asked, one after the other.
    pub(crate) fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().iter().map(|ask| ask.node).collect()
    }

    /// The same with the shards that it was about; from now on nobody was.
    pub(crate) fn take_asked(&self) -> Vec<(u64, u16)> {
        std::mem::take(&mut *self.asked.lock().unwrap()).iter().map(|ask| (ask.node, ask.shard)).collect()
    }

    /// Keys that came, each once.
    pub(crate) fn keys(&self) -> Vec<u128> {
        let mut keys: Vec<u128> = self.asked.lock().unwrap().iter().map(|ask| ask.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// How often a key was done.
    pub(crate) fn effects(&self, key: u128) -> u32 {
        self.effects.lock().unwrap().get(&key).copied().unwrap_or(0)
    }

    /// Where subscriptions began.
    pub(crate) fn followed(&self) -> Vec<(u64, u64)> {
        self.followed.lock().unwrap().clone()
    }

    fn is_dead(&self, node: u64) -> bool {
        self.dead[node as usize - 1].0.load(Ordering::SeqCst)
    }

    /// Callers that are welcomed from here on are told where the others are.
    pub(crate) fn tell(&self) {
        self.tells.store(true, Ordering::SeqCst);
    }

    /// A node is gone from here on.
    pub(crate) fn die(&self, node: u64) {
        let (dead, told) = &self.dead[node as usize - 1];
        dead.store(true, Ordering::SeqCst);
        told.notify_waiters();
    }

    async fn death(&self, node: u64) {
        let (dead, told) = &self.dead[node as usize - 1];
        let told = told.notified();
        if !dead.load(Ordering::SeqCst) {
            told.await;
        }
    }

    /// What a node says to a command; `None`: it is gone.
    fn answer(&self, node: u64, shard: u16, key: u128) -> Option<Outcome> {
        let ask = {
            let mut asked = self.asked.lock().unwrap();
            let ask = Ask { node, shard, number: asked.len(), key };
            asked.push(ask);
            ask
        };
        let does = (self.script)(ask);
        match does {
            Does::Name(leader) => return Some(Outcome::Refused(Refusal::NotLeader { leader })),
            Does::Lead | Does::LeadAndDie => {}
        }
        // What the log has is told again.
        self.effects.lock().unwrap().entry(key).or_insert(1);
        if does == Does::LeadAndDie {
            self.die(node);
            return None;
        }
        let total = Money::new(450, Currency::EUR);
        Some(Outcome::Accepted(Receipt::Order { order: OrderId(key), total, held_until_us: 9 }))
    }

    async fn serve_native(self: Arc<Self>, node: u64, listener: TcpListener) {
        loop {
            tokio::select! {
                () = self.death(node) => return,
                accepted = listener.accept() => {
                    let (stream, _) = accepted.unwrap();
                    let nodes = Arc::clone(&self);
                    tokio::spawn(async move {
                        tokio::select! {
                            () = nodes.death(node) => {}
                            () = nodes.speak(node, stream) => {}
                        }
                    });
                }
            }
        }
    }

    async fn speak(&self, node: u64, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            while let Some((frame, rest)) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap() {
                let (rest, said) = (rest.to_vec(), self.said(node, &frame));
                let Some(said) = said else { return };
                if stream.write_all(&said).await.is_err() {
                    return;
                }
                bytes = rest;
            }
            if !stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
    }

    /// What a node says to a frame; `None`: it is gone.
    fn said(&self, node: u64, frame: &Frame<'_>) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match frame.kind {
            Kind::Hello => Welcome::new(1, self.shards, 1 << 20, 100).of(self.cluster(node)).write(&mut out),
            Kind::Ping => begin(&mut out, Kind::Pong).seal(&mut out, 0, 1),
            Kind::Commands => {
                for entry in Commands::of(frame).unwrap() {
                    let command: Command = entry.command().unwrap();
                    let shard = self.shards.shard(command.slot()).0;
                    let outcome = self.answer(node, shard, entry.key)?;
                    let reply = Reply { outcome, replayed: false, lsn: Lsn(1) };
                    let open = begin(&mut out, Kind::Outcomes);
                    assert!(put_reply(&mut out, entry.tag, &reply));
                    open.seal(&mut out, 1, 1);
                }
            }
            Kind::Subscribe => {
                let view = SubscribeView::of(frame).unwrap();
                let Subscribe { from, .. } = view.wanted().unwrap();
                let from = match from {
                    onrush_proto::frame::Start::At(lsn) => lsn.0,
                    _ => 0,
                };
                self.followed.lock().unwrap().push((node, from));
                let frame = RecordsFrame::begin(&mut out, view.subscription(), ShardId(0));
                frame.seal(&mut out, Lsn(from + 10));
            }
            _ => {}
        }
        Some(out)
    }

    fn cluster(&self, node: u64) -> Cluster {
        let numbered = (1..).zip(self.addresses.get().unwrap());
        let told = numbered.map(|(number, address)| Node { number, address: address.clone() });
        let cluster = Cluster::new(node, told.collect()).unwrap();
        if self.tells.load(Ordering::SeqCst) { cluster } else { Cluster::default() }
    }
}

/// A node's port of gRPC. One that is gone is as good as one behind which nobody is.
#[derive(Clone)]
struct Port {
    nodes: Arc<Nodes>,
    node: u64,
}

impl Port {
    fn order(&self, asked: &order::CreateOrderRequest) -> Result<order::CreateOrderResponse, Box<Failure>> {
        let gone = Failure { code: Code::Unavailable as i32, message: "gone".into(), ..Default::default() };
        if self.nodes.is_dead(self.node) {
            return Err(Box::new(gone));
        }
        let key = u128::from_str_radix(&asked.request_id, 16).unwrap();
        match self.nodes.answer(self.node, 0, key) {
            None => Err(Box::new(gone)),
            Some(Outcome::Refused(refusal)) => {
                let Refusal::NotLeader { leader } = refusal else { panic!("{refusal}") };
                let mut facts = BTreeMap::from([("leader", leader.to_string())]);
                if self.nodes.tells.load(Ordering::SeqCst)
                    && let Some(address) = self.nodes.address(leader)
                {
                    facts.insert("leader_address", address);
                }
                if leader == 0 {
                    facts.clear();
                }
                let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                let reason = refusal.reason().0.to_owned();
                let code = Code::Unavailable as i32;
                Err(Box::new(Failure { code, reason, facts, ..Default::default() }))
            }
            Some(_) => Ok(order::CreateOrderResponse {
                request_id: asked.request_id.clone(),
                replayed: false,
                order_id: OrderId(key).to_string(),
                total: Some(onrush_grpc::money::v1::Money { minor_units: 450, currency_code: "EUR".into() }),
                held_until_us: 9,
            }),
        }
    }
}

fn status(failure: Failure) -> Status {
    let Failure { code, reason, facts, message, .. } = failure;
    if reason.is_empty() {
        return Status::new(Code::from_i32(code), message);
    }
    let details = ErrorDetails::with_error_info(reason, "onrush", facts);
    Status::with_error_details(Code::from_i32(code), message, details)
}

#[tonic::async_trait]
impl OrderService for Port {
    async fn create_order(
        &self,
        request: Request<order::CreateOrderRequest>,
    ) -> Result<Response<order::CreateOrderResponse>, Status> {
        self.order(&request.into_inner()).map(Response::new).map_err(|failure| status(*failure))
    }

    async fn process_payment(
        &self,
        _: Request<order::ProcessPaymentRequest>,
    ) -> Result<Response<order::ProcessPaymentResponse>, Status> {
        Err(Status::unimplemented("orders alone"))
    }

    async fn get_order_status(
        &self,
        _: Request<order::GetOrderStatusRequest>,
    ) -> Result<Response<order::GetOrderStatusResponse>, Status> {
        Err(Status::unimplemented("orders alone"))
    }

    async fn cancel_order(
        &self,
        _: Request<order::CancelOrderRequest>,
    ) -> Result<Response<order::CancelOrderResponse>, Status> {
        Err(Status::unimplemented("orders alone"))
    }

    async fn list_orders(
        &self,
        _: Request<order::ListOrdersRequest>,
    ) -> Result<Response<order::ListOrdersResponse>, Status> {
        Err(Status::unimplemented("orders alone"))
    }
}

#[tonic::async_trait]
impl SessionService for Port {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if self.nodes.is_dead(self.node) {
            return Err(Status::unavailable("gone"));
        }
        let (sender, answers) = mpsc::channel(16);
        let (port, mut calls) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(message)) = calls.message().await {
                for call in message.calls {
                    let Some(Asked::CreateOrder(asked)) = call.call else { panic!("orders alone") };
                    let answer = match port.order(&asked) {
                        // The stream ends with the node.
                        Err(_) if port.nodes.is_dead(port.node) => return,
                        Ok(made) => Told::CreateOrder(Box::new(made)),
                        Err(failure) => Told::Failure(failure),
                    };
                    let answers = vec![Answer { tag: call.tag, answer: Some(answer) }];
                    let _ = sender.send(Ok(SessionResponse { answers })).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
