//! The nodes of a cluster, as a Welcome tells of them: behind the owners of the slots.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 528 | 8 | number of the node that says so |
//!
//! and each node:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the entry, these bytes included; a multiple of 8 |
//! | 4 | 2 | length of the address |
//! | 6 | 2 | zero |
//! | 8 | 8 | number of the node |
//! | 16 | | its address, host:port, zeros up to a multiple of 8 |

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::{FrameError, pad, unpad};

/// Most nodes of a cluster.
pub const NODES_MAX: usize = 16;
/// Most bytes of the address of one.
pub const ADDRESS_BYTES_MAX: usize = 255;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NodeBytes {
    length: U32,
    address_length: U16,
    zero: U16,
    number: U64,
}

/// A node of a cluster, and where the native protocol is spoken there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its number, from 1 on.
    pub number: u64,
    /// `host:port`, 1 to [`ADDRESS_BYTES_MAX`] bytes.
    pub address: String,
}

/// What a server says of the cluster that it is of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cluster {
    /// Its own number; 0 if it stands alone.
    own: u64,
    nodes: Vec<Node>,
}

impl Cluster {
    /// As the node with the number `own` tells of it; `None` of what no frame can say: 0 as a number, more than
    /// [`NODES_MAX`] nodes, an address of no bytes or of too many.
    pub fn new(own: u64, nodes: Vec<Node>) -> Option<Self> {
        let good = |node: &Node| node.number > 0 && (1..=ADDRESS_BYTES_MAX).contains(&node.address.len());
        (own > 0 && nodes.len() <= NODES_MAX && nodes.iter().all(good)).then_some(Self { own, nodes })
    }

    /// The number of the node that says so; 0 if it stands alone.
    pub fn own(&self) -> u64 {
        self.own
    }

    /// The nodes whose address is known.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Appends it, and says how many entries that are. Of a node that stands alone there is nothing to say.
    pub(super) fn put(&self, out: &mut Vec<u8>) -> u16 {
        if self.own == 0 {
            return 0;
        }
        out.extend_from_slice(&self.own.to_le_bytes());
        for Node { number, address } in &self.nodes {
            let at = out.len();
            let head = NodeBytes {
                length: U32::new((size_of::<NodeBytes>() + address.len()).next_multiple_of(8) as u32),
                address_length: U16::new(address.len() as u16),
                zero: U16::new(0),
                number: U64::new(*number),
            };
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(address.as_bytes());
            pad(out, at);
        }
        self.nodes.len() as u16
    }

    /// Reads what stands behind the owners.
    pub(super) fn read(count: u16, rest: &[u8]) -> Result<Self, FrameError> {
        let Some((own, mut rest)) = rest.split_first_chunk::<8>() else {
            let found = rest.len();
            let alone = count == 0 && found == 0;
            let wrong = FrameError::BodyLength { field: "own number", expected: 8, found };
            return alone.then(Self::default).ok_or(wrong);
        };
        if usize::from(count) > NODES_MAX {
            return Err(FrameError::Field { field: "nodes", expected: "at most 16" });
        }
        let mut nodes = Vec::with_capacity(count.into());
        for index in 0..count.into() {
            let (node, behind) = entry(index, rest)?;
            nodes.push(node);
            rest = behind;
        }
        if !rest.is_empty() {
            let found = usize::from(count) + 1;
            return Err(FrameError::Count { expected: count, found });
        }
        let numbers =
            FrameError::Field { field: "nodes", expected: "numbers from 1 on, each with an address" };
        Self::new(u64::from_le_bytes(*own), nodes).ok_or(numbers)
    }
}

fn entry(index: usize, bytes: &[u8]) -> Result<(Node, &[u8]), FrameError> {
    let least = size_of::<NodeBytes>();
    let length = |found| FrameError::EntryLength { index, least, most: bytes.len(), found };
    let Ok((head, _)) = NodeBytes::ref_from_prefix(bytes) else {
        return Err(length(0));
    };
    let found = head.length.get();
    let split = bytes.split_at_checked(found as usize).filter(|(entry, _)| entry.len() >= least);
    let (entry, behind) = split.ok_or(length(found))?;
    if head.zero.get() != 0 {
        return Err(FrameError::NotZero { field: "nodes.byte 6", found: head.zero.get().into() });
    }
    let address = unpad(&entry[least..], head.address_length.get().into());
    let address = address.and_then(|address| std::str::from_utf8(address).ok());
    let expected = "the length of an address in UTF-8, then zeros";
    let address = address.ok_or(FrameError::Field { field: "nodes.address", expected })?;
    Ok((Node { number: head.number.get(), address: address.to_owned() }, behind))
}

#[cfg(test)]
mod tests {
    use super::super::document::{layout, table};
    use super::super::header::{FRAME_BYTES_MAX, Frame};
    use super::super::{HEADER_BYTES, Welcome};
    use super::*;
    use crate::slot::SlotMap;

    fn node(number: u64, bytes: usize) -> Node {
        Node { number, address: "a".repeat(bytes) }
    }

    fn frame_of(cluster: Cluster) -> Vec<u8> {
        let mut out = Vec::new();
        Welcome::new(1, SlotMap::new(3).unwrap(), 1 << 20, 5).of(cluster).write(&mut out);
        out
    }

    fn read(count: u16, rest: &[u8]) -> Result<Cluster, String> {
        Cluster::read(count, rest).map_err(|error| error.to_string().split(':').next().unwrap().to_owned())
    }

    #[test]
    fn a_welcome_tells_of_every_node() {
        let many = (1..=NODES_MAX as u64).map(|number| node(number, number as usize)).collect();
        for (own, nodes) in
            [(7, vec![]), (1, vec![node(1, 1)]), (u64::MAX, vec![node(3, ADDRESS_BYTES_MAX)]), (2, many)]
        {
            let cluster = Cluster::new(own, nodes).unwrap();
            let out = frame_of(cluster.clone());
            let (frame, _) = Frame::read(&out, FRAME_BYTES_MAX).unwrap().unwrap();
            assert_eq!(Welcome::read(&frame).unwrap().cluster(), &cluster);
            for length in 528..frame.body.len() {
                let cut = Frame { body: &frame.body[..length], ..frame };
                let alone = length == 528 && frame.count == 0;
                assert_eq!(Welcome::read(&cut).is_ok(), alone, "cut at {length}");
            }
        }
        let alone = frame_of(Cluster::default());
        assert_eq!(alone.len(), HEADER_BYTES + 528, "a server that stands alone says no more than it did");
        assert_eq!(table("Welcome", 1)[0][..2], ["528".to_owned(), "8".to_owned()]);
        let (offsets, size) = layout!(NodeBytes { length, address_length, zero, number });
        let told: Vec<usize> = table("Welcome", 2).iter().map(|row| row[0].parse().unwrap()).collect();
        assert_eq!(told, [&offsets[..], &[size]].concat());
    }

    #[test]
    fn what_no_cluster_is_is_refused() {
        for (own, nodes) in [
            (0, vec![node(1, 1)]),
            (1, vec![node(0, 1)]),
            (1, vec![node(1, 0)]),
            (1, vec![node(1, ADDRESS_BYTES_MAX + 1)]),
            (1, vec![node(1, 1); NODES_MAX + 1]),
        ] {
            assert_eq!(Cluster::new(own, nodes.clone()), None, "{own} {nodes:?}");
        }
        let mut good = Vec::new();
        let count = Cluster::new(1, vec![node(2, 3)]).unwrap().put(&mut good);
        assert_eq!((count, read(1, &good).is_ok()), (1, true));
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let long = |count: usize| {
            let mut bytes = Vec::new();
            bytes.extend_from_slice(&1u64.to_le_bytes());
            (0..count).for_each(|_| bytes.extend_from_slice(&good[8..]));
            bytes
        };
        let table: [(&str, u16, Vec<u8>, &str); 10] = [
            ("no number", 0, changed(0, 0)[..8].to_vec(), "nodes"),
            ("a number that is cut", 0, good[..7].to_vec(), "own number"),
            ("nodes without a number", 1, vec![], "own number"),
            ("one more than counted", 0, good.clone(), "count"),
            ("one less", 2, good.clone(), "entries[1].length"),
            ("an entry that is too short", 1, changed(8, 8), "entries[0].length"),
            ("an entry that is too long", 1, changed(8, 32), "entries[0].length"),
            ("no zero", 1, changed(14, 1), "nodes.byte 6"),
            ("an address that is longer than its entry", 1, changed(12, 9), "nodes.address"),
            ("seventeen", 17, long(17), "nodes"),
        ];
        for (what, count, bytes, expected) in table {
            assert_eq!(read(count, &bytes), Err(expected.to_owned()), "{what}");
        }
        assert_eq!(read(1, &changed(24, 0xff)), Err("nodes.address".into()), "no UTF-8");
        assert_eq!(read(1, &changed(31, 1)), Err("nodes.address".into()), "no zeros behind it");
    }
}
