//! Role x call x object: what the table of calls says is what the sockets answer.

use std::time::Duration;

use onrush_grpc::DESCRIPTORS;
use onrush_grpc::notification::v1 as notification;
use onrush_grpc::order::v1 as order;
use onrush_grpc::shipping::v1 as shipping;
use onrush_services::access::{Call, Need, Role};
use prost::Message;
use tonic::Code;

use super::message::Belongings;
use super::{Refusal, Street};
use crate::shop;

/// What a caller is told who may not touch what is there.
const NOT_THERE: [&str; 4] = ["UNKNOWN_ORDER", "UNKNOWN_SHIPMENT", "UNKNOWN_ADDRESS", "UNKNOWN_CONTACT"];
const DENIED: [&str; 3] = ["UNAUTHENTICATED", "INVALID_TOKEN", "FORBIDDEN"];

impl Street {
    /// Somebody with a paid order, a parcel with a label, an address and a contact.
    pub(crate) async fn somebody(&self, customer: &str, role: Role) -> Belongings {
        let token = self.token(customer, &[role]);
        let token = token.as_str();
        let address =
            shipping::PutAddressRequest { address: Some(crate::shipping::address()), ..Default::default() };
        self.ask::<shipping::PutAddressResponse>(Call::PutAddress, token, address).await;
        let contact = notification::PutContactRequest::default();
        self.ask::<notification::PutContactResponse>(Call::PutContact, token, contact).await;
        let create = shop::order("", "", &[("tea", 1)]);
        let created: order::CreateOrderResponse = self.ask(Call::CreateOrder, token, create).await;
        let order = created.order_id;
        let pay = shop::payment("", &order, "pm_card");
        self.ask::<order::ProcessPaymentResponse>(Call::ProcessPayment, token, pay).await;
        for _ in 0..2_000 {
            let list = shipping::ListShipmentsRequest { order_id: order.clone() };
            let listed: shipping::ListShipmentsResponse = self.ask(Call::ListShipments, token, list).await;
            let number = listed.shipments.first().map(|shipment| shipment.tracking_number.clone());
            if let Some(tracking_number) = number.filter(|number| !number.is_empty()) {
                return Belongings { customer: customer.into(), order, tracking_number };
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the shipment of {order} gets no label");
    }

    async fn about(&self, call: Call, token: Option<&str>, object: &Belongings) -> Result<Vec<u8>, Refusal> {
        let answer = self.call(call, token, object.message(call)).await;
        answer.map_err(|refusal| Refusal { message: object.hidden_in(&refusal.message), ..refusal })
    }
}

fn reason(answer: &Result<Vec<u8>, Refusal>) -> &str {
    answer.as_ref().err().map_or("", |refusal| refusal.reason.as_str())
}

/// What the user service answers has tests of its own: its callers have accounts.
fn has_accounts(call: &&Call) -> bool {
    call.service() == "onrush.user.v1.UserService"
}

#[test]
fn the_table_has_a_row_for_every_call() {
    let pool = prost_reflect::DescriptorPool::decode(DESCRIPTORS).unwrap();
    // Between the shop's own processes, by a token of their own; and what carries calls that have rows.
    let apart = ["onrush.engine.v1.EngineService", "onrush.session.v1.SessionService"];
    let services = pool.services().filter(|service| !apart.contains(&service.full_name()));
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    // What a subscription needs depends on its topic.
    let methods = methods.filter(|method| !method.is_client_streaming());
    let mut described: Vec<String> =
        methods.map(|method| format!("{}/{}", method.parent_service().full_name(), method.name())).collect();
    let mut table: Vec<String> =
        Call::ALL.iter().map(|call| format!("{}/{}", call.service(), call.name())).collect();
    described.sort();
    table.sort();
    assert_eq!(table, described);
}

#[tokio::test]
async fn each_role_reaches_what_the_table_says_and_nothing_else() {
    let street = Street::open().await;
    street.stock("tea").await;
    let missing = Belongings::missing();
    // Staff come last: what they do to other people's orders is done.
    for role in Role::ALL {
        let own = street.somebody(&format!("{role}-1"), role).await;
        let foreign = street.somebody(&format!("other-of-{role}"), Role::Customer).await;
        let token = street.token(&own.customer, &[role]);
        for call in Call::ALL.iter().filter(|call| !has_accounts(call)) {
            let bearer = Some(token.as_str());
            let to_foreign = street.about(*call, bearer, &foreign).await;
            let to_missing = street.about(*call, bearer, &missing).await;
            let to_own = street.about(*call, bearer, &own).await;
            let permitted = |permission| role.permissions().contains(&permission);
            let case =
                format!("{call:?} by {role}: own {to_own:?}, other's {to_foreign:?}, none {to_missing:?}");
            match call.need() {
                Need::Permission(permission) if !permitted(permission) => {
                    for answer in [&to_own, &to_foreign, &to_missing] {
                        assert_eq!(reason(answer), "FORBIDDEN", "{case}");
                    }
                    assert!(to_own == to_foreign && to_foreign == to_missing, "{case}");
                }
                Need::Own(permission) | Need::Visitor(permission) if !permitted(permission) => {
                    assert!(!DENIED.contains(&reason(&to_own)), "{case}");
                    assert!(!NOT_THERE.contains(&reason(&to_own)), "{case}");
                    assert_eq!(to_foreign, to_missing, "{case}");
                    let named =
                        ["FORBIDDEN"].iter().chain(&NOT_THERE).any(|name| *name == reason(&to_foreign));
                    assert!(named, "{case}");
                }
                _ => {
                    for answer in [&to_own, &to_foreign, &to_missing] {
                        assert!(!DENIED.contains(&reason(answer)), "{case}");
                    }
                    assert!(!NOT_THERE.contains(&reason(&to_foreign)), "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn nobody_is_turned_away_before_anything_is_looked_at() {
    let street = Street::open().await;
    let missing = Belongings::missing();
    for call in Call::ALL {
        let answer = street.about(*call, None, &missing).await;
        match call.need() {
            Need::Nothing => assert_ne!(reason(&answer), "UNAUTHENTICATED", "{call:?}: {answer:?}"),
            _ => {
                let refusal = answer.unwrap_err();
                let found = (refusal.code, refusal.reason.as_str(), refusal.field.as_deref());
                let expected = (Code::Unauthenticated, "UNAUTHENTICATED", Some("Authorization"));
                assert_eq!(found, expected, "{call:?}");
            }
        }
    }
}

/// What customers are refused is not half done.
#[tokio::test]
async fn other_peoples_orders_stay_as_they_are() {
    let street = Street::open().await;
    street.stock("tea").await;
    let bob = street.token("bob", &[Role::Customer]);
    let created: order::CreateOrderResponse =
        street.ask(Call::CreateOrder, &bob, shop::order("", "", &[("tea", 2)])).await;
    let objects = Belongings {
        customer: "bob".into(),
        order: created.order_id.clone(),
        tracking_number: "SIM1".into(),
    };
    let look = order::GetOrderStatusRequest { order_id: created.order_id };
    let before: order::GetOrderStatusResponse = street.ask(Call::GetOrderStatus, &bob, look.clone()).await;
    assert_eq!(before.order.as_ref().unwrap().customer_id, "bob", "the caller's, not the body's");
    for role in [Role::Customer, Role::Merchant] {
        let eve = street.token("eve", &[role]);
        for call in Call::ALL.iter().filter(|call| !has_accounts(call)) {
            let answer = street.about(*call, Some(&eve), &objects).await;
            if let Need::Own(_) | Need::Visitor(_) = call.need() {
                assert!(answer.is_err(), "{call:?} by {role}: {answer:?}");
            }
        }
        let mut pay = onrush_grpc::payment::v1::CreatePaymentRequest {
            order_id: objects.order.clone(),
            payment_method: "pm_card".into(),
            ..Default::default()
        };
        pay.request_id = "eve-pays".into();
        let paid = street.call(Call::CreatePayment, Some(&eve), pay.encode_to_vec()).await;
        assert_eq!(reason(&paid), "UNKNOWN_ORDER");
    }
    let after: order::GetOrderStatusResponse = street.ask(Call::GetOrderStatus, &bob, look).await;
    assert_eq!(after, before);
    let list = order::ListOrdersRequest::default();
    let eve = street.token("eve", &[Role::Customer]);
    let listed: order::ListOrdersResponse = street.ask(Call::ListOrders, &eve, list.clone()).await;
    assert_eq!(listed.orders, [], "eve ordered nothing");
    let listed: order::ListOrdersResponse = street.ask(Call::ListOrders, &bob, list).await;
    assert_eq!(listed.orders.len(), 1);
}

#[tokio::test]
async fn staff_act_for_others_and_are_nobody_else() {
    let street = Street::open().await;
    street.stock("tea").await;
    let support = street.token("helper-of-shop", &[Role::Support]);
    let created: order::CreateOrderResponse =
        street.ask(Call::CreateOrder, &support, shop::order("k", "bob", &[("tea", 1)])).await;
    let bob = street.token("bob", &[Role::Customer]);
    let look = order::GetOrderStatusRequest { order_id: created.order_id.clone() };
    let found: order::GetOrderStatusResponse = street.ask(Call::GetOrderStatus, &bob, look).await;
    assert_eq!(found.order.unwrap().customer_id, "bob");
    // The key is the caller's, not the customer's.
    let own: order::CreateOrderResponse =
        street.ask(Call::CreateOrder, &bob, shop::order("k", "bob", &[("tea", 1)])).await;
    assert!(!own.replayed && own.order_id != created.order_id);
    let put = street.call(Call::PutProduct, Some(&support), shop::product("tea", 1).encode_to_vec()).await;
    assert_eq!(reason(&put), "FORBIDDEN", "support sets no prices");
    let both = street.token("both", &[Role::Support, Role::Merchant]);
    let put = street.call(Call::PutProduct, Some(&both), shop::product("tea", 1).encode_to_vec()).await;
    assert!(put.is_ok(), "{put:?}");
    let none = street.token("none", &[]);
    let order =
        street.call(Call::CreateOrder, Some(&none), shop::order("", "", &[("tea", 1)]).encode_to_vec()).await;
    assert!(order.is_ok(), "whoever has an account buys: {order:?}");
}
