//! A client over QUIC that writes bytes and reads frames.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use onrush_net::tls::ALPN;
use onrush_proto::Command;
use onrush_proto::frame::{
    Answer, FRAME_BYTES_MAX, Frame, HEADER_BYTES, Hello, Kind, Welcome, begin, put_command,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, ReadError, RecvStream, SendStream,
    TokioRuntime,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::peer::Said;
use crate::shop::Shop;

/// How long a server may say nothing before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A shop that is served over QUIC.
pub(super) fn open(change: impl FnOnce(&mut onrush_services::config::Config)) -> Shop {
    Shop::open_with(|config| {
        config.native.quic_port = Some(0);
        change(config);
    })
}

/// What a client says of itself in the handshake. It would send early data if it might.
pub(super) fn config(certificate: &Path, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(certificate).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    tls.enable_early_data = true;
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Where a client calls from.
pub(super) fn endpoint(config: EndpointConfig) -> Endpoint {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    Endpoint::new(config, None, socket, Arc::new(TokioRuntime)).unwrap()
}

/// Connects, or hears why not.
pub(super) async fn connect(address: SocketAddr, config: ClientConfig) -> Result<Caller, ConnectionError> {
    let endpoint = endpoint(EndpointConfig::default());
    let connection = endpoint.connect_with(config, address, "localhost").unwrap().await?;
    Ok(Caller { _endpoint: endpoint, connection })
}

/// A connection.
pub(super) struct Caller {
    _endpoint: Endpoint,
    pub(super) connection: Connection,
}

impl Caller {
    /// Connects, and says nothing.
    pub(super) async fn silent(shop: &Shop) -> Self {
        connect(shop.native_quic(), config(&shop.certificate(), &[ALPN])).await.unwrap()
    }

    /// Connects, and is welcome on its first stream.
    pub(super) async fn open(shop: &Shop, token: &str) -> (Self, Stream) {
        let caller = Self::silent(shop).await;
        let mut first = caller.stream().await;
        first.hello(token).await;
        let said = first.read().await;
        let welcome = Welcome::read(&said.frame()).unwrap();
        first.credit = welcome.credit;
        (caller, first)
    }

    pub(super) async fn stream(&self) -> Stream {
        let (send, recv) = within(self.connection.open_bi()).await.unwrap();
        Stream::new(send, recv)
    }

    /// One request on a stream of its own: the answers, until its end.
    pub(super) async fn request(&self, commands: &[(u128, Command)]) -> Vec<Answer> {
        let mut stream = self.stream().await;
        let mut bytes = Vec::new();
        stream.put(&mut bytes, commands);
        stream.write(&bytes).await;
        stream.send.finish().unwrap();
        let mut answers = Vec::new();
        for said in stream.rest().await {
            assert_eq!(said.kind(), Kind::Outcomes);
            answers.extend(said.outcomes().into_iter().map(|entry| (entry.tag, entry.answer)));
        }
        answers.sort_by_key(|(tag, _)| *tag);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// The number and the text by which the server ended it.
    pub(super) async fn closed(&self) -> (u64, String) {
        match within(self.connection.closed()).await {
            ConnectionError::ApplicationClosed(closed) => {
                (closed.error_code.into_inner(), String::from_utf8_lossy(&closed.reason).into_owned())
            }
            other => panic!("expected a server that closes, found {other}"),
        }
    }
}

/// What has to happen before a test fails.
pub(super) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("nothing for too long")
}

async fn frame(recv: &mut RecvStream) -> Result<Option<Said>, ReadError> {
    let mut bytes = vec![0; HEADER_BYTES];
    let Some(first) = within(recv.read(&mut bytes[..1])).await? else { return Ok(None) };
    assert_eq!(first, 1);
    within(recv.read_exact(&mut bytes[1..])).await.unwrap();
    let length = Frame::length(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    bytes.resize(length, 0);
    within(recv.read_exact(&mut bytes[HEADER_BYTES..])).await.unwrap();
    Ok(Some(Said(bytes)))
}

/// A stream of a connection.
pub(super) struct Stream {
    pub(super) send: SendStream,
    recv: RecvStream,
    /// What the welcome granted.
    pub(super) credit: u32,
    next: u64,
}

impl Stream {
    pub(super) fn new(send: SendStream, recv: RecvStream) -> Self {
        Self { send, recv, credit: 0, next: 1 }
    }

    pub(super) async fn hello(&mut self, token: &str) {
        let mut bytes = Vec::new();
        Hello::new(token, "a test").write(&mut bytes);
        self.write(&bytes).await;
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        within(self.send.write_all(bytes)).await.unwrap();
    }

    /// A frame without a body.
    pub(super) async fn say(&mut self, kind: Kind) {
        let mut bytes = Vec::new();
        begin(&mut bytes, kind).seal(&mut bytes, 0, 0);
        self.write(&bytes).await;
    }

    /// Appends a frame of commands.
    pub(super) fn put(&mut self, bytes: &mut Vec<u8>, commands: &[(u128, Command)]) {
        let frame = begin(bytes, Kind::Commands);
        for (key, command) in commands {
            assert!(put_command(bytes, self.next, 0, *key, command, true));
            self.next += 1;
        }
        frame.seal(bytes, commands.len() as u16, 0);
    }

    /// Asks something, and waits for the answer.
    pub(super) async fn ask(&mut self, key: u128, command: &Command) -> Answer {
        let mut bytes = Vec::new();
        self.put(&mut bytes, &[(key, command.clone())]);
        self.write(&bytes).await;
        let said = self.read().await;
        said.outcomes().remove(0).answer
    }

    /// The next frame; `None` at the end.
    pub(super) async fn try_read(&mut self) -> Option<Said> {
        frame(&mut self.recv).await.unwrap()
    }

    /// What is said to somebody who was never let in: until the end of the stream, or of the connection in good order.
    pub(super) async fn refused(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        loop {
            match frame(&mut self.recv).await {
                Ok(Some(frame)) => said.push(frame),
                Ok(None) => return said,
                Err(ReadError::Reset(code)) => {
                    assert_eq!(code.into_inner(), 0);
                    return said;
                }
                Err(ReadError::ConnectionLost(ConnectionError::ApplicationClosed(closed))) => {
                    assert_eq!(closed.error_code.into_inner(), 0, "{closed}");
                    return said;
                }
                Err(other) => panic!("expected an end in good order, found {other}"),
            }
        }
    }

    /// What it hears while it sends a byte now and then, and how many those were.
    pub(super) async fn drip(&mut self, every: Duration) -> (Option<Said>, usize) {
        let Self { send, recv, .. } = self;
        let mut sent = 0;
        let dripping = async {
            loop {
                tokio::time::sleep(every).await;
                // A stream that has ended takes none.
                sent += usize::from(send.write_all(&[0]).await.is_ok());
            }
        };
        let said = tokio::select! {
            said = frame(recv) => said.unwrap(),
            () = dripping => None,
        };
        (said, sent)
    }

    pub(super) async fn read(&mut self) -> Said {
        self.try_read().await.expect("a frame, not the end")
    }

    /// Everything that is said until the end.
    pub(super) async fn rest(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        while let Some(frame) = self.try_read().await {
            said.push(frame);
        }
        said
    }
}
