//! Makes one call of a session.

use std::sync::Arc;

use onrush_grpc::session::v1::answer::Answer as Said;
use onrush_grpc::session::v1::call::Call as Asked;
use onrush_grpc::session::v1::{Answer, Call, Failure};
use tonic::Code;

use super::conversation::Taken;
use crate::access::{self, Admitted, Standing, now_s};
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::field::FieldError;
use crate::metrics::Meter;
use crate::nodes::Signpost;
use crate::settlements::Settlements;
use crate::staleness::Staleness;
use crate::status::Rejection;
use crate::{order, payment, product};

/// What the calls of one session go to.
pub(super) struct Desk {
    pub(super) standing: Standing,
    pub(super) backend: Backend,
    pub(super) settlements: Settlements,
    pub(super) meter: Arc<Meter>,
    pub(super) signpost: Signpost,
    pub(super) staleness: Staleness,
    /// How stale what is looked up may be at most, in ms, if the session says.
    pub(super) stale_ms_max: Option<u32>,
}

impl Desk {
    /// Makes a call, and counts it as if it had come alone.
    pub(super) async fn answer(self: Arc<Self>, taken: Taken) -> Answer {
        let Taken { call: Call { tag, patience_us, call }, at, place: _place } = taken;
        let Some(asked) = call else {
            let none = FieldError::invalid("calls.call", "a call of this interface", "none");
            return Answer { tag, answer: Some(self.failed(none.because("MISSING_FIELD").into())) };
        };
        let name = name(&asked);
        let counting = self.meter.begin(name.name(), name.service());
        let made = match self.standing.admit(name, now_s()) {
            Ok(caller) => self.make(&caller, Deadline::since(at, patience_us), asked).await,
            Err(denial) => Err(denial.into()),
        };
        counting.end(made.as_ref().err().map_or(Code::Ok, Rejection::code) as usize);
        Answer { tag, answer: Some(made.unwrap_or_else(|rejection| self.failed(rejection))) }
    }

    fn must_be_fresh(&self) -> Result<(), Rejection> {
        let Some(most_ms) = self.stale_ms_max else { return Ok(()) };
        self.staleness.within(most_ms)?;
        Ok(())
    }

    async fn make(&self, caller: &Admitted, deadline: Deadline, asked: Asked) -> Result<Said, Rejection> {
        let Self { backend, settlements, .. } = self;
        Ok(match asked {
            Asked::ValidateProducts(body) => {
                self.must_be_fresh()?;
                Said::ValidateProducts(Box::new(product::validate(backend, body.lines).await?))
            }
            Asked::GetProductDetails(body) => {
                self.must_be_fresh()?;
                Said::GetProductDetails(Box::new(product::details(backend, &body).await?))
            }
            Asked::UpdateStock(body) => {
                Said::UpdateStock(Box::new(product::update_stock(backend, caller, deadline, *body).await?))
            }
            Asked::PutProduct(body) => {
                Said::PutProduct(Box::new(product::put(backend, caller, deadline, *body).await?))
            }
            Asked::CreateOrder(body) => {
                Said::CreateOrder(Box::new(order::create(backend, caller, deadline, *body).await?))
            }
            Asked::ProcessPayment(body) => {
                let paid = order::pay(backend, settlements, caller, deadline, *body).await?;
                Said::ProcessPayment(Box::new(paid))
            }
            Asked::GetOrderStatus(body) => {
                Said::GetOrderStatus(Box::new(order::read(backend, caller, &body).await?))
            }
            Asked::CancelOrder(body) => {
                Said::CancelOrder(Box::new(order::cancel(backend, caller, deadline, *body).await?))
            }
            Asked::CreatePayment(body) => {
                let started = payment::start(backend, settlements, caller, deadline, *body).await?;
                Said::CreatePayment(Box::new(started))
            }
            Asked::CapturePayment(body) => {
                let captured = payment::capture(backend, settlements, caller, deadline, *body).await?;
                Said::CapturePayment(Box::new(captured))
            }
            Asked::GetPaymentStatus(body) => {
                Said::GetPaymentStatus(Box::new(payment::read(backend, caller, &body).await?))
            }
            Asked::ProcessRefund(body) => {
                let refunded = payment::refund(backend, settlements, caller, deadline, *body).await?;
                Said::ProcessRefund(Box::new(refunded))
            }
        })
    }
}

impl Desk {
    /// What a unary call would have in its status.
    pub(super) fn failed(&self, rejection: Rejection) -> Said {
        if let Rejection::Internal(message) = &rejection {
            tracing::error!(error = message, "a call failed on our side");
        }
        let mut facts = rejection.facts();
        let address = self.signpost.address(|name| facts.get(name));
        facts.extend(address);
        Said::Failure(Box::new(Failure {
            code: rejection.code() as i32,
            reason: rejection.reason().name.into(),
            message: rejection.message(),
            field: rejection.field().unwrap_or_default(),
            retry_after_us: rejection.retry_after().map_or(0, |wait| wait.as_micros() as i64),
            facts,
        }))
    }
}

/// The call of the one table.
fn name(asked: &Asked) -> access::Call {
    match asked {
        Asked::ValidateProducts(_) => access::Call::ValidateProducts,
        Asked::GetProductDetails(_) => access::Call::GetProductDetails,
        Asked::UpdateStock(_) => access::Call::UpdateStock,
        Asked::PutProduct(_) => access::Call::PutProduct,
        Asked::CreateOrder(_) => access::Call::CreateOrder,
        Asked::ProcessPayment(_) => access::Call::ProcessPayment,
        Asked::GetOrderStatus(_) => access::Call::GetOrderStatus,
        Asked::CancelOrder(_) => access::Call::CancelOrder,
        Asked::CreatePayment(_) => access::Call::CreatePayment,
        Asked::CapturePayment(_) => access::Call::CapturePayment,
        Asked::GetPaymentStatus(_) => access::Call::GetPaymentStatus,
        Asked::ProcessRefund(_) => access::Call::ProcessRefund,
    }
}

#[cfg(test)]
mod tests {
    use onrush_grpc::DESCRIPTORS;
    use prost_reflect::DescriptorPool;

    use super::*;

    /// What admits a call is the row of its name.
    #[test]
    fn each_call_is_admitted_by_its_own_row() {
        let all = [
            Asked::ValidateProducts(Box::default()),
            Asked::GetProductDetails(Box::default()),
            Asked::UpdateStock(Box::default()),
            Asked::PutProduct(Box::default()),
            Asked::CreateOrder(Box::default()),
            Asked::ProcessPayment(Box::default()),
            Asked::GetOrderStatus(Box::default()),
            Asked::CancelOrder(Box::default()),
            Asked::CreatePayment(Box::default()),
            Asked::CapturePayment(Box::default()),
            Asked::GetPaymentStatus(Box::default()),
            Asked::ProcessRefund(Box::default()),
        ];
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let message = pool.get_message_by_name("onrush.session.v1.Call").unwrap();
        let choice = message.oneofs().next().unwrap();
        let described: Vec<String> = choice
            .fields()
            .map(|field| {
                let kind = field.kind();
                let body = kind.as_message().unwrap();
                let call = body.name().strip_suffix("Request").unwrap();
                let service = pool.services().find(|service| {
                    service.methods().any(|method| method.name() == call && method.input() == *body)
                });
                format!("{}/{call}", service.unwrap().full_name())
            })
            .collect();
        let named: Vec<String> = all
            .iter()
            .map(|asked| {
                let call = name(asked);
                format!("{}/{}", call.service(), call.name())
            })
            .collect();
        assert_eq!(named, described);
    }
}
