//! Two sides that both show a certificate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::identity::{chain, private};
use super::trust::certificates;
use super::{IdentityError, TrustError, VERSIONS, provider};

/// Why files are no identity and authorities of two sides.
#[derive(Debug, thiserror::Error)]
pub enum MutualError {
    /// The certificate or its key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The authorities.
    #[error("authorities: {0}")]
    Trust(#[from] TrustError),
    /// What they say together.
    #[error("authorities: expected some that vouch for callers, found: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// TLS does not begin.
    #[error("expected a certificate, its key and authorities, found: {0}")]
    Tls(#[from] rustls::Error),
}

/// Who a side is, called or calling, and whose word it takes for the other one. Cheap to clone.
#[derive(Clone)]
pub struct Mutual {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl fmt::Debug for Mutual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutual").finish_non_exhaustive()
    }
}

impl Mutual {
    /// Reads a chain of certificates, the own one first, its key, and the authorities of the others (all
    /// PEM). The own certificate has to stand for the name or the address at which this side is called, for
    /// both uses: of servers and of clients.
    pub fn read(certificate: &Path, key: &Path, authorities: &Path) -> Result<Self, MutualError> {
        let (chain, private) = (chain(certificate)?, private(key)?);
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities)? {
            roots.add(authority)?;
        }
        let roots = Arc::new(roots);
        let unfit = |error| IdentityError::Match { certificate: certificate.into(), key: key.into(), error };
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build()?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), private.clone_key())
            .map_err(unfit)?;
        // Each connection begins with a handshake of its own.
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private)
            .map_err(unfit)?;
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// What is spoken in it is called so (ALPN).
    pub(crate) fn speaking(&self, protocol: &[u8]) -> (ServerConfig, ClientConfig) {
        let (mut server, mut client) = (ServerConfig::clone(&self.server), ClientConfig::clone(&self.client));
        server.alpn_protocols = vec![protocol.to_vec()];
        client.alpn_protocols = vec![protocol.to_vec()];
        (server, client)
    }
}
