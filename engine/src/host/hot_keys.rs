//! How much of the demand is for one SKU: a sample of one order a batch in a sketch of fixed size, so that
//! an order costs nothing.

use std::collections::VecDeque;

use onrush_proto::{Command, Sku};

use crate::shard::{Input, PeerMessage};
use crate::tables::hash_of;

/// SKUs that are counted at once: one that has a sixteenth of the demand stays among them.
const KEYS: usize = 16;
/// Inputs that are looked at for an order.
const LOOKS_MAX: usize = 8;
/// Samples that weigh fully; with as many again everything counts half.
const SAMPLES_MAX: u32 = 1_024;

/// A sketch after Metwally's space saving: who is not counted takes the place of who counts least, and
/// remembers how much of the count is not its own.
#[derive(Default)]
pub(super) struct HotKeys {
    counted: [Counted; KEYS],
    samples: u32,
    turns: usize,
}

#[derive(Clone, Copy, Default)]
struct Counted {
    key: u64,
    count: u32,
    inherited: u32,
}

impl HotKeys {
    /// Samples one of a batch's orders, from another place each time.
    pub(super) fn look(&mut self, inputs: &VecDeque<Input>) {
        self.turns = (self.turns + 1) % (1 << 20);
        let places = (0..inputs.len().min(LOOKS_MAX)).map(|step| (self.turns + step) % inputs.len());
        let sku = places.filter_map(|place| wanted(&inputs[place])).next();
        if let Some(sku) = sku {
            self.sample(hash_of(sku));
        }
    }

    /// At least this share of the latest orders wants one and the same SKU, in millionths.
    pub(super) fn share_ppm(&self) -> u64 {
        let own = self.counted.iter().map(|each| each.count - each.inherited).max().unwrap_or_default();
        u64::from(own) * 1_000_000 / u64::from(self.samples.max(1))
    }

    fn sample(&mut self, key: u64) {
        if self.samples == 2 * SAMPLES_MAX {
            self.samples /= 2;
            for each in &mut self.counted {
                each.count /= 2;
                each.inherited /= 2;
            }
        }
        self.samples += 1;
        if let Some(found) = self.counted.iter_mut().find(|each| each.key == key && each.count > 0) {
            found.count += 1;
        } else if let Some(least) = self.counted.iter_mut().min_by_key(|each| each.count) {
            *least = Counted { key, count: least.count + 1, inherited: least.count };
        }
    }
}

/// What an order wants first.
fn wanted(input: &Input) -> Option<&Sku> {
    let request = match input {
        Input::Request { request, .. } => request,
        Input::Peer { message: PeerMessage::Forward { request, .. }, .. } => request,
        Input::Peer { .. } => return None,
    };
    match &request.command {
        Command::CreateOrder(create) => create.lines.first().map(|line| &line.sku),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_key_is_told_by_its_share_and_even_demand_has_none() {
        let mut even = HotKeys::default();
        (0..10_000).for_each(|key| even.sample(key));
        assert!(even.share_ppm() < 10_000, "{}", even.share_ppm());

        let mut hot = HotKeys::default();
        for key in 1..10_000 {
            hot.sample(if key % 4 == 0 { 0 } else { key });
        }
        assert!((240_000..=260_000).contains(&hot.share_ppm()), "{}", hot.share_ppm());
        // What was hot is forgotten.
        (10_000..30_000).for_each(|key| hot.sample(key));
        assert!(hot.share_ppm() < 10_000, "{}", hot.share_ppm());
    }
}
