//! Snapshots between nodes, and the log that is let go of behind them.

use onrush_engine::replication::{Body, Message, NodeId, Took, hear_of_snapshot};

use super::World;
use crate::report::{Verdict, Violation};

impl World {
    /// A member lets go of log.
    pub(super) fn release_log(&mut self, at: usize) -> Verdict {
        let (waits, now_us) = (self.plan.waits_for_followers, self.clock_us(at));
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        if let Err(error) = live.release_log(waits, now_us) {
            return self.consensus_failed(at, &error);
        }
        self.check_member(at)
    }

    /// A leader offers a snapshot to whoever lacks what it has released.
    pub(super) fn offer_snapshots(&mut self, at: usize) -> Verdict {
        let now_us = self.clock_us(at);
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        let raft = live.replica.raft();
        let (lacking, front) = (raft.lacking(), raft.log().front().index);
        if lacking.is_empty() {
            return Ok(());
        }
        let offer = live
            .giver
            .offer(front, live.station.owed(), now_us)
            .map_err(|error| failed("a snapshot to offer", &error))?;
        for node in lacking {
            offer.into_iter().for_each(|offer| self.say(at, node, Body::Offer(offer)));
        }
        Ok(())
    }

    /// A member hears of a snapshot. One that has it whole stops, and begins anew from it at its node's next start.
    pub(super) fn hear_of_snapshot(&mut self, at: usize, message: Message) -> Verdict {
        let Message { from, body, .. } = message;
        let now_us = self.clock_us(at);
        let Some(live) = &mut self.members[at].live else { return Ok(()) };
        let sides = (&mut live.giver, &mut live.taker);
        let took = hear_of_snapshot(live.replica.raft(), sides, (from, body), now_us);
        match took.map_err(|error| failed("a snapshot that arrives", &error))? {
            Took::Nothing => {}
            Took::Ask(body) => self.say(at, from, body),
            Took::Whole(offer) => {
                self.tell(|| format!("{} has a snapshot up to {:?}, and stops", self.name(at), offer.last));
                self.halt(at)?;
            }
        }
        Ok(())
    }

    fn say(&mut self, at: usize, to: NodeId, body: Body) {
        self.send(at, vec![Message::of_snapshot(self.members[at].id, to, body)]);
    }
}

fn failed(expected: &str, error: &dyn std::fmt::Display) -> Violation {
    Violation::new("replay", expected, error.to_string())
}
