//! Who is at the other end of a connection, and what they may ask.

use onrush_proto::frame::Operation;

use crate::access::{Admitted, Call, Standing};
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Caller, Identity, Role, Roles};

    #[test]
    fn each_operation_stands_where_its_number_says() {
        for (at, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, at + 1);
        }
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
