//! Mails by a mail server.

use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport as _, Message, Tokio1Executor};

use super::outlet::SendError;
use crate::config::{SmtpOptions, SmtpTls};

/// How long the server may take for each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers about who logs in (RFC 4954): final for the server, but not for the letter.
const LOGIN_REFUSED: std::ops::RangeInclusive<u16> = 530..=538;

/// Mails by a mail server, one connection each.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    peer: String,
}

/// A mail server that cannot be spoken to as the settings say.
#[derive(Debug, thiserror::Error)]
#[error(
    "smtp-ca-file, smtp-host: expected certificates in PEM and a name that one can stand for, found: {0}"
)]
pub struct SmtpError(Error);

impl Smtp {
    /// Connects when the first mail is sent.
    pub fn new(options: &SmtpOptions) -> Result<Self, SmtpError> {
        let tls = || {
            let mut parameters = TlsParameters::builder(options.host.clone());
            if let Some(pem) = &options.ca_pem {
                parameters = parameters.add_root_certificate(Certificate::from_pem(pem)?);
            }
            parameters.build_rustls()
        };
        let tls = match options.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::StartTls => Tls::Required(tls().map_err(SmtpError)?),
            SmtpTls::Implicit => Tls::Wrapper(tls().map_err(SmtpError)?),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&options.host)
            .port(options.port)
            .timeout(Some(STEP_TIMEOUT))
            .tls(tls);
        if let Some((user, password)) = &options.login {
            transport = transport.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        let peer = format!("{}:{} ({})", options.host, options.port, options.tls.name());
        Ok(Self { transport: transport.build(), peer })
    }

    /// Where mails go.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    pub(super) async fn send(&self, mail: Message) -> Result<(), SendError> {
        match self.transport.send(mail).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let login = error.status().is_some_and(|code| LOGIN_REFUSED.contains(&u16::from(code)));
                let message = format!("{}: {}", self.peer, told(&error));
                Err(match error.is_permanent() && !login {
                    true => SendError::Never(message),
                    false => SendError::Later(message),
                })
            }
        }
    }
}

/// The error with what is behind it.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(behind) = source {
        let more = behind.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = behind.source();
    }
    text
}
