//! A message for each call, about somebody's objects.

use onrush_grpc::admin::v1 as admin;
use onrush_grpc::log::v1 as log;
use onrush_grpc::notification::v1 as notification;
use onrush_grpc::order::v1 as order;
use onrush_grpc::payment::v1 as payment;
use onrush_grpc::product::v1 as product;
use onrush_grpc::recommendation::v1 as recommendation;
use onrush_grpc::shipping::v1 as shipping;
use onrush_grpc::user::v1 as user;
use onrush_services::access::Call;
use prost::Message;

use crate::shipping::address;
use crate::shop;

/// What somebody has, or what nobody has.
#[derive(Clone, Debug)]
pub(crate) struct Belongings {
    pub(crate) customer: String,
    /// The id of the order, its payment and its shipment.
    pub(crate) order: String,
    pub(crate) tracking_number: String,
}

impl Belongings {
    /// Nobody's.
    pub(crate) fn missing() -> Self {
        Self { customer: "missing-customer".into(), order: "0".repeat(32), tracking_number: "SIM0".into() }
    }

    /// A text without what tells one from another.
    pub(crate) fn hidden_in(&self, text: &str) -> String {
        [&self.customer, &self.order, &self.tracking_number]
            .into_iter()
            .fold(text.to_owned(), |text, name| text.replace(name.as_str(), "X"))
    }

    /// The message of a call about them.
    pub(crate) fn message(&self, call: Call) -> Vec<u8> {
        match call.service() {
            "onrush.order.v1.OrderService" => self.of_order(call),
            "onrush.payment.v1.PaymentService" => self.of_payment(call),
            "onrush.shipping.v1.ShippingService" => self.of_shipping(call),
            "onrush.notification.v1.NotificationService" => self.of_notification(call),
            "onrush.recommendation.v1.RecommendationService" => self.of_recommendation(call),
            _ => self.of_the_rest(call),
        }
    }

    fn of_order(&self, call: Call) -> Vec<u8> {
        let (order_id, customer_id) = (self.order.clone(), self.customer.clone());
        match call {
            Call::CreateOrder => shop::order("", &customer_id, &[("tea", 1)]).encode_to_vec(),
            Call::ProcessPayment => shop::payment("", &order_id, "pm_card").encode_to_vec(),
            Call::GetOrderStatus => order::GetOrderStatusRequest { order_id }.encode_to_vec(),
            Call::CancelOrder => order::CancelOrderRequest { order_id, ..Default::default() }.encode_to_vec(),
            Call::ListOrders => {
                order::ListOrdersRequest { customer_id, ..Default::default() }.encode_to_vec()
            }
            other => panic!("no message for {other:?}"),
        }
    }

    fn of_payment(&self, call: Call) -> Vec<u8> {
        let (payment_id, customer_id) = (self.order.clone(), self.customer.clone());
        match call {
            Call::CreatePayment => {
                let order_id = payment_id;
                payment::CreatePaymentRequest { order_id, ..Default::default() }.encode_to_vec()
            }
            Call::CapturePayment => shop::Shop::capture("", &payment_id, 1).encode_to_vec(),
            Call::GetPaymentStatus => payment::GetPaymentStatusRequest { payment_id }.encode_to_vec(),
            Call::ProcessRefund => {
                payment::ProcessRefundRequest { payment_id, amount: shop::euro(1), ..Default::default() }
                    .encode_to_vec()
            }
            Call::ListTransactions => {
                payment::ListTransactionsRequest { customer_id, ..Default::default() }.encode_to_vec()
            }
            other => panic!("no message for {other:?}"),
        }
    }

    fn of_shipping(&self, call: Call) -> Vec<u8> {
        let (shipment_id, customer_id) = (self.order.clone(), self.customer.clone());
        let reason = "as the customer asked".to_owned();
        match call {
            Call::GetShipment => shipping::GetShipmentRequest { shipment_id }.encode_to_vec(),
            Call::ListShipments => shipping::ListShipmentsRequest { order_id: shipment_id }.encode_to_vec(),
            Call::GetRates => {
                shipping::GetRatesRequest { destination: Some(address()), weight_grams: 500 }.encode_to_vec()
            }
            Call::TrackShipment => {
                let tracking_number = self.tracking_number.clone();
                shipping::TrackShipmentRequest { tracking_number }.encode_to_vec()
            }
            Call::PutAddress => {
                shipping::PutAddressRequest { customer_id, address: Some(address()), ..Default::default() }
                    .encode_to_vec()
            }
            Call::GetAddress => shipping::GetAddressRequest { customer_id }.encode_to_vec(),
            Call::CancelShipment => shipping::CancelShipmentRequest { shipment_id, reason }.encode_to_vec(),
            Call::ReturnShipment => shipping::ReturnShipmentRequest { shipment_id, reason }.encode_to_vec(),
            Call::ResolveException => {
                shipping::ResolveExceptionRequest { shipment_id, detail: reason }.encode_to_vec()
            }
            other => panic!("no message for {other:?}"),
        }
    }

    fn of_notification(&self, call: Call) -> Vec<u8> {
        let (customer_id, order_id) = (self.customer.clone(), self.order.clone());
        let (occasion, channel) = (1, 1);
        match call {
            Call::PutContact => {
                notification::PutContactRequest { customer_id, ..Default::default() }.encode_to_vec()
            }
            Call::GetContact => notification::GetContactRequest { customer_id }.encode_to_vec(),
            Call::SetPreference => {
                notification::SetPreferenceRequest { customer_id, occasion, channel, wanted: true }
                    .encode_to_vec()
            }
            Call::GetPushKey => notification::GetPushKeyRequest {}.encode_to_vec(),
            Call::PutPushSubscription => {
                notification::PutPushSubscriptionRequest { customer_id, ..Default::default() }.encode_to_vec()
            }
            Call::ListPushSubscriptions => {
                notification::ListPushSubscriptionsRequest { customer_id }.encode_to_vec()
            }
            Call::DeletePushSubscription => {
                let subscription_id = "none".into();
                notification::DeletePushSubscriptionRequest { customer_id, subscription_id }.encode_to_vec()
            }
            Call::Unsubscribe => notification::UnsubscribeRequest { token: "none".into() }.encode_to_vec(),
            Call::PutTemplate => notification::PutTemplateRequest {
                occasion,
                channel,
                language: "en".into(),
                subject: "Hello".into(),
                body: "There".into(),
            }
            .encode_to_vec(),
            Call::PreviewTemplate => {
                notification::PreviewTemplateRequest { occasion, channel, ..Default::default() }
                    .encode_to_vec()
            }
            Call::ListNotifications => notification::ListNotificationsRequest { order_id }.encode_to_vec(),
            Call::ListDeadLetters => notification::ListDeadLettersRequest::default().encode_to_vec(),
            Call::ReplayDeadLetter => {
                notification::ReplayDeadLetterRequest { notification_id: "none".into() }.encode_to_vec()
            }
            other => panic!("no message for {other:?}"),
        }
    }

    fn of_recommendation(&self, call: Call) -> Vec<u8> {
        let customer_id = self.customer.clone();
        match call {
            Call::GetRecommendations => {
                recommendation::GetRecommendationsRequest { customer_id, ..Default::default() }
                    .encode_to_vec()
            }
            Call::GetTrends => {
                recommendation::GetTrendsRequest { window: 1, ..Default::default() }.encode_to_vec()
            }
            Call::GetSimilarProducts => {
                recommendation::GetSimilarProductsRequest { sku: "tea".into(), ..Default::default() }
                    .encode_to_vec()
            }
            Call::UpdateUserPreferences => recommendation::UpdateUserPreferencesRequest {
                customer_id,
                preferences: Some(recommendation::Preferences::default()),
                ..Default::default()
            }
            .encode_to_vec(),
            Call::GetUserPreferences => {
                recommendation::GetUserPreferencesRequest { customer_id }.encode_to_vec()
            }
            Call::TrainModel => recommendation::TrainModelRequest::default().encode_to_vec(),
            Call::GetOperation => {
                recommendation::GetOperationRequest { operation_id: "none".into() }.encode_to_vec()
            }
            Call::CancelOperation => {
                recommendation::CancelOperationRequest { operation_id: "none".into() }.encode_to_vec()
            }
            Call::GetModel => recommendation::GetModelRequest::default().encode_to_vec(),
            other => panic!("no message for {other:?}"),
        }
    }

    fn of_the_rest(&self, call: Call) -> Vec<u8> {
        let sku = || "tea".to_owned();
        match call {
            Call::ValidateProducts => product::ValidateProductsRequest::default().encode_to_vec(),
            Call::GetProductDetails => product::GetProductDetailsRequest { sku: sku() }.encode_to_vec(),
            Call::UpdateStock => product::UpdateStockRequest {
                sku: sku(),
                change: Some(product::update_stock_request::Change::Add(1)),
                ..Default::default()
            }
            .encode_to_vec(),
            Call::PutProduct => shop::product("tea", 499).encode_to_vec(),
            Call::ListProducts => product::ListProductsRequest::default().encode_to_vec(),
            Call::ValidateToken => user::ValidateTokenRequest { access_token: "none".into() }.encode_to_vec(),
            Call::GetUser => user::GetUserRequest { user_id: self.customer.clone() }.encode_to_vec(),
            Call::GetStock => admin::GetStockRequest { sku: sku() }.encode_to_vec(),
            Call::ListStockChanges => {
                admin::ListStockChangesRequest { sku: sku(), ..Default::default() }.encode_to_vec()
            }
            Call::ListTopics => log::ListTopicsRequest::default().encode_to_vec(),
            Call::CommitOffset => {
                let (group, topic) = ("books".into(), "order.created".into());
                log::CommitOffsetRequest { group, topic, lsn: 1, ..Default::default() }.encode_to_vec()
            }
            Call::RejectEvent => {
                let (group, topic) = ("books".into(), "order.created".into());
                log::RejectEventRequest { group, topic, lsn: 1, ..Default::default() }.encode_to_vec()
            }
            Call::SeekGroup => {
                let (group, topic) = ("books".into(), "order.created".into());
                let to = Some(log::Place { place: Some(log::place::Place::Edge(1)) });
                log::SeekGroupRequest { group, topic, shard: None, to }.encode_to_vec()
            }
            Call::Audit => admin::AuditRequest::default().encode_to_vec(),
            Call::Stats => admin::StatsRequest::default().encode_to_vec(),
            Call::Reconcile => admin::ReconcileRequest::default().encode_to_vec(),
            Call::GetCluster => admin::GetClusterRequest::default().encode_to_vec(),
            Call::HandOver => admin::HandOverRequest::default().encode_to_vec(),
            Call::ChangeMembers => admin::ChangeMembersRequest::default().encode_to_vec(),
            Call::PlaceNode => admin::PlaceNodeRequest::default().encode_to_vec(),
            other => panic!("no message for {other:?}"),
        }
    }
}
