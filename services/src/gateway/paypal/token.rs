//! The access token: fetched by one call however many wait for it, and kept while it is good.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::Secret;
use crate::gateway::Trouble;
use crate::gateway::endpoint::{self, Endpoint};

/// A token is given up this long before it ends.
const MARGIN: Duration = Duration::from_secs(60);

/// The token and what buys it.
pub(super) struct Token {
    /// `client_id:secret`.
    key: Secret,
    /// Held while a new one is fetched: whoever comes meanwhile waits for that one.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: Secret,
    until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Token {
    pub(super) fn new(key: Secret) -> Self {
        Self { key, kept: Mutex::new(None) }
    }

    /// One that is good now.
    pub(super) async fn good(&self, endpoint: &Endpoint) -> Result<Secret, Trouble> {
        let mut kept = self.kept.lock().await;
        if let Some(Kept { token, until }) = &*kept
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let granted = self.fetch(endpoint).await?;
        let life = Duration::from_secs(granted.expires_in).saturating_sub(MARGIN);
        let token = Secret::new(granted.access_token);
        *kept = Some(Kept { token: token.clone(), until: Instant::now() + life });
        Ok(token)
    }

    /// This one is not good any more.
    pub(super) async fn forget(&self, token: &Secret) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.token == *token) {
            *kept = None;
        }
    }

    /// Whatever goes wrong here, no money moved.
    async fn fetch(&self, endpoint: &Endpoint) -> Result<Granted, Trouble> {
        let (id, secret) = self.key.expose().split_once(':').unwrap_or((self.key.expose(), ""));
        let request = endpoint.request(Method::POST, "v1/oauth2/token").basic_auth(id, Some(secret));
        let untouched = |_| Trouble::Untouched(Duration::from_secs(1));
        let answer =
            endpoint::send(request.form(&[("grant_type", "client_credentials")])).await.map_err(untouched)?;
        match answer.status {
            status if status.is_success() => answer.json().map_err(untouched),
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(answer.barred("PAYPAL_API_KEY"))
            }
            _ => Err(answer.busy()),
        }
    }
}
