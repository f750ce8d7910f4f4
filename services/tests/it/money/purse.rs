//! A stand-in for PayPal with books of its own: orders, captures, authorizations and refunds as far as we
//! call them. A repeated request is answered with what became of the first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::till::Fault;
use crate::wire::{self, Answer, Call};

/// `client_id:secret` in Basic.
const BASIC: &str = "Basic Y2xpZW50OnBwX2NhbmFyeQ==";

/// The stand-in.
#[derive(Clone)]
pub(crate) struct Purse {
    pub(crate) base: String,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    orders: Vec<Order>,
    /// The order that each request was about.
    keys: HashMap<String, usize>,
    faults: VecDeque<Fault>,
    outage: Option<u16>,
    tokens: usize,
    calls: Vec<Call>,
}

struct Order {
    id: String,
    intent: String,
    unit: Value,
    status: &'static str,
    authorization: Option<&'static str>,
    /// Status and amount.
    capture: Option<(&'static str, String)>,
    /// Key and amount.
    refunds: Vec<(String, String)>,
}

impl Purse {
    /// One that has these faults, one per call that changes something.
    pub(crate) async fn start(faults: &[Fault]) -> Self {
        let books = Books { faults: faults.iter().copied().collect(), ..Default::default() };
        let books = Arc::new(Mutex::new(books));
        let shelf = books.clone();
        let free = ([127, 0, 0, 1], 0).into();
        let address = wire::serve(free, move |call| answer(&mut shelf.lock().unwrap(), call)).await;
        Self { base: format!("http://{address}"), books }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// Answers everything with this status, or again as usual.
    pub(crate) fn outage(&self, status: Option<u16>) {
        self.books().outage = status;
    }

    /// The next calls that change something have these faults.
    pub(crate) fn fail_next(&self, faults: &[Fault]) {
        self.books().faults.extend(faults);
    }

    /// Tokens given so far; those before the last are not good any more if `forget` says so.
    pub(crate) fn tokens(&self) -> usize {
        self.books().tokens
    }

    /// The token that is out is not good any more.
    pub(crate) fn revoke(&self) {
        self.books().tokens += 1;
    }

    /// What a bank was at is through.
    pub(crate) fn banks_are_done(&self) {
        for order in &mut self.books().orders {
            if let Some((status @ "PENDING", _)) = &mut order.capture {
                *status = "COMPLETED";
            }
        }
    }

    /// An order that a browser made and the buyer approved.
    pub(crate) fn approve(&self, custom_id: &str, value: &str) -> String {
        let amount = json!({"currency_code": "EUR", "value": value});
        let mut books = self.books();
        let id = format!("PP{}", books.orders.len() + 1);
        books.orders.push(Order {
            id: id.clone(),
            intent: "CAPTURE".into(),
            unit: json!({"custom_id": custom_id, "amount": amount}),
            status: "APPROVED",
            authorization: None,
            capture: None,
            refunds: Vec::new(),
        });
        id
    }

    /// Amounts of completed captures, and of refunds.
    pub(crate) fn sums(&self) -> (Vec<String>, Vec<String>) {
        let books = self.books();
        let taken = books.orders.iter().filter_map(|order| order.capture.as_ref());
        let taken = taken.filter(|(status, _)| *status == "COMPLETED").map(|(_, value)| value.clone());
        let back = books.orders.iter().flat_map(|order| &order.refunds).map(|(_, value)| value.clone());
        (taken.collect(), back.collect())
    }

    /// Where each reservation stands.
    pub(crate) fn authorizations(&self) -> Vec<&'static str> {
        self.books().orders.iter().filter_map(|order| order.authorization).collect()
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.books().calls.clone()
    }

    /// Keys of the calls that were to change something at this path.
    pub(crate) fn keys_at(&self, path: &str) -> Vec<String> {
        let calls =
            self.calls().into_iter().filter(|call| call.method == "POST" && call.path.ends_with(path));
        calls.map(|call| call.header("paypal-request-id").to_owned()).collect()
    }
}

fn answer(books: &mut Books, call: &Call) -> Answer {
    books.calls.push(call.clone());
    if let Some(status) = books.outage {
        return Answer::Say(status, "{}".into());
    }
    let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    if parts == ["v1", "oauth2", "token"] {
        assert_eq!(call.form()["grant_type"], "client_credentials");
        if call.header("authorization") != BASIC {
            return Answer::Say(401, json!({"error": "invalid_client"}).to_string());
        }
        books.tokens += 1;
        let token = json!({"access_token": format!("A21_canary_{}", books.tokens), "expires_in": 32_400});
        return Answer::Say(200, token.to_string());
    }
    if let Some(name) = call.path.strip_prefix("/v1/notifications/certs/") {
        assert_eq!(call.header("authorization"), "", "whoever signs learns nothing of us");
        return match name {
            "CERT-1" => Answer::Say(200, include_str!("paypal-test-cert.pem").into()),
            _ => Answer::Say(404, String::new()),
        };
    }
    if call.header("authorization") != format!("Bearer A21_canary_{}", books.tokens) {
        return Answer::Say(401, json!({"name": "INVALID_TOKEN"}).to_string());
    }
    match (call.method.as_str(), parts.as_slice()) {
        ("GET", ["v2", "checkout", "orders", id]) => {
            match books.orders.iter().find(|order| order.id == *id) {
                Some(order) => Answer::Say(200, shown(order).to_string()),
                None => refusal(404, "RESOURCE_NOT_FOUND"),
            }
        }
        ("POST", _) => once(books, call, &parts),
        _ => refusal(404, "RESOURCE_NOT_FOUND"),
    }
}

fn once(books: &mut Books, call: &Call, parts: &[&str]) -> Answer {
    let key = call.header("paypal-request-id").to_owned();
    assert!(!key.is_empty(), "a call without a key: {}", call.path);
    if let Some(at) = books.keys.get(&key) {
        return Answer::Say(200, part_shown(&books.orders[*at], parts).to_string());
    }
    let fault = books.faults.pop_front();
    match fault {
        Some(Fault::Busy) => return refusal(429, "RATE_LIMIT_REACHED"),
        Some(Fault::Locked) => return refusal(409, "PREVIOUS_REQUEST_IN_PROGRESS"),
        Some(Fault::FailedBefore) => return Answer::Say(500, "oops".into()),
        _ => {}
    }
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    let at = match change(books, &body, parts, &key) {
        Ok(at) => at,
        Err(issue) => return refusal(422, issue),
    };
    books.keys.insert(key, at);
    let body = part_shown(&books.orders[at], parts).to_string();
    match fault {
        Some(Fault::FailedAfter) => Answer::Say(500, "oops".into()),
        Some(Fault::Dropped) => Answer::HangUp,
        Some(Fault::Slow) => Answer::Late(body),
        Some(Fault::Garbled) => Answer::Say(200, "<html>".into()),
        _ if parts.last() == Some(&"void") => Answer::Say(204, String::new()),
        _ => Answer::Say(201, body),
    }
}

/// The order that was made or changed.
fn change(books: &mut Books, body: &Value, parts: &[&str], key: &str) -> Result<usize, &'static str> {
    let find = |books: &Books, id: &str| books.orders.iter().position(|order| id.ends_with(&order.id));
    match parts {
        ["v2", "checkout", "orders"] => create(books, body),
        ["v2", "checkout", "orders", id, step @ ("capture" | "authorize")] => {
            let at = find(books, id).ok_or("RESOURCE_NOT_FOUND")?;
            let order = &mut books.orders[at];
            match (order.status, *step) {
                ("APPROVED", "capture") => pay(order, "COMPLETED"),
                ("APPROVED", _) => {
                    (order.status, order.authorization) = ("COMPLETED", Some("CREATED"));
                }
                ("COMPLETED", _) => return Err("ORDER_ALREADY_CAPTURED"),
                _ => return Err("ORDER_NOT_APPROVED"),
            }
            Ok(at)
        }
        ["v2", "payments", "authorizations", id, step] => {
            let at = find(books, id).ok_or("RESOURCE_NOT_FOUND")?;
            let order = &mut books.orders[at];
            match (order.authorization, *step) {
                (Some("CREATED"), "capture") => {
                    let value = body["amount"]["value"].as_str().unwrap().to_owned();
                    (order.authorization, order.capture) = (Some("CAPTURED"), Some(("COMPLETED", value)));
                }
                (Some("CREATED"), "void") => order.authorization = Some("VOIDED"),
                _ => return Err("AUTHORIZATION_ALREADY_COMPLETED"),
            }
            Ok(at)
        }
        ["v2", "payments", "captures", id, "refund"] => {
            let at = find(books, id).ok_or("RESOURCE_NOT_FOUND")?;
            assert_eq!(body["custom_id"], key);
            let value = body["amount"]["value"].as_str().unwrap().to_owned();
            books.orders[at].refunds.push((key.into(), value));
            Ok(at)
        }
        _ => Err("RESOURCE_NOT_FOUND"),
    }
}

fn create(books: &mut Books, body: &Value) -> Result<usize, &'static str> {
    let unit = body["purchase_units"][0].clone();
    if books.orders.iter().any(|order| order.unit["invoice_id"] == unit["invoice_id"]) {
        return Err("DUPLICATE_INVOICE_ID");
    }
    let mut order = Order {
        id: format!("PP{}", books.orders.len() + 1),
        intent: body["intent"].as_str().unwrap().into(),
        unit,
        status: "APPROVED",
        authorization: None,
        capture: None,
        refunds: Vec::new(),
    };
    match body["payment_source"]["paypal"]["vault_id"].as_str().unwrap() {
        "declined" => return Err("INSTRUMENT_DECLINED"),
        "foreign" => return Err("CURRENCY_NOT_SUPPORTED"),
        "denied" => pay(&mut order, "DECLINED"),
        "banking" => pay(&mut order, "PENDING"),
        "kept" if order.intent == "CAPTURE" => pay(&mut order, "COMPLETED"),
        // Ready, and to be captured or authorised by a call of its own.
        _ => {}
    }
    books.orders.push(order);
    Ok(books.orders.len() - 1)
}

fn pay(order: &mut Order, status: &'static str) {
    let value = order.unit["amount"]["value"].as_str().unwrap().to_owned();
    (order.status, order.capture) = ("COMPLETED", Some((status, value)));
}

/// What a call of this path is answered with.
fn part_shown(order: &Order, parts: &[&str]) -> Value {
    let whole = shown(order);
    let payments = &whole["purchase_units"][0]["payments"];
    match parts {
        ["v2", "payments", "authorizations", _, "capture"] => payments["captures"][0].clone(),
        ["v2", "payments", "captures", ..] => payments["refunds"].as_array().unwrap().last().unwrap().clone(),
        _ => whole,
    }
}

fn shown(order: &Order) -> Value {
    let mut unit = order.unit.clone();
    let currency = unit["amount"]["currency_code"].clone();
    let amount = |value: &String| json!({"currency_code": currency, "value": value});
    let id = &order.id;
    let captures: Vec<Value> = order
        .capture
        .iter()
        .map(|(status, value)| json!({"id": format!("CAP-{id}"), "status": status, "amount": amount(value)}))
        .collect();
    let refunds: Vec<Value> = order
        .refunds
        .iter()
        .map(|(key, value)| json!({"status": "COMPLETED", "custom_id": key, "amount": amount(value)}))
        .collect();
    let authorizations: Vec<Value> = order
        .authorization
        .iter()
        .map(|status| json!({"id": format!("AUTH-{id}"), "status": status}))
        .collect();
    unit["payments"] = json!({"captures": captures, "authorizations": authorizations, "refunds": refunds});
    json!({"id": id, "intent": order.intent, "status": order.status, "purchase_units": [unit]})
}

fn refusal(status: u16, issue: &str) -> Answer {
    let body =
        json!({"name": "UNPROCESSABLE_ENTITY", "details": [{"issue": issue}], "message": "for people"});
    Answer::Say(status, body.to_string())
}
