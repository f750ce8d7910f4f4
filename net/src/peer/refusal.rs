//! Why one node does not speak with another: what it says when it ends a connection.

use quinn::{ConnectionError, VarInt};

use super::{ADVERTISED_BYTES_MAX, ClusterId, PEER_VERSION};

/// The code of an end that is no refusal.
pub(super) const LEFT: VarInt = VarInt::from_u32(0);

/// TLS errors have these codes: 0x100 and an alert.
const ALERTS: std::ops::Range<u64> = 0x100..0x200;

/// Why a node refuses another one. Its number is the code with which a connection is closed; what was
/// expected and what was found stand in the reason.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum PeerRefusal {
    /// 1: it speaks another version of the protocol.
    #[error("version: expected {expected}, found {found}")]
    Version {
        /// That of the one who refuses.
        expected: u64,
        /// That of the other.
        found: u64,
    },
    /// 2: it is of another cluster.
    #[error("cluster: expected {expected}, found {found}")]
    Cluster {
        /// That of the one who refuses.
        expected: ClusterId,
        /// That of the other.
        found: ClusterId,
    },
    /// 3: it says that it is of the cluster and does not show that it knows the key, on this connection.
    #[error("proof: expected one by the key of the cluster, found another")]
    Proof,
    /// 4: it wants to speak with another node, or another one than was called has answered.
    #[error("addressee: expected node {expected}, found node {found}")]
    Addressee {
        /// The node that there is.
        expected: u64,
        /// The one that was meant, or has answered.
        found: u64,
    },
    /// 5: it has the number of another process: of the one that refuses, or of the one that answers at that node's address.
    #[error("node: expected another number than {node}, which another process has")]
    DuplicateNode {
        /// The number of both.
        node: u64,
    },
    /// 6: it is no member, or not any more.
    #[error("node: expected a member of the cluster, found node {node}")]
    UnknownNode {
        /// Its number.
        node: u64,
    },
    /// 7: another process with the same number has connected since. The newer one replaces the older.
    #[error("node: expected one process of node {node}, found a newer one")]
    Replaced {
        /// The number of both.
        node: u64,
    },
    /// 8: a message is longer than is read.
    #[error("message: expected at most {most} bytes, found {found}")]
    MessageBytes {
        /// The bound.
        most: u64,
        /// What the message claims.
        found: u64,
    },
    /// 9: what it says of itself is longer than is read.
    #[error("advertised: expected at most {most} bytes, found {found}")]
    Advertised {
        /// The bound.
        most: u64,
        /// What the greeting claims.
        found: u64,
    },
    /// 10: what it said first is no greeting.
    #[error("expected a greeting, found something else")]
    Garbage,
    /// 11: it did not say in time who it is.
    #[error("expected a greeting soon, found nothing for too long")]
    Late,
    /// TLS has ended the handshake: a certificate that nobody vouches for, or none at all, or another protocol.
    #[error("tls: {found}")]
    Tls {
        /// What was said.
        found: String,
    },
    /// A refusal that this version does not know.
    #[error("expected a refusal of 1 to 11, found {code}")]
    Unknown {
        /// Its number.
        code: u64,
    },
}

impl PeerRefusal {
    /// Its number; that of TLS has none.
    pub fn code(&self) -> u64 {
        match self {
            Self::Version { .. } => 1,
            Self::Cluster { .. } => 2,
            Self::Proof => 3,
            Self::Addressee { .. } => 4,
            Self::DuplicateNode { .. } => 5,
            Self::UnknownNode { .. } => 6,
            Self::Replaced { .. } => 7,
            Self::MessageBytes { .. } => 8,
            Self::Advertised { .. } => 9,
            Self::Garbage => 10,
            Self::Late => 11,
            Self::Tls { .. } => ALERTS.start,
            Self::Unknown { code } => *code,
        }
    }

    /// What was expected and what was found, as it travels.
    fn reason(&self) -> Vec<u8> {
        match self {
            Self::Version { expected, found }
            | Self::Addressee { expected, found }
            | Self::MessageBytes { most: expected, found }
            | Self::Advertised { most: expected, found } => {
                [expected.to_le_bytes(), found.to_le_bytes()].concat()
            }
            Self::Cluster { expected, found } => [expected.0, found.0].concat(),
            Self::DuplicateNode { node } | Self::UnknownNode { node } | Self::Replaced { node } => {
                node.to_le_bytes().to_vec()
            }
            Self::Proof | Self::Garbage | Self::Late | Self::Tls { .. } | Self::Unknown { .. } => Vec::new(),
        }
    }

    /// What another node has said. A reason that is too short is taken as zeros: it is only told to people.
    fn read(code: u64, reason: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let length = reason.len().min(bytes.len());
        bytes[..length].copy_from_slice(&reason[..length]);
        let (first, second) = bytes.split_at(16);
        let half = |half: &[u8]| half.try_into().map_or([0; 16], |half| half);
        let whole = u128::from_le_bytes(half(first));
        // Two numbers of eight bytes.
        let (expected, found) = (whole as u64, (whole >> 64) as u64);
        match code {
            1 => Self::Version { expected, found },
            2 => Self::Cluster { expected: ClusterId(half(first)), found: ClusterId(half(second)) },
            3 => Self::Proof,
            4 => Self::Addressee { expected, found },
            5 => Self::DuplicateNode { node: expected },
            6 => Self::UnknownNode { node: expected },
            7 => Self::Replaced { node: expected },
            8 => Self::MessageBytes { most: expected, found },
            9 => Self::Advertised { most: expected, found },
            10 => Self::Garbage,
            11 => Self::Late,
            code => Self::Unknown { code },
        }
    }

    /// Ends a connection with it.
    pub(super) fn close(&self, connection: &quinn::Connection) {
        // Codes are small.
        let code = VarInt::from_u32(u32::try_from(self.code()).unwrap_or(u32::MAX));
        connection.close(code, &self.reason());
    }

    pub(super) fn version(found: u16) -> Self {
        Self::Version { expected: PEER_VERSION.into(), found: found.into() }
    }

    pub(super) fn advertised(found: usize) -> Self {
        Self::Advertised { most: ADVERTISED_BYTES_MAX as u64, found: found as u64 }
    }
}

/// Who has refused whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RefusedBy {
    /// This node has refused the other.
    Us,
    /// The other has refused this node.
    Them,
}

/// A refusal, and whose it was.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerRefused {
    /// Who has refused.
    pub by: RefusedBy,
    /// Why.
    pub refusal: PeerRefusal,
}

impl PeerRefused {
    pub(super) fn by_us(refusal: PeerRefusal) -> Self {
        Self { by: RefusedBy::Us, refusal }
    }

    /// What the end of a connection says, if it is a refusal: a line that broke refuses nobody.
    pub(super) fn of(error: &ConnectionError) -> Option<Self> {
        let tls = |found: String| PeerRefusal::Tls { found };
        match error {
            ConnectionError::ApplicationClosed(close) if close.error_code != LEFT => {
                let refusal = PeerRefusal::read(close.error_code.into(), &close.reason);
                Some(Self { by: RefusedBy::Them, refusal })
            }
            ConnectionError::ConnectionClosed(close) if ALERTS.contains(&u64::from(close.error_code)) => {
                Some(Self { by: RefusedBy::Them, refusal: tls(close.to_string()) })
            }
            ConnectionError::TransportError(error) if ALERTS.contains(&u64::from(error.code)) => {
                Some(Self::by_us(tls(error.to_string())))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_arrive_as_they_were_said() {
        let (expected, found) = (u64::MAX - 1, 7);
        let ids = (ClusterId([1; 16]), ClusterId([2; 16]));
        let all = [
            PeerRefusal::Version { expected, found },
            PeerRefusal::Cluster { expected: ids.0, found: ids.1 },
            PeerRefusal::Proof,
            PeerRefusal::Addressee { expected, found },
            PeerRefusal::DuplicateNode { node: expected },
            PeerRefusal::UnknownNode { node: expected },
            PeerRefusal::Replaced { node: expected },
            PeerRefusal::MessageBytes { most: expected, found },
            PeerRefusal::Advertised { most: expected, found },
            PeerRefusal::Garbage,
            PeerRefusal::Late,
        ];
        for (refusal, code) in all.iter().zip(1..) {
            assert_eq!(refusal.code(), code);
            assert_eq!(PeerRefusal::read(code, &refusal.reason()), *refusal);
        }
        assert_eq!(PeerRefusal::read(99, b"what"), PeerRefusal::Unknown { code: 99 });
        assert_eq!(PeerRefusal::read(6, &[7]), PeerRefusal::UnknownNode { node: 7 });
    }
}
