//! A small HTTP server for stand-ins: what they answer, and how it is sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The body as a form.
    pub(crate) fn form(&self) -> HashMap<String, String> {
        pairs(std::str::from_utf8(&self.body).unwrap())
    }
}

/// What a stand-in does with a request.
pub(crate) enum Answer {
    Say(u16, String),
    /// The connection ends without a word.
    HangUp,
    /// The answer comes too late.
    Late(String),
}

/// An address of our own. Until something is served at it whoever calls there is refused, and nobody else
/// can have it: a port that is merely let go may be another test's a moment later.
pub(crate) struct Place(TcpSocket);

impl Place {
    pub(crate) fn free() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

/// Serves at this place until the runtime ends; where.
pub(crate) fn serve(place: Place, answer: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let address = place.address();
    let listener = place.0.listen(128).unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, answer.clone()));
        }
    });
    address
}

async fn talk(stream: TcpStream, answer: Arc<impl Fn(&Call) -> Answer>) {
    let mut stream = BufReader::new(stream);
    while let Some(call) = read(&mut stream).await {
        let (status, body) = match answer(&call) {
            Answer::Say(status, body) => (status, body),
            Answer::HangUp => return,
            Answer::Late(body) => {
                tokio::time::sleep(Duration::from_secs(20)).await;
                (200, body)
            }
        };
        let retry = match status {
            429 => "Retry-After: 0\r\n",
            // Whoever follows it calls here again.
            302 => "Location: /elsewhere\r\n",
            _ => "",
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{retry}Content-Length: {length}\r\n\r\n"
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
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(Some(0), |text| text.parse().ok())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Call { method, path: path.into(), query: pairs(query), headers, body })
}

fn pairs(text: &str) -> HashMap<String, String> {
    let url = Url::parse(&format!("http://x/?{text}")).unwrap();
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
