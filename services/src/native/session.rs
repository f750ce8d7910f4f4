//! Who is at the other end of a connection, and what they may ask.

use onrush_proto::frame::{Operation, Subscribe};

use crate::access::{Admitted, Call, Standing};
use crate::events::readers;
use crate::status::Denial;

/// A caller, for as long as its connection lives. Its token came once; what it may do was looked up then.
pub(crate) struct Session {
    standing: Standing,
    /// By operation, in the order of [`Operation::ALL`].
    admitted: [Result<Admitted, Denial>; Operation::ALL.len()],
}

impl Session {
    pub(super) fn new(standing: Standing) -> Self {
        let admitted = Operation::ALL.map(|operation| standing.admit(call(operation), 0));
        Self { standing, admitted }
    }

    /// The caller, if they may ask this now.
    pub(super) fn admit(&self, operation: Operation, now_us: u64) -> Result<&Admitted, Denial> {
        self.standing.must_be_good(now_us / 1_000_000)?;
        self.admitted[operation as usize - 1].as_ref().map_err(Clone::clone)
    }

    /// The caller, for whatever lasts.
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Refused unless the caller may read what the records are of, of everybody, and for a group unless they may
    /// operate the shop: the log is kept for groups.
    pub(super) fn must_follow(&self, wanted: &Subscribe, now_us: u64) -> Result<(), Denial> {
        let now_s = now_us / 1_000_000;
        readers::must_read(&self.standing, wanted.topic, now_s)?;
        if wanted.group.is_empty() {
            return Ok(());
        }
        self.standing.admit(call(Operation::CommitOffset), now_s)?;
        wanted.topic.map_or(Ok(()), |topic| readers::must_be_free(&wanted.group, topic))
    }
}

/// The call of the one table that an operation is.
fn call(operation: Operation) -> Call {
    match operation {
        Operation::CreateOrder => Call::CreateOrder,
        Operation::GetOrder => Call::GetOrderStatus,
        Operation::CancelOrder => Call::CancelOrder,
        Operation::StartPayment => Call::CreatePayment,
        Operation::Pay => Call::ProcessPayment,
        Operation::CapturePayment => Call::CapturePayment,
        Operation::RefundPayment => Call::ProcessRefund,
        Operation::PutProduct => Call::PutProduct,
        Operation::UpdateStock => Call::UpdateStock,
        Operation::GetStock => Call::GetStock,
        // The log is kept for groups: that is a matter of who runs the shop.
        Operation::CommitOffset => Call::Stats,
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::{Text, Topic};

    use super::*;
    use crate::access::{Caller, Identity, Role, Roles};

    #[test]
    fn each_operation_stands_where_its_number_says() {
        for (at, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, at + 1);
        }
    }

    #[test]
    fn who_reads_a_topic_may_read_what_it_is_of() {
        let session = |role: Role| {
            let roles: Roles = [role].into_iter().collect();
            let user = Identity { user: "ada".parse().unwrap(), roles, scopes: None, machine: false };
            Session::new(Standing::new(Caller::User(user), 100))
        };
        let asked = |role: Role, topic: Option<Topic>, group: &str| {
            let from = onrush_proto::frame::Start::Now;
            let group = Text::new(group).unwrap();
            let wanted = Subscribe { shard: onrush_proto::ShardId(0), topic, group, from };
            session(role).must_follow(&wanted, 100_000_000).map_err(|denial| denial.reason)
        };
        for topic in Topic::ALL.into_iter().map(Some).chain([None]) {
            assert_eq!(asked(Role::Customer, topic, ""), Err("FORBIDDEN"), "{topic:?}");
            assert_eq!(asked(Role::Support, topic, ""), Ok(()), "{topic:?}");
            assert_eq!(asked(Role::Support, topic, "books"), Err("FORBIDDEN"), "{topic:?}");
            let keeps = topic.is_some_and(|topic| Topic::holds_log(topic as u8));
            let group = if keeps { Err("FORBIDDEN") } else { Ok(()) };
            assert_eq!(asked(Role::Admin, topic, "books"), group, "{topic:?}");
            let merchant = if topic == Some(Topic::StockUpdated) { Ok(()) } else { Err("FORBIDDEN") };
            assert_eq!(asked(Role::Merchant, topic, ""), merchant, "{topic:?}");
        }
        assert_eq!(asked(Role::Admin, Some(Topic::OrderCreated), "notification"), Err("FORBIDDEN"));
    }

    #[test]
    fn what_a_token_permits_ends_with_it() {
        let roles: Roles = [Role::Customer].into_iter().collect();
        let ada = Identity { user: "ada".parse().unwrap(), roles, scopes: None, machine: false };
        let session = Session::new(Standing::new(Caller::User(ada), 100));
        let asked = |operation, now_s: u64| {
            let found = session.admit(operation, now_s * 1_000_000);
            found.map(|caller| caller.reaches_all()).map_err(|denial| denial.reason)
        };
        assert_eq!(asked(Operation::CreateOrder, 100), Ok(false));
        assert_eq!(asked(Operation::UpdateStock, 100), Err("FORBIDDEN"));
        assert_eq!(asked(Operation::CreateOrder, 101), Err("UNAUTHENTICATED"));
        assert_eq!(asked(Operation::UpdateStock, 101), Err("UNAUTHENTICATED"));
    }
}
