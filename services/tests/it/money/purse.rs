//! A stand-in for PayPal with books of its own: orders, captures, authorizations and refunds as far as we
//! call them. A repeated request is answered with what became of the first.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::stand::{self, Days, Fault, Stand};
use crate::wire::{Answer, Call};

/// `client_id:secret` in Basic.
const BASIC: &str = "Basic Y2xpZW50OnBwX2NhbmFyeQ==";

/// Where an order stands that PayPal does not know any more.
const FORGOTTEN: &str = "FORGOTTEN";

/// The stand-in.
pub(crate) type Purse = Stand<Books>;

#[derive(Default)]
pub(crate) struct Books {
    days: Days,
    orders: Vec<Order>,
    /// The order that each request was about.
    keys: HashMap<String, usize>,
    tokens: usize,
    /// What a reservation's renewal is refused with.
    unrenewed: Option<&'static str>,
    /// Movements from here on are not listed yet.
    list_lags: Option<Timestamp>,
    /// Whoever has our key may not list.
    list_barred: bool,
    /// When the list was refreshed; now if nothing is said.
    refreshed: Option<Timestamp>,
    /// Stretches that begin later are answered with 500.
    list_breaks: Option<Timestamp>,
    /// Captures do not say which order they belong to.
    traceless: bool,
}

struct Order {
    id: String,
    intent: String,
    unit: Value,
    status: &'static str,
    authorization: Option<&'static str>,
    /// Days since it was made.
    age_days: i64,
    renewed: bool,
    /// When the money moved.
    moved: Timestamp,
    /// Status and amount.
    capture: Option<(&'static str, String)>,
    /// Key and amount.
    refunds: Vec<(String, String)>,
}

impl stand::Books for Books {
    const KEY: &'static str = "paypal-request-id";

    fn days(&mut self) -> &mut Days {
        &mut self.days
    }

    fn answer(&mut self, call: &Call) -> Answer {
        answer(self, call)
    }
}

impl Purse {
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

    /// The buyer approves an order that we made.
    pub(crate) fn buyer_approves(&self, id: &str) {
        let mut books = self.books();
        let order = books.orders.iter_mut().find(|order| order.id == id).unwrap();
        assert_eq!(order.status, "PAYER_ACTION_REQUIRED");
        order.status = "APPROVED";
    }

    /// PayPal forgets the orders that nobody approved.
    pub(crate) fn forgets_unapproved(&self) {
        let mut books = self.books();
        let waiting = books.orders.iter_mut().filter(|order| order.status == "PAYER_ACTION_REQUIRED");
        waiting.for_each(|order| order.status = FORGOTTEN);
    }

    /// PayPal knows nothing of this order any more.
    pub(crate) fn forgets(&self, id: &str) {
        self.books().orders.iter_mut().find(|order| order.id == id).unwrap().status = FORGOTTEN;
    }

    /// All that is reserved was so many days ago.
    pub(crate) fn ages(&self, days: i64) {
        self.books().orders.iter_mut().for_each(|order| order.age_days += days);
    }

    /// Reservations are not renewed, for this reason.
    pub(crate) fn renews_nothing(&self, issue: &'static str) {
        self.books().unrenewed = Some(issue);
    }

    /// Movements from now on show in the list some hours later, or all of them do.
    pub(crate) fn list_lags(&self, lags: bool) {
        self.books().list_lags = lags.then(Timestamp::now);
    }

    /// Our key may not list, or may again.
    pub(crate) fn bars_the_list(&self, barred: bool) {
        self.books().list_barred = barred;
    }

    /// The list was refreshed so long ago, or is refreshed all the time; when.
    pub(crate) fn refreshed(&self, ago: Option<SignedDuration>) -> Timestamp {
        let at = ago.map(|ago| Timestamp::now() - ago);
        self.books().refreshed = at;
        at.unwrap_or_else(Timestamp::now)
    }

    /// Stretches of the list that begin later are not told, or all are.
    pub(crate) fn list_breaks(&self, from: Option<SignedDuration>) {
        self.books().list_breaks = from.map(|ago| Timestamp::now() - ago);
    }

    /// Captures do not say which order they belong to, or do again.
    pub(crate) fn traces_nothing(&self, traceless: bool) {
        self.books().traceless = traceless;
    }

    /// Where each stretch began that was asked for.
    pub(crate) fn listed_from(&self) -> Vec<Timestamp> {
        let calls = self.calls().into_iter().filter(|call| call.path == "/v1/reporting/transactions");
        calls.map(|call| call.query["start_date"].parse().unwrap()).collect()
    }

    /// An order of somebody else's making that took money.
    pub(crate) fn take(&self, custom_id: &str, value: &str) {
        self.took(custom_id, value, SignedDuration::ZERO);
    }

    /// The same, so long ago.
    pub(crate) fn took(&self, custom_id: &str, value: &str, ago: SignedDuration) {
        let id = self.approve(custom_id, value);
        let mut books = self.books();
        let order = books.orders.iter_mut().find(|order| order.id == id).unwrap();
        pay(order, "COMPLETED");
        order.moved -= ago;
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
            age_days: 0,
            renewed: false,
            moved: Timestamp::now(),
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
}

fn answer(books: &mut Books, call: &Call) -> Answer {
    if let Some(status) = books.days.outage {
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
            match books.orders.iter().find(|order| order.id == *id && order.status != FORGOTTEN) {
                Some(order) => Answer::Say(200, shown(order).to_string()),
                None => refusal(404, "RESOURCE_NOT_FOUND"),
            }
        }
        ("GET", ["v1", "reporting", "transactions"]) => list(books, call),
        ("GET", ["v2", "payments", "captures", id]) => {
            match books.orders.iter().find(|order| *id == format!("CAP-{}", order.id)) {
                Some(_) if books.traceless => Answer::Say(200, json!({"id": id}).to_string()),
                Some(order) => {
                    let related = json!({"related_ids": {"order_id": order.id}});
                    Answer::Say(200, json!({"id": id, "supplementary_data": related}).to_string())
                }
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
    let fault = books.days.fault();
    if let Some(status) = fault.and_then(Fault::refuses) {
        return refusal(status, "OF_THIS_DAY");
    }
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    let at = match change(books, &body, parts, &key) {
        Ok(at) => at,
        Err(issue) => return refusal(422, issue),
    };
    books.keys.insert(key, at);
    let body = part_shown(&books.orders[at], parts).to_string();
    match parts.last() {
        Some(&"void") if fault.is_none() => Answer::Say(204, String::new()),
        _ => Fault::spoil(fault, 201, body),
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
            let unrenewed = books.unrenewed;
            let order = &mut books.orders[at];
            let first = id.starts_with("AUTH-");
            match (order.authorization, *step) {
                (Some("CREATED"), _) if order.age_days > 29 => return Err("AUTHORIZATION_EXPIRED"),
                (Some("CREATED"), "reauthorize") => match unrenewed {
                    Some(issue) => return Err(issue),
                    None if order.age_days <= 3 => return Err("REAUTHORIZATION_TOO_SOON"),
                    None if !first || order.renewed => return Err("REAUTHORIZATION_NOT_ALLOWED"),
                    None => order.renewed = true,
                },
                (Some("CREATED"), "capture") if first == order.renewed => return Err("AUTHORIZATION_DENIED"),
                (Some("CREATED"), "capture") => {
                    let value = body["amount"]["value"].as_str().unwrap().to_owned();
                    order.moved = Timestamp::now();
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
        age_days: 0,
        renewed: false,
        moved: Timestamp::now(),
        capture: None,
        refunds: Vec::new(),
    };
    let wallet = &body["payment_source"]["paypal"];
    match wallet["vault_id"].as_str().unwrap_or("nobody asked yet") {
        "nobody asked yet" | "asks again" => {
            assert_eq!(
                wallet["experience_context"]["return_url"],
                wallet["experience_context"]["cancel_url"]
            );
            order.status = "PAYER_ACTION_REQUIRED";
        }
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
    order.moved = Timestamp::now();
    (order.status, order.capture) = ("COMPLETED", Some((status, value)));
}

/// What a call of this path is answered with.
fn part_shown(order: &Order, parts: &[&str]) -> Value {
    let whole = shown(order);
    let payments = &whole["purchase_units"][0]["payments"];
    match parts {
        ["v2", "payments", "authorizations", _, "capture"] => payments["captures"][0].clone(),
        ["v2", "payments", "authorizations", _, "reauthorize"] => {
            json!({"id": format!("REAUTH-{}", order.id), "status": "CREATED", "create_time": days_ago(0)})
        }
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
        .map(|status| {
            json!({"id": format!("AUTH-{id}"), "status": status, "create_time": days_ago(order.age_days)})
        })
        .collect();
    unit["payments"] = json!({"captures": captures, "authorizations": authorizations, "refunds": refunds});
    let link =
        |rel: &str, page: &str| json!({"rel": rel, "href": format!("https://www.paypal.com/{page}{id}")});
    let links = match order.status {
        "PAYER_ACTION_REQUIRED" => vec![link("self", "v2/"), link("payer-action", "checkoutnow?token=")],
        _ => vec![link("self", "v2/")],
    };
    json!({"id": id, "intent": order.intent, "status": order.status, "purchase_units": [unit], "links": links})
}

fn days_ago(days: i64) -> String {
    (Timestamp::now() - SignedDuration::from_hours(24 * days)).to_string()
}

/// Captures and refunds of a stretch of time, and what else there is, two to a page.
fn list(books: &Books, call: &Call) -> Answer {
    if books.list_barred {
        return refusal(403, "NOT_AUTHORIZED");
    }
    let at = |name: &str| call.query[name].parse::<Timestamp>().unwrap();
    let (from, to) = (at("start_date"), at("end_date"));
    let refreshed = books.refreshed.unwrap_or_else(Timestamp::now);
    if from > refreshed {
        let body = json!({"name": "INVALID_REQUEST", "details": [],
            "message": "Data for the given start date is not available."});
        return Answer::Say(400, body.to_string());
    }
    let day = SignedDuration::from_hours(24);
    if to.duration_since(from) > 31 * day {
        return refusal(400, "INVALID_REQUEST");
    }
    // One day holds too much to be told at once.
    if to.duration_since(from) > day {
        return refusal(400, "RESULTSET_TOO_LARGE");
    }
    if books.list_breaks.is_some_and(|broken| from > broken) {
        return Answer::Say(500, "oops".into());
    }
    // A comparison begins at a whole second.
    let within = from..=to + SignedDuration::from_secs(1);
    let listed = |order: &&Order| {
        let shows = order.moved <= refreshed && books.list_lags.is_none_or(|since| order.moved < since);
        shows && within.contains(&order.moved)
    };
    let movement = |id: String, code: &str, status: &str, custom: &Value| {
        json!({"transaction_info": {"transaction_id": id, "transaction_event_code": code,
            "transaction_status": status, "custom_field": custom}})
    };
    let mut found = vec![movement("PAYOUT".into(), "T0400", "S", &Value::Null)];
    for order in books.orders.iter().filter(listed) {
        let id = &order.id;
        if let Some((status, _)) = &order.capture {
            let status = if *status == "COMPLETED" { "S" } else { "P" };
            found.push(movement(format!("CAP-{id}"), "T0006", status, &order.unit["custom_id"]));
        }
        let refunds =
            order.refunds.iter().map(|(key, _)| movement(format!("REF-{id}"), "T1107", "S", &json!(key)));
        found.extend(refunds);
    }
    assert_eq!(call.query["page_size"], "500");
    let (page, pages) = (call.query["page"].parse::<usize>().unwrap(), found.chunks(2).len());
    let details = found.chunks(2).nth(page - 1).unwrap_or_default();
    let refreshed = refreshed.strftime("%Y-%m-%dT%H:%M:%S+0000").to_string();
    let body = json!({"transaction_details": details, "total_pages": pages, "page": page,
        "last_refreshed_datetime": refreshed});
    Answer::Say(200, body.to_string())
}

fn refusal(status: u16, issue: &str) -> Answer {
    let body =
        json!({"name": "UNPROCESSABLE_ENTITY", "details": [{"issue": issue}], "message": "for people"});
    Answer::Say(status, body.to_string())
}
