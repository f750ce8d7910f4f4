//! Subscribers: each committed record once per pass, in order, or a named gap; nothing earlier.

use onrush_engine::SubscribeError;

use crate::clients::{HOLDING, Reader, Seen};
use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "delivery";

/// Checks a record against the log; the reader's cursor stands in front of it.
pub(crate) fn record(mirror: &Mirror, reader: &Reader, committed: u64, seen: &Seen) -> Verdict {
    let expected = reader.cursor + 1;
    if seen.lsn != expected {
        return differ(reader, &format!("record {expected} next"), &format!("record {}", seen.lsn));
    }
    if seen.lsn > committed {
        let expected = format!("nothing behind {committed}, the commit point");
        return differ(reader, &expected, &format!("record {}", seen.lsn));
    }
    let logged = mirror.books[reader.shard].record(seen.lsn);
    let same = logged.as_ref().is_some_and(|(time_us, fact)| {
        *time_us == seen.time_us && fact.key_hash == seen.key_hash && seen.fact.as_ref() == Ok(fact)
    });
    match same {
        true => Ok(()),
        false => differ(reader, &format!("{logged:?} at record {expected}"), &format!("{:?}", seen.fact)),
    }
}

/// Checks that a reader who is handed nothing has seen everything.
pub(crate) fn at_end(reader: &Reader, committed: u64) -> Verdict {
    match reader.cursor >= committed {
        true => Ok(()),
        false => differ(reader, &format!("records up to {committed}"), "nothing"),
    }
}

/// Checks a gap that is told: it is where the log begins, and no group that holds the log meets one.
pub(crate) fn gap(mirror: &Mirror, reader: &Reader, log_first: u64, error: &SubscribeError) -> Verdict {
    let wanted = reader.cursor + 1;
    let SubscribeError::OutOfRange { first, found } = error else {
        return differ(reader, &format!("record {wanted} or a position out of range"), &error.to_string());
    };
    if (*first, *found) != (log_first, wanted) || wanted >= log_first {
        let expected = format!("record {wanted} of a log that begins at {log_first}");
        return differ(reader, &expected, &error.to_string());
    }
    let book = &mirror.books[reader.shard];
    let group = (reader.group(), HOLDING as u8);
    // Before its first position was in the log, nobody knew of the group.
    let since = book.groups_since.get(&group).copied().unwrap_or(u64::MAX);
    let held = book.offsets.get(&group).is_some_and(|done| reader.cursor >= *done && *done >= since);
    match reader.holds && held {
        true => differ(reader, "a log held for its group", &error.to_string()),
        false => Ok(()),
    }
}

fn differ(reader: &Reader, expected: &str, got: &str) -> Verdict {
    let Reader { shard, cursor, .. } = reader;
    let expected = format!("{expected} for a subscriber of shard {shard} behind record {cursor}");
    Err(Violation::new(NAME, expected, got))
}
