//! Who may read which topic, and for which group.

use onrush_engine::rules::groups::OWN_GROUPS;
use onrush_proto::{Text, Topic};

use crate::access::{Call, Standing};
use crate::status::Denial;

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

/// Refused if there is no topic that the caller may read.
pub(crate) fn must_read_any(standing: &Standing, now_s: u64) -> Result<(), Denial> {
    let mut refused = Ok(());
    for topic in Topic::ALL {
        refused = must_read(standing, Some(topic), now_s);
        if refused.is_ok() {
            break;
        }
    }
    refused
}

/// Refused if the shop itself reads for the group: its position is nobody else's to move. Nor may another group keep
/// records of payments, which the log never lets go of unread.
pub(crate) fn must_be_free(group: &Text<47>, topic: Topic) -> Result<(), Denial> {
    let message = if OWN_GROUPS.contains(&group.as_str()) {
        "group: expected one of the caller's own, found one of the shop's"
    } else if Topic::holds_log(topic as u8) {
        "topic: expected one that groups may fall behind on, found one of payments; it can be read without a group"
    } else {
        return Ok(());
    };
    Err(Denial::new("FORBIDDEN", message))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Caller, Identity, Role, Roles};
    use crate::{gateway, notification, shipping};

    #[test]
    fn groups_of_the_shop_are_nobody_elses() {
        let own = [gateway::worker::GROUP, shipping::worker::GROUP, notification::worker::GROUP];
        assert_eq!(own, OWN_GROUPS);
        for group in own {
            let refused = must_be_free(&group.parse().unwrap(), Topic::OrderCreated);
            assert_eq!(refused.unwrap_err().reason, "FORBIDDEN", "{group}");
        }
        assert_eq!(must_be_free(&"books".parse().unwrap(), Topic::OrderCreated), Ok(()));
    }

    #[test]
    fn who_may_read_nothing_takes_no_place() {
        let asked = |role: Role| {
            let roles: Roles = [role].into_iter().collect();
            let ada = Identity { user: "ada".parse().unwrap(), roles, scopes: None, machine: false };
            must_read_any(&Standing::new(Caller::User(ada), 100), 100).map_err(|denial| denial.reason)
        };
        assert_eq!(asked(Role::Customer), Err("FORBIDDEN"));
        for role in [Role::Merchant, Role::Support, Role::Admin] {
            assert_eq!(asked(role), Ok(()), "{role:?}");
        }
    }
}
