//! Where the native protocol is served, and what a connection may cost.

use onrush_net::tcp::Limits;

use super::{ConfigError, Value, find, parse, plain};

/// What serving the native protocol is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NativeConfig {
    /// Its port; 0 takes a free one, `None`: it is not served.
    pub port: Option<u16>,
    /// What a connection may cost.
    pub limits: Limits,
}

impl NativeConfig {
    /// A free port.
    pub fn free() -> Self {
        Self { port: Some(0), ..Self::default() }
    }
}

/// The setting of the port.
const PORT: &str = "native-port";

pub(super) fn of(values: &[Value]) -> Result<NativeConfig, ConfigError> {
    let port = |text: &str| match text.trim() {
        "off" => Some(None),
        text => plain(text).map(Some),
    };
    let port = parse(find(values, PORT), "a port, 0 to 65535, or off", port)?;
    Ok(NativeConfig { port, limits: Limits::default() })
}
