//! Bytes both ways, over whatever carries them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::client::CallError;
use crate::quic;
use crate::tls::{Trust, TrustError};

/// Silence over QUIC after which nobody is there; a server probes far more often.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How long one address of a name may take to answer over QUIC, where nobody says that nobody listens.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

/// What carries the frames of the native protocol.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// TCP with TLS.
    Tls(Trust),
    /// QUIC.
    Quic(Trust),
}

/// The same, ready to be used.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Tcp,
    Tls(Arc<rustls::ClientConfig>),
    Quic(ClientConfig),
}

impl Way {
    pub(super) fn new(transport: &Transport) -> Result<Self, TrustError> {
        Ok(match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Tls(trust) => Self::Tls(trust.config()?),
            Transport::Quic(trust) => {
                let crypto = QuicClientConfig::try_from(trust.config()?);
                let none = |_| rustls::Error::General("no cipher suite that QUIC begins with".into());
                let mut config = ClientConfig::new(Arc::new(crypto.map_err(none)?));
                config.version(quic::VERSION).transport_config(Arc::new(settings()));
                Self::Quic(config)
            }
        })
    }
}

/// A server opens no streams, and says itself for how long silence may last.
fn settings() -> TransportConfig {
    let mut settings = TransportConfig::default();
    settings
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        // A port where nobody listens says nothing: without an end a handshake would be tried for ever.
        .max_idle_timeout(IdleTimeout::try_from(SILENCE_MAX).ok());
    settings
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream of bytes in each direction, for whoever drives a [`Dialogue`](super::Dialogue) by hand.
pub struct Stream {
    duplex: Box<dyn Duplex>,
    /// What was written may not have left.
    holding: bool,
    /// What a stream of QUIC belongs to.
    _connection: Option<(Endpoint, Connection)>,
}

impl Stream {
    /// Connects to `host:port`. Must be called within a tokio runtime. The outer error: nobody can be believed.
    pub async fn open(address: &str, transport: &Transport) -> Result<io::Result<Self>, CallError> {
        let way = Way::new(transport).map_err(|error| CallError::Trust(error.to_string()))?;
        Ok(Self::connect(address, &way).await)
    }

    pub(super) async fn connect(address: &str, way: &Way) -> io::Result<Self> {
        match way {
            Way::Tcp => Ok(Self::over(tcp(address).await?, None)),
            Way::Tls(config) => {
                let name = ServerName::try_from(host(address).to_owned());
                let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                let connector = TlsConnector::from(Arc::clone(config));
                Ok(Self::over(connector.connect(name, tcp(address).await?).await?, None))
            }
            Way::Quic(config) => quic(address, config).await,
        }
    }

    fn over(duplex: impl Duplex + 'static, connection: Option<(Endpoint, Connection)>) -> Self {
        Self { duplex: Box::new(duplex), holding: false, _connection: connection }
    }

    /// True while something that was written may not have left.
    pub(super) fn is_holding(&self) -> bool {
        self.holding
    }

    /// Writes some of it; what is held back leaves by itself over TCP and QUIC.
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.duplex).poll_write(context, bytes);
        self.holding |= written.is_ready();
        written
    }

    /// Sends what is held; true if that was something, and it is gone.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        if !self.holding {
            return Ok(false);
        }
        match Pin::new(&mut self.duplex).poll_flush(context)? {
            Poll::Ready(()) => self.holding = false,
            Poll::Pending => {}
        }
        Ok(!self.holding)
    }

    /// Reads what there is; 0 bytes are the end.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(&mut self.duplex).poll_read(context, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }
}

/// The host of `host:port`, as it stands in certificates.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

async fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn quic(address: &str, config: &ClientConfig) -> io::Result<Stream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for target in lookup_host(address).await? {
        let connection = async {
            let endpoint = endpoint(target.is_ipv6())?;
            let connecting = endpoint.connect_with(config.clone(), target, host(address));
            let connection =
                connecting.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?.await?;
            let (sink, source) = connection.open_bi().await?;
            Ok(Stream::over(tokio::io::join(source, sink), Some((endpoint, connection))))
        };
        // A name may have addresses that nobody listens at.
        match tokio::time::timeout(ATTEMPT_MAX, connection).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

fn endpoint(ipv6: bool) -> io::Result<Endpoint> {
    let any = if ipv6 { "[::]:0" } else { "0.0.0.0:0" };
    let socket = std::net::UdpSocket::bind(any)?;
    Endpoint::new(quic::endpoint(), None, socket, Arc::new(TokioRuntime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_as_in_certificates() {
        for (address, name) in
            [("a.example:1", "a.example"), ("127.0.0.1:1", "127.0.0.1"), ("[::1]:1", "::1")]
        {
            assert_eq!(host(address), name);
        }
    }
}
