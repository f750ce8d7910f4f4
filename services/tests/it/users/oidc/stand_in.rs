//! A stand-in for a provider, which does well or lies, and a browser on its way there and back.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onrush_services::config::{Config, OidcOptions, Secret, Service};
use reqwest::Url;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use super::super::attacks::{b64, hs256, signed, with};
use super::super::{Answer, Site};
use crate::wire::{self, Answer as Said, Call, Place};

pub(super) const CLIENT: &str = "the shop";
pub(super) const HUSH: &str = "hush & more";

/// The stand-in.
#[derive(Clone)]
pub(super) struct Provider {
    books: Arc<Mutex<Books>>,
}

pub(super) struct Books {
    pub(super) issuer: String,
    pub(super) pair: Ed25519KeyPair,
    /// What the next ID token is to say instead.
    pub(super) bent: Vec<(&'static str, Value)>,
    /// The same for its header.
    pub(super) bent_header: Vec<(&'static str, Value)>,
    /// Signs the next ID token instead of the pair.
    pub(super) secret: Option<Vec<u8>>,
    pub(super) person: Value,
    /// What it says of itself, instead.
    pub(super) metadata: Vec<(&'static str, Value)>,
    nonce: String,
    challenge: String,
    pub(super) fetched_keys: usize,
    pub(super) discovered: usize,
    /// What it answers instead, whatever it is asked.
    pub(super) instead: Option<(u16, String)>,
}

pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Provider {
    pub(super) fn start() -> Self {
        let books = Books {
            issuer: String::new(),
            pair: Ed25519KeyPair::generate().unwrap(),
            bent: Vec::new(),
            bent_header: Vec::new(),
            secret: None,
            person: json!({"sub": "p-1", "email": "Ada@Example.com", "email_verified": true, "name": "Ada"}),
            metadata: Vec::new(),
            nonce: String::new(),
            challenge: String::new(),
            fetched_keys: 0,
            discovered: 0,
            instead: None,
        };
        let provider = Self { books: Arc::new(Mutex::new(books)) };
        let answering = provider.clone();
        let address = wire::serve(Place::free(), move |call| answering.answer(call));
        provider.change(|books| books.issuer = format!("http://{address}"));
        provider
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        change(&mut self.books.lock().unwrap())
    }

    /// A shop whose users may come from here.
    pub(super) fn shop(&self) -> Site {
        let issuer = self.change(|books| books.issuer.clone());
        shop_with(&issuer, CLIENT, Some(HUSH))
    }

    fn answer(&self, call: &Call) -> Said {
        self.change(|books| {
            let discovers = call.path == "/.well-known/openid-configuration";
            books.discovered += usize::from(discovers);
            match (&books.instead, call.path.as_str()) {
                (Some((status, text)), _) => Said::Say(*status, text.clone()),
                (None, _) if discovers => Said::Say(200, books.document().to_string()),
                (None, "/keys") => {
                    books.fetched_keys += 1;
                    let x = b64(books.pair.public_key().as_ref());
                    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k1", "alg": "EdDSA"});
                    let other = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k2", "use": "enc"});
                    let strange = json!({"kty": "new kind", "kid": "other"});
                    Said::Say(200, json!({"keys": [strange, key, other]}).to_string())
                }
                (None, "/token") => books.token(call),
                (None, "/userinfo") => {
                    let more = json!({"sub": "p-2", "email": "bob@example.com", "email_verified": true});
                    Said::Say(200, more.to_string())
                }
                _ => Said::Say(404, "{}".into()),
            }
        })
    }
}

/// A shop that is a client of this provider.
pub(super) fn shop_with(issuer: &str, client_id: &str, secret: Option<&str>) -> Site {
    shop_that(issuer, client_id, secret, |_| ())
}

/// The same with something else about it.
pub(super) fn shop_that(
    issuer: &str,
    client_id: &str,
    secret: Option<&str>,
    change: impl FnOnce(&mut Config),
) -> Site {
    Site::open_with(|config| {
        change(config);
        let client_secret = secret.map(Secret::new);
        config.oidc = Some(OidcOptions { issuer: issuer.into(), client_id: client_id.into(), client_secret });
    })
}

impl Books {
    fn document(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        let said = json!({
            "issuer": self.issuer, "authorization_endpoint": at("/authorize?tenant=1"), "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"), "userinfo_endpoint": at("/userinfo"),
            "authorization_response_iss_parameter_supported": true,
        });
        self.metadata.iter().fold(said, |said, (field, to)| with(&said, field, to.clone()))
    }

    fn token(&self, call: &Call) -> Said {
        let form = call.form();
        // Name and secret are encoded as in forms before they are joined.
        let who = format!("Basic {}", STANDARD.encode("the+shop:hush+%26+more"));
        let right = call.header("authorization") == who
            && form["code"] == "c-1"
            && form["redirect_uri"] == "https://shop.example.com/login/oidc/callback"
            && b64(digest(&SHA256, form["code_verifier"].as_bytes())) == self.challenge;
        match right {
            true => Said::Say(200, json!({"id_token": self.id_token(), "access_token": "at"}).to_string()),
            false => Said::Say(400, json!({"error": "invalid_grant"}).to_string()),
        }
    }

    fn id_token(&self) -> String {
        let now = now_s();
        let mut claims =
            json!({"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": self.nonce});
        for (field, value) in self.person.as_object().unwrap() {
            claims[field] = value.clone();
        }
        let header = json!({"alg": "EdDSA", "kid": "k1"});
        let claims = self.bent.iter().fold(claims, |claims, (field, to)| with(&claims, field, to.clone()));
        let header =
            self.bent_header.iter().fold(header, |header, (field, to)| with(&header, field, to.clone()));
        match &self.secret {
            Some(secret) => signed(&header, &claims, hs256(secret)),
            None => signed(&header, &claims, |message| self.pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// A browser on its way to the provider: its cookie and where it was sent.
pub(super) struct Way {
    pub(super) cookie: String,
    pub(super) url: Url,
}

impl Way {
    /// What a browser is told that wants to go there, before it does.
    pub(super) async fn asked_for(site: &Site) -> reqwest::Response {
        let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        let url = format!("{}/login/oidc", site.shop.address(Service::User));
        http.get(url).send().await.unwrap()
    }

    pub(super) async fn begin(site: &Site) -> Self {
        let answer = Self::asked_for(site).await;
        assert_eq!(answer.status(), 303, "{answer:?}");
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        Self::of(&answer, &location)
    }

    /// One that links an account.
    pub(super) async fn link(site: &Site, token: &str, password: &str) -> Self {
        let body = json!({"current_password": password});
        let request = site.request("POST", "/login/oidc/link").bearer_auth(token).json(&body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
        let headers = Self::of(&answer, "https://nowhere.example");
        let body: Value = answer.json().await.unwrap();
        Self { url: body["authorization_url"].as_str().unwrap().parse().unwrap(), ..headers }
    }

    fn of(answer: &reqwest::Response, location: &str) -> Self {
        let set = answer.headers()["set-cookie"].to_str().unwrap();
        assert!(set.contains("; HttpOnly; SameSite=Lax") && set.starts_with("__Host-"), "{set}");
        Self { cookie: set.split(';').next().unwrap().to_owned(), url: location.parse().unwrap() }
    }

    pub(super) fn asked(&self, name: &str) -> String {
        self.url.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned()
    }

    /// The provider notes what it was asked, as it does when somebody logs in there.
    pub(super) fn noted(self, provider: &Provider) -> Self {
        provider.change(|books| {
            (books.nonce, books.challenge) = (self.asked("nonce"), self.asked("code_challenge"));
        });
        self
    }

    pub(super) async fn back(&self, site: &Site, fields: &[(&str, &str)]) -> Answer {
        let request =
            site.request("GET", "/login/oidc/callback").query(fields).header("cookie", &self.cookie);
        Answer::of(request.send().await.unwrap()).await
    }

    pub(super) async fn home(&self, site: &Site, provider: &Provider) -> Answer {
        let (state, issuer) = (self.asked("state"), provider.change(|books| books.issuer.clone()));
        self.back(site, &[("code", "c-1"), ("state", &state), ("iss", &issuer)]).await
    }
}

/// The whole way there and back.
pub(super) async fn login(site: &Site, provider: &Provider) -> Answer {
    Way::begin(site).await.noted(provider).home(site, provider).await
}
