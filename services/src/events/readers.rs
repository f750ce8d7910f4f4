//! Who may read which topic, and for which group.

use onrush_proto::{Text, Topic};

use crate::access::{Call, Standing};
use crate::status::Denial;
use crate::{gateway, notification, shipping};

/// Refused unless the caller may read what the records of a topic are of, of everybody; of all topics for `None`.
pub(crate) fn must_read(standing: &Standing, topic: Option<Topic>, now_s: u64) -> Result<(), Denial> {
    for call in read_by(topic) {
        if !standing.admit(*call, now_s)?.reaches_all() {
            let message = "topic: expected one whose records the caller may read of everybody, found another";
            return Err(Denial::new("FORBIDDEN", message));
        }
    }
    Ok(())
}

/// Refused if the shop itself reads for the group: its position is nobody else's to move. Nor may another group keep
/// records of payments, which the log never lets go of unread.
pub(crate) fn must_be_free(group: &Text<47>, topic: Topic) -> Result<(), Denial> {
    let message = if is_own(group.as_str()) {
        "group: expected one of the caller's own, found one of the shop's"
    } else if Topic::holds_log(topic as u8) {
        "topic: expected one that groups may fall behind on, found one of payments; it can be read without a group"
    } else {
        return Ok(());
    };
    Err(Denial::new("FORBIDDEN", message))
}

fn is_own(group: &str) -> bool {
    [gateway::worker::GROUP, shipping::worker::GROUP, notification::worker::GROUP].contains(&group)
}

/// The calls by which what records of a topic are of can be read.
fn read_by(topic: Option<Topic>) -> &'static [Call] {
    match topic {
        Some(Topic::StockUpdated) => &[Call::ListStockChanges],
        Some(Topic::UserUpdated | Topic::PasswordResetAsked) => &[Call::GetUser],
        Some(Topic::NotificationSent) => &[Call::ListNotifications],
        // What a consumer says of an event may say anything of what the event is of.
        Some(Topic::DeadLetters) | None => {
            &[Call::ListStockChanges, Call::GetUser, Call::ListNotifications, Call::ListOrders]
        }
        Some(_) => &[Call::ListOrders],
    }
}
