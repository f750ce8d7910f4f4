//! Documents: what services that are not hot keep. Put, delete, compare-and-set on a version.

use onrush_proto::{
    DeleteDocument, DocKey, DocumentRow, Fact, PutDocument, Receipt, RecordKind, Refusal, Row,
    command::MAX_DOCUMENT_BYTES,
};

use super::{Accepted, Context, Decision};
use crate::replication::GROUP_COLLECTION;
use crate::state::State;
use crate::tables::hash_of;

/// Puts a document and perhaps emits it as an event, in one record.
pub fn put(state: &State, context: &Context, put: &PutDocument) -> Decision {
    check_key(&put.key)?;
    if put.value.len() > MAX_DOCUMENT_BYTES {
        return Err(Refusal::Invalid { field: "value", expected: "at most 1,048,576 bytes" });
    }
    let kind = match put.emit.map(|topic| topic.document_kind()) {
        None => RecordKind::DocumentPut,
        Some(Some(kind)) => kind,
        Some(None) => {
            return Err(Refusal::Invalid { field: "emit", expected: "a topic that documents may emit" });
        }
    };
    let version = next_version(state, &put.key, put.expected)?;
    Ok(change(context, kind, put.key, version, Some(put.value.clone())))
}

/// Deletes a document. Its version goes on counting, so an old compare-and-set cannot revive it.
pub fn delete(state: &State, context: &Context, delete: &DeleteDocument) -> Decision {
    check_key(&delete.key)?;
    let alive = state.documents.row(&delete.key).is_some_and(|row| row.value.is_some());
    if !alive {
        return Err(Refusal::NotFound);
    }
    let version = next_version(state, &delete.key, delete.expected)?;
    Ok(change(context, RecordKind::DocumentDeleted, delete.key, version, None))
}

fn check_key(key: &DocKey) -> Result<(), Refusal> {
    match key.as_str().split_once('/') {
        // Who belongs to the group of a shard's log is the group's own affair.
        Some((GROUP_COLLECTION, _)) => {
            Err(Refusal::Invalid { field: "key", expected: "a collection other than cluster" })
        }
        Some((collection, id)) if !collection.is_empty() && !id.is_empty() => Ok(()),
        _ => Err(Refusal::Invalid { field: "key", expected: "collection/id" }),
    }
}

fn next_version(state: &State, key: &DocKey, expected: Option<u64>) -> Result<u64, Refusal> {
    let row = state.documents.row(key);
    let live = row.filter(|row| row.value.is_some()).map_or(0, |row| row.version);
    match expected {
        Some(expected) if expected != live => Err(Refusal::VersionMismatch { expected, found: live }),
        _ => Ok(row.map_or(0, |row| row.version) + 1),
    }
}

fn change(
    context: &Context,
    kind: RecordKind,
    key: DocKey,
    version: u64,
    value: Option<Vec<u8>>,
) -> Accepted {
    let row = DocumentRow { key, version, value, changed_us: context.now_us };
    let fact = Fact::new(kind, hash_of(&key)).with(Row::Document(Box::new(row)));
    Accepted { fact, receipt: Receipt::Document { version } }
}
