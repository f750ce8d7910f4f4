//! A snapshot on its way from a leader to a member that lacks what the leader has released.
//!
//! The leader offers, the member asks for one piece after the other, and so each goes as fast as it can. Whole, the
//! snapshot stands beside the member's own, with a mark: from then on the member says nothing more, and its next start
//! begins anew from it ([`Arrived`]).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use onrush_storage::disk::{Disk, DiskFile};
use onrush_storage::log::Front;
use onrush_storage::snapshot::{SnapshotError, SnapshotHeader, SnapshotReader, named, open_named, take_in};

use super::entry::Position;
use super::members::NodeId;
use super::message::{Body, Offer, PIECE_BYTES_MAX};
use super::raft::{Raft, RoleKind};

/// The file that a snapshot arrives in, and the one that says that it is whole.
const ARRIVING: &str = "arriving";
const MARK: &str = "begin-anew";
/// After so long without a piece it is asked for again.
const SILENCE_US: u64 = 500_000;
/// After so long another snapshot is begun with.
const GIVEN_UP_US: u64 = 5_000_000;
/// For so long after it last got further a leader keeps the log behind the snapshot that a member fetches.
const KEPT_US: u64 = 60_000_000;

/// The leader's side.
pub struct Giver {
    disk: Arc<dyn Disk>,
    piece_bytes: usize,
    given: Option<Given>,
}

/// The snapshot that somebody fetches.
struct Given {
    file: SnapshotReader,
    /// How far each has got, and when one of them last got further: who asks for the same again and again, as its disk or ours
    /// has no more to give, keeps neither newer snapshots from being offered nor the log behind this one.
    reached: BTreeMap<NodeId, u64>,
    moved_us: u64,
}

impl Giver {
    /// Gives the snapshots on this disk, in pieces of so many bytes, at most [`PIECE_BYTES_MAX`].
    pub fn new(disk: Arc<dyn Disk>, piece_bytes: usize) -> Self {
        Self { disk, piece_bytes: piece_bytes.clamp(1, PIECE_BYTES_MAX), given: None }
    }

    /// The newest snapshot in front of record `owed`, the first that consumer groups have a claim to, or the one that somebody
    /// fetches already; `None` if there is none. Who begins anew has no log in front of it: behind this one it will have all that
    /// the groups lack, should it lead. If none is in front of that, it is the oldest. One behind which this leader's log does not
    /// go on helps nobody: the log must begin behind entry `front`, and the snapshot say that it ends there or later.
    ///
    /// # Errors
    /// There is one that cannot be read, and no other.
    pub fn offer(&mut self, front: u64, owed: u64, now_us: u64) -> Result<Option<Offer>, SnapshotError> {
        let given = self.given.as_ref().filter(|given| now_us < given.moved_us + GIVEN_UP_US);
        if let Some(offer) =
            given.map(|given| offer_of(&given.file)).filter(|offer| offer.last.index >= front)
        {
            return Ok(Some(offer));
        }
        let (mut found, mut unread) = (None, None);
        for lsn in named(self.disk.as_ref())? {
            match open_named(self.disk.as_ref(), lsn).map(|file| offer_of(&file)) {
                Err(error) => unread = Some(error),
                // It does not say where in the log it ends.
                Ok(offer) if offer.last.index == 0 => {}
                // Nor does the log go on behind any older one.
                Ok(offer) if offer.last.index < front => break,
                Ok(offer) if lsn < owed => {
                    found = Some(offer);
                    break;
                }
                Ok(offer) => found = Some(offer),
            }
        }
        match (found, unread) {
            (None, Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }

    /// The piece that was asked for; `None` if that snapshot is gone, or not so long.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn piece(
        &mut self,
        to: NodeId,
        (lsn, offset): (u64, u64),
        now_us: u64,
    ) -> Result<Option<Body>, SnapshotError> {
        let is_open = self.given.as_ref().is_some_and(|given| given.file.header().lsn == lsn);
        if !is_open {
            // It may have been removed since it was offered.
            let Ok(file) = open_named(self.disk.as_ref(), lsn) else { return Ok(None) };
            self.given = Some(Given { file, reached: BTreeMap::new(), moved_us: now_us });
        }
        let Some(given) = &mut self.given else { return Ok(None) };
        let bytes = given.file.piece(offset, self.piece_bytes)?;
        let reached = given.reached.entry(to).or_default();
        if offset + bytes.len() as u64 > *reached {
            (*reached, given.moved_us) = (offset + bytes.len() as u64, now_us);
        }
        Ok((!bytes.is_empty()).then_some(Body::Piece { lsn, offset, bytes }))
    }

    /// The entry behind which everything is to be kept, while somebody fetches.
    pub fn keeps_behind(&mut self, now_us: u64) -> Option<u64> {
        // A file that is held open takes room, though it may be removed.
        self.given.take_if(|given| now_us >= given.moved_us + KEPT_US);
        self.given.as_ref().map(|given| given.file.header().index)
    }
}

fn offer_of(file: &SnapshotReader) -> Offer {
    let header = file.header();
    let last = Position { term: header.term, index: header.index };
    Offer { lsn: header.lsn, last, bytes: file.summary().bytes }
}

/// Why a snapshot was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakerError {
    /// A piece was not written, or not read back. It is begun with again.
    #[error("cannot write the snapshot that arrives: {0}")]
    Piece(io::Error),
    /// Whether the mark is on disk is unknown: the member must not say anything more.
    #[error("cannot mark the snapshot that has arrived: {0}")]
    Mark(io::Error),
}

/// What came of a piece.
#[derive(PartialEq, Debug)]
pub enum Took {
    /// It was not for us.
    Nothing,
    /// This is to be said to whom it came from: what to send next, or what was asked for.
    Ask(Body),
    /// The snapshot is whole, and marked: this member must not say anything more, and begins anew.
    Whole(Offer),
}

/// The side of the member that lacks something.
pub struct Taker {
    disk: Arc<dyn Disk>,
    taking: Option<Taking>,
}

struct Taking {
    from: NodeId,
    offer: Offer,
    file: Box<dyn DiskFile>,
    offset: u64,
    heard_us: u64,
}

impl Taker {
    /// Takes a snapshot onto this disk.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, taking: None }
    }

    /// True if this member has begun to fetch a snapshot, and still lacks what is in it.
    pub fn is_fetching(&self, raft: &Raft) -> bool {
        self.taking.as_ref().is_some_and(|taking| raft.lacks(taking.offer.last))
    }

    /// The leader offers a snapshot: what to ask it for, if anything.
    ///
    /// # Errors
    /// [`TakerError::Piece`].
    pub fn offered(
        &mut self,
        raft: &Raft,
        (from, offer): (NodeId, Offer),
        now_us: u64,
    ) -> Result<Option<Body>, TakerError> {
        if raft.leader() != Some(from) || !raft.lacks(offer.last) {
            return Ok(None);
        }
        match &mut self.taking {
            Some(taking) if (taking.from, taking.offer) == (from, offer) => {
                if now_us < taking.heard_us + SILENCE_US {
                    return Ok(None);
                }
                taking.heard_us = now_us;
            }
            // Who leads no more gives nothing more.
            Some(taking) if taking.from == from && now_us < taking.heard_us + GIVEN_UP_US => return Ok(None),
            _ => {
                self.taking = None;
                let file = self.disk.create(ARRIVING, 0).map_err(TakerError::Piece)?;
                self.taking = Some(Taking { from, offer, file, offset: 0, heard_us: now_us });
            }
        }
        Ok(self.taking.as_ref().map(Taking::next))
    }

    /// A piece has come.
    ///
    /// # Errors
    /// [`TakerError`].
    pub fn piece(
        &mut self,
        raft: &Raft,
        from: NodeId,
        (lsn, offset, bytes): (u64, u64, &[u8]),
        now_us: u64,
    ) -> Result<Took, TakerError> {
        let Some(taking) = &mut self.taking else { return Ok(Took::Nothing) };
        let room = taking.offer.bytes - taking.offset;
        let is_next = (from, lsn, offset) == (taking.from, taking.offer.lsn, taking.offset);
        if !is_next || bytes.is_empty() || bytes.len() as u64 > room {
            return Ok(Took::Nothing);
        }
        if let Err(error) = taking.file.write_at(offset, bytes) {
            self.taking = None;
            return Err(TakerError::Piece(error));
        }
        (taking.offset, taking.heard_us) = (offset + bytes.len() as u64, now_us);
        if taking.offset < taking.offer.bytes {
            return Ok(Took::Ask(taking.next()));
        }
        let whole = self.taking.take().map(|taking| (taking.offer, taking.file.sync()));
        let Some((offer, synced)) = whole else { return Ok(Took::Nothing) };
        synced.map_err(TakerError::Piece)?;
        // Meanwhile it may have got what it lacked.
        if !raft.lacks(offer.last) {
            return Ok(Took::Nothing);
        }
        self.disk.create(MARK, 0).map_err(TakerError::Mark)?;
        Ok(Took::Whole(offer))
    }
}

impl Taking {
    fn next(&self) -> Body {
        Body::Fetch { lsn: self.offer.lsn, offset: self.offset }
    }
}

/// Why nothing came of a message about a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// What was asked for cannot be read.
    #[error(transparent)]
    Given(#[from] SnapshotError),
    /// What came was not taken.
    #[error(transparent)]
    Taken(#[from] TakerError),
}

/// What a member does with a message about a snapshot, whichever side it is on.
///
/// # Errors
/// [`TransferError`]; after [`TakerError::Mark`] the member must stop.
pub fn hear_of_snapshot(
    raft: &Raft,
    (giver, taker): (&mut Giver, &mut Taker),
    (from, body): (NodeId, Body),
    now_us: u64,
) -> Result<Took, TransferError> {
    let said = match body {
        Body::Offer(offer) => taker.offered(raft, (from, offer), now_us)?,
        Body::Fetch { lsn, offset } if raft.role() == RoleKind::Leader => {
            giver.piece(from, (lsn, offset), now_us)?
        }
        Body::Piece { lsn, offset, bytes } => {
            return Ok(taker.piece(raft, from, (lsn, offset, &bytes), now_us)?);
        }
        _ => None,
    };
    Ok(said.map_or(Took::Nothing, Took::Ask))
}

/// A snapshot that has arrived whole, from which a member begins anew: its log behind [`front`](Self::front), its store
/// with the snapshot's rows, and then [`done`](Self::done). A crash on the way leaves the mark, and all of it is done
/// again.
pub struct Arrived {
    snapshot: SnapshotReader,
}

impl Arrived {
    /// What has arrived on this disk. What is damaged is removed: the member goes on as it was, which is safe, as it has
    /// said nothing since.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn on(disk: &dyn Disk) -> Result<Option<Self>, SnapshotError> {
        let names = disk.list().map_err(SnapshotError::io("the directory of snapshots"))?;
        let there = |name: &str| names.iter().any(|found| found == name);
        let remove = |name: &str| disk.remove(name).map_err(SnapshotError::io(name));
        match (there(MARK), there(ARRIVING)) {
            (false, false) => return Ok(None),
            // It was not whole when the process ended.
            (false, true) => return remove(ARRIVING).map(|()| None),
            // All was done but for the mark.
            (true, false) => return remove(MARK).map(|()| None),
            (true, true) => {}
        }
        let opened = SnapshotReader::open(disk, ARRIVING);
        match opened.and_then(|snapshot| snapshot.verify().map(|()| snapshot)) {
            Ok(snapshot) => Ok(Some(Self { snapshot })),
            Err(error @ SnapshotError::Io { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the snapshot that has arrived is damaged: it is fetched again");
                remove(MARK)?;
                remove(ARRIVING).map(|()| None)
            }
        }
    }

    /// Its rows.
    pub fn snapshot(&self) -> &SnapshotReader {
        &self.snapshot
    }

    /// Where the log goes on.
    pub fn front(&self) -> Front {
        let SnapshotHeader { lsn, index, term, time_us, .. } = *self.snapshot.header();
        Front { next_lsn: lsn + 1, index, term, time_us }
    }

    /// Log and store are what the snapshot says: it is one of the member's own from now on.
    ///
    /// # Errors
    /// The disk failed; it is done again at the next start.
    pub fn done(self, disk: &dyn Disk) -> Result<(), SnapshotError> {
        let lsn = self.snapshot.header().lsn;
        drop(self.snapshot);
        take_in(disk, ARRIVING, lsn)?;
        disk.remove(MARK).map_err(SnapshotError::io(MARK))
    }
}
