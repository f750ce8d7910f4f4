//! What goes wrong with nodes and the network, and when.

use onrush_engine::replication::NodeId;
use onrush_storage::disk::FaultPlan;
use onrush_storage::store::{Keyspace, Store};

use super::{World, place};
use crate::faults::Fault;
use crate::node::{CutStore, FlushCrash};
use crate::report::Verdict;
use crate::world::{is_begun_behind, last_frames};

/// By how much a clock is set at most, at once.
const SET_BY_US_MAX: u64 = 60_000_000;

impl World {
    /// Perhaps something fails, and what has failed comes back.
    pub(super) fn maybe_fault(&mut self) -> Verdict {
        for node in 0..self.nodes.len() {
            if !self.is_whole(node) && self.faults.percent(4) {
                self.start(node)?;
            }
        }
        if self.plot.is_some() {
            return self.plot();
        }
        if self.faults.below(1_000) < 4 {
            self.network.mend();
        }
        self.plot()?;
        if let Some((at, _)) = self.doomed.take_if(|(_, event)| self.event >= *event) {
            self.tell(|| format!("the new leader is gone: node {at}"));
            let pause_us = self.faults.within(1, 4) * self.plan.election_us;
            match self.faults.below(4) {
                0 | 1 => self.lose_power(at),
                2 => self.cut(|network| network.cut_off(at, true, true)),
                _ => {
                    self.summary.pauses += 1;
                    self.nodes[at].paused_until_us = self.now_us + pause_us;
                }
            }
        }
        if self.faults.below(10_000) >= self.plan.faults_per_10k {
            return Ok(());
        }
        let at = self.faults.index(self.nodes.len());
        let weights = Fault::OF_CLUSTERS.map(|(_, weight)| weight);
        let (fault, _) = Fault::OF_CLUSTERS[self.faults.weighted(&weights)];
        self.trace.number(fault as u64);
        if self.plan.without.has(fault) {
            return Ok(());
        }
        self.tell(|| format!("{} at node {at}", fault.name()));
        self.summary.faults += 1;
        let member = self.of_node(at).start + self.faults.index(self.shards());
        self.fail(fault, at, member)
    }

    /// True if all members of the node run.
    pub(super) fn is_whole(&self, node: usize) -> bool {
        self.of_node(node).all(|at| self.members[at].live.is_some())
    }

    /// Something fails at a node, or with the disk or the store of one of its members.
    fn fail(&mut self, fault: Fault, at: usize, member: usize) -> Verdict {
        let (count, millis) =
            (self.faults.within(1, 8), self.faults.within(1, 8) * self.plan.election_us / 3);
        let other = self.faults.index(self.nodes.len());
        let flush = self.faults.pick(&[FlushCrash::Before, FlushCrash::HistoryOnly, FlushCrash::CurrentOnly]);
        let full = FaultPlan { space_bytes: Some(0), ..self.plan.calm() };
        let until_us = self.now_us + millis;
        match fault {
            Fault::Crash => self.lose_power(at),
            Fault::CrashAll => (0..self.nodes.len()).for_each(|at| self.lose_power(at)),
            Fault::Kill => {
                self.summary.kills += 1;
                self.stop(at);
            }
            Fault::LoseStore => {
                self.lose_power(at);
                self.members[member].store = CutStore::default();
            }
            Fault::CutOff => self.cut(|network| network.cut_off(at, true, true)),
            Fault::Deaf => self.cut(|network| network.cut_off(at, false, true)),
            Fault::Mute => self.cut(|network| network.cut_off(at, true, false)),
            Fault::CutLink => self.cut(|network| network.cut(at, other)),
            Fault::Transfer => self.transfer(at, self.members[member].shard),
            Fault::Change => return self.change(at),
            Fault::ReplaceDisk => return self.replace_disk(at),
            Fault::ClockJump => self.set_clock(at),
            Fault::Pause => {
                // A leader that stands still is the one that others overtake.
                let leader = self.in_office().filter(|_| self.faults.percent(60));
                self.summary.pauses += 1;
                let until_us = until_us + 2 * self.plan.election_us;
                self.nodes[leader.unwrap_or(at)].paused_until_us = until_us;
            }
            Fault::DamageTail => self.damage_tail(at, member),
            Fault::SlowSync => self.members[member].stalled_until_us = until_us,
            Fault::CrashInFlush => self.members[member].store.crash_in_flush(flush),
            Fault::CrashInWrite => self.members[member].disk.crash_after_writes(count.div_ceil(2)),
            Fault::CrashInStep => self.members[member].disk.crash_after_steps(count),
            Fault::WriteError => self.members[member].disk.fail_next_write(),
            Fault::SyncError => self.members[member].disk.fail_next_sync(),
            Fault::EntryError => self.members[member].disk.fail_entry(count.div_ceil(2)),
            Fault::DiskFull => self.members[member].disk.faults(full),
            _ => {}
        }
        Ok(())
    }

    /// The process of a node is killed, and its clock set.
    fn set_clock(&mut self, at: usize) {
        self.summary.clock_jumps += 1;
        self.stop(at);
        let by_us = self.faults.within(1, SET_BY_US_MAX) as i64;
        self.nodes[at].set_by_us += if self.faults.percent(50) { by_us } else { -by_us };
    }

    /// A new leader is gone more often than others: what it has sent to some and not to all is where logs come apart.
    pub(super) fn perhaps_doom(&mut self, at: usize) {
        let exposed = self.plan.faults_per_10k > 0
            && !self.healed
            && self.plot.is_none()
            && !self.plan.without.has(Fault::Crash);
        // Before a node is in office with all its shards, each of them is elected.
        if exposed && self.faults.below(4 * self.shards() as u64) == 0 {
            self.doomed = Some((at, self.event + self.faults.within(1, 200)));
        }
    }

    fn cut(&mut self, links: impl FnOnce(&mut super::Network)) {
        self.summary.cuts += 1;
        links(&mut self.network);
    }

    /// Power is lost at one node.
    pub(super) fn lose_power(&mut self, at: usize) {
        self.summary.crashes += 1;
        self.stop(at);
        for at in self.of_node(at) {
            self.members[at].disk.crash();
            self.members[at].snapshots.crash();
        }
    }

    /// Power is lost, and a bit of the last entry on the disk of a member flips while no seal stands behind it: recovery
    /// takes it for torn. What a quorum has bears the damage of one.
    pub(super) fn damage_tail(&mut self, node: usize, at: usize) {
        self.lose_power(node);
        let member = &self.members[at];
        if !self.bears_damage(member.shard) {
            return;
        }
        let Some((name, frames)) = last_frames(&member.disk, 0) else { return };
        let Some(place) = frames.last().filter(|place| !place.seal && member.taking_back.is_none()) else {
            return;
        };
        // Whatever of the next one was written proves that this was acknowledged: the node would not start.
        if is_begun_behind(&member.disk, &name, place) {
            return;
        }
        // A node whose store has what its log lost does not start.
        let applied = member.store.applied(Keyspace::History).max(member.store.applied(Keyspace::Current));
        if applied >= place.first_lsn || member.on_disk.len() < 2 {
            return;
        }
        let byte = place.offset + self.faults.index(place.len);
        let bit = self.faults.below(8) as u8;
        self.tell(|| format!("bit {bit} of byte {byte} of {name} of {} flips", self.name(at)));
        let member = &mut self.members[at];
        member.flipped = member.disk.flip_bit(&name, byte as u64, bit).is_ok();
        member.damaged = member.flipped;
        self.summary.tampered += u64::from(member.damaged);
    }

    /// True if no voter of the shard's group is damaged or lost: what two of three had may be gone with two.
    fn bears_damage(&self, shard: usize) -> bool {
        let members = self.groups[shard].commits.members.as_ref();
        let Some(members) = members.filter(|members| !members.is_changing()) else { return false };
        let is_there = |node: NodeId| self.nodes[place(node)].id == node;
        let is_damaged = self.members.iter().any(|member| member.shard == shard && member.damaged);
        !is_damaged && members.everyone().all(is_there)
    }

    /// The process of a node ends, and whoever it had to answer hears nothing.
    pub(super) fn stop(&mut self, node: usize) {
        for at in self.of_node(node) {
            let member = &mut self.members[at];
            (member.live, member.stalled_until_us) = (None, 0);
        }
        self.nodes[node].end();
        let lost: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| asked.node == node).map(|(tag, _)| *tag).collect();
        for tag in lost {
            self.asked.remove(&tag);
            self.oracle.forget(tag);
        }
    }

    /// The leader of a shard is told to hand its lead to another node.
    fn transfer(&mut self, node: usize, shard: usize) {
        let leads = |at: &usize| {
            let live = self.members[*at].live.as_ref();
            live.is_some_and(|live| live.replica.raft().is_in_office())
        };
        let of_shard = (shard..self.members.len()).step_by(self.shards());
        let Some(leader) = of_shard.into_iter().find(leads) else { return };
        let (to, now_us) = (self.nodes[node].id, self.clock_us(leader));
        let Some(live) = &mut self.members[leader].live else { return };
        if live.replica.raft_mut().hand_over(to, now_us).is_ok() {
            self.summary.transfers += 1;
        }
        self.take_output(leader);
    }
}
