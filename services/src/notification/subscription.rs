//! The browsers of a customer that get messages, and the calls that add and remove them.

use onrush_grpc::notification::v1 as wire;
use onrush_proto::{CustomerId, DocKey, Text};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::Notifications;
use super::post::Post;
use super::push;
use crate::clock::now_us;
use crate::field::{FieldError, shown, time_us};
use crate::status::{Denial, Rejection};

/// Most browsers of one customer.
const SUBSCRIPTIONS_MAX: usize = 8;

/// A browser of a customer's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Subscription {
    /// Made of the endpoint.
    pub id: String,
    /// What its push service is called at. Whoever knows it may send: it is shown to nobody.
    pub endpoint: String,
    /// Its public key, in base64url.
    pub p256dh: String,
    /// Its secret, in base64url.
    pub auth: String,
    /// Since when, in us since the epoch.
    pub created_us: u64,
}

/// All of a customer's.
pub(super) type Subscriptions = Vec<Subscription>;

/// The key of a customer's browsers.
fn key(customer: &CustomerId) -> DocKey {
    // 5 + 39 bytes always fit.
    Text::new(&format!("push/{customer}")).unwrap_or_default()
}

impl Notifications {
    pub(super) async fn subscribe(
        &self,
        customer: &CustomerId,
        body: wire::PutPushSubscriptionRequest,
    ) -> Result<String, Rejection> {
        let expected = "an https URL of a push service, at most 1,024 bytes";
        let endpoint = self.post.outlets().push.endpoint(&body.endpoint);
        let endpoint =
            endpoint.ok_or_else(|| FieldError::invalid("endpoint", expected, shown(&body.endpoint)))?;
        if !push::is_key(&body.p256dh) {
            let expected = "a point of P-256 in base64url, as the browser gave it";
            return Err(FieldError::invalid("p256dh", expected, shown(&body.p256dh)).into());
        }
        if !push::is_secret(&body.auth) {
            // It is a secret, if it is one.
            return Err(FieldError::invalid("auth", "16 bytes in base64url", "something else").into());
        }
        let endpoint = endpoint.to_string();
        let id = format!("{:032x}", xxh3_128(endpoint.as_bytes()));
        let wire::PutPushSubscriptionRequest { p256dh, auth, .. } = body;
        let new = Subscription { id: id.clone(), endpoint, p256dh, auth, created_us: now_us() };
        let add = |all: &mut Subscriptions| add(all, &new);
        self.post.change(key(customer), add).await?;
        Ok(id)
    }
}

/// Adds a browser, or puts its keys anew; false if it was there as it is.
fn add(all: &mut Subscriptions, new: &Subscription) -> Result<bool, Rejection> {
    if let Some(known) = all.iter_mut().find(|known| known.id == new.id) {
        let same = (&known.p256dh, &known.auth) == (&new.p256dh, &new.auth);
        if !same {
            *known = new.clone();
        }
        return Ok(!same);
    }
    if all.len() == SUBSCRIPTIONS_MAX {
        let message =
            format!("endpoint: expected at most {SUBSCRIPTIONS_MAX} browsers of a customer, found more");
        return Err(Denial::new("LIMIT_EXCEEDED", message).of("endpoint").into());
    }
    all.push(new.clone());
    Ok(true)
}

impl Post {
    /// The browsers of a customer.
    pub(super) async fn subscriptions(&self, customer: &CustomerId) -> Result<Subscriptions, Rejection> {
        Ok(self.document(key(customer)).await?.map(|(all, _)| all).unwrap_or_default())
    }

    /// Removes a browser; again is the same.
    pub(super) async fn unsubscribe_browser(&self, customer: &CustomerId, id: &str) -> Result<(), Rejection> {
        let remove = |all: &mut Subscriptions| {
            let before = all.len();
            all.retain(|known| known.id != id);
            Ok(all.len() < before)
        };
        self.change(key(customer), remove).await.map(|_| ())
    }
}

impl Subscription {
    pub(super) fn message(&self) -> wire::PushSubscription {
        let origin = self.endpoint.parse::<reqwest::Url>().map(|url| url.origin().ascii_serialization());
        wire::PushSubscription {
            subscription_id: self.id.clone(),
            push_service: origin.unwrap_or_default(),
            created_us: time_us(self.created_us),
        }
    }
}
