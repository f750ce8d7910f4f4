//! A stand-in for the carriers' aggregator: its API as far as we call it, in the way of a server that
//! has bad days. It sells a label once per idempotency key, and counts what it sold.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong with a purchase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// 429, with a pause.
    Busy,
    /// Nothing is sold, and 500.
    FailedBefore,
    /// The label is sold, and then 500.
    FailedAfter,
    /// The label is sold, and the connection ends without a word.
    Dropped,
    /// The label is sold, and the answer comes too late.
    Slow,
    /// 422.
    Refused,
    /// The label is sold, and the answer is not JSON.
    Garbled,
}

/// The stand-in.
pub(crate) struct Aggregator {
    pub(crate) base: String,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    /// By the key of the first call.
    shipments: HashMap<String, String>,
    /// Label by shipment.
    sold: HashMap<String, String>,
    /// Idempotency keys of purchases.
    purchases: Vec<String>,
    voided: Vec<String>,
    faults: VecDeque<Fault>,
    tracking: Vec<Value>,
    authorization: Option<String>,
    /// What the last parcel weighed and where it went.
    last: Value,
}

impl Aggregator {
    /// One that has these faults, one per purchase.
    pub(crate) async fn start(faults: &[Fault]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let books =
            Arc::new(Mutex::new(Books { faults: faults.iter().copied().collect(), ..Default::default() }));
        let shelf = books.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, shelf.clone()));
            }
        });
        Self { base, books }
    }

    /// Labels sold, and how often a purchase was asked for, by key.
    pub(crate) fn sold(&self) -> (usize, Vec<String>) {
        let books = lock(&self.books);
        (books.sold.len(), books.purchases.clone())
    }

    /// Labels given back.
    pub(crate) fn voided(&self) -> usize {
        lock(&self.books).voided.len()
    }

    /// Parcels that it heard of.
    pub(crate) fn parcels(&self) -> usize {
        lock(&self.books).shipments.len()
    }

    /// The last parcel as it was told.
    pub(crate) fn last(&self) -> Value {
        lock(&self.books).last.clone()
    }

    /// The last `Authorization`.
    pub(crate) fn authorization(&self) -> String {
        lock(&self.books).authorization.clone().unwrap_or_default()
    }

    /// What every tracker says from now on.
    pub(crate) fn see(&self, details: &[(&str, &str)]) {
        let detail = |(status, datetime): &(&str, &str)| json!({"status": status, "datetime": datetime});
        lock(&self.books).tracking = details.iter().map(detail).collect();
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap()
}

struct Call {
    method: String,
    path: String,
    key: String,
    authorization: String,
    body: Value,
}

/// What the stand-in does with a call: status, body, and how it is sent.
enum Answer {
    Say(u16, String),
    Hang,
    Late(String),
}

async fn talk(stream: TcpStream, books: Arc<Mutex<Books>>) {
    let mut stream = BufReader::new(stream);
    while let Some(call) = read(&mut stream).await {
        let (status, body) = match answer(&books, &call) {
            Answer::Say(status, body) => (status, body),
            Answer::Hang => return,
            Answer::Late(body) => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                (200, body)
            }
        };
        let retry = if status == 429 { "Retry-After: 0\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{retry}Content-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.get_mut().write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Call> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut key, mut authorization, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = value.into(),
            "authorization" => authorization = value.into(),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Call { method, path, key, authorization, body })
}

fn answer(books: &Mutex<Books>, call: &Call) -> Answer {
    let mut books = lock(books);
    books.authorization = Some(call.authorization.clone());
    let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    match (call.method.as_str(), parts.as_slice()) {
        ("POST", ["v2", "shipments"]) => {
            let number = books.shipments.len() + 1;
            let id = books.shipments.entry(call.key.clone()).or_insert(format!("shp_{number}")).clone();
            books.last = call.body["shipment"].clone();
            Answer::Say(201, shown(&books, &id))
        }
        ("POST", ["v2", "shipments", id, "buy"]) => buy(&mut books, id, &call.key),
        ("GET", ["v2", "shipments", id]) => Answer::Say(200, shown(&books, id)),
        ("POST", ["v2", "shipments", id, "refund"]) => {
            books.voided.push((*id).to_owned());
            Answer::Say(200, shown(&books, id))
        }
        _ => Answer::Say(404, json!({"error": {"code": "NOT_FOUND", "message": "no such path"}}).to_string()),
    }
}

fn buy(books: &mut Books, id: &str, key: &str) -> Answer {
    books.purchases.push(key.to_owned());
    let fault = books.faults.pop_front();
    match fault {
        Some(Fault::Busy) => return Answer::Say(429, "{}".into()),
        Some(Fault::FailedBefore) => return Answer::Say(500, "oops".into()),
        Some(Fault::Refused) => {
            let error = json!({"error": {"code": "ADDRESS.VERIFY.FAILURE", "message": "no such street"}});
            return Answer::Say(422, error.to_string());
        }
        _ => {}
    }
    let number = books.sold.len() + 1;
    books.sold.entry(id.to_owned()).or_insert(format!("1Z{number:06}"));
    let body = shown(books, id);
    match fault {
        Some(Fault::FailedAfter) => Answer::Say(500, "oops".into()),
        Some(Fault::Dropped) => Answer::Hang,
        Some(Fault::Slow) => Answer::Late(body),
        Some(Fault::Garbled) => Answer::Say(200, "<html>".into()),
        _ => Answer::Say(200, body),
    }
}

fn shown(books: &Books, id: &str) -> String {
    let rate = |id: &str, service: &str, rate: &str| json!({"id": id, "carrier": "UPS", "service": service, "rate": rate, "currency": "USD", "delivery_days": 3});
    let number = books.sold.get(id);
    let label = number.map(|number| json!({"label_url": format!("https://labels.example.com/{number}.pdf")}));
    let voided = books.voided.iter().any(|voided| voided == id);
    json!({
        "id": id,
        "rates": [rate("rate_2", "NextDay", "24.10"), rate("rate_1", "Ground", "7.90")],
        "tracking_code": number,
        "postage_label": label,
        "tracker": number.map(|_| json!({"tracking_details": books.tracking})),
        "refund_status": voided.then_some("submitted"),
    })
    .to_string()
}
