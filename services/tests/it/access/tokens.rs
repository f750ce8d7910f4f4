//! Tokens that must not be believed, on a gRPC call and on an HTTP call of services that know them by
//! their key alone, after a good one was believed and remembered.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use onrush_services::access::{Access, Call, Role};
use onrush_services::config::{Secret, Service};
use serde_json::json;
use tonic::Code;

use super::Street;
use crate::shop::order;
use crate::users::attacks::{SECRET, b64, bent, broken, hs256, part, signed, with};
use prost::Message as _;

/// Good by their signature, for somebody else or a login that nobody knows: only the user service can tell.
const SIGNED: [&str; 4] = [
    "claim sub: \"00000000-0000-4000-8000-000000000000\"",
    "claim sub: \"../users/root\"",
    "claim sid: \"another\"",
    "claim sid: \"\"",
];

fn create() -> Vec<u8> {
    order("", "", &[("tea", 1)]).encode_to_vec()
}

async fn over_http(street: &Street, authorization: &[String]) -> (u16, Option<String>, String) {
    let address = street.shop.address(Service::Shipping);
    let path = format!("{address}/shipments/{}", "0".repeat(32));
    let mut request = street.http.get(path);
    for value in authorization {
        request = request.header("authorization", value);
    }
    let answer = request.send().await.unwrap();
    let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    let problem: serde_json::Value = answer.json().await.unwrap();
    (status, challenge, problem["reason"].as_str().unwrap_or_default().to_owned())
}

async fn assert_all_refused(street: &Street, good: &str, tokens: &[(String, String)]) {
    for (name, token) in tokens {
        let value = [format!("Bearer {token}")];
        let refusal = street.call_with(Call::CreateOrder, &value, create()).await.expect_err(name);
        let found = (refusal.code, refusal.reason.as_str());
        assert_eq!(found, (Code::Unauthenticated, "INVALID_TOKEN"), "{name}: {refusal:?}");
        let (status, challenge, reason) = over_http(street, &value).await;
        assert_eq!((status, reason.as_str()), (401, "INVALID_TOKEN"), "{name}");
        assert!(challenge.is_some_and(|value| value.starts_with("Bearer ")), "{name}");
    }
    assert!(street.call(Call::CreateOrder, Some(good), create()).await.is_ok());
}

#[tokio::test]
async fn no_token_but_ours_is_believed_on_any_edge_under_eddsa() {
    let street = Street::open().await;
    street.stock("tea").await;
    let good = street.token("ada", &[Role::Customer]);
    assert!(street.call(Call::CreateOrder, Some(&good), create()).await.is_ok());
    let pkcs8 = std::fs::read(street.shop.dir.path().join("data/token-signing-key.pkcs8")).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
    let ours = |message: &[u8]| pair.sign(message).as_ref().to_vec();
    let (header, claims) = (part(&good, 0), part(&good, 1));
    let again = signed(&header, &claims, ours);
    assert!(street.call(Call::CreateOrder, Some(&again), create()).await.is_ok(), "the tool works");

    let mut tokens = broken(&good, "onrush_rt_AAAA");
    for (name, header, claims) in bent(&header, &claims, "EdDSA") {
        tokens.push((name, signed(&header, &claims, ours)));
    }
    tokens.retain(|(name, _)| !SIGNED.contains(&name.as_str()));
    let x = b64(pair.public_key().as_ref());
    for secret in [pair.public_key().as_ref(), x.as_bytes(), b""] {
        let confused = with(&header, "alg", json!("HS256"));
        tokens.push(("HS256 by a public key".into(), signed(&confused, &claims, hs256(secret))));
    }
    let strange = Ed25519KeyPair::generate().unwrap();
    let by_another = |message: &[u8]| strange.sign(message).as_ref().to_vec();
    tokens.push(("another key".into(), signed(&header, &claims, by_another)));
    assert!(tokens.len() >= 60, "{}", tokens.len());
    assert_all_refused(&street, &good, &tokens).await;
}

#[tokio::test]
async fn no_token_but_ours_is_believed_on_any_edge_under_a_secret() {
    let street = Street::open_with(|config| {
        config.access = Access::Required;
        config.tokens.secret = Some(Secret::new(SECRET));
    })
    .await;
    street.stock("tea").await;
    let good = street.token("ada", &[Role::Customer]);
    let (header, claims) = (part(&good, 0), part(&good, 1));
    let mut tokens = broken(&good, "onrush_rt_AAAA");
    for (name, header, claims) in bent(&header, &claims, "HS256") {
        tokens.push((name, signed(&header, &claims, hs256(SECRET.as_bytes()))));
    }
    tokens.retain(|(name, _)| !SIGNED.contains(&name.as_str()));
    for guess in ["", "secret", &SECRET[1..]] {
        tokens.push((format!("the secret {guess:?}"), signed(&header, &claims, hs256(guess.as_bytes()))));
    }
    let long = with(&claims, "sub", json!("x".repeat(40)));
    tokens.push(("an id that no user has".into(), signed(&header, &long, hs256(SECRET.as_bytes()))));
    assert_all_refused(&street, &good, &tokens).await;
}

#[tokio::test]
async fn one_header_and_a_bearers_or_none_is_looked_at() {
    let street = Street::open().await;
    street.stock("tea").await;
    let good = street.token("ada", &[Role::Customer]);
    let bearer = format!("Bearer {good}");
    let table: [&[String]; 7] = [
        &[bearer.clone(), bearer.clone()],
        &[bearer.clone(), "Bearer x".into()],
        &["Basic YWRhOmFkYQ==".into(), bearer.clone()],
        std::slice::from_ref(&good),
        &["Bearer".into()],
        &["Bearer  ".into()],
        &[format!("Basic {good}")],
    ];
    for values in table {
        let refusal = street.call_with(Call::CreateOrder, values, create()).await.unwrap_err();
        let found = (refusal.code, refusal.reason.as_str(), refusal.field.as_deref());
        assert_eq!(found, (Code::Unauthenticated, "UNAUTHENTICATED", Some("Authorization")), "{values:?}");
        let (status, challenge, reason) = over_http(&street, values).await;
        assert_eq!((status, reason.as_str()), (401, "UNAUTHENTICATED"), "{values:?}");
        assert!(challenge.is_some(), "{values:?}");
    }
    // 2 MB of token: the call may end as the transport likes, the server goes on.
    let huge = [format!("Bearer {}", "A".repeat(2 << 20))];
    assert!(street.call_with(Call::CreateOrder, &huge, create()).await.is_err());
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let value = [format!("{scheme} {good}")];
        let answer = street.call_with(Call::CreateOrder, &value, create()).await;
        assert!(answer.is_ok(), "{scheme}: {answer:?}");
    }
}

#[tokio::test]
async fn what_callers_say_of_themselves_beside_the_token_counts_for_nothing() {
    let street = Street::open().await;
    street.stock("tea").await;
    let eve = street.token("eve", &[Role::Customer]);
    // A field that the message does not have: roles = "admin".
    let mut message = order("", "bob", &[("tea", 1)]).encode_to_vec();
    message.extend([0x9a, 0x06, 5]);
    message.extend(b"admin");
    let refusal = street.call(Call::CreateOrder, Some(&eve), message).await.unwrap_err();
    let found = (refusal.code, refusal.reason.as_str(), refusal.field.as_deref());
    assert_eq!(found, (Code::PermissionDenied, "FORBIDDEN", Some("customer_id")));

    let bob = street.somebody("bob", Role::Customer).await;
    let address = street.shop.address(Service::Shipping);
    for path in
        [format!("/shipments/{}", bob.order), format!("/shipments/{}?roles=admin&user=bob", bob.order)]
    {
        let request = street
            .http
            .get(format!("{address}{path}"))
            .bearer_auth(&eve)
            .header("x-user-id", "bob")
            .header("x-roles", "admin")
            .header("x-forwarded-user", "bob")
            .header("x-forwarded-for", "127.0.0.1");
        assert_eq!(request.send().await.unwrap().status(), 404, "{path}");
    }
}
