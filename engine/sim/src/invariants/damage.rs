//! Damage that acknowledged bytes suffered is named; what can be lost is one frame, and nothing else.

use onrush_storage::log::Recovery;

use crate::mirror::Book;
use crate::node::{Scar, Tamper};
use crate::report::{Verdict, Violation};

const NAME: &str = "damage";

/// What a restart must find on one shard's disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// Everything that was acknowledged.
    Intact,
    /// A refusal: something durable stands behind the damage.
    Refusal,
    /// The last acknowledged frame is gone, or the damage is refused.
    TailGone {
        /// The first record that is gone.
        first_lsn: u64,
        /// The file whose last frame was damaged in place: its cut is reported.
        cut: Option<String>,
    },
}

impl Expected {
    /// What must become of a frame that was acknowledged and is not where it should be.
    pub(crate) fn of(scar: Scar) -> Self {
        match scar.tamper {
            _ if scar.proven => Self::Refusal,
            // The frame itself stands where it does not belong.
            Tamper::Misdirect(_) => Self::Refusal,
            Tamper::Lose => Self::TailGone { first_lsn: scar.first_lsn, cut: None },
        }
    }
}

/// Checks that a refusal was due, and says where the damage is.
pub(crate) fn refused(shard: usize, expected: &Expected, error: &str) -> Verdict {
    let named = error.contains(".segment at offset ");
    match expected {
        Expected::Intact => {
            Err(Violation::new(NAME, format!("an intact log of shard {shard}"), error.to_owned()))
        }
        _ if !named => Err(Violation::new(NAME, "file and offset of the damage", error.to_owned())),
        _ => Ok(()),
    }
}

/// Checks a log that opened, whose book has not heard of it yet.
pub(crate) fn opened(shard: usize, expected: &Expected, book: &Book, recovery: &Recovery) -> Verdict {
    let differ = |expected: String| Err(Violation::new(NAME, expected, format!("{recovery:?}")));
    match expected {
        Expected::Intact if recovery.end_lsn < book.end_lsn => {
            differ(format!("shard {shard} to reach record {}", book.end_lsn))
        }
        Expected::Refusal => differ(format!("shard {shard} to refuse its damaged log")),
        Expected::TailGone { first_lsn, cut } => {
            if recovery.end_lsn + 1 != *first_lsn {
                return differ(format!("shard {shard} to end in front of record {first_lsn}"));
            }
            let reported = recovery.cut.as_ref().map(|cut| &cut.file);
            match cut {
                Some(file) if reported != Some(file) => differ(format!("a cut in {file} to be reported")),
                _ => Ok(()),
            }
        }
        Expected::Intact => Ok(()),
    }
}

/// Checks a shard that found neither store nor snapshot to continue: `intact` snapshots were there.
/// Store and snapshots may know of a tail that the log lost.
pub(crate) fn unreachable(shard: usize, log: &Expected, intact: usize, error: &str) -> Verdict {
    match intact {
        _ if *log != Expected::Intact => Ok(()),
        0 => Ok(()),
        _ => {
            let expected = format!("shard {shard} rebuilt from one of {intact} intact snapshots and the log");
            Err(Violation::new(NAME, expected, error.to_owned()))
        }
    }
}
