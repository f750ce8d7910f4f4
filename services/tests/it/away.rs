//! An engine in another process that goes away and comes back: who asks it says so on every edge, and finds it again.

use std::time::Duration;

use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_services::config::{EnginePlace, Secret, Service};
use onrush_services::remote::EngineToken;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::binary::client;
use crate::shop::{Shop, order};
use crate::wait::until;

const PATIENT: Duration = Duration::from_secs(10);
/// Less than a connection takes to be given up.
const HASTY: Duration = Duration::from_millis(100);

fn token() -> EngineToken {
    EngineToken::given(Secret::new("a token that the processes of this shop share"))
}

/// The process with the engine: of the others nobody lets it wait.
fn engine(port: u16) -> impl FnOnce(&mut onrush_services::config::Config) {
    move |config| {
        config.services = vec![(Service::Product, port)];
        config.engine = EnginePlace::Here(Some(token()));
        config.drain = Duration::ZERO;
    }
}

/// A process without one.
struct Till {
    shop: Shop,
    channel: Channel,
}

impl Till {
    async fn open(engine: &str) -> Self {
        let shop = Shop::open_with(|config| {
            config.services = [Service::Order, Service::Payment].map(|service| (service, 0)).to_vec();
            config.engine = EnginePlace::At(engine.parse().unwrap(), token());
        });
        let channel = Endpoint::from_shared(shop.addresses.order.clone()).unwrap().connect().await.unwrap();
        Self { shop, channel }
    }

    /// What `/health` and `/ready` answer, and what the latter says.
    async fn vital(&self) -> (u16, u16, String) {
        let get =
            async |path: &str| reqwest::get(format!("{}{path}", self.shop.addresses.order)).await.unwrap();
        let ready = get("/ready").await;
        let (health, status) = (get("/health").await.status().as_u16(), ready.status().as_u16());
        let body: serde_json::Value = ready.json().await.unwrap();
        (health, status, body["status"].as_str().unwrap().to_owned())
    }

    async fn health(&self, service: &str) -> ServingStatus {
        let request = HealthCheckRequest { service: service.into() };
        HealthClient::new(self.channel.clone()).check(request).await.unwrap().into_inner().status()
    }

    /// In which state `/metrics` says that the engine's breaker is.
    async fn breaker(&self) -> String {
        let text = reqwest::get(format!("{}/metrics", self.shop.addresses.order)).await.unwrap();
        let text = text.text().await.unwrap();
        let of_engine = |line: &&str| line.starts_with("onrush_breaker_state{breaker=\"engine\"");
        let states: Vec<&str> =
            text.lines().filter(of_engine).filter(|line| line.ends_with(" 1.0")).collect();
        let [state] = states[..] else { panic!("expected one state, found {states:?} in {text}") };
        state.split("state=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    async fn is(&self, wanted: &str) {
        until(&format!("a breaker that is {wanted}"), async || {
            let found = self.breaker().await;
            if found == wanted { Ok(()) } else { Err(found) }
        })
        .await;
    }
}

/// Asks for an order, as somebody who waits this long.
async fn ask(channel: Channel, key: &'static str, wait: Duration) -> Result<(), Code> {
    let mut request = Request::new(order(key, "ada", &[("tea", 1)]));
    request.set_timeout(wait);
    let answer = OrderServiceClient::new(channel).create_order(request).await;
    answer.map(drop).map_err(|status| status.code())
}

#[tokio::test]
async fn while_the_engine_is_away_nobody_is_ready_and_the_breaker_opens_until_it_is_back() {
    let there = Shop::open_with(engine(0));
    there.stock("tea", 499, 1_000).await;
    let address = there.address(Service::Product);
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    let till = Till::open(&address).await;
    until("an order", async || ask(till.channel.clone(), "first", PATIENT).await).await;
    assert_eq!(till.vital().await, (200, 200, "serving".into()));
    for service in ["", "onrush.order.v1.OrderService"] {
        assert_eq!(till.health(service).await, ServingStatus::Serving, "{service:?}");
    }
    assert_eq!(till.breaker().await, "closed");
    let request = HealthCheckRequest { service: "onrush.order.v1.OrderService".into() };
    let mut watched = HealthClient::new(till.channel.clone()).watch(request).await.unwrap().into_inner();
    let mut next = async || watched.next().await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::Serving);

    let dir = there.stop().await;
    assert_eq!(next().await, ServingStatus::NotServing, "who watches is told");
    assert_eq!(till.vital().await, (200, 503, "unreachable".into()));
    for service in ["", "onrush.order.v1.OrderService"] {
        assert_eq!(till.health(service).await, ServingStatus::NotServing, "{service:?}");
    }
    until("a breaker that is open", async || {
        let mut asking = JoinSet::new();
        (0..12).for_each(|_| drop(asking.spawn(ask(till.channel.clone(), "second", HASTY))));
        let answers = asking.join_all().await;
        assert!(answers.iter().all(Result::is_err), "nobody is there");
        let found = till.breaker().await;
        if found == "open" { Ok(()) } else { Err((found, answers)) }
    })
    .await;
    till.is("half_open").await;

    let _back = Shop::reopen(dir, engine(port));
    assert_eq!(next().await, ServingStatus::Serving);
    till.is("closed").await;
    until("an order", async || ask(till.channel.clone(), "second", PATIENT).await).await;
    assert_eq!(till.vital().await, (200, 200, "serving".into()));
    for service in ["", "onrush.order.v1.OrderService"] {
        assert_eq!(till.health(service).await, ServingStatus::Serving, "{service:?}");
    }
    drop(till);
    let books = client(&|_| address.trim_start_matches("http://").to_owned());
    let audit = books.audit(Default::default()).await.unwrap();
    assert_eq!((audit.ok, audit.orders), (true, 2), "{audit:?}");
}
