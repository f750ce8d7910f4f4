//! TLS 1.3 of the native protocol: who a server is, and whom a client believes. One protocol name, no early data.

mod identity;
mod mutual;
mod trust;

pub use identity::{Identity, IdentityError, Part};
pub use mutual::{Mutual, MutualError};
pub use trust::{Trust, TrustError};

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

/// What the protocol is called when a connection is agreed on (ALPN).
pub const ALPN: &[u8] = b"onrush/1";

/// The only version of TLS that is spoken: the one that QUIC has.
pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The one provider of the tree, whatever else a process may have installed.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
