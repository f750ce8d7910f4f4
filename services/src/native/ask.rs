//! From an entry of a frame to a request of the engine, by the rules of every edge.

use onrush_engine::EngineHandle;
use onrush_proto::frame::{CommandEntry, Operation};
use onrush_proto::{CallerKey, Command, IdempotencyKey, Refusal, Request, Slot};
use uuid::Uuid;

use crate::access::Admitted;
use crate::deadline::WAIT_MAX;
use crate::events::readers;
use crate::field::{self, FieldError};
use crate::status::Rejection;

/// Digits of a key.
const KEY_DIGITS: usize = 32;

/// Makes requests. Allocates nothing for an order of one line.
pub(super) struct Asker {
    engine: EngineHandle,
    /// Keys for callers that bring none: a number nobody else begins at, and how many were made.
    fresh: u128,
}

impl Asker {
    pub(super) fn new(engine: EngineHandle) -> Self {
        Self { engine, fresh: Uuid::new_v4().as_u128() }
    }

    /// What the engine is to be asked for a caller at this time.
    pub(super) fn request(
        &mut self,
        caller: &Admitted,
        operation: Operation,
        entry: &CommandEntry<'_>,
        now_us: u64,
    ) -> Result<Request, Rejection> {
        let mut command = entry.command()?;
        check(caller, &mut command)?;
        self.check_shard(&command)?;
        let mut request = match operation {
            // A position that is set twice is set once: a key of it would be kept for nothing.
            Operation::GetOrder | Operation::GetStock | Operation::CommitOffset => Request::unkeyed(command),
            _ => Request::new(self.key(caller, entry.key, command.slot()), command),
        };
        if entry.patience_us != 0 {
            request.deadline_us = now_us.saturating_add(entry.patience_us.min(WAIT_MAX.as_micros() as u64));
        }
        Ok(request)
    }

    /// A position is one of a shard that there is.
    fn check_shard(&self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::CommitOffset(commit) if u16::from(commit.slot.0) >= self.engine.slot_map().shards() => {
                Err(Refusal::Invalid { field: "shard", expected: "one of the Welcome" })
            }
            _ => Ok(()),
        }
    }

    /// The key of a changing command: over gRPC the same is its 32 hex digits as `request_id`.
    fn key(&mut self, caller: &Admitted, given: u128, slot: Slot) -> IdempotencyKey {
        if given == 0 {
            self.fresh = self.fresh.wrapping_add(1);
            return self.engine.fresh_key(slot, self.fresh);
        }
        let digits = digits(given);
        let key = std::str::from_utf8(&digits).unwrap_or_default();
        self.engine.key(CallerKey { caller: caller.name(), key })
    }
}

fn digits(key: u128) -> [u8; KEY_DIGITS] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| HEX[(key >> ((KEY_DIGITS - 1 - at) * 4)) as usize & 15])
}

/// What every edge asks of the fields before the engine sees them.
fn check(caller: &Admitted, command: &mut Command) -> Result<(), Rejection> {
    match command {
        Command::CreateOrder(create) => {
            create.customer = caller.customer(create.customer.as_str())?;
            if let Some(index) = create.lines.iter().position(|line| line.sku.is_empty()) {
                named(&create.lines[index].sku)
                    .map_err(|error| FieldError { path: format!("lines[{index}].sku"), ..error })?;
            }
        }
        Command::StartPayment(start) => {
            field::payment_method("payment_method", start.method.as_str())?;
        }
        Command::PutProduct(put) => {
            field::description(&put.name, &put.description)?;
            field::price(put.price)?;
            named(&put.sku)?;
        }
        Command::UpdateStock(update) => named(&update.sku)?,
        Command::GetStock(sku) => named(sku)?,
        Command::CommitOffset(commit) => readers::must_be_free(&commit.group, commit.topic)?,
        // Numbers, and amounts that the engine holds against what there is.
        _ => {}
    }
    Ok(())
}

fn named(sku: &onrush_proto::Sku) -> Result<(), FieldError> {
    field::name::<39>("sku", sku.as_str()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_digits() {
        for key in [1, 0xab, u128::MAX, 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10] {
            assert_eq!(digits(key), format!("{key:032x}").as_bytes(), "{key:x}");
        }
    }
}
