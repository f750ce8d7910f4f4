//! Who the server is over TLS and QUIC: as two files say, or as it says of itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use onrush_net::tls::{Identity, IdentityError, Part};
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::config::{CertificateFiles, native};

/// A certificate that was made here, and its key, in the data directory.
const CERTIFICATE_FILE: &str = "native-tls.crt";
const KEY_FILE: &str = "native-tls.key";
/// Nobody else reads a key.
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The files that were named are none.
    #[error("{setting} ({variable}): {error}")]
    Named {
        /// The setting at fault.
        setting: &'static str,
        /// Its variable.
        variable: &'static str,
        /// What is wrong.
        error: Box<IdentityError>,
    },
    /// The one in the data directory is none (any more).
    #[error("the server's own certificate: {0}; without both files it makes another")]
    Own(Box<IdentityError>),
    /// None can be written.
    #[error("expected to write {}, found: {error}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// None can be made.
    #[error("expected to make a certificate, found: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate that is in use.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) identity: Identity,
    /// Where it is, for clients that are to believe it.
    pub(crate) path: PathBuf,
}

impl Certificate {
    /// That of two files, or else the one in the data directory, which is made once.
    pub(crate) fn open(
        named: Option<&CertificateFiles>,
        data_dir: &Path,
        listen: IpAddr,
    ) -> Result<Self, CertificateError> {
        if let Some(CertificateFiles { certificate, key }) = named {
            let identity = Identity::read(certificate, key).map_err(|error| {
                let (setting, variable) = match error.part() {
                    Part::Certificate => native::CERTIFICATE,
                    Part::Key => native::KEY,
                };
                CertificateError::Named { setting, variable, error: Box::new(error) }
            })?;
            return Ok(Self { identity, path: certificate.clone() });
        }
        let (path, key) = (data_dir.join(CERTIFICATE_FILE), data_dir.join(KEY_FILE));
        if !path.exists() && !key.exists() {
            make(&path, &key, listen)?;
        }
        let identity = Identity::read(&path, &key).map_err(|error| CertificateError::Own(Box::new(error)))?;
        Ok(Self { identity, path })
    }

    /// By which people compare it: SHA-256 in hex.
    pub(crate) fn fingerprint(&self) -> String {
        let hash = digest(&SHA256, self.identity.certificate());
        let bytes: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(":")
    }
}

/// A key, and a certificate that says whose it is by the names that callers on this machine know.
fn make(path: &Path, key_path: &Path, listen: IpAddr) -> Result<(), CertificateError> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !listen.is_unspecified() && !names.contains(&listen.to_string()) {
        names.push(listen.to_string());
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "onrush");
    let certificate = params.self_signed(&key)?;
    let write = |path: &Path, text: String, mode| {
        write(path, text.as_bytes(), mode)
            .map_err(|error| CertificateError::Write { path: path.into(), error })
    };
    // The key is in place last: what a crash leaves is a certificate alone, which is said at the next start.
    write(path, certificate.pem(), CERTIFICATE_MODE)?;
    write(key_path, key.serialize_pem(), KEY_MODE)
}

/// Written whole under another name first.
fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = path.with_extension("draft");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_certificate_is_made_once_and_nobody_else_reads_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let made = Certificate::open(None, dir.path(), HERE).unwrap();
        let again = Certificate::open(None, dir.path(), HERE).unwrap();
        assert_eq!(made.fingerprint(), again.fingerprint());
        assert_eq!(made.fingerprint().len(), 32 * 3 - 1);
        let mode = fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, KEY_MODE);
        assert!(made.path.ends_with(CERTIFICATE_FILE));
    }

    #[test]
    fn what_is_no_certificate_is_said_by_the_name_of_its_setting() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&dir, &other] {
            Certificate::open(None, dir.path(), HERE).unwrap();
        }
        let (good, key) = (dir.path().join(CERTIFICATE_FILE), dir.path().join(KEY_FILE));
        let (bad, foreign) = (dir.path().join("bad.pem"), other.path().join(KEY_FILE));
        fs::write(&bad, "-----BEGIN CERTIFICATE-----\nnonsense!\n-----END CERTIFICATE-----\n").unwrap();
        let absent = dir.path().join("absent.pem");
        let table = [
            (&absent, &key, "tls-cert (TLS_CERT): expected a file that can be read, found"),
            (&bad, &key, "tls-cert (TLS_CERT): expected certificates in PEM, found"),
            (&key, &key, "tls-cert (TLS_CERT): expected certificates in PEM, found none in"),
            (&good, &absent, "tls-key (TLS_KEY): expected a file that can be read, found"),
            (&good, &good, "tls-key (TLS_KEY): expected a private key in PEM, found none in"),
            (&good, &foreign, "tls-key (TLS_KEY): expected the key of the certificate in"),
        ];
        for (certificate, key, expected) in table {
            let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
            let error = Certificate::open(Some(&files), dir.path(), HERE).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        fs::remove_file(&key).unwrap();
        let error = Certificate::open(None, dir.path(), HERE).unwrap_err().to_string();
        assert!(
            error.contains("own certificate: expected a file that can be read") && error.contains(KEY_FILE)
        );
    }
}
