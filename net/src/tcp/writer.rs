//! The task that writes to a connection.

use std::time::Duration;

use monoio::buf::IoBuf as _;
use monoio::io::{AsyncWriteRent, OwnedWriteHalf};
use monoio::net::TcpStream;
use monoio::time::timeout;

use super::connection::Connection;
use super::pool::Pool;

/// Writes what waits, all of it at once, until the connection is over.
pub(super) async fn write<S>(
    connection: &Connection<S>,
    half: &mut OwnedWriteHalf<TcpStream>,
    pool: &Pool,
    progress: Duration,
) {
    loop {
        // Looked at first: what is said behind it is written in the next round.
        let over = connection.is_over();
        let waiting = connection.outbox.borrow_mut().take();
        match waiting {
            Some(bytes) => {
                connection.set_sending(bytes.len());
                let Some(bytes) = write_all(half, bytes, progress).await else {
                    return connection.vanish();
                };
                pool.give(bytes);
                connection.set_sending(0);
            }
            None if over => break,
            None => connection.to_write.wait().await,
        }
    }
    // An error means that the other side is gone.
    let _ = half.shutdown().await;
}

/// The buffer when everything is written; `None` if the client broke off, or read nothing for too long.
pub(super) async fn write_all(
    half: &mut OwnedWriteHalf<TcpStream>,
    mut bytes: Vec<u8>,
    progress: Duration,
) -> Option<Vec<u8>> {
    let mut written = 0;
    while written < bytes.len() {
        let (more, slice) = timeout(progress, half.write(bytes.slice(written..))).await.ok()?;
        bytes = slice.into_inner();
        match more {
            Ok(0) | Err(_) => return None,
            Ok(more) => written += more,
        }
    }
    Some(bytes)
}
