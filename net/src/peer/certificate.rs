//! TLS between nodes: by files, or by certificates that each node makes at its start.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, ServerConfig, SignatureScheme};

use super::PeerError;
use crate::tls::{Mutual, VERSIONS, provider};

/// What is spoken between nodes, as it is agreed on (ALPN).
pub const PEER_ALPN: &[u8] = b"onrush-peer/1";

/// The name in certificates that nodes make. Nobody looks at it.
pub(super) const MADE_NAME: &str = "node.onrush";

/// TLS of a node that is called, and of one that calls.
pub(super) fn configs(tls: Option<&Mutual>) -> Result<(ServerConfig, ClientConfig), PeerError> {
    match tls {
        Some(mutual) => Ok(mutual.speaking(PEER_ALPN)),
        None => made(),
    }
}

/// Nodes that have no files: who the other one is, is shown by the proof in its greeting alone.
fn made() -> Result<(ServerConfig, ClientConfig), PeerError> {
    let own = |error: &dyn std::fmt::Display| PeerError::Certificate(error.to_string());
    let key = KeyPair::generate().map_err(|error| own(&error))?;
    let params = CertificateParams::new([MADE_NAME.to_owned()]).map_err(|error| own(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| own(&error))?;
    let private = PrivatePkcs8KeyDer::from(key.serialize_der());
    let tls = |error: Error| own(&error);
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(tls)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private.into())
        .map_err(tls)?;
    server.alpn_protocols = vec![PEER_ALPN.to_vec()];
    // Each connection begins with a handshake of its own, which its proofs are about.
    server.send_tls13_tickets = 0;
    let verifier = Arc::new(Anybody { provider: provider() });
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    client.alpn_protocols = vec![PEER_ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    Ok((server, client))
}

/// Takes every certificate whose key the other side has.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
