//! The log as a stream of events, over gRPC.

mod command;
mod letters;
mod members;
mod reading;
mod refusals;

use std::collections::BTreeMap;
use std::time::Duration;

use onrush_grpc::log::v1::log_service_client::LogServiceClient;
use onrush_grpc::log::v1::{
    Alive, Assigned, Batch, CommitOffsetRequest, Edge, Event, Grant, Group, ListTopicsRequest, Place,
    Rewound, Start, SubscribeRequest, SubscribeResponse, place, subscribe_request, subscribe_response,
};
use onrush_services::config::Service;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_types::StatusExt;

use crate::shop::Shop;

/// As long as nobody waits: a test that hangs fails.
const HANGS: Duration = Duration::from_secs(60);
/// The name of a topic.
pub(crate) const CREATED: &str = "order.created";

/// A consumer of events.
pub(crate) struct Consumer {
    asks: mpsc::Sender<SubscribeRequest>,
    told: Streaming<SubscribeResponse>,
    /// What it was told of its shards last.
    pub(crate) assigned: Assigned,
}

pub(crate) async fn log(shop: &Shop) -> LogServiceClient<Channel> {
    LogServiceClient::connect(shop.address(Service::Order)).await.unwrap()
}

pub(crate) fn edge(edge: Edge) -> Option<Place> {
    Some(Place { place: Some(place::Place::Edge(edge.into())) })
}

/// A topic from the beginning, with credit for all of it.
pub(crate) fn all_of(topic: &str) -> Start {
    Start { topic: topic.into(), from: edge(Edge::Beginning), credit_bytes: u32::MAX, ..Start::default() }
}

/// The same as a member of the group of the tests.
pub(crate) fn member(name: &str) -> Start {
    Start { group: "books".into(), member: name.into(), ..all_of(CREATED) }
}

/// The reason of a status, with what a program reads of it.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else { return status.to_string() };
    let facts: BTreeMap<_, _> = info.metadata.iter().collect();
    facts.iter().fold(info.reason.clone(), |text, (name, value)| format!("{text} {name}={value}"))
}

impl Consumer {
    /// Says what is wanted; what comes of it shows when it is read.
    pub(crate) async fn begin(shop: &Shop, start: Start) -> Self {
        Self::begin_with(shop, vec![subscribe_request::Ask::Start(start)], None).await.unwrap()
    }

    async fn begin_with(
        shop: &Shop,
        said: Vec<subscribe_request::Ask>,
        token: Option<&str>,
    ) -> Result<Self, Status> {
        Self::begin_at(shop.address(Service::Order), said, token).await
    }

    pub(crate) async fn begin_at(
        address: String,
        said: Vec<subscribe_request::Ask>,
        token: Option<&str>,
    ) -> Result<Self, Status> {
        let (asks, asked) = mpsc::channel(16);
        for ask in said {
            asks.send(SubscribeRequest { ask: Some(ask) }).await.unwrap();
        }
        let mut request = Request::new(ReceiverStream::new(asked));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let unreachable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let mut client = LogServiceClient::connect(address).await.map_err(unreachable)?;
        let told = client.subscribe(request).await?.into_inner();
        Ok(Self { asks, told, assigned: Assigned::default() })
    }

    /// The same, once it knows its shards.
    pub(crate) async fn open(shop: &Shop, start: Start) -> Self {
        let mut consumer = Self::begin(shop, start).await;
        consumer.shards().await;
        consumer
    }

    async fn say(&self, ask: subscribe_request::Ask) {
        self.asks.send(SubscribeRequest { ask: Some(ask) }).await.unwrap();
    }

    async fn grant(&self, bytes: u32) {
        self.say(subscribe_request::Ask::Grant(Grant { credit_bytes: bytes })).await;
    }

    async fn lives(&self) {
        self.say(subscribe_request::Ask::Alive(Alive {})).await;
    }

    /// What it is told next; `None` at an end without a reason.
    pub(crate) async fn next(&mut self) -> Result<Option<subscribe_response::Tell>, Status> {
        let told = tokio::time::timeout(HANGS, self.told.message()).await;
        let told = told.expect("expected something to be told, found nothing")?;
        let tell = told.map(|told| told.tell.unwrap());
        if let Some(subscribe_response::Tell::Assigned(assigned)) = &tell {
            self.assigned = assigned.clone();
        }
        Ok(tell)
    }

    /// Its shards once they are dealt anew, each with what is read next. What else comes until then is passed over.
    async fn shards(&mut self) -> Vec<(u32, u64)> {
        loop {
            if let subscribe_response::Tell::Assigned(assigned) = self.next().await.unwrap().unwrap() {
                return assigned.shards.iter().map(|position| (position.shard, position.lsn)).collect();
            }
        }
    }

    /// The same as soon as it has so many.
    async fn so_many_shards(&mut self, wanted: usize) -> Vec<(u32, u64)> {
        loop {
            let shards = self.shards().await;
            if shards.len() == wanted {
                return shards;
            }
        }
    }

    /// The next batch that has events.
    async fn batch(&mut self) -> Batch {
        loop {
            match self.next().await.unwrap().unwrap() {
                subscribe_response::Tell::Batch(batch) if !batch.events.is_empty() => return batch,
                subscribe_response::Tell::Batch(_) => {}
                other => panic!("expected events, found {other:?}"),
            }
        }
    }

    /// So many events with their shards.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<(u32, Event)> {
        let mut events = Vec::new();
        while events.len() < count {
            let batch = self.batch().await;
            events.extend(batch.events.into_iter().map(|event| (batch.shard, event)));
        }
        assert_eq!(events.len(), count, "{events:?}");
        events
    }

    /// Where a shard is read again.
    async fn rewound(&mut self) -> Rewound {
        loop {
            match self.next().await.unwrap().unwrap() {
                subscribe_response::Tell::Rewound(rewound) => return rewound,
                subscribe_response::Tell::Batch(_) => {}
                other => panic!("expected a shard to be read again, found {other:?}"),
            }
        }
    }

    /// Why it ended.
    pub(crate) async fn end(&mut self) -> String {
        loop {
            match self.next().await {
                Err(status) => return reason(&status),
                Ok(None) => return "OK".into(),
                Ok(Some(_)) => {}
            }
        }
    }

    /// A commit under its generation.
    pub(crate) fn commit(&self, shard: u32, lsn: u64) -> CommitOffsetRequest {
        let (group, topic, generation) = ("books".into(), CREATED.into(), self.assigned.generation);
        CommitOffsetRequest { group, topic, shard, lsn, generation }
    }
}

/// How the group of the tests stands.
async fn standing(shop: &Shop, topic: &str) -> Group {
    let listed =
        log(shop).await.list_topics(ListTopicsRequest { topic: topic.into() }).await.unwrap().into_inner();
    let groups = &listed.topics[0].groups;
    groups.iter().find(|group| group.group == "books").cloned().unwrap_or_default()
}

/// A shop of two shards with a product on each, as their names.
async fn two_shards() -> (Shop, [String; 2]) {
    two_shards_with(|_| ()).await
}

async fn two_shards_with(change: impl FnOnce(&mut onrush_services::config::Config)) -> (Shop, [String; 2]) {
    let shop = Shop::open_with(|config| {
        config.shards = Some(2);
        change(config);
    });
    let on =
        |shard: usize| (0..).map(|at| format!("tea-{at}")).find(|sku| shop.shard_of(sku) == shard).unwrap();
    let skus = [on(0), on(1)];
    for sku in &skus {
        shop.stock(sku, 100, 1_000).await;
    }
    (shop, skus)
}

/// So many orders of a SKU, by their ids.
async fn orders(shop: &Shop, sku: &str, count: usize) -> Vec<String> {
    let mut orders = Vec::new();
    for _ in 0..count {
        orders.push(shop.order("", sku, 1).await.unwrap().order_id);
    }
    orders
}
