//! `CreateOrderRequest`, as nearly all of them are: one line under a key.

use std::str;

use onrush_proto::{CustomerId, OrderLine, Sku};
use smallvec::SmallVec;

use super::{Fields, Odd, Value, once};

/// Most bytes of an idempotency key.
pub const REQUEST_ID_BYTES_MAX: usize = 255;

/// An idempotency key in place: most are UUIDs as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RequestId(SmallVec<[u8; 40]>);

impl RequestId {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        // It was one when it was read.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// An order of one line, none of whose fields is missing, too long or there twice. Any other is [`Odd`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PlainOrder {
    pub(crate) request_id: RequestId,
    /// Empty is the caller.
    pub(crate) customer: CustomerId,
    pub(crate) line: OrderLine,
    pub(crate) hold_us: u64,
}

impl PlainOrder {
    /// Reads a `CreateOrderRequest`.
    pub(crate) fn read(message: &[u8]) -> Result<Self, Odd> {
        let [mut request_id, mut customer, mut line, mut hold_us] = [None; 4];
        for field in Fields::of(message) {
            once(field?, [&mut request_id, &mut customer, &mut line, &mut hold_us])?;
        }
        let request_id = request_id.ok_or(Odd)?.text()?;
        if request_id.is_empty() || request_id.len() > REQUEST_ID_BYTES_MAX {
            return Err(Odd);
        }
        let customer = customer.map_or(Ok(""), Value::text)?;
        Ok(Self {
            request_id: RequestId(SmallVec::from_slice(request_id.as_bytes())),
            customer: CustomerId::new(customer).map_err(|_| Odd)?,
            line: read_line(line.ok_or(Odd)?.bytes()?)?,
            hold_us: hold_us.map_or(Ok(0), Value::number)?,
        })
    }
}

fn read_line(message: &[u8]) -> Result<OrderLine, Odd> {
    let [mut sku, mut quantity, mut ceiling] = [None; 3];
    for field in Fields::of(message) {
        once(field?, [&mut sku, &mut quantity, &mut ceiling])?;
    }
    let sku = sku.ok_or(Odd)?.text()?;
    if sku.is_empty() {
        return Err(Odd);
    }
    Ok(OrderLine {
        sku: Sku::new(sku).map_err(|_| Odd)?,
        quantity: quantity.map_or(Ok(0), Value::signed)?,
        max_unit_minor: ceiling.map_or(Ok(i64::MAX), Value::signed)?,
    })
}

#[cfg(test)]
mod tests {
    use onrush_grpc::order::v1::{CreateOrderRequest, NewOrderLine};
    use prost::Message as _;

    use super::*;

    fn plain() -> CreateOrderRequest {
        CreateOrderRequest {
            request_id: "cart-7".into(),
            customer_id: "ada".into(),
            lines: vec![NewOrderLine { sku: "tea".into(), quantity: 2, max_unit_price: Some(499) }],
            hold_us: 60_000_000,
        }
    }

    fn read(message: &CreateOrderRequest) -> Result<PlainOrder, Odd> {
        PlainOrder::read(&message.encode_to_vec())
    }

    #[test]
    fn an_order_of_one_line_reads_as_the_generated_code_reads_it() {
        let found = read(&plain()).unwrap();
        let sku = "tea".parse().unwrap();
        assert_eq!((found.request_id.as_str(), found.customer.as_str()), ("cart-7", "ada"));
        assert_eq!(found.line, OrderLine { sku, quantity: 2, max_unit_minor: 499 });
        assert_eq!(found.hold_us, 60_000_000);

        let line = NewOrderLine { sku: "tea".into(), quantity: 0, max_unit_price: None };
        let least = CreateOrderRequest { customer_id: "".into(), lines: vec![line], hold_us: 0, ..plain() };
        let found = read(&least).unwrap();
        assert_eq!((found.customer.as_str(), found.hold_us), ("", 0));
        assert_eq!(found.line, OrderLine { sku, quantity: 0, max_unit_minor: i64::MAX });
    }

    #[test]
    fn what_the_edge_has_to_judge_is_odd() {
        let line = plain().lines.remove(0);
        let with = |line| CreateOrderRequest { lines: vec![line], ..plain() };
        let odd = [
            CreateOrderRequest { request_id: "".into(), ..plain() },
            CreateOrderRequest { request_id: "k".repeat(256), ..plain() },
            CreateOrderRequest { customer_id: "c".repeat(40), ..plain() },
            CreateOrderRequest { lines: vec![], ..plain() },
            CreateOrderRequest { lines: vec![line.clone(), line.clone()], ..plain() },
            with(NewOrderLine { sku: "".into(), ..line.clone() }),
            with(NewOrderLine { sku: "s".repeat(40), ..line.clone() }),
            with(NewOrderLine { quantity: -1, ..line.clone() }),
            with(NewOrderLine { max_unit_price: Some(-1), ..line }),
        ];
        for message in odd {
            assert_eq!(read(&message), Err(Odd), "{message:?}");
        }
        let whole = plain().encode_to_vec();
        for cut in 0..whole.len() {
            let piece = PlainOrder::read(&whole[..cut]);
            // What a cut leaves whole is what the generated code makes of it.
            assert!(piece.is_err() || CreateOrderRequest::decode(&whole[..cut]).is_ok(), "{cut}");
        }
        let twice = [&whole[..], &[0x20, 1]].concat();
        let unknown = [&whole[..], &[0x28, 1]].concat();
        let mut no_text = whole;
        no_text[2] = 0xff;
        for bytes in [twice, unknown, no_text] {
            assert_eq!(PlainOrder::read(&bytes), Err(Odd), "{bytes:?}");
        }
    }
}
