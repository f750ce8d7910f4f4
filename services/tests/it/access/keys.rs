//! Idempotency keys belong to their caller.

use onrush_grpc::order::v1::{CancelOrderRequest, CreateOrderResponse};
use onrush_services::access::{Access, Call, Role};
use prost::Message;

use super::Street;
use crate::shop::order;

#[tokio::test]
async fn equal_keys_of_two_users_do_not_meet() {
    let street = Street::open_with(|config| config.access = Access::Open).await;
    street.stock("tea").await;
    let (ada, bob) = (street.token("ada", &[Role::Customer]), street.token("bob", &[Role::Customer]));
    let create = order("the-key", "", &[("tea", 1)]);
    let mut ids = Vec::new();
    for token in [&ada, &bob] {
        let first: CreateOrderResponse = street.ask(Call::CreateOrder, token, create.clone()).await;
        let again: CreateOrderResponse = street.ask(Call::CreateOrder, token, create.clone()).await;
        assert!(!first.replayed && again.replayed);
        assert_eq!(first.order_id, again.order_id);
        ids.push(first.order_id);
    }
    // Nor does the operator's, whose calls come without a token; nor another body's of another user.
    let operator = order("the-key", "ada", &[("tea", 2)]).encode_to_vec();
    let operator = street.call(Call::CreateOrder, None, operator).await.unwrap();
    let operator = CreateOrderResponse::decode(operator.as_slice()).unwrap();
    assert!(!operator.replayed);
    ids.push(operator.order_id);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let cancel = CancelOrderRequest { request_id: "the-key".into(), order_id: ids[0].clone() };
    let reused = street.call(Call::CancelOrder, Some(&ada), cancel.encode_to_vec()).await;
    assert!(reused.is_err(), "{reused:?}");
}

/// A key that the edge made for a user was made as nobody's: sent again, it bought again.
#[tokio::test]
async fn a_key_that_was_made_for_a_caller_is_theirs_to_send_again() {
    let street = Street::open().await;
    street.stock("tea").await;
    let ada = street.token("ada", &[Role::Customer]);
    let made: CreateOrderResponse = street.ask(Call::CreateOrder, &ada, order("", "", &[("tea", 1)])).await;
    let again = order(&made.request_id, "", &[("tea", 1)]);
    let again: CreateOrderResponse = street.ask(Call::CreateOrder, &ada, again).await;
    assert!(again.replayed);
    assert_eq!(again.order_id, made.order_id);
}
