//! What waits to be written to a stream.

use std::cell::Cell;
use std::rc::Rc;

use onrush_proto::frame::{
    Answer, ErrorFrame, FRAME_BYTES_MAX, Kind, Open, Welcome, begin, put_rejected, put_reply,
};

use super::pool::Pool;

/// From here on a frame of answers is full. An answer is far shorter than what is left of a frame.
const FULL_BYTES: usize = 1 << 20;

/// Frames that wait to be written, and the client's credit, which they give back.
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// The frame of answers that grows at the end, and how many it has.
    gathering: Option<(Open, u16)>,
    /// How much the client may still ask.
    credit: Rc<Cell<u32>>,
    /// How much of it was spent here and did not come back.
    spent: u32,
    /// What comes back for other streams. It is no frame before it can leave: who does not read makes nothing grow.
    owed: u32,
    /// Bytes that were taken last: as many may come next.
    last: usize,
}

impl Outbox {
    pub(super) fn new(credit: Rc<Cell<u32>>) -> Self {
        Self { bytes: Vec::new(), gathering: None, credit, spent: 0, owed: 0, last: 0 }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// False if the client has not that much credit.
    pub(super) fn spend(&mut self, credit: u32) -> bool {
        let Some(left) = self.credit.get().checked_sub(credit) else { return false };
        self.credit.set(left);
        self.spent += credit;
        true
    }

    fn give_back(&mut self, credit: u32) {
        self.credit.set(self.credit.get() + credit);
        self.spent = self.spent.saturating_sub(credit);
    }

    /// Credit that was spent and never comes back here: another stream gives it back.
    pub(super) fn take_spent(&mut self) -> u32 {
        std::mem::take(&mut self.spent)
    }

    /// Credit that another stream has spent and does not give back: it comes back with what leaves next.
    pub(super) fn owe(&mut self, credit: u32) {
        self.owed += credit;
    }

    /// What is left of the credit.
    pub(super) fn credit(&self) -> u32 {
        self.credit.get()
    }

    /// The credit itself, for the client's other streams.
    pub(super) fn purse(&self) -> Rc<Cell<u32>> {
        Rc::clone(&self.credit)
    }

    pub(super) fn welcome(&mut self, pool: &Pool, welcome: &Welcome) {
        welcome.write(self.behind(pool));
    }

    /// The last frame: whoever hears it asks nothing more, whatever is owed.
    pub(super) fn error(&mut self, pool: &Pool, error: &ErrorFrame) {
        self.owed = 0;
        error.write(self.behind(pool));
    }

    /// A frame that says nothing but its kind.
    pub(super) fn bare(&mut self, pool: &Pool, kind: Kind, credit: u32) {
        let bytes = self.behind(pool);
        begin(bytes, kind).seal(bytes, 0, credit);
        self.give_back(credit);
    }

    /// A frame that was made elsewhere.
    pub(super) fn whole(&mut self, pool: &Pool, frame: &[u8]) {
        self.behind(pool).extend_from_slice(frame);
    }

    /// Adds an answer to the frame of answers.
    pub(super) fn answer(&mut self, pool: &Pool, tag: u64, answer: &Answer) {
        if self
            .gathering
            .as_ref()
            .is_some_and(|(open, count)| open.length(&self.bytes) >= FULL_BYTES || *count == u16::MAX)
        {
            self.seal();
        }
        if self.gathering.is_none() {
            let bytes = self.behind(pool);
            self.gathering = Some((begin(bytes, Kind::Outcomes), 0));
        }
        let Self { bytes, gathering: Some((open, count)), .. } = self else { return };
        let at = bytes.len();
        let put = match answer {
            Answer::Reply(reply) => put_reply(bytes, tag, reply),
            Answer::Rejected(rejected) => {
                put_rejected(bytes, tag, &rejected.reason, &rejected.message);
                true
            }
        };
        if !put || open.length(bytes) > FRAME_BYTES_MAX {
            bytes.truncate(at);
            put_rejected(bytes, tag, "INTERNAL", "the call failed on our side");
        }
        *count += 1;
    }

    /// A frame of what was looked up, as `fill` writes it behind the tag; or an answer that stands for all.
    pub(super) fn looked_up(
        &mut self,
        pool: &Pool,
        kind: Kind,
        (tag, count): (u64, u16),
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), Answer>,
    ) {
        let bytes = self.behind(pool);
        let open = begin(bytes, kind);
        bytes.extend_from_slice(&tag.to_le_bytes());
        match fill(bytes) {
            Ok(()) => {
                open.seal(bytes, count, 1);
                self.give_back(1);
            }
            Err(answer) => {
                open.abandon(bytes);
                self.answer(pool, tag, &answer);
            }
        }
    }

    /// Nobody reads any more.
    pub(super) fn forget(&mut self) {
        (self.bytes, self.gathering, self.owed) = (Vec::new(), None, 0);
    }

    /// What waits; the frames are whole.
    pub(super) fn take(&mut self, pool: &Pool) -> Option<Vec<u8>> {
        match std::mem::take(&mut self.owed) {
            0 => self.seal(),
            owed => self.bare(pool, Kind::Credit, owed),
        }
        self.last = self.bytes.len();
        (!self.bytes.is_empty()).then(|| std::mem::take(&mut self.bytes))
    }

    /// Where the next frame goes.
    fn behind(&mut self, pool: &Pool) -> &mut Vec<u8> {
        self.seal();
        if self.bytes.capacity() == 0 {
            self.bytes = pool.sized(self.last);
        }
        &mut self.bytes
    }

    /// Ends the frame of answers; it gives back what they have cost.
    fn seal(&mut self) {
        if let Some((open, count)) = self.gathering.take() {
            open.seal(&mut self.bytes, count, count.into());
            self.give_back(count.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::frame::{Frame, OutcomeEntry, Outcomes, Rejected};
    use onrush_proto::{Lsn, Outcome, Refusal, Reply};

    use super::*;

    fn outbox(credit: u32) -> Outbox {
        Outbox::new(Rc::new(Cell::new(credit)))
    }

    fn frames(bytes: &[u8]) -> Vec<(Kind, u16, u32)> {
        let (mut rest, mut found) = (bytes, Vec::new());
        while let Some((frame, behind)) = Frame::read(rest, FRAME_BYTES_MAX).unwrap() {
            if frame.kind == Kind::Outcomes {
                let answers: Result<Vec<OutcomeEntry>, _> = Outcomes::of(&frame).unwrap().collect();
                assert_eq!(answers.unwrap().len(), usize::from(frame.count));
            }
            found.push((frame.kind, frame.count, frame.argument));
            rest = behind;
        }
        assert!(rest.is_empty());
        found
    }

    #[test]
    fn answers_gather_and_give_back_what_they_cost() {
        let (pool, mut outbox) = (Pool::default(), outbox(5));
        let reply = Reply { outcome: Outcome::Refused(Refusal::Stopped), replayed: false, lsn: Lsn(0) };
        assert!(outbox.spend(5) && !outbox.spend(1));
        outbox.answer(&pool, 1, &Answer::Reply(reply.clone()));
        outbox.answer(&pool, 2, &Answer::Reply(reply.clone()));
        assert!(!outbox.spend(1), "what has not gone gives nothing back");
        outbox.bare(&pool, Kind::Pong, 1);
        let none = Rejected { reason: "FORBIDDEN".into(), message: String::new() };
        outbox.looked_up(&pool, Kind::Verdicts, (3, 0), |_| Err(Answer::Rejected(none)));
        outbox.looked_up(&pool, Kind::Verdicts, (4, 0), |_| Ok(()));
        assert_eq!(
            frames(&outbox.take(&pool).unwrap()),
            [(Kind::Outcomes, 2, 2), (Kind::Pong, 0, 1), (Kind::Outcomes, 1, 1), (Kind::Verdicts, 0, 1)]
        );
        assert_eq!(outbox.credit(), 5);
        assert_eq!(outbox.take(&pool), None);
    }

    #[test]
    fn no_frame_is_longer_than_one_may_be() {
        let (pool, mut outbox) = (Pool::default(), outbox(0));
        let long = Rejected { reason: "X".into(), message: "x".repeat(4 << 10) };
        let answer = Answer::Rejected(long);
        (0..2_000).for_each(|tag| outbox.answer(&pool, tag, &answer));
        let found = frames(&outbox.take(&pool).unwrap());
        assert!(found.len() > 1);
        assert_eq!(found.iter().map(|(_, count, _)| u32::from(*count)).sum::<u32>(), 2_000);
        assert_eq!(outbox.credit(), 2_000);
    }
}
