//! A value that copies share until one of them changes it: a copy of many such costs a count for each, and who looks at
//! the copy sees all of them as they were.

use std::ops::Deref;
use std::sync::Arc;

use rkyv::boxed::{ArchivedBox, BoxResolver};
use rkyv::rancor::Fallible;
use rkyv::ser::{Allocator, Writer};
use rkyv::{Archive, Deserialize, Place, Serialize};

/// A shared value; archived as a box is.
#[derive(PartialEq, Debug, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// A value of its own.
    pub fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T: Clone> Shared<T> {
    /// The value, to be changed here and in no copy.
    pub fn change(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Archive> Archive for Shared<T> {
    type Archived = ArchivedBox<T::Archived>;
    type Resolver = BoxResolver;

    fn resolve(&self, resolver: BoxResolver, out: Place<Self::Archived>) {
        ArchivedBox::resolve_from_ref(&*self.0, resolver, out);
    }
}

impl<T, S> Serialize<S> for Shared<T>
where
    T: Serialize<S>,
    S: Fallible + Allocator + Writer + ?Sized,
{
    fn serialize(&self, serializer: &mut S) -> Result<BoxResolver, S::Error> {
        ArchivedBox::serialize_from_ref(&*self.0, serializer)
    }
}

impl<T, D> Deserialize<Shared<T>, D> for ArchivedBox<T::Archived>
where
    T: Archive,
    T::Archived: Deserialize<T, D>,
    D: Fallible + ?Sized,
{
    fn deserialize(&self, deserializer: &mut D) -> Result<Shared<T>, D::Error> {
        self.get().deserialize(deserializer).map(Shared::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_was_and_is_archived_as_a_box() {
        let mut all = vec![Shared::new(vec![1u32, 2]), Shared::default()];
        let before = all.clone();
        all[0].change().push(3);
        all[1].change().push(4);
        assert_eq!((&before[0][..], &before[1][..]), (&[1, 2][..], &[][..]));
        assert_eq!((&all[0][..], &all[1][..]), (&[1, 2, 3][..], &[4][..]));
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&all).unwrap();
        let read = rkyv::from_bytes::<Vec<Shared<Vec<u32>>>, rkyv::rancor::Error>(&bytes).unwrap();
        assert_eq!(read, all);
        let boxes = rkyv::from_bytes::<Vec<Box<Vec<u32>>>, rkyv::rancor::Error>(&bytes).unwrap();
        assert_eq!(*boxes[0], [1, 2, 3]);
    }
}
