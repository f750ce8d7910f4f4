//! Where an engine is.

use std::fmt;
use std::str::FromStr;

/// `http://host:port`; `host:port` alone means the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineAddress(String);

impl EngineAddress {
    /// As a URI.
    pub fn uri(&self) -> &str {
        &self.0
    }
}

impl FromStr for EngineAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.trim().strip_prefix("http://").unwrap_or(text.trim()).trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':').ok_or(())?;
        let bare = !host.contains(['/', '@', '?', '#', ' ']);
        let bracketed = !host.contains(':') || host.starts_with('[') && host.ends_with(']');
        match (host.is_empty() || !bare || !bracketed, port.parse::<u16>()) {
            (false, Ok(port)) if port > 0 => Ok(Self(format!("http://{host}:{port}"))),
            _ => Err(()),
        }
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_enough() {
        let cases = [
            ("product:50051", Some("http://product:50051")),
            ("http://127.0.0.1:50051/", Some("http://127.0.0.1:50051")),
            ("[::1]:50051", Some("http://[::1]:50051")),
            ("::1:50051", None),
            ("product", None),
            (":50051", None),
            ("product:0", None),
            ("product:70000", None),
            ("https://product:50051", None),
            ("http://product:50051/path", None),
            ("user@product:50051", None),
        ];
        for (text, expected) in cases {
            let found = text.parse::<EngineAddress>().ok();
            assert_eq!(found.as_ref().map(EngineAddress::uri), expected, "{text}");
        }
    }
}
