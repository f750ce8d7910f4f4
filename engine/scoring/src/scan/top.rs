//! The best of many: a buffer that is thinned when it is full, and a threshold that keeps the rest out.

use super::BLOCK_ITEMS;

/// How many entries a buffer that keeps so many takes before it is thinned. More of them cost fewer, longer
/// thinnings and a threshold that lags.
const fn room_for(keep: usize) -> usize {
    keep + keep / 2 + 32
}

/// The best `keep` of the items that were offered, in no order until they are sorted.
#[derive(Debug)]
pub(super) struct Top {
    /// See [`key`].
    keys: Vec<u64>,
    keep: usize,
    /// Who does not score more than this cannot enter. Items come by rising number, so an equal score loses.
    threshold: f32,
}

/// What a pass hands its scores to.
pub(super) struct Sink<'a> {
    /// One for each query.
    pub(super) tops: &'a mut [Top],
    pub(super) items: u32,
    /// Whether an item may stand in the top of a query.
    pub(super) admit: &'a mut dyn FnMut(usize, u32) -> bool,
}

impl Top {
    /// With room for the best `keep_max` of any number.
    pub(super) fn with_room_for(keep_max: usize) -> Self {
        Self { keys: Vec::with_capacity(room_for(keep_max)), keep: 0, threshold: f32::INFINITY }
    }

    /// Begins anew; `keep` is at most the room that there is.
    pub(super) fn begin(&mut self, keep: usize) {
        self.keys.clear();
        self.keep = keep;
        self.threshold = if keep == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
    }

    /// Puts an item in that scores above the threshold.
    fn push(&mut self, score: f32, item: u32) {
        self.keys.push(key(score, item));
        if self.keys.len() == room_for(self.keep) {
            let (_, last, _) = self.keys.select_nth_unstable(self.keep - 1);
            self.threshold = entry(*last).1;
            self.keys.truncate(self.keep);
        }
    }

    /// Leaves out who is not among the best `keep`, and tells who is.
    pub(super) fn items(&mut self) -> impl Iterator<Item = u32> {
        if self.keys.len() > self.keep {
            self.keys.select_nth_unstable(self.keep - 1);
            self.keys.truncate(self.keep);
        }
        self.keys.iter().map(|key| entry(*key).0)
    }

    /// Scores who is there anew.
    pub(super) fn rescore(&mut self, mut score: impl FnMut(u32) -> f32) {
        for place in &mut self.keys {
            let item = entry(*place).0;
            *place = key(score(item), item);
        }
    }

    /// The first `k` as (item, score), the best first, equal ones by number.
    pub(super) fn first(&mut self, k: usize) -> impl Iterator<Item = (u32, f32)> {
        if self.keys.len() > k && k > 0 {
            self.keys.select_nth_unstable(k - 1);
        }
        self.keys.truncate(k);
        self.keys.sort_unstable();
        self.keys.iter().map(|key| entry(*key))
    }
}

impl Sink<'_> {
    /// Above what a score has to be, by query.
    pub(super) fn thresholds<const N: usize>(&self) -> [f32; N] {
        std::array::from_fn(|n| self.tops[n].threshold)
    }

    /// Takes the lanes of a block that scored above a threshold that a query had.
    pub(super) fn offer(&mut self, n: usize, block: usize, above: u16, scores: &[f32; BLOCK_ITEMS]) {
        let top = &mut self.tops[n];
        let mut left = above;
        while left != 0 {
            let lane = left.trailing_zeros();
            left &= left - 1;
            let (item, score) = ((block * BLOCK_ITEMS) as u32 + lane, scores[lane as usize]);
            // Lanes of the padding come last, and the threshold may have risen since.
            if item < self.items && score > top.threshold && (self.admit)(n, item) {
                top.push(score, item);
            }
        }
    }
}

/// A number that is lower the better the score, and among equal scores the lower the item.
pub(crate) fn key(score: f32, item: u32) -> u64 {
    // Both zeros are one score.
    let bits = (score + 0.0).to_bits();
    let falling = if bits >> 31 == 0 { !(bits | 1 << 31) } else { bits };
    u64::from(falling) << 32 | u64::from(item)
}

/// The item and the score of a key.
pub(crate) fn entry(key: u64) -> (u32, f32) {
    let falling = (key >> 32) as u32;
    let bits = if falling >> 31 == 0 { !falling & !(1 << 31) } else { falling };
    (key as u32, f32::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_by_falling_score_then_by_number() {
        let scores = [f32::MAX, 1.5, 1.0, f32::MIN_POSITIVE, 1e-45, 0.0, -1e-45, -1.0, -1.5, f32::MIN];
        for (at, score) in scores.into_iter().enumerate() {
            assert_eq!(entry(key(score, 7)), (7, score));
            assert!(key(score, 7) < key(score, 8));
            for lower in &scores[at + 1..] {
                assert!(key(score, u32::MAX) < key(*lower, 0), "{score} before {lower}");
            }
        }
        assert_eq!(key(-0.0, 3), key(0.0, 3));
    }

    #[test]
    fn keeps_the_best_and_asks_only_for_who_would_enter() {
        let mut random = fastrand::Rng::with_seed(3);
        // Few values, so that many are equal.
        let scores: Vec<[f32; 16]> =
            (0..4000).map(|_| std::array::from_fn(|_| random.i32(-300..300) as f32)).collect();
        let items = 4000 * 16 - 5;
        let admitted = |item: u32| !item.is_multiple_of(3);
        let mut wanted: Vec<(u32, f32)> = (0..items)
            .map(|item| (item, scores[item as usize / 16][item as usize % 16]))
            .filter(|(item, _)| admitted(*item))
            .collect();
        wanted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for keep in [0, 1, 20, 1000] {
            let mut tops = [Top::with_room_for(1000)];
            let room = tops[0].keys.capacity();
            tops[0].begin(keep);
            let mut asked = 0;
            let mut admit = |_: usize, item: u32| {
                asked += 1;
                admitted(item)
            };
            let mut sink = Sink { tops: &mut tops, items, admit: &mut admit };
            for (block, scores) in scores.iter().enumerate() {
                sink.offer(0, block, u16::MAX, scores);
            }
            assert!(asked < items as usize / 2, "asked {asked} times to keep {keep}");
            assert_eq!(tops[0].keys.capacity(), room);
            assert_eq!(tops[0].first(keep).collect::<Vec<_>>(), wanted[..keep], "{keep}");
        }
    }
}
