//! ValidateProducts as nearly all of them are: lines are read where they lie, and judged by what is published straight
//! into the answer.

use onrush_engine::StockView;
use onrush_engine::views::{Views, validate as validate_line};
use onrush_proto::Refusal;
use prost::bytes::{Buf as _, BufMut, Bytes, BytesMut};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::protobuf::{
    Fields, Line, Odd, bytes_len, money_len, number_len, put_begin, put_money, put_number, put_text, text_len,
};
use crate::unary;

/// Lines of a plain request: each is held against all before it.
const LINES_MAX: usize = 512;
/// Lines that are remembered without an allocation.
const LINES_IN_PLACE: usize = 64;
/// Bytes that the verdict on a line takes more than the line: reason, available units, price.
const VERDICT_BYTES: usize = 48;
/// Bytes of the field that says that all lines are valid.
const VALID_BYTES: usize = 2;

/// Answers a `ValidateProductsRequest` as its `ValidateProductsResponse`, sealed. Lines whose SKU is none, or whose
/// quantity is negative, are [`Odd`].
pub(super) fn validate(views: &Views, message: &[u8]) -> Result<Bytes, Odd> {
    let lines = Fields::of(message).take(LINES_MAX + 1).count();
    if !(1..=LINES_MAX).contains(&lines) {
        return Err(Odd);
    }
    let mut out = unary::begin(VALID_BYTES + message.len() + lines * VERDICT_BYTES);
    put_number(&mut out, 1, 1);
    let (mut seen, mut all_valid) = (Seen::default(), true);
    for (index, line) in Line::all(message).enumerate() {
        let line = line?;
        let stock = views.stock(&line.sku);
        let first = if lines == 1 { None } else { seen.insert(line.text) };
        // Indices fit: there are few lines.
        let refusal = match first {
            Some(first) => Some(Refusal::DuplicateSku { line: index as u16, first }),
            None => validate_line(index as u16, line.quantity, stock.as_ref()),
        };
        all_valid &= refusal.is_none();
        put_verdict(&mut out, line.text, refusal.as_ref(), stock.as_ref());
    }
    Ok(unary::seal(if all_valid { out } else { without_valid(out) }))
}

/// The same message, not all of whose lines are valid: what is false is not written.
fn without_valid(mut out: BytesMut) -> BytesMut {
    out.advance(VALID_BYTES);
    out[..unary::PREFIX_BYTES].fill(0);
    out
}

fn put_verdict(out: &mut impl BufMut, sku: &str, refusal: Option<&Refusal>, stock: Option<&StockView>) {
    let valid = u64::from(refusal.is_none());
    let reason = refusal.map_or("", |refusal| refusal.reason().0);
    let available = stock.map_or(0, |stock| stock.available.max(0)) as u64;
    let price = stock.map_or(0, |stock| bytes_len(money_len(stock.price)));
    let len = text_len(sku) + number_len(valid) + text_len(reason) + number_len(available) + price;
    put_begin(out, 2, len);
    put_text(out, 1, sku);
    put_number(out, 2, valid);
    put_text(out, 3, reason);
    put_number(out, 4, available);
    if let Some(stock) = stock {
        put_money(out, 5, stock.price);
    }
}

/// SKUs of the lines before, each behind a mark by which most others are told apart.
#[derive(Default)]
struct Seen<'a> {
    marks: SmallVec<[u32; LINES_IN_PLACE]>,
    skus: SmallVec<[&'a str; LINES_IN_PLACE]>,
}

impl<'a> Seen<'a> {
    /// The earlier line with this SKU; it is one for those that follow.
    fn insert(&mut self, sku: &'a str) -> Option<u16> {
        let mark = xxh3_64(sku.as_bytes()) as u32;
        let first =
            self.marks.iter().enumerate().position(|(at, other)| *other == mark && self.skus[at] == sku);
        self.marks.push(mark);
        self.skus.push(sku);
        first.map(|first| first as u16)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use onrush_engine::views::ShardViews;
    use onrush_grpc::product::v1::{ProductLine, ValidateProductsRequest};
    use onrush_proto::command::MAX_QUANTITY;
    use onrush_proto::{Currency, Money, Sku, SlotMap, StockRow};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::validate::judge;
    use super::*;
    use crate::backend::Shelf;

    const SKUS: [&str; 7] =
        ["tea", "old", "dear", "owed", "few", "Tee für Zwei und noch einen, 39 Bytes!", "nobody knows it"];

    /// All of them but the last.
    fn views() -> Views {
        let shard = ShardViews::default();
        let row = StockRow {
            sku: Sku::EMPTY,
            on_hand: 3,
            held: 0,
            sold: 0,
            received: 3,
            version: 1,
            price: Money::new(450, Currency::EUR),
            limit_per_customer: 0,
            limit_returns: false,
            backorder: 0,
            hold_us: 0,
            active: true,
        };
        let rows = [
            row,
            StockRow { active: false, ..row },
            StockRow { on_hand: i64::MAX, price: Money::new(i64::MAX, Currency::EUR), ..row },
            StockRow { on_hand: -1, backorder: 4, ..row },
            StockRow { limit_per_customer: 2, ..row },
            StockRow { price: Money::new(0, Currency::EUR), on_hand: 0, ..row },
        ];
        for (position, (sku, row)) in SKUS.iter().zip(rows).enumerate() {
            shard.publish_stock(position as u32, &StockRow { sku: sku.parse().unwrap(), ..row });
        }
        Views::new(vec![Arc::new(shard)], SlotMap::new(1).unwrap())
    }

    fn sealed(message: &impl prost::Message) -> Bytes {
        let mut out = unary::begin(message.encoded_len());
        message.encode(&mut out).unwrap();
        unary::seal(out)
    }

    fn line(sku: &str, quantity: i64) -> ProductLine {
        ProductLine { sku: sku.into(), quantity }
    }

    fn lines(lines: &[ProductLine]) -> Vec<u8> {
        ValidateProductsRequest { lines: lines.to_vec() }.encode_to_vec()
    }

    /// What the generated code makes of a request that is not to be refused.
    fn generated(message: &[u8]) -> Bytes {
        let lines = ValidateProductsRequest::decode(message).unwrap().lines;
        sealed(&judge(&Shelf::Views(&views()), lines).unwrap())
    }

    #[test]
    fn verdicts_are_written_as_the_generated_code_writes_them() {
        let one = SKUS.map(|sku| vec![line(sku, 1)]);
        let quantities = [0, 1, 2, 3, MAX_QUANTITY, MAX_QUANTITY + 1, i64::MAX];
        let many = quantities.map(|quantity| SKUS.map(|sku| line(sku, quantity)).to_vec());
        let twice = [line("tea", 1), line("cup", 1), line("tea", 0), line("cup", 2), line("tea", 1)];
        let full: Vec<_> = (0..LINES_MAX).map(|at| line(&format!("sku{}", at % 500), 1)).collect();
        for asked in one.into_iter().chain(many).chain([twice.to_vec(), full]) {
            let message = lines(&asked);
            let told = validate(&views(), &message).unwrap();
            assert_eq!(told, generated(&message), "{asked:?}");
            let most = VALID_BYTES + message.len() + asked.len() * VERDICT_BYTES;
            assert!(told.len() <= unary::PREFIX_BYTES + most, "there was room for {asked:?}");
        }
    }

    #[test]
    fn lines_that_the_edge_has_to_judge_are_odd() {
        let long = "s".repeat(40);
        let wrong = [line("", 1), line(&long, 1), line("tea", -1), line("tea", i64::MIN)];
        for wrong in wrong {
            assert_eq!(validate(&views(), &lines(&[line("tea", 1), wrong.clone()])), Err(Odd), "{wrong:?}");
        }
        assert_eq!(validate(&views(), &lines(&[])), Err(Odd));
        assert_eq!(validate(&views(), &lines(&vec![line("tea", 1); LINES_MAX + 1])), Err(Odd));
        // An unknown field of the request or of a line, a field of a line that is there twice, no text.
        for bytes in
            ["1000", "0a0712037465611801", "0a0912037465611001", "0a080a0374656110011002", "0a030a01ff"]
        {
            let bytes: Vec<u8> = (0..bytes.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap())
                .collect();
            assert_eq!(validate(&views(), &bytes), Err(Odd), "{bytes:?}");
        }
    }

    fn any_line() -> impl Strategy<Value = ProductLine> {
        let sku = prop_oneof![
            6 => prop::sample::select(SKUS.to_vec()).prop_map(str::to_owned),
            1 => "\\PC{0,12}",
        ];
        let quantity = prop_oneof![5 => 0..5i64, 1 => any::<i64>(), 1 => MAX_QUANTITY - 1..MAX_QUANTITY + 2];
        (sku, quantity).prop_map(|(sku, quantity)| ProductLine { sku, quantity })
    }

    proptest! {
        #[test]
        fn any_lines_are_judged_as_by_the_generated_code(asked in prop::collection::vec(any_line(), 0..80)) {
            let message = lines(&asked);
            let plain = |line: &ProductLine| (1..40).contains(&line.sku.len()) && line.quantity >= 0;
            match validate(&views(), &message) {
                Ok(told) => prop_assert_eq!(told, generated(&message)),
                Err(Odd) => prop_assert!(asked.is_empty() || !asked.iter().all(plain)),
            }
        }

        #[test]
        fn bytes_that_are_bent_are_read_as_by_the_generated_code_or_handed_to_it(
            asked in prop::collection::vec(any_line(), 1..6),
            bends in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut message = lines(&asked);
            for (at, byte) in bends {
                let at = at.index(message.len());
                message[at] = byte;
            }
            message.truncate(cut.index(2 * message.len()).max(1));
            if let Ok(told) = validate(&views(), &message) {
                prop_assert_eq!(told, generated(&message));
            }
        }
    }
}
