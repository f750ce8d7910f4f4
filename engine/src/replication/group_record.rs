//! The record that says who belongs to a group: a document like any other, in an entry of its own.
//!
//! As a document it is in the store and in every snapshot, so that a member knows its group whatever was released of
//! the log. The entry's [`FLAG_MEMBERS`] tells consensus to look into it.

use onrush_proto::{DocKey, DocumentRow, Fact, FactError, FactView, RecordKind, Row, Text, row::RowEncoder};
use onrush_storage::log::{AppendError, FLAG_MEMBERS, FrameBuf, FrameView, Log};

use super::members::{Members, MembersError};
use crate::flush::{Stored, StoredError};
use crate::tables::hash_of;

/// Why an entry does not say who belongs to the group, though it is flagged so.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum GroupRecordError {
    /// There is no record, or more than one.
    #[error("expected one record about the group, found {0}")]
    Records(u32),
    /// The record is no fact.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// The fact is about something else.
    #[error("expected the document {expected}, found a record of kind {found}")]
    Kind {
        /// The document's key.
        expected: &'static str,
        /// The record's kind.
        found: u16,
    },
    /// The document does not hold a group.
    #[error(transparent)]
    Members(#[from] MembersError),
}

/// The collection that holds it. Nobody but the group itself writes there.
pub(crate) const GROUP_COLLECTION: &str = "cluster";

/// The document's key.
pub const GROUP_KEY: &str = "cluster/members";

/// The document's key as the store has it.
pub fn group_key() -> DocKey {
    Text::new(GROUP_KEY).unwrap_or_default()
}

/// The fact that a group is now `members`.
pub fn group_fact(members: &Members, version: u64, changed_us: u64) -> Fact {
    let key = group_key();
    let row = DocumentRow { key, version, value: Some(members.encode()), changed_us };
    Fact::new(RecordKind::DocumentPut, hash_of(&key)).with(Row::Document(Box::new(row)))
}

/// Writes the first entry of a group's log, the same at every member: who founded it, and when.
///
/// # Errors
/// As [`Log::append`].
pub fn found(log: &mut Log, members: &Members, founded_us: u64) -> Result<(), AppendError> {
    let fact = group_fact(members, 1, founded_us);
    let mut payload = Vec::new();
    fact.encode(&mut RowEncoder::default(), &mut payload);
    let mut frame = FrameBuf::new();
    frame.push(fact.kind as u16, fact.key_hash, &payload);
    log.set_term(0);
    log.append_flagged(&mut frame, founded_us, FLAG_MEMBERS).map(drop)
}

/// Why a store does not tell the group.
#[derive(Debug, thiserror::Error)]
pub enum StoredGroupError {
    /// It cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// Its document does not hold a group.
    #[error(transparent)]
    Members(#[from] MembersError),
}

/// The group as of what a store has applied; `None` if that is nothing about it.
///
/// # Errors
/// [`StoredGroupError`].
pub fn stored_group(stored: &Stored) -> Result<Option<Members>, StoredGroupError> {
    let value = stored.document(&group_key())?.and_then(|row| row.value);
    Ok(value.map(|value| Members::decode(&value)).transpose()?)
}

/// The group that a flagged frame is about.
pub(super) fn members_in(frame: &FrameView<'_>) -> Result<Members, GroupRecordError> {
    let mut records = frame.records();
    let (Some(record), None) = (records.next(), records.next()) else {
        return Err(GroupRecordError::Records(frame.info().record_count));
    };
    let fact = FactView::new(record.kind, record.payload)?.read(record.key_hash)?;
    let value = fact.rows.into_iter().find_map(|row| match row {
        Row::Document(row) if row.key == group_key() => row.value,
        _ => None,
    });
    let other = GroupRecordError::Kind { expected: GROUP_KEY, found: record.kind };
    Ok(Members::decode(&value.ok_or(other)?)?)
}
