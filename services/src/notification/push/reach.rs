//! Which addresses a push may go to. Whoever subscribes names the URL that we call, so it must not lead into
//! the shop's own network: not by its text, not by its name's addresses, and not by a redirect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Most bytes of an endpoint.
pub(super) const ENDPOINT_BYTES_MAX: usize = 1_024;

/// Where pushes may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    /// By https to port 443 of public addresses.
    #[default]
    Public,
    /// For tests, also to this machine: by either scheme to any port of loopback.
    Loopback,
}

/// What is looked up before a connection; addresses that are not for us are as if they did not exist.
pub(super) struct Lookup(pub Reach);

impl Reach {
    /// An endpoint that may be called, as far as its text says.
    pub(super) fn endpoint(self, text: &str) -> Option<Url> {
        let url: Url = text.parse().ok().filter(|_| text.len() <= ENDPOINT_BYTES_MAX)?;
        let host = url.host_str()?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        // An address in the text is never looked up.
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let public = url.scheme() == "https"
            && url.port_or_known_default() == Some(443)
            && address.is_none_or(is_public);
        let here = self == Self::Loopback
            && matches!(url.scheme(), "https" | "http")
            && (host == "localhost" || address.is_some_and(|address| address.to_canonical().is_loopback()));
        (plain && (public || here)).then_some(url)
    }

    fn admits(self, address: IpAddr) -> bool {
        is_public(address) || (self == Self::Loopback && address.to_canonical().is_loopback())
    }
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            // Who named the URL is not told which names of ours there are.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.into_iter().flatten();
            let admitted: Vec<SocketAddr> = found.filter(|address| reach.admits(address.ip())).collect();
            if admitted.is_empty() {
                return Err("expected a public address, found none".into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

/// True for addresses that anybody on the net has: what IANA's registries of special purposes do not name.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // This network, loopback, private, multicast, reserved.
        (0 | 10 | 127 | 224..=255, ..) => true,
        // Shared by carriers.
        (100, 64..=127, _) => true,
        (169, 254, _) | (172, 16..=31, _) | (192, 168, _) => true,
        // Protocols, 6to4's relays, documentation, benchmarks.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    !special
}

/// Only global unicast; and of that no tunnels, which carry an address of version 4, and no documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let special = matches!((a, b), (0x2001, 0..=0x01ff | 0x0db8) | (0x2002, _) | (0x3fff, 0..=0x0fff));
    (0x2000..=0x3fff).contains(&a) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_anybody_has_is_public() {
        for (text, public) in [
            ("142.250.185.78", true),
            ("1.1.1.1", true),
            ("172.32.0.1", true),
            ("100.128.0.1", true),
            ("2606:4700::1111", true),
            ("2a00:1450:4001:81b::200a", true),
            ("::ffff:1.1.1.1", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.8", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("fc00::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_https_on_its_port_and_no_address_of_ours() {
        for (text, public, loopback) in [
            ("https://fcm.googleapis.com/fcm/send/x", true, true),
            ("https://fcm.googleapis.com:443/x", true, true),
            ("https://1.1.1.1/x", true, true),
            ("https://fcm.googleapis.com:8443/x", false, false),
            ("http://fcm.googleapis.com/x", false, false),
            ("ftp://fcm.googleapis.com/x", false, false),
            ("file:///etc/passwd", false, false),
            ("https://me:hush@fcm.googleapis.com/x", false, false),
            ("https://me@fcm.googleapis.com/x", false, false),
            ("https://fcm.googleapis.com/x#y", false, false),
            ("https://169.254.169.254/latest/meta-data", false, false),
            // The same address in other ways to write it.
            ("https://2852039166/", false, false),
            ("https://0xa9.0xfe.0xa9.0xfe/", false, false),
            ("https://0251.0376.0251.0376/", false, false),
            ("https://[::ffff:169.254.169.254]/", false, false),
            ("https://[fd00::1]/", false, false),
            ("http://127.0.0.1:8080/x", false, true),
            ("http://localhost:8080/x", false, true),
            ("https://[::1]:1/x", false, true),
            ("http://[::ffff:127.0.0.1]:1/x", false, true),
            ("http://0.0.0.0:8080/x", false, false),
            ("http://127.0.0.1.example:8080/x", false, false),
            ("", false, false),
            ("x", false, false),
        ] {
            assert_eq!(Reach::Public.endpoint(text).is_some(), public, "{text}");
            assert_eq!(Reach::Loopback.endpoint(text).is_some(), loopback, "{text}");
        }
        let long = |bytes| format!("https://push.example.com/{}", "x".repeat(bytes - 25));
        assert!(Reach::Public.endpoint(&long(ENDPOINT_BYTES_MAX)).is_some());
        assert!(Reach::Public.endpoint(&long(ENDPOINT_BYTES_MAX + 1)).is_none());
    }

    /// A name may lead anywhere, and elsewhere tomorrow: what counts is where it leads when we connect.
    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_leads_nowhere() {
        let resolve =
            async |reach| Lookup(reach).resolve("localhost".parse().unwrap()).await.map(Iterator::count);
        let refused = resolve(Reach::Public).await.unwrap_err().to_string();
        assert_eq!(refused, "expected a public address, found none");
        assert!(resolve(Reach::Loopback).await.unwrap() > 0);
    }
}
