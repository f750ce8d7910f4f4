//! Settings of the mail server.

use std::fs;
use std::net::IpAddr;
use std::str::FromStr;

use super::secret::read_secret;
use super::{ConfigError, Secret, Value, bounded, find, parse, wrong};

/// Most bytes of a file of certificates.
const CA_BYTES_MAX: u64 = 1 << 20;

/// How the way to the mail server is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SmtpTls {
    /// TLS from the first word on.
    Implicit,
    /// TLS before anything is told; without it nothing is.
    StartTls,
    /// Not at all.
    None,
}

impl SmtpTls {
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Implicit => "tls",
            Self::StartTls => "starttls",
            Self::None => "none",
        }
    }
}

impl FromStr for SmtpTls {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Implicit, Self::StartTls, Self::None];
        all.into_iter().find(|tls| tls.name() == text).ok_or(())
    }
}

/// A mail server that takes the shop's mails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SmtpOptions {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who logs in there, if somebody has to.
    pub login: Option<(String, Secret)>,
    /// How the way there is protected.
    pub tls: SmtpTls,
    /// Certificates in PEM that are believed besides the system's.
    pub ca_pem: Option<Vec<u8>>,
}

pub(super) fn of(values: &[Value]) -> Result<Option<SmtpOptions>, ConfigError> {
    let host = find(values, "smtp-host").text.trim().to_owned();
    if host.is_empty() {
        return Ok(None);
    }
    let user = find(values, "smtp-user");
    let login = match (user.text.as_str(), read_secret(values, "smtp-pass")?) {
        ("", None) => None,
        ("", Some((_, value))) => return Err(wrong(value, "smtp-user beside it")),
        (_, None) => return Err(wrong(user, "smtp-pass or smtp-pass-file beside it")),
        (user, Some((password, _))) => Some((user.to_owned(), password)),
    };
    let tls = find(values, "smtp-tls");
    let how = parse(tls, "tls, starttls or none", |text| text.parse::<SmtpTls>().ok())?;
    if how == SmtpTls::None && login.is_some() && !is_this_machine(&host) {
        return Err(wrong(tls, "tls or starttls: a password is not sent in clear to another machine"));
    }
    let port = bounded(values, "smtp-port", 1, usize::from(u16::MAX))? as u16;
    Ok(Some(SmtpOptions { host, port, login, tls: how, ca_pem: ca_pem(find(values, "smtp-ca-file"))? }))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn ca_pem(value: &Value) -> Result<Option<Vec<u8>>, ConfigError> {
    if value.text.is_empty() {
        return Ok(None);
    }
    let unread = |error: std::io::Error| wrong(value, format!("a file that can be read ({error})"));
    if fs::metadata(&value.text).map_err(unread)?.len() > CA_BYTES_MAX {
        return Err(wrong(value, format!("a file of at most {CA_BYTES_MAX} bytes")));
    }
    fs::read(&value.text).map(Some).map_err(unread)
}
