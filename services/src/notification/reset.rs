//! Mails with a token for a new password.
//!
//! The user service says on `user.password_reset` who wants one; no event and no document holds a token.
//! It is made here for each mail that is written, its hash goes into the wish (`resets/<user>`), and the
//! mail alone has it. A mail that cannot be sent is written anew, with another token, until the wish
//! lapses. Nobody mutes these mails, and no template of the shop's own tells them: whoever may write
//! templates must not get at tokens.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use onrush_proto::{DocKey, PutDocument, Refusal};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::outlet::SendError;
use super::post::Post;
use super::template::render;
use crate::retry::Retry;
use crate::status::Rejection;

/// The user service's collection.
const RESETS: &str = "resets/";
/// What a token begins with, as the user service reads it.
const PREFIX: &str = "onrush_pr_";
/// Wishes read at once at start.
const PAGE: usize = 1_024;
/// Longest pause between two mails for one wish.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// A wish for a new password, as the user service keeps it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Reset {
    user: String,
    email: String,
    name: String,
    #[serde(default)]
    language: String,
    request: String,
    expires_s: u64,
    #[serde(default)]
    secret_hash: String,
    /// Mails that were begun.
    #[serde(default)]
    tries: u32,
    /// True once one was handed over.
    #[serde(default)]
    sent: bool,
}

/// What became of a try.
enum Tried {
    /// There is nothing more to do.
    Done,
    /// Another try may help, after a pause.
    Later,
}

/// The values of the mail.
#[derive(Serialize)]
struct ResetStory<'a> {
    name: &'a str,
    email: &'a str,
    token: &'a str,
    /// Empty if nobody said where the shop is.
    url: String,
    minutes: u64,
}

/// The words of a language.
struct Words {
    subject: &'static str,
    text: &'static str,
    html: &'static str,
}

const ENGLISH: Words = Words {
    subject: "Choose a new password",
    text: include_str!("templates/password_reset.en.txt"),
    html: include_str!("templates/password_reset.en.html"),
};
const GERMAN: Words = Words {
    subject: "Ein neues Passwort wählen",
    text: include_str!("templates/password_reset.de.txt"),
    html: include_str!("templates/password_reset.de.html"),
};

/// Answers a wish: one mail now, or later ones until it lapses.
pub(super) async fn answer(post: &Arc<Post>, wish: &Reset) {
    if let Tried::Later = at_last(post, wish).await {
        tokio::spawn(go_on(post.clone(), wish.clone()));
    }
}

/// Goes on with wishes that an earlier process left without a mail.
pub(super) async fn find_open(post: Arc<Post>) {
    let (mut after, mut retry): (Option<DocKey>, _) = (None, Retry::default());
    loop {
        let rows = match post.backend.documents(RESETS, after, PAGE).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "expected the open password resets");
                tokio::time::sleep(retry.pause()).await;
                continue;
            }
        };
        let Some(last) = rows.last() else { return };
        after = Some(last.key);
        for row in &rows {
            let wish: Option<Reset> =
                row.value.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
            if let Some(wish) = wish.filter(|wish| wish.tries > 0 && wish.is_open()) {
                tokio::spawn(go_on(post.clone(), wish));
            }
        }
    }
}

async fn go_on(post: Arc<Post>, wish: Reset) {
    let mut tries = wish.tries;
    loop {
        tries += 1;
        tokio::time::sleep(post.pause(tries).min(PAUSE_MAX)).await;
        if let Tried::Done = at_last(&post, &wish).await {
            return;
        }
    }
}

/// One try, however long it takes until the engine can be asked.
async fn at_last(post: &Post, wish: &Reset) -> Tried {
    let mut retry = Retry::default();
    loop {
        match attempt(post, wish).await {
            Ok(tried) => return tried,
            Err(rejection) => tracing::warn!(user = wish.user, %rejection, "a password reset waits"),
        }
        tokio::time::sleep(retry.pause()).await;
    }
}

async fn attempt(post: &Post, wish: &Reset) -> Result<Tried, Rejection> {
    let Some((current, version)) = open(post, wish).await? else { return Ok(Tried::Done) };
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret)
        .map_err(|_| Rejection::Internal("expected random bytes, found none".into()))?;
    let Ok(user) = Uuid::parse_str(&current.user) else { return Ok(Tried::Done) };
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([user.as_bytes().as_slice(), &secret].concat()));
    let secret_hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, &secret));
    let begun = Reset { secret_hash, tries: current.tries + 1, ..current };
    // Whoever else changed it wrote the mail, granted the wish, or replaced it.
    let Some(version) = put(post, &begun, version).await? else { return Ok(Tried::Done) };
    let name = format!("{}-password_reset-{}-{}.eml", begun.expires_s, begun.request, begun.tries);
    let sent = match begun.mail(&token, post) {
        Ok(mail) => post.outlets().mail.deliver(&name, mail).await,
        Err(error) => Err(error),
    };
    match sent {
        Ok(()) => {
            note_sent(post, Reset { sent: true, ..begun }, version).await;
            Ok(Tried::Done)
        }
        Err(SendError::Later(problem) | SendError::NotBefore(_, problem)) => {
            tracing::warn!(user = begun.user, problem, "a mail for a new password waits");
            Ok(Tried::Later)
        }
        Err(SendError::Never(problem) | SendError::Gone(problem)) => {
            tracing::warn!(user = begun.user, problem, "a mail for a new password cannot be sent");
            Ok(Tried::Done)
        }
    }
}

/// Puts down that the mail is sent. Another try would replace the token that is in it.
async fn note_sent(post: &Post, reset: Reset, version: u64) {
    let mut retry = Retry::default();
    while let Err(rejection) = put(post, &reset, version).await {
        tracing::warn!(user = reset.user, %rejection, "a mail for a new password is sent, and not on record");
        if reset.left() == Duration::ZERO {
            return;
        }
        tokio::time::sleep(retry.pause()).await;
    }
}

/// The wish as it stands, if it still waits for a mail.
async fn open(post: &Post, wish: &Reset) -> Result<Option<(Reset, u64)>, Rejection> {
    let Some(row) = post.backend.document_at(wish.key(), None).await? else { return Ok(None) };
    let current: Reset = serde_json::from_slice(row.value.as_deref().unwrap_or_default())
        .map_err(|error| Rejection::Internal(format!("{}: {error}", row.key)))?;
    let waits = current.request == wish.request && current.is_open();
    Ok(waits.then_some((current, row.version)))
}

/// The new version; `None` if somebody else was first.
async fn put(post: &Post, reset: &Reset, expected: u64) -> Result<Option<u64>, Rejection> {
    let value = serde_json::to_vec(reset).unwrap_or_default();
    let put = PutDocument { key: reset.key(), placement: None, value, expected: Some(expected), emit: None };
    match post.backend.put_document_at(put).await {
        Ok(version) => Ok(Some(version)),
        Err(Rejection::Refused(Refusal::VersionMismatch { .. } | Refusal::NotFound)) => Ok(None),
        Err(rejection) => Err(rejection),
    }
}

impl Reset {
    fn key(&self) -> DocKey {
        // The prefix and the id of a user always fit.
        format!("{RESETS}{}", self.user).parse().unwrap_or_default()
    }

    fn is_open(&self) -> bool {
        !self.sent && self.left() > Duration::ZERO
    }

    /// How long the wish has left.
    fn left(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(self.expires_s).saturating_sub(now)
    }

    fn mail(&self, token: &str, post: &Post) -> Result<Message, SendError> {
        let never = |error: &dyn std::fmt::Display| SendError::Never(error.to_string());
        let url = match post.public_url() {
            "" => String::new(),
            url => format!("{url}/password-reset?token={token}"),
        };
        let minutes = self.left().as_secs().div_ceil(60);
        let story = ResetStory { name: &self.name, email: &self.email, token, url, minutes };
        let words = if self.language.starts_with("de") { &GERMAN } else { &ENGLISH };
        let text = render("text", words.text, &story).map_err(|error| never(&error))?;
        let html = render("html", words.html, &story).map_err(|error| never(&error))?;
        let to = self.email.parse().map_err(|error| never(&error))?;
        let from = &post.from;
        Message::builder()
            .from(from.clone())
            .to(Mailbox::new(None, to))
            .subject(words.subject)
            .message_id(Some(format!("<{}.{}@{}>", self.request, self.tries, from.email.domain())))
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".into(),
            ))
            .multipart(MultiPart::alternative_plain_html(text, html))
            .map_err(|error| never(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_tell_name_token_and_time_and_a_name_is_no_markup() {
        for (words, url) in [(&ENGLISH, ""), (&GERMAN, "https://shop.example.com/password-reset?token=t0k")] {
            let name = "<b>Eve</b>";
            let story =
                ResetStory { name, email: "eve@example.com", token: "t0k", url: url.into(), minutes: 30 };
            let text = render("text", words.text, &story).unwrap();
            let html = render("html", words.html, &story).unwrap();
            assert!(text.contains(name) && !html.contains("<b>") && html.contains("&lt;b&gt;"), "{html}");
            for part in [&text, &html] {
                assert!(part.contains("t0k") && part.contains("30"), "{part}");
                assert_eq!(part.contains("https:"), !url.is_empty(), "{part}");
            }
        }
    }
}
