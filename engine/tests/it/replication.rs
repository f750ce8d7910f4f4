//! Groups of members that hear each other at once: what happens when nothing goes wrong, told step by step. What happens
//! when something does is the simulator's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use onrush_engine::replication::{
    Append, AppendResult, Ballot, Body, Declined, Entry, EntryLog, Members, Message, NodeId, Position, Raft,
    RaftOptions, RoleKind, group_fact,
};
use onrush_proto::row::RowEncoder;
use onrush_storage::disk::FaultDisk;
use onrush_storage::log::{FLAG_MEMBERS, FrameBuf, FrameInfo, Front, Log, LogOptions, Prepare, Vote};

const ELECTION_US: u64 = 300_000;

/// Members whose disks write at once.
struct Group {
    rafts: BTreeMap<NodeId, Raft>,
    under_way: VecDeque<Message>,
    deaf: BTreeSet<NodeId>,
    now_us: u64,
}

impl Group {
    fn of(nodes: &[u64]) -> Self {
        let members = Members::of(nodes.iter().copied().map(NodeId)).unwrap();
        Self::with(nodes, &members)
    }

    fn with(nodes: &[u64], members: &Members) -> Self {
        let raft = |node: &u64| {
            let log = EntryLog::new(members.clone(), 1 << 20);
            let options = RaftOptions::new(NodeId(*node), *node);
            (NodeId(*node), Raft::new(options, Vote::default(), log, 0, 0))
        };
        Self {
            rafts: nodes.iter().map(raft).collect(),
            under_way: VecDeque::new(),
            deaf: BTreeSet::new(),
            now_us: 0,
        }
    }

    fn raft(&mut self, node: u64) -> &mut Raft {
        self.rafts.get_mut(&NodeId(node)).unwrap()
    }

    /// Lets everything happen that needs no time.
    fn settle(&mut self) {
        loop {
            let mut busy = false;
            for raft in self.rafts.values_mut() {
                let output = raft.take_output();
                busy |= !output.is_empty();
                self.under_way.extend(output.now);
                if let Some(last) = output.append.last() {
                    raft.persisted(last.position(), self.now_us).unwrap();
                }
                self.under_way.extend(output.later);
            }
            while let Some(message) = self.under_way.pop_front() {
                busy = true;
                if !self.deaf.contains(&message.from)
                    && !self.deaf.contains(&message.to)
                    && let Some(raft) = self.rafts.get_mut(&message.to)
                {
                    raft.step(message, self.now_us).unwrap();
                }
            }
            if !busy {
                return;
            }
        }
    }

    fn pass(&mut self, us: u64) {
        let until_us = self.now_us + us;
        while self.now_us < until_us {
            self.now_us += 10_000;
            for raft in self.rafts.values_mut() {
                raft.tick(self.now_us).unwrap();
            }
            self.settle();
        }
    }

    fn leaders(&self) -> Vec<u64> {
        let leads = |raft: &&Raft| raft.role() == RoleKind::Leader;
        self.rafts.values().filter(leads).map(|raft| raft.id().0).collect()
    }

    fn leader(&mut self) -> u64 {
        self.pass(3 * ELECTION_US);
        let leaders: Vec<u64> =
            self.leaders().into_iter().filter(|node| !self.deaf.contains(&NodeId(*node))).collect();
        assert_eq!(leaders.len(), 1, "{leaders:?}");
        leaders[0]
    }

    fn propose(&mut self, node: u64, payload: &[u8]) -> Result<Position, Declined> {
        let mut frame = FrameBuf::new();
        frame.push(1, 2, payload);
        let now_us = self.now_us;
        self.raft(node).propose(&frame, 5, 0, now_us).unwrap()
    }

    fn change(&mut self, node: u64, next: &Members) -> Result<Position, Declined> {
        let fact = group_fact(next, 1, 5);
        let (mut frame, mut payload) = (FrameBuf::new(), Vec::new());
        fact.encode(&mut RowEncoder::default(), &mut payload);
        frame.push(fact.kind as u16, fact.key_hash, &payload);
        let now_us = self.now_us;
        self.raft(node).propose(&frame, 5, FLAG_MEMBERS, now_us).unwrap()
    }

    /// Leaders finish what they have begun to change.
    fn finish_changes(&mut self) {
        for node in self.leaders() {
            if let Some(next) = self.raft(node).change_to_finish() {
                self.change(node, &next).unwrap();
            }
        }
        self.settle();
    }

    /// The payloads that a member knows to be committed.
    fn committed(&mut self, node: u64) -> Vec<Vec<u8>> {
        let raft = self.raft(node);
        let entries = raft.log().read(1, raft.commit(), usize::MAX).unwrap();
        let records = entries.iter().flat_map(|entry| {
            let view = entry.frame().view();
            view.records().map(|record| (record.kind, record.payload.to_vec())).collect::<Vec<_>>()
        });
        records.filter(|(kind, _)| *kind == 1).map(|(_, payload)| payload).collect()
    }
}

/// Three founders, the one that leads, and the group with node 4, which follows without a vote and has everything.
fn with_a_learner() -> (Group, u64, Members) {
    let founders = Members::of([1, 2, 3].map(NodeId)).unwrap();
    let mut group = Group::with(&[1, 2, 3, 4], &founders);
    let leader = group.leader();
    let learner = founders.changing_to(founders.voters(), [NodeId(4)]).unwrap();
    group.change(leader, &learner).unwrap();
    group.pass(2 * ELECTION_US);
    (group, leader, learner)
}

#[test]
fn a_member_alone_commits_what_it_has_written() {
    let mut group = Group::of(&[1]);
    assert_eq!(group.leader(), 1);
    group.propose(1, b"a").unwrap();
    assert!(group.committed(1).is_empty(), "it is not on disk yet");
    group.settle();
    assert_eq!(group.committed(1), [b"a"]);
}

#[test]
fn three_members_elect_one_and_come_to_the_same_log() {
    let mut group = Group::of(&[1, 2, 3]);
    let leader = group.leader();
    for payload in [b"a", b"b", b"c"] {
        group.propose(leader, payload).unwrap();
    }
    group.pass(100_000);
    for node in [1, 2, 3] {
        assert_eq!(group.committed(node), [b"a", b"b", b"c"], "node {node}");
        assert_eq!(group.raft(node).leader(), Some(NodeId(leader)));
    }
    let other = 1 + leader % 3;
    let declined = group.propose(other, b"d").unwrap_err();
    assert_eq!(declined, Declined::NotLeader { leader: Some(NodeId(leader)) });
}

#[test]
fn a_leader_that_nobody_hears_steps_down_and_loses_what_it_alone_has() {
    let mut group = Group::of(&[1, 2, 3]);
    let old = group.leader();
    group.deaf.insert(NodeId(old));
    group.propose(old, b"lost").unwrap();
    group.settle();
    let asked_us = group.now_us;
    let new = group.leader();
    assert_ne!(new, old);
    assert_eq!(group.raft(old).role(), RoleKind::Candidate, "it asks around, and nobody hears");
    let now_us = group.now_us;
    assert!(!group.raft(old).led_since(asked_us, now_us), "no read is answered by it");
    assert!(group.raft(new).led_since(now_us, now_us), "by its lease");
    group.propose(new, b"kept").unwrap();
    group.settle();
    let term = group.raft(new).term();
    group.deaf.clear();
    group.pass(ELECTION_US);
    assert_eq!(group.committed(old), [b"kept"]);
    assert_eq!((group.leaders(), group.raft(new).term()), (vec![new], term), "its return disturbs nobody");
}

#[test]
fn the_office_goes_to_whom_it_is_given() {
    let mut group = Group::of(&[1, 2, 3]);
    let old = group.leader();
    let new = 1 + old % 3;
    group.propose(old, b"a").unwrap();
    let now_us = group.now_us;
    group.raft(old).hand_over(NodeId(new), now_us).unwrap();
    assert_eq!(group.propose(old, b"b").unwrap_err(), Declined::HandingOver(NodeId(new)));
    group.settle();
    assert_eq!(group.leaders(), [new]);
    assert_eq!(group.committed(new), [b"a"]);
    let now_us = group.now_us;
    assert_eq!(group.raft(new).hand_over(NodeId(9), now_us), Err(Declined::NoVoter(NodeId(9))));
}

#[test]
fn a_node_follows_before_it_votes_and_a_leader_that_goes_leads_to_the_end() {
    let founders = Members::of([1, 2, 3].map(NodeId)).unwrap();
    let mut group = Group::with(&[1, 2, 3, 4], &founders);
    let leader = group.leader();
    assert_ne!(leader, 4, "it has no vote");
    group.deaf.insert(NodeId(4));
    let learner = founders.changing_to(founders.voters(), [NodeId(4)]).unwrap();
    group.change(leader, &learner).unwrap();
    group.settle();
    let others = [1, 2, 3].map(NodeId).into_iter().filter(|node| node.0 != leader);
    let voters: Vec<NodeId> = others.chain([NodeId(4)]).collect();
    let next = learner.changing_to(voters.iter().copied(), []).unwrap();
    let behind = group.change(leader, &next).unwrap_err();
    assert!(matches!(behind, Declined::Behind { node: NodeId(4), .. }), "{behind}");
    group.deaf.clear();
    group.pass(100_000);
    group.change(leader, &next).unwrap();
    assert_eq!(group.change(leader, &learner).unwrap_err(), Declined::Changing);
    group.settle();
    group.finish_changes();
    assert!(!group.leaders().contains(&leader), "it does not belong to the group any more");
    let new = group.leader();
    let members = group.raft(new).members().clone();
    assert_eq!(
        (members.voters().collect::<BTreeSet<_>>(), members.is_changing()),
        (voters.into_iter().collect(), false)
    );
    group.propose(new, b"a").unwrap();
    group.pass(100_000);
    assert_eq!(group.committed(4), [b"a"]);
}

#[test]
fn a_restarted_member_votes_for_nobody_who_could_overtake_a_lease() {
    let mut group = Group::of(&[1, 2, 3]);
    let leader = group.leader();
    let (restarted, candidate) = (1 + leader % 3, 1 + (leader + 1) % 3);
    let vote = Vote { term: group.raft(leader).term(), voted_for: None, barred: false };
    let members = Members::of([1, 2, 3].map(NodeId)).unwrap();
    let mut log = EntryLog::new(members, 1 << 20);
    let raft = group.raft(leader);
    for entry in raft.log().read(1, u64::MAX, usize::MAX).unwrap() {
        log.push(entry).unwrap();
    }
    let options = RaftOptions::new(NodeId(restarted), 77);
    let mut raft = Raft::new(options, vote, log, 0, group.now_us);
    let ballot = Ballot { last: Position { term: 9, index: 9 }, poll: false, asked: false };
    let message =
        Message { from: NodeId(candidate), to: NodeId(restarted), term: 9, body: Body::Ballot(ballot) };
    raft.step(message.clone(), group.now_us + ELECTION_US - 1).unwrap();
    assert!(raft.take_output().is_empty(), "it may have heard the leader right before");
    raft.step(message, group.now_us + ELECTION_US).unwrap();
    let said: Vec<Body> = raft.take_output().later.into_iter().map(|message| message.body).collect();
    assert_eq!(said, [Body::Vote { poll: false, granted: true, barred: false }]);
}

/// A member that may have lost what it had acknowledged elects nobody together with one other: that needs all, or those
/// two who have lost nothing. When it has what a leader has committed, it counts again.
#[test]
fn a_member_that_may_have_lost_something_counts_when_all_are_for_it() {
    let mut group = Group::of(&[1, 2, 3]);
    let members = Members::of([1, 2, 3].map(NodeId)).unwrap();
    let barred = Vote { term: 1, voted_for: None, barred: true };
    let raft = Raft::new(RaftOptions::new(NodeId(1), 1), barred, EntryLog::new(members, 1 << 20), 0, 0);
    group.rafts.insert(NodeId(1), raft);
    group.deaf.insert(NodeId(3));
    group.pass(6 * ELECTION_US);
    assert!(group.leaders().is_empty(), "one that has lost nothing is no quorum: {:?}", group.leaders());
    group.deaf.clear();
    let leader = group.leader();
    group.propose(leader, b"a").unwrap();
    group.settle();
    group.pass(ELECTION_US);
    assert!(!group.raft(1).is_barred(), "it has everything");
    group.deaf.insert(NodeId(3));
    assert_ne!(group.leader(), 3, "two of three are a quorum again");
}

/// Entries on their way to a slow disk would hold back every answer, and a leader whose followers all catch up would step
/// down though they hear it.
#[test]
fn a_follower_that_is_writing_says_that_it_hears_its_leader() {
    let mut group = Group::of(&[1, 2]);
    let leader = group.leader();
    let follower = 3 - leader;
    group.propose(leader, b"a").unwrap();
    let entries = group.raft(leader).take_output();
    let now_us = group.now_us;
    for message in entries.now {
        group.raft(follower).step(message, now_us).unwrap();
    }
    let owed = group.raft(follower).take_output();
    assert_eq!((owed.append.len(), owed.now.len()), (1, 0), "its answer waits for the disk");

    // A sign of life, and the disk is still at work.
    let now_us = now_us + 60_000;
    group.raft(leader).tick(now_us).unwrap();
    let signs = group.raft(leader).take_output();
    for message in signs.now {
        let Body::Append(append) = &message.body else { panic!("{message:?}") };
        assert!(append.entries.is_empty(), "what is on its way is not sent again");
        group.raft(follower).step(message, now_us).unwrap();
    }
    let said = group.raft(follower).take_output();
    let heard = Body::Appended { sent_us: now_us, said_us: now_us, result: AppendResult::Heard };
    assert_eq!(said.now.iter().map(|message| &message.body).collect::<Vec<_>>(), [&heard]);
    for message in said.now {
        group.raft(leader).step(message, now_us + 1_000).unwrap();
    }
    let raft = group.raft(leader);
    assert_eq!(raft.followers(now_us + 1_000)[0].2, 1_000, "heard a millisecond ago");
    assert!(raft.commit() < raft.log().last().index, "nothing is committed by that");
}

/// Found by the simulator (seed 379): a leader went while the entry that takes its vote away was on its disk alone. Nobody
/// else with a whole log could win without it, and it stood for no election.
#[test]
fn who_has_lost_its_vote_stands_until_that_is_committed() {
    let (mut group, leader, learner) = with_a_learner();
    let stay: Vec<NodeId> = [1, 2, 3].map(NodeId).into_iter().filter(|node| node.0 != leader).collect();
    let next = learner.changing_to([stay[0], stay[1], NodeId(4)], []).unwrap();
    group.change(leader, &next).unwrap();
    group.settle();
    // The second half is on the disk of the one that goes, and nowhere else; then one of the others is gone as well.
    group.deaf.extend([stay[0], stay[1], NodeId(4)]);
    group.finish_changes();
    group.pass(3 * ELECTION_US);
    group.deaf = [stay[1]].into();
    group.pass(30 * ELECTION_US);
    let new = group.leader();
    assert_ne!(new, leader);
    let members = group.raft(new).members();
    assert!(!members.is_changing() && !members.is_voter(NodeId(leader)), "{members:?}");
}

/// A node led the groups of three shards, and of the fourth its member had been removed while it was away: by its own log it
/// had a vote, so the node kept what it led, and the fourth group, which it was not in, was handed on for good: nobody was in
/// office (seed 800002321 of the simulator, three nodes).
#[test]
fn who_was_removed_while_it_was_away_learns_that_it_has_no_place() {
    let (mut group, leader, learner) = with_a_learner();
    let [away, stays] = [1, 2].map(|step| (leader + step - 1) % 3 + 1);
    group.deaf.insert(NodeId(away));
    let next = learner.changing_to([leader, stays, 4].map(NodeId), []).unwrap();
    group.change(leader, &next).unwrap();
    group.settle();
    group.finish_changes();
    group.deaf.clear();
    assert!(group.raft(away).has_place(), "it may hear a leader yet");
    group.pass(40 * ELECTION_US);
    assert!(group.raft(away).members().is_voter(NodeId(away)), "nobody has told it");
    let places = [1, 2, 3, 4].map(|node| group.raft(node).has_place());
    assert_eq!(places, [1, 2, 3, 4].map(|node| node != away));
}

/// A log that begins behind entry 3 of term 2, and record 9, with frames of so many records each.
fn begun_behind_three(members: &Members, frames: &[usize]) -> EntryLog {
    let options = LogOptions { segment_bytes: 1 << 16, prepare: Prepare::Inline, ..LogOptions::new(0, 1) };
    let front = Front { next_lsn: 10, index: 3, term: 2, time_us: 5 };
    let mut log = Log::begin(Arc::new(FaultDisk::new(1)), options, front).unwrap();
    for records in frames {
        let mut frame = FrameBuf::new();
        (0..*records).for_each(|_| frame.push(1, 2, b"a"));
        log.append(&mut frame, 5).unwrap();
    }
    EntryLog::open(log.reader(), members.clone(), 1 << 20).unwrap()
}

/// A follower had an entry of its own behind what all have, of a term that began in front of the leader's log: it hinted at what
/// it knew to be committed, which the leader had let go of. The snapshot that it was offered ended with an entry that it had.
#[test]
fn who_has_what_stands_in_front_of_the_leaders_log_is_helped_by_entries() {
    let founders = Members::of([1, 2, 3].map(NodeId)).unwrap();
    let mut group = Group::with(&[1, 2, 3], &founders);
    let vote = Vote { term: 2, voted_for: None, barred: false };
    let mut whole = EntryLog::new(founders.clone(), 1 << 20);
    for index in 1..=5 {
        let first_lsn = if index < 3 { 1 } else { 10 };
        let info = FrameInfo { first_lsn, index, term: 2, ..FrameInfo::default() };
        whole.push(Entry::empty(info)).unwrap();
    }
    for node in [1, 3] {
        let log = begun_behind_three(&founders, &[0]);
        let raft = Raft::new(RaftOptions::new(NodeId(node), node), vote, log, 3, 0);
        group.rafts.insert(NodeId(node), raft);
    }
    group.rafts.insert(NodeId(2), Raft::new(RaftOptions::new(NodeId(2), 2), vote, whole, 1, 0));
    group.deaf.insert(NodeId(2));
    let leader = group.leader();
    group.deaf.clear();
    group.pass(2 * ELECTION_US);
    let last = group.raft(leader).log().last();
    assert_eq!((group.raft(2).log().last(), group.raft(2).commit()), (last, last.index));
    assert!(last.term > 2 && group.raft(leader).lacking().is_empty(), "{last:?}");
}

/// The entry right behind a log's front was measured by the follower's own wrong one in its place.
#[test]
fn entries_right_behind_the_front_take_the_place_of_others() {
    let founders = Members::of([1, 2, 3].map(NodeId)).unwrap();
    let vote = Vote { term: 2, voted_for: None, barred: false };
    let log = begun_behind_three(&founders, &[2]);
    assert_eq!((log.last().index, log.next_lsn()), (4, 12));
    let mut raft = Raft::new(RaftOptions::new(NodeId(2), 2), vote, log, 3, 0);
    let entry = |index| Entry::empty(FrameInfo { first_lsn: 10, index, term: 3, ..FrameInfo::default() });
    let previous = Position { term: 2, index: 3 };
    let append = Append { previous, commit: 3, sent_us: 1, as_of_us: 0, entries: vec![entry(4), entry(5)] };
    let body = Body::Append(append);
    raft.step(Message { from: NodeId(1), to: NodeId(2), term: 3, body }, 1).unwrap();
    assert_eq!((raft.log().last(), raft.log().next_lsn()), (Position { term: 3, index: 5 }, 10));
}

/// Two whose answers take longer than an election timeout end each other's elections, unless they leave longer pauses.
#[test]
fn elections_that_come_to_nothing_leave_longer_pauses() {
    let mut group = Group::of(&[1, 2, 3]);
    group.deaf.extend([1, 2, 3].map(NodeId));
    let mut polls = Vec::new();
    let mut due_us = group.raft(1).next_due_us();
    for _ in 0..12 {
        group.raft(1).tick(due_us).unwrap();
        assert!(!group.raft(1).take_output().later.is_empty(), "it polls");
        let next_us = group.raft(1).next_due_us();
        polls.push(next_us - due_us);
        due_us = next_us;
    }
    let most = 2 * ELECTION_US;
    assert!(polls[..2].iter().all(|pause| *pause <= most), "{polls:?}");
    assert!(polls[4..].iter().any(|pause| *pause > most), "{polls:?}");
    assert!(polls.iter().all(|pause| *pause >= ELECTION_US && *pause <= 9 * ELECTION_US), "{polls:?}");
}

/// Nobody could be elected for good where a leader had lost its last entry, and a node that follows without a vote was the only
/// one left with it: to who stood it counted as a voter, and refused; by its own log it had no vote, and did not stand (seed
/// 100000150 of the simulator, three nodes).
#[test]
fn who_has_no_vote_stands_once_somebody_with_less_has_asked_for_it() {
    let founders = Members::of([1, 2, 3].map(NodeId)).unwrap();
    let members = founders.changing_to(founders.voters(), [NodeId(4)]).unwrap();
    let mut log = EntryLog::new(members, 1 << 20);
    log.push(Entry::empty(FrameInfo { first_lsn: 1, index: 1, term: 5, ..FrameInfo::default() })).unwrap();
    let vote = Vote { term: 5, voted_for: None, barred: false };
    let mut raft = Raft::new(RaftOptions::new(NodeId(4), 4), vote, log, 0, 0);
    let mut now_us = 0;
    let mut asked = |raft: &mut Raft| {
        for _ in 0..40 {
            now_us += ELECTION_US / 4;
            raft.tick(now_us).unwrap();
        }
        let output = raft.take_output();
        let ballots = output.later.into_iter().filter(|message| matches!(message.body, Body::Ballot(_)));
        (now_us, ballots.map(|message| message.to.0).collect::<BTreeSet<_>>())
    };
    let (now_us, ballots) = asked(&mut raft);
    assert!(ballots.is_empty(), "it has no vote");
    let said = |term, body| Message { from: NodeId(2), to: NodeId(4), term, body };
    let lacking = Ballot { last: Position { term: 4, index: 9 }, poll: true, asked: false };
    raft.step(said(6, Body::Ballot(lacking)), now_us).unwrap();
    let answer = raft.take_output().later.pop().map(|message| message.body);
    assert_eq!(answer, Some(Body::Vote { poll: true, granted: false, barred: false }));
    let (now_us, ballots) = asked(&mut raft);
    assert_eq!(ballots, BTreeSet::from([1, 2, 3]), "all who have a vote are asked");
    let append = Append {
        previous: Position { term: 5, index: 1 },
        commit: 0,
        sent_us: 1,
        as_of_us: 0,
        entries: Vec::new(),
    };
    raft.step(said(7, Body::Append(append)), now_us).unwrap();
    raft.take_output();
    assert!(asked(&mut raft).1.is_empty(), "there is a leader again");
}
