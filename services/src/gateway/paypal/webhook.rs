//! PayPal's webhooks: who signed them, and what they are about. The certificate that checks a signature is
//! named by the push itself, so only PayPal's own hosts are asked for it, and each once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::Url;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use tokio::sync::Semaphore;
use webpki::EndEntityCert;
use webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256;

use crate::gateway::Trouble;
use crate::gateway::endpoint::{self, Endpoint};
use crate::gateway::hearing::TOLERANCE_S;

/// Where certificates stand on those hosts.
const CERTIFICATES: &str = "/v1/notifications/certs/";
/// Certificates that are remembered. PayPal has one or two.
const KEPT_MAX: usize = 8;
/// Certificates fetched at once.
const FETCHES_MAX: usize = 2;
/// How long another fetch is to be waited for.
const BUSY: Duration = Duration::from_secs(1);
const ALGORITHM: &str = "SHA256withRSA";

/// An event, as far as it is read.
#[derive(Deserialize, Debug)]
pub(in crate::gateway) struct Event {
    pub(in crate::gateway) id: String,
    #[serde(default)]
    resource_type: String,
    resource: Resource,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Resource {
    id: String,
    supplementary_data: Supplement,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Supplement {
    related_ids: Related,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Related {
    order_id: String,
}

impl Event {
    /// The order of PayPal's that it is about.
    pub(in crate::gateway) fn order(&self) -> Option<&str> {
        let id = match self.resource_type.as_str() {
            "checkout-order" => &self.resource.id,
            _ => &self.resource.supplementary_data.related_ids.order_id,
        };
        Some(id.as_str()).filter(|id| !id.is_empty())
    }
}

/// What a push brings to be believed.
pub(in crate::gateway) struct Signed<'a> {
    id: &'a str,
    time: &'a str,
    certificate: Url,
    signature: Vec<u8>,
}

/// The certificates, as far as they were seen.
pub(super) struct Certificates {
    kept: Mutex<Vec<(Url, CertificateDer<'static>)>>,
    fetches: Semaphore,
}

impl Default for Certificates {
    fn default() -> Self {
        Self { kept: Mutex::default(), fetches: Semaphore::new(FETCHES_MAX) }
    }
}

impl<'a> Signed<'a> {
    /// What the headers bring; `None` if that cannot be a signature of PayPal's that is good now. `base` is our
    /// setting of where its API is.
    pub(super) fn of(headers: &'a HeaderMap, base: &str, now_s: u64) -> Option<Self> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let time = header("paypal-transmission-time")?;
        if header("paypal-auth-algo")? != ALGORITHM || !is_recent(time, now_s) {
            return None;
        }
        Some(Self {
            id: header("paypal-transmission-id")?,
            time,
            certificate: certificate_url(header("paypal-cert-url")?, base)?,
            signature: STANDARD.decode(header("paypal-transmission-sig")?).ok()?,
        })
    }

    fn verify(&self, certificate: &CertificateDer<'_>, webhook_id: &str, body: &[u8]) -> bool {
        let message = format!("{}|{}|{webhook_id}|{}", self.id, self.time, crc32(body));
        let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
        let checked =
            certificate.verify_signature(RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &self.signature);
        checked.is_ok()
    }
}

impl Certificates {
    /// True if the push is signed over these very bytes for this webhook.
    pub(super) async fn is_signed(
        &self,
        endpoint: &Endpoint,
        signed: &Signed<'_>,
        webhook_id: &str,
        body: &[u8],
    ) -> Result<bool, Trouble> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept().iter().find(|(url, _)| *url == signed.certificate).map(|(_, known)| known.clone());
        if let Some(certificate) = known {
            return Ok(signed.verify(&certificate, webhook_id, body));
        }
        let Ok(_place) = self.fetches.try_acquire() else { return Err(Trouble::Untouched(BUSY)) };
        let answer = endpoint::send(endpoint.elsewhere(signed.certificate.clone())).await?;
        if !answer.status.is_success() {
            return Ok(false);
        }
        let Ok(certificate) = CertificateDer::from_pem_slice(&answer.body) else { return Ok(false) };
        let good = signed.verify(&certificate, webhook_id, body);
        // Only one that has checked a signature is kept: nobody else fills the shelf.
        if good {
            let mut kept = kept();
            if kept.len() == KEPT_MAX {
                kept.remove(0);
            }
            kept.push((signed.certificate.clone(), certificate));
        }
        Ok(good)
    }
}

/// True for a time that is not long ago, nor far ahead.
fn is_recent(text: &str, now_s: u64) -> bool {
    let at = text.parse::<Timestamp>().ok().and_then(|at| u64::try_from(at.as_second()).ok());
    at.is_some_and(|at_s| now_s.abs_diff(at_s) <= TOLERANCE_S)
}

/// The place of a certificate, if it is PayPal's: https, a host below paypal.com, the usual port, no name
/// and password, the one folder. Where our own setting puts PayPal's API on this machine, that is PayPal.
fn certificate_url(text: &str, base: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let host = url.host_str()?;
    let name = url.path().strip_prefix(CERTIFICATES)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let named = !name.is_empty() && name.chars().all(plain);
    let bare = url.username().is_empty() && url.password().is_none();
    let bare = bare && url.query().is_none() && url.fragment().is_none();
    let of_paypal = url.scheme() == "https" && url.port().is_none() && host.ends_with(".paypal.com");
    let ours =
        base.starts_with("http://") && base.parse::<Url>().is_ok_and(|base| base.origin() == url.origin());
    (named && bare && (of_paypal || ours)).then_some(url)
}

/// CRC-32 as in zip and PNG.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let (mut value, mut bit) = (at as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zip() {
        assert_eq!((crc32(b"123456789"), crc32(b"")), (3_421_780_262, 0));
    }

    #[test]
    fn a_push_of_long_ago_or_of_no_time_is_none() {
        const NOW_S: u64 = 1_700_000_000;
        for (time, recent) in [
            ("2023-11-14T22:13:20Z", true),
            ("2023-11-14T22:18:20Z", true),
            ("2023-11-14T22:08:20Z", true),
            ("2023-11-14T22:18:21Z", false),
            ("2023-11-14T22:08:19Z", false),
            ("1969-12-31T23:59:59Z", false),
            ("2023-11-14", false),
            ("1700000000", false),
            ("", false),
        ] {
            assert_eq!(is_recent(time, NOW_S), recent, "{time}");
        }
    }

    #[test]
    fn certificates_come_from_paypal_and_from_nowhere_else() {
        let api = "https://api-m.paypal.com";
        for url in [
            "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77",
            "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
            "https://API.PAYPAL.COM/v1/notifications/certs/CERT-1",
        ] {
            assert!(certificate_url(url, api).is_some(), "{url}");
        }
        for url in [
            "http://api.paypal.com/v1/notifications/certs/CERT-1",
            "https://paypal.com.example/v1/notifications/certs/CERT-1",
            "https://evilpaypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1",
            "https://evil.example/v1/notifications/certs/CERT-1?.paypal.com",
            "https://evil.example#.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
            "https://me:hush@api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
            "https://api.paypal.com/v1/notifications/certs/../../oauth2/token",
            "https://api.paypal.com/v1/notifications/certs/%2e%2e",
            "https://api.paypal.com/v1/notifications/certs/",
            "https://api.paypal.com/certs/CERT-1",
            "https://169.254.169.254/v1/notifications/certs/CERT-1",
            "http://127.0.0.1:80/v1/notifications/certs/CERT-1",
            "https://localhost/v1/notifications/certs/CERT-1",
            "file:///v1/notifications/certs/CERT-1",
            "gopher://api.paypal.com/v1/notifications/certs/CERT-1",
            "",
        ] {
            assert!(certificate_url(url, api).is_none(), "{url}");
        }
        let here = "http://127.0.0.1:7000";
        assert!(certificate_url("http://127.0.0.1:7000/v1/notifications/certs/CERT-1", here).is_some());
        assert!(certificate_url("http://127.0.0.1:7001/v1/notifications/certs/CERT-1", here).is_none());
        assert!(certificate_url("http://localhost:7000/v1/notifications/certs/CERT-1", here).is_none());
    }
}
