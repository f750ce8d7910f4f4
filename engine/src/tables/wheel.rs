//! Timers: a hierarchical wheel over the entries of a slab (Varghese and Lauck, 1987).
//!
//! Six levels of 64 slots; one tick is 1,024 us, so the wheel spans two years. Insert and remove are O(1)
//! and allocate only when the slab grows. Expiry is exact: entries of the running tick wait in a
//! list of their own and are compared with the time itself.

const LEVELS: usize = 6;
const SLOTS: usize = 64;
const TICK_SHIFT: u32 = 10;
/// The furthest slot of the top level. One slot more would be the present one again.
const MAX_TICKS: u64 = (SLOTS as u64 - 1) << (6 * (LEVELS - 1));
const NONE: u32 = u32::MAX;
/// The list of entries whose tick has come and whose time perhaps not.
const DUE: u16 = (LEVELS * SLOTS) as u16;
const IDLE: u16 = DUE + 1;

#[derive(Clone, Copy)]
struct Link {
    deadline_us: u64,
    previous: u32,
    next: u32,
    list: u16,
}

/// Deadlines of slab entries.
pub struct Wheel {
    links: Vec<Link>,
    heads: [u32; LEVELS * SLOTS + 1],
    occupied: [u64; LEVELS],
    /// Ticks up to here have been moved to the due list.
    elapsed: u64,
    armed: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            links: Vec::new(),
            heads: [NONE; LEVELS * SLOTS + 1],
            occupied: [0; LEVELS],
            elapsed: 0,
            armed: 0,
        }
    }
}

impl Wheel {
    /// Arms (or re-arms) the timer of entry `index`.
    pub fn arm(&mut self, index: u32, deadline_us: u64) {
        self.disarm(index);
        let idle = Link { deadline_us: 0, previous: NONE, next: NONE, list: IDLE };
        if self.links.len() <= index as usize {
            self.links.resize(index as usize + 1, idle);
        }
        self.links[index as usize].deadline_us = deadline_us;
        self.armed += 1;
        self.place(index);
    }

    /// Disarms the timer of entry `index`, if it is armed.
    pub fn disarm(&mut self, index: u32) {
        if self.is_armed(index) {
            self.unlink(index);
            self.armed -= 1;
        }
    }

    /// Takes one entry whose deadline is at or before `now_us`; earlier ticks come first.
    pub fn pop_due(&mut self, now_us: u64) -> Option<u32> {
        loop {
            if let Some(index) = self.first_due(now_us) {
                self.disarm(index);
                return Some(index);
            }
            if !self.advance(now_us >> TICK_SHIFT) {
                return None;
            }
        }
    }

    /// Lets time pass without taking anything: whoever follows another's decisions takes nothing out, and would have all of
    /// it to move at once when it is its turn to decide.
    pub fn pass(&mut self, now_us: u64) {
        let tick = now_us >> TICK_SHIFT;
        // Within a tick there is nothing to move.
        while tick > self.elapsed && self.advance(tick) {}
    }

    /// When the host should look again: exact within the running tick, else the start of the next
    /// occupied slot (never later than the first deadline).
    pub fn next_deadline_us(&self) -> Option<u64> {
        let due = self.due_list().map(|index| self.links[index as usize].deadline_us).min();
        due.or_else(|| self.next_slot().map(|(_, _, tick)| tick << TICK_SHIFT))
    }

    /// True if the timer of entry `index` is armed.
    pub fn is_armed(&self, index: u32) -> bool {
        self.links.get(index as usize).is_some_and(|link| link.list != IDLE)
    }

    /// Timers armed.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// True if none is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Memory in bytes.
    pub fn bytes(&self) -> u64 {
        (self.links.capacity() * size_of::<Link>() + size_of::<Self>()) as u64
    }

    fn due_list(&self) -> impl Iterator<Item = u32> {
        let some = |index: u32| (index != NONE).then_some(index);
        std::iter::successors(some(self.heads[usize::from(DUE)]), move |index| {
            some(self.links[*index as usize].next)
        })
    }

    fn first_due(&self, now_us: u64) -> Option<u32> {
        self.due_list().find(|index| self.links[*index as usize].deadline_us <= now_us)
    }

    fn place(&mut self, index: u32) {
        let tick = (self.links[index as usize].deadline_us >> TICK_SHIFT).min(self.elapsed + MAX_TICKS);
        if tick <= self.elapsed {
            return self.link(index, DUE);
        }
        let significant = 63 - ((self.elapsed ^ tick) | (SLOTS as u64 - 1)).leading_zeros();
        let level = (significant as usize / 6).min(LEVELS - 1);
        let slot = (tick >> (6 * level)) as usize % SLOTS;
        self.occupied[level] |= 1 << slot;
        self.link(index, (level * SLOTS + slot) as u16);
    }

    fn link(&mut self, index: u32, list: u16) {
        let head = std::mem::replace(&mut self.heads[usize::from(list)], index);
        if head != NONE {
            self.links[head as usize].previous = index;
        }
        let link = &mut self.links[index as usize];
        (link.previous, link.next, link.list) = (NONE, head, list);
    }

    fn unlink(&mut self, index: u32) {
        let Link { previous, next, list, .. } = self.links[index as usize];
        match previous {
            NONE => self.heads[usize::from(list)] = next,
            _ => self.links[previous as usize].next = next,
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.links[index as usize].list = IDLE;
        if list < DUE && self.heads[usize::from(list)] == NONE {
            self.occupied[usize::from(list) / SLOTS] &= !(1 << (usize::from(list) % SLOTS));
        }
    }

    /// The next occupied slot: level, slot, and the tick at which it begins.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        (0..LEVELS).find(|level| self.occupied[*level] != 0).map(|level| {
            let now_slot = (self.elapsed >> (6 * level)) as u32 % SLOTS as u32;
            let ahead = self.occupied[level].rotate_right(now_slot).trailing_zeros();
            let slot = (now_slot + ahead) as usize % SLOTS;
            let start = (self.elapsed >> (6 * level)) + u64::from(ahead);
            (level, slot, start << (6 * level))
        })
    }

    /// Moves the next slot that begins at or before `tick`; false if there is none.
    fn advance(&mut self, tick: u64) -> bool {
        let Some((level, slot, start)) = self.next_slot().filter(|(_, _, start)| *start <= tick) else {
            self.elapsed = self.elapsed.max(tick);
            return false;
        };
        self.elapsed = self.elapsed.max(start);
        let list = level * SLOTS + slot;
        while self.heads[list] != NONE {
            let index = self.heads[list];
            self.unlink(index);
            self.place(index);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A follower that had let no time pass had a million timers to move in its first turn as a leader, and lost its
    /// office over it.
    #[test]
    fn what_time_has_passed_over_is_not_moved_again() {
        let now = 1_700_000_000_000_000;
        let (mut passed, mut still) = (Wheel::default(), Wheel::default());
        for (index, at) in (0..1_000_u32).zip((now..).step_by(1_000)) {
            passed.pass(at);
            for wheel in [&mut passed, &mut still] {
                wheel.arm(index, at + 600_000_000);
            }
        }
        let levels =
            |wheel: &Wheel| wheel.links.iter().map(|link| usize::from(link.list) / SLOTS).max().unwrap();
        assert!(levels(&passed) < levels(&still), "{} {}", levels(&passed), levels(&still));
        let due = |wheel: &mut Wheel| std::iter::from_fn(|| wheel.pop_due(now + 600_500_000)).count();
        assert_eq!((due(&mut passed), due(&mut still)), (501, 501));
    }

    #[test]
    fn a_deadline_beyond_the_wheel_waits_in_its_last_slot() {
        let (mut wheel, now) = (Wheel::default(), 1_700_000_000_000_000);
        assert_eq!(wheel.pop_due(now), None);
        let far = now + (100 << 46);
        wheel.arm(0, far);
        assert_eq!(wheel.pop_due(now + 5), None);
        assert_eq!(wheel.pop_due(far - 1), None);
        assert_eq!(wheel.next_deadline_us(), Some(far));
        assert_eq!(wheel.pop_due(far), Some(0));
    }

    proptest! {
        #[test]
        fn fires_exactly_what_is_due(
            steps in prop::collection::vec((0u32..50, 1u64..200_000_000_000, any::<bool>(), 0u64..3_000_000_000), 1..200),
        ) {
            let (mut wheel, mut model, mut now) = (Wheel::default(), BTreeMap::new(), 1_700_000_000_000_000u64);
            let far = [1u64, 1_000, 1_000_000, 1_000_000_000];
            for (index, after, disarm, pass) in steps {
                if disarm {
                    wheel.disarm(index);
                    model.remove(&index);
                } else {
                    let deadline = now + after / far[index as usize % 4];
                    wheel.arm(index, deadline);
                    model.insert(index, deadline);
                }
                now += pass / far[after as usize % 4];
                if let Some(next) = wheel.next_deadline_us() {
                    prop_assert!(next <= *model.values().min().unwrap(), "the host would wake too late");
                }
                let mut fired: Vec<u32> = std::iter::from_fn(|| wheel.pop_due(now)).collect();
                let mut due: Vec<u32> = model.iter().filter(|(_, at)| **at <= now).map(|(index, _)| *index).collect();
                fired.sort_unstable();
                due.sort_unstable();
                prop_assert_eq!(&fired, &due);
                model.retain(|_, at| *at > now);
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
