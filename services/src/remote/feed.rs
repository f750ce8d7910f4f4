//! Committed records from another process, in order, without a gap.

use onrush_engine::{Batch, Event, SubscribeError};
use onrush_grpc::engine::v1::subscribe_response::Next;
use onrush_grpc::engine::v1::{OutOfRange, SubscribeRequest};
use onrush_proto::{Lsn, ShardId};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::MESSAGE_BYTES_MAX;
use super::questioner::{Line, Remote};
use crate::retry::Retry;

/// Batches that a reader may lag behind what came in.
pub(super) const BATCHES_AHEAD: usize = 16;

/// Reads one shard's committed records in another process.
pub struct RemoteFeed {
    remote: Remote,
    shard: ShardId,
    cursor: Lsn,
    batches: mpsc::Receiver<Result<Batch, SubscribeError>>,
    /// What came and is not read to its end.
    current: Option<Batch>,
    failed: Option<SubscribeError>,
}

impl RemoteFeed {
    pub(super) fn new(
        remote: Remote,
        shard: ShardId,
        cursor: Lsn,
        batches: mpsc::Receiver<Result<Batch, SubscribeError>>,
    ) -> Self {
        Self { remote, shard, cursor, batches, current: None, failed: None }
    }

    /// Calls `record` for up to `max` records behind the cursor, which moves past them. Returns how
    /// many; 0 if there is nothing yet. Does not wait.
    pub fn poll(&mut self, max: usize, mut record: impl FnMut(Event<'_>)) -> Result<usize, SubscribeError> {
        let mut taken = 0;
        while taken < max {
            let Some(batch) = self.take()? else { break };
            let read = batch.read(self.shard, &mut self.cursor, max - taken, &mut record);
            if batch.last() > self.cursor {
                self.current = Some(batch);
            }
            taken += read?;
        }
        Ok(taken)
    }

    /// The batch that holds the record behind the cursor, which moves past all of it.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, SubscribeError> {
        let batch = self.take()?;
        if let Some(batch) = &batch {
            self.cursor = batch.last();
        }
        Ok(batch)
    }

    /// The last record handed over.
    pub fn cursor(&self) -> Lsn {
        self.cursor
    }

    /// Stands behind another record.
    pub fn seek(&mut self, cursor: Lsn) {
        if cursor != self.cursor {
            *self = self.remote.subscribe(self.shard, Lsn(cursor.0 + 1));
        }
    }

    /// Resolves when there is something to read, or nothing will ever be.
    pub async fn ready(&mut self) {
        if self.current.is_some() || self.failed.is_some() {
            return;
        }
        match self.batches.recv().await {
            Some(Ok(batch)) => self.current = Some(batch),
            Some(Err(error)) => self.failed = Some(error),
            // The thread of the connection ends with the process.
            None => std::future::pending().await,
        }
    }

    fn take(&mut self) -> Result<Option<Batch>, SubscribeError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match self.current.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.batches.try_recv().ok().transpose(),
        }
    }
}

/// Follows a shard for as long as somebody reads; a connection that breaks is made anew behind the last
/// record that came.
pub(super) async fn follow(
    line: Line,
    shard: ShardId,
    mut after: Lsn,
    batches: mpsc::Sender<Result<Batch, SubscribeError>>,
) {
    let mut retry = Retry::default();
    loop {
        let before = after;
        match stream(&line, shard, &mut after, &batches).await {
            Ok(()) => return,
            Err(status) => tracing::warn!(
                engine = %line.address, shard = shard.0, error = status.message(), "the engine's log breaks off"
            ),
        }
        if after > before {
            retry = Retry::default();
        }
        tokio::select! {
            () = tokio::time::sleep(retry.jittered_pause()) => {}
            () = batches.closed() => return,
        }
    }
}

/// Hands over what comes; `Ok` when nobody reads any more or nothing follows.
async fn stream(
    line: &Line,
    shard: ShardId,
    after: &mut Lsn,
    batches: &mpsc::Sender<Result<Batch, SubscribeError>>,
) -> Result<(), Status> {
    let mut client = line.client().max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = SubscribeRequest { shard: u32::from(shard.0), after: after.0 };
    let mut stream = client.subscribe(line.authorised(request)).await?.into_inner();
    loop {
        let message = tokio::select! {
            message = stream.message() => message?,
            () = batches.closed() => return Ok(()),
        };
        let broken = |message: String| Status::new(Code::DataLoss, message);
        match message.and_then(|message| message.next) {
            Some(Next::Batch(bytes)) => {
                let batch = Batch::parse(&bytes).map_err(|error| broken(error.to_string()))?;
                if batch.last() <= *after {
                    return Err(broken(format!("expected records behind {}, found older ones", after.0)));
                }
                *after = batch.last();
                if batches.send(Ok(batch)).await.is_err() {
                    return Ok(());
                }
            }
            Some(Next::OutOfRange(OutOfRange { first, found })) => {
                let _ = batches.send(Err(SubscribeError::OutOfRange { first, found })).await;
                return Ok(());
            }
            None => return Err(broken("expected more records, found an end".into())),
        }
    }
}
