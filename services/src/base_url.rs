//! Where somebody else's API begins.

use reqwest::Url;

/// A base URL that keys may travel to: https, or http to this machine. Never in the clear over a network.
pub(crate) fn base_url(text: &str) -> Option<Url> {
    let url: Url = text.trim_end_matches('/').parse().ok()?;
    let safe = match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(|host| matches!(host, "127.0.0.1" | "localhost" | "[::1]")),
        _ => false,
    };
    let plain = url.username().is_empty() && url.password().is_none();
    (safe && plain && !url.cannot_be_a_base()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_travel_in_the_clear() {
        for text in
            ["https://api.stripe.com", "http://127.0.0.1:12111/", "http://[::1]:1", "http://localhost:1"]
        {
            assert!(base_url(text).is_some(), "{text}");
        }
        for text in [
            "http://api.stripe.com",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "https://me:hush@a.example",
            "mailto:a",
            "",
        ] {
            assert!(base_url(text).is_none(), "{text}");
        }
    }
}
