//! One try to send a letter, and what is recorded of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use onrush_proto::{CustomerId, Topic};

use super::delivery;
use super::notice::{Letter, Notice, NoticeState};
use super::occasion::Channel;
use super::outlet::SendError;
use super::post::{self, Post};
use super::twilio::Text;
use crate::clock::now_us;
use crate::status::Rejection;

/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

impl Post {
    /// Sends a letter by its channel. Again is the same one, as far as the channel can tell.
    async fn send(&self, letter: &Letter, again: bool) -> Result<Result<(), SendError>, Rejection> {
        let Notice { id, channel, tries, event_us, .. } = &letter.notice;
        match channel {
            Channel::Email => Ok(self.outlets.mail.send(letter, &self.from).await),
            Channel::Push => self.push(letter).await,
            Channel::Sms => {
                let Some(twilio) = self.outlets.sms.as_ref() else {
                    let unset = "twilio: expected an account, found no TWILIO_SID";
                    return Ok(Err(SendError::Later(unset.into())));
                };
                if !self.may_text(letter).await? {
                    return Ok(Err(SendError::Gone("sms: the number was taken off".into())));
                }
                let text = Text {
                    to: &letter.to,
                    body: &letter.text.body,
                    callback: delivery::callback_url(self.public_url(), id),
                    event_us: *event_us,
                    again: again || *tries > 0 || *event_us < self.started_us,
                };
                Ok(twilio.send(&text).await)
            }
        }
    }

    /// True if the customer still wants texts to the number of the letter.
    async fn may_text(&self, letter: &Letter) -> Result<bool, Rejection> {
        let Ok(customer) = letter.notice.customer.parse::<CustomerId>() else { return Ok(false) };
        let contact = self.contact(&customer).await?;
        Ok(contact.is_some_and(|(contact, _)| contact.texted() == Some(letter.to.as_str())))
    }

    /// Sends a letter to a browser, if it is still there.
    async fn push(&self, letter: &Letter) -> Result<Result<(), SendError>, Rejection> {
        let gone = || Ok(Err(SendError::Gone("push: the browser was taken off".into())));
        let Ok(customer) = letter.notice.customer.parse::<CustomerId>() else { return gone() };
        let browsers = self.subscriptions(&customer).await?;
        match browsers.iter().find(|browser| browser.id == letter.to) {
            Some(browser) => Ok(self.outlets.push.send(letter, browser, self.identity().await?).await),
            None => gone(),
        }
    }

    /// Nobody takes anything there any more: nothing is sent there again.
    async fn give_up(&self, notice: &Notice, to: &str) -> Result<(), Rejection> {
        match (notice.channel, notice.customer.parse::<CustomerId>()) {
            (Channel::Sms, _) => self.stop_texts(&notice.customer, to).await,
            (Channel::Push, Ok(customer)) => self.unsubscribe_browser(&customer, to).await,
            (Channel::Push, Err(_)) | (Channel::Email, _) => Ok(()),
        }
    }

    /// Sends a letter and records what became of it. `waiting` if it stands among the unsent, `again` if it may
    /// have been sent before.
    pub(super) async fn hand_over(
        &self,
        mut letter: Letter,
        waiting: bool,
        again: bool,
    ) -> Result<Notice, Rejection> {
        let sent = match letter.notice.problem.is_empty() || waiting {
            true => self.send(&letter, again).await?,
            false => Err(SendError::Never(letter.notice.problem.clone())),
        };
        if matches!(sent, Err(SendError::Gone(_))) {
            self.give_up(&letter.notice, &letter.to).await?;
        }
        let pause = self.judge(&mut letter.notice, sent);
        if matches!(letter.notice.state, NoticeState::Delayed | NoticeState::Dead) {
            self.put(Letter::key(&letter.notice.id), None, &letter, None).await?;
        }
        let notice = letter.notice;
        let order = Notice::order_of(&notice.id);
        let emit = (notice.state == NoticeState::Sent).then_some(Topic::NotificationSent);
        self.put(Notice::key(&notice.id), order, &notice, emit).await?;
        match notice.state {
            NoticeState::Delayed => {
                // The loop is gone only when the process ends.
                let _ = self.unsent.send((notice.id.clone(), pause)).await;
            }
            NoticeState::Sent | NoticeState::Unreachable if waiting => self.forget(&notice.id).await?,
            _ => {}
        }
        Ok(notice)
    }

    /// Notes what came of a try; the pause before the next one, if there is to be one.
    fn judge(&self, notice: &mut Notice, sent: Result<(), SendError>) -> Duration {
        notice.tries += 1;
        notice.changed_us = now_us();
        let mut pause = self.pause(notice.tries);
        let again = match notice.tries < self.options.tries_max {
            true => NoticeState::Delayed,
            false => NoticeState::Dead,
        };
        (notice.state, notice.problem) = match sent {
            Ok(()) => (NoticeState::Sent, String::new()),
            Err(SendError::Later(problem)) => (again, problem),
            Err(SendError::NotBefore(asked, problem)) => {
                pause = pause.max(asked).min(PAUSE_MAX);
                (again, problem)
            }
            Err(SendError::Never(problem)) => (NoticeState::Dead, problem),
            Err(SendError::Gone(problem)) => (NoticeState::Unreachable, problem),
        };
        self.outcomes[notice.state as usize].fetch_add(1, Ordering::Relaxed);
        if notice.state != NoticeState::Sent {
            let Notice { id, tries, problem, .. } = &*notice;
            tracing::warn!(id, tries, problem, "a letter was not sent");
        }
        pause
    }

    /// Tries an unsent letter again; `None` if there is none. A dead one only if `dead`.
    pub(super) async fn try_again(&self, id: &str, dead: bool) -> Result<Option<Notice>, Rejection> {
        let Some(row) = self.backend.document_at(Letter::key(id), None).await? else { return Ok(None) };
        let mut letter = post::letter(&row)?;
        if letter.notice.state == NoticeState::Dead {
            if !dead {
                return Ok(None);
            }
            // One more try, and then it is dead again.
            letter.notice.tries = letter.notice.tries.max(self.options.tries_max.saturating_sub(1));
        }
        self.hand_over(letter, true, true).await.map(Some)
    }

    /// The pause after so many tries.
    pub(super) fn pause(&self, tries: u32) -> Duration {
        self.options.pause.saturating_mul(4u32.saturating_pow(tries.saturating_sub(1))).min(PAUSE_MAX)
    }
}
