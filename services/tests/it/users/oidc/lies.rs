//! Answers that must begin no login.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::stand_in::{CLIENT, HUSH, Provider, Way, login, now_s};
use super::{Answer, Site, Tokens};
use crate::wait::found;

#[tokio::test]
async fn only_the_browser_that_began_a_login_ends_it() {
    let provider = Provider::start();
    let site = provider.shop();
    let issuer = provider.change(|books| books.issuer.clone());
    let eve = Way::begin(&site).await;
    let ada = Way::begin(&site).await.noted(&provider);
    let state = ada.asked("state");
    let stranger = Way { cookie: "a=b".into(), url: ada.url.clone() };
    let (text, tag) = ada.cookie.rsplit_once('.').unwrap();
    let tag: String = tag.chars().rev().collect();
    let unsigned = Way { cookie: format!("{text}.{tag}"), url: ada.url.clone() };
    for (way, state, issuer) in [
        (&stranger, state.as_str(), issuer.as_str()),
        (&eve, &state, &issuer),
        (&unsigned, &state, &issuer),
        (&ada, "", &issuer),
        (&ada, "another", &issuer),
        (&ada, &state, ""),
        (&ada, &state, "https://evil.example"),
    ] {
        let answer = way.back(&site, &[("code", "c-1"), ("state", state), ("iss", issuer)]).await;
        let found = (answer.status, &answer.body["reason"]);
        assert_eq!(found, (400, &json!("LOGIN_STATE_MISMATCH")), "{answer:?}");
    }
    let denied = ada.back(&site, &[("error", "access_denied"), ("state", &state), ("iss", &issuer)]).await;
    denied.assert_refused(401, "LOGIN_REFUSED", None);
    let wrong = ada.back(&site, &[("code", "c-2"), ("state", &state), ("iss", &issuer)]).await;
    wrong.assert_refused(401, "LOGIN_REFUSED", None);
    Tokens::of(&ada.home(&site, &provider).await);
}

/// As many as may err with passwords from one network; a login by password is nobody's to keep from.
#[tokio::test]
async fn whoever_comes_back_without_having_left_waits_in_the_end() {
    let provider = Provider::start();
    let site = provider.shop();
    site.register("eve@example.com").await;
    let stranger = Way { cookie: "a=b".into(), url: Way::begin(&site).await.url };
    let mut admitted = 0;
    let refused = loop {
        let answer = stranger.back(&site, &[("code", "c-1"), ("state", "another")]).await;
        if answer.status != 400 {
            break answer;
        }
        answer.assert_refused(400, "LOGIN_STATE_MISMATCH", Some("state"));
        admitted += 1;
    };
    refused.assert_refused(429, "TOO_MANY_REQUESTS", None);
    assert!(admitted >= 50, "{admitted}");
    site.login("eve@example.com").await;
}

#[tokio::test]
async fn id_tokens_that_are_not_the_providers_word_to_us_now_are_refused() {
    let provider = Provider::start();
    let site = provider.shop();
    let now = now_s();
    let refused = async |name: &str| {
        let answer = login(&site, &provider).await;
        let found = (answer.status, &answer.body["reason"]);
        assert_eq!(found, (401, &json!("INVALID_ID_TOKEN")), "{name}: {answer:?}");
    };
    let claims: [(&'static str, Value); 15] = [
        ("iss", json!("https://evil.example")),
        ("iss", Value::Null),
        ("aud", json!("another client")),
        ("aud", json!([CLIENT, "another client"])),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("azp", json!("another client")),
        ("exp", json!(now - 3_600)),
        ("exp", Value::Null),
        ("nbf", json!(now + 3_600)),
        ("nonce", json!("another")),
        ("nonce", json!("")),
        ("nonce", Value::Null),
        ("sub", json!("")),
        ("sub", json!("x".repeat(256))),
    ];
    for (field, to) in claims {
        provider.change(|books| books.bent = vec![(field, to.clone())]);
        refused(&format!("{field}: {to:.40}")).await;
    }
    // What the token leaves out another call says, of another person.
    provider.change(|books| books.bent = vec![("email", Value::Null)]);
    refused("two persons").await;
    provider.change(|books| books.bent.clear());

    let public = provider.change(|books| books.pair.public_key().as_ref().to_vec());
    for (algorithm, secret) in [
        ("none", None),
        ("None", None),
        ("HS256", Some(HUSH.as_bytes().to_vec())),
        // The public key as a secret.
        ("HS256", Some(public)),
        ("ES256", None),
    ] {
        provider.change(|books| {
            books.bent_header = vec![("alg", json!(algorithm))];
            books.secret = secret;
        });
        refused(algorithm).await;
    }
    provider.change(|books| (books.bent_header, books.secret) = (vec![("kid", json!("k2"))], None));
    refused("a key for encryption").await;
    provider.change(|books| books.bent_header = vec![("kid", Value::Null)]);
    refused("no key id, and more than one key").await;
    provider.change(|books| books.bent_header.clear());
    // Another key under a known name.
    let other = Ed25519KeyPair::generate().unwrap();
    let own = provider.change(|books| std::mem::replace(&mut books.pair, other));
    refused("another key").await;
    provider.change(|books| books.pair = own);
    Tokens::of(&login(&site, &provider).await);
}

#[tokio::test]
async fn invented_keys_and_absence_cost_the_provider_little() {
    let provider = Provider::start();
    provider.change(|books| books.bent_header = vec![("kid", json!("invented"))]);
    let site = provider.shop();
    for _ in 0..5 {
        login(&site, &provider).await.assert_refused(401, "INVALID_ID_TOKEN", None);
    }
    assert_eq!(provider.change(|books| (books.discovered, books.fetched_keys)), (1, 1));
}

#[tokio::test]
async fn a_provider_that_is_away_or_another_one_is_said_to_be() {
    let provider = Provider::start();
    let begin = async |site: &Site| {
        let answer = Way::asked_for(site).await;
        if answer.status() == 303 {
            return true;
        }
        Answer::of(answer).await.assert_refused(503, "LOGIN_PROVIDER_UNAVAILABLE", None);
        false
    };
    // What is too long is not read to its end.
    let long = format!("{{\"issuer\":\"{}\"}}", "x".repeat(300 << 10));
    provider.change(|books| books.instead = Some((200, long)));
    assert!(!begin(&provider.shop()).await);
    provider.change(|books| books.instead = None);
    provider.change(|books| books.metadata = vec![("issuer", json!("https://evil.example"))]);
    let site = provider.shop();
    assert!(!begin(&site).await);
    provider.change(|books| books.metadata.clear());
    found("a login at a provider that is there again", async || begin(&site).await.then_some(())).await;
    Tokens::of(&login(&site, &provider).await);
}
