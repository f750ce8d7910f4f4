//! A program of somebody else's, and the browser of a user whom it asks.

use aws_lc_rs::digest::{SHA256, digest};
use onrush_services::access::Access;
use onrush_services::config::{Config, FirstAdmin, Secret, Service};
use onrush_services::user::Email;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::super::attacks::b64;
use super::super::{Answer, PASSWORD, Site};

pub(super) const BACK: &str = "https://app.example.com/back?from=shop";
pub(super) const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";
const ADMIN: &str = "root@example.com";

/// A client that is registered.
#[derive(Clone)]
pub(in crate::users) struct Program {
    pub(in crate::users) id: String,
    pub(in crate::users) secret: Option<String>,
}

/// A page or a way back.
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) location: Option<Url>,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) text: String,
}

/// A browser as far as it matters here: it keeps one cookie and follows nothing.
pub(in crate::users) struct Browser {
    http: Client,
    pub(super) cookie: Option<String>,
}

pub(super) fn challenge(verifier: &str) -> String {
    b64(digest(&SHA256, verifier.as_bytes()))
}

/// A shop with an admin, where every call asks for a token.
pub(in crate::users) fn guarded(config: &mut Config) {
    config.access = Access::Required;
    let email = Email::parse("admin-email", ADMIN).unwrap();
    config.first_admin = Some(FirstAdmin { email, password: Secret::new(PASSWORD) });
}

impl Site {
    /// A client with these scopes, registered by the admin.
    pub(super) async fn program(&self, confidential: bool, scope: &str) -> Program {
        self.program_at(BACK, confidential, scope).await
    }

    /// The same, that lives at this address.
    pub(in crate::users) async fn program_at(&self, uri: &str, confidential: bool, scope: &str) -> Program {
        let admin = self.login(ADMIN).await.access;
        let body = json!({"name": "Price <watch>", "redirect_uris": [uri], "scope": scope, "confidential": confidential});
        let answer =
            self.request("POST", "/oauth2/clients").bearer_auth(admin).json(&body).send().await.unwrap();
        let answer = Answer::of(answer).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let text = |name: &str| answer.body[name].as_str().map(str::to_owned);
        let program = Program { id: text("client_id").unwrap(), secret: text("client_secret") };
        assert_eq!(program.secret.is_some(), confidential);
        program
    }

    /// A call of a client's; status and body, which are OAuth's own.
    pub(super) async fn form(&self, path: &str, program: &Program, fields: &[(&str, &str)]) -> (u16, Value) {
        let mut request = self.request("POST", path);
        let mut fields = fields.to_vec();
        match &program.secret {
            Some(secret) => request = request.basic_auth(&program.id, Some(secret)),
            None => fields.push(("client_id", &program.id)),
        }
        let answer = request.form(&fields).send().await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "no-store");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub(super) async fn redeem(&self, program: &Program, code: &str) -> (u16, Value) {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
        ];
        self.form("/oauth2/token", program, &fields).await
    }

    pub(super) async fn renew(&self, program: &Program, token: &str) -> (u16, Value) {
        self.form("/oauth2/token", program, &[("grant_type", "refresh_token"), ("refresh_token", token)])
            .await
    }

    /// Tokens that a user granted.
    pub(super) async fn granted(&self, program: &Program, email: &str, scope: &str) -> Value {
        let code = Browser::new().code(self, program, email, scope).await;
        let (status, tokens) = self.redeem(program, &code).await;
        assert_eq!(status, 200, "{tokens}");
        tokens
    }

    /// A call of a service in JSON; status and reason.
    pub(super) async fn call(
        &self,
        service: Service,
        path: &str,
        token: &str,
        body: &Value,
    ) -> (u16, String) {
        let url = format!("{}/{path}", self.shop.address(service));
        let answer = self.http.post(url).bearer_auth(token).json(body).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (status, body["reason"].as_str().unwrap_or_default().to_owned())
    }
}

impl Program {
    /// A request as it should be.
    pub(super) fn asks(&self, scope: &str) -> Vec<(String, String)> {
        let pairs = [
            ("client_id", self.id.as_str()),
            ("redirect_uri", BACK),
            ("response_type", "code"),
            ("scope", scope),
            ("state", "a state & more=\"<b>\""),
            ("nonce", "a nonce"),
            ("code_challenge", &challenge(VERIFIER)),
            ("code_challenge_method", "S256"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }
}

/// The request with one field changed; none takes it away.
pub(super) fn with(request: &[(String, String)], field: &str, to: Option<&str>) -> Vec<(String, String)> {
    let mut request: Vec<_> = request.iter().filter(|(name, _)| name != field).cloned().collect();
    request.extend(to.map(|value| (field.to_owned(), value.to_owned())));
    request
}

impl Seen {
    async fn of(answer: reqwest::Response) -> Self {
        let headers = answer.headers().clone();
        let location = headers.get("location").map(|value| Url::parse(value.to_str().unwrap()).unwrap());
        Self { status: answer.status().as_u16(), location, headers, text: answer.text().await.unwrap() }
    }

    /// A value of the way back.
    pub(super) fn answer(&self, name: &str) -> Option<String> {
        let location = self.location.as_ref()?;
        location.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// The fields of the form, as a browser would send them.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        let value_of = |tag: &str, name: &str| {
            let start = tag.find(&format!("{name}=\""))? + name.len() + 2;
            let text = tag[start..].split('"').next()?;
            Some(
                text.replace("&quot;", "\"")
                    .replace("&lt;", "<")
                    .replace("&gt;", ">")
                    .replace("&#39;", "'")
                    .replace("&amp;", "&"),
            )
        };
        let hidden = self.text.split("<input ").skip(1).filter(|tag| tag.starts_with("type=\"hidden\""));
        hidden.filter_map(|tag| Some((value_of(tag, "name")?, value_of(tag, "value")?))).collect()
    }
}

impl Browser {
    pub(in crate::users) fn new() -> Self {
        Self { http: Client::builder().redirect(Policy::none()).build().unwrap(), cookie: None }
    }

    pub(super) async fn open(&mut self, site: &Site, request: &[(String, String)]) -> Seen {
        let url = format!("{}/oauth2/authorize", site.shop.address(Service::User));
        let mut request = self.http.get(url).query(request);
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let seen = Seen::of(request.send().await.unwrap()).await;
        if let Some(cookie) = seen.headers.get("set-cookie") {
            self.cookie = Some(cookie.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        seen
    }

    pub(super) async fn send(&self, site: &Site, form: &[(String, String)]) -> Seen {
        let url = format!("{}/oauth2/authorize", site.shop.address(Service::User));
        let mut request = self.http.post(url).form(form);
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        Seen::of(request.send().await.unwrap()).await
    }

    /// The form of a page, filled in.
    pub(super) fn filled(page: &Seen, email: &str, password: &str, decision: &str) -> Vec<(String, String)> {
        let mut form = page.fields();
        for (name, value) in [("email", email), ("password", password), ("decision", decision)] {
            form.push((name.into(), value.into()));
        }
        form
    }

    /// What a program is told when this user allows what it asks for.
    pub(in crate::users) async fn answer_to(
        &mut self,
        site: &Site,
        asks: &[(String, String)],
        email: &str,
    ) -> Vec<(String, String)> {
        let page = self.open(site, asks).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let back = self.send(site, &Self::filled(&page, email, PASSWORD, "allow")).await;
        assert_eq!(back.status, 303, "{}", back.text);
        back.location.unwrap().query_pairs().into_owned().collect()
    }

    pub(super) async fn code(&mut self, site: &Site, program: &Program, email: &str, scope: &str) -> String {
        let answer = self.answer_to(site, &program.asks(scope), email).await;
        answer.into_iter().find(|(name, _)| name == "code").unwrap().1
    }
}
