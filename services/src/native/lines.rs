//! Whether lines could be ordered now, from published views, straight into the answer.

use onrush_engine::views::validate;
use onrush_engine::{EngineHandle, StockView};
use onrush_proto::command::MAX_LINES;
use onrush_proto::frame::{LineView, ValidateView, Verdict, put_verdict};
use onrush_proto::{Refusal, Sku};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Places of the table of lines: three times as many as there may be lines.
const PLACES: usize = 1 << 15;

/// Judges lines. Allocates nothing.
pub(super) struct Judge {
    engine: EngineHandle,
    seen: Seen,
}

impl Judge {
    pub(super) fn new(engine: EngineHandle) -> Self {
        Self { engine, seen: Seen::new() }
    }

    /// One verdict per line, in their order. All are refused only if they could not be an order at all.
    pub(super) fn verdicts(&mut self, view: &ValidateView<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let lines = view.lines;
        match lines.len() {
            0 => return Err(Refusal::NoLines),
            found if found > MAX_LINES => return Err(Refusal::TooManyLines { found }),
            _ => {}
        }
        self.seen.forget();
        for (index, line) in lines.iter().enumerate() {
            // Indices fit: there are at most 10,000 lines.
            put_verdict(out, &self.verdict(lines, index as u16, line));
        }
        Ok(())
    }

    fn verdict(&mut self, lines: &[LineView], at: u16, line: &LineView) -> Verdict {
        let Some(sku) = line.sku().filter(|sku| !sku.is_empty()) else {
            let refusal = Refusal::Invalid { field: "lines.sku", expected: "1 to 39 bytes of UTF-8" };
            return Verdict::new(Some(&refusal), None);
        };
        let stock = self.engine.stock(&sku);
        let first = if lines.len() == 1 { None } else { self.seen.insert(lines, at, &sku) };
        let refusal = match first {
            Some(first) => Some(Refusal::DuplicateSku { line: at, first }),
            None => validate(at, line.quantity(), stock.as_ref()),
        };
        let shown = |stock: StockView| (stock.available, stock.price);
        Verdict::new(refusal.as_ref(), stock.map(shown))
    }
}

/// Which SKUs stood in earlier lines: an open table that is emptied by counting on.
struct Seen {
    /// In each place a round and the index of a line.
    places: Box<[(u32, u16)]>,
    round: u32,
    /// Nobody outside knows it, so nobody can make SKUs that meet.
    seed: u64,
}

impl Seen {
    fn new() -> Self {
        let seed = Uuid::new_v4().as_u128() as u64;
        Self { places: vec![(0, 0); PLACES].into(), round: 0, seed }
    }

    fn forget(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.places.fill((0, 0));
            self.round = 1;
        }
    }

    /// The earlier line with this SKU; if there is none, this is it for the next.
    fn insert(&mut self, lines: &[LineView], at: u16, sku: &Sku) -> Option<u16> {
        let mut place = xxh3_64_with_seed(sku.as_bytes(), self.seed) as usize % PLACES;
        loop {
            let (round, earlier) = self.places[place];
            if round != self.round {
                self.places[place] = (self.round, at);
                return None;
            }
            if lines[usize::from(earlier)].sku().as_ref() == Some(sku) {
                return Some(earlier);
            }
            place = (place + 1) % PLACES;
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::frame::{FRAME_BYTES_MAX, Frame, Kind, begin, put_line};

    use super::*;

    #[test]
    fn a_sku_that_came_before_is_found_among_many() {
        let mut seen = Seen::new();
        // Rounds that must not see each other's lines, and one in which their number wraps.
        seen.round = u32::MAX - 2;
        for round in 0..4 {
            let mut bytes = Vec::new();
            let open = begin(&mut bytes, Kind::Validate);
            bytes.extend_from_slice(&[0; 8]);
            let sku = |line: usize| -> Sku { format!("sku-{}", line % 9_999).parse().unwrap() };
            (0..MAX_LINES).for_each(|line| put_line(&mut bytes, &sku(line), 1));
            open.seal(&mut bytes, MAX_LINES as u16, 0);
            let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
            let lines = ValidateView::of(&frame).unwrap().lines;
            seen.forget();
            let found: Vec<_> =
                (0..MAX_LINES).filter_map(|at| seen.insert(lines, at as u16, &sku(at))).collect();
            assert_eq!(found, [0], "round {round}");
        }
    }
}
