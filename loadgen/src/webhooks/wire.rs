//! A small HTTP server for who stands in for a gateway: what it is asked, and what it answers.

use std::collections::HashMap;
use std::sync::Arc;

use reqwest::Url;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a line, and of a body: who asks is the server that we started.
const LINE_BYTES_MAX: u64 = 16 << 10;
const BODY_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    /// By their names in lower case.
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Call {
    /// A header, or nothing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The body as a form.
    pub(super) fn form(&self) -> HashMap<String, String> {
        pairs(&String::from_utf8_lossy(&self.body))
    }
}

/// Status and JSON.
pub(super) type Answer = (u16, String);

/// Serves until the runtime ends. Answers are made at once, one after the other.
pub(super) async fn serve(listener: TcpListener, answer: Arc<dyn Fn(&Call) -> Answer + Send + Sync>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(talk(stream, Arc::clone(&answer)));
    }
}

async fn talk(stream: TcpStream, answer: Arc<dyn Fn(&Call) -> Answer + Send + Sync>) {
    let mut stream = BufReader::new(stream);
    while let Some(call) = read(&mut stream).await {
        let (status, body) = answer(&call);
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        if stream.get_mut().write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request; `None` at the end, or if it is none.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Call> {
    let first = line(stream).await?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    for _ in 0..HEADERS_MAX {
        let header = line(stream).await?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length: usize = headers.get("content-length").map_or(Some(0), |text| text.parse().ok())?;
    let mut body = vec![0; Some(length).filter(|length| *length <= BODY_BYTES_MAX)?];
    stream.read_exact(&mut body).await.ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Call { method, path: path.into(), query: pairs(query), headers, body })
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.take(LINE_BYTES_MAX).read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

fn pairs(text: &str) -> HashMap<String, String> {
    let url = Url::parse(&format!("http://x/?{text}"));
    let pairs = url.iter().flat_map(|url| url.query_pairs());
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
