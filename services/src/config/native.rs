//! Where the native protocol is served, and what a connection may cost.

use std::path::PathBuf;

use onrush_net::session::Limits;
use onrush_net::tcp::Driver;

use super::{ConfigError, Value, find, parse, plain, wrong};

/// What serving the native protocol is told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NativeConfig {
    /// Its port; 0 takes a free one, `None`: it is not served.
    pub port: Option<u16>,
    /// True if that port speaks TLS.
    pub tls: bool,
    /// Its port over QUIC, of UDP; 0 takes a free one, `None`: it is not served over QUIC.
    pub quic_port: Option<u16>,
    /// Who the server is; `None`: as it says of itself, by a certificate that it makes.
    pub certificate: Option<CertificateFiles>,
    /// What a connection may cost.
    pub limits: Limits,
    /// How its fronts over TCP hear of their sockets.
    pub driver: Driver,
}

/// Where a certificate and its key are (PEM).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The certificate, and those that vouch for it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl NativeConfig {
    /// A free port, without TLS, and none for QUIC.
    pub fn free() -> Self {
        Self { port: Some(0), ..Self::default() }
    }
}

/// The settings of the ports.
const PORT: &str = "native-port";
const QUIC_PORT: &str = "native-quic-port";

/// Those of the files.
pub(crate) const CERTIFICATE: (&str, &str) = ("tls-cert", "TLS_CERT");
pub(crate) const KEY: (&str, &str) = ("tls-key", "TLS_KEY");

pub(super) fn of(values: &[Value]) -> Result<NativeConfig, ConfigError> {
    let port = |text: &str| match text.trim() {
        "off" => Some(None),
        text => plain(text).map(Some),
    };
    let tcp = parse(find(values, PORT), "a port, 0 to 65535, or off", port)?;
    let quic = |text: &str| if text.trim() == "auto" { Some(tcp) } else { port(text) };
    Ok(NativeConfig {
        port: tcp,
        tls: parse(find(values, "native-tls"), "true or false", plain)?,
        quic_port: parse(find(values, QUIC_PORT), "a port, 0 to 65535, auto or off", quic)?,
        certificate: files(values)?,
        limits: Limits::default(),
        driver: Driver::default(),
    })
}

/// Both files, or neither.
fn files(values: &[Value]) -> Result<Option<CertificateFiles>, ConfigError> {
    let (certificate, key) = (find(values, CERTIFICATE.0), find(values, KEY.0));
    match (certificate.text.as_str(), key.text.as_str()) {
        ("", "") => Ok(None),
        ("", _) => Err(wrong(certificate, "a file with the certificate of tls-key")),
        (_, "") => Err(wrong(key, "a file with the key of tls-cert")),
        (certificate, key) => Ok(Some(CertificateFiles { certificate: certificate.into(), key: key.into() })),
    }
}
