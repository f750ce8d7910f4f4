//! The record that says how far other shards have taken what this one told them: a document like any other.
//!
//! A shard's store stays behind the first record that another shard has not confirmed (`engine/src/shard/claims.rs`,
//! `engine/src/shard/returns.rs`). Confirmations reach the one that decides, in memory; its followers read of them here, so
//! that their stores go on, and whoever decides next says again only what is not confirmed.

use onrush_proto::{DocKey, DocumentRow, Fact, RecordKind, Row, Text};

use crate::tables::hash_of;

/// The document's key. Nobody else may write in its collection.
const SETTLED_KEY: &str = "cluster/settled";

fn settled_key() -> DocKey {
    Text::new(SETTLED_KEY).unwrap_or_default()
}

/// The fact that everything up to record `lsn` is confirmed.
pub(crate) fn settled_fact(lsn: u64, changed_us: u64) -> Fact {
    let key = settled_key();
    // Nothing reads the version: it rises, as positions do.
    let row = DocumentRow { key, version: lsn, value: Some(lsn.to_le_bytes().to_vec()), changed_us };
    Fact::new(RecordKind::DocumentPut, hash_of(&key)).with(Row::Document(Box::new(row)))
}

/// The record up to which everything is confirmed, if a fact says so.
pub(crate) fn settled_in(fact: &Fact) -> Option<u64> {
    if fact.kind != RecordKind::DocumentPut {
        return None;
    }
    fact.rows.iter().find_map(|row| match row {
        Row::Document(row) if row.key.as_str() == SETTLED_KEY => {
            Some(u64::from_le_bytes(row.value.as_deref()?.try_into().ok()?))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_from_its_own_document_alone() {
        assert_eq!(settled_in(&settled_fact(77, 1)), Some(77));
        let other = DocumentRow {
            key: Text::new("pages/7").unwrap(),
            version: 1,
            value: Some(vec![7; 8]),
            changed_us: 1,
        };
        let fact = |kind, row| Fact::new(kind, 0).with(Row::Document(Box::new(row)));
        assert_eq!(settled_in(&fact(RecordKind::DocumentPut, other)), None);
        let short = DocumentRow { key: settled_key(), version: 1, value: Some(vec![7]), changed_us: 1 };
        assert_eq!(settled_in(&fact(RecordKind::DocumentPut, short)), None);
    }
}
