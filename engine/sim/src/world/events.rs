//! What can happen when nothing fails.

use onrush_engine::shard::{Effects, Input, PeerMessage, ReplyTo};
use onrush_proto::{Outcome, Receipt, Refusal, Reply, Request, ShardId, Slot};

use super::World;
use crate::invariants;
use crate::mirror::Mirror;
use crate::node::{Live, Stage};
use crate::planted::Planted;
use crate::report::{Verdict, Violation};

impl World {
    /// Lets one thing happen.
    pub(super) fn next_event(&mut self) -> Verdict {
        self.event += 1;
        self.trace.number(self.event);
        let eager = self.plan.eagerness;
        let kind = self.schedule.weighted(&[30 * eager, 15 * eager, 25, 5, 6, 7, 1, 3, 8]);
        self.trace.number(kind as u64);
        match kind {
            0 => self.advance_shard(),
            1 => self.deliver(),
            2 => self.ask(),
            3 => self.gateway_speaks(),
            4 => {
                self.pass_time();
                Ok(())
            }
            5 => self.flush_some(),
            6 => self.seal_some(),
            7 => self.write_snapshot(),
            _ => self.read_some(),
        }?;
        self.maybe_fault()
    }

    /// One shard does the next thing it can do.
    fn advance_shard(&mut self) -> Verdict {
        let index = self.schedule.index(self.seats.len());
        self.advance(index)
    }

    /// Decides, appends or releases. While a batch is on its way the next one may fill.
    pub(super) fn advance(&mut self, index: usize) -> Verdict {
        let now_us = self.now_us;
        let seat = &self.seats[index];
        let stalled = seat.stalled_until_us > now_us;
        let Some(live) = &seat.live else { return Ok(()) };
        let ready = live.is_ready(now_us);
        match live.stage {
            Stage::Stopped => Ok(()),
            Stage::Idle if !live.open.is_empty() => {
                self.launch(index);
                Ok(())
            }
            Stage::Idle if ready => self.turn(index),
            Stage::Idle => Ok(()),
            Stage::Decided | Stage::Durable if ready && self.schedule.percent(50) => self.turn(index),
            Stage::Decided if stalled => Ok(()),
            Stage::Decided => self.append(index),
            Stage::Durable => self.let_go(index),
        }
    }

    fn launch(&mut self, index: usize) {
        if let Some(live) = &mut self.seats[index].live {
            live.launch(&self.plan);
        }
    }

    /// What a shard has published is what its log has.
    pub(super) fn check_views(&self, index: usize) -> Verdict {
        match &self.views {
            Some(views) => invariants::views::shows(&self.mirror, index, views),
            None => Ok(()),
        }
    }

    fn turn(&mut self, index: usize) -> Verdict {
        let Some(live) = &mut self.seats[index].live else { return Ok(()) };
        let before = live.open.replies.len();
        live.turn(self.now_us, &self.plan)?;
        let (records, replies) = (live.open.frame.records(), live.open.replies.len());
        let refused = live.open.replies[before..].iter().filter_map(|(to, reply)| {
            let request = self.oracle.request(to.tag)?;
            invariants::expiry::refused_here(&self.mirror, index, request, reply)
        });
        invariants::expiry::turn(&live.shard, &refused.collect::<Vec<_>>())?;
        for (ShardId(to), message) in live.open.urgent.drain(..) {
            self.trace.text(&message);
            self.links.send(index, usize::from(to), message);
        }
        self.tell(|| format!("shard {index} decides {records} records, {replies} replies"));
        if self.plan.has(Planted::OUTBOUND_BEFORE_APPEND) {
            self.send_outbound(index, |live| &mut live.open);
        }
        if self.plan.has(Planted::ACK_BEFORE_APPEND) {
            self.hand_over_replies(index, |live| &mut live.open)?;
        }
        self.check_views(index)
    }

    fn append(&mut self, index: usize) -> Verdict {
        let tamper = self.tamper_with_write(index);
        let seat = &mut self.seats[index];
        if self.plan.has(Planted::SKIP_WRITE) && self.faults.percent(1) {
            seat.disk.lose_next_write();
        }
        let Some(live) = &mut seat.live else { return Ok(()) };
        match live.append() {
            Ok(()) => {
                let frame = live.batch.frame.view();
                let first_lsn = frame.info().first_lsn;
                self.trace.bytes(frame.bytes());
                self.mirror.enter(index, &frame)?;
                live.publish(&self.plan);
                self.note_durable(index, tamper, first_lsn);
                self.check_views(index)?;
                self.tell(|| format!("shard {index} appended up to {}", self.mirror.books[index].end_lsn));
                self.perhaps_cut_off(index)
            }
            Err(error) => self.append_failed(index, &error),
        }
    }

    /// What a batch said leaves.
    fn let_go(&mut self, index: usize) -> Verdict {
        let seat = &mut self.seats[index];
        if let Some(live) = &mut seat.live {
            seat.promised = seat.promised.max(live.log.end_lsn());
            live.stage = Stage::Idle;
            invariants::poison::messages(index, live)?;
        }
        self.hand_over_replies(index, |live| &mut live.batch)?;
        if self.plan.has(Planted::ACK_NEXT_BATCH) {
            self.hand_over_replies(index, |live| &mut live.open)?;
        }
        let crashes = self.summary.crashes;
        self.perhaps_cut_off(index)?;
        if self.summary.crashes == crashes {
            self.send_outbound(index, |live| &mut live.batch);
            let Some(live) = &mut self.seats[index].live else { return Ok(()) };
            live.keep_up(&self.plan);
            // A log that could not put a segment aside has lost its disk.
            if live.log.is_poisoned() {
                return self.crash();
            }
        }
        Ok(())
    }

    fn hand_over_replies(&mut self, index: usize, of: fn(&mut Live) -> &mut Effects) -> Verdict {
        let Some(live) = &mut self.seats[index].live else { return Ok(()) };
        let replies = std::mem::take(&mut of(live).replies);
        replies.iter().try_for_each(|(_, reply)| invariants::poison::reply(index, live, reply))?;
        for (to, reply) in replies {
            self.reply(to, &reply)?;
        }
        Ok(())
    }

    fn send_outbound(&mut self, index: usize, of: fn(&mut Live) -> &mut Effects) {
        let Some(live) = &mut self.seats[index].live else { return };
        for (ShardId(to), message) in of(live).outbound.drain(..) {
            self.trace.text(&message);
            self.links.send(index, usize::from(to), message);
        }
    }

    /// A client hears.
    pub(super) fn reply(&mut self, to: ReplyTo, reply: &Reply) -> Verdict {
        self.trace.number(to.tag);
        self.trace.text(reply);
        let attempt = self.oracle.answered(&mut self.mirror, to.tag, reply)?;
        self.tell(|| format!("{:?} -> {:?}", attempt.request.command, reply.outcome));
        self.last_outcome = Some(reply.outcome.clone());
        if let Outcome::Accepted(Receipt::Order { order, .. }) = reply.outcome
            && !reply.replayed
        {
            self.workload.knows(order);
        }
        Ok(())
    }

    fn deliver(&mut self) -> Verdict {
        if let Some((from, to)) = self.links.busy(&mut self.schedule) {
            let most = self.schedule.within(1, 6) as usize;
            self.deliver_from(from, to, most)?;
        }
        Ok(())
    }

    pub(super) fn deliver_from(&mut self, from: usize, to: usize, most: usize) -> Verdict {
        let messages = self.links.take(from, to, most);
        let Some(live) = &mut self.seats[to].live else { return Ok(()) };
        let stopped = live.stage == Stage::Stopped;
        let mut refused = Vec::new();
        for message in messages {
            match message {
                PeerMessage::Forward { to, .. } if stopped => refused.push(to),
                _ if stopped => {}
                message => live.inbox.push_back(Input::Peer { from: Mirror::shard_id(from), message }),
            }
        }
        refused.into_iter().try_for_each(|to| self.reply(to, &stopped_reply()))
    }

    fn ask(&mut self) -> Verdict {
        let request = self.workload.next(&self.mirror, self.now_us);
        self.send(request)
    }

    /// Brings a request to the shard that the front would bring it to.
    pub(super) fn send(&mut self, request: Request) -> Verdict {
        let slot = if request.key.is_none() { request.command.slot() } else { Slot::of_hash(request.key.0) };
        let shard = self.mirror.owner(slot);
        self.trace.request(&request);
        let to = ReplyTo { port: 0, tag: self.oracle.sent(&request) };
        match &mut self.seats[shard].live {
            Some(live) if live.stage != Stage::Stopped => {
                live.inbox.push_back(Input::Request { to, request });
                Ok(())
            }
            _ => self.reply(to, &stopped_reply()),
        }
    }

    fn gateway_speaks(&mut self) -> Verdict {
        let Some(command) = self.gateway.speak(&self.mirror, &mut self.gateway_dice) else { return Ok(()) };
        let request = match self.gateway_dice.percent(50) {
            true => Request::unkeyed(command),
            false => self.workload.keyed(command),
        };
        self.send(request)
    }

    fn pass_time(&mut self) {
        let scale = self.schedule.weighted(&self.plan.strides);
        let most = [300, 5_000, 60_000, 2_000_000, 1_000_000_000][scale];
        self.now_us += self.schedule.within(1, most);
    }

    /// The flusher takes what is committed, and hands the store what has become a run.
    fn flush_some(&mut self) -> Verdict {
        let index = self.schedule.index(self.seats.len());
        self.absorb(index)
    }

    pub(super) fn absorb(&mut self, index: usize) -> Verdict {
        let seat = &mut self.seats[index];
        let Some(live) = &mut seat.live else { return Ok(()) };
        let Some(flusher) = &mut live.flusher else { return Ok(()) };
        let Err(error) = flusher.absorb_committed() else { return Ok(()) };
        // Without its store a shard stops.
        live.flusher = None;
        self.tell(|| format!("the flusher of shard {index} stops: {error}"));
        if error.contains("lost power") {
            return self.crash();
        }
        // It may have read a frame from the files that is not there.
        match self.seats[index].scar.is_some() && error.contains("corrupt log: ") {
            true => self.stop_shard(index),
            false => Err(Violation::new("replay", "a flusher that goes on", error)),
        }
    }

    fn write_snapshot(&mut self) -> Verdict {
        let index = self.schedule.index(self.seats.len());
        let seat = &mut self.seats[index];
        let flusher = seat.live.as_mut().and_then(|live| live.flusher.as_mut());
        if flusher.is_some_and(onrush_engine::Flusher::write_snapshot) {
            let names = seat.snapshot_names();
            self.summary.snapshots += 1;
            self.trace.text(&names);
            self.tell(|| format!("shard {index} wrote a snapshot: {names:?}"));
        }
        Ok(())
    }

    fn seal_some(&mut self) -> Verdict {
        let index = self.schedule.index(self.seats.len());
        let idle = |live: &&Live| live.is_at_rest() && live.inbox.is_empty();
        let seat = &self.seats[index];
        let is_idle = seat.live.as_ref().filter(idle).is_some() && seat.stalled_until_us <= self.now_us;
        if is_idle { self.seal(index) } else { Ok(()) }
    }

    pub(super) fn seal(&mut self, index: usize) -> Verdict {
        let Some(live) = &mut self.seats[index].live else { return Ok(()) };
        // The host seals at its own time, which its shard may not have heard of.
        let now_us = live.shard.now_us().max(self.now_us);
        let before = live.log.stats().durable_writes;
        match live.log.seal(now_us) {
            Ok(()) if live.log.stats().durable_writes > before => {
                self.note_durable(index, None, 0);
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(error) => self.append_failed(index, &error),
        }
    }
}

/// What the host answers for a shard that stopped: the outcome is unknown.
pub(super) fn stopped_reply() -> Reply {
    Reply { outcome: Outcome::Refused(Refusal::Stopped), replayed: false, lsn: onrush_proto::Lsn(0) }
}
