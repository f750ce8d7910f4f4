//! What Twilio says of texts, as far as it is read.

use jiff::fmt::rfc2822;
use serde::Deserialize;

use super::super::outlet::SendError;

/// The number called texts off at its carrier.
pub(in crate::notification) const STOPPED: u32 = 21610;

/// A text on Twilio's record.
#[derive(Deserialize)]
pub(super) struct Made {
    #[serde(default)]
    status: String,
    #[serde(default)]
    error_code: Option<u32>,
    #[serde(default)]
    body: Option<String>,
    /// As mails have it (RFC 2822).
    #[serde(default)]
    date_created: Option<String>,
}

/// A page of them, newest first.
#[derive(Deserialize)]
pub(super) struct Listed {
    pub(super) messages: Vec<Made>,
}

/// What was not done.
#[derive(Default, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) code: u32,
}

/// What became of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::notification) enum Outcome {
    /// It arrived.
    Delivered,
    /// It never will.
    Failed {
        /// Why.
        code: u32,
    },
    /// It is on its way.
    Open,
}

/// What a status means; those that we do not know are on the way to one that we do.
pub(in crate::notification) fn outcome(status: &str, code: u32) -> Outcome {
    match status {
        "delivered" | "read" => Outcome::Delivered,
        "failed" | "undelivered" | "canceled" => Outcome::Failed { code },
        _ => Outcome::Open,
    }
}

/// A code and where it is explained.
pub(in crate::notification) fn named(code: u32) -> String {
    format!("code {code} (https://www.twilio.com/docs/api/errors/{code})")
}

impl Made {
    /// Taken is as good as sent; a text that failed at once is not.
    pub(super) fn verdict(&self) -> Result<(), SendError> {
        match outcome(&self.status, self.error_code.unwrap_or_default()) {
            Outcome::Failed { code: STOPPED } => Err(SendError::Gone(format!("twilio: {}", named(STOPPED)))),
            Outcome::Failed { code } => Err(SendError::Never(format!("twilio: failed with {}", named(code)))),
            Outcome::Delivered | Outcome::Open => Ok(()),
        }
    }

    /// True if it says this and may still arrive.
    pub(super) fn says(&self, body: &str) -> bool {
        self.verdict().is_ok() && self.body.as_deref() == Some(body)
    }

    /// True if it was made at this time or later.
    pub(super) fn is_since(&self, since_us: u64) -> bool {
        let made = self.date_created.as_deref().and_then(|text| rfc2822::parse(text).ok());
        made.is_some_and(|made| made.timestamp().as_microsecond() >= since_us as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> Made {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_text_is_known_again_by_what_it_says_and_when() {
        let text = made(
            r#"{"sid":"SM1","status":"queued","error_code":null,"body":"Hello","date_created":"Tue, 14 Nov 2023 22:13:20 +0000","price":null}"#,
        );
        let at_us = 1_700_000_000_000_000;
        assert!(text.says("Hello") && !text.says("Hell"));
        assert!(text.is_since(at_us) && !text.is_since(at_us + 1));
        assert!(!made(r#"{"status":"failed","error_code":30003,"body":"Hello"}"#).says("Hello"));
        assert!(!made(r#"{"date_created":"yesterday"}"#).is_since(0));
    }

    #[test]
    fn statuses_on_the_way_are_no_outcome() {
        for open in ["accepted", "scheduled", "queued", "sending", "sent", "receiving", "somehow", ""] {
            assert_eq!(outcome(open, 0), Outcome::Open, "{open}");
        }
        assert_eq!(outcome("delivered", 0), Outcome::Delivered);
        assert_eq!(outcome("undelivered", 30003), Outcome::Failed { code: 30003 });
        assert!(matches!(
            made(r#"{"status":"failed","error_code":21610}"#).verdict(),
            Err(SendError::Gone(_))
        ));
    }
}
