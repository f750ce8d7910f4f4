//! Who stands in for Stripe: payment intents that take their time, refunds, and books of its own. A key gets its
//! first answer again.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::wire::{Answer, Call};

/// An intent.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    /// Ours of the attempt.
    pub(super) key: String,
    amount: i64,
    received: i64,
    refunded: i64,
    status: &'static str,
}

#[derive(Clone, Debug)]
struct Refund {
    intent: String,
    key: String,
    amount: i64,
}

/// Its books.
#[derive(Default, Debug)]
pub(super) struct Books {
    intents: Vec<Intent>,
    refunds: Vec<Refund>,
    /// The first answer under each key.
    answers: HashMap<String, Answer>,
    /// Intents made since somebody asked.
    fresh: Vec<usize>,
}

impl Books {
    /// Answers a call of the API.
    pub(super) fn answer(&mut self, call: &Call) -> Answer {
        let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["v1", "payment_intents", "search"]) => self.search(call),
            ("GET", ["v1", "payment_intents"]) => self.list(call),
            ("GET", ["v1", "payment_intents", id]) => match self.find(id) {
                Some(at) => (200, self.shown(at).to_string()),
                None => refusal(404, "resource_missing"),
            },
            ("GET", ["v1", "refunds"]) => self.refunds_of(call),
            ("POST", _) => self.once(call, &parts),
            _ => refusal(404, "unknown_path"),
        }
    }

    /// Intents made since the last time, with their keys.
    pub(super) fn fresh(&mut self) -> Vec<(usize, String)> {
        let fresh = std::mem::take(&mut self.fresh);
        fresh.into_iter().map(|at| (at, self.intents[at].key.clone())).collect()
    }

    /// The bank has spoken.
    pub(super) fn settle(&mut self, at: usize, pays: bool) {
        let Some(intent) = self.intents.get_mut(at).filter(|intent| intent.status == "processing") else {
            return;
        };
        if pays {
            (intent.status, intent.received) = ("succeeded", intent.amount);
        } else {
            intent.status = "requires_payment_method";
        }
    }

    /// Minor units taken and given back, and how many intents took any.
    pub(super) fn sums(&self) -> (i64, i64, usize) {
        let taken = self.intents.iter().filter(|intent| intent.received > 0);
        taken.fold((0, 0, 0), |(received, refunded, count), intent| {
            (received + intent.received, refunded + intent.refunded, count + 1)
        })
    }

    /// Keys under which there is more than one intent.
    pub(super) fn doubled(&self) -> usize {
        let keys: std::collections::HashSet<&str> =
            self.intents.iter().map(|intent| intent.key.as_str()).collect();
        self.intents.len() - keys.len()
    }

    fn find(&self, id: &str) -> Option<usize> {
        let at = id.strip_prefix("pi_")?.parse::<usize>().ok()?.checked_sub(1)?;
        (at < self.intents.len()).then_some(at)
    }

    fn once(&mut self, call: &Call, parts: &[&str]) -> Answer {
        let key = call.header("idempotency-key").to_owned();
        if key.is_empty() {
            return refusal(400, "expected_a_key");
        }
        if let Some(first) = self.answers.get(&key) {
            return first.clone();
        }
        let form = call.form();
        let answer = match parts {
            ["v1", "payment_intents"] => self.create(&form),
            ["v1", "payment_intents", id, "cancel"] => self.cancel(id),
            ["v1", "refunds"] => self.refund(&form),
            _ => refusal(404, "unknown_path"),
        };
        self.answers.insert(key, answer.clone());
        answer
    }

    fn create(&mut self, form: &HashMap<String, String>) -> Answer {
        let (Some(amount), Some(key)) =
            (form.get("amount").and_then(|amount| amount.parse().ok()), form.get("metadata[onrush_key]"))
        else {
            return refusal(400, "parameter_missing");
        };
        self.intents.push(Intent {
            key: key.clone(),
            amount,
            received: 0,
            refunded: 0,
            status: "processing",
        });
        let at = self.intents.len() - 1;
        self.fresh.push(at);
        (200, self.shown(at).to_string())
    }

    fn cancel(&mut self, id: &str) -> Answer {
        let Some(at) = self.find(id) else { return refusal(404, "resource_missing") };
        if !self.intents[at].status.starts_with("requires_") {
            return refusal(400, "payment_intent_unexpected_state");
        }
        self.intents[at].status = "canceled";
        (200, self.shown(at).to_string())
    }

    fn refund(&mut self, form: &HashMap<String, String>) -> Answer {
        let text = |name: &str| form.get(name).cloned().unwrap_or_default();
        let (id, key) = (text("payment_intent"), text("metadata[onrush_key]"));
        let (Some(at), Ok(amount)) = (self.find(&id), text("amount").parse::<i64>()) else {
            return refusal(404, "resource_missing");
        };
        let intent = &mut self.intents[at];
        if amount < 1 || amount > intent.received - intent.refunded {
            return refusal(400, "charge_already_refunded");
        }
        intent.refunded += amount;
        let refund = Refund { intent: id, key, amount };
        let shown = refund_shown(&refund).to_string();
        self.refunds.push(refund);
        (200, shown)
    }

    fn search(&self, call: &Call) -> Answer {
        let query = call.query.get("query").map(String::as_str).unwrap_or_default();
        let wanted = |at: &usize| query == format!("metadata['onrush_key']:'{}'", self.intents[*at].key);
        let found: Vec<Value> = (0..self.intents.len()).filter(wanted).map(|at| self.shown(at)).collect();
        (200, json!({"object": "search_result", "data": found}).to_string())
    }

    /// Newest first.
    fn list(&self, call: &Call) -> Answer {
        let at = |name: &str| call.query.get(name).and_then(|id| self.find(id));
        let limit = call.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(10);
        let page: Vec<Value> = match (at("ending_before"), at("starting_after")) {
            (Some(after), _) => {
                let mut page: Vec<usize> = (after + 1..self.intents.len()).take(limit).collect();
                page.reverse();
                page.into_iter().map(|at| self.shown(at)).collect()
            }
            (None, before) => {
                let end = before.unwrap_or(self.intents.len());
                (0..end).rev().take(limit).map(|at| self.shown(at)).collect()
            }
        };
        (200, json!({"object": "list", "data": page}).to_string())
    }

    fn refunds_of(&self, call: &Call) -> Answer {
        let of = |refund: &&Refund| call.query.get("payment_intent") == Some(&refund.intent);
        let data: Vec<Value> = self.refunds.iter().filter(of).map(refund_shown).collect();
        (200, json!({"object": "list", "data": data}).to_string())
    }

    fn shown(&self, at: usize) -> Value {
        let intent = &self.intents[at];
        let declined = intent.status == "requires_payment_method";
        json!({
            "id": format!("pi_{}", at + 1),
            "object": "payment_intent",
            "amount": intent.amount,
            "amount_received": intent.received,
            "status": intent.status,
            "metadata": {"onrush_key": intent.key},
            "latest_charge": (intent.received > 0)
                .then(|| json!({"id": format!("ch_{}", at + 1), "amount_refunded": intent.refunded})),
            "last_payment_error": declined
                .then(|| json!({"code": "card_declined", "decline_code": "insufficient_funds"})),
        })
    }
}

fn refund_shown(refund: &Refund) -> Value {
    json!({
        "id": format!("re_{}", refund.key),
        "object": "refund",
        "amount": refund.amount,
        "status": "succeeded",
        "payment_intent": refund.intent,
        "metadata": {"onrush_key": refund.key},
    })
}

fn refusal(status: u16, code: &str) -> Answer {
    (status, json!({"error": {"type": "invalid_request_error", "code": code}}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(path: &str, key: &str, form: &str) -> Call {
        Call {
            method: "POST".into(),
            path: path.into(),
            query: HashMap::new(),
            headers: HashMap::from([("idempotency-key".to_owned(), key.to_owned())]),
            body: form.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_key_takes_money_once_and_no_more_goes_back_than_came() {
        let mut books = Books::default();
        let form = "amount=500&metadata%5Bonrush_key%5D=a%3A1%3Acharge";
        let first = books.answer(&post("/v1/payment_intents", "k", form));
        assert_eq!(books.answer(&post("/v1/payment_intents", "k", form)), first);
        assert!(first.1.contains("\"processing\""), "{first:?}");
        assert_eq!(books.fresh(), [(0, "a:1:charge".to_owned())]);
        assert_eq!(books.sums(), (0, 0, 0));
        books.settle(0, true);
        books.settle(0, false);
        assert_eq!((books.sums(), books.doubled()), ((500, 0, 1), 0));
        let back = |amount: i64, key: &str| {
            post("/v1/refunds", key, &format!("payment_intent=pi_1&amount={amount}"))
        };
        assert_eq!(books.answer(&back(300, "r1")).0, 200);
        assert_eq!(books.answer(&back(300, "r1")).0, 200);
        assert_eq!(books.answer(&back(300, "r2")).0, 400);
        assert_eq!(books.sums(), (500, 300, 1));
    }
}
