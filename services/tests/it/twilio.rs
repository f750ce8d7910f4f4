//! A stand-in for Twilio with books of its own: texts are made and listed, in the way of a server that has bad
//! days. It knows no idempotency keys, as Twilio does not.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use jiff::fmt::rfc2822;
use serde_json::{Value, json};

use crate::wire::{self, Answer, Call, Place};

pub(crate) const ACCOUNT: &str = "AC00000000000000000000000000000001";
pub(crate) const TOKEN: &str = "twilio_canary";
/// Account and token in Basic.
const BASIC: &str = "Basic QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTp0d2lsaW9fY2FuYXJ5";

/// What goes wrong with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// 429 with a pause, nothing is sent.
    Busy,
    /// Nothing is sent, and 503.
    FailedBefore,
    /// It is sent, and then 500.
    FailedAfter,
    /// It is sent, and the connection ends without a word.
    Dropped,
    /// It is sent, and the answer comes too late.
    Slow,
    /// It is sent, and the answer is not JSON.
    Garbled,
    /// 401.
    Barred,
    /// 400 with this code.
    Refused(u32),
}

/// The stand-in.
pub(crate) struct Exchange {
    pub(crate) base: String,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    texts: Vec<Text>,
    faults: VecDeque<Fault>,
}

/// A text that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) form: HashMap<String, String>,
    date_created: String,
}

impl Exchange {
    /// One that has these faults, one per text.
    pub(crate) fn start(faults: &[Fault]) -> Self {
        let books = Books { faults: faults.iter().copied().collect(), ..Default::default() };
        let books = Arc::new(Mutex::new(books));
        let shelf = books.clone();
        let address = wire::serve(Place::free(), move |call| answer(&mut shelf.lock().unwrap(), call));
        Self { base: format!("http://{address}"), books }
    }

    /// The texts that were sent.
    pub(crate) fn texts(&self) -> Vec<Text> {
        self.books.lock().unwrap().texts.clone()
    }
}

fn answer(books: &mut Books, call: &Call) -> Answer {
    if call.header("authorization") != BASIC {
        return refusal(401, 20003);
    }
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json");
    match call.method.as_str() {
        _ if call.path != path => refusal(404, 20404),
        "GET" => list(books, call),
        "POST" => make(books, call.form()),
        _ => refusal(405, 20004),
    }
}

fn list(books: &Books, call: &Call) -> Answer {
    let size: usize = call.query["PageSize"].parse().unwrap();
    let to_it = |text: &&Text| call.query.get("To").is_none_or(|to| *to == text.form["To"]);
    let messages: Vec<Value> = books.texts.iter().rev().filter(to_it).take(size).map(shown).collect();
    Answer::Say(200, json!({"messages": messages, "page": 0}).to_string())
}

fn make(books: &mut Books, form: HashMap<String, String>) -> Answer {
    let fault = books.faults.pop_front();
    match fault {
        Some(Fault::Busy) => return refusal(429, 20429),
        Some(Fault::FailedBefore) => return Answer::Say(503, "<html>".into()),
        Some(Fault::Barred) => return refusal(401, 20003),
        Some(Fault::Refused(code)) => return refusal(400, code),
        _ => {}
    }
    let date_created = rfc2822::to_string(&jiff::Zoned::now()).unwrap();
    let text = Text { form, date_created };
    let body = shown(&text).to_string();
    books.texts.push(text);
    match fault {
        Some(Fault::FailedAfter) => Answer::Say(500, "oops".into()),
        Some(Fault::Dropped) => Answer::HangUp,
        Some(Fault::Slow) => Answer::Late(body),
        Some(Fault::Garbled) => Answer::Say(201, "<html>".into()),
        _ => Answer::Say(201, body),
    }
}

fn shown(text: &Text) -> Value {
    json!({
        "sid": "SM00000000000000000000000000000001",
        "status": "queued",
        "error_code": null,
        "to": text.form["To"],
        "body": text.form["Body"],
        "date_created": text.date_created,
    })
}

/// Its text quotes the number, as Twilio's does.
fn refusal(status: u16, code: u32) -> Answer {
    let message = "The 'To' number +491701234567 is not what it should be";
    Answer::Say(status, json!({"code": code, "message": message, "status": status}).to_string())
}
