//! Consumer groups whose members share shards: who reads which, and under which generation.
//!
//! Members are this process's memory: a member is a stream that is open here, and a stream is never open anywhere else.
//! What a generation fences is not: each shard keeps it in its log beside the position and refuses what comes under
//! another. So whatever becomes of this memory, positions stay right, and a group is dealt anew by beginning a generation
//! on every shard first and telling the members second.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onrush_proto::{Lsn, ShardId, Text, Topic};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::positions::Positions;
use crate::retry::Retry;
use crate::status::{Denial, Rejection};

/// Groups, counted once for each topic, that have members at a time.
const GROUPS_MAX: usize = 256;
/// Members of one group.
const MEMBERS_MAX: usize = 256;

/// A member's name in its group.
pub(super) type MemberName = Text<63>;

/// A shard that is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stretch {
    pub(super) shard: ShardId,
    /// The record behind which to begin.
    pub(super) after: Lsn,
    /// A number of its own: the same shard under another number is begun anew.
    pub(super) turn: u64,
    /// How long to wait before the first event.
    pub(super) wait: Duration,
}

/// What a consumer is to read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Duty {
    pub(super) generation: u64,
    pub(super) shards: Vec<Stretch>,
    /// True once another consumer has come under the same name.
    pub(super) replaced: bool,
}

/// Every group that has members here.
pub(super) struct Groups {
    positions: Positions,
    open: Mutex<Open>,
    turns: AtomicU64,
}

/// One group's reading of one topic.
struct Group {
    group: Text<47>,
    topic: Topic,
    state: Mutex<State>,
    /// Held while a generation is begun.
    dealing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    members: BTreeMap<MemberName, Seat>,
    /// Counts who comes and goes.
    changes: u64,
    /// Up to which change shards were dealt.
    dealt: u64,
    generation: u64,
    /// Where a shard is begun on which the group has no position yet.
    begin: Vec<Lsn>,
}

struct Seat {
    /// Which change brought it: a name may come again.
    since: u64,
    duty: watch::Sender<Duty>,
    heard: Arc<Notify>,
}

/// A generation that has begun.
pub(super) struct Dealt {
    /// 0 if the group has none.
    pub(super) generation: u64,
    /// The position of each shard that takes part.
    pub(super) positions: Vec<(ShardId, Lsn)>,
}

/// A place in a group, given up when this is dropped.
pub(super) struct Membership {
    groups: Arc<Groups>,
    group: Arc<Group>,
    name: MemberName,
    since: u64,
    pub(super) duty: watch::Receiver<Duty>,
    /// Notified when the member says something elsewhere than in its stream.
    pub(super) heard: Arc<Notify>,
}

impl Groups {
    pub(super) fn new(positions: Positions) -> Arc<Self> {
        Arc::new(Self { positions, open: Mutex::default(), turns: AtomicU64::new(1) })
    }

    /// A number that no stretch had before.
    pub(super) fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a place in a group; `begin` is where each shard begins on which the group has no position yet. What is to be
    /// read comes by the duty once shards are dealt.
    pub(super) fn join(
        self: &Arc<Self>,
        key: (Text<47>, Topic),
        name: MemberName,
        begin: Vec<Lsn>,
    ) -> Result<Membership, Denial> {
        let (sender, duty) = watch::channel(Duty::default());
        let heard = Arc::new(Notify::new());
        let (group, since) = {
            let mut open = self.open();
            let group = enter(&mut open, key)?;
            let since = group.state().enter(name, (sender, Arc::clone(&heard)), begin)?;
            (group, since)
        };
        self.deal(&group);
        Ok(Membership { groups: Arc::clone(self), group, name, since, duty, heard })
    }

    /// Moves a group, members or not. Without a generation it is moved without one. What was begun is ended, whether or not
    /// somebody waits for it.
    pub(super) async fn seek(
        self: &Arc<Self>,
        key: (Text<47>, Topic),
        to: Vec<(ShardId, Lsn)>,
    ) -> Result<Dealt, Rejection> {
        let (groups, group) = (Arc::clone(self), enter(&mut self.open(), key)?);
        let sought = tokio::spawn(async move {
            let moved = groups.seek_in(&group, &to).await;
            // Who was dealt something that did not come to be is dealt anew; who is nobody is forgotten.
            if moved.is_err() {
                group.state().changes += 1;
            }
            groups.deal(&group);
            moved
        });
        sought
            .await
            .map_err(|error| Rejection::Internal(format!("expected the group to be moved, found: {error}")))?
    }

    async fn seek_in(&self, group: &Group, to: &[(ShardId, Lsn)]) -> Result<Dealt, Rejection> {
        let _dealing = group.dealing.lock().await;
        let (changes, anybody) = group.pending();
        if !anybody && self.positions.newest(group.key()).await? == 0 {
            self.positions.set(group.key(), to).await?;
            return Ok(Dealt { generation: 0, positions: to.to_vec() });
        }
        let dealt = self.positions.fence(group.key(), to, &group.begin()).await?;
        group.tell(changes, &dealt, || self.turn());
        Ok(dealt)
    }

    /// A shard knows a generation that was not begun here: members are dealt their shards anew.
    pub(super) fn found_newer(self: &Arc<Self>, key: (Text<47>, Topic), generation: u64) {
        let Some(group) = self.open().get(&key).cloned() else { return };
        let newer = {
            let mut state = group.state();
            let newer = state.dealt == state.changes && generation > state.generation;
            state.changes += u64::from(newer);
            newer
        };
        if newer {
            self.deal(&group);
        }
    }

    /// Has an event come again, if its group still reads under the generation in which it was rejected.
    pub(super) fn rewind(
        &self,
        key: (Text<47>, Topic),
        generation: u64,
        (shard, to): (ShardId, Lsn),
        wait: Duration,
    ) {
        let Some(group) = self.open().get(&key).cloned() else { return };
        let state = group.state();
        if state.generation != generation {
            return;
        }
        let turn = self.turn();
        for seat in state.members.values() {
            seat.duty.send_if_modified(|duty| {
                let found = duty.shards.iter_mut().find(|stretch| stretch.shard == shard);
                let Some(stretch) = found.filter(|_| duty.generation == generation) else { return false };
                *stretch = Stretch { after: Lsn(to.0 - 1), turn, wait, ..*stretch };
                true
            });
        }
    }

    /// The member that a shard was dealt to in a generation has said something.
    pub(super) fn heard(&self, key: (Text<47>, Topic), generation: u64, shard: ShardId) {
        if let Some(group) = self.open().get(&key).cloned() {
            group.heard(generation, shard);
        }
    }

    /// The members of a group, by name.
    pub(super) fn members(&self, key: (Text<47>, Topic)) -> Vec<MemberName> {
        let group = self.open().get(&key).cloned();
        group.map_or_else(Vec::new, |group| group.state().members.keys().copied().collect())
    }

    /// Deals shards anew behind the caller's back, for as long as it takes.
    fn deal(self: &Arc<Self>, group: &Arc<Group>) {
        let (groups, group) = (Arc::clone(self), Arc::clone(group));
        // Without a runtime the process ends, and with it every member.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { groups.deal_now(&group).await });
        }
    }

    async fn deal_now(&self, group: &Arc<Group>) {
        let mut retry = Retry::default();
        let _dealing = group.dealing.lock().await;
        while !group.is_dealt() {
            let (changes, _) = group.pending();
            match self.positions.fence(group.key(), &[], &group.begin()).await {
                Ok(dealt) => group.tell(changes, &dealt, || self.turn()),
                Err(error) => {
                    tracing::warn!(group = group.group.as_str(), topic = group.topic.name(), %error, "shards wait to be dealt");
                    tokio::time::sleep(retry.jittered_pause()).await;
                }
            }
        }
        let mut open = self.open();
        let state = group.state();
        if state.members.is_empty() && state.dealt == state.changes {
            open.remove(&group.key());
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Open = BTreeMap<(Text<47>, Topic), Arc<Group>>;

/// A group, known from now on if it was not before.
fn enter(open: &mut Open, key: (Text<47>, Topic)) -> Result<Arc<Group>, Denial> {
    if !open.contains_key(&key) && open.len() >= GROUPS_MAX {
        let message = format!("group: expected at most {GROUPS_MAX} groups with members, found another one");
        return Err(Denial::new("OVERLOADED", message).of("group"));
    }
    Ok(Arc::clone(open.entry(key).or_insert_with(|| Arc::new(Group::new(key.0, key.1)))))
}

impl Group {
    fn new(group: Text<47>, topic: Topic) -> Self {
        Self { group, topic, state: Mutex::default(), dealing: tokio::sync::Mutex::default() }
    }

    fn key(&self) -> (Text<47>, Topic) {
        (self.group, self.topic)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Vec<Lsn> {
        self.state().begin.clone()
    }

    fn is_dealt(&self) -> bool {
        let state = self.state();
        state.dealt == state.changes
    }

    fn heard(&self, generation: u64, shard: ShardId) {
        let state = self.state();
        let reads = |seat: &&Seat| {
            let duty = seat.duty.borrow();
            duty.generation == generation && duty.shards.iter().any(|stretch| stretch.shard == shard)
        };
        if let Some(seat) = state.members.values().find(reads) {
            seat.heard.notify_one();
        }
    }

    /// The last change, and whether there is any member.
    fn pending(&self) -> (u64, bool) {
        let state = self.state();
        (state.changes, !state.members.is_empty())
    }

    /// Tells members what they read in a generation that was begun for them; if others have come or gone meanwhile, another
    /// one follows.
    fn tell(&self, changes: u64, dealt: &Dealt, turn: impl Fn() -> u64) {
        let mut state = self.state();
        state.generation = dealt.generation;
        if state.changes != changes {
            return;
        }
        state.dealt = changes;
        let members = state.members.len();
        for (at, seat) in state.members.values().enumerate() {
            let own = dealt.positions.iter().skip(at).step_by(members);
            let shards = own.map(|(shard, after)| Stretch {
                shard: *shard,
                after: *after,
                turn: turn(),
                wait: Duration::ZERO,
            });
            let shards = shards.collect();
            seat.duty.send_replace(Duty { generation: dealt.generation, shards, replaced: false });
        }
    }
}

impl State {
    fn enter(
        &mut self,
        name: MemberName,
        (duty, heard): (watch::Sender<Duty>, Arc<Notify>),
        begin: Vec<Lsn>,
    ) -> Result<u64, Denial> {
        if !self.members.contains_key(&name) && self.members.len() >= MEMBERS_MAX {
            let message = format!("group: expected at most {MEMBERS_MAX} members, found another one");
            return Err(Denial::new("OVERLOADED", message).of("group"));
        }
        self.changes += 1;
        self.begin = begin;
        let seat = Seat { since: self.changes, duty, heard };
        if let Some(before) = self.members.insert(name, seat) {
            before.duty.send_replace(Duty { replaced: true, ..Duty::default() });
        }
        Ok(self.changes)
    }

    /// True if the place was still the member's.
    fn leave(&mut self, name: &MemberName, since: u64) -> bool {
        let own = self.members.get(name).is_some_and(|seat| seat.since == since);
        if own {
            self.members.remove(name);
            self.changes += 1;
        }
        own
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let left = self.group.state().leave(&self.name, self.since);
        if left {
            self.groups.deal(&self.group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MemberName {
        text.parse().unwrap()
    }

    fn seat(group: &Group, member: &str) -> watch::Receiver<Duty> {
        let (sender, receiver) = watch::channel(Duty::default());
        group.state().enter(name(member), (sender, Arc::default()), Vec::new()).unwrap();
        receiver
    }

    fn dealt(generation: u64, shards: u16) -> Dealt {
        Dealt {
            generation,
            positions: (0..shards).map(|shard| (ShardId(shard), Lsn(10 + u64::from(shard)))).collect(),
        }
    }

    fn told(duty: &mut watch::Receiver<Duty>) -> (u64, Vec<u16>) {
        let duty = duty.borrow_and_update();
        (duty.generation, duty.shards.iter().map(|stretch| stretch.shard.0).collect())
    }

    #[test]
    fn shards_are_dealt_evenly_in_the_order_of_names() {
        let group = Group::new("books".parse().unwrap(), Topic::OrderCreated);
        let turn = || 7;
        let (mut b, mut a) = (seat(&group, "b"), seat(&group, "a"));
        group.tell(group.pending().0, &dealt(1, 5), turn);
        assert_eq!(told(&mut a), (1, vec![0, 2, 4]));
        assert_eq!(told(&mut b), (1, vec![1, 3]));
        // More members than shards: the last has nothing to do.
        let mut c = seat(&group, "c");
        group.tell(group.pending().0, &dealt(2, 2), turn);
        assert_eq!((told(&mut a), told(&mut b), told(&mut c)), ((2, vec![0]), (2, vec![1]), (2, vec![])));
        assert!(group.is_dealt());
    }

    #[test]
    fn who_comes_while_shards_are_dealt_is_dealt_in_the_next_generation() {
        let group = Group::new("books".parse().unwrap(), Topic::OrderCreated);
        let mut a = seat(&group, "a");
        let (changes, _) = group.pending();
        let _b = seat(&group, "b");
        group.tell(changes, &dealt(1, 2), || 7);
        assert_eq!(told(&mut a), (0, vec![]), "nobody was told");
        assert!(!group.is_dealt());
        group.tell(group.pending().0, &dealt(2, 2), || 7);
        assert_eq!(told(&mut a), (2, vec![0]));
    }

    #[tokio::test]
    async fn whoever_speaks_of_a_shard_is_the_member_that_reads_it() {
        let group = Group::new("books".parse().unwrap(), Topic::OrderCreated);
        let _seats = [seat(&group, "a"), seat(&group, "b")];
        group.tell(group.pending().0, &dealt(3, 2), || 7);
        let signs = |member: &str| Arc::clone(&group.state().members[&name(member)].heard);
        group.heard(2, ShardId(1));
        group.heard(3, ShardId(9));
        group.heard(3, ShardId(1));
        signs("b").notified().await;
        for member in ["a", "b"] {
            let sign = signs(member);
            let mut more = std::pin::pin!(sign.notified());
            let more = more.as_mut().enable();
            assert!(!more, "one sign, of b: {member}");
        }
    }

    #[test]
    fn a_name_that_comes_again_takes_the_place_and_the_old_one_cannot_give_it_up() {
        let group = Group::new("books".parse().unwrap(), Topic::OrderCreated);
        let old = seat(&group, "a");
        let since = group.pending().0;
        let new = seat(&group, "a");
        assert!(old.borrow().replaced && !new.borrow().replaced);
        assert!(!group.state().leave(&name("a"), since));
        assert_eq!(group.state().members.len(), 1);
        let since = group.pending().0;
        assert!(group.state().leave(&name("a"), since));
        assert!(!group.pending().1);
    }
}
