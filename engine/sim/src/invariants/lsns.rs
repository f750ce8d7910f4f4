//! The log: positions without gaps, time that never runs back, frames that stay as they were.

use onrush_storage::log::{FrameView, Log};

use crate::mirror::Book;
use crate::report::{Verdict, Violation};

const NAME: &str = "lsns";

/// Checks that a frame continues the book.
pub(crate) fn follows(book: &Book, frame: &FrameView<'_>) -> Verdict {
    let info = frame.info();
    if info.first_lsn != book.end_lsn + 1 {
        let expected = format!("a frame at lsn {}", book.end_lsn + 1);
        return Err(Violation::new(NAME, expected, info.first_lsn.to_string()));
    }
    if info.time_us < book.time_us {
        return Err(Violation::new(
            NAME,
            format!("time {} or later", book.time_us),
            info.time_us.to_string(),
        ));
    }
    Ok(())
}

/// Checks that the log reads back as the frames that were appended.
pub(crate) fn readable(book: &Book, log: &Log) -> Verdict {
    let failed =
        |error: onrush_storage::log::ReadError| Violation::new(NAME, "a log that reads", error.to_string());
    let mut reader = log.reader();
    let first = log.first_lsn();
    let kept = book.frames.iter().filter(|frame| {
        let info = frame.view().info();
        info.first_lsn >= first && info.record_count > 0
    });
    for expected in kept {
        let found = loop {
            match reader.next_frame().map_err(failed)? {
                Some(frame) if frame.info().record_count == 0 => {}
                found => break found,
            }
        };
        if found.map(|frame| frame.bytes()) != Some(expected.bytes()) {
            let expected = format!("the frame appended at lsn {}", expected.view().info().first_lsn);
            return Err(Violation::new(NAME, expected, format!("{:?}", found.map(|frame| frame.info()))));
        }
    }
    while let Some(frame) = reader.next_frame().map_err(failed)? {
        if frame.info().record_count > 0 {
            return Err(Violation::new(
                NAME,
                format!("an end at {}", book.end_lsn),
                format!("{:?}", frame.info()),
            ));
        }
    }
    Ok(())
}
