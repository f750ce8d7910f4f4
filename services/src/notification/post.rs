//! Sends: from an event to a letter, each at most once per recipient on record.
//!
//! The log is the intent: an event's position moves on when its letters are sent or kept as unsent. A
//! letter is sent first and then recorded, so a crash in between sends it again, as the same mail (the
//! same file, the same message id). Never sent is worse than sent twice.

use std::time::Duration;

use lettre::message::Mailbox;
use onrush_proto::{
    Command, CustomerId, DeleteDocument, DocKey, DocumentRow, OrderId, PutDocument, Refusal, Request, Topic,
};
use tokio::sync::{OnceCell, mpsc};

use super::contact::Contact;
use super::notice::{Letter, Notice, NoticeState, Position, UNSENT};
use super::occasion::{Channel, Occasion};
use super::outlet::{FROM_DEFAULT, Outlet, SendError};
use super::story::Story;
use super::template::Template;
use super::token::Signer;
use crate::backend::Backend;
use crate::clock::now_us;
use crate::status::Rejection;

/// Notices of one order that are listed.
const LISTED_MAX: usize = 1_000;
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// Letters that wait to be heard of by the loop that tries them again.
const UNSENT_MAX: usize = 1_024;
/// Bytes of the secret that signs tokens.
const SECRET_BYTES: usize = 32;

/// How letters are sent.
#[derive(Clone, PartialEq, Debug)]
pub struct PostOptions {
    /// Who mails are from.
    pub from: String,
    /// Where the shop is, for links; empty = no links.
    pub public_url: String,
    /// Tries before a letter is dead.
    pub tries_max: u32,
    /// The pause after the first try; it grows fourfold.
    pub pause: Duration,
}

impl Default for PostOptions {
    fn default() -> Self {
        Self {
            from: FROM_DEFAULT.into(),
            public_url: String::new(),
            tries_max: 8,
            pause: Duration::from_secs(1),
        }
    }
}

/// A sender that is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("mail-from: expected a sender such as Shop <shop@example.com>, found {0:?}")]
pub struct FromError(String);

/// Sends letters.
pub struct Post {
    pub(super) backend: Backend,
    outlet: Outlet,
    from: Mailbox,
    options: PostOptions,
    signer: OnceCell<Signer>,
    unsent: mpsc::Sender<(String, Duration)>,
}

impl Post {
    /// A post, and the letters that it has to try again: id and pause.
    pub fn new(
        backend: Backend,
        outlet: Outlet,
        options: PostOptions,
    ) -> Result<(Self, mpsc::Receiver<(String, Duration)>), FromError> {
        let (unsent, again) = mpsc::channel(UNSENT_MAX);
        let from = options.from.parse().map_err(|_| FromError(options.from.clone()))?;
        Ok((Self { backend, outlet, from, options, signer: OnceCell::new(), unsent }, again))
    }

    /// Who mails are from.
    pub(super) fn from(&self) -> &Mailbox {
        &self.from
    }

    /// Where the shop is, without a slash at its end; empty if nobody said.
    pub(super) fn public_url(&self) -> &str {
        self.options.public_url.trim_end_matches('/')
    }

    /// Where mails go.
    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Tells a customer of an event, unless it was told or they do not want to hear.
    pub(super) async fn tell(
        &self,
        at: Position,
        order: OrderId,
        occasion: Occasion,
        story: Story,
    ) -> Result<(), Rejection> {
        let channel = Channel::Email;
        let Ok(customer) = story.customer_id.parse::<CustomerId>() else { return Ok(()) };
        let contact = self.contact(&customer).await?.map(|(contact, _)| contact).unwrap_or_default();
        let to = match contact.email.is_empty() {
            true => self.outlet.nowhere(customer.as_str()),
            false => Some(contact.email.clone()),
        };
        let Some(to) = to.filter(|_| contact.wants(occasion, channel)) else { return Ok(()) };
        let id = Notice::id(order, at, channel, &to);
        if self.backend.document_at(Notice::key(&id), Some(order.slot())).await?.is_some() {
            return Ok(());
        }
        let notice = Notice {
            id,
            order: order.to_string(),
            customer: customer.to_string(),
            occasion,
            channel,
            state: NoticeState::Delayed,
            tries: 0,
            problem: String::new(),
            event_us: at.time_us,
            changed_us: now_us(),
        };
        let letter = self.write(notice, to, &contact.language, story).await?;
        self.hand_over(letter, false).await.map(|_| ())
    }

    async fn write(
        &self,
        mut notice: Notice,
        to: String,
        language: &str,
        mut story: Story,
    ) -> Result<Letter, Rejection> {
        let token = self.signer().await?.token(&notice.customer, notice.occasion, notice.channel);
        let public_url = self.options.public_url.trim_end_matches('/');
        if !public_url.is_empty() {
            story.unsubscribe_url = format!("{public_url}/unsubscribe?token={token}");
        }
        story.unsubscribe_token = token;
        let template = self.template(notice.occasion, notice.channel, language).await?;
        let text = template.render(&story).or_else(|error| {
            // The shop's own did not foresee these values; the built-in one does.
            tracing::warn!(%error, occasion = notice.occasion.name(), language, "a template failed");
            Template::built_in(notice.occasion, language).render(&story)
        });
        let text = text.unwrap_or_else(|error| {
            notice.problem = error.to_string();
            super::template::Rendered { subject: String::new(), body: String::new() }
        });
        Ok(Letter { notice, to, text, unsubscribe_url: story.unsubscribe_url })
    }

    /// Sends a letter and records what became of it. `waiting` if it stands among the unsent.
    async fn hand_over(&self, mut letter: Letter, waiting: bool) -> Result<Notice, Rejection> {
        let sent = match letter.notice.problem.is_empty() || waiting {
            true => self.outlet.send(&letter, &self.from).await,
            false => Err(SendError::Never(letter.notice.problem.clone())),
        };
        let notice = &mut letter.notice;
        notice.tries += 1;
        notice.changed_us = now_us();
        (notice.state, notice.problem) = match sent {
            Ok(()) => (NoticeState::Sent, String::new()),
            Err(SendError::Later(problem)) if notice.tries < self.options.tries_max => {
                (NoticeState::Delayed, problem)
            }
            Err(SendError::Later(problem) | SendError::Never(problem)) => (NoticeState::Dead, problem),
        };
        if notice.state != NoticeState::Sent {
            tracing::warn!(
                id = notice.id,
                tries = notice.tries,
                problem = notice.problem,
                "a letter was not sent"
            );
            self.put(Letter::key(&notice.id), None, &letter, None).await?;
        }
        let notice = letter.notice;
        let order = Notice::order_of(&notice.id);
        let emit = (notice.state == NoticeState::Sent).then_some(Topic::NotificationSent);
        self.put(Notice::key(&notice.id), order, &notice, emit).await?;
        match notice.state {
            NoticeState::Sent if waiting => self.forget(&notice.id).await?,
            NoticeState::Delayed => {
                // The loop is gone only when the process ends.
                let _ = self.unsent.send((notice.id.clone(), self.pause(notice.tries))).await;
            }
            _ => {}
        }
        Ok(notice)
    }

    /// Tries an unsent letter again; `None` if there is none. A dead one only if `dead`.
    pub(super) async fn try_again(&self, id: &str, dead: bool) -> Result<Option<Notice>, Rejection> {
        let Some(row) = self.backend.document_at(Letter::key(id), None).await? else { return Ok(None) };
        let mut letter = letter(&row)?;
        if letter.notice.state == NoticeState::Dead {
            if !dead {
                return Ok(None);
            }
            // One more try, and then it is dead again.
            letter.notice.tries = letter.notice.tries.max(self.options.tries_max.saturating_sub(1));
        }
        self.hand_over(letter, true).await.map(Some)
    }

    /// The pause after so many tries.
    pub(super) fn pause(&self, tries: u32) -> Duration {
        self.options.pause.saturating_mul(4u32.saturating_pow(tries.saturating_sub(1))).min(PAUSE_MAX)
    }

    /// Unsent letters behind `after`, a page of at most `limit`. Reads the store.
    pub(super) async fn unsent(
        &self,
        after: Option<DocKey>,
        limit: usize,
    ) -> Result<Vec<DocumentRow>, Rejection> {
        self.backend.documents(UNSENT, after, limit).await
    }

    /// What was told about an order. Reads the store.
    pub(super) async fn told(&self, order: OrderId) -> Result<Vec<Notice>, Rejection> {
        let rows = self.backend.documents(&Notice::prefix(order), None, LISTED_MAX).await?;
        let read = |row: &DocumentRow| serde_json::from_slice(row.value.as_deref()?).ok();
        let mut notices: Vec<Notice> = rows.iter().filter_map(read).collect();
        notices.sort_by_key(|notice| notice.event_us);
        Ok(notices)
    }

    /// A customer's contact with its version.
    pub(super) async fn contact(&self, customer: &CustomerId) -> Result<Option<(Contact, u64)>, Rejection> {
        let Some(row) = self.backend.document_at(Contact::key(customer), None).await? else {
            return Ok(None);
        };
        Ok(Some((read(&row)?, row.version)))
    }

    /// Changes a customer's contact as it is now; its version.
    pub(super) async fn change_contact(
        &self,
        customer: &CustomerId,
        change: impl Fn(&mut Contact) -> bool,
    ) -> Result<(Contact, u64), Rejection> {
        loop {
            let (mut contact, version) = self.contact(customer).await?.unwrap_or_default();
            if !change(&mut contact) && version > 0 {
                return Ok((contact, version));
            }
            let put = PutDocument {
                key: Contact::key(customer),
                placement: None,
                value: bytes(&contact),
                expected: Some(version),
                emit: None,
            };
            match self.backend.put_document_at(put).await {
                Ok(version) => return Ok((contact, version)),
                Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
                Err(rejection) => return Err(rejection),
            }
        }
    }

    /// The template in use.
    pub(super) async fn template(
        &self,
        occasion: Occasion,
        channel: Channel,
        language: &str,
    ) -> Result<Template, Rejection> {
        let key = Template::key(occasion, channel, language);
        match self.backend.document_at(key, None).await? {
            Some(row) => read(&row),
            None => Ok(Template::built_in(occasion, language)),
        }
    }

    /// Puts the shop's own template; its version.
    pub(super) async fn put_template(&self, key: DocKey, template: &Template) -> Result<u64, Rejection> {
        let value = bytes(template);
        self.backend
            .put_document_at(PutDocument { key, placement: None, value, expected: None, emit: None })
            .await
    }

    /// What signs tokens: made once, kept with the data.
    pub(super) async fn signer(&self) -> Result<&Signer, Rejection> {
        self.signer.get_or_try_init(|| self.secret()).await
    }

    async fn secret(&self) -> Result<Signer, Rejection> {
        let key: DocKey = "secret/notification".parse().unwrap_or_default();
        loop {
            if let Some(row) = self.backend.document_at(key, None).await? {
                return Ok(Signer::new(row.value.as_deref().unwrap_or_default()));
            }
            let mut value = vec![0; SECRET_BYTES];
            aws_lc_rs::rand::fill(&mut value)
                .map_err(|_| Rejection::Internal("expected random bytes, found none".into()))?;
            let put = PutDocument { key, placement: None, value, expected: Some(0), emit: None };
            match self.backend.put_document_at(put).await {
                Ok(_) | Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
                Err(rejection) => return Err(rejection),
            }
        }
    }

    async fn put(
        &self,
        key: DocKey,
        order: Option<OrderId>,
        value: &impl serde::Serialize,
        emit: Option<Topic>,
    ) -> Result<(), Rejection> {
        let placement = order.map(OrderId::slot);
        let put = PutDocument { key, placement, value: bytes(value), expected: None, emit };
        self.backend.put_document_at(put).await.map(|_| ())
    }

    async fn forget(&self, id: &str) -> Result<(), Rejection> {
        let delete = DeleteDocument { key: Letter::key(id), placement: None, expected: None };
        match self.backend.accept(Request::unkeyed(Command::DeleteDocument(Box::new(delete)))).await {
            Ok(_) | Err(Rejection::Refused(Refusal::NotFound)) => Ok(()),
            Err(rejection) => Err(rejection),
        }
    }
}

/// An unsent letter.
pub(super) fn letter(row: &DocumentRow) -> Result<Letter, Rejection> {
    read(row)
}

fn read<T: serde::de::DeserializeOwned>(row: &DocumentRow) -> Result<T, Rejection> {
    serde_json::from_slice(row.value.as_deref().unwrap_or_default())
        .map_err(|error| Rejection::Internal(format!("{}: {error}", row.key)))
}

fn bytes(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
