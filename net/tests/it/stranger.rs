//! Somebody who speaks as a node does, byte by byte, and says whatever a test wants.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use onrush_net::peer::{ClusterKey, PEER_VERSION};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use crate::node::key;

pub(crate) const ALPN: &[u8] = b"onrush-peer/1";

/// Of the side that calls, and of the side that is called.
pub(crate) const DIALLER: &[u8] = b"onrush peer 1 dialler";
pub(crate) const LISTENER: &[u8] = b"onrush peer 1 listener";

/// What is said first.
#[derive(Clone)]
pub(crate) struct Said {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u16,
    pub(crate) length: Option<u16>,
    pub(crate) message_bytes_max: u32,
    pub(crate) cluster: [u8; 16],
    pub(crate) node: u64,
    pub(crate) wanted: u64,
    pub(crate) instance: [u8; 16],
    pub(crate) advertised: Vec<u8>,
    pub(crate) key: ClusterKey,
}

impl Said {
    /// As a sound node says it.
    pub(crate) fn by(node: u64, wanted: u64) -> Self {
        Self {
            magic: *b"ONRUSH\nP",
            version: PEER_VERSION,
            length: None,
            message_bytes_max: 1 << 20,
            cluster: key(7).id().0,
            node,
            wanted,
            instance: [node as u8; 16],
            advertised: b"here".to_vec(),
            key: key(7),
        }
    }

    /// All but the proof.
    fn head(&self) -> Vec<u8> {
        let length = self.length.unwrap_or(self.advertised.len() as u16);
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.message_bytes_max.to_le_bytes());
        bytes.extend(self.cluster);
        bytes.extend(self.node.to_le_bytes());
        bytes.extend(self.wanted.to_le_bytes());
        bytes.extend(self.instance);
        bytes.extend(&self.advertised);
        bytes
    }

    /// With a proof for this connection, behind what was said before.
    pub(crate) fn bytes(&self, connection: &Connection, label: &[u8], before: &[u8]) -> Vec<u8> {
        let mut exported = [0; 32];
        connection.export_keying_material(&mut exported, b"EXPORTER-onrush-peer-1", &[]).unwrap();
        let mut bytes = self.head();
        let proven = [label, &exported, before, &bytes].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.bytes());
        bytes.extend(hmac::sign(&key, &proven).as_ref());
        bytes
    }
}

/// A socket that calls nodes, and is called by them.
pub(crate) struct Stranger(Endpoint);

impl Stranger {
    pub(crate) fn new() -> Self {
        Self::speaking(ALPN)
    }

    pub(crate) fn speaking(protocol: &[u8]) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
        let private = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], private.into())
            .unwrap();
        server.alpn_protocols = vec![protocol.to_vec()];
        let mut client = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        client.alpn_protocols = vec![protocol.to_vec()];
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(100)));
        let transport = Arc::new(transport);
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
        server.transport_config(transport.clone());
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
        client.transport_config(transport);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let runtime = Arc::new(TokioRuntime);
        let mut endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).unwrap();
        endpoint.set_default_client_config(client);
        Self(endpoint)
    }

    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Calls a node.
    pub(crate) async fn call(&self, node: SocketAddr) -> Result<Connection, ConnectionError> {
        self.0.connect(node, "stranger").unwrap().await
    }

    /// Is called by one, and hears its greeting.
    pub(crate) async fn called(&self) -> Called {
        let connection = self.0.accept().await.unwrap().await.unwrap();
        let (sink, mut source) = connection.accept_bi().await.unwrap();
        let greeting = hear(&mut source).await.unwrap();
        Called { connection, sink, greeting }
    }
}

/// Somebody who has called, and said who it is.
pub(crate) struct Called {
    pub(crate) connection: Connection,
    pub(crate) sink: SendStream,
    /// With its proof.
    pub(crate) greeting: Vec<u8>,
}

impl Called {
    /// Answers its greeting.
    pub(crate) async fn answer(&mut self, said: &Said) {
        let before = &self.greeting[..self.greeting.len() - 32];
        let bytes = said.bytes(&self.connection, LISTENER, before);
        self.sink.write_all(&bytes).await.unwrap();
    }
}

/// A whole greeting, unless the connection ends before.
async fn hear(source: &mut RecvStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 64];
    source.read_exact(&mut bytes).await.ok()?;
    let length = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
    let mut rest = vec![0; length + 32];
    source.read_exact(&mut rest).await.ok()?;
    bytes.extend(rest);
    Some(bytes)
}

/// Says something first, and hears the answer if there is one.
pub(crate) async fn say(connection: &Connection, bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut sink, mut source) = connection.open_bi().await.unwrap();
    sink.write_all(bytes).await.unwrap();
    sink.finish().unwrap();
    hear(&mut source).await
}

/// Greets as a node does, and hears the answer if there is one.
pub(crate) async fn greet(connection: &Connection, said: &Said) -> Option<Vec<u8>> {
    let bytes = said.bytes(connection, DIALLER, &[]);
    say(connection, &bytes).await
}

/// With which code, and what for a reason, the other side has ended it.
pub(crate) async fn end(connection: &Connection) -> (u64, Vec<u8>) {
    match connection.closed().await {
        ConnectionError::ApplicationClosed(close) => (close.error_code.into(), close.reason.to_vec()),
        other => panic!("expected an end with a code, found {other}"),
    }
}

/// Takes every certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("expected TLS 1.3".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
