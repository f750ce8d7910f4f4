//! What can go wrong with a target as a whole.

use std::path::PathBuf;

/// Why a target cannot be loaded, or did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The directory cannot be had.
    #[error("expected a data directory that can be written, found {dir}: {source}")]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directory holds something.
    #[error(
        "expected an empty data directory (the audit counts from zero), found {entries} entries in {dir}"
    )]
    NotEmpty {
        /// Which.
        dir: PathBuf,
        /// How many.
        entries: usize,
    },
    /// The engine does not open.
    #[error("the engine does not open: {0}")]
    Open(#[from] onrush_engine::OpenError),
    /// The engine cannot check its books.
    #[error("the engine's books cannot be checked: {0}")]
    Audit(#[from] onrush_engine::audit::AuditError),
    /// The engine's events cannot be read.
    #[error("the engine's events cannot be read: {0}")]
    Events(#[from] onrush_engine::SubscribeError),
    /// The engine's events break off.
    #[error(
        "the engine's events: expected record {expected} of shard {shard} within 10 s, found {found} the last"
    )]
    EventsEnd {
        /// Of which shard.
        shard: u16,
        /// Its last record.
        expected: u64,
        /// The last one that came.
        found: u64,
    },
    /// An address that is none.
    #[error("expected host:port, found {0:?}")]
    Address(String),
    /// The engine cannot be asked.
    #[error("the engine cannot be asked: {0}")]
    Ask(#[from] onrush_services::status::Rejection),
    /// The server's engine does not let us in.
    #[error("{0}")]
    Remote(#[from] onrush_services::remote::RemoteError),
    /// The engine does not close.
    #[error("the engine did not close in good order: {0}")]
    Close(#[from] onrush_engine::CloseError),
    /// The server's settings do not fit together.
    #[error("the server's settings: {0}")]
    Config(#[from] onrush_services::config::ConfigError),
    /// The server does not start or end.
    #[error("the server: {0}")]
    Serve(#[from] Box<onrush_services::serve::ServeError>),
    /// A server does not answer.
    #[error("expected a server at {address} that answers {what}, found: {error}")]
    Call {
        /// Where.
        address: String,
        /// What was called.
        what: &'static str,
        /// What came.
        error: Box<onrush_net::client::CallError>,
    },
    /// A server does not speak the native protocol to us.
    #[error("expected a server at {address} that speaks the native protocol, found: {error}")]
    Link {
        /// Where.
        address: String,
        /// What came.
        error: super::LinkError,
    },
    /// A server in this process has no native port.
    #[error("expected a server with a native port, found one without")]
    NoNative,
    /// A server's shop is not empty.
    #[error("expected an empty shop at {address} (the audit counts from zero), found {skus} items")]
    InUse {
        /// Where.
        address: String,
        /// Items found.
        skus: u64,
    },
    /// No thread or runtime for the client.
    #[error("the client's thread does not start: {0}")]
    Client(std::io::Error),
}
