//! What gateways push to us. A push is signed or refused, counts once, and is believed only as far as
//! "look again": what became of a payment is read from the gateway and settled like any answer of it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use onrush_proto::Refusal;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::worker::Worker;
use super::{GatewayKey, GatewayKind, Op, Trouble, paypal, stripe};
use crate::clock::now_us;
use crate::http::{BODY_BYTES_MAX, Problem, Routes};
use crate::status::{Denial, Rejection};

/// How far the time that a push is signed with may be from ours, in s.
pub(super) const TOLERANCE_S: u64 = 300;
/// Where Stripe's signature stands.
const SIGNATURE: &str = "stripe-signature";
/// Events that are remembered.
const REMEMBERED: usize = 65_536;
/// Bytes of an event's id.
const ID_BYTES_MAX: usize = 255;
/// Pushes under way at once; one more is to come again.
const PUSHES_MAX: usize = 64;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hears pushes.
pub struct Hearing {
    worker: Worker,
    seen: Mutex<Seen>,
    places: Semaphore,
}

/// The last events that were done with.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    fn enter(&mut self, id: String) {
        if self.ids.insert(id.clone()) {
            self.order.push_back(id);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// The routes of pushes.
pub fn routes(hearing: Arc<Hearing>) -> Routes {
    OpenApiRouter::new().routes(routes!(hear_stripe)).routes(routes!(hear_paypal)).with_state(hearing)
}

impl Hearing {
    /// Hears for this worker.
    pub fn new(worker: Worker) -> Self {
        Self { worker, seen: Mutex::default(), places: Semaphore::new(PUSHES_MAX) }
    }

    /// Who does what payments ask for.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Does what an event asks for, unless that was done. It is remembered when it is done: one that
    /// fails is to come again.
    async fn once(
        &self,
        id: String,
        work: impl Future<Output = Result<(), Trouble>>,
    ) -> Result<StatusCode, Rejection> {
        // What is settled is written where the shop is decided; whoever pushes comes again, and not always here.
        if let Some(leader) = self.worker.led_elsewhere() {
            return Err(Refusal::NotLeader { leader }.into());
        }
        let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen().ids.contains(&id) {
            return Ok(StatusCode::NO_CONTENT);
        }
        let Ok(_place) = self.places.try_acquire() else {
            let message = format!("expected at most {PUSHES_MAX} pushes at once, found more");
            return Err(Denial::new("TOO_MANY_REQUESTS", message).after(Duration::from_secs(1)).into());
        };
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(())) => {
                seen().enter(id);
                Ok(StatusCode::NO_CONTENT)
            }
            Ok(Err(trouble)) => Err(unavailable(trouble)),
            Err(_) => Err(unavailable(Trouble::NoAnswer)),
        }
    }

    /// Settles what an event of Stripe is about.
    async fn settle_stripe(&self, event: &stripe::Event) -> Result<(), Trouble> {
        // Only a hint: a job that is open looks for itself.
        if let Some(key) = GatewayKey::parse(event.written()) {
            self.worker.wake(key);
        }
        match event.intent() {
            Some(intent) => self.settle(GatewayKind::Stripe, intent).await,
            None => Ok(()),
        }
    }

    /// Settles what became of a charge, by the gateway's name of it.
    async fn settle(&self, kind: GatewayKind, name: &str) -> Result<(), Trouble> {
        let Some(seen) = self.worker.gateways().look(kind, name).await? else { return Ok(()) };
        let open = [Op::Charge, Op::Capture].map(|op| self.worker.wake(GatewayKey { op, ..seen.key }));
        if !open.contains(&true)
            && let Some(result) = seen.result
        {
            self.worker.settle(seen.key, result).await;
        }
        Ok(())
    }
}

fn unavailable(trouble: Trouble) -> Rejection {
    Denial::new("GATEWAY_UNAVAILABLE", trouble.to_string()).after(Duration::from_secs(5)).into()
}

/// Something became of a payment; signed by HMAC-SHA256 over time and raw body.
#[utoipa::path(
    post,
    path = "/webhooks/stripe",
    tag = "payment",
    request_body(content = String, content_type = "application/json"),
    params(("Stripe-Signature" = String, Header, description = "t=<seconds>,v1=<hex>; of a time at most 300 s from now")),
    responses(
        (status = 204, description = "Heard, now or before"),
        (status = 400, description = "Not an event", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "Not signed by Stripe, or long ago", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many at once", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Stripe could not be asked: to come again", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn hear_stripe(
    State(hearing): State<Arc<Hearing>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Rejection> {
    let body = read(body).await?;
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let stripe = hearing.worker.gateways().the_stripe();
    let now_s = now_us() / 1_000_000;
    if !stripe.is_some_and(|stripe| stripe::is_signed(stripe.webhook_secret(), signature, &body, now_s)) {
        let message =
            "Stripe-Signature: expected Stripe's signature of this body, found none that is good now";
        return Err(Denial::new("UNAUTHENTICATED", message).of("Stripe-Signature").into());
    }
    let event: stripe::Event = parse(&body)?;
    hearing.once(known("stripe", &event.id)?, hearing.settle_stripe(&event)).await
}

/// Something became of a payment; signed by RSA over id, time, webhook and the checksum of the raw body.
#[utoipa::path(
    post,
    path = "/webhooks/paypal",
    tag = "payment",
    request_body(content = String, content_type = "application/json"),
    params(
        ("PayPal-Transmission-Id" = String, Header, description = "Of this delivery"),
        ("PayPal-Transmission-Time" = String, Header, description = "When it was sent: at most 300 s from now"),
        ("PayPal-Transmission-Sig" = String, Header, description = "The signature in base64"),
        ("PayPal-Cert-Url" = String, Header, description = "The certificate that checks it, at PayPal's"),
        ("PayPal-Auth-Algo" = String, Header, description = "SHA256withRSA"),
    ),
    responses(
        (status = 204, description = "Heard, now or before"),
        (status = 400, description = "Not an event", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "Not signed by PayPal, or long ago", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many at once", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "PayPal could not be asked: to come again", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn hear_paypal(
    State(hearing): State<Arc<Hearing>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Rejection> {
    let body = read(body).await?;
    let signed = match hearing.worker.gateways().the_paypal() {
        Some(paypal) => paypal.is_signed(&headers, &body, now_us() / 1_000_000).await.map_err(unavailable)?,
        None => false,
    };
    if !signed {
        let message =
            "PayPal-Transmission-Sig: expected PayPal's signature of this body, found none that is good now";
        return Err(Denial::new("UNAUTHENTICATED", message).of("PayPal-Transmission-Sig").into());
    }
    let event: paypal::Event = parse(&body)?;
    let work = async {
        match event.order() {
            Some(order) => hearing.settle(GatewayKind::PayPal, order).await,
            None => Ok(()),
        }
    };
    hearing.once(known("paypal", &event.id)?, work).await
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Denial> {
    serde_json::from_slice(body)
        .map_err(|error| Denial::new("INVALID_MESSAGE", format!("expected an event, found {error}")))
}

/// What an event is remembered by: gateways number theirs each for themselves.
fn known(gateway: &str, id: &str) -> Result<String, Denial> {
    match (1..=ID_BYTES_MAX).contains(&id.len()) {
        true => Ok(format!("{gateway}/{id}")),
        false => {
            let message = format!("id: expected 1 to {ID_BYTES_MAX} bytes, found {}", id.len());
            Err(Denial::new("INVALID_FIELD", message).of("id"))
        }
    }
}

/// The raw bytes, before anything reads them.
async fn read(body: Body) -> Result<Vec<u8>, Denial> {
    let too_large =
        |_| Denial::new("MESSAGE_TOO_LARGE", format!("expected at most {BODY_BYTES_MAX} bytes, found more"));
    match tokio::time::timeout(PATIENCE, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(read) => read.map(Into::into).map_err(too_large),
        Err(_) => Err(Denial::new("SLOW_REQUEST", "expected the body in time, found a part of it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_are_forgotten_and_no_others() {
        let mut seen = Seen::default();
        for id in 0..REMEMBERED + 10 {
            seen.enter(id.to_string());
            seen.enter(id.to_string());
        }
        assert_eq!((seen.ids.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!seen.ids.contains("9") && seen.ids.contains("10"));
    }
}
