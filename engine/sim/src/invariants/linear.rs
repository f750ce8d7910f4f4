//! Reads are linearizable: none shows less than anybody had been told when it was asked.

use onrush_proto::Reply;

use crate::report::{Verdict, Violation};

/// `floor` is the last record that any answer had rested on when this was asked.
pub(crate) fn read(floor: u64, reply: &Reply) -> Verdict {
    if reply.lsn.0 >= floor {
        return Ok(());
    }
    Err(Violation::new("linear", format!("a read as of record {floor} or later"), format!("{reply:?}")))
}
