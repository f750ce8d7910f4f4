//! Sends: from an event to a letter, each at most once per recipient on record.
//!
//! The log is the intent: an event's position moves on when its letters are sent or kept as unsent. A
//! letter is sent first and then recorded, so a crash in between sends it again, as the same mail (the
//! same file, the same message id). Never sent is worse than sent twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use lettre::message::Mailbox;
use onrush_proto::{
    Command, CustomerId, DeleteDocument, DocKey, DocumentRow, OrderId, PutDocument, Refusal, Request, Topic,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OnceCell, mpsc};

use super::built_in;
use super::contact::{Account, Contact};
use super::notice::{Letter, Notice, NoticeState, Position, UNSENT};
use super::occasion::{Channel, Occasion};
use super::outlet::FROM_DEFAULT;
use super::outlets::Outlets;
use super::push::{self, Identity};
use super::story::Story;
use super::template::Template;
use super::token::Signer;
use crate::backend::Backend;
use crate::clock::now_us;
use crate::status::Rejection;

/// Notices of one order that are listed.
const LISTED_MAX: usize = 1_000;
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
    pub(super) outlets: Outlets,
    pub(super) from: Mailbox,
    pub(super) options: PostOptions,
    /// What happened before may have been told by an earlier process.
    pub(super) started_us: u64,
    signer: OnceCell<Signer>,
    identity: OnceCell<Identity>,
    pub(super) unsent: mpsc::Sender<(String, Duration)>,
    pub(super) outcomes: [AtomicU64; NoticeState::ALL.len()],
}

impl Post {
    /// A post, and the letters that it has to try again: id and pause.
    pub fn new(
        backend: Backend,
        outlets: Outlets,
        options: PostOptions,
    ) -> Result<(Self, mpsc::Receiver<(String, Duration)>), FromError> {
        let (unsent, again) = mpsc::channel(UNSENT_MAX);
        let from = options.from.parse().map_err(|_| FromError(options.from.clone()))?;
        let post = Self {
            backend,
            outlets,
            from,
            options,
            started_us: now_us(),
            signer: OnceCell::new(),
            identity: OnceCell::new(),
            unsent,
            outcomes: Default::default(),
        };
        Ok((post, again))
    }

    /// By which ways letters go.
    pub fn outlets(&self) -> &Outlets {
        &self.outlets
    }

    /// Where the shop is, without a slash at its end; empty if nobody said.
    pub(super) fn public_url(&self) -> &str {
        self.options.public_url.trim_end_matches('/')
    }

    /// How tries ended since the start, by the state of the letter.
    pub(crate) fn letters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |state: NoticeState| self.outcomes[state as usize].load(Ordering::Relaxed);
        // What a try never comes to: the carrier says it later.
        let tried = NoticeState::ALL.into_iter().filter(|state| *state != NoticeState::Delivered);
        tried.map(move |state| (state.name(), count(state)))
    }

    /// Tells a customer of an event, by each way that they gave and want. `again` if that was begun before, and
    /// something may have been sent.
    pub(super) async fn tell(
        &self,
        at: Position,
        order: OrderId,
        (occasion, again): (Occasion, bool),
        story: Story,
    ) -> Result<(), Rejection> {
        let Ok(customer) = story.customer_id.parse::<CustomerId>() else { return Ok(()) };
        let contact = self.known(&customer).await?;
        for channel in Channel::ALL.into_iter().filter(|channel| contact.wants(occasion, *channel)) {
            for to in self.recipients(&customer, &contact, channel).await? {
                let id = Notice::id(order, at, channel, &to);
                if self.backend.document_at(Notice::key(&id), Some(order.slot())).await?.is_some() {
                    // Told already.
                    continue;
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
                let letter = self.write(notice, to, &contact.language, story.clone()).await?;
                self.hand_over(letter, false, again).await?;
            }
        }
        Ok(())
    }

    /// Where a customer is reached by a channel; nowhere if they gave nothing.
    async fn recipients(
        &self,
        customer: &CustomerId,
        contact: &Contact,
        channel: Channel,
    ) -> Result<Vec<String>, Rejection> {
        let one = match channel {
            Channel::Email if contact.email.is_empty() => self.outlets.mail.nowhere(customer.as_str()),
            Channel::Email => Some(contact.email.clone()),
            Channel::Sms => self.outlets.sms.as_ref().and(contact.texted()).map(str::to_owned),
            Channel::Push => {
                let browsers = self.subscriptions(customer).await?;
                return Ok(browsers.into_iter().map(|browser| browser.id).collect());
            }
        };
        Ok(one.into_iter().collect())
    }

    async fn write(
        &self,
        mut notice: Notice,
        to: String,
        language: &str,
        mut story: Story,
    ) -> Result<Letter, Rejection> {
        let token = self.signer().await?.token(&notice.customer, notice.occasion, notice.channel);
        let public_url = self.public_url();
        if !public_url.is_empty() {
            story.unsubscribe_url = format!("{public_url}/unsubscribe?token={token}");
        }
        story.unsubscribe_token = token;
        let (occasion, channel) = (notice.occasion, notice.channel);
        let template = self.template(occasion, channel, language).await?;
        let text = template.render(channel, &story).or_else(|error| {
            // The shop's own did not foresee these values; the built-in one does.
            tracing::warn!(%error, occasion = occasion.name(), channel = channel.name(), language, "a template failed");
            built_in::template(occasion, channel, language).render(channel, &story)
        });
        let text = text.unwrap_or_else(|error| {
            notice.problem = error.to_string();
            super::template::Rendered { subject: String::new(), body: String::new() }
        });
        Ok(Letter { notice, to, text, unsubscribe_url: story.unsubscribe_url })
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
        self.document(Contact::key(customer)).await
    }

    /// A customer's contact. An address that it lacks their account has, if they have one.
    async fn known(&self, customer: &CustomerId) -> Result<Contact, Rejection> {
        let kept = self.contact(customer).await?.map(|(contact, _)| contact);
        let said_nothing = kept.is_none();
        let mut contact = kept.unwrap_or_default();
        if contact.email.is_empty()
            && let Ok(key) = format!("users/{customer}").parse()
            && let Some((account, _)) = self.document::<Account>(key).await?
        {
            contact.email = account.email;
            if said_nothing && let Some(language) = account.language.as_deref().and_then(|tag| tag.get(..2)) {
                contact.language = language.to_ascii_lowercase();
            }
        }
        Ok(contact)
    }

    /// Changes a customer's contact as it is now; its version.
    pub(super) async fn change_contact(
        &self,
        customer: &CustomerId,
        change: impl Fn(&mut Contact) -> bool,
    ) -> Result<(Contact, u64), Rejection> {
        self.change(Contact::key(customer), |contact| Ok(change(contact))).await
    }

    /// A document with its version.
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        key: DocKey,
    ) -> Result<Option<(T, u64)>, Rejection> {
        let Some(row) = self.backend.document_at(key, None).await? else { return Ok(None) };
        Ok(Some((read(&row)?, row.version)))
    }

    /// Changes a document as it is now, unless `change` says that nothing changes; its version.
    pub(super) async fn change<T: Default + Serialize + DeserializeOwned>(
        &self,
        key: DocKey,
        change: impl Fn(&mut T) -> Result<bool, Rejection>,
    ) -> Result<(T, u64), Rejection> {
        loop {
            let (mut value, version) = self.document::<T>(key).await?.unwrap_or_default();
            if !change(&mut value)? && version > 0 {
                return Ok((value, version));
            }
            let put = PutDocument {
                key,
                placement: None,
                value: bytes(&value),
                expected: Some(version),
                emit: None,
            };
            match self.backend.put_document_at(put).await {
                Ok(version) => return Ok((value, version)),
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
            None => Ok(built_in::template(occasion, channel, language)),
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
        let make = || {
            let mut value = vec![0; SECRET_BYTES];
            aws_lc_rs::rand::fill(&mut value).map(|()| value)
        };
        let signer = async || Ok(Signer::new(&self.kept("secret/notification", make).await?));
        self.signer.get_or_try_init(signer).await
    }

    /// Who we are to push services: made once, kept with the data, since browsers subscribe to it.
    pub(super) async fn identity(&self) -> Result<&Identity, Rejection> {
        let identity = async || {
            let kept = self.kept("secret/vapid", push::generate).await?;
            let wrong = || Rejection::Internal("secret/vapid: expected a key pair, found none".into());
            Identity::read(&kept, self.from.email.as_ref()).ok_or_else(wrong)
        };
        self.identity.get_or_try_init(identity).await
    }

    /// A secret: whoever needs it first makes it.
    async fn kept(
        &self,
        key: &str,
        make: impl Fn() -> Result<Vec<u8>, Unspecified>,
    ) -> Result<Vec<u8>, Rejection> {
        let key: DocKey = key.parse().unwrap_or_default();
        loop {
            if let Some(row) = self.backend.document_at(key, None).await? {
                return Ok(row.value.unwrap_or_default().to_vec());
            }
            let value =
                make().map_err(|_| Rejection::Internal("expected random bytes, found none".into()))?;
            let put = PutDocument { key, placement: None, value, expected: Some(0), emit: None };
            match self.backend.put_document_at(put).await {
                Ok(_) | Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
                Err(rejection) => return Err(rejection),
            }
        }
    }

    pub(super) async fn put(
        &self,
        key: DocKey,
        order: Option<OrderId>,
        value: &impl Serialize,
        emit: Option<Topic>,
    ) -> Result<(), Rejection> {
        let placement = order.map(OrderId::slot);
        let put = PutDocument { key, placement, value: bytes(value), expected: None, emit };
        self.backend.put_document_at(put).await.map(|_| ())
    }

    pub(super) async fn forget(&self, id: &str) -> Result<(), Rejection> {
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

pub(super) fn read<T: DeserializeOwned>(row: &DocumentRow) -> Result<T, Rejection> {
    serde_json::from_slice(row.value.as_deref().unwrap_or_default())
        .map_err(|error| Rejection::Internal(format!("{}: {error}", row.key)))
}

pub(super) fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
