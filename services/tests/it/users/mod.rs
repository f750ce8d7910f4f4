//! The user service over HTTP, by a client that we did not write.

pub(crate) mod attacks;
mod bad_input;
mod canary;
mod flow;
mod foreign;
mod grpc;
mod logins;
mod oauth;
mod oidc;
mod reset;
mod restart;

use onrush_services::config::{Config, Service};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::shop::Shop;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A shop and a client of its user service.
pub(crate) struct Site {
    pub(crate) shop: Shop,
    http: Client,
}

/// An answer that was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: String,
    pub(crate) body: Value,
}

/// Tokens of somebody who is logged in.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Site {
    pub(crate) fn open() -> Self {
        Self::open_with(|_| ())
    }

    pub(crate) fn open_with(change: impl FnOnce(&mut Config)) -> Self {
        Self { shop: Shop::open_with(change), http: Client::new() }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, format!("{}{path}", self.shop.address(Service::User)))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request("POST", path).json(body).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        Answer::of(self.request("GET", path).bearer_auth(token).send().await.unwrap()).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str, etag: &str, body: &Value) -> Answer {
        let request = self.request("PUT", path).bearer_auth(token).header("if-match", etag).json(body);
        Answer::of(request.send().await.unwrap()).await
    }

    /// A new account; its id.
    pub(crate) async fn register(&self, email: &str) -> String {
        let account = json!({"email": email, "password": PASSWORD, "name": "Ada Lovelace"});
        let answer = self.post("/register", &account).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn login(&self, email: &str) -> Tokens {
        let answer = self.post("/login", &json!({"email": email, "password": PASSWORD})).await;
        Tokens::of(&answer)
    }

    /// A new account that is logged in.
    pub(crate) async fn somebody(&self, email: &str) -> Tokens {
        self.register(email).await;
        self.login(email).await
    }
}

impl Tokens {
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
        assert_eq!((text("token_type").as_str(), &answer.body["expires_in"]), ("Bearer", &json!(900)));
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let status = response.status().as_u16();
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let (etag, media_type) = (header("etag"), header("content-type"));
        assert_eq!(header("x-request-id").len(), 36, "{response:?}");
        if status >= 400 {
            assert_eq!(media_type, "application/problem+json");
        }
        let body = response.json().await.unwrap_or_default();
        Self { status, etag, body }
    }

    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, reason: &str, field: Option<&str>) {
        let found = (self.status, self.body["reason"].as_str(), self.body["errors"][0]["field"].as_str());
        assert_eq!(found, (status, Some(reason), field), "{self:?}");
    }
}
