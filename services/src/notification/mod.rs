//! `onrush.notification.v1.NotificationService`, and what stands behind it: a subscriber that turns
//! events into letters, templates, and an outlet that sends them.

mod built_in;
mod contact;
mod delivery;
mod notice;
mod occasion;
pub mod outlet;
mod outlets;
mod parts;
mod post;
pub mod push;
mod reset;
pub mod routes;
mod sending;
pub mod smtp;
mod story;
mod subscription;
mod template;
mod token;
pub mod twilio;
pub mod worker;

use std::sync::Arc;

use onrush_grpc::notification::v1 as wire;
use onrush_grpc::notification::v1::notification_service_server::{
    NotificationService, NotificationServiceServer,
};
use onrush_grpc::notification::v1::{
    DeletePushSubscriptionRequest, DeletePushSubscriptionResponse, GetContactRequest, GetContactResponse,
    GetPushKeyRequest, GetPushKeyResponse, ListDeadLettersRequest, ListDeadLettersResponse,
    ListNotificationsRequest, ListNotificationsResponse, ListPushSubscriptionsRequest,
    ListPushSubscriptionsResponse, PreviewTemplateRequest, PreviewTemplateResponse, PutContactRequest,
    PutContactResponse, PutPushSubscriptionRequest, PutPushSubscriptionResponse, PutTemplateRequest,
    PutTemplateResponse, ReplayDeadLetterRequest, ReplayDeadLetterResponse, SetPreferenceRequest,
    SetPreferenceResponse, UnsubscribeRequest, UnsubscribeResponse,
};
use onrush_proto::DocKey;
use tonic::{Request, Response, Status};

pub use contact::Contact;
pub(crate) use contact::is_e164;
pub use occasion::{Channel, Occasion};
pub use outlets::Outlets;
pub use post::{FromError, Post, PostOptions};

use crate::access::{Call, Gate};
use crate::clock::now_us;
use crate::field::{self, FieldError, shown};
use crate::page::{self, Listing};
use crate::serve::MESSAGE_BYTES_MAX;
use crate::status::{Denial, Rejection};
use notice::{Notice, NoticeState};
use story::Story;
use subscription::Subscription;
use template::{BODY_BYTES_MAX, SUBJECT_BYTES_MAX, Template};

/// The handlers.
pub struct Notifications {
    post: Arc<Post>,
    gate: Arc<Gate>,
}

impl Notifications {
    /// The service, ready to be served.
    pub fn server(post: Arc<Post>, gate: Arc<Gate>) -> NotificationServiceServer<Self> {
        NotificationServiceServer::new(Self { post, gate }).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    async fn dead_letters(&self, body: ListDeadLettersRequest) -> Result<ListDeadLettersResponse, Rejection> {
        let limit = page::size(body.page_size)?;
        let listing = Listing { name: "dead-letters", filters: &[] };
        let mut after: Option<DocKey> = match listing.cursor(&body.page_token)? {
            None => None,
            Some(cursor) => {
                let key = std::str::from_utf8(&cursor).ok().and_then(|key| key.parse().ok());
                Some(key.ok_or_else(|| page::bad_token(&body.page_token))?)
            }
        };
        let mut notifications = Vec::new();
        loop {
            let rows = self.post.unsent(after, limit).await?;
            for row in &rows {
                let notice = post::letter(row)?.notice;
                after = Some(row.key);
                if notice.state == NoticeState::Dead {
                    notifications.push(notice.message());
                }
                if notifications.len() == limit {
                    let next_page_token = listing.token(row.key.as_bytes());
                    return Ok(ListDeadLettersResponse { notifications, next_page_token });
                }
            }
            if rows.len() < limit {
                return Ok(ListDeadLettersResponse { notifications, next_page_token: String::new() });
            }
        }
    }

    async fn preview(&self, body: PreviewTemplateRequest) -> Result<PreviewTemplateResponse, Rejection> {
        let (occasion, channel) = (Occasion::read(body.occasion)?, Channel::read(body.channel)?);
        let language = occasion::language("language", &body.language)?;
        let template = match (body.subject.is_empty(), body.body.is_empty()) {
            (true, true) => self.post.template(occasion, channel, &language).await?,
            _ => own(channel, body.subject, body.body)?,
        };
        let rendered = template.render(channel, &Story::example()).map_err(bad_template)?;
        Ok(PreviewTemplateResponse { subject: rendered.subject, body: rendered.body })
    }
}

#[tonic::async_trait]
impl NotificationService for Notifications {
    async fn put_contact(
        &self,
        request: Request<PutContactRequest>,
    ) -> Result<Response<PutContactResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::PutContact)?;
        let body = request.into_inner();
        let customer = caller.customer(&body.customer_id)?;
        let email = contact::email("email", &body.email)?;
        let language = occasion::language("language", &body.language)?;
        let phone = contact::phone("phone", &body.phone, body.sms_consent)?;
        let changed = self.post.change_contact(&customer, |contact| {
            let before = contact.clone();
            (contact.email, contact.language) = (email.clone(), language.clone());
            contact.agree(&phone, now_us());
            *contact != before
        });
        Ok(Response::new(PutContactResponse { version: changed.await?.1 }))
    }

    async fn get_contact(
        &self,
        request: Request<GetContactRequest>,
    ) -> Result<Response<GetContactResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::GetContact)?;
        let customer = caller.named(&request.get_ref().customer_id)?;
        let missing = || Denial::new("UNKNOWN_CONTACT", "nobody said how to reach this customer");
        let found = match caller.reaches(&customer) {
            true => self.post.contact(&customer).await?,
            false => None,
        };
        let (contact, version) = found.ok_or_else(|| missing().of("customer_id"))?;
        let muted = muted(&contact);
        let Contact { email, language, phone, phone_consent_us, phone_stopped, .. } = contact;
        Ok(Response::new(GetContactResponse {
            email,
            language,
            muted,
            version,
            phone,
            sms_consent_us: field::time_us(phone_consent_us),
            sms_stopped: phone_stopped,
        }))
    }

    async fn set_preference(
        &self,
        request: Request<SetPreferenceRequest>,
    ) -> Result<Response<SetPreferenceResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::SetPreference)?;
        let body = request.into_inner();
        let customer = caller.customer(&body.customer_id)?;
        let (occasion, channel) = (Occasion::read(body.occasion)?, Channel::read(body.channel)?);
        let set = |contact: &mut Contact| contact.set(occasion, channel, body.wanted);
        let (contact, _) = self.post.change_contact(&customer, set).await?;
        Ok(Response::new(SetPreferenceResponse { muted: muted(&contact) }))
    }

    async fn unsubscribe(
        &self,
        request: Request<UnsubscribeRequest>,
    ) -> Result<Response<UnsubscribeResponse>, Status> {
        let (occasion, _) = self.post.unsubscribe(&request.get_ref().token).await?;
        Ok(Response::new(UnsubscribeResponse { occasion: occasion.message().into() }))
    }

    async fn get_push_key(
        &self,
        _: Request<GetPushKeyRequest>,
    ) -> Result<Response<GetPushKeyResponse>, Status> {
        let public_key = self.post.identity().await?.public_key();
        Ok(Response::new(GetPushKeyResponse { public_key }))
    }

    async fn put_push_subscription(
        &self,
        request: Request<PutPushSubscriptionRequest>,
    ) -> Result<Response<PutPushSubscriptionResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::PutPushSubscription)?;
        let body = request.into_inner();
        let customer = caller.customer(&body.customer_id)?;
        let subscription_id = self.subscribe(&customer, body).await?;
        Ok(Response::new(PutPushSubscriptionResponse { subscription_id }))
    }

    async fn list_push_subscriptions(
        &self,
        request: Request<ListPushSubscriptionsRequest>,
    ) -> Result<Response<ListPushSubscriptionsResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::ListPushSubscriptions)?;
        let customer = caller.customer(&request.get_ref().customer_id)?;
        let all = self.post.subscriptions(&customer).await?;
        let subscriptions = all.iter().map(Subscription::message).collect();
        Ok(Response::new(ListPushSubscriptionsResponse { subscriptions }))
    }

    async fn delete_push_subscription(
        &self,
        request: Request<DeletePushSubscriptionRequest>,
    ) -> Result<Response<DeletePushSubscriptionResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::DeletePushSubscription)?;
        let body = request.into_inner();
        let customer = caller.customer(&body.customer_id)?;
        self.post.unsubscribe_browser(&customer, &body.subscription_id).await?;
        Ok(Response::new(DeletePushSubscriptionResponse {}))
    }

    async fn put_template(
        &self,
        request: Request<PutTemplateRequest>,
    ) -> Result<Response<PutTemplateResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::PutTemplate)?;
        let body = request.into_inner();
        let (occasion, channel) = (Occasion::read(body.occasion)?, Channel::read(body.channel)?);
        if body.language.is_empty() {
            let error = FieldError::invalid("language", "two small letters (ISO 639-1)", "none");
            return Err(error.because("MISSING_FIELD").into());
        }
        let language = occasion::language("language", &body.language)?;
        let template = own(channel, body.subject, body.body)?;
        template.render(channel, &Story::example()).map_err(bad_template)?;
        let key = Template::key(occasion, channel, &language);
        let version = self.post.put_template(key, &template).await?;
        Ok(Response::new(PutTemplateResponse { version }))
    }

    async fn preview_template(
        &self,
        request: Request<PreviewTemplateRequest>,
    ) -> Result<Response<PreviewTemplateResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::PreviewTemplate)?;
        Ok(Response::new(self.preview(request.into_inner()).await?))
    }

    async fn list_notifications(
        &self,
        request: Request<ListNotificationsRequest>,
    ) -> Result<Response<ListNotificationsResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::ListNotifications)?;
        let order = field::order_id("order_id", &request.get_ref().order_id)?;
        self.post.backend.must_reach(&caller, order).await?;
        let told = self.post.told(order).await?;
        let notifications = told.iter().map(Notice::message).collect();
        Ok(Response::new(ListNotificationsResponse { notifications }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::ListDeadLetters)?;
        Ok(Response::new(self.dead_letters(request.into_inner()).await?))
    }

    async fn replay_dead_letter(
        &self,
        request: Request<ReplayDeadLetterRequest>,
    ) -> Result<Response<ReplayDeadLetterResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::ReplayDeadLetter)?;
        let id = &request.get_ref().notification_id;
        if Notice::order_of(id).is_none() {
            let error = FieldError::invalid("notification_id", "the id of a notification", shown(id));
            return Err(error.because("INVALID_ID").into());
        }
        let unknown = || Denial::new("UNKNOWN_NOTIFICATION", "no unsent letter has this id");
        let tried = self.post.try_again(id, true).await?;
        let notice = tried.ok_or_else(|| unknown().of("notification_id"))?;
        Ok(Response::new(ReplayDeadLetterResponse { notification: Some(notice.message()) }))
    }
}

/// A template of the caller's: bounded, and its subject one line, or none where there is none.
fn own(channel: Channel, subject: String, body: String) -> Result<Template, FieldError> {
    if !channel.has_subject() && !subject.is_empty() {
        return Err(FieldError::invalid("subject", "none: a text message has no subject", shown(&subject)));
    }
    let subject_bytes = (channel.has_subject(), SUBJECT_BYTES_MAX);
    for (path, text, (needed, max)) in
        [("subject", &subject, subject_bytes), ("body", &body, (true, BODY_BYTES_MAX))]
    {
        let wrong = |found: String| FieldError::invalid(path, format!("1 to {max} bytes"), found);
        match text.len() {
            0 if needed => return Err(wrong("none".into()).because("MISSING_FIELD")),
            found if found > max => return Err(wrong(found.to_string())),
            _ => {}
        }
    }
    if subject.chars().any(char::is_control) {
        return Err(FieldError::invalid("subject", "one line without control characters", shown(&subject)));
    }
    Ok(Template { subject, body })
}

fn bad_template(error: template::TemplateError) -> FieldError {
    let expected = "a template that an example can be told by";
    FieldError::invalid(error.part, expected, error.message).because("INVALID_TEMPLATE")
}

fn muted(contact: &Contact) -> Vec<wire::Muted> {
    let muted = |(occasion, channel): &(Occasion, Channel)| wire::Muted {
        occasion: occasion.message().into(),
        channel: channel.message().into(),
    };
    contact.muted.iter().map(muted).collect()
}
