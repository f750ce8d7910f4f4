//! Access tokens that must not be believed, made with the server's own key where that is the worst case.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onrush_services::config::Secret;
use serde_json::{Value, json};

use super::Site;

pub(crate) const SECRET: &str = "a secret of the operator, 32 bytes or more";

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The value with one field changed; null takes it away.
pub(crate) fn with(value: &Value, field: &str, to: Value) -> Value {
    let mut value = value.clone();
    match to {
        Value::Null => drop(value.as_object_mut().unwrap().remove(field)),
        to => value[field] = to,
    }
    value
}

pub(crate) fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", b64(signature))
}

pub(crate) fn hs256(key: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

/// A part of a token, read.
pub(crate) fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Headers and claims that differ from good ones in one thing, by name.
pub(crate) fn bent(header: &Value, claims: &Value, algorithm: &str) -> Vec<(String, Value, Value)> {
    let now = now_s();
    let headers = [
        ("alg", json!("none")),
        ("alg", json!("NONE")),
        ("alg", json!("")),
        ("alg", json!("HS384")),
        ("alg", json!("HS512")),
        ("alg", json!("RS256")),
        ("alg", json!("ES256")),
        ("alg", json!(if algorithm == "EdDSA" { "HS256" } else { "EdDSA" })),
        ("alg", json!([algorithm])),
        ("alg", Value::Null),
        ("typ", json!("JWT")),
        ("typ", json!("refresh+jwt")),
        ("typ", json!("AT+JWT ")),
        ("typ", Value::Null),
        ("kid", json!("another")),
        ("kid", json!("../../../dev/null")),
        ("kid", json!("' UNION SELECT 'x")),
        ("kid", json!("")),
        ("kid", Value::Null),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("jwk", json!({"kty": "oct", "k": "AAAA"})),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
        ("zip", json!("DEF")),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
    ];
    let bodies = [
        ("iss", json!("evil")),
        ("iss", json!(["onrush"])),
        ("iss", Value::Null),
        ("aud", json!("another")),
        ("aud", json!(["another"])),
        ("aud", Value::Null),
        ("exp", json!(now - 60)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!("tomorrow")),
        ("exp", json!(1e300)),
        ("exp", Value::Null),
        ("nbf", json!(now + 3_600)),
        ("nbf", Value::Null),
        ("sub", json!("00000000-0000-4000-8000-000000000000")),
        ("sub", json!("../users/root")),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", Value::Null),
        ("sid", json!("another")),
        ("sid", json!("")),
        ("sid", Value::Null),
        ("roles", json!("admin")),
        ("roles", json!(["root"])),
        ("roles", Value::Null),
        ("scope", json!("admin")),
        ("scope", json!("orders.read")),
        ("client_id", json!("a program without scopes")),
    ];
    let mut found = Vec::new();
    for (field, to) in headers {
        found.push((format!("header {field}: {to}"), with(header, field, to), claims.clone()));
    }
    for (field, to) in bodies {
        found.push((format!("claim {field}: {to}"), header.clone(), with(claims, field, to)));
    }
    found
}

/// Tokens that are damaged or made of other things.
pub(crate) fn broken(token: &str, refresh: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let admin = with(&part(token, 1), "roles", json!(["admin"]));
    let none = b64(json!({"alg": "none", "typ": "at+jwt"}).to_string());
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[0] ^= 1;
    let table = [
        ("the refresh token", refresh.to_owned()),
        ("other claims under the signature", format!("{header}.{}.{signature}", b64(admin.to_string()))),
        ("a flipped bit", format!("{header}.{claims}.{}", b64(&flipped))),
        ("half a signature", format!("{header}.{claims}.{}", &signature[..signature.len() / 2])),
        ("no signature", format!("{header}.{claims}.")),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{token}.{signature}")),
        ("five parts", format!("{token}.{signature}.{claims}")),
        ("alg none", format!("{none}.{claims}.")),
        ("alg none with the signature", format!("{none}.{claims}.{signature}")),
        ("padding", format!("{token}==")),
        ("no parts", "token".to_owned()),
        ("dots", "..".to_owned()),
        ("another header's encoding", format!("%00.{claims}.{signature}")),
        ("a token that is too long", format!("{header}.{claims}{}.{signature}", "A".repeat(5_000))),
    ];
    table.map(|(name, token)| (name.to_owned(), token)).to_vec()
}

async fn assert_all_refused(site: &Site, tokens: &[(String, String)]) {
    for (name, token) in tokens {
        let answer = site.get("/profile", token).await;
        let found = (answer.status, answer.body["reason"].as_str().unwrap_or_default());
        assert_eq!(found, (401, "INVALID_TOKEN"), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn no_token_but_ours_is_believed_under_eddsa() {
    let site = Site::open();
    let ada = site.somebody("ada@example.com").await;
    let pkcs8 = std::fs::read(site.shop.dir.path().join("data/token-signing-key.pkcs8")).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
    let ours = |message: &[u8]| pair.sign(message).as_ref().to_vec();
    let (header, claims) = (part(&ada.access, 0), part(&ada.access, 1));
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("at+jwt")));
    // The tool works: the same claims signed anew are good.
    assert_eq!(site.get("/profile", &signed(&header, &claims, ours)).await.status, 200);

    let mut tokens = broken(&ada.access, &ada.refresh);
    for (name, header, claims) in bent(&header, &claims, "EdDSA") {
        tokens.push((name, signed(&header, &claims, ours)));
    }
    // The public key as a shared secret, in each form in which it is published, with and without our header.
    let public = pair.public_key().as_ref();
    let x = b64(public);
    for secret in [public, x.as_bytes(), b"", SECRET.as_bytes()] {
        let confused = with(&header, "alg", json!("HS256"));
        tokens.push(("HS256 by a public key".into(), signed(&confused, &claims, hs256(secret))));
        tokens.push(("EdDSA by a MAC".into(), signed(&header, &claims, hs256(secret))));
    }
    let strange = Ed25519KeyPair::generate().unwrap();
    let by_another = |message: &[u8]| strange.sign(message).as_ref().to_vec();
    tokens.push(("another key".into(), signed(&header, &claims, by_another)));
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(strange.public_key().as_ref())});
    tokens.push(("its own key".into(), signed(&with(&header, "jwk", jwk), &claims, by_another)));
    assert!(tokens.len() >= 60, "{}", tokens.len());
    assert_all_refused(&site, &tokens).await;
}

#[tokio::test]
async fn no_token_but_ours_is_believed_under_a_secret() {
    let site = Site::open_with(|config| config.tokens.secret = Some(Secret::new(SECRET)));
    let ada = site.somebody("ada@example.com").await;
    let (header, claims) = (part(&ada.access, 0), part(&ada.access, 1));
    assert_eq!(header["alg"], "HS256");
    // The key that is published is for ID tokens.
    assert_ne!(site.get("/.well-known/jwks.json", "").await.body["keys"][0]["kid"], header["kid"]);
    let ours = hs256(SECRET.as_bytes());
    assert_eq!(site.get("/profile", &signed(&header, &claims, &ours)).await.status, 200);
    let mut tokens = broken(&ada.access, &ada.refresh);
    for (name, header, claims) in bent(&header, &claims, "HS256") {
        tokens.push((name, signed(&header, &claims, &ours)));
    }
    for guess in ["", "secret", "changeme", &SECRET[1..]] {
        tokens.push((format!("the secret {guess:?}"), signed(&header, &claims, hs256(guess.as_bytes()))));
    }
    assert_all_refused(&site, &tokens).await;
}

#[tokio::test]
async fn tokens_that_do_not_come_as_bearers_are_not_looked_at() {
    let site = Site::open();
    let ada = site.somebody("ada@example.com").await;
    let basic = format!("Basic {}", ada.access);
    for value in ["", "Bearer", "Bearer ", &ada.access, &basic] {
        let request = site.request("GET", "/profile").header("authorization", value);
        let answer = super::Answer::of(request.send().await.unwrap()).await;
        answer.assert_refused(401, "UNAUTHENTICATED", Some("Authorization"));
    }
    let bearer = format!("Bearer {}", ada.access);
    let twice =
        site.request("GET", "/profile").header("authorization", &bearer).header("authorization", &bearer);
    super::Answer::of(twice.send().await.unwrap()).await.assert_refused(
        401,
        "UNAUTHENTICATED",
        Some("Authorization"),
    );
    for path in [format!("/profile?access_token={}", ada.access), "/profile".into()] {
        let answer = super::Answer::of(site.request("GET", &path).send().await.unwrap()).await;
        answer.assert_refused(401, "UNAUTHENTICATED", Some("Authorization"));
    }
    // 2 MB of token: the connection may end, the server goes on.
    let huge = "A".repeat(2 << 20);
    if let Ok(answer) = site.request("GET", "/profile").bearer_auth(&huge).send().await {
        assert!(answer.status().is_client_error(), "{answer:?}");
    }
    assert_eq!(site.get("/profile", &ada.access).await.status, 200);
}
