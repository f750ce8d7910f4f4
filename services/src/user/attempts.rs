//! Back-off of wrong passwords: who errs waits longer and longer, and never for good.
//!
//! Counted per account and address, so that a stranger elsewhere cannot lock the owner out, and per
//! address alone, so that nobody tries one password on all accounts. An attempt counts when it begins:
//! many at once are no way around.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::status::{Denial, Rejection};

/// Attempts that cost no wait, on one account and over all of one address.
const FREE_PER_ACCOUNT: u32 = 5;
const FREE_PER_ADDRESS: u32 = 50;
/// The first wait; each later one is twice as long, up to the longest.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// After this long without an attempt everything is forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// Most accounts and addresses that are remembered.
const ENTRIES_MAX: usize = 65_536;

/// Who tries, as far as it is counted: the address, or the address with an account.
type Key = (IpAddr, Option<String>);

/// What is known of one key.
#[derive(Clone, Copy, Debug)]
struct Count {
    attempts: u32,
    last: Instant,
    free_at: Instant,
}

/// The attempts of this process.
#[derive(Default)]
pub(super) struct Attempts {
    counts: Mutex<HashMap<Key, Count>>,
}

impl Attempts {
    /// Counts an attempt, or says how long to wait.
    pub(super) fn admit(&self, peer: IpAddr, account: &str, now: Instant) -> Result<(), Rejection> {
        let keys = [
            ((network(peer), Some(account.to_owned())), FREE_PER_ACCOUNT),
            ((network(peer), None), FREE_PER_ADDRESS),
        ];
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let free_at = keys.iter().filter_map(|(key, _)| counts.get(key)).map(|count| count.free_at).max();
        if let Some(wait) =
            free_at.and_then(|free_at| free_at.checked_duration_since(now)).filter(|wait| !wait.is_zero())
        {
            let message = "expected a pause after wrong passwords, found another attempt";
            return Err(Denial::new("TOO_MANY_REQUESTS", message).after(wait).into());
        }
        make_room(&mut counts, now);
        for (key, free) in keys {
            let count = counts.entry(key).or_insert(Count { attempts: 0, last: now, free_at: now });
            if now.duration_since(count.last) > MEMORY {
                count.attempts = 0;
            }
            count.attempts = count.attempts.saturating_add(1);
            count.last = now;
            if let Some(beyond) = count.attempts.checked_sub(free) {
                count.free_at = now + WAIT_MIN.saturating_mul(1 << beyond.min(16)).min(WAIT_MAX);
            }
        }
        Ok(())
    }

    /// The password was right: the account is free again from there, and the attempt does not count
    /// against the address.
    pub(super) fn succeeded(&self, peer: IpAddr, account: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(&(network(peer), Some(account.to_owned())));
        if let Some(count) = counts.get_mut(&(network(peer), None)) {
            count.attempts = count.attempts.saturating_sub(1);
        }
    }
}

/// Forgets what is old; if that is not enough, whoever is free anyway, then anybody.
fn make_room(counts: &mut HashMap<Key, Count>, now: Instant) {
    if counts.len() + 2 <= ENTRIES_MAX {
        return;
    }
    counts.retain(|_, count| now.duration_since(count.last) <= MEMORY);
    if counts.len() + 2 > ENTRIES_MAX {
        counts.retain(|_, count| count.free_at > now);
    }
    if counts.len() + 2 > ENTRIES_MAX {
        counts.clear();
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_passwords_cost_longer_and_longer_and_never_for_good() {
        let attempts = Attempts::default();
        let (here, there): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut now = Instant::now();
        for _ in 0..FREE_PER_ACCOUNT {
            attempts.admit(here, "ada", now).unwrap();
        }
        for wait_s in [1, 2, 4, 8, 16, 32, 60, 60] {
            let refused = attempts.admit(here, "ada", now).unwrap_err();
            assert_eq!(refused.retry_after(), Some(Duration::from_secs(wait_s)));
            attempts.admit(there, "ada", now).ok();
            attempts.admit(here, "bob", now).ok();
            now += Duration::from_secs(wait_s);
            attempts.admit(here, "ada", now).unwrap();
        }
        attempts.succeeded(here, "ada");
        attempts.admit(here, "ada", now).unwrap();
        now += MEMORY + WAIT_MAX;
        for _ in 0..FREE_PER_ACCOUNT {
            attempts.admit(here, "ada", now).unwrap();
        }
    }

    #[test]
    fn one_address_cannot_try_all_accounts_and_memory_is_bounded() {
        let attempts = Attempts::default();
        let now = Instant::now();
        let host = |low: u64| IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(low)).into());
        for index in 0..FREE_PER_ADDRESS {
            attempts.admit(host(index.into()), &format!("user-{index}"), now).unwrap();
        }
        let refused = attempts.admit(host(999), "one more", now).unwrap_err();
        assert_eq!(refused.reason().name, "TOO_MANY_REQUESTS");
        for index in 0..u32::try_from(ENTRIES_MAX).unwrap() {
            attempts.admit(IpAddr::V4(index.into()), "ada", now).unwrap();
        }
        assert!(attempts.counts.lock().unwrap().len() <= ENTRIES_MAX);
    }
}
