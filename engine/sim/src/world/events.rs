//! What can happen when nothing fails.

use onrush_engine::shard::{Input, PeerMessage, ReplyTo};
use onrush_proto::{Outcome, Receipt, Refusal, Reply, Request, ShardId, Slot};

use super::World;
use crate::invariants;
use crate::mirror::Mirror;
use crate::node::{FlushCrash, Stage};
use crate::planted::Planted;
use crate::report::Verdict;

impl World {
    /// Lets one thing happen.
    pub(super) fn next_event(&mut self) -> Verdict {
        self.event += 1;
        self.trace.number(self.event);
        let eager = self.plan.eagerness;
        let kind = self.schedule.weighted(&[30 * eager, 15 * eager, 25, 5, 6, 2, 1, 1]);
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
            _ => self.release_some(),
        }?;
        self.maybe_fault()
    }

    /// One shard does the next thing it can do.
    fn advance_shard(&mut self) -> Verdict {
        let index = self.schedule.index(self.seats.len());
        self.advance(index)
    }

    /// Decides, appends or releases, whichever comes next.
    pub(super) fn advance(&mut self, index: usize) -> Verdict {
        let now_us = self.now_us;
        let Some(live) = &mut self.seats[index].live else { return Ok(()) };
        match live.stage {
            Stage::Idle if live.is_ready(now_us) => self.turn(index),
            Stage::Decided => self.append(index),
            Stage::Durable => self.let_go(index),
            Stage::Idle | Stage::Stopped => Ok(()),
        }
    }

    fn turn(&mut self, index: usize) -> Verdict {
        let Some(live) = &mut self.seats[index].live else { return Ok(()) };
        live.turn(self.now_us, &self.plan)?;
        let (records, replies) = (live.effects.frame.records(), live.effects.replies.len());
        let refused = live.effects.replies.iter().filter_map(|(to, reply)| {
            let request = self.oracle.request(to.tag)?;
            invariants::expiry::refused_here(&self.mirror, index, request, reply)
        });
        invariants::expiry::turn(&live.shard, &refused.collect::<Vec<_>>())?;
        for (ShardId(to), message) in live.effects.urgent.drain(..) {
            self.trace.text(&message);
            self.links.send(index, usize::from(to), message);
        }
        self.tell(|| format!("shard {index} decides {records} records, {replies} replies"));
        if self.plan.has(Planted::OutboundBeforeAppend) {
            self.send_outbound(index);
        }
        if self.plan.has(Planted::AckBeforeAppend) {
            self.hand_over_replies(index)?;
        }
        Ok(())
    }

    fn append(&mut self, index: usize) -> Verdict {
        let seat = &mut self.seats[index];
        if self.plan.has(Planted::SkipWrite) && self.faults.percent(1) {
            seat.disk.lose_next_write();
        }
        let Some(live) = &mut seat.live else { return Ok(()) };
        match live.append() {
            Ok(()) => {
                self.trace.bytes(live.effects.frame.view().bytes());
                self.mirror.enter(index, &live.effects.frame.view())?;
                live.publish();
                self.tell(|| format!("shard {index} appended up to {}", self.mirror.books[index].end_lsn));
                self.perhaps_cut_off(index)
            }
            Err(error) => self.append_failed(index, &error),
        }
    }

    /// What a turn said leaves.
    fn let_go(&mut self, index: usize) -> Verdict {
        let seat = &mut self.seats[index];
        if let Some(live) = &mut seat.live {
            seat.promised = seat.promised.max(live.shard.end().0);
            live.stage = Stage::Idle;
        }
        self.hand_over_replies(index)?;
        let cut_off = self.perhaps_cut_off(index);
        self.send_outbound(index);
        cut_off
    }

    fn hand_over_replies(&mut self, index: usize) -> Verdict {
        let Some(live) = &mut self.seats[index].live else { return Ok(()) };
        for (to, reply) in std::mem::take(&mut live.effects.replies) {
            self.reply(to, &reply)?;
        }
        Ok(())
    }

    fn send_outbound(&mut self, index: usize) {
        let Some(live) = &mut self.seats[index].live else { return };
        for (ShardId(to), message) in live.effects.outbound.drain(..) {
            self.trace.text(&message);
            self.links.send(index, usize::from(to), message);
        }
    }

    /// A client hears.
    pub(super) fn reply(&mut self, to: ReplyTo, reply: &Reply) -> Verdict {
        self.trace.text(&(to.tag, reply));
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
        self.trace.text(&request);
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

    fn flush_some(&mut self) -> Verdict {
        let index = self.schedule.index(self.seats.len());
        let checkpoint = self.schedule.percent(40);
        self.tell(|| format!("shard {index} flushes, checkpoint {checkpoint}"));
        self.seats[index].flush(&self.plan, checkpoint, FlushCrash::No)
    }

    fn seal_some(&mut self) -> Verdict {
        let index = self.schedule.index(self.seats.len());
        let Some(live) = &mut self.seats[index].live else { return Ok(()) };
        if live.stage != Stage::Idle || !live.inbox.is_empty() {
            return Ok(());
        }
        // The host seals at its own time, which its shard may not have heard of.
        let now_us = live.shard.now_us().max(self.now_us);
        match live.log.seal(now_us) {
            Ok(()) => Ok(()),
            Err(error) => self.append_failed(index, &error),
        }
    }

    fn release_some(&mut self) -> Verdict {
        let index = self.schedule.index(self.seats.len());
        if !self.plan.releases {
            return Ok(());
        }
        self.seats[index].release(&self.plan)?;
        // A log that could not put a segment aside is poisoned: its disk is gone.
        let poisoned = self.seats[index].live.as_ref().is_some_and(|live| live.log.is_poisoned());
        if poisoned { self.crash() } else { Ok(()) }
    }
}

/// What the host answers for a shard that stopped: the outcome is unknown.
pub(super) fn stopped_reply() -> Reply {
    Reply { outcome: Outcome::Refused(Refusal::Stopped), replayed: false, lsn: onrush_proto::Lsn(0) }
}
