//! A shop to test: a server on free ports with a directory of its own, and a client.

use std::time::Duration;

use onrush_engine::{HostKind, StoreKind};
use onrush_grpc::money::v1::Money;
use onrush_grpc::notification::v1::{Channel, ListNotificationsRequest, Notification, NotificationStatus};
use onrush_grpc::order::v1::{
    CaptureMethod, CreateOrderRequest, CreateOrderResponse, GetOrderStatusRequest, NewOrderLine,
    OrderPaymentStatus, ProcessPaymentRequest,
};
use onrush_grpc::payment::v1::CapturePaymentRequest;
use onrush_grpc::product::v1::update_stock_request::Change;
use onrush_grpc::product::v1::{PutProductRequest, UpdateStockRequest};
use onrush_net::client::grpc::{Addresses, Client};
use onrush_net::client::{CallError, Refused, Retry};
use onrush_proto::{Command, CommitOffset, OrderId, Outcome, Request, Text, Topic};
use onrush_services::access::Access;
use onrush_services::config::{
    Config, EnginePlace, EventsConfig, NativeConfig, Service, ShippingConfig, Tokens,
};
use onrush_services::gateway::{GatewayOptions, Gateways};
use onrush_services::logging::LogFormat;
use onrush_services::notification::PostOptions;
use onrush_services::notification::push::Reach;
use onrush_services::notification::worker::GROUP;
use onrush_services::serve::Serving;
use tempfile::TempDir;

use crate::wait::until;

/// A running shop; stops when dropped.
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) addresses: Addresses,
    pub(crate) dir: TempDir,
    serving: Option<Serving>,
}

/// What most tests need: nothing that moves an order by itself.
const ORDERING: [Service; 4] = [Service::Product, Service::Order, Service::Payment, Service::User];

/// A configuration on free ports.
pub(crate) fn config(dir: &TempDir) -> Config {
    Config {
        data_dir: dir.path().join("data"),
        listen: [127, 0, 0, 1].into(),
        services: ORDERING.map(|service| (service, 0)).to_vec(),
        native: NativeConfig::free(),
        engine: EnginePlace::Here(None),
        cluster: None,
        shards: Some(4),
        host: HostKind::Thread,
        store: StoreKind::Memory,
        snapshot_bytes: 4 << 30,
        hold: Duration::from_secs(600),
        clock_jump_max: Duration::from_secs(86_400),
        accept_clock: false,
        fronts: 2,
        connections_max: 100,
        drain: Duration::from_secs(5),
        gateway_faults: "p50_ms=1,p99_ms=2".parse().unwrap(),
        payment: GatewayOptions::default(),
        tokens: Tokens::default(),
        access: Access::Open,
        first_admin: None,
        oidc: None,
        events: EventsConfig::default(),
        shipping: ShippingConfig::default(),
        smtp: None,
        twilio: None,
        push: Reach::Public,
        notification: post(),
        ml_model: None,
        log: "warn".into(),
        log_format: LogFormat::Text,
        service_name: "onrush".into(),
        collector: None,
    }
}

/// How letters are sent, if they are.
fn post() -> PostOptions {
    PostOptions {
        public_url: "https://shop.example.com".into(),
        tries_max: 3,
        pause: Duration::from_millis(5),
        ..PostOptions::default()
    }
}

impl Shop {
    pub(crate) fn open() -> Self {
        Self::open_with(|_| ())
    }

    pub(crate) fn open_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&dir);
        change(&mut config);
        Self::serve(dir, &config)
    }

    fn serve(dir: TempDir, config: &Config) -> Self {
        let serving = Serving::start(config).unwrap();
        let address = |wanted| {
            let found = serving.addresses().iter().find(|(service, _)| *service == wanted);
            // What is not served is at an address where nobody is.
            found.map_or("http://127.0.0.1:1".into(), |(_, address)| format!("http://{address}"))
        };
        let addresses = Addresses {
            product: address(Service::Product),
            order: address(Service::Order),
            payment: address(Service::Payment),
            shipping: address(Service::Shipping),
            notification: address(Service::Notification),
            recommendation: address(Service::Recommendation),
        };
        let client = Client::new(&addresses, 2, Retry::NEVER).unwrap();
        Self { client, addresses, dir, serving: Some(serving) }
    }

    /// Where a service listens.
    pub(crate) fn address(&self, wanted: Service) -> String {
        let serving = self.serving.as_ref().unwrap();
        let found = serving.addresses().iter().find(|(service, _)| *service == wanted).unwrap();
        format!("http://{}", found.1)
    }

    /// Where the native protocol is served.
    pub(crate) fn native(&self) -> std::net::SocketAddr {
        self.serving.as_ref().unwrap().native_address().unwrap()
    }

    /// Where it is served over QUIC.
    pub(crate) fn native_quic(&self) -> std::net::SocketAddr {
        self.serving.as_ref().unwrap().native_quic_address().unwrap()
    }

    /// The certificate of QUIC and TLS.
    pub(crate) fn certificate(&self) -> std::path::PathBuf {
        self.serving.as_ref().unwrap().certificate().unwrap().path.clone()
    }

    /// The nodes that callers are told of.
    pub(crate) fn nodes(&self) -> &onrush_services::nodes::Nodes {
        self.serving.as_ref().unwrap().nodes()
    }

    /// The engine in it.
    pub(crate) fn engine(&self) -> onrush_engine::EngineHandle {
        self.serving.as_ref().unwrap().engine().unwrap()
    }

    /// The payment gateways behind the shop.
    pub(crate) fn gateways(&self) -> &Gateways {
        self.serving.as_ref().unwrap().gateways()
    }

    /// Stops and starts again on the same directory.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(|_| ()).await
    }

    /// The same, with another configuration.
    pub(crate) async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        Self::reopen(self.stop().await, change)
    }

    /// Starts on a directory that was left.
    pub(crate) fn reopen(dir: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(&dir);
        change(&mut config);
        Self::serve(dir, &config)
    }

    /// Stops; what is left is the directory.
    pub(crate) async fn stop(mut self) -> TempDir {
        let serving = self.serving.take().unwrap();
        tokio::task::spawn_blocking(move || serving.stop().unwrap()).await.unwrap();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    /// Puts a product with stock.
    pub(crate) async fn stock(&self, sku: &str, price: i64, units: i64) {
        self.client.put_product(product(sku, price)).await.unwrap();
        self.restock(sku, units).await;
    }

    /// Sets the stock of a product.
    pub(crate) async fn restock(&self, sku: &str, units: i64) {
        let sku = sku.to_owned();
        let update = UpdateStockRequest { sku, change: Some(Change::Set(units)), ..Default::default() };
        self.client.update_stock(update).await.unwrap();
    }

    pub(crate) async fn order(
        &self,
        key: &str,
        sku: &str,
        quantity: i64,
    ) -> Result<CreateOrderResponse, CallError> {
        self.client.create_order(order(key, "ada", &[(sku, quantity)])).await
    }

    /// An order for one unit that is paid.
    pub(crate) async fn paid(&self, sku: &str) -> String {
        let order_id = self.order("", sku, 1).await.unwrap().order_id;
        self.client.process_payment(payment("", &order_id, "pm_card")).await.unwrap();
        order_id
    }

    /// An order for one unit whose money is reserved.
    pub(crate) async fn authorised(&self, sku: &str) -> String {
        let order_id = self.order("", sku, 1).await.unwrap().order_id;
        let mut manual = payment("", &order_id, "pm_card");
        manual.capture_method = CaptureMethod::Manual.into();
        self.client.process_payment(manual).await.unwrap();
        order_id
    }

    /// Which shard owns a SKU.
    pub(crate) fn shard_of(&self, sku: &str) -> usize {
        let ask = Request::unkeyed(Command::GetStock(Text::new(sku).unwrap()));
        usize::from(self.serving.as_ref().unwrap().engine().unwrap().shard_of(&ask).0)
    }

    /// Waits until Notification is done with the creation of an order: what it says of it is said.
    pub(crate) async fn heard(&self, order_id: &str) {
        let order: OrderId = order_id.parse().unwrap();
        let engine = self.serving.as_ref().unwrap().engine().unwrap();
        let (group, topic) = (Text::new(GROUP).unwrap(), Topic::OrderCreated);
        until("Notification to be done with the order", async || {
            // An order's number is that of its record.
            let ask = CommitOffset { slot: order.slot(), group, topic, lsn: None };
            match engine.call(Request::unkeyed(Command::CommitOffset(Box::new(ask)))).await.outcome {
                Outcome::Offset(done) if done.0 >= order.sequence() => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    /// What was said of an order by a channel, once it came to this.
    pub(crate) async fn told(
        &self,
        order_id: &str,
        channel: Channel,
        wanted: NotificationStatus,
    ) -> Notification {
        until(&format!("news by {channel:?} that are {wanted:?}"), async || {
            let request = ListNotificationsRequest { order_id: order_id.into() };
            let told = self.client.list_notifications(request).await.unwrap().notifications;
            let found = told.iter().find(|notice| notice.channel() == channel && notice.status() == wanted);
            found.cloned().ok_or(told)
        })
        .await
    }

    /// Asks to take a part of what is reserved.
    pub(crate) fn capture(key: &str, order_id: &str, minor: i64) -> CapturePaymentRequest {
        CapturePaymentRequest { request_id: key.into(), payment_id: order_id.into(), amount: euro(minor) }
    }

    /// What the gateway's books say of an order, one word per entry.
    pub(crate) fn gateway_says(&self, order_id: &str) -> Vec<String> {
        let books = self.dir.path().join("data/gateway-simulated.books");
        let text = std::fs::read_to_string(books).unwrap();
        let lines = text.lines().filter(|line| line.starts_with(order_id));
        lines.filter_map(|line| line.split(' ').nth(5).map(Into::into)).collect()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            // Clients hold their connections open; the drain must not wait for them.
            std::thread::spawn(move || serving.stop());
        }
    }
}

pub(crate) fn euro(minor_units: i64) -> Option<Money> {
    Some(Money { minor_units, currency_code: "EUR".into() })
}

pub(crate) fn product(sku: &str, price: i64) -> PutProductRequest {
    PutProductRequest {
        sku: sku.into(),
        name: format!("The {sku}"),
        category: "drinks".into(),
        brand: "Acme".into(),
        price: euro(price),
        ..Default::default()
    }
}

pub(crate) fn order(key: &str, customer: &str, lines: &[(&str, i64)]) -> CreateOrderRequest {
    let line = |(sku, quantity): &(&str, i64)| NewOrderLine {
        sku: (*sku).into(),
        quantity: *quantity,
        max_unit_price: None,
    };
    CreateOrderRequest {
        request_id: key.into(),
        customer_id: customer.into(),
        lines: lines.iter().map(line).collect(),
        hold_us: 0,
    }
}

pub(crate) fn payment(key: &str, order_id: &str, method: &str) -> ProcessPaymentRequest {
    ProcessPaymentRequest {
        request_id: key.into(),
        order_id: order_id.into(),
        payment_method: method.into(),
        capture_method: 0,
    }
}

/// The refusal of a call that must be refused.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Refused {
    match answer {
        Err(CallError::Refused(refused)) => *refused,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// Asserts reason and field of a refusal.
#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(
    answer: Result<T, CallError>,
    reason: &str,
    field: Option<&str>,
) {
    let found = refused(answer);
    assert_eq!((found.reason.as_str(), found.field.as_deref()), (reason, field), "{}", found.message);
}

/// Waits until a payment is with the gateway.
pub(crate) async fn until_processing(client: &Client, order_id: &str) {
    until("a payment with the gateway", async || {
        let request = GetOrderStatusRequest { order_id: order_id.into() };
        let found = client.get_order_status(request).await.unwrap().order.unwrap();
        (found.payment_status() == OrderPaymentStatus::Processing).then_some(()).ok_or(found)
    })
    .await;
}
