//! Many requests one after the other, answers in any order: loading, closing and auditing need
//! no schedule.

use std::time::{Duration, Instant};

use onrush_proto::{Outcome, Refusal, Reply, Request};

use crate::target::Target;

/// Requests under way at a time.
const IN_FLIGHT_MAX: u64 = 1_024;
/// Nothing answered for this long is a failure.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Marks the tags of this module: an answer that the schedule gave up on may still come in.
const MARK: u64 = 1 << 63;

/// Requests that the target never answered.
#[derive(Debug, thiserror::Error)]
#[error("expected answers to {asked} requests, found {answered} within {} s", SILENCE_MAX.as_secs())]
pub(crate) struct Unanswered {
    asked: u64,
    answered: u64,
}

/// Asks `make(0..count)` and hands each outcome to `take` with its number. A throttled request is
/// made again.
pub(crate) fn ask_all(
    target: &mut dyn Target,
    count: u64,
    make: &dyn Fn(u64) -> Request,
    take: &mut dyn FnMut(u64, Outcome),
) -> Result<(), Unanswered> {
    let (mut next, mut answered) = (0, 0);
    let mut again: Vec<u64> = Vec::new();
    let mut replies: Vec<(u64, Reply)> = Vec::new();
    let mut heard = Instant::now();
    while answered < count {
        while (target.in_flight() as u64) < IN_FLIGHT_MAX {
            let Some(number) = again.pop().or_else(|| (next < count).then_some(next)) else { break };
            if target.submit(MARK | number, make(number)).is_some() {
                if number != next {
                    again.push(number);
                }
                break;
            }
            next += u64::from(number == next);
        }
        target.flush();
        target.drain(&mut replies);
        if replies.is_empty() {
            if heard.elapsed() > SILENCE_MAX {
                return Err(Unanswered { asked: count, answered });
            }
            target.wait(Duration::from_millis(1));
            continue;
        }
        heard = Instant::now();
        for (tag, reply) in replies.drain(..).filter(|(tag, _)| tag & MARK != 0) {
            match reply.outcome {
                Outcome::Refused(Refusal::Overloaded) => again.push(tag ^ MARK),
                outcome => {
                    answered += 1;
                    take(tag ^ MARK, outcome);
                }
            }
        }
    }
    Ok(())
}
