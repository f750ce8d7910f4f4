//! What all nodes of a cluster know and nobody else does.

use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256, Tag};

use super::PeerError;

/// What the public name of a cluster is drawn from, with the key.
const ID_LABEL: &[u8] = b"onrush cluster id";

/// The public name of a cluster: it follows from the key, and nobody comes from it to the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The secret of a cluster, by which its nodes know each other: 32 bytes of chance. It is never printed.
#[derive(Clone)]
pub struct ClusterKey {
    bytes: [u8; Self::BYTES],
    hmac: hmac::Key,
}

impl ClusterKey {
    /// Bytes of a key.
    pub const BYTES: usize = 32;

    /// The key of these bytes.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self { bytes, hmac: hmac::Key::new(HMAC_SHA256, &bytes) }
    }

    /// A new one.
    pub fn generate() -> Result<Self, PeerError> {
        let mut bytes = [0; Self::BYTES];
        random(&mut bytes)?;
        Ok(Self::new(bytes))
    }

    /// The secret itself, for the file that keeps it.
    pub fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.bytes
    }

    /// The public name of the cluster that has this key.
    pub fn id(&self) -> ClusterId {
        let tag = hmac::sign(&self.hmac, ID_LABEL);
        let mut id = [0; 16];
        id.copy_from_slice(&tag.as_ref()[..16]);
        ClusterId(id)
    }

    /// The proof that somebody who says these parts has the key.
    pub(super) fn prove(&self, parts: &[&[u8]]) -> Tag {
        let mut context = hmac::Context::with_key(&self.hmac);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKey(of cluster {})", self.id())
    }
}

/// Fills it with bytes that nobody can guess.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), PeerError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| PeerError::Chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed_and_its_name_follows_from_it() {
        let key = ClusterKey::new([0xab; 32]);
        let printed = format!("{key:?}");
        assert!(!printed.contains("abab") && !printed.contains("171"), "{printed}");
        assert_eq!(key.id(), ClusterKey::new([0xab; 32]).id());
        assert_ne!(key.id(), ClusterKey::new([0xac; 32]).id());
        assert!(printed.contains(&key.id().to_string()));
        let generated = ClusterKey::generate().unwrap();
        assert_ne!(generated.bytes(), ClusterKey::generate().unwrap().bytes());
    }
}
