//! Consumer groups whose members share shards: who reads which, and under which generation.
//!
//! Members are this process's memory: a member is a stream that is open here. Of a cluster shards are dealt at the node that
//! decides, and with its office every such stream ends, so members are never dealt to at two nodes for longer than it takes
//! to see that. What a generation fences is not: each shard keeps it in its log beside the position and refuses what comes under
//! another. So whatever becomes of this memory, positions stay right, and a group is dealt anew by beginning a generation
//! on every shard first and telling the members second.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onrush_proto::{Lsn, Refusal, ShardId, Text, Topic};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::pauses::Pauses;
use super::positions::Positions;
use crate::retry::Retry;
use crate::status::{Denial, Rejection};

/// Groups, counted once for each topic, that have members at a time.
const GROUPS_MAX: usize = 256;
/// Members of one group.
const MEMBERS_MAX: usize = 256;
/// How long a group that is to be moved may be about to be dealt.
const DEALING_MAX: Duration = Duration::from_secs(10);

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
    /// Why there is nothing to be read any more.
    pub(super) end: Option<End>,
}

/// Why a member is one no longer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Another consumer has come under the same name.
    Replaced,
    /// No generation can be begun for the group.
    Refused(Refusal),
    /// What was tried to begin one failed on our side.
    Broken(String),
}

/// Every group that has members here.
pub(super) struct Groups {
    positions: Positions,
    open: Mutex<Open>,
    pauses: Pauses,
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
    /// How many are about to move it: until they have, it is not forgotten.
    seekers: usize,
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
        Arc::new(Self {
            positions,
            open: Mutex::default(),
            pauses: Pauses::default(),
            turns: AtomicU64::new(1),
        })
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
        let (groups, group) = (Arc::clone(self), self.seeker(key)?);
        let sought = tokio::spawn(async move {
            let moved = groups.seek_in(&group, &to).await;
            {
                let mut state = group.state();
                state.seekers -= 1;
                // Who was dealt something that did not come to be is dealt anew; where nobody is, nothing was dealt.
                state.changes += u64::from(moved.is_err() && !state.members.is_empty());
            }
            groups.deal(&group);
            moved
        });
        sought
            .await
            .map_err(|error| Rejection::Internal(format!("expected the group to be moved, found: {error}")))?
    }

    /// A group that somebody is about to move.
    fn seeker(&self, key: (Text<47>, Topic)) -> Result<Arc<Group>, Denial> {
        let mut open = self.open();
        let group = enter(&mut open, key)?;
        group.state().seekers += 1;
        Ok(group)
    }

    async fn seek_in(&self, group: &Group, to: &[(ShardId, Lsn)]) -> Result<Dealt, Rejection> {
        let _dealing = timeout(DEALING_MAX, group.dealing.lock()).await.map_err(|_| {
            let message = format!(
                "group: expected one whose shards are dealt within {} s, found one that still waits for them",
                DEALING_MAX.as_secs()
            );
            Denial::new("OVERLOADED", message).of("group").after(Duration::from_secs(1))
        })?;
        let (changes, anybody) = group.pending();
        if !anybody && self.positions.newest(group.key()).await? == 0 {
            self.positions.set(group.key(), to).await?;
            return Ok(Dealt { generation: 0, positions: to.to_vec() });
        }
        let dealt = self.positions.fence(group.key(), to, &group.begin()).await?;
        // Who sends a group back to an event does not want to wait for it.
        to.iter().for_each(|(shard, _)| self.pauses.forget(group.key(), *shard));
        group.tell(changes, &dealt, |position| self.stretch(group.key(), position));
        Ok(dealt)
    }

    /// A shard from a position on, once what comes first there may come.
    fn stretch(&self, key: (Text<47>, Topic), (shard, after): (ShardId, Lsn)) -> Stretch {
        let wait = self.pauses.left(key, shard, Lsn(after.0 + 1));
        Stretch { shard, after, turn: self.turn(), wait }
    }

    /// A shard knows a generation that was not begun here: members are dealt their shards anew.
    pub(super) fn found_newer(self: &Arc<Self>, key: (Text<47>, Topic), generation: u64) {
        let group = {
            // A group without members could be forgotten, and another come, before it is dealt.
            let open = self.open();
            let Some(group) = open.get(&key) else { return };
            let mut state = group.state();
            let dealt = state.dealt == state.changes && !state.members.is_empty();
            if !dealt || generation <= state.generation {
                return;
            }
            state.changes += 1;
            Arc::clone(group)
        };
        self.deal(&group);
    }

    /// Has an event come again, if its group still reads under the generation in which it was rejected; whoever has its
    /// shard then waits for as long.
    pub(super) fn rewind(
        &self,
        key: (Text<47>, Topic),
        generation: u64,
        (shard, to): (ShardId, Lsn),
        wait: Duration,
    ) {
        self.pauses.begin(key, shard, to, wait);
        self.turn_to(key, generation, Stretch { shard, after: Lsn(to.0 - 1), turn: 0, wait });
    }

    /// An event was given up: if it is still to come again, it comes no more.
    pub(super) fn pass(&self, key: (Text<47>, Topic), generation: u64, (shard, lsn): (ShardId, Lsn)) {
        let waits = self.pauses.left(key, shard, lsn) > Duration::ZERO;
        self.pauses.forget(key, shard);
        if waits {
            self.turn_to(key, generation, Stretch { shard, after: lsn, turn: 0, wait: Duration::ZERO });
        }
    }

    /// Has whoever reads a shard under a generation begin anew there.
    fn turn_to(&self, key: (Text<47>, Topic), generation: u64, to: Stretch) {
        let Some(group) = self.open().get(&key).cloned() else { return };
        let state = group.state();
        if state.generation != generation {
            return;
        }
        let turn = self.turn();
        for seat in state.members.values() {
            seat.duty.send_if_modified(|duty| {
                let found = duty.shards.iter_mut().find(|stretch| stretch.shard == to.shard);
                let Some(stretch) = found.filter(|_| duty.generation == generation) else { return false };
                *stretch = Stretch { turn, ..to };
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
        // Between two tries whoever moves the group has its turn.
        while !self.is_dealt_now(group).await {
            tokio::time::sleep(retry.jittered_pause()).await;
        }
        let mut open = self.open();
        let state = group.state();
        let idle = state.members.is_empty() && state.dealt == state.changes && state.seekers == 0;
        // It may have been forgotten before, and another one known under its name since.
        if idle && open.get(&group.key()).is_some_and(|known| Arc::ptr_eq(known, group)) {
            open.remove(&group.key());
        }
    }

    /// Deals shards if there was a change; false if that is worth another try.
    async fn is_dealt_now(&self, group: &Group) -> bool {
        let _dealing = group.dealing.lock().await;
        if group.is_dealt() {
            return true;
        }
        let (changes, _) = group.pending();
        match self.positions.fence(group.key(), &[], &group.begin()).await {
            Ok(dealt) => group.tell(changes, &dealt, |position| self.stretch(group.key(), position)),
            Err(error) => {
                tracing::warn!(group = group.group.as_str(), topic = group.topic.name(), %error, "shards were not dealt");
                group.gave_up(error);
            }
        }
        group.is_dealt()
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
    fn tell(&self, changes: u64, dealt: &Dealt, stretch: impl Fn((ShardId, Lsn)) -> Stretch) {
        let mut state = self.state();
        state.generation = dealt.generation;
        if state.changes != changes {
            return;
        }
        state.dealt = changes;
        let members = state.members.len();
        for (at, seat) in state.members.values().enumerate() {
            let own = dealt.positions.iter().skip(at).step_by(members);
            let shards = own.map(|position| stretch(*position)).collect();
            seat.duty.send_replace(Duty { generation: dealt.generation, shards, end: None });
        }
    }

    /// No generation could be begun. What passes is worth another try for as long as there are members; by anything else
    /// they end. Whoever comes next begins one of their own.
    fn gave_up(&self, error: Rejection) {
        let mut state = self.state();
        let end = match error {
            Rejection::Refused(Refusal::Overloaded | Refusal::Stopped | Refusal::Unreachable)
                if !state.members.is_empty() =>
            {
                return;
            }
            Rejection::Refused(refusal) => End::Refused(refusal),
            error => End::Broken(error.to_string()),
        };
        for seat in std::mem::take(&mut state.members).into_values() {
            seat.duty.send_replace(Duty { end: Some(end.clone()), ..Duty::default() });
        }
        state.dealt = state.changes;
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
            before.duty.send_replace(Duty { end: Some(End::Replaced), ..Duty::default() });
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
    use onrush_engine::{Engine, EngineOptions};

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

    fn turn((shard, after): (ShardId, Lsn)) -> Stretch {
        Stretch { shard, after, turn: 7, wait: Duration::ZERO }
    }

    fn told(duty: &mut watch::Receiver<Duty>) -> (u64, Vec<u16>) {
        let duty = duty.borrow_and_update();
        (duty.generation, duty.shards.iter().map(|stretch| stretch.shard.0).collect())
    }

    #[test]
    fn shards_are_dealt_evenly_in_the_order_of_names() {
        let group = Group::new("books".parse().unwrap(), Topic::OrderCreated);
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
        group.tell(changes, &dealt(1, 2), turn);
        assert_eq!(told(&mut a), (0, vec![]), "nobody was told");
        assert!(!group.is_dealt());
        group.tell(group.pending().0, &dealt(2, 2), turn);
        assert_eq!(told(&mut a), (2, vec![0]));
    }

    fn books() -> (Text<47>, Topic) {
        ("books".parse().unwrap(), Topic::OrderCreated)
    }

    #[tokio::test]
    async fn a_group_is_forgotten_only_by_itself_and_only_if_nobody_is_about_to_move_it() {
        let engine = Engine::open(EngineOptions::default()).unwrap();
        let groups = Groups::new(Positions::new(engine.handle()));
        let old = groups.seeker(books()).unwrap();
        groups.deal_now(&old).await;
        assert!(Arc::ptr_eq(&groups.open()[&books()], &old), "somebody is about to move it");
        old.state().seekers = 0;
        groups.deal_now(&old).await;
        assert!(groups.open().is_empty());
        let member = groups.join(books(), name("a"), Vec::new()).unwrap();
        groups.deal_now(&old).await;
        assert!(Arc::ptr_eq(&groups.open()[&books()], &member.group), "it is another one");
        // A position that cannot be is refused, and fences nobody who has no generation.
        let mail = ("mail".parse().unwrap(), Topic::OrderCreated);
        assert!(groups.seek(mail, vec![(ShardId(0), Lsn(1_000))]).await.is_err());
        while groups.open().contains_key(&mail) {
            tokio::task::yield_now().await;
        }
        assert_eq!(groups.positions.newest(mail).await.unwrap(), 0);
        drop(member);
        drop(groups);
        engine.close().unwrap();
    }

    #[test]
    fn members_end_by_what_no_other_try_helps() {
        let group = Group::new("books".parse().unwrap(), Topic::OrderCreated);
        let a = seat(&group, "a");
        group.gave_up(Refusal::Overloaded.into());
        assert!(!group.is_dealt() && a.borrow().end.is_none());
        let refusal = Refusal::Invalid { field: "group", expected: "one that is known" };
        group.gave_up(refusal.into());
        assert_eq!(a.borrow().end, Some(End::Refused(refusal)));
        assert!(group.is_dealt() && !group.pending().1);
    }

    #[tokio::test]
    async fn whoever_speaks_of_a_shard_is_the_member_that_reads_it() {
        let group = Group::new("books".parse().unwrap(), Topic::OrderCreated);
        let _seats = [seat(&group, "a"), seat(&group, "b")];
        group.tell(group.pending().0, &dealt(3, 2), turn);
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
        assert_eq!((&old.borrow().end, &new.borrow().end), (&Some(End::Replaced), &None));
        assert!(!group.state().leave(&name("a"), since));
        assert_eq!(group.state().members.len(), 1);
        let since = group.pending().0;
        assert!(group.state().leave(&name("a"), since));
        assert!(!group.pending().1);
    }
}
