//! A shard whose durable write failed says nothing more, but that it has stopped.

use onrush_proto::{Outcome, Refusal, Reply};

use crate::node::Live;
use crate::report::{Verdict, Violation};

const NAME: &str = "poison";

/// Checks a reply that is about to leave.
pub(crate) fn reply(shard: usize, live: &Live, reply: &Reply) -> Verdict {
    match live.poisoned && reply.outcome != Outcome::Refused(Refusal::Stopped) {
        true => differ(shard, &format!("{reply:?}")),
        false => Ok(()),
    }
}

/// Checks that no message to another shard leaves.
pub(crate) fn messages(shard: usize, live: &Live) -> Verdict {
    match live.poisoned && !live.batch.outbound.is_empty() {
        true => differ(shard, &format!("{:?}", live.batch.outbound)),
        false => Ok(()),
    }
}

fn differ(shard: usize, got: &str) -> Verdict {
    let expected = format!("nothing from shard {shard} after its failed write");
    Err(Violation::new(NAME, expected, got))
}
