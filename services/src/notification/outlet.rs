//! Where mails go: files under the data directory by default, so that a newcomer sees them; a mail
//! server if there is one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};

use super::notice::{Letter, Notice};
use super::smtp::Smtp;

/// Who mails are from where nobody says.
pub const FROM_DEFAULT: &str = "Onrush Shop <shop@onrush.invalid>";
/// The domain of customers whose address nobody knows: one that never exists (RFC 2606).
const NOWHERE: &str = "customers.invalid";

/// Where mails go.
pub enum Outlet {
    /// One file per mail.
    Files(Files),
    /// A mail server.
    Smtp(Smtp),
}

/// Mails as files.
pub struct Files {
    dir: PathBuf,
}

/// A mail that was not handed over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// Another try may help.
    #[error("{0}")]
    Later(String),
    /// Another try may help, but not before so long.
    #[error("{1}")]
    NotBefore(Duration, String),
    /// No other try helps.
    #[error("{0}")]
    Never(String),
    /// Nobody is there to take anything, now or later.
    #[error("{0}")]
    Gone(String),
}

impl Outlet {
    /// Files in a directory, which is made when the first one is written.
    pub fn files(dir: PathBuf) -> Self {
        Self::Files(Files { dir })
    }

    /// What an operator should know at start.
    pub fn notice(&self) -> String {
        match self {
            Self::Files(files) => format!("notification: mails are files in {}", files.dir.display()),
            Self::Smtp(smtp) => format!("notification: mails go to {}", smtp.peer()),
        }
    }

    /// The address of a customer who left none, if this outlet has one for them.
    pub fn nowhere(&self, customer: &str) -> Option<String> {
        // A server would only send it back.
        if matches!(self, Self::Smtp(_)) {
            return None;
        }
        if lettre::Address::from_str(customer).is_ok() {
            return Some(customer.to_owned());
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        Some(format!("{}@{NOWHERE}", customer.chars().map(plain).collect::<String>()))
    }

    /// Hands a letter over. Again is the same mail: to the same file, under the same message id.
    pub async fn send(&self, letter: &Letter, from: &Mailbox) -> Result<(), SendError> {
        let Notice { event_us, occasion, id, .. } = &letter.notice;
        let name = format!("{event_us}-{}-{id}.eml", occasion.name());
        self.deliver(&name, mail(letter, from)?).await
    }

    /// Hands a mail over; as a file it is called `name`.
    pub(super) async fn deliver(&self, name: &str, mail: Message) -> Result<(), SendError> {
        match self {
            Self::Smtp(smtp) => smtp.send(mail).await,
            Self::Files(files) => files
                .write(name, &mail.formatted())
                .map_err(|error| SendError::Later(format!("{}: {error}", files.dir.display()))),
        }
    }
}

impl Files {
    /// Whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let (part, whole) = (self.dir.join(format!("{name}.part")), self.dir.join(name));
        let mut file = private(&part)?;
        file.write_all(bytes)?;
        std::fs::rename(&part, &whole)
    }

    /// Where they are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A letter as a MIME message. Addresses and headers are built, never pasted together.
fn mail(letter: &Letter, from: &Mailbox) -> Result<Message, SendError> {
    let never = |error: &dyn std::fmt::Display| SendError::Never(error.to_string());
    let to = lettre::Address::from_str(&letter.to).map_err(|error| never(&error))?;
    let id = format!("<{}@{}>", letter.notice.id, from.email.domain());
    let mut mail = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(&letter.text.subject)
        .message_id(Some(id))
        .date(UNIX_EPOCH + Duration::from_micros(letter.notice.event_us))
        .raw_header(header("Auto-Submitted", "auto-generated"));
    if !letter.unsubscribe_url.is_empty() {
        mail = mail.raw_header(header("List-Unsubscribe", &format!("<{}>", letter.unsubscribe_url)));
        mail = mail.raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
    }
    mail.header(ContentType::TEXT_PLAIN).body(letter.text.body.clone()).map_err(|error| never(&error))
}

/// A file that nobody but its owner reads: mails hold what only their recipients may know.
fn private(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::notice::NoticeState;
    use crate::notification::occasion::{Channel, Occasion};
    use crate::notification::template::Rendered;

    pub(super) fn letter(to: &str, subject: &str) -> Letter {
        let notice = Notice {
            id: "00000000000000000000000000000007.0.9.email.01234567".into(),
            order: "00000000000000000000000000000007".into(),
            customer: "ada".into(),
            occasion: Occasion::OrderConfirmation,
            channel: Channel::Email,
            state: NoticeState::Sent,
            tries: 1,
            problem: String::new(),
            event_us: 1_700_000_000_000_000,
            changed_us: 0,
        };
        let text = Rendered { subject: subject.into(), body: "Grüße\nfrom the shop\n".into() };
        Letter { notice, to: to.into(), text, unsubscribe_url: "https://shop.example.com/u?token=t".into() }
    }

    #[tokio::test]
    async fn a_mail_is_written_once_and_its_headers_are_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let outlet = Outlet::files(dir.path().join("mail"));
        let from: Mailbox = FROM_DEFAULT.parse().unwrap();
        let evil = letter("ada@example.com", "Tea\r\nBcc: eve@example.com");
        for _ in 0..2 {
            outlet.send(&evil, &from).await.unwrap();
        }
        let files: Vec<_> = std::fs::read_dir(dir.path().join("mail")).unwrap().flatten().collect();
        assert_eq!(files.len(), 1);
        let text = std::fs::read_to_string(files[0].path()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> = head
            .lines()
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split_once(':').unwrap().0)
            .collect();
        assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("bcc")), "{head}");
        for name in ["From", "To", "Subject", "Message-ID", "Date", "Auto-Submitted", "List-Unsubscribe"] {
            assert_eq!(names.iter().filter(|found| **found == name).count(), 1, "{name}: {head}");
        }
        assert!(head.contains("To: ada@example.com") && head.contains("Tue, 14 Nov 2023"), "{head}");
        assert!(body.contains("from the shop"), "{body}");
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_never_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let outlet = Outlet::files(dir.path().into());
        let from: Mailbox = FROM_DEFAULT.parse().unwrap();
        for to in ["", "ada", "ada@example.com\r\nBcc: eve@example.com"] {
            let sent = outlet.send(&letter(to, "x"), &from).await;
            assert!(matches!(sent, Err(SendError::Never(_))), "{to:?}");
        }
        assert_eq!(outlet.nowhere("ada").unwrap(), "ada@customers.invalid");
        assert_eq!(outlet.nowhere("a/b c").unwrap(), "a-b-c@customers.invalid");
        assert_eq!(outlet.nowhere("ada@example.com").unwrap(), "ada@example.com");
    }
}
