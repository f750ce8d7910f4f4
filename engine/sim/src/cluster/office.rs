//! The office of a node, which is of all its shards, and what they say to each other in it.
//!
//! A member tells its node when it leads its group and has applied everything. When all have, an office is open, and each
//! enters it at its next look. When one loses its group, the office is over, and the others leave it, though they
//! may lead on. What was under way between shards ends with it.

use onrush_engine::replication::{Beside, NodeId, RoleKind};
use onrush_engine::shard::{Effects, Input, PeerMessage, ReplyTo};
use onrush_proto::ShardId;
use smallvec::SmallVec;

use super::World;
use super::member::Live;
use super::work::unknown;
use crate::planted::Planted;
use crate::report::{Verdict, Violation};

/// Most messages that a shard takes of another one at once.
const TAKEN_MAX: u64 = 6;

impl World {
    /// The node that is in office with all its shards.
    pub(super) fn in_office(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|node| self.of_node(*node).all(|at| self.decides(at)))
    }

    /// True if the shard decides at this member, as far as it knows.
    pub(super) fn decides(&self, at: usize) -> bool {
        self.members[at].live.as_ref().is_some_and(|live| live.replica.holds_office())
    }

    /// True if the member has to leave or to enter an office.
    pub(super) fn office_calls(&self, at: usize) -> bool {
        let node = &self.nodes[self.node_of(at)];
        let Some(live) = self.members[at].live.as_ref().filter(|_| node.paused_until_us <= self.now_us)
        else {
            return false;
        };
        match (live.replica.holds_office(), node.offices.open()) {
            (true, _) if self.plan.has(Planted::STAY_IN_OFFICE) => false,
            (true, open) => open != Some(live.office),
            (false, open) => open.is_some_and(|open| open != live.office) && live.replica.is_ready(),
        }
    }

    /// A member that has lost its office, or is ready for one.
    pub(super) fn look_at_office(&mut self, at: usize) -> Verdict {
        let node = self.node_of(at);
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        if let Some(batches) = live.replica.deposed() {
            self.summary.deposed += 1;
            self.tell(|| {
                format!("{} lost its office with {} batches under way", self.name(at), batches.len())
            });
            self.tell_ready(at, None);
            self.leave_office(at, batches)?;
        }
        let open = self.nodes[node].offices.open();
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        if live.replica.holds_office() {
            // Each shard is at work by itself: it may decide a while before it hears of the end.
            let stays = self.plan.has(Planted::STAY_IN_OFFICE);
            if open == Some(live.office) || stays || self.schedule.percent(30) {
                return Ok(());
            }
            live.ready = None;
            let batches = live.replica.resign();
            self.summary.resigned += 1;
            self.tell(|| format!("{} leaves its office with the others", self.name(at)));
            self.leave_office(at, batches)?;
        }
        self.enter_office(at);
        self.refuse_waiting(at)
    }

    fn tell_ready(&mut self, at: usize, ready: Option<u64>) {
        let (node, shard) = (self.node_of(at), ShardId(self.members[at].shard as u16));
        if let Some(live) = &mut self.members[at].live {
            live.ready = ready;
        }
        self.nodes[node].offices.tell(shard, ready);
    }

    fn enter_office(&mut self, at: usize) {
        let (node, shard) = (self.node_of(at), self.members[at].shard);
        let Some(live) = &mut self.members[at].live else { return };
        let ready = live.replica.is_ready().then_some(live.replica.raft().term());
        if ready.is_some() || live.ready.is_some() {
            self.tell_ready(at, ready);
        }
        let Some(office) = self.nodes[node].offices.open().filter(|_| ready.is_some()) else { return };
        let now_us = self.clock_us(at);
        let Some(live) = &mut self.members[at].live else { return };
        if !live.replica.take_office() {
            return;
        }
        live.ahead_us += live.replica.raft().log().time_us().saturating_sub(now_us);
        live.office = office;
        live.inbox.clear();
        live.shard.begin_office();
        for (ShardId(to), message) in live.shard.reclaims() {
            self.nodes[node].links.send(shard, usize::from(to), (office, message));
        }
        if let Some(live) = &mut self.members[at].live {
            self.summary.outdated += live.receive(&self.plan);
        }
        self.summary.offices += u64::from(self.of_node(node).all(|at| self.decides(at)));
        self.tell(|| format!("{} enters office {office}", self.name(at)));
    }

    /// What was decided here and not committed may never have happened, and nobody knows what was under way.
    fn leave_office(&mut self, at: usize, batches: Vec<Effects>) -> Verdict {
        let decided = self.leave_unknown(at, batches)?;
        if !decided || self.plan.has(Planted::KEEP_DECIDED) {
            return Ok(());
        }
        let options = self.shard_options(self.members[at].shard);
        self.members[at].rebuild(options)
    }

    /// Whoever waits here learns that nobody knows. True if something was decided that may never happen.
    fn leave_unknown(&mut self, at: usize, batches: Vec<Effects>) -> Result<bool, Violation> {
        let Some(live) = &mut self.members[at].live else { return Ok(false) };
        let open = std::mem::take(&mut live.open);
        let clients = live.shard.leave_office();
        // What has decided nothing that is not committed knows nothing that is not so.
        let decided = batches.iter().chain([&open]).any(|batch| !batch.is_empty());
        let replies = batches.into_iter().chain([open]).flat_map(|batch| batch.replies);
        let clients: Vec<ReplyTo> = clients.into_iter().chain(replies.map(|(to, _)| to)).collect();
        clients.into_iter().try_for_each(|to| self.reply(to, &unknown()))?;
        self.refuse_waiting(at)?;
        Ok(decided)
    }

    /// A member that does not decide turns everybody away.
    fn refuse_waiting(&mut self, at: usize) -> Verdict {
        let Some(live) = self.members[at].live.as_mut().filter(|live| !live.replica.holds_office()) else {
            return Ok(());
        };
        let waiting: Vec<Input> = live.inbox.drain(..).chain(live.door.drain(..)).collect();
        for input in waiting {
            if let Input::Request { to, .. } = input {
                self.reply(to, &unknown())?;
            }
        }
        Ok(())
    }

    /// One member stops, and waits for the end of its process: with it, no office is open there.
    pub(super) fn halt(&mut self, at: usize) -> Verdict {
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        let batches = live.replica.resign();
        self.tell_ready(at, None);
        self.leave_unknown(at, batches)?;
        let member = &mut self.members[at];
        (member.live, member.stalled_until_us) = (None, 0);
        Ok(())
    }

    /// What a batch says to other shards leaves, as said in the office in which it was decided.
    pub(super) fn send_inside(&mut self, at: usize, messages: Vec<(ShardId, PeerMessage)>) {
        let (node, from) = (self.node_of(at), self.members[at].shard);
        let Some(live) = &self.members[at].live else { return };
        for (ShardId(to), message) in messages {
            self.trace.text(&message);
            self.nodes[node].links.send(from, usize::from(to), (live.office, message));
        }
    }

    /// Some messages arrive from one shard of a node at another one. False if none was under way anywhere.
    pub(super) fn deliver_inside(&mut self) -> bool {
        if self.is_hushed {
            return false;
        }
        let busy = |node: &usize| {
            !self.nodes[*node].links.is_empty() && self.nodes[*node].paused_until_us <= self.now_us
        };
        let busy: Vec<usize> = (0..self.nodes.len()).filter(busy).collect();
        if busy.is_empty() {
            return false;
        }
        let node = busy[self.schedule.index(busy.len())];
        let links = &mut self.nodes[node].links;
        let Some((from, to)) = links.busy(&mut self.schedule) else { return false };
        let most = self.schedule.within(1, TAKEN_MAX) as usize;
        let messages = links.take(from, to, most);
        let at = self.of_node(node).start + to;
        let Some(live) = &mut self.members[at].live else { return true };
        for (office, message) in messages {
            live.sent.push_back((office, ShardId(from as u16), message));
        }
        self.summary.outdated += live.receive(&self.plan);
        true
    }

    /// To whom a leader hands over what cannot be decided with all other shards here.
    pub(super) fn heir(&self, at: usize) -> Option<NodeId> {
        let Some(live) = &self.members[at].live else { return None };
        let raft = live.replica.raft();
        let now_us = self.clock_us(at);
        if raft.role() != RoleKind::Leader || raft.is_handing_over() || now_us < live.follow_due_us {
            return None;
        }
        let here = self.of_node(self.node_of(at));
        let lives: SmallVec<[Option<&Live>; 8]> = here.map(|at| self.members[at].live.as_ref()).collect();
        let has_place = |live: &Live| {
            let raft = live.replica.raft();
            raft.has_place() && !live.taker.is_fetching(raft)
        };
        let first = lives[0].map(|first| first.replica.raft());
        let beside = Beside {
            first: first.and_then(|first| first.heir().or_else(|| first.leader())),
            is_fit: lives.iter().all(|live| live.is_some_and(has_place)),
            led_us: now_us.saturating_sub(live.led_since_us),
            election_us: self.plan.election_us,
        };
        beside.heir(raft, live.followed)
    }

    /// A leader hands over to where the other shards are led.
    pub(super) fn follow(&mut self, at: usize) -> Verdict {
        let (heir, now_us) = (self.heir(at), self.clock_us(at));
        let election_us = self.plan.election_us;
        let Some((heir, live)) = heir.zip(self.members[at].live.as_mut()) else { return Ok(()) };
        live.follow_due_us = now_us + election_us;
        live.followed += 1;
        if live.replica.raft_mut().hand_over(heir, now_us).is_ok() {
            self.summary.followed += 1;
            self.tell(|| format!("{} hands over to node {heir}", self.name(at)));
        }
        self.take_output(at);
        self.check_member(at)
    }

    /// For messages: which member.
    pub(super) fn name(&self, at: usize) -> String {
        format!("shard {} of node {}", self.members[at].shard, self.node_of(at))
    }
}
