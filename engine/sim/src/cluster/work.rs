//! What can happen when nothing fails.

use onrush_engine::replication::{Body, MemberWriteError, Message, Output, Release};
use onrush_engine::shard::{Effects, Input, ReplyTo};
use onrush_proto::{Lsn, Outcome, Receipt, Refusal, Reply, Request, ShardId};

use super::{World, place};
use crate::faults::Fault;
use crate::invariants;
use crate::planted::Planted;
use crate::report::{Verdict, Violation};

/// Batches that a leader has on their way at most.
const PIPELINE_MAX: usize = 8;

/// One thing that a node can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Tick,
    Write,
    Release,
    Turn,
    Propose,
    FinishChange,
}

impl World {
    /// Lets one thing happen.
    pub(super) fn next_event(&mut self) -> Verdict {
        self.event += 1;
        self.trace.number(self.event);
        let eager = self.plan.eagerness;
        let kind = self.schedule.weighted(&[30 * eager, 24 * eager, 20, 4, 12, 5, 1, 1]);
        self.trace.number(kind as u64);
        match kind {
            0 => self.advance_any(),
            1 if self.network.is_empty() => self.advance_any(),
            1 => self.deliver().map(drop),
            2 => self.ask(),
            3 => self.gateway_speaks(),
            4 => {
                self.pass_time();
                Ok(())
            }
            5 => {
                let at = self.schedule.index(self.nodes.len());
                self.absorb(at)
            }
            6 => {
                let at = self.schedule.index(self.nodes.len());
                self.seal(at)
            }
            _ => {
                let at = self.schedule.index(self.nodes.len());
                if self.plan.without.has(Fault::Change) { Ok(()) } else { self.change(at) }
            }
        }?;
        self.maybe_fault()
    }

    /// A node that has something to do does some of it; without any, time passes.
    fn advance_any(&mut self) -> Verdict {
        let (first, count) = (self.schedule.index(self.nodes.len()), self.nodes.len());
        match (first..first + count).map(|at| at % count).find(|at| self.has_work(*at)) {
            Some(at) => self.advance(at),
            None => {
                self.pass_time();
                self.ask()
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
        self.now_us += self.schedule.within(1, most);
    }

    pub(super) fn steps(&self, at: usize) -> Vec<Step> {
        let node = &self.nodes[at];
        let Some(live) = &node.live else { return Vec::new() };
        if node.paused_until_us > self.now_us {
            return Vec::new();
        }
        let (now_us, raft) = (self.clock_us(at), live.replica.raft());
        let leads = live.replica.holds_office() && !raft.is_handing_over();
        let mut steps = Vec::new();
        let mut can = |can: bool, step: Step| {
            if can {
                steps.push(step);
            }
        };
        can(now_us >= raft.next_due_us(), Step::Tick);
        can(!live.outputs.is_empty() && node.stalled_until_us <= self.now_us, Step::Write);
        can(live.replica.waiting() > 0 || live.replica.applied() < raft.applicable(), Step::Release);
        can(leads && live.is_ready(now_us), Step::Turn);
        can(leads && !live.open.is_empty() && live.replica.waiting() < PIPELINE_MAX, Step::Propose);
        can(leads && live.open.is_empty() && raft.change_to_finish().is_some(), Step::FinishChange);
        steps
    }

    pub(super) fn has_work(&self, at: usize) -> bool {
        // What is committed nowhere yet waits for others, and what is decided behind it waits with it.
        let is_full = |live: &super::member::Live| live.replica.waiting() >= PIPELINE_MAX;
        let is_full = self.nodes[at].live.as_ref().is_some_and(is_full);
        self.steps(at).into_iter().any(|step| match step {
            Step::Release => self.may_release(at),
            Step::Turn => !is_full,
            _ => true,
        })
    }

    fn may_release(&self, at: usize) -> bool {
        self.nodes[at].live.as_ref().is_some_and(|live| live.replica.may_release(self.clock_us(at)))
    }

    /// One node does one of the things that it can do.
    pub(super) fn advance(&mut self, at: usize) -> Verdict {
        self.look_at_office(at)?;
        let steps = self.steps(at);
        if steps.is_empty() {
            return Ok(());
        }
        let step = steps[self.schedule.index(steps.len())];
        self.trace.text(&(at, step));
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
        }?;
        self.look_at_office(at)
    }

    /// Lets consensus do something, and takes what came of it.
    pub(super) fn with_raft(
        &mut self,
        at: usize,
        act: impl FnOnce(
            &mut onrush_engine::replication::Raft,
        ) -> Result<(), onrush_engine::replication::RaftError>,
    ) -> Verdict {
        let Some(live) = &mut self.nodes[at].live else { return Ok(()) };
        let led = live.replica.raft().role();
        if let Err(error) = act(live.replica.raft_mut()) {
            return self.consensus_failed(at, &error);
        }
        let Some(live) = &mut self.nodes[at].live else { return Ok(()) };
        let leads = live.replica.raft().role();
        if led != leads {
            let term = live.replica.raft().term();
            if leads == onrush_engine::replication::RoleKind::Leader {
                self.summary.elections += 1;
                self.perhaps_doom(at);
            }
            self.tell(|| format!("node {at} becomes {leads:?} in term {term}"));
        }
        self.take_output(at);
        self.check_node(at)
    }

    pub(super) fn take_output(&mut self, at: usize) {
        let Some(live) = &mut self.nodes[at].live else { return };
        let mut output = live.replica.take_output();
        if output.is_empty() {
            return;
        }
        if self.plan.has(Planted::AnswerBeforeWrite) {
            output.now.append(&mut output.later);
        }
        let now = std::mem::take(&mut output.now);
        live.outputs.push_back(output);
        self.send(at, now);
    }

    pub(super) fn send(&mut self, at: usize, messages: Vec<Message>) {
        for message in messages {
            self.nodes[at].spoke_in = self.nodes[at].spoke_in.max(match &message.body {
                // A poll names a term that nobody is in.
                onrush_engine::replication::Body::Ballot(ballot) if ballot.poll => 0,
                onrush_engine::replication::Body::Vote { poll: true, .. } => 0,
                _ => message.term,
            });
            let mut bytes = Vec::new();
            message.encode(ShardId(0), &mut bytes);
            self.trace.bytes(&bytes);
            // What arrives is what was read from these bytes.
            if let Ok((_, message)) = Message::decode(&bytes) {
                self.network.send(message);
            }
        }
    }

    /// The disk does what comes next.
    fn write(&mut self, at: usize) -> Verdict {
        let Some(live) = &mut self.nodes[at].live else { return Ok(()) };
        let Some(mut output) = live.outputs.pop_front() else { return Ok(()) };
        self.nodes[at].taking_back = output.truncate_after.map(|index| index as usize);
        let lost = self.plan.has(Planted::VoteNotWritten).then(|| output.vote.take()).flatten();
        let Some(live) = &mut self.nodes[at].live else { return Ok(()) };
        let written = live.files.write(&output);
        output.vote = output.vote.or(lost);
        if let Err(error) = written {
            return self.write_failed(at, &error);
        }
        self.nodes[at].taking_back = None;
        self.note_written(at, &output)?;
        let later = std::mem::take(&mut output.later);
        self.send(at, later);
        let Some(last) = output.append.last().map(onrush_engine::replication::Entry::position) else {
            return Ok(());
        };
        self.tell(|| format!("node {at} has {last:?} on disk"));
        let now_us = self.clock_us(at);
        self.with_raft(at, |raft| {
            raft.persisted(last, now_us)?;
            raft.trim();
            Ok(())
        })
    }

    /// What is on a disk now is what its leaders wrote, everywhere the same.
    pub(super) fn note_written(&mut self, at: usize, output: &Output) -> Verdict {
        let on_disk = &mut self.nodes[at].on_disk;
        if let Some(index) = output.truncate_after {
            self.summary.truncations += u64::from(on_disk.len() as u64 > index);
            on_disk.truncate(index as usize);
        }
        for entry in &output.append {
            self.matching.written(entry, on_disk.last().copied().unwrap_or(0))?;
            on_disk.push(entry.position().term);
            self.trace.bytes(entry.frame().bytes());
        }
        Ok(())
    }

    fn write_failed(&mut self, at: usize, error: &MemberWriteError) -> Verdict {
        if let MemberWriteError::Elsewhere { .. } = error {
            return Err(Violation::new("matching", "an entry where its leader put it", error.to_string()));
        }
        self.tell(|| format!("node {at} stops: {error}"));
        self.summary.poisoned += 1;
        self.stop(at);
        Ok(())
    }

    pub(super) fn consensus_failed(
        &mut self,
        at: usize,
        error: &onrush_engine::replication::RaftError,
    ) -> Verdict {
        let reads = format!("{error}");
        if reads.contains("cannot read") {
            self.tell(|| format!("node {at} stops: {reads}"));
            self.stop(at);
            return Ok(());
        }
        Err(Violation::new("commits", "consensus that goes on", format!("node {at}: {reads}")))
    }

    /// A leader that is none any more forgets what was not committed.
    fn look_at_office(&mut self, at: usize) -> Verdict {
        let options = self.shard_options();
        let Some(live) = &mut self.nodes[at].live else { return Ok(()) };
        live.replica.take_office();
        if let Some(batches) = live.replica.deposed() {
            self.summary.deposed += 1;
            self.tell(|| format!("node {at} lost its office with {} batches on their way", batches.len()));
            return self.depose(at, options, batches);
        }
        if live.replica.holds_office() {
            return Ok(());
        }
        self.refuse_inbox(at)
    }

    fn depose(
        &mut self,
        at: usize,
        options: onrush_engine::shard::ShardOptions,
        batches: Vec<Effects>,
    ) -> Verdict {
        let Some(live) = &mut self.nodes[at].live else { return Ok(()) };
        let open = std::mem::take(&mut live.open);
        // What has decided nothing that is not committed knows nothing that is not so.
        let decided = batches.iter().chain([&open]).any(|batch| !batch.is_empty());
        for batch in batches.into_iter().chain([open]) {
            for (to, _) in batch.replies {
                self.reply(to, &unknown())?;
            }
        }
        self.refuse_inbox(at)?;
        if !decided || self.plan.has(Planted::KeepDecided) {
            return Ok(());
        }
        self.nodes[at].rebuild(options)
    }

    fn refuse_inbox(&mut self, at: usize) -> Verdict {
        let Some(live) = &mut self.nodes[at].live else { return Ok(()) };
        let waiting: Vec<Input> = live.inbox.drain(..).collect();
        for input in waiting {
            if let Input::Request { to, .. } = input {
                self.reply(to, &unknown())?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, at: usize) -> Verdict {
        let now_us = self.clock_us(at);
        let Some(live) = &mut self.nodes[at].live else { return Ok(()) };
        let before = live.open.replies.len();
        live.turn(now_us)?;
        let refused = live.open.replies[before..].iter().filter_map(|(to, reply)| {
            let request = self.oracle.request(to.tag)?;
            invariants::expiry::refused_here(&self.mirror, 0, request, reply)
        });
        invariants::expiry::turn(&live.shard, &refused.collect::<Vec<_>>())
    }

    fn propose(&mut self, at: usize) -> Verdict {
        let mut declined = None;
        let now_us = self.clock_us(at);
        let Some(live) = &mut self.nodes[at].live else { return Ok(()) };
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
        self.check_node(at)
    }

    /// The next thing that is committed leaves, or is applied.
    fn release(&mut self, at: usize) -> Verdict {
        let now_us = self.clock_us(at);
        let Some(live) = &mut self.nodes[at].live else { return Ok(()) };
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
                self.answer(*batch)?;
            }
            Some(Release::Said(batch)) => self.answer(*batch)?,
        }
        self.check_node(at)
    }

    fn answer(&mut self, mut batch: Effects) -> Verdict {
        for (to, reply) in batch.replies.drain(..) {
            self.reply(to, &reply)?;
        }
        Ok(())
    }

    /// A client hears. What it hears is not older than anything that anybody had heard when it asked.
    pub(super) fn reply(&mut self, to: ReplyTo, reply: &Reply) -> Verdict {
        self.trace.text(&(to.tag, reply));
        let floor = self.floors.remove(&to.tag).unwrap_or(0);
        let is_unknown = matches!(reply.outcome, Outcome::Refused(Refusal::Stopped));
        let is_read = self.oracle.request(to.tag).is_some_and(|request| request.command.is_read());
        let is_refusal = matches!(reply.outcome, Outcome::Refused(_)) && reply.lsn.0 > 0;
        if (is_read || is_refusal) && !is_unknown && !reply.replayed {
            invariants::linear::read(floor, reply)?;
        }
        self.answered_lsn = self.answered_lsn.max(reply.lsn.0);
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
        let Some(message) = message else { return Ok(true) };
        let at = place(message.to);
        let now_us = self.clock_us(at);
        let node = &self.nodes[at];
        if node.live.is_some() && node.paused_until_us > self.now_us {
            // A process that stands still reads later.
            self.network.again(message);
            return Ok(false);
        }
        if node.live.is_none() || node.id != message.to {
            return Ok(true);
        }
        match message.body {
            Body::Offer(_) | Body::Fetch { .. } | Body::Piece { .. } => self.hear_of_snapshot(at, message)?,
            _ => self.with_raft(at, |raft| raft.step(message, now_us))?,
        }
        self.look_at_office(at)?;
        Ok(true)
    }

    fn ask(&mut self) -> Verdict {
        let request = self.workload.next(&self.mirror, self.now_us);
        self.send_request(request)
    }

    /// Brings a request to a node: mostly to one that leads, or believes that it does.
    pub(super) fn send_request(&mut self, request: Request) -> Verdict {
        let leads =
            |node: &super::member::Node| node.live.as_ref().is_some_and(|live| live.replica.holds_office());
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(|at| leads(&self.nodes[*at])).collect();
        let at = match leaders.is_empty() || self.schedule.percent(5) {
            true => self.schedule.index(self.nodes.len()),
            false => leaders[self.schedule.index(leaders.len())],
        };
        self.trace.text(&(at, &request));
        let to = ReplyTo { port: 0, tag: self.oracle.sent(&request) };
        self.floors.insert(to.tag, self.answered_lsn);
        match &mut self.nodes[at].live {
            Some(live) if live.replica.holds_office() => {
                live.inbox.push_back(Input::Request { to, request });
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
        let node = &mut self.nodes[at];
        let Some(flusher) = node.live.as_mut().and_then(|live| live.flusher.as_mut()) else { return Ok(()) };
        let Err(error) = flusher.absorb_committed() else {
            flusher.write_snapshot();
            return self.release_log(at);
        };
        if error.contains("lost power") || error.contains("cannot read") {
            self.tell(|| format!("node {at} stops: {error}"));
            self.stop(at);
            return Ok(());
        }
        Err(Violation::new("replay", "a flusher that goes on", error))
    }

    /// A log at rest is sealed: each replica's own affair.
    fn seal(&mut self, at: usize) -> Verdict {
        let now_us = self.now_us;
        let node = &mut self.nodes[at];
        let stalled = node.stalled_until_us > now_us;
        let Some(live) = node.live.as_mut().filter(|live| live.outputs.is_empty() && !stalled) else {
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
