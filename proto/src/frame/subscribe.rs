//! What a client wants to follow, and what it says of it afterwards.
//!
//! The body of a frame of [`Kind::Subscribe`]:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | number of the subscription, the client's own |
//! | 8 | 8 | first position; 0 = behind the group's, 2^64 - 1 = what comes from now on |
//! | 16 | 48 | group, a text of 47; empty = none |
//! | 64 | 4 | credit to begin with, in bytes of records |
//! | 68 | 2 | shard |
//! | 70 | 1 | topic; 0 = all |
//! | 71 | 1 | zero |
//!
//! Of [`Kind::Grant`]:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | number of the subscription |
//! | 8 | 4 | more credit, in bytes of records |
//! | 12 | 4 | zero |
//!
//! Of [`Kind::Unsubscribe`]: the number of the subscription, 8 bytes.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::{Frame, FrameError, Kind, begin};
use super::text::WireText;
use crate::fact::Topic;
use crate::refusal::Refusal;
use crate::slot::{Lsn, ShardId};
use crate::text::Text;

/// Stands for the end of the log.
const NOW: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SubscribeBytes {
    subscription: U64,
    from: U64,
    group: WireText<47>,
    credit: U32,
    shard: U16,
    topic: u8,
    zero: u8,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GrantBytes {
    subscription: U64,
    bytes: U32,
    zero: U32,
}

/// Where a subscription begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// With this record, or the next one if it is not there yet; from 1 on.
    At(Lsn),
    /// Behind the position that the group has committed.
    Group,
    /// With what comes from now on.
    Now,
}

/// What is wanted of one shard's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe {
    /// Whose log.
    pub shard: ShardId,
    /// Which records; `None` = those of every topic.
    pub topic: Option<Topic>,
    /// For which group somebody reads; empty = none.
    pub group: Text<47>,
    /// Where it begins.
    pub from: Start,
}

impl Subscribe {
    /// Appends the frame: a subscription of this number, with credit for so many bytes of records.
    pub fn write(&self, out: &mut Vec<u8>, subscription: u64, credit: u32) {
        let frame = begin(out, Kind::Subscribe);
        let bytes = SubscribeBytes {
            subscription: U64::new(subscription),
            from: U64::new(match self.from {
                Start::At(lsn) => lsn.0,
                Start::Group => 0,
                Start::Now => NOW,
            }),
            group: (&self.group).into(),
            credit: U32::new(credit),
            shard: U16::new(self.shard.0),
            topic: topic_number(self.topic),
            zero: 0,
        };
        out.extend_from_slice(bytes.as_bytes());
        frame.seal(out, 0, 0);
    }
}

/// The number of a topic; 0 = all.
fn topic_number(topic: Option<Topic>) -> u8 {
    topic.map_or(0, |topic| topic as u8)
}

/// The topic of a number.
pub(super) fn topic(number: u8) -> Option<Topic> {
    Topic::ALL.into_iter().find(|topic| *topic as u8 == number)
}

/// A frame of [`Kind::Subscribe`], in place.
#[derive(Clone, Copy, Debug)]
pub struct SubscribeView<'a> {
    bytes: &'a SubscribeBytes,
}

impl<'a> SubscribeView<'a> {
    /// What a frame says.
    pub fn of(frame: &Frame<'a>) -> Result<Self, FrameError> {
        let bytes: &SubscribeBytes = whole(frame, Kind::Subscribe, "Subscribe")?;
        match bytes.zero {
            0 => Ok(Self { bytes }),
            found => Err(FrameError::NotZero { field: "byte 71", found: found.into() }),
        }
    }

    /// The number of the subscription.
    pub fn subscription(&self) -> u64 {
        self.bytes.subscription.get()
    }

    /// Bytes of records that may come before more are granted.
    pub fn credit(&self) -> u32 {
        self.bytes.credit.get()
    }

    /// What is wanted, or why that is never right.
    pub fn wanted(&self) -> Result<Subscribe, Refusal> {
        let invalid = |field, expected| Refusal::Invalid { field, expected };
        let SubscribeBytes { from, group, shard, topic: number, .. } = self.bytes;
        let group = group.text().ok_or(invalid("group", "UTF-8 with zeros behind it"))?;
        let topic = match (*number, topic(*number)) {
            (0, _) if !group.is_empty() => return Err(invalid("topic", "one of 1 to 16 with a group")),
            (0, _) => None,
            (_, None) => return Err(invalid("topic", "0 to 16")),
            (_, topic) => topic,
        };
        let from = match from.get() {
            0 if group.is_empty() => return Err(invalid("from", "1 or later, or a group")),
            0 => Start::Group,
            NOW => Start::Now,
            lsn => Start::At(Lsn(lsn)),
        };
        Ok(Subscribe { shard: ShardId(shard.get()), topic, group, from })
    }
}

/// More credit for a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The number of the subscription.
    pub subscription: u64,
    /// Bytes of records.
    pub bytes: u32,
}

impl Grant {
    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let frame = begin(out, Kind::Grant);
        let bytes = GrantBytes {
            subscription: U64::new(self.subscription),
            bytes: U32::new(self.bytes),
            zero: U32::new(0),
        };
        out.extend_from_slice(bytes.as_bytes());
        frame.seal(out, 0, 0);
    }

    /// What a frame says.
    pub fn of(frame: &Frame<'_>) -> Result<Self, FrameError> {
        let bytes: &GrantBytes = whole(frame, Kind::Grant, "Grant")?;
        match bytes.zero.get() {
            0 => Ok(Self { subscription: bytes.subscription.get(), bytes: bytes.bytes.get() }),
            found => Err(FrameError::NotZero { field: "byte 12", found }),
        }
    }
}

/// That nothing more is wanted of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe {
    /// The number of the subscription.
    pub subscription: u64,
}

impl Unsubscribe {
    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let frame = begin(out, Kind::Unsubscribe);
        out.extend_from_slice(&self.subscription.to_le_bytes());
        frame.seal(out, 0, 0);
    }

    /// What a frame says.
    pub fn of(frame: &Frame<'_>) -> Result<Self, FrameError> {
        let subscription: &U64 = whole(frame, Kind::Unsubscribe, "Unsubscribe")?;
        Ok(Self { subscription: subscription.get() })
    }
}

/// The only thing that a frame of this kind says.
fn whole<'a, T>(frame: &Frame<'a>, kind: Kind, name: &'static str) -> Result<&'a T, FrameError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    let body = frame.bare(kind, name)?;
    let (expected, found) = (size_of::<T>(), body.len());
    T::ref_from_bytes(body).map_err(|_| FrameError::BodyLength { field: name, expected, found })
}

#[cfg(test)]
mod tests {
    use super::super::FRAME_BYTES_MAX;
    use super::super::document::table;
    use super::super::tests::text;
    use super::*;

    fn parsed(bytes: &[u8]) -> Frame<'_> {
        Frame::read(bytes, FRAME_BYTES_MAX).unwrap().unwrap().0
    }

    fn wanted(from: Start, topic: Option<Topic>, group: &str) -> Subscribe {
        Subscribe { shard: ShardId(3), topic, group: text(group), from }
    }

    #[test]
    fn what_is_wanted_comes_over_as_it_is() {
        for wanted in [
            wanted(Start::At(Lsn(1)), None, ""),
            wanted(Start::At(Lsn(u64::MAX - 1)), Some(Topic::PasswordResetAsked), "books"),
            wanted(Start::Group, Some(Topic::StockUpdated), "books"),
            wanted(Start::Now, None, ""),
        ] {
            let mut out = Vec::new();
            wanted.write(&mut out, 7, 9);
            let view = SubscribeView::of(&parsed(&out)).unwrap();
            assert_eq!((view.subscription(), view.credit(), view.wanted()), (7, 9, Ok(wanted)));
        }
        let mut out = Vec::new();
        let grant = Grant { subscription: u64::MAX, bytes: 5 };
        grant.write(&mut out);
        assert_eq!(Grant::of(&parsed(&out)), Ok(grant));
        out.clear();
        Unsubscribe { subscription: 8 }.write(&mut out);
        assert_eq!(Unsubscribe::of(&parsed(&out)), Ok(Unsubscribe { subscription: 8 }));
    }

    #[test]
    fn what_is_never_right_is_refused_by_itself() {
        let refused = |wanted: Subscribe, change: &dyn Fn(&mut [u8])| {
            let mut out = Vec::new();
            wanted.write(&mut out, 7, 9);
            let frame = parsed(&out);
            let mut body = frame.body.to_vec();
            change(&mut body);
            match SubscribeView::of(&Frame { body: &body, ..frame }).unwrap().wanted() {
                Err(Refusal::Invalid { field, .. }) => field,
                other => panic!("expected a refusal, found {other:?}"),
            }
        };
        let good = wanted(Start::At(Lsn(1)), None, "");
        assert_eq!(refused(wanted(Start::Group, None, ""), &|_| ()), "from");
        assert_eq!(refused(wanted(Start::Group, None, "books"), &|_| ()), "topic");
        assert_eq!(refused(good, &|body| body[70] = 18), "topic");
        assert_eq!(refused(good, &|body| body[63] = 48), "group");
        assert_eq!(refused(good, &|body| body[20] = 1), "group");
    }

    #[test]
    fn a_frame_of_another_length_or_with_something_where_zeros_stand_is_broken() {
        let mut out = Vec::new();
        wanted(Start::Now, None, "").write(&mut out, 7, 9);
        let frame = parsed(&out);
        for length in 0..frame.body.len() {
            assert!(SubscribeView::of(&Frame { body: &frame.body[..length], ..frame }).is_err());
        }
        let mut body = frame.body.to_vec();
        body[71] = 1;
        assert!(SubscribeView::of(&Frame { body: &body, ..frame }).is_err());
        assert!(SubscribeView::of(&Frame { count: 1, ..frame }).is_err());
        let mut out = Vec::new();
        Grant { subscription: 1, bytes: 5 }.write(&mut out);
        let frame = parsed(&out);
        let mut body = frame.body.to_vec();
        body[12] = 1;
        assert!(Grant::of(&Frame { body: &body, ..frame }).is_err());
        assert!(Unsubscribe::of(&Frame { kind: Kind::Unsubscribe, ..frame }).is_err());
    }

    #[test]
    fn the_document_has_every_topic() {
        let rows = table("Topics", 0);
        let rows: Vec<_> = rows.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        let known = Topic::ALL.map(|topic| ((topic as u8).to_string(), format!("`{topic}`")));
        assert_eq!(rows, known);
    }
}
