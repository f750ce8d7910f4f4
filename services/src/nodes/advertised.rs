//! Where one node is reached, as the nodes tell each other: `native=10.0.0.1:50060,order=10.0.0.1:50052`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::config::Service;

/// Most bytes of an address.
pub const ADDRESS_BYTES_MAX: usize = onrush_proto::frame::ADDRESS_BYTES_MAX;

/// What a node is reached for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Door {
    /// The native protocol over TCP, with TLS or without.
    Native,
    /// The native protocol over QUIC.
    NativeQuic,
    /// A service, over gRPC and HTTP.
    Service(Service),
}

impl Door {
    /// All doors, in the order in which they are told.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Native, Self::NativeQuic].into_iter().chain(Service::ALL.map(Self::Service))
    }

    /// The name: that of its setting without `-port`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::NativeQuic => "native-quic",
            Self::Service(service) => service.name(),
        }
    }
}

/// A text that does not say where a node is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "every variant says what was expected and what was found")]
pub enum AdvertisedError {
    #[error("entries[{index}]: expected a name such as native or order, =, and an address, found {found:?}")]
    Entry { index: usize, found: String },
    #[error("entries[{index}]: expected {name} once, found it twice")]
    Twice { index: usize, name: &'static str },
    #[error(
        "{name}: expected host:port with a port of 1 to 65535 and at most {ADDRESS_BYTES_MAX} bytes, found {found:?}"
    )]
    Address { name: &'static str, found: String },
}

/// Where a node is reached: `host:port` of each door that others may come to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Advertised {
    addresses: BTreeMap<Door, String>,
}

impl Advertised {
    /// The address of a door, `host:port`, if it is advertised.
    pub fn address(&self, door: Door) -> Option<&str> {
        self.addresses.get(&door).map(String::as_str)
    }

    /// The same with another door, or another address of one.
    pub fn with(mut self, door: Door, address: &str) -> Result<Self, AdvertisedError> {
        if !is_address(address) {
            return Err(AdvertisedError::Address { name: door.name(), found: cut(address) });
        }
        self.addresses.insert(door, address.to_owned());
        Ok(self)
    }
}

/// As nodes tell each other; empty if nothing is advertised.
impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (door, address) in &self.addresses {
            write!(f, "{between}{}={address}", door.name())?;
            between = ",";
        }
        Ok(())
    }
}

impl FromStr for Advertised {
    type Err = AdvertisedError;

    fn from_str(text: &str) -> Result<Self, AdvertisedError> {
        let mut told = Self::default();
        if text.is_empty() {
            return Ok(told);
        }
        for (index, entry) in text.split(',').enumerate() {
            let named = entry
                .split_once('=')
                .and_then(|(name, address)| Some((Door::all().find(|door| door.name() == name)?, address)));
            let (door, address) = named.ok_or_else(|| AdvertisedError::Entry { index, found: cut(entry) })?;
            if told.addresses.contains_key(&door) {
                return Err(AdvertisedError::Twice { index, name: door.name() });
            }
            told = told.with(door, address)?;
        }
        Ok(told)
    }
}

/// True for `host:port`; an address of IPv6 stands in brackets.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !host.is_empty() && host.bytes().all(plain)
        }
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    good && digits && port.parse::<u16>().is_ok_and(|port| port > 0) && text.len() <= ADDRESS_BYTES_MAX
}

/// What is shown of a text that may be long.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(80)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_advertises_is_read_as_it_is_written() {
        let all = Door::all().enumerate().fold(Advertised::default(), |told, (number, door)| {
            told.with(door, &format!("host-{number}.example:{}", number + 1)).unwrap()
        });
        for told in [Advertised::default(), all, "order=[::1]:50052".parse().unwrap()] {
            assert_eq!(told.to_string().parse(), Ok(told.clone()), "{told}");
        }
        let told: Advertised = "order=a:2,native=10.0.0.1:1".parse().unwrap();
        assert_eq!(told.to_string(), "native=10.0.0.1:1,order=a:2");
        assert_eq!(told.address(Door::Native), Some("10.0.0.1:1"));
        assert_eq!(told.address(Door::Service(Service::Order)), Some("a:2"));
        assert_eq!(told.address(Door::NativeQuic), None);
    }

    #[test]
    fn a_text_that_says_something_else_is_refused_by_name() {
        let entry = |index, found: &str| AdvertisedError::Entry { index, found: found.into() };
        let address = |name, found: &str| AdvertisedError::Address { name, found: found.into() };
        let table = [
            ("native", entry(0, "native")),
            ("native=a:1,", entry(1, "")),
            ("native=a:1,order=a:1,shop=a:1", entry(2, "shop=a:1")),
            ("Order=a:1", entry(0, "Order=a:1")),
            ("order=a:1,order=b:1", AdvertisedError::Twice { index: 1, name: "order" }),
            ("order=a", address("order", "a")),
            ("order=:1", address("order", ":1")),
            ("order=a:0", address("order", "a:0")),
            ("order=a:65536", address("order", "a:65536")),
            ("order=a:+1", address("order", "a:+1")),
            ("order=::1:1", address("order", "::1:1")),
            ("order=http://a:1", address("order", "http://a:1")),
            ("order=a b:1", address("order", "a b:1")),
            ("order=[a]:1", address("order", "[a]:1")),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Advertised>(), Err(expected), "{text}");
        }
        let long = format!("order={}:1", "x".repeat(ADDRESS_BYTES_MAX));
        assert_eq!(long.parse::<Advertised>(), Err(address("order", &"x".repeat(80))));
    }
}
