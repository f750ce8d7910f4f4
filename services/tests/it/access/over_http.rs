//! The same over HTTP: every path of the documents asks for a token, but for those that are open.

use onrush_services::access::{Call, Need, Role};
use onrush_services::config::Service;
use serde_json::{Value, json};

use super::Street;
use super::message::Belongings;

/// Open to everybody: what a process says of itself, what begins or ends a login, what is signed otherwise.
pub(super) const OPEN: [(&str, &str); 28] = [
    ("get", "/health"),
    ("get", "/ready"),
    ("get", "/metrics"),
    ("post", "/register"),
    ("post", "/login"),
    ("post", "/refresh"),
    ("post", "/logout"),
    ("get", "/.well-known/jwks.json"),
    ("get", "/login/oidc"),
    ("get", "/login/oidc/callback"),
    ("get", "/.well-known/openid-configuration"),
    ("get", "/.well-known/oauth-authorization-server"),
    // A user shows who they are by a form, a client by its secret.
    ("get", "/oauth2/authorize"),
    ("post", "/oauth2/authorize"),
    ("post", "/oauth2/token"),
    ("post", "/oauth2/revoke"),
    ("post", "/oauth2/introspect"),
    // Who forgot a password has no token but that of a mail.
    ("post", "/password-reset"),
    ("get", "/password-reset"),
    ("post", "/password-reset/confirm"),
    ("post", "/password-reset/form"),
    ("post", "/carrier/webhook"),
    ("post", "/webhooks/stripe"),
    ("post", "/webhooks/paypal"),
    ("post", "/grpc.health.v1.Health/Check"),
    ("get", "/unsubscribe"),
    ("post", "/unsubscribe"),
    ("post", "/sms/status"),
];

async fn send(
    street: &Street,
    method: &str,
    url: &str,
    token: Option<&str>,
    body: &Value,
) -> (u16, bool, Value) {
    let method = method.to_uppercase().parse().unwrap();
    let mut request = street.http.request(method, url).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    let challenged = answer.headers().contains_key("www-authenticate");
    (answer.status().as_u16(), challenged, answer.json().await.unwrap_or_default())
}

/// A call of gRPC in JSON that needs nothing.
fn is_open_call(path: &str) -> bool {
    let mut open = Call::ALL.iter().filter(|call| matches!(call.need(), Need::Nothing | Need::Visitor(_)));
    open.any(|call| path == format!("/{}/{}", call.service(), call.name()))
}

#[tokio::test]
async fn every_documented_path_asks_for_a_token_or_is_known_to_be_open() {
    let street = Street::open().await;
    let mut open = Vec::new();
    for service in Service::ALL {
        let address = street.shop.address(service);
        let document: Value =
            reqwest::get(format!("{address}/openapi.json")).await.unwrap().json().await.unwrap();
        for (path, calls) in document["paths"].as_object().unwrap() {
            for method in calls.as_object().unwrap().keys() {
                let known = OPEN.iter().find(|row| **row == (method.as_str(), path.as_str()));
                let is_open = known.is_some() || is_open_call(path);
                // What stands between braces is no id of anything: callers are looked at before ids are.
                let url = format!("{address}{}", path.replace(['{', '}'], ""));
                let (status, challenged, body) = send(&street, method, &url, None, &json!({})).await;
                let bearer = body["errors"][0]["field"] == "Authorization";
                assert_eq!(bearer, !is_open, "{method} {path}: {status} {body}");
                if !is_open {
                    assert_eq!((status, challenged), (401, true), "{method} {path}: {body}");
                }
                open.extend(known);
            }
        }
    }
    for row in OPEN {
        assert!(open.contains(&&row), "no document has {row:?}");
    }
}

#[tokio::test]
async fn parcels_are_shown_to_their_buyers_and_to_staff() {
    let street = Street::open().await;
    street.stock("tea").await;
    let own = street.somebody("ada", Role::Customer).await;
    let foreign = street.somebody("bob", Role::Customer).await;
    let missing = Belongings::missing();
    let address = street.shop.address(Service::Shipping);
    let paths = |of: &Belongings| {
        [
            format!("/shipments/{}", of.order),
            format!("/orders/{}/shipments", of.order),
            format!("/track/{}", of.tracking_number),
        ]
    };
    let ada = street.token("ada", &[Role::Customer]);
    let merchant = street.token("merchant-1", &[Role::Merchant]);
    for path in paths(&own) {
        let url = format!("{address}{path}");
        assert_eq!(send(&street, "get", &url, Some(&ada), &Value::Null).await.0, 200, "{path}");
        assert_eq!(send(&street, "get", &url, Some(&merchant), &Value::Null).await.0, 404, "{path}");
        assert_eq!(send(&street, "get", &url, None, &Value::Null).await.0, 401, "{path}");
    }
    for (there, not_there) in paths(&foreign).iter().zip(paths(&missing)) {
        let (status, _, body) =
            send(&street, "get", &format!("{address}{there}"), Some(&ada), &Value::Null).await;
        let none = send(&street, "get", &format!("{address}{not_there}"), Some(&ada), &Value::Null).await;
        assert_eq!((status, none.0), (404, 404), "{there}: {body}");
        let hidden = (foreign.hidden_in(&body.to_string()), missing.hidden_in(&none.2.to_string()));
        assert_eq!(hidden.0, hidden.1);
        for role in [Role::Support, Role::Admin] {
            let staff = street.token("staff", &[role]);
            let seen = send(&street, "get", &format!("{address}{there}"), Some(&staff), &Value::Null).await;
            assert_eq!(seen.0, 200, "{there} by {role}");
        }
    }
    let to = json!({"name": "Ada", "street": "Square 12", "city": "London", "country_code": "GB"});
    let rates = json!({"destination": to, "weight_grams": 500});
    assert_eq!(send(&street, "post", &format!("{address}/rates"), Some(&ada), &rates).await.0, 200);
    assert_eq!(send(&street, "post", &format!("{address}/rates"), None, &rates).await.0, 401);
}
