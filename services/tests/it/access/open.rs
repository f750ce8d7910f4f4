//! A shop on a machine of one's own: open without a token, and exact with one.

use onrush_services::access::{Access, Call, Role};
use prost::Message as _;
use tonic::Code;

use super::message::Belongings;
use super::{Street, everything};
use crate::shop::{order, product};

#[tokio::test]
async fn without_a_token_the_operator_may_do_everything_and_with_one_nobody_more_than_it_says() {
    let street = Street::open_with(|config| config.access = Access::Open).await;
    street.stock("tea").await;
    let bob = street.somebody("bob", Role::Customer).await;
    for call in Call::ALL.iter().filter(|call| call.service() != "onrush.user.v1.UserService") {
        let answer = street.call(*call, None, bob.message(*call)).await;
        let denied = ["UNAUTHENTICATED", "FORBIDDEN", "UNKNOWN_ORDER", "UNKNOWN_SHIPMENT"];
        let reason = answer.as_ref().err().map_or("", |refusal| refusal.reason.as_str());
        assert!(!denied.contains(&reason), "{call:?}: {answer:?}");
    }
    // Nobody is behind an operator, so an order says whose it is.
    let unnamed = street.call(Call::CreateOrder, None, order("", "", &[("tea", 1)]).encode_to_vec()).await;
    let unnamed = unnamed.unwrap_err();
    assert_eq!((unnamed.reason.as_str(), unnamed.field.as_deref()), ("MISSING_FIELD", Some("customer_id")));

    let eve = street.token("eve", &[Role::Customer]);
    for (call, message, reason) in [
        (Call::PutProduct, product("tea", 1).encode_to_vec(), "FORBIDDEN"),
        (Call::CreateOrder, order("", "bob", &[("tea", 1)]).encode_to_vec(), "FORBIDDEN"),
        (Call::GetOrderStatus, bob.message(Call::GetOrderStatus), "UNKNOWN_ORDER"),
        (Call::Stats, bob.message(Call::Stats), "FORBIDDEN"),
    ] {
        let refusal = street.call(call, Some(&eve), message.clone()).await.unwrap_err();
        assert_eq!(refusal.reason, reason, "{call:?}");
        let refusal = street.call(call, Some("none.of.ours"), message).await.unwrap_err();
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unauthenticated, "INVALID_TOKEN"));
    }
}

#[tokio::test]
async fn what_was_open_asks_for_tokens_once_it_is_told_to() {
    let street = Street::open_with(|config| config.access = Access::Open).await;
    street.stock("tea").await;
    let message = Belongings::missing().message(Call::ListOrders);
    assert!(street.call(Call::ListOrders, None, message.clone()).await.is_ok());
    let shop = street.shop.restart_with(|config| {
        everything(config);
        config.access = Access::Required;
    });
    let shop = shop.await;
    let refused = shop.client.list_orders(Default::default()).await;
    crate::shop::assert_refused(refused, "UNAUTHENTICATED", Some("Authorization"));
}
