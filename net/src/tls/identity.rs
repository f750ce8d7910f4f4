//! Who a server is: a chain of certificates and the key of the first.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{ALPN, VERSIONS, provider};

/// Which half of an identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The certificates.
    Certificate,
    /// The key.
    Key,
}

/// Why files are no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("expected a file that can be read, found {}: {error}", path.display())]
    Read {
        /// Which half it was to be.
        part: Part,
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file holds something else.
    #[error("expected {expected} in PEM, found {found} in {}", path.display())]
    Pem {
        /// Which half it was to be.
        part: Part,
        /// What was to be there.
        expected: &'static str,
        /// What was.
        found: String,
        /// Where.
        path: PathBuf,
    },
    /// The key is another's, or of no kind that is known.
    #[error("expected the key of the certificate in {}, found {}: {error}", certificate.display(), key.display())]
    Match {
        /// Where the certificate is.
        certificate: PathBuf,
        /// Where the key is.
        key: PathBuf,
        /// What is wrong with it.
        error: rustls::Error,
    },
}

impl IdentityError {
    /// The half that is at fault.
    pub fn part(&self) -> Part {
        match self {
            Self::Read { part, .. } | Self::Pem { part, .. } => *part,
            Self::Match { .. } => Part::Key,
        }
    }
}

/// Who a server is. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads a chain of certificates, the server's own first, and its key.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let chain = chain(certificate)?;
        let private = private(key)?;
        // The chain has a first one.
        let own = chain[0].clone();
        let unfit = |error| IdentityError::Match { certificate: certificate.into(), key: key.into(), error };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(unfit)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(unfit)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Bytes that somebody recorded may be sent again: nothing is taken before the handshake is over.
        config.max_early_data_size = 0;
        Ok(Self { certificate: own, config: Arc::new(config) })
    }

    /// The server's own certificate (DER).
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

fn read(part: Part, path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|error| IdentityError::Read { part, path: path.into(), error })
}

pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let wrong = |found: String| IdentityError::Pem {
        part: Part::Certificate,
        expected: "certificates",
        found,
        path: path.into(),
    };
    let bytes = read(Part::Certificate, path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("none".into())) } else { Ok(found) }
}

pub(super) fn private(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let bytes = read(Part::Key, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| IdentityError::Pem {
        part: Part::Key,
        expected: "a private key",
        found: match error {
            pem::Error::NoItemsFound => "none".into(),
            other => other.to_string(),
        },
        path: path.into(),
    })
}
