//! The gRPC client: typed calls over several connections. A call that gets no answer is tried
//! again under the same key; a call that changes something gets a key if it brings none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onrush_grpc::admin::v1 as admin;
use onrush_grpc::admin::v1::admin_service_client::AdminServiceClient;
use onrush_grpc::notification::v1 as notification;
use onrush_grpc::notification::v1::notification_service_client::NotificationServiceClient;
use onrush_grpc::order::v1 as order;
use onrush_grpc::order::v1::order_service_client::OrderServiceClient;
use onrush_grpc::payment::v1 as payment;
use onrush_grpc::payment::v1::payment_service_client::PaymentServiceClient;
use onrush_grpc::product::v1 as product;
use onrush_grpc::product::v1::product_service_client::ProductServiceClient;
use onrush_grpc::recommendation::v1 as recommendation;
use onrush_grpc::recommendation::v1::recommendation_service_client::RecommendationServiceClient;
use onrush_grpc::shipping::v1 as shipping;
use onrush_grpc::shipping::v1::shipping_service_client::ShippingServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::staleness::{STALENESS_MAX, most_ms};
use super::whereabouts::Whereabouts;
use super::{CallError, Retry};

/// How long an audit may take: it reads all books.
const SLOW_TIMEOUT: Duration = Duration::from_secs(120);

/// Where the services are: `http://host:port`, or several with a comma between them, where the shop is on several nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// Product service.
    pub product: String,
    /// Order service.
    pub order: String,
    /// Payment service.
    pub payment: String,
    /// Shipping service.
    pub shipping: String,
    /// Notification service.
    pub notification: String,
    /// Recommendation service.
    pub recommendation: String,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            product: "http://127.0.0.1:50051".into(),
            order: "http://127.0.0.1:50052".into(),
            payment: "http://127.0.0.1:50053".into(),
            shipping: "http://127.0.0.1:8082".into(),
            notification: "http://127.0.0.1:8083".into(),
            recommendation: "http://127.0.0.1:50054".into(),
        }
    }
}

/// Over gRPC nobody knows which shard a call is for.
const ANY: u16 = 0;

/// Connections to one service at each address of it, taken in turn.
struct Pool {
    whereabouts: Whereabouts,
    channels: Mutex<HashMap<Arc<str>, Vec<Channel>>>,
    connections: usize,
    next: AtomicUsize,
}

impl Pool {
    /// Connects when first used, and again when a connection is lost.
    fn new(addresses: &str, connections: usize) -> Result<Arc<Self>, CallError> {
        let scheme = if addresses.starts_with("https://") { "https://" } else { "http://" };
        let wrong = || CallError::Address(addresses.to_owned());
        let whereabouts = Whereabouts::parse(scheme, addresses).ok_or_else(wrong)?;
        let (channels, next) = Default::default();
        let pool = Self { whereabouts, channels, connections, next };
        for address in pool.whereabouts.given() {
            pool.channel(&address)?;
        }
        Ok(Arc::new(pool))
    }

    fn channel(&self, address: &Arc<str>) -> Result<Channel, CallError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.max(1);
        if let Some(channel) = channels.get(address).and_then(|to_there| to_there.get(turn)) {
            return Ok(channel.clone());
        }
        let wrong = |_| CallError::Address(address.as_ref().to_owned());
        let endpoint = Endpoint::from_shared(address.as_ref().to_owned()).map_err(wrong)?.tcp_nodelay(true);
        channels.retain(|address, _| self.whereabouts.knows(address));
        let to_there = (0..self.connections.max(1)).map(|_| endpoint.connect_lazy()).collect::<Vec<_>>();
        let channel = to_there[turn].clone();
        channels.insert(address.clone(), to_there);
        Ok(channel)
    }
}

/// The client. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    product: Arc<Pool>,
    order: Arc<Pool>,
    payment: Arc<Pool>,
    shipping: Arc<Pool>,
    notification: Arc<Pool>,
    recommendation: Arc<Pool>,
    way: Way,
}

/// How every call goes.
#[derive(Clone)]
struct Way {
    retry: Retry,
    /// What shows who calls.
    bearer: Option<MetadataValue<Ascii>>,
    /// How stale what is published may be at most, in ms; `None` = as it comes.
    stale_ms_max: Option<u32>,
}

impl Way {
    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(self.retry.timeout);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        if let Some(most_ms) = self.stale_ms_max {
            request.metadata_mut().insert(STALENESS_MAX, most_ms.into());
        }
        request
    }
}

impl Client {
    /// A client with this many connections per service. Must be called within a tokio runtime.
    pub fn new(addresses: &Addresses, connections: usize, retry: Retry) -> Result<Self, CallError> {
        Ok(Self {
            product: Pool::new(&addresses.product, connections)?,
            order: Pool::new(&addresses.order, connections)?,
            payment: Pool::new(&addresses.payment, connections)?,
            shipping: Pool::new(&addresses.shipping, connections)?,
            notification: Pool::new(&addresses.notification, connections)?,
            recommendation: Pool::new(&addresses.recommendation, connections)?,
            way: Way { retry, bearer: None, stale_ms_max: None },
        })
    }

    /// The same client, whose reads are answered by what is no staler than this, in whole ms; `None` = as it comes.
    pub fn accepting(mut self, staleness_max: Option<Duration>) -> Self {
        self.way.stale_ms_max = staleness_max.map(most_ms);
        self
    }

    /// The same client with an access token. One that no header can have is as good as none.
    pub fn with_token(mut self, token: &str) -> Self {
        self.way.bearer = format!("Bearer {token}").parse().ok().filter(|_| !token.is_empty());
        self
    }
}

/// Tries a call until it is answered or the tries are used up.
async fn call<M, R, F>(
    pool: &Pool,
    way: Way,
    message: M,
    call: impl Fn(Channel, Request<M>) -> F,
) -> Result<R, CallError>
where
    M: Clone,
    F: Future<Output = Result<Response<R>, Status>>,
{
    let retry = way.retry;
    retry
        .until_answered((&pool.whereabouts, ANY), |at| {
            let answer = pool.channel(&at).map(|channel| call(channel, way.request(message.clone())));
            async move {
                match tokio::time::timeout(retry.timeout, answer?).await {
                    Ok(Ok(response)) => Ok(response.into_inner()),
                    Ok(Err(status)) => Err(status.into()),
                    Err(_) => Err(Status::deadline_exceeded("the client stopped waiting").into()),
                }
            }
        })
        .await
}

/// A key for a call that brings none.
fn key(request_id: &mut String) {
    if request_id.is_empty() {
        *request_id = Uuid::new_v4().to_string();
    }
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($keyed:ident, $pool:ident, $client:ident, $package:ident::$request:ident) -> $response:ident;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                pub async fn $name(
                    &self,
                    #[allow(unused_mut, reason = "only calls that change something set a key")]
                    mut message: $package::$request,
                ) -> Result<$package::$response, CallError> {
                    calls!(@$keyed message);
                    let retry = calls!(@retry $keyed self.way.retry);
                    let stale_ms_max = calls!(@stale $keyed self.way.stale_ms_max);
                    let way = Way { retry, stale_ms_max, ..self.way.clone() };
                    call(&self.$pool, way, message, |channel, request| async move {
                        $client::new(channel).$name(request).await
                    })
                    .await
                }
            )*
        }
    };
    (@change $message:ident) => { key(&mut $message.request_id) };
    (@read $message:ident) => {};
    (@slow $message:ident) => {};
    (@once $message:ident) => {};
    (@stale read $stale:expr) => { $stale };
    (@stale $keyed:ident $stale:expr) => { None };
    (@retry once $retry:expr) => { Retry { retries: 0, ..$retry } };
    (@retry slow $retry:expr) => { Retry { timeout: SLOW_TIMEOUT, ..$retry } };
    (@retry $keyed:ident $retry:expr) => { $retry };
}

calls! {
    /// Whether lines could be ordered now.
    validate_products(read, product, ProductServiceClient, product::ValidateProductsRequest) -> ValidateProductsResponse;
    /// A product with its price and stock.
    get_product_details(read, product, ProductServiceClient, product::GetProductDetailsRequest) -> GetProductDetailsResponse;
    /// Changes a SKU's stock.
    update_stock(change, product, ProductServiceClient, product::UpdateStockRequest) -> UpdateStockResponse;
    /// Creates or changes a product.
    put_product(change, product, ProductServiceClient, product::PutProductRequest) -> PutProductResponse;
    /// Products a page at a time.
    list_products(read, product, ProductServiceClient, product::ListProductsRequest) -> ListProductsResponse;
    /// Holds stock and creates an order.
    create_order(change, order, OrderServiceClient, order::CreateOrderRequest) -> CreateOrderResponse;
    /// Starts a payment and waits for it.
    process_payment(change, order, OrderServiceClient, order::ProcessPaymentRequest) -> ProcessPaymentResponse;
    /// An order.
    get_order_status(read, order, OrderServiceClient, order::GetOrderStatusRequest) -> GetOrderStatusResponse;
    /// Calls an order off.
    cancel_order(change, order, OrderServiceClient, order::CancelOrderRequest) -> CancelOrderResponse;
    /// A customer's orders a page at a time.
    list_orders(read, order, OrderServiceClient, order::ListOrdersRequest) -> ListOrdersResponse;
    /// Shows a payment, perhaps starts an attempt.
    create_payment(change, payment, PaymentServiceClient, payment::CreatePaymentRequest) -> CreatePaymentResponse;
    /// Takes an authorised amount.
    capture_payment(change, payment, PaymentServiceClient, payment::CapturePaymentRequest) -> CapturePaymentResponse;
    /// A payment.
    get_payment_status(read, payment, PaymentServiceClient, payment::GetPaymentStatusRequest) -> GetPaymentStatusResponse;
    /// Gives money back and waits for it.
    process_refund(change, payment, PaymentServiceClient, payment::ProcessRefundRequest) -> ProcessRefundResponse;
    /// A customer's movements of money a page at a time.
    list_transactions(read, payment, PaymentServiceClient, payment::ListTransactionsRequest) -> ListTransactionsResponse;
    /// A shipment.
    get_shipment(read, shipping, ShippingServiceClient, shipping::GetShipmentRequest) -> GetShipmentResponse;
    /// The shipments of an order.
    list_shipments(read, shipping, ShippingServiceClient, shipping::ListShipmentsRequest) -> ListShipmentsResponse;
    /// What the carrier asks for a parcel.
    get_rates(read, shipping, ShippingServiceClient, shipping::GetRatesRequest) -> GetRatesResponse;
    /// Where a parcel is.
    track_shipment(read, shipping, ShippingServiceClient, shipping::TrackShipmentRequest) -> TrackShipmentResponse;
    /// Where a customer's parcels go.
    put_address(change, shipping, ShippingServiceClient, shipping::PutAddressRequest) -> PutAddressResponse;
    /// The address that a customer's parcels go to.
    get_address(read, shipping, ShippingServiceClient, shipping::GetAddressRequest) -> GetAddressResponse;
    /// Calls a shipment off. Safe to try again without a key.
    cancel_shipment(read, shipping, ShippingServiceClient, shipping::CancelShipmentRequest) -> CancelShipmentResponse;
    /// The parcel is back. Safe to try again without a key.
    return_shipment(read, shipping, ShippingServiceClient, shipping::ReturnShipmentRequest) -> ReturnShipmentResponse;
    /// An exception was looked after.
    resolve_exception(read, shipping, ShippingServiceClient, shipping::ResolveExceptionRequest) -> ResolveExceptionResponse;
    /// How a customer is reached.
    put_contact(read, notification, NotificationServiceClient, notification::PutContactRequest) -> PutContactResponse;
    /// How a customer is reached, and what they do not want.
    get_contact(read, notification, NotificationServiceClient, notification::GetContactRequest) -> GetContactResponse;
    /// The key that a browser subscribes with.
    get_push_key(read, notification, NotificationServiceClient, notification::GetPushKeyRequest) -> GetPushKeyResponse;
    /// A browser that gets messages.
    put_push_subscription(read, notification, NotificationServiceClient, notification::PutPushSubscriptionRequest) -> PutPushSubscriptionResponse;
    /// The browsers of a customer.
    list_push_subscriptions(read, notification, NotificationServiceClient, notification::ListPushSubscriptionsRequest) -> ListPushSubscriptionsResponse;
    /// Sends no more to a browser.
    delete_push_subscription(read, notification, NotificationServiceClient, notification::DeletePushSubscriptionRequest) -> DeletePushSubscriptionResponse;
    /// What a customer wants to hear of.
    set_preference(read, notification, NotificationServiceClient, notification::SetPreferenceRequest) -> SetPreferenceResponse;
    /// The link at the end of a mail.
    unsubscribe(read, notification, NotificationServiceClient, notification::UnsubscribeRequest) -> UnsubscribeResponse;
    /// A template of the shop's own.
    put_template(read, notification, NotificationServiceClient, notification::PutTemplateRequest) -> PutTemplateResponse;
    /// What a template makes of an example.
    preview_template(read, notification, NotificationServiceClient, notification::PreviewTemplateRequest) -> PreviewTemplateResponse;
    /// What was sent about an order.
    list_notifications(read, notification, NotificationServiceClient, notification::ListNotificationsRequest) -> ListNotificationsResponse;
    /// What could not be sent.
    list_dead_letters(read, notification, NotificationServiceClient, notification::ListDeadLettersRequest) -> ListDeadLettersResponse;
    /// Tries a dead letter again.
    replay_dead_letter(read, notification, NotificationServiceClient, notification::ReplayDeadLetterRequest) -> ReplayDeadLetterResponse;
    /// What to show to a customer or a visitor.
    get_recommendations(read, recommendation, RecommendationServiceClient, recommendation::GetRecommendationsRequest) -> GetRecommendationsResponse;
    /// What is bought most.
    get_trends(read, recommendation, RecommendationServiceClient, recommendation::GetTrendsRequest) -> GetTrendsResponse;
    /// What is bought together with a product.
    get_similar_products(read, recommendation, RecommendationServiceClient, recommendation::GetSimilarProductsRequest) -> GetSimilarProductsResponse;
    /// What a customer wants to be shown, from now on. Safe to try again without a key.
    update_user_preferences(read, recommendation, RecommendationServiceClient, recommendation::UpdateUserPreferencesRequest) -> UpdateUserPreferencesResponse;
    /// What a customer wants to be shown.
    get_user_preferences(read, recommendation, RecommendationServiceClient, recommendation::GetUserPreferencesRequest) -> GetUserPreferencesResponse;
    /// Begins a training. Not safe to try again: the first may run.
    train_model(once, recommendation, RecommendationServiceClient, recommendation::TrainModelRequest) -> TrainModelResponse;
    /// How far a training is.
    get_operation(read, recommendation, RecommendationServiceClient, recommendation::GetOperationRequest) -> GetOperationResponse;
    /// Calls a training off.
    cancel_operation(read, recommendation, RecommendationServiceClient, recommendation::CancelOperationRequest) -> CancelOperationResponse;
    /// The model in use.
    get_model(read, recommendation, RecommendationServiceClient, recommendation::GetModelRequest) -> GetModelResponse;
    /// Checks all books live.
    audit(slow, order, AdminServiceClient, admin::AuditRequest) -> AuditResponse;
    /// A SKU's stock as its owner has it.
    get_stock(read, order, AdminServiceClient, admin::GetStockRequest) -> GetStockResponse;
    /// The engine's counters.
    stats(read, order, AdminServiceClient, admin::StatsRequest) -> StatsResponse;
    /// Compares the gateway's books with the ledger.
    reconcile(slow, order, AdminServiceClient, admin::ReconcileRequest) -> ReconcileResponse;
}
