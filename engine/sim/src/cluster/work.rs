//! What can happen when nothing fails.

use onrush_engine::replication::{
    Body, Entry, MemberWriteError, Message, Output, Raft, RaftError, Release, RoleKind,
};
use onrush_engine::shard::{Effects, Input, ReplyTo};
use onrush_proto::{Lsn, Outcome, Receipt, Refusal, Reply, Request, ShardId, Slot};
use smallvec::SmallVec;

use super::member::{Live, Member};
use super::{Asked, World, place};
use crate::faults::Fault;
use crate::invariants;
use crate::planted::Planted;
use crate::report::{Verdict, Violation};

/// Batches that a leader has on their way at most.
const PIPELINE_MAX: usize = 8;
/// So much less time passes where much is to happen in little of it.
const SLOW: u64 = 30;
/// Messages that a member hears before what comes of them is taken.
const HEARD_MAX: usize = 8;
/// Clients that ask again as soon as they can.
const IMPATIENT_MAX: usize = 4;

/// One thing that a member can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Tick,
    Write,
    Release,
    Turn,
    Propose,
    FinishChange,
    Follow,
}

/// What a member can do now.
pub(super) type Steps = SmallVec<[Step; 7]>;

impl World {
    /// Lets one thing happen.
    pub(super) fn next_event(&mut self) -> Verdict {
        self.event += 1;
        self.trace.number(self.event);
        let eager = self.plan.eagerness;
        let inside = if self.shards() > 1 { self.plan.inside } else { 0 };
        let kind = self.schedule.weighted(&[30 * eager, 24 * eager, 20, 4, 12, 5, 1, 1, inside]);
        self.trace.number(kind as u64);
        let (node, at) = (self.schedule.index(self.nodes.len()), self.schedule.index(self.members.len()));
        match kind {
            // Nodes with more shards do more in the same time.
            0 => (0..self.shards()).try_for_each(|_| self.advance_any()),
            1 => (0..self.shards()).try_for_each(|_| self.hear_any()),
            2 | 3 if self.is_quiet => Ok(()),
            2 => self.ask(),
            3 => self.gateway_speaks(),
            4 => {
                self.pass_time();
                Ok(())
            }
            5 => (0..self.shards()).try_for_each(|shard| self.absorb((at + shard) % self.members.len())),
            6 => self.seal(at),
            7 if self.plan.without.has(Fault::Change) => Ok(()),
            7 => self.change(node),
            _ => {
                (0..self.shards()).for_each(|_| {
                    self.deliver_inside();
                });
                Ok(())
            }
        }?;
        self.maybe_fault()
    }

    fn hear_any(&mut self) -> Verdict {
        if self.network.is_empty() { self.advance_any() } else { self.deliver().map(drop) }
    }

    /// A member that has something to do does some of it; without any, time passes.
    fn advance_any(&mut self) -> Verdict {
        let (first, count) = (self.schedule.index(self.members.len()), self.members.len());
        match (first..first + count).map(|at| at % count).find(|at| self.has_work(*at)) {
            Some(at) => self.advance(at),
            None => {
                self.pass_time();
                if self.is_quiet { Ok(()) } else { self.ask() }
            }
        }
    }

    fn pass_time(&mut self) {
        let election = self.plan.election_us;
        let most = match self.schedule.below(200) {
            0 => election * 4,
            1..=4 => election,
            5..=40 => election / 6,
            _ => election / 40,
        };
        let most = if self.is_slow { most / SLOW } else { most };
        self.now_us += self.schedule.within(1, most.max(1));
    }

    pub(super) fn steps(&self, at: usize) -> Steps {
        let member = &self.members[at];
        let Some(live) = &member.live else { return Steps::new() };
        if self.nodes[self.node_of(at)].paused_until_us > self.now_us {
            return Steps::new();
        }
        let (now_us, raft) = (self.clock_us(at), live.replica.raft());
        let leads = live.replica.holds_office() && !raft.is_handing_over();
        let mut steps = Steps::new();
        let mut can = |can: bool, step: Step| {
            if can {
                steps.push(step);
            }
        };
        can(now_us >= raft.next_due_us(), Step::Tick);
        can(!live.outputs.is_empty() && member.stalled_until_us <= self.now_us, Step::Write);
        can(live.replica.waiting() > 0 || live.replica.applied() < raft.applicable(), Step::Release);
        can(leads && live.is_asked(now_us), Step::Turn);
        can(leads && !live.open.is_empty() && live.replica.waiting() < PIPELINE_MAX, Step::Propose);
        can(leads && live.open.is_empty() && raft.change_to_finish().is_some(), Step::FinishChange);
        can(self.heir(at).is_some(), Step::Follow);
        steps
    }

    pub(super) fn has_work(&self, at: usize) -> bool {
        // What is committed nowhere yet waits for others, and what is decided behind it waits with it.
        let is_full = |live: &Live| live.replica.waiting() >= PIPELINE_MAX;
        let is_full = self.members[at].live.as_ref().is_some_and(is_full);
        let has_step = self.steps(at).into_iter().any(|step| match step {
            Step::Release => self.may_release(at),
            Step::Turn => !is_full,
            _ => true,
        });
        has_step || self.office_calls(at)
    }

    fn may_release(&self, at: usize) -> bool {
        self.members[at].live.as_ref().is_some_and(|live| live.replica.may_release(self.clock_us(at)))
    }

    /// One member does one of the things that it can do.
    pub(super) fn advance(&mut self, at: usize) -> Verdict {
        if self.nodes[self.node_of(at)].paused_until_us > self.now_us {
            return Ok(());
        }
        self.look_at_office(at)?;
        let steps = self.steps(at);
        if steps.is_empty() {
            return Ok(());
        }
        let step = steps[self.schedule.index(steps.len())];
        self.trace.number(at as u64);
        self.trace.number(step as u64);
        match step {
            Step::Tick => {
                let now_us = self.clock_us(at);
                self.with_raft(at, |raft| raft.tick(now_us))?;
                self.offer_snapshots(at)
            }
            Step::Write => self.write(at),
            Step::Release => self.release(at),
            Step::Turn => self.turn(at),
            Step::Propose => self.propose(at),
            Step::FinishChange => self.finish_change(at),
            Step::Follow => self.follow(at),
        }?;
        self.look_at_office(at)
    }

    /// Lets consensus do something, and takes what came of it.
    pub(super) fn with_raft(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Raft) -> Result<(), RaftError>,
    ) -> Verdict {
        let now_us = self.clock_us(at);
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        let led = live.replica.raft().role();
        if let Err(error) = act(live.replica.raft_mut()) {
            return self.consensus_failed(at, &error);
        }
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        let leads = live.replica.raft().role();
        if led != leads {
            let term = live.replica.raft().term();
            if leads == RoleKind::Leader {
                live.led_since_us = now_us;
                self.summary.elections += 1;
                self.perhaps_doom(self.node_of(at));
            }
            self.tell(|| format!("{} becomes {leads:?} in term {term}", self.name(at)));
        }
        self.take_output(at);
        self.check_member(at)
    }

    pub(super) fn take_output(&mut self, at: usize) {
        let Some(live) = &mut self.members[at].live else { return };
        let mut output = live.replica.take_output();
        if output.is_empty() {
            return;
        }
        if self.plan.has(Planted::ANSWER_BEFORE_WRITE) {
            output.now.append(&mut output.later);
        }
        let now = std::mem::take(&mut output.now);
        live.outputs.push_back(output);
        self.send(at, now);
    }

    pub(super) fn send(&mut self, at: usize, messages: Vec<Message>) {
        let shard = ShardId(self.members[at].shard as u16);
        for message in messages {
            self.members[at].spoke_in = self.members[at].spoke_in.max(match &message.body {
                // A poll names a term that nobody is in.
                Body::Ballot(ballot) if ballot.poll => 0,
                Body::Vote { poll: true, .. } => 0,
                _ => message.term,
            });
            let mut bytes = Vec::new();
            message.encode(shard, &mut bytes);
            self.trace.bytes(&bytes);
            // What arrives is what was read from these bytes.
            if let Ok(message) = Message::decode(&bytes) {
                self.network.send(message);
            }
        }
    }

    /// The disk does what comes next.
    fn write(&mut self, at: usize) -> Verdict {
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        let Some(mut output) = live.outputs.pop_front() else { return Ok(()) };
        self.members[at].taking_back = output.truncate_after.map(|index| index as usize);
        let lost = self.plan.has(Planted::VOTE_NOT_WRITTEN).then(|| output.vote.take()).flatten();
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        let written = live.files.write(&output);
        output.vote = output.vote.or(lost);
        if let Err(error) = written {
            return self.write_failed(at, &error);
        }
        self.members[at].taking_back = None;
        self.note_written(at, &output)?;
        let later = std::mem::take(&mut output.later);
        self.send(at, later);
        let Some(last) = output.append.last().map(Entry::position) else {
            return Ok(());
        };
        self.tell(|| format!("{} has {last:?} on disk", self.name(at)));
        let now_us = self.clock_us(at);
        self.with_raft(at, |raft| {
            raft.persisted(last, now_us)?;
            raft.trim();
            Ok(())
        })
    }

    /// What is on a disk now is what its leaders wrote, everywhere the same.
    pub(super) fn note_written(&mut self, at: usize, output: &Output) -> Verdict {
        let Member { on_disk, shard, .. } = &mut self.members[at];
        if let Some(index) = output.truncate_after {
            self.summary.truncations += u64::from(on_disk.len() as u64 > index);
            on_disk.truncate(index as usize);
        }
        for entry in &output.append {
            self.groups[*shard].matching.written(entry, on_disk.last().copied().unwrap_or(0))?;
            on_disk.push(entry.position().term);
            self.trace.bytes(entry.frame().bytes());
        }
        Ok(())
    }

    fn write_failed(&mut self, at: usize, error: &MemberWriteError) -> Verdict {
        if let MemberWriteError::Elsewhere { .. } = error {
            return Err(Violation::new("matching", "an entry where its leader put it", error.to_string()));
        }
        self.tell(|| format!("{} stops: {error}", self.name(at)));
        self.summary.poisoned += 1;
        self.halt(at)
    }

    pub(super) fn consensus_failed(&mut self, at: usize, error: &RaftError) -> Verdict {
        let reads = format!("{error}");
        if reads.contains("cannot read") {
            self.tell(|| format!("{} stops: {reads}", self.name(at)));
            return self.halt(at);
        }
        Err(Violation::new("commits", "consensus that goes on", format!("{}: {reads}", self.name(at))))
    }

    fn turn(&mut self, at: usize) -> Verdict {
        let now_us = self.clock_us(at);
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        let before = live.open.replies.len();
        live.turn(now_us)?;
        let shard = live.shard.id();
        let refused = live.open.replies[before..].iter().filter_map(|(to, reply)| {
            let request = self.oracle.request(to.tag)?;
            invariants::expiry::refused_here(&self.mirror, usize::from(shard.0), request, reply)
        });
        invariants::expiry::turn(&live.shard, &refused.collect::<Vec<_>>())?;
        let urgent = std::mem::take(&mut live.open.urgent);
        self.send_inside(at, urgent);
        Ok(())
    }

    fn propose(&mut self, at: usize) -> Verdict {
        let mut declined = None;
        let now_us = self.clock_us(at);
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        let batch = std::mem::take(&mut live.open);
        match live.replica.propose(batch, 0, now_us) {
            Err(error) => return self.consensus_failed(at, &error),
            // The office is being handed over: it waits for what comes of that.
            Ok(Err((batch, _))) => declined = Some(batch),
            Ok(Ok(())) => {}
        }
        if let Some(batch) = declined {
            live.open = *batch;
        }
        self.take_output(at);
        self.check_member(at)
    }

    /// The next thing that is committed leaves, or is applied.
    fn release(&mut self, at: usize) -> Verdict {
        let now_us = self.clock_us(at);
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        let released = match live.replica.release(now_us) {
            Ok(released) => released,
            Err(error) => return self.consensus_failed(at, &error),
        };
        match released {
            None => return Ok(()),
            Some(Release::Foreign(entry)) => live.apply(&entry)?,
            Some(Release::Own(mut batch, entry)) => {
                live.views.publish(&mut batch.rows);
                live.show(&entry, batch.store_ceiling);
                self.answer(at, *batch)?;
            }
            Some(Release::Said(batch)) => self.answer(at, *batch)?,
        }
        self.check_member(at)
    }

    fn answer(&mut self, at: usize, mut batch: Effects) -> Verdict {
        self.send_inside(at, std::mem::take(&mut batch.outbound));
        for (to, reply) in batch.replies.drain(..) {
            self.reply(to, &reply)?;
        }
        Ok(())
    }

    /// A client hears. What it hears is not older than anything that anybody had heard when it asked.
    pub(super) fn reply(&mut self, to: ReplyTo, reply: &Reply) -> Verdict {
        self.trace.number(to.tag);
        self.trace.text(reply);
        let asked = self.asked.remove(&to.tag);
        if let Some((asked, request)) = asked.zip(self.oracle.request(to.tag)) {
            let is_unknown = matches!(reply.outcome, Outcome::Refused(Refusal::Stopped));
            let is_refusal = matches!(reply.outcome, Outcome::Refused(_));
            if is_unknown && !request.key.is_none() && self.impatient.len() < IMPATIENT_MAX {
                self.impatient.push(request.clone());
            }
            // A refusal under a key is as of the shard that decides, or of the key's own.
            let is_decided_here = !is_refusal || self.mirror.owner(request.command.slot()) == asked.shard;
            let group = &mut self.groups[asked.shard];
            let shows = request.command.is_read() || (is_refusal && reply.lsn.0 > 0);
            if shows && is_decided_here && !is_unknown && !reply.replayed {
                invariants::linear::read(asked.floor, reply)?;
            }
            if is_decided_here {
                group.answered_lsn = group.answered_lsn.max(reply.lsn.0);
            }
        }
        let attempt = self.oracle.answered(&mut self.mirror, to.tag, reply)?;
        if let Outcome::Accepted(Receipt::Order { order, .. }) = reply.outcome {
            self.workload.knows(order);
        }
        drop(attempt);
        self.last_outcome = Some(reply.outcome.clone());
        Ok(())
    }

    /// A message arrives, or is lost. False if none was under way.
    pub(super) fn deliver(&mut self) -> Result<bool, Violation> {
        let Some(message) = self.network.next(&mut self.traffic) else { return Ok(false) };
        let Some((shard, message)) = message else { return Ok(true) };
        let node = place(message.to);
        let at = self.of_node(node).start + usize::from(shard.0);
        let now_us = self.clock_us(at);
        if self.nodes[node].paused_until_us > self.now_us {
            // A process that stands still reads later.
            self.network.again((shard, message));
            return Ok(false);
        }
        if self.members[at].live.is_none() || self.nodes[node].id != message.to {
            return Ok(true);
        }
        if message.is_of_snapshot() {
            self.hear_of_snapshot(at, message)?;
        } else {
            let mut heard = vec![message];
            while heard.len() < HEARD_MAX && self.traffic.percent(20) {
                heard.extend(self.network.next_for(node, shard, &mut self.traffic));
            }
            self.with_raft(at, |raft| heard.into_iter().try_for_each(|message| raft.step(message, now_us)))?;
        }
        self.look_at_office(at)?;
        Ok(true)
    }

    /// Somebody asks. Whoever was told that nobody knows asks again as soon as anybody is in office.
    fn ask(&mut self) -> Verdict {
        let is_open = self.nodes.iter().any(|node| node.offices.open().is_some());
        let again = if is_open && self.schedule.percent(60) { self.impatient.pop() } else { None };
        let request = match again {
            Some(request) => self.workload.retry(request, 50),
            None => self.workload.next(&self.mirror, self.now_us),
        };
        self.send_request(request)
    }

    /// The shard that a front brings a request to.
    fn door_of(&self, request: &Request) -> usize {
        let slot = if request.key.is_none() { request.command.slot() } else { Slot::of_hash(request.key.0) };
        self.mirror.owner(slot)
    }

    /// Brings a request to the shard that a front would bring it to: mostly at a node that is in office, or believes so.
    pub(super) fn send_request(&mut self, request: Request) -> Verdict {
        let shard = self.door_of(&request);
        let decides = |node: &usize| self.decides(self.of_node(*node).start + shard);
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(decides).collect();
        let node = match leaders.is_empty() || self.schedule.percent(5) {
            true => self.schedule.index(self.nodes.len()),
            false => leaders[self.schedule.index(leaders.len())],
        };
        self.bring(node, request)
    }

    /// Brings a request to the door of its shard at a node.
    pub(super) fn bring(&mut self, node: usize, request: Request) -> Verdict {
        let shard = self.door_of(&request);
        self.trace.number(node as u64);
        self.trace.request(&request);
        let at = self.of_node(node).start + shard;
        let to = ReplyTo { port: 0, tag: self.oracle.sent(&request) };
        let floor = self.groups[shard].answered_lsn;
        self.asked.insert(to.tag, Asked { node, shard, floor });
        match &mut self.members[at].live {
            Some(live) if live.replica.holds_office() => {
                live.door.push_back(Input::Request { to, request });
                Ok(())
            }
            _ => self.reply(to, &unknown()),
        }
    }

    fn gateway_speaks(&mut self) -> Verdict {
        let Some(command) = self.gateway.speak(&self.mirror, &mut self.gateway_dice) else { return Ok(()) };
        let request = match self.gateway_dice.percent(50) {
            true => Request::unkeyed(command),
            false => self.workload.keyed(command),
        };
        self.send_request(request)
    }

    /// The flusher takes what is committed.
    pub(super) fn absorb(&mut self, at: usize) -> Verdict {
        let Some(flusher) = self.members[at].live.as_mut().and_then(|live| live.flusher.as_mut()) else {
            return Ok(());
        };
        let Err(error) = flusher.absorb_committed() else {
            flusher.write_snapshot();
            return self.release_log(at);
        };
        if error.contains("lost power") || error.contains("cannot read") {
            self.tell(|| format!("{} stops: {error}", self.name(at)));
            return self.halt(at);
        }
        Err(Violation::new("replay", "a flusher that goes on", error))
    }

    /// A log at rest is sealed: each replica's own affair.
    fn seal(&mut self, at: usize) -> Verdict {
        let now_us = self.now_us;
        let member = &mut self.members[at];
        let stalled = member.stalled_until_us > now_us;
        let Some(live) = member.live.as_mut().filter(|live| live.outputs.is_empty() && !stalled) else {
            return Ok(());
        };
        let time_us = live.replica.raft().log().time_us();
        match live.files.log.seal(time_us) {
            Ok(()) => Ok(()),
            Err(error) => self.write_failed(at, &error.into()),
        }
    }
}

/// What is answered by who does not lead any more: the outcome is unknown.
pub(super) fn unknown() -> Reply {
    Reply { outcome: Outcome::Refused(Refusal::Stopped), replayed: false, lsn: Lsn(0) }
}
