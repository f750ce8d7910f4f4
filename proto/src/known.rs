//! Texts of the program itself, across a process boundary.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use rkyv::rancor::{Fallible, Source};
use rkyv::string::{ArchivedString, StringResolver};
use rkyv::with::{ArchiveWith, DeserializeWith, SerializeWith};
use rkyv::{Place, SerializeUnsized};

/// Most texts that are kept for good: far more than the program has. A peer that sends others gets its
/// texts replaced, and cannot fill our memory.
const TEXTS_MAX: usize = 1_024;
/// Stands for a text beyond the bound.
const ONE_TOO_MANY: &str = "a text that is not known here";

static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// Archives a `&'static str` as its text, and finds it again among the texts seen before.
#[derive(Debug)]
pub struct Known;

pub(crate) fn keep(text: &str) -> &'static str {
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text) {
        return known;
    }
    if texts.len() >= TEXTS_MAX {
        return ONE_TOO_MANY;
    }
    let kept: &'static str = String::from(text).leak();
    texts.insert(kept);
    kept
}

impl ArchiveWith<&'static str> for Known {
    type Archived = ArchivedString;
    type Resolver = StringResolver;

    fn resolve_with(field: &&'static str, resolver: StringResolver, out: Place<ArchivedString>) {
        ArchivedString::resolve_from_str(field, resolver, out);
    }
}

impl<S> SerializeWith<&'static str, S> for Known
where
    S: Fallible + ?Sized,
    S::Error: Source,
    str: SerializeUnsized<S>,
{
    fn serialize_with(field: &&'static str, serializer: &mut S) -> Result<StringResolver, S::Error> {
        ArchivedString::serialize_from_str(field, serializer)
    }
}

impl<D: Fallible + ?Sized> DeserializeWith<ArchivedString, &'static str, D> for Known {
    fn deserialize_with(field: &ArchivedString, _: &mut D) -> Result<&'static str, D::Error> {
        Ok(keep(field.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use rkyv::rancor::Error;

    use super::*;
    use crate::Refusal;

    #[test]
    fn a_refusal_comes_back_with_its_texts_and_strange_ones_are_bounded() {
        let refusal = Refusal::Invalid { field: "customer_id", expected: "1 to 39 bytes" };
        let bytes = rkyv::to_bytes::<Error>(&refusal).unwrap();
        assert_eq!(rkyv::from_bytes::<Refusal, Error>(&bytes).unwrap(), refusal);
        let first = keep("customer_id");
        assert!(std::ptr::eq(first, keep("customer_id")));
        let strange: Vec<&str> =
            (0..2 * TEXTS_MAX).map(|number| keep(&format!("strange {number}"))).collect();
        assert_eq!(strange.last(), Some(&ONE_TOO_MANY));
        assert_eq!(keep("customer_id"), "customer_id");
    }
}
