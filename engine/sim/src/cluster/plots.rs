//! Plots: troubles that follow each other as chance alone hardly ever has them.
//!
//! What consensus promises in the moments around a fall shows to a client who asks then, and at the node that fell. A plot
//! waits for such a moment, makes it, asks, and mends what it has broken; how it goes on in between is as always drawn. Most
//! runs have none, so that they stay as they were.

use onrush_engine::replication::{NodeId, RoleKind};
use onrush_engine::shard::PeerMessage;
use onrush_proto::IdempotencyKey;

use super::World;
use crate::report::Verdict;

/// Events that a plot waits for one thing.
const PATIENCE_EVENTS: u64 = 900;
/// Steps that a deposed leader gets before it can hear.
const LAST_STEPS: usize = 16;
/// Questions that it is asked.
const QUESTIONS: usize = 4;

/// What is to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The leader asks another one to lead, which hears it late; then nobody hears the leader any more.
    HandOver,
    /// One follower hears the leader no more, and stands for election; then nobody does.
    Unheard,
    /// The same, and the follower who heard it last starts again right before.
    Restart,
    /// The leader's process stands still while others elect another one, and goes on.
    Standstill,
    /// Who has acknowledged the last entry loses it, while a third one lacks it.
    Damage,
    /// Leaders of two terms have an entry each that nobody else has, and lead in turn (Ongaro, 3.6.2, figure 3.7).
    Turns,
    /// A follower hears nothing until its leader has let go of what it lacks.
    Behind,
    /// An office ends when a key has been accepted, and its shard does not know yet.
    Claim,
}

const KINDS: [Kind; 9] = [
    Kind::HandOver,
    Kind::Unheard,
    Kind::Restart,
    Kind::Standstill,
    Kind::Damage,
    Kind::Turns,
    Kind::Behind,
    Kind::Behind,
    Kind::Claim,
];

/// One that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plot {
    kind: Kind,
    stage: u8,
    /// The event at which it is given up.
    until: u64,
    shard: usize,
    leader: usize,
    heir: usize,
    other: usize,
    /// What was committed or answered, and when, at the stage's beginning.
    mark: u64,
    since_us: u64,
    key: IdempotencyKey,
}

impl World {
    /// Begins a plot, or goes on with the one that is under way.
    pub(super) fn plot(&mut self) -> Verdict {
        let Some(plot) = self.plot else {
            let begins = self.plots.below(10_000) < self.plan.plots_per_10k;
            if begins {
                self.begin_plot();
            }
            return Ok(());
        };
        if self.event >= plot.until {
            self.end_plot();
            return Ok(());
        }
        match plot.kind {
            Kind::Damage => self.go_on_with_damage(plot),
            Kind::Turns => self.go_on_with_turns(plot),
            Kind::Behind => self.go_on_with_one_behind(plot),
            Kind::Claim => self.go_on_with_claim(plot),
            _ => self.go_on_with_overtaking(plot),
        }
    }

    fn begin_plot(&mut self) {
        let (drawn, shard) = (self.plots.pick(&KINDS), self.plots.index(self.shards()));
        // What only shards have among each other is rare enough.
        let kind = if self.shards() > 1 && self.plots.percent(40) { Kind::Claim } else { drawn };
        let Some(leader) = self.in_office() else { return };
        let mut others: Vec<usize> =
            (0..self.nodes.len()).filter(|node| *node != leader && self.has_votes(*node)).collect();
        if others.len() < 2 || (kind == Kind::Claim && self.shards() < 2) {
            return;
        }
        let heir = others.swap_remove(self.plots.index(others.len()));
        let other = others[self.plots.index(others.len())];
        self.tell(|| format!("{kind:?} is plotted: node {leader} leads, {heir} follows, and {other}"));
        self.network.mend();
        self.plot = Some(Plot {
            kind,
            stage: 0,
            until: self.event + PATIENCE_EVENTS,
            shard,
            leader,
            heir,
            other,
            mark: self.groups[shard].commits.len() as u64,
            since_us: self.now_us,
            key: IdempotencyKey(0),
        });
        self.summary.plots += 1;
    }

    /// What a plot has broken is mended.
    pub(super) fn end_plot(&mut self) {
        let Some(plot) = self.plot.take() else { return };
        self.tell(|| format!("{:?} ends in stage {}", plot.kind, plot.stage));
        self.network.mend();
        for node in [plot.leader, plot.heir, plot.other] {
            self.nodes[node].paused_until_us = 0;
        }
        (self.is_slow, self.is_hushed, self.is_quiet) = (false, false, false);
    }

    fn next_stage(&mut self, plot: Plot) {
        self.tell(|| format!("{:?}: stage {} is done", plot.kind, plot.stage));
        let (stage, until) = (plot.stage + 1, self.event + PATIENCE_EVENTS);
        self.plot = Some(Plot { stage, until, ..plot });
    }

    /// True if the node runs, and has a vote in all groups.
    fn has_votes(&self, node: usize) -> bool {
        let votes = |at: usize| {
            let live = self.members[at].live.as_ref();
            live.is_some_and(|live| live.replica.raft().members().is_voter(self.nodes[node].id))
        };
        self.nodes[node].paused_until_us <= self.now_us && self.of_node(node).all(votes)
    }

    fn at(&self, node: usize, shard: usize) -> usize {
        self.of_node(node).start + shard
    }

    fn role(&self, at: usize) -> Option<RoleKind> {
        self.members[at].live.as_ref().map(|live| live.replica.raft().role())
    }

    fn term(&self, at: usize) -> u64 {
        self.members[at].live.as_ref().map_or(0, |live| live.replica.raft().term())
    }

    /// A leader is overtaken, and asked before it can know.
    fn go_on_with_overtaking(&mut self, plot: Plot) -> Verdict {
        match plot.stage {
            0 => self.open_overtaking(plot),
            1 => self.fell_leader(plot),
            2 => self.ask_overtaker(plot),
            _ => self.ask_overtaken(plot),
        }
    }

    fn open_overtaking(&mut self, plot: Plot) -> Verdict {
        if plot.kind != Kind::Standstill {
            // Whoever lacks an entry that others have is not elected: nobody asks for anything until the leader is cut off.
            self.is_quiet = true;
            let heir = self.nodes[plot.heir].id;
            if !self.of_node(plot.leader).all(|at| self.follows_closely(at, heir)) {
                return Ok(());
            }
        }
        match plot.kind {
            Kind::HandOver => {
                self.network.hold(plot.leader, plot.heir);
                self.hand_everything_over(plot.leader, self.nodes[plot.heir].id);
            }
            Kind::Standstill => {
                self.nodes[plot.leader].paused_until_us = self.now_us + 20 * self.plan.election_us;
            }
            _ => self.network.cut(plot.leader, plot.heir),
        }
        self.next_stage(Plot { since_us: self.now_us, ..plot });
        Ok(())
    }

    /// True if it leads, has nothing under way, and that follower has all that it has.
    fn follows_closely(&self, leader: usize, follower: NodeId) -> bool {
        let Some(live) = &self.members[leader].live else { return false };
        let raft = live.replica.raft();
        if live.replica.waiting() > 0 || !live.open.is_empty() {
            return false;
        }
        let followers = raft.followers(self.clock_us(leader));
        followers.into_iter().any(|(node, matched, _)| node == follower && matched == raft.log().last().index)
    }

    fn hand_everything_over(&mut self, leader: usize, heir: NodeId) {
        for at in self.of_node(leader) {
            let now_us = self.clock_us(at);
            let Some(live) = &mut self.members[at].live else { continue };
            self.summary.transfers += u64::from(live.replica.raft_mut().hand_over(heir, now_us).is_ok());
            self.take_output(at);
        }
    }

    /// Once its follower is about to stand for election, nobody hears the leader any more.
    fn fell_leader(&mut self, plot: Plot) -> Verdict {
        let election_us = self.plan.election_us;
        let is_time = match plot.kind {
            Kind::HandOver => self.now_us >= plot.since_us + election_us * 9 / 10,
            Kind::Standstill => true,
            _ => self.is_about_to_stand(self.at(plot.heir, plot.shard)),
        };
        if !is_time {
            return Ok(());
        }
        match plot.kind {
            Kind::Standstill => {}
            Kind::HandOver => self.deliver_held(plot.leader, plot.heir)?,
            Kind::Restart => {
                self.summary.kills += 1;
                self.stop(plot.other);
                self.start(plot.other)?;
            }
            _ => {}
        }
        if plot.kind != Kind::Standstill {
            self.summary.cuts += 1;
            self.network.cut_off(plot.leader, true, true);
            self.is_slow = true;
            let heir = self.at(plot.heir, plot.shard);
            self.now_us += self.due_in_us(heir).filter(|_| plot.kind != Kind::HandOver).unwrap_or(0);
        }
        self.is_quiet = false;
        let mark = self.groups[plot.shard].answered_lsn;
        self.next_stage(Plot { mark, ..plot });
        if let Some(plot) = self.plot.as_mut().filter(|_| self.is_slow) {
            plot.until = self.event + PATIENCE_EVENTS / 2;
        }
        Ok(())
    }

    fn is_about_to_stand(&self, at: usize) -> bool {
        self.due_in_us(at).is_some_and(|due_us| due_us <= self.plan.election_us / 12)
    }

    /// When a follower stands for election.
    fn due_in_us(&self, at: usize) -> Option<u64> {
        let raft = self.members[at].live.as_ref()?.replica.raft();
        (raft.role() == RoleKind::Follower).then(|| raft.next_due_us().saturating_sub(self.clock_us(at)))
    }

    fn deliver_held(&mut self, from: usize, to: usize) -> Verdict {
        for (shard, message) in self.network.let_go(from, to) {
            let at = self.at(to, usize::from(shard.0));
            let now_us = self.clock_us(at);
            self.with_raft(at, |raft| raft.step(message, now_us))?;
        }
        Ok(())
    }

    /// Whoever decides now is asked, until somebody has been answered.
    fn ask_overtaker(&mut self, plot: Plot) -> Verdict {
        let mut nodes = (0..self.nodes.len()).filter(|node| *node != plot.leader);
        let Some(next) = nodes.find(|node| self.decides(self.at(*node, plot.shard))) else { return Ok(()) };
        if self.groups[plot.shard].answered_lsn > plot.mark {
            self.next_stage(plot);
            return Ok(());
        }
        if self.event.is_multiple_of(4) {
            let request = self.workload.next(&self.mirror, self.now_us);
            return self.bring(next, request);
        }
        Ok(())
    }

    /// The one that led is asked, and does what it can before it hears anybody.
    fn ask_overtaken(&mut self, plot: Plot) -> Verdict {
        if plot.kind == Kind::HandOver {
            // Until then it begins nothing.
            self.now_us = self.now_us.max(plot.since_us + self.plan.election_us * 26 / 25);
        }
        for at in 0..QUESTIONS {
            let request = match at % 2 {
                0 => self.workload.look(&self.mirror),
                _ => self.workload.again(),
            };
            self.bring(plot.leader, request)?;
        }
        self.nodes[plot.leader].paused_until_us = 0;
        for _ in 0..LAST_STEPS {
            self.of_node(plot.leader).try_for_each(|at| self.advance(at))?;
        }
        self.end_plot();
        Ok(())
    }

    /// One of three hears nothing, the second one acknowledges, and loses what it has acknowledged; the first one falls.
    fn go_on_with_damage(&mut self, plot: Plot) -> Verdict {
        let Plot { leader, heir, other, shard, .. } = plot;
        let (heir_at, committed) = (self.at(heir, shard), self.groups[shard].commits.len());
        match plot.stage {
            0 => {
                self.network.cut_off(other, true, true);
                self.next_stage(plot);
            }
            1 if committed as u64 > plot.mark && self.members[heir_at].on_disk.len() == committed => {
                self.damage_tail(heir, heir_at);
                let pause_us = 4 * self.plan.election_us;
                self.network.mend();
                self.network.cut_off(leader, true, true);
                self.nodes[leader].paused_until_us = self.now_us + pause_us;
                self.start(heir)?;
                self.next_stage(plot);
            }
            1 => {}
            _ if self.nodes[leader].paused_until_us <= self.now_us => self.end_plot(),
            _ => {}
        }
        Ok(())
    }

    /// The leader and the one after it have an entry each that nobody else has; the first leads again, and shows its own to a
    /// third one; then the second one leads again.
    fn go_on_with_turns(&mut self, plot: Plot) -> Verdict {
        let (first, shard) = (plot.leader, plot.shard);
        let first_at = self.at(first, shard);
        let disk_term = |world: &Self, at: usize| world.members[at].on_disk.last().copied().unwrap_or(0);
        match plot.stage {
            0 => {
                self.network.cut_off(first, true, true);
                let request = self.workload.next(&self.mirror, self.now_us);
                self.bring(first, request)?;
                let ahead = self.members[first_at].on_disk.len() > self.groups[shard].commits.len();
                if ahead && disk_term(self, first_at) == self.term(first_at) {
                    let mark = self.members[first_at].on_disk.len() as u64;
                    self.next_stage(Plot { mark, ..plot });
                }
            }
            1 => {
                let leads = |node: &usize| self.role(self.at(*node, shard)) == Some(RoleKind::Leader);
                if let Some(second) = [plot.heir, plot.other].into_iter().find(leads) {
                    let third = plot.heir + plot.other - second;
                    self.network.cut_off(second, true, true);
                    self.next_stage(Plot { heir: second, other: third, ..plot });
                }
            }
            2 if disk_term(self, self.at(plot.heir, shard)) == self.term(self.at(plot.heir, shard)) => {
                self.network.mend();
                self.stand_still(plot.heir);
                self.next_stage(plot);
            }
            3 if self.role(first_at) == Some(RoleKind::Leader) => self.next_stage(plot),
            4 if self.members[self.at(plot.other, shard)].on_disk.len() as u64 >= plot.mark => {
                self.network.hold(first, plot.other);
                self.next_stage(Plot { mark: self.event + PATIENCE_EVENTS / 10, ..plot });
            }
            5 if self.event >= plot.mark => {
                self.network.mend();
                self.nodes[plot.heir].paused_until_us = 0;
                self.stand_still(first);
                self.next_stage(plot);
            }
            6 if self.role(self.at(plot.heir, shard)) == Some(RoleKind::Leader) => self.end_plot(),
            _ => {}
        }
        Ok(())
    }

    /// Nothing is heard of a node, and it does nothing.
    fn stand_still(&mut self, node: usize) {
        self.summary.pauses += 1;
        self.network.cut_off(node, true, true);
        self.nodes[node].paused_until_us = self.now_us + 20 * self.plan.election_us;
    }

    /// A follower is away for so long that only a snapshot helps it.
    fn go_on_with_one_behind(&mut self, plot: Plot) -> Verdict {
        let (leader, other) = (self.at(plot.leader, plot.shard), self.at(plot.other, plot.shard));
        match plot.stage {
            0 => {
                self.network.cut_off(plot.other, true, true);
                self.next_stage(plot);
                self.plot = Some(Plot { stage: 1, until: self.event + 2 * PATIENCE_EVENTS, ..plot });
            }
            1 => {
                let first =
                    self.members[leader].live.as_ref().map(|live| live.replica.raft().log().first_index());
                if first.is_some_and(|first| first > self.members[other].on_disk.len() as u64 + 1) {
                    self.network.mend();
                    self.next_stage(Plot { mark: self.summary.installed, ..plot });
                    return Ok(());
                }
                if self.event.is_multiple_of(4) {
                    let request = self.workload.fill(&self.mirror, plot.shard);
                    self.bring(plot.leader, request)?;
                }
                if self.event.is_multiple_of(8) {
                    return self.absorb(leader);
                }
            }
            _ if self.summary.installed > plot.mark => self.end_plot(),
            _ => {}
        }
        Ok(())
    }

    /// The office ends while word of an acceptance is under way to its key's shard, and in the next one that shard is asked
    /// under the key for something else before it has heard of it.
    fn go_on_with_claim(&mut self, plot: Plot) -> Verdict {
        match plot.stage {
            0 => {
                self.is_hushed = self.event.is_multiple_of(2);
                let accepted = |(_, message): &(u64, PeerMessage)| match message {
                    PeerMessage::Answered { key, accepted: true, .. } => Some(*key),
                    _ => None,
                };
                let Some(key) = self.nodes[plot.leader].links.iter().find_map(accepted) else {
                    return Ok(());
                };
                self.is_hushed = true;
                self.summary.kills += 1;
                self.stop(plot.leader);
                self.next_stage(Plot { key, ..plot });
                // An office takes several elections.
                self.plot = self.plot.map(|plot| Plot { until: self.event + 2 * PATIENCE_EVENTS, ..plot });
            }
            _ => {
                let Some(next) = self.in_office() else { return Ok(()) };
                for _ in 0..QUESTIONS {
                    let Some(request) = self.workload.another_under(plot.key) else { break };
                    self.bring(next, request)?;
                }
                for _ in 0..LAST_STEPS {
                    self.of_node(next).try_for_each(|at| self.advance(at))?;
                }
                self.end_plot();
            }
        }
        Ok(())
    }
}
