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

/// Requests for a mail that cost no wait: to one address from anywhere, and from one network.
const FREE_MAILS: u32 = 3;
const FREE_MAILS_PER_NETWORK: u32 = 20;
/// What those who come back from a login provider are counted by, beside their network. It is no account's address:
/// whoever sends somebody's browser here without end keeps nobody from a login by password.
const RETURNS: &str = "\0return";
/// The waits after those.
const MAIL_WAIT_MIN: Duration = Duration::from_secs(60);
const MAIL_WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// Who tries, as far as it is counted: the network, or the network with an account. Mails are counted
/// by whom they are for, too.
type Key = (Option<IpAddr>, Option<String>);

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
    /// Counts an attempt to log in, or says how long to wait.
    pub(super) fn admit(&self, peer: IpAddr, account: &str, now: Instant) -> Result<(), Rejection> {
        let keys = [
            ((network(peer), Some(account.to_owned())), FREE_PER_ACCOUNT),
            ((network(peer), None), FREE_PER_ADDRESS),
        ];
        self.count(&keys, (WAIT_MIN, WAIT_MAX), now)
    }

    /// Counts somebody who comes back from a login provider, or says how long to wait: as many as may err with
    /// passwords from one network.
    pub(super) fn admit_return(&self, peer: IpAddr, now: Instant) -> Result<(), Rejection> {
        let keys = [((network(peer), Some(RETURNS.to_owned())), FREE_PER_ADDRESS)];
        self.count(&keys, (WAIT_MIN, WAIT_MAX), now)
    }

    /// Somebody came back with a login: that does not count.
    pub(super) fn returned(&self, peer: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&(network(peer), Some(RETURNS.to_owned()))) {
            count.attempts = count.attempts.saturating_sub(1);
        }
    }

    /// Counts a request for a mail, or says how long to wait. Nobody fills a stranger's mailbox, from
    /// however many places.
    pub(super) fn admit_mail(&self, peer: IpAddr, to: &str, now: Instant) -> Result<(), Rejection> {
        let keys =
            [((None, Some(to.to_owned())), FREE_MAILS), ((network(peer), None), FREE_MAILS_PER_NETWORK)];
        self.count(&keys, (MAIL_WAIT_MIN, MAIL_WAIT_MAX), now)
    }

    fn count(
        &self,
        keys: &[(Key, u32)],
        (wait_min, wait_max): (Duration, Duration),
        now: Instant,
    ) -> Result<(), Rejection> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let free_at = keys.iter().filter_map(|(key, _)| counts.get(key)).map(|count| count.free_at).max();
        if let Some(wait) =
            free_at.and_then(|free_at| free_at.checked_duration_since(now)).filter(|wait| !wait.is_zero())
        {
            let message = "expected a pause after so many attempts, found another one";
            return Err(Denial::new("TOO_MANY_REQUESTS", message).after(wait).into());
        }
        make_room(&mut counts, now);
        for (key, free) in keys {
            let count = counts.entry(key.clone()).or_insert(Count { attempts: 0, last: now, free_at: now });
            if now.duration_since(count.last) > MEMORY {
                count.attempts = 0;
            }
            count.attempts = count.attempts.saturating_add(1);
            count.last = now;
            if let Some(beyond) = count.attempts.checked_sub(*free) {
                count.free_at = now + wait_min.saturating_mul(1 << beyond.min(16)).min(wait_max);
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
fn network(peer: IpAddr) -> Option<IpAddr> {
    Some(match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    })
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

    #[test]
    fn returns_are_counted_by_network_and_apart_from_passwords() {
        let attempts = Attempts::default();
        let (here, there): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut now = Instant::now();
        for _ in 0..FREE_PER_ADDRESS {
            attempts.admit_return(here, now).unwrap();
            attempts.returned(here);
        }
        for _ in 0..FREE_PER_ADDRESS {
            attempts.admit_return(here, now).unwrap();
        }
        for wait_s in [1, 2, 4] {
            let refused = attempts.admit_return(here, now).unwrap_err();
            assert_eq!(refused.retry_after(), Some(Duration::from_secs(wait_s)));
            attempts.admit_return(there, now).unwrap();
            attempts.admit(here, "ada", now).unwrap();
            now += Duration::from_secs(wait_s);
            attempts.admit_return(here, now).unwrap();
        }
    }

    #[test]
    fn nobody_fills_a_mailbox_from_many_places_or_many_mailboxes_from_one() {
        let now = Instant::now();
        let host = |low: u8| IpAddr::from([10, 0, 0, low]);
        let attempts = Attempts::default();
        for low in 0..3 {
            attempts.admit_mail(host(low), "ada@example.com", now).unwrap();
        }
        let refused = attempts.admit_mail(host(9), "ada@example.com", now).unwrap_err();
        assert_eq!(refused.retry_after(), Some(MAIL_WAIT_MIN));
        let attempts = Attempts::default();
        for index in 0..FREE_MAILS_PER_NETWORK {
            attempts.admit_mail(host(1), &format!("user-{index}@example.com"), now).unwrap();
        }
        assert!(attempts.admit_mail(host(1), "one-more@example.com", now).is_err());
        attempts.admit_mail(host(2), "one-more@example.com", now).unwrap();
    }
}
