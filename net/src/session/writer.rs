//! The task that writes to a stream.

use std::time::Duration;

use super::connection::{Connection, Stage};
use super::pool::Pool;
use super::runtime::{Runtime, Sink, timeout};

/// Writes what waits, all of it at once, until the connection is over.
pub(super) async fn write<R: Runtime, S>(
    connection: &Connection<S, R::Stop>,
    sink: &mut impl Sink,
    pool: &Pool,
    progress: Duration,
) {
    loop {
        // Looked at first: what is said behind it is written in the next round.
        let over = connection.is_over();
        let waiting = connection.outbox.borrow_mut().take(pool);
        match waiting {
            Some(bytes) => {
                connection.set_sending(bytes.len());
                let Some(bytes) = write_all::<R>(sink, bytes, progress).await else {
                    return connection.vanish();
                };
                pool.give(bytes);
                connection.set_sending(0);
            }
            None if over => break,
            None => connection.to_write.wait().await,
        }
    }
    // What was still to be said to somebody who is gone was dropped: a part must not look like the whole.
    if connection.stage() != Stage::Gone {
        finish::<R>(sink, progress).await;
    }
}

/// Ends the stream, if the other side lets that happen in time.
pub(super) async fn finish<R: Runtime>(sink: &mut impl Sink, within: Duration) {
    // Who takes longer does not read.
    let _ = timeout::<R, _>(within, sink.finish()).await;
}

/// The buffer when everything is written; `None` if the client broke off, or read nothing for too long.
pub(super) async fn write_all<R: Runtime>(
    sink: &mut impl Sink,
    mut bytes: Vec<u8>,
    progress: Duration,
) -> Option<Vec<u8>> {
    let mut written = 0;
    while written < bytes.len() {
        let (more, given) = timeout::<R, _>(progress, sink.write(bytes, written)).await?;
        bytes = given;
        match more {
            Ok(0) | Err(_) => return None,
            Ok(more) => written += more,
        }
    }
    Some(bytes)
}
