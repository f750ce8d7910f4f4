//! A stand-in for Stripe with books of its own: payment intents and refunds as far as we call them, in the
//! way of a server that has bad days. A key gets its first answer again, whatever that was.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::stand::{self, Days, Fault, Stand};
use crate::wire::{Answer, Call};

/// The stand-in.
pub(crate) type Till = Stand<Books>;

#[derive(Default)]
pub(crate) struct Books {
    days: Days,
    intents: Vec<Intent>,
    refunds: Vec<Refund>,
    /// The first answer under each key, with the form that it was given to.
    keys: HashMap<String, (HashMap<String, String>, u16, String)>,
    /// Searches that find nothing yet.
    search_lag: usize,
    refunds_pending: bool,
    /// Pages of the list after the first are not told.
    list_breaks: bool,
}

#[derive(Clone, Debug)]
struct Intent {
    id: String,
    amount: i64,
    received: i64,
    refunded: i64,
    status: &'static str,
    decline: Option<&'static str>,
    /// True while the buyer is to prove who they are.
    asks: bool,
    form: HashMap<String, String>,
}

struct Refund {
    intent: String,
    amount: i64,
    key: String,
    status: &'static str,
}

impl stand::Books for Books {
    const KEY: &'static str = "idempotency-key";

    fn days(&mut self) -> &mut Days {
        &mut self.days
    }

    fn answer(&mut self, call: &Call) -> Answer {
        answer(self, call)
    }
}

impl Till {
    /// Pages of the list after the first are not told, or are again.
    pub(crate) fn list_breaks(&self, breaks: bool) {
        self.books().list_breaks = breaks;
    }

    /// So many searches find nothing.
    pub(crate) fn search_lags(&self, searches: usize) {
        self.books().search_lag = searches;
    }

    /// Refunds wait for a bank, or all of them are through.
    pub(crate) fn refunds_wait(&self, wait: bool) {
        let mut books = self.books();
        books.refunds_pending = wait;
        if !wait {
            books.refunds.iter_mut().for_each(|refund| refund.status = "succeeded");
        }
    }

    /// An intent of somebody else's making that took money.
    pub(crate) fn take(&self, key: &str, amount: i64) -> String {
        let form = HashMap::from([("metadata[onrush_key]".to_owned(), key.to_owned())]);
        let mut books = self.books();
        let id = format!("pi_{}", books.intents.len() + 1);
        books.intents.push(Intent {
            id: id.clone(),
            amount,
            received: amount,
            refunded: 0,
            status: "succeeded",
            decline: None,
            asks: false,
            form,
        });
        id
    }

    /// What the buyer or the bank does at last: an intent that was declined is paid.
    pub(crate) fn pays_after_all(&self, id: &str) {
        let mut books = self.books();
        let intent = books.intents.iter_mut().find(|intent| intent.id == id).unwrap();
        (intent.status, intent.received) = ("succeeded", intent.amount);
    }

    /// The buyer proves who they are, or does not.
    pub(crate) fn buyer_answers(&self, id: &str, approves: bool) {
        let mut books = self.books();
        let intent = books.intents.iter_mut().find(|intent| intent.id == id).unwrap();
        assert_eq!(intent.status, "requires_action");
        intent.asks = false;
        confirm(intent, if approves { "pm_card" } else { "pm_card_not_authenticated" });
    }

    /// Amount taken, amount given back and number of intents that took something.
    pub(crate) fn sums(&self) -> (i64, i64, usize) {
        let books = self.books();
        let taken = books.intents.iter().filter(|intent| intent.received > 0);
        (
            taken.clone().map(|intent| intent.received).sum(),
            taken.clone().map(|intent| intent.refunded).sum(),
            taken.count(),
        )
    }

    /// Id and status of each intent.
    pub(crate) fn intents(&self) -> Vec<(String, &'static str)> {
        self.books().intents.iter().map(|intent| (intent.id.clone(), intent.status)).collect()
    }
}

fn answer(books: &mut Books, call: &Call) -> Answer {
    if let Some(status) = books.days.outage {
        let error = json!({"error": {"type": "api_error", "message": "sk_test_canary is not known"}});
        return Answer::Say(status, error.to_string());
    }
    let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    match (call.method.as_str(), parts.as_slice()) {
        ("GET", ["v1", "payment_intents", "search"]) => search(books, call),
        ("GET", ["v1", "payment_intents"]) => list(books, call),
        ("GET", ["v1", "payment_intents", id]) => {
            let whole = call.query.get("expand[]").is_some_and(|what| what == "latest_charge");
            match books.intents.iter().find(|intent| intent.id == *id) {
                Some(intent) => Answer::Say(200, shown(intent, whole).to_string()),
                None => refusal(404, "invalid_request_error", "resource_missing", ""),
            }
        }
        ("GET", ["v1", "refunds"]) => {
            let of = |refund: &&Refund| call.query.get("payment_intent") == Some(&refund.intent);
            let data: Vec<Value> = books.refunds.iter().filter(of).map(refund_shown).collect();
            Answer::Say(200, json!({"object": "list", "data": data}).to_string())
        }
        ("POST", _) => once(books, call, &parts),
        _ => refusal(404, "invalid_request_error", "", ""),
    }
}

/// A key gets its first answer again; another form under it is refused.
fn once(books: &mut Books, call: &Call, parts: &[&str]) -> Answer {
    let (key, form) = (call.header("idempotency-key").to_owned(), call.form());
    assert!(!key.is_empty(), "a call without a key: {}", call.path);
    if let Some((first, status, body)) = books.keys.get(&key) {
        return match *first == form {
            true => Answer::Say(*status, body.clone()),
            false => refusal(400, "idempotency_error", "idempotency_key_in_use", ""),
        };
    }
    let fault = books.days.fault();
    if let Some(status) = fault.and_then(Fault::refuses) {
        return refusal(status, "invalid_request_error", "of_this_day", "");
    }
    let Answer::Say(status, body) = change(books, &form, parts, &key) else { unreachable!() };
    // A failure stands under its key, as Stripe has it.
    let failed = fault == Some(Fault::FailedAfter);
    let said = if failed { (500, "oops".to_owned()) } else { (status, body.clone()) };
    books.keys.insert(key, (form, said.0, said.1));
    Fault::spoil(fault, status, body)
}

fn change(books: &mut Books, form: &HashMap<String, String>, parts: &[&str], key: &str) -> Answer {
    match parts {
        ["v1", "payment_intents"] => create(books, form),
        ["v1", "refunds"] => refund(books, form, key),
        ["v1", "payment_intents", id, step] => {
            let Some(intent) = books.intents.iter_mut().find(|intent| intent.id == *id) else {
                return refusal(404, "invalid_request_error", "resource_missing", "intent");
            };
            match (*step, intent.status) {
                ("confirm", "requires_confirmation") => confirm(intent, &form["payment_method"]),
                ("capture", "requires_capture") => {
                    let amount: i64 = form["amount_to_capture"].parse().unwrap();
                    if amount > intent.amount {
                        return refusal(400, "invalid_request_error", "amount_too_large", "");
                    }
                    (intent.status, intent.received) = ("succeeded", amount);
                }
                ("cancel", status) if status.starts_with("requires_") => intent.status = "canceled",
                _ => {
                    let code = "payment_intent_unexpected_state";
                    return refusal(400, "invalid_request_error", code, "");
                }
            }
            said(intent)
        }
        _ => refusal(404, "invalid_request_error", "", ""),
    }
}

fn create(books: &mut Books, form: &HashMap<String, String>) -> Answer {
    let method = form["payment_method"].clone();
    if method == "pm_missing" {
        return refusal(400, "invalid_request_error", "resource_missing", "payment_method");
    }
    let mut intent = Intent {
        id: format!("pi_{}", books.intents.len() + 1),
        amount: form["amount"].parse().unwrap(),
        received: 0,
        refunded: 0,
        status: "requires_confirmation",
        decline: None,
        asks: method.starts_with("pm_card_authenticationRequired"),
        form: form.clone(),
    };
    // One that is made and not confirmed, as after a failure in between.
    if method != "pm_unconfirmed" {
        confirm(&mut intent, &method);
    }
    let answer = said(&intent);
    books.intents.push(intent);
    answer
}

fn confirm(intent: &mut Intent, method: &str) {
    intent.decline = match method {
        "pm_card_declined" => Some("generic_decline"),
        "pm_card_insufficient_funds" => Some("insufficient_funds"),
        "pm_card_processing_error" => Some("processing_error"),
        "pm_card_not_authenticated" => Some("payment_intent_authentication_failure"),
        _ if intent.asks && intent.form.contains_key("error_on_requires_action") => {
            Some("authentication_required")
        }
        _ if intent.asks => {
            intent.status = "requires_action";
            return;
        }
        _ => None,
    };
    let manual = intent.form["capture_method"] == "manual";
    match (intent.decline, manual) {
        (Some(_), _) => intent.status = "requires_payment_method",
        (None, true) => intent.status = "requires_capture",
        (None, false) => (intent.status, intent.received) = ("succeeded", intent.amount),
    }
}

fn refund(books: &mut Books, form: &HashMap<String, String>, key: &str) -> Answer {
    let amount: i64 = form["amount"].parse().unwrap();
    let status = if books.refunds_pending { "pending" } else { "succeeded" };
    let Some(intent) = books.intents.iter_mut().find(|intent| intent.id == form["payment_intent"]) else {
        return refusal(404, "invalid_request_error", "resource_missing", "payment_intent");
    };
    if amount > intent.received - intent.refunded {
        return refusal(400, "invalid_request_error", "charge_already_refunded", "");
    }
    intent.refunded += amount;
    let refund = Refund { intent: intent.id.clone(), amount, key: key.into(), status };
    let body = refund_shown(&refund).to_string();
    books.refunds.push(refund);
    Answer::Say(200, body)
}

fn said(intent: &Intent) -> Answer {
    let Some(decline) = intent.decline.filter(|_| intent.status == "requires_payment_method") else {
        return Answer::Say(200, shown(intent, false).to_string());
    };
    let error = json!({"type": "card_error", "code": "card_declined", "decline_code": decline,
        "message": "Your card was declined.", "payment_intent": shown(intent, false)});
    Answer::Say(402, json!({"error": error}).to_string())
}

fn search(books: &mut Books, call: &Call) -> Answer {
    let lagging = books.search_lag > 0;
    books.search_lag = books.search_lag.saturating_sub(1);
    let query = &call.query["query"];
    let matches = |intent: &&Intent| {
        let key = intent.form.get("metadata[onrush_key]").map(String::as_str).unwrap_or_default();
        !lagging && *query == format!("metadata['onrush_key']:'{key}'")
    };
    let data: Vec<Value> = books.intents.iter().filter(matches).map(|intent| shown(intent, false)).collect();
    Answer::Say(200, json!({"object": "search_result", "data": data}).to_string())
}

/// Newest first, two to a page so that there are pages.
fn list(books: &Books, call: &Call) -> Answer {
    if books.list_breaks && call.query.contains_key("starting_after") {
        return Answer::Say(500, "oops".into());
    }
    let at = |id: Option<&String>| id.and_then(|id| books.intents.iter().position(|intent| intent.id == *id));
    let page: Vec<&Intent> = match (at(call.query.get("ending_before")), at(call.query.get("starting_after")))
    {
        (Some(after), _) => books.intents.iter().skip(after + 1).take(2).rev().collect(),
        (None, Some(before)) => books.intents[..before].iter().rev().take(2).collect(),
        (None, None) => books.intents.iter().rev().take(2).collect(),
    };
    let data: Vec<Value> = page.into_iter().map(|intent| shown(intent, false)).collect();
    Answer::Say(200, json!({"object": "list", "data": data}).to_string())
}

fn shown(intent: &Intent, whole: bool) -> Value {
    let charge = match whole {
        true => json!({"id": "ch_1", "amount_refunded": intent.refunded}),
        false => json!("ch_1"),
    };
    json!({
        "id": intent.id, "object": "payment_intent", "amount": intent.amount, "status": intent.status,
        "amount_received": intent.received, "latest_charge": (intent.received > 0).then_some(charge),
        "metadata": {"onrush_key": intent.form.get("metadata[onrush_key]")},
        "next_action": intent.asks.then(|| json!({
            "type": "redirect_to_url",
            "redirect_to_url": {
                "url": format!("https://hooks.stripe.com/3d/{}", intent.id), "return_url": intent.form.get("return_url"),
            },
        })),
        "last_payment_error": intent.decline.map(|code| json!({"code": "card_declined", "decline_code": code})),
    })
}

fn refund_shown(refund: &Refund) -> Value {
    json!({"id": "re_1", "object": "refund", "amount": refund.amount, "status": refund.status,
        "payment_intent": refund.intent, "metadata": {"onrush_key": refund.key}})
}

fn refusal(status: u16, kind: &str, code: &str, param: &str) -> Answer {
    let error = json!({"type": kind, "code": code, "param": param, "message": "for people"});
    Answer::Say(status, json!({"error": error}).to_string())
}
