//! Notification over HTTP: the link at the end of a mail, and what carriers say.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Html;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::delivery;
use super::occasion::{Channel, Occasion};
use super::post::Post;
use crate::field::{FieldError, shown};
use crate::http::{Json, Problem, Routes};
use crate::status::Rejection;

/// The routes.
pub fn routes(post: Arc<Post>) -> Routes {
    let links = OpenApiRouter::new().routes(routes!(ask)).routes(routes!(unsubscribe));
    links.routes(routes!(delivery::hear)).with_state(post)
}

/// What is not sent any more.
#[derive(Serialize, ToSchema)]
struct Unsubscribed {
    /// The occasion: order_confirmation, payment_receipt or shipping_update.
    occasion: &'static str,
    /// The channel.
    channel: &'static str,
}

/// A page that asks whether mails of this kind shall end. Looking at it changes nothing: programs that
/// open links in mails must not call anything off.
#[utoipa::path(
    get,
    path = "/unsubscribe",
    tag = "notification",
    params(("token" = String, Query, description = "The token of the link")),
    responses(
        (status = 200, description = "The page", content_type = "text/html"),
        (status = 400, description = "Not a token of ours", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn ask(State(post): State<Arc<Post>>, RawQuery(query): RawQuery) -> Result<Html<String>, Rejection> {
    let token = token(query.as_deref());
    let (_, occasion, _) = post.read_token(token).await?;
    // A token that we signed holds letters, digits, `-`, `_` and one dot.
    Ok(Html(format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Unsubscribe</title>\
         <form method=\"post\" action=\"/unsubscribe?token={token}\">\
         <p>No more mails of the kind {}?</p><button>Unsubscribe</button></form>\n",
        occasion.name()
    )))
}

/// Ends mails of this kind (RFC 8058: one click). Again is the same.
#[utoipa::path(
    post,
    path = "/unsubscribe",
    tag = "notification",
    params(("token" = String, Query, description = "The token of the link")),
    responses(
        (status = 200, description = "They have ended", body = Unsubscribed),
        (status = 400, description = "Not a token of ours", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn unsubscribe(
    State(post): State<Arc<Post>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Unsubscribed>, Rejection> {
    let (occasion, channel) = post.unsubscribe(token(query.as_deref())).await?;
    Ok(Json(Unsubscribed { occasion: occasion.name(), channel: channel.name() }))
}

fn token(query: Option<&str>) -> &str {
    let pairs = query.unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.strip_prefix("token=")).next().unwrap_or_default()
}

impl Post {
    /// What a token of ours says.
    pub(super) async fn read_token(
        &self,
        token: &str,
    ) -> Result<(onrush_proto::CustomerId, Occasion, Channel), Rejection> {
        let expected = "the token of an unsubscribe link of this shop";
        let wrong = || FieldError::invalid("token", expected, shown(token));
        Ok(self.signer().await?.read(token).ok_or_else(wrong)?)
    }

    /// Ends what a token of ours is about.
    pub(super) async fn unsubscribe(&self, token: &str) -> Result<(Occasion, Channel), Rejection> {
        let (customer, occasion, channel) = self.read_token(token).await?;
        self.change_contact(&customer, |contact| contact.set(occasion, channel, false)).await?;
        Ok((occasion, channel))
    }
}
