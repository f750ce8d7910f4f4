//! Who a node is: the first thing that is said on a connection, by both sides. It comes from strangers.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `ONRUSH\nP` |
//! | 8 | 2 | version of the protocol |
//! | 10 | 2 | length of the advertised text |
//! | 12 | 4 | most bytes of a message that the speaker reads |
//! | 16 | 16 | the cluster |
//! | 32 | 8 | the speaker's number |
//! | 40 | 8 | number of the node that it wants to speak with |
//! | 48 | 16 | the speaker's process: random bytes of its start |
//! | 64 | | advertised text |
//! | | 32 | proof |

use std::io::{self, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{ADVERTISED_BYTES_MAX, ClusterId, ClusterKey, PeerError, PeerRefusal};

/// The version of all that nodes say to each other, what they hand over among it. The first ten bytes of a greeting are the same
/// in all versions.
pub const PEER_VERSION: u16 = 7;

const MAGIC: [u8; 8] = *b"ONRUSH\nP";
pub(super) const HEAD_BYTES: usize = 64;
const PROOF_BYTES: usize = 32;
/// Most bytes of a greeting.
pub(super) const GREETING_BYTES_MAX: usize = HEAD_BYTES + ADVERTISED_BYTES_MAX + PROOF_BYTES;

/// What a proof is about, so that none is taken for another one.
const DIALLER_LABEL: &[u8] = b"onrush peer 1 dialler";
const LISTENER_LABEL: &[u8] = b"onrush peer 1 listener";
/// What is exported from TLS: it differs on each connection, and for each half of one that somebody stands
/// between.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-onrush-peer-1";

/// A process of a node: one that was started again is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Instance(pub(super) [u8; 16]);

impl Instance {
    pub(super) fn new() -> Result<Self, PeerError> {
        let mut bytes = [0; 16];
        super::key::random(&mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Who speaks, and with whom it wants to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Greeting {
    pub(super) cluster: ClusterId,
    pub(super) node: u64,
    pub(super) wanted: u64,
    pub(super) instance: Instance,
    /// Most bytes of a message that the speaker reads.
    pub(super) message_bytes_max: u32,
    pub(super) advertised: String,
}

impl Greeting {
    /// All but the proof.
    fn encode(&self) -> Vec<u8> {
        // What is said of a node was checked at its start.
        let length = u16::try_from(self.advertised.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(GREETING_BYTES_MAX);
        bytes.extend(MAGIC);
        bytes.extend(PEER_VERSION.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.message_bytes_max.to_le_bytes());
        bytes.extend(self.cluster.0);
        bytes.extend(self.node.to_le_bytes());
        bytes.extend(self.wanted.to_le_bytes());
        bytes.extend(self.instance.0);
        bytes.extend(self.advertised.as_bytes());
        bytes
    }

    fn decode(head: &[u8; HEAD_BYTES], advertised: String) -> Self {
        Self {
            cluster: ClusterId(field(head, 16)),
            node: u64::from_le_bytes(field(head, 32)),
            wanted: u64::from_le_bytes(field(head, 40)),
            instance: Instance(field(head, 48)),
            message_bytes_max: u32::from_le_bytes(field(head, 12)),
            advertised,
        }
    }
}

/// The bytes from an offset on. The head has them all.
fn field<const N: usize>(head: &[u8; HEAD_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|index| head[at + index])
}

/// A greeting that was read: its proof is not checked yet.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) greeting: Greeting,
    /// All but the proof, as it arrived.
    bytes: Vec<u8>,
    proof: [u8; PROOF_BYTES],
}

impl Heard {
    /// Reads one. The outer error: the connection is gone.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Result<Self, PeerRefusal>> {
        let mut head = [0; HEAD_BYTES];
        let (first, rest) = head.split_at_mut(MAGIC.len() + 2);
        if !whole(stream.read_exact(first).await)? || first[..MAGIC.len()] != MAGIC {
            return Ok(Err(PeerRefusal::Garbage));
        }
        let version = u16::from_le_bytes([first[8], first[9]]);
        if version != PEER_VERSION {
            return Ok(Err(PeerRefusal::version(version)));
        }
        if !whole(stream.read_exact(rest).await)? {
            return Ok(Err(PeerRefusal::Garbage));
        }
        let length = usize::from(u16::from_le_bytes(field(&head, 10)));
        if length > ADVERTISED_BYTES_MAX {
            return Ok(Err(PeerRefusal::advertised(length)));
        }
        let (mut text, mut proof) = (vec![0; length], [0; PROOF_BYTES]);
        if !whole(stream.read_exact(&mut text).await)? || !whole(stream.read_exact(&mut proof).await)? {
            return Ok(Err(PeerRefusal::Garbage));
        }
        let bytes = [&head[..], &text].concat();
        let Ok(advertised) = String::from_utf8(text) else { return Ok(Err(PeerRefusal::Garbage)) };
        Ok(Ok(Self { greeting: Greeting::decode(&head, advertised), bytes, proof }))
    }
}

/// True if all bytes came; false if the stream ended before.
fn whole(read: io::Result<usize>) -> io::Result<bool> {
    match read {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What proofs on one connection rest on: the key, and what only the two ends of its TLS have.
pub(super) struct Channel<'a> {
    key: &'a ClusterKey,
    exported: [u8; 32],
}

impl<'a> Channel<'a> {
    pub(super) fn new(key: &'a ClusterKey, connection: &quinn::Connection) -> Result<Self, PeerRefusal> {
        let mut exported = [0; 32];
        match connection.export_keying_material(&mut exported, EXPORTER_LABEL, &[]) {
            Ok(()) => Ok(Self { key, exported }),
            // Only a length that nothing has is refused.
            Err(_) => Err(PeerRefusal::Proof),
        }
    }

    /// The greeting of the side that calls, with its proof.
    pub(super) fn call(&self, greeting: &Greeting) -> Vec<u8> {
        let bytes = greeting.encode();
        self.seal(bytes, DIALLER_LABEL, &[])
    }

    /// Checks what the side that calls has said.
    pub(super) fn check_call(&self, heard: &Heard) -> Result<(), PeerRefusal> {
        self.check(heard, DIALLER_LABEL, &[])
    }

    /// The greeting of the side that is called, with its proof, which is about both greetings.
    pub(super) fn answer(&self, greeting: &Greeting, heard: &Heard) -> Vec<u8> {
        self.seal(greeting.encode(), LISTENER_LABEL, &heard.bytes)
    }

    /// Checks what the side that is called has said to what was said to it.
    pub(super) fn check_answer(&self, heard: &Heard, called: &[u8]) -> Result<(), PeerRefusal> {
        let said = called.len().saturating_sub(PROOF_BYTES);
        self.check(heard, LISTENER_LABEL, &called[..said])
    }

    fn seal(&self, mut bytes: Vec<u8>, label: &[u8], before: &[u8]) -> Vec<u8> {
        let proof = self.key.prove(&[label, &self.exported, before, &bytes]);
        bytes.extend(proof.as_ref());
        bytes
    }

    fn check(&self, heard: &Heard, label: &[u8], before: &[u8]) -> Result<(), PeerRefusal> {
        let proof = self.key.prove(&[label, &self.exported, before, &heard.bytes]);
        let equal = aws_lc_rs::constant_time::verify_slices_are_equal(proof.as_ref(), &heard.proof);
        equal.map_err(|_| PeerRefusal::Proof)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(mut bytes: &[u8]) -> (Result<Heard, PeerRefusal>, usize) {
        let all = bytes.len();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let heard = runtime.block_on(Heard::read(&mut bytes)).unwrap();
        (heard, all - bytes.len())
    }

    fn greeting(advertised: String) -> Greeting {
        Greeting {
            cluster: ClusterId([7; 16]),
            node: 1,
            wanted: u64::MAX,
            instance: Instance([9; 16]),
            message_bytes_max: 9 << 20,
            advertised,
        }
    }

    proptest! {
        #[test]
        fn a_greeting_is_read_as_it_was_said_and_cut_off_anywhere_it_is_none(
            advertised in "\\PC{0,200}", proof in any::<[u8; PROOF_BYTES]>(), cut in any::<prop::sample::Index>()
        ) {
            let said = greeting(advertised);
            let mut bytes = said.encode();
            bytes.extend(proof);
            let (heard, taken) = read(&bytes);
            let heard = heard.unwrap();
            prop_assert_eq!((&heard.greeting, heard.proof, taken), (&said, proof, bytes.len()));
            let (heard, _) = read(&bytes[..cut.index(bytes.len())]);
            prop_assert!(matches!(heard, Err(PeerRefusal::Garbage)), "{heard:?}");
        }

        #[test]
        fn whatever_strangers_say_no_more_is_taken_than_a_greeting_has(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..2 * GREETING_BYTES_MAX),
            changes in proptest::collection::vec((0..HEAD_BYTES, any::<u8>()), 0..4),
            is_near in any::<bool>()
        ) {
            if is_near {
                // Almost one: with changes in the head, and anything behind it.
                let mut near = greeting(String::new()).encode();
                changes.iter().for_each(|(at, byte)| near[*at] = *byte);
                bytes.splice(0..0, near);
            }
            let (heard, taken) = read(&bytes);
            prop_assert!(taken <= GREETING_BYTES_MAX);
            if let Ok(heard) = heard {
                let said = &bytes[..taken - PROOF_BYTES];
                prop_assert_eq!(heard.greeting.encode(), said);
                prop_assert_eq!(heard.bytes, said);
            }
        }
    }
}
