//! One notification: an event, a channel, a recipient.

use onrush_grpc::notification::v1 as wire;
use onrush_proto::{DocKey, OrderId, Text};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::occasion::{Channel, Occasion};
use super::template::Rendered;
use crate::field;

/// The collection of what was sent, by order.
const SENT: &str = "notice/";
/// The collection of what was not sent yet.
pub(super) const UNSENT: &str = "unsent/";

/// How far a notification got.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeState {
    /// Handed over.
    Sent,
    /// Tried, and tried again later.
    Delayed,
    /// Not tried again by itself.
    Dead,
    /// Arrived, says who carried it.
    Delivered,
    /// Never arrived, or nobody is there to take it; not to be replayed.
    Unreachable,
}

impl NoticeState {
    /// All states, in the order of their numbers.
    pub(super) const ALL: [Self; 5] =
        [Self::Sent, Self::Delayed, Self::Dead, Self::Delivered, Self::Unreachable];

    /// Its name in measures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delayed => "delayed",
            Self::Dead => "dead",
            Self::Delivered => "delivered",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A notification as it is on record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// Unique per event, channel and recipient.
    pub id: String,
    /// The order it is about.
    pub order: String,
    /// Whom it is for.
    pub customer: String,
    /// Of what.
    pub occasion: Occasion,
    /// By which way.
    pub channel: Channel,
    /// How far it got.
    pub state: NoticeState,
    /// Tries so far.
    pub tries: u32,
    /// What went wrong the last time.
    #[serde(default)]
    pub problem: String,
    /// When the event happened, in us since the epoch.
    pub event_us: u64,
    /// Time of the last change, in us since the epoch.
    pub changed_us: u64,
}

/// What is sent: kept with the notice until it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Letter {
    /// The notification.
    pub notice: Notice,
    /// The recipient's address.
    pub to: String,
    /// What it says.
    pub text: Rendered,
    /// Where mails of this kind are called off; empty if nobody said where the shop is.
    pub unsubscribe_url: String,
}

/// Where an event stands: the name of what must be told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    /// The shard.
    pub shard: u16,
    /// The record.
    pub lsn: u64,
    /// Shard time in us.
    pub time_us: u64,
}

impl Notice {
    /// The id of an event's notification to a recipient.
    pub(super) fn id(order: OrderId, at: Position, channel: Channel, to: &str) -> String {
        let recipient = xxh3_64(to.as_bytes()) as u32;
        format!("{order}.{}.{}.{}.{recipient:08x}", at.shard, at.lsn, channel.name())
    }

    /// The order of an id; `None` if it is not one.
    pub(super) fn order_of(id: &str) -> Option<OrderId> {
        let parts: Vec<&str> = id.split('.').collect();
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match parts.as_slice() {
            [order, rest @ ..] if rest.len() == 4 && rest.iter().all(|part| digits(part)) => {
                order.parse().ok()
            }
            _ => None,
        }
    }

    /// Under which key it counts as told.
    pub(super) fn key(id: &str) -> DocKey {
        // 7 + at most 75 bytes.
        Text::new(&format!("{SENT}{id}")).unwrap_or_default()
    }

    /// What all keys of an order begin with.
    pub(super) fn prefix(order: OrderId) -> String {
        format!("{SENT}{order}.")
    }

    pub(super) fn message(&self) -> wire::Notification {
        let status = match self.state {
            NoticeState::Sent => wire::NotificationStatus::Sent,
            NoticeState::Delayed => wire::NotificationStatus::Delayed,
            NoticeState::Dead => wire::NotificationStatus::Dead,
            NoticeState::Delivered => wire::NotificationStatus::Delivered,
            NoticeState::Unreachable => wire::NotificationStatus::Unreachable,
        };
        wire::Notification {
            notification_id: self.id.clone(),
            order_id: self.order.clone(),
            customer_id: self.customer.clone(),
            occasion: self.occasion.message().into(),
            channel: self.channel.message().into(),
            status: status.into(),
            tries: self.tries,
            problem: self.problem.clone(),
            changed_us: field::time_us(self.changed_us),
        }
    }
}

impl Letter {
    /// Under which key it waits.
    pub(super) fn key(id: &str) -> DocKey {
        Text::new(&format!("{UNSENT}{id}")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_order_event_channel_and_recipient() {
        let at = |lsn| Position { shard: 3, lsn, time_us: 1 };
        let id = |lsn, to| Notice::id(OrderId(7), at(lsn), Channel::Email, to);
        assert_eq!(Notice::order_of(&id(9, "a@b.c")), Some(OrderId(7)));
        assert_ne!(id(9, "a@b.c"), id(10, "a@b.c"));
        assert_ne!(id(9, "a@b.c"), id(9, "b@b.c"));
        for wrong in
            ["", "x", "../../etc/passwd", "00000000000000000000000000000007.3.9.email/..", "a.b.c.d.e"]
        {
            assert_eq!(Notice::order_of(wrong), None, "{wrong}");
        }
        let longest = Notice::id(
            OrderId(u128::MAX),
            Position { shard: u16::MAX, lsn: u64::MAX, time_us: 0 },
            Channel::Email,
            "",
        );
        assert!(!Notice::key(&longest).is_empty() && !Letter::key(&longest).is_empty());
    }
}
