//! What Twilio says of a text after it took it. Such calls are signed, come in any order and more than
//! once: the first that says how it ended counts.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use onrush_proto::{CustomerId, PutDocument, Refusal};
use serde::Deserialize;
use utoipa::ToSchema;

use super::notice::{Notice, NoticeState};
use super::post::{self, Post};
use super::twilio::{self, Outcome, is_signed};
use crate::clock::now_us;
use crate::http::{BODY_BYTES_MAX, Problem};
use crate::status::{Denial, Rejection};

/// Where Twilio calls.
const PATH: &str = "/sms/status";
const SIGNATURE: &str = "X-Twilio-Signature";

/// The URL that Twilio is to call about a notification; `None` if nobody said where the shop is.
pub(super) fn callback_url(public_url: &str, id: &str) -> Option<String> {
    let base = public_url.trim_end_matches('/');
    (!base.is_empty()).then(|| format!("{base}{PATH}?notification={id}"))
}

/// What is read of Twilio's form; its signature covers all of it.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes the form; it is read field by field")]
#[serde(rename_all = "PascalCase")]
pub(super) struct TextStatus {
    /// delivered, undelivered, failed; other states are on the way.
    message_status: String,
    /// Why it failed.
    error_code: Option<String>,
    /// The number that the text went to.
    to: String,
}

/// What became of a text message: Twilio's call, signed by the account's token.
#[utoipa::path(
    post,
    path = "/sms/status",
    tag = "notification",
    params(("notification" = String, Query, description = "The id of the notification, as Twilio was told")),
    request_body(content = TextStatus, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 204, description = "Heard"),
        (status = 401, description = "Not signed by Twilio", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn hear(
    State(post): State<Arc<Post>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Rejection> {
    let too_large =
        |_| Denial::new("MESSAGE_TOO_LARGE", format!("expected at most {BODY_BYTES_MAX} bytes, found more"));
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(too_large)?;
    let form: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let query = query.unwrap_or_default();
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // The URL as Twilio was told, not as this request claims.
    let url = format!("{}{PATH}?{query}", post.public_url());
    let token = post.outlets().sms.as_ref().map(|twilio| twilio.token());
    if !token.is_some_and(|token| is_signed(token, &url, &form, signature)) {
        let message = "X-Twilio-Signature: expected Twilio's signature of this call, found none";
        return Err(Denial::new("UNAUTHENTICATED", message).of(SIGNATURE).into());
    }
    let said = |name: &str| form.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    let code = said("ErrorCode").and_then(|code| code.parse().ok()).unwrap_or_default();
    let outcome = twilio::outcome(said("MessageStatus").unwrap_or_default(), code);
    if let Some(id) = query.strip_prefix("notification=") {
        post.heard(id, &outcome, said("To").unwrap_or_default()).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Post {
    /// What became of a text that was sent. One that is not on record as sent is left as it is: whoever
    /// sends it looks for it before it is sent again.
    async fn heard(&self, id: &str, outcome: &Outcome, to: &str) -> Result<(), Rejection> {
        let (state, problem) = match outcome {
            Outcome::Open => return Ok(()),
            Outcome::Delivered => (NoticeState::Delivered, String::new()),
            Outcome::Failed { code } => {
                (NoticeState::Unreachable, format!("twilio: failed with {}", twilio::named(*code)))
            }
        };
        let Some(order) = Notice::order_of(id) else { return Ok(()) };
        let key = Notice::key(id);
        loop {
            let Some(row) = self.backend.document_at(key, Some(order.slot())).await? else { return Ok(()) };
            let notice: Notice = post::read(&row)?;
            if notice.state != NoticeState::Sent {
                return Ok(());
            }
            if *outcome == (Outcome::Failed { code: twilio::STOPPED }) {
                self.stop_texts(&notice.customer, to).await?;
            }
            let (problem, changed_us) = (problem.clone(), now_us());
            let value = post::bytes(&Notice { state, problem, changed_us, ..notice });
            let put = PutDocument {
                key,
                placement: Some(order.slot()),
                value,
                expected: Some(row.version),
                emit: None,
            };
            match self.backend.put_document_at(put).await {
                Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
                put => return put.map(|_| ()),
            }
        }
    }

    /// The carrier sends nothing to this number any more: neither do we.
    pub(super) async fn stop_texts(&self, customer: &str, phone: &str) -> Result<(), Rejection> {
        let Ok(customer) = customer.parse::<CustomerId>() else { return Ok(()) };
        tracing::info!(%customer, "a number called text messages off at its carrier");
        self.change_contact(&customer, |contact| contact.stop(phone)).await.map(|_| ())
    }
}
