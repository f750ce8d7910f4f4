//! Where browsers are sent back to: registered whole, compared byte by byte.

use reqwest::Url;

use crate::field::{FieldError, shown};

/// Most bytes of one.
const URI_BYTES_MAX: usize = 512;
/// What an answer may say: it is said once.
const ANSWERS: [&str; 5] = ["code", "state", "iss", "error", "error_description"];

/// Checks an address at registration: in the one form that every parser reads alike, over TLS or to the
/// browser's own machine, or a private scheme of an installed program (RFC 8252).
pub(super) fn check(path: &str, text: &str) -> Result<(), FieldError> {
    let wrong = |expected: &str| Err(FieldError::invalid(path, expected, shown(text)));
    if text.len() > URI_BYTES_MAX {
        return wrong(&format!("at most {URI_BYTES_MAX} bytes"));
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\^`{|};,*".contains(&byte);
    if !text.bytes().all(plain) {
        return wrong("a URI in ASCII without quotes, braces, commas and stars");
    }
    let Ok(url) = Url::parse(text) else { return wrong("an absolute URI") };
    if url.as_str() != text {
        return wrong(&format!("a URI in its normal form: {url}"));
    }
    if url.query_pairs().any(|(name, _)| ANSWERS.contains(&&*name)) {
        return wrong("a URI whose query has none of the names of an answer");
    }
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return wrong("a URI without fragment, user and password");
    }
    let here = url.host_str().is_some_and(|host| matches!(host, "127.0.0.1" | "localhost"));
    match url.scheme() {
        "https" => Ok(()),
        "http" if here => Ok(()),
        // A domain turned round: nothing that a browser runs has a dot in its name.
        scheme if scheme.contains('.') && !url.cannot_be_a_base() => Ok(()),
        _ => wrong("https, http to this machine, or a private scheme such as com.example.app:/back"),
    }
}

/// True if both lead to the same place of this machine, whatever port a program listens at now (RFC 8252, 7.3). By
/// address alone: whom `localhost` names is for the machine to say.
pub(super) fn is_same_loopback(registered: &str, asked: &str) -> bool {
    let place = loopback_place(registered);
    place.is_some() && place == loopback_place(asked)
}

/// What stands behind host and port.
fn loopback_place(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("http://127.0.0.1")?;
    let place = match rest.strip_prefix(':') {
        Some(rest) => {
            let (port, place) = rest.split_at(rest.find('/')?);
            let plain = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
            port.parse::<u16>().ok().filter(|_| plain)?;
            place
        }
        None => rest,
    };
    place.starts_with('/').then_some(place)
}

/// The address with these answers behind it.
pub(super) fn with(uri: &str, answers: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in answers {
        query.append_pair(name, value);
    }
    let between = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{between}{}", query.finish())
}

/// The address as a source of a content security policy: a form may lead there.
pub(super) fn source(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok()?;
    match url.scheme() {
        "http" | "https" => Some(url.origin().ascii_serialization()),
        scheme => Some(format!("{scheme}:")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_safe_and_in_one_form() {
        for text in [
            "https://app.example.com/back",
            "https://app.example.com/back?from=shop",
            "http://127.0.0.1:8123/back",
            "com.example.app:/back",
        ] {
            assert!(check("redirect_uris[0]", text).is_ok(), "{text}");
        }
        let long = format!("https://app.example.com/{}", "a".repeat(500));
        for text in [
            "",
            "/back",
            "https:",
            "http://app.example.com/back",
            // No policy for content can name it, so browsers would not go there from our page.
            "http://[::1]:8123/back",
            "https://app.example.com",
            "https://APP.example.com/back",
            "https://app.example.com:443/back",
            "https://app.example.com/a/../back",
            "https://app.example.com/back#here",
            "https://me@app.example.com/back",
            "https://app.example.com@evil.example/back",
            "https://app.example.com/back\r\nSet-Cookie: a=b",
            "https://app.example.com/ba ck",
            "https://app.example.com/*",
            "https://app.example.com/back?code=mine",
            "https://app.example.com/back?a=b&st%61te=x",
            "https://b\u{fc}cher.example/back",
            "https:\\\\evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "myapp:/back",
            &long,
        ] {
            assert_eq!(check("redirect_uris[0]", text).unwrap_err().path, "redirect_uris[0]", "{text}");
        }
    }

    #[test]
    fn a_program_may_listen_at_any_port_of_its_own_machine() {
        let registered = "http://127.0.0.1:8123/back?from=shop";
        for asked in [
            registered,
            "http://127.0.0.1/back?from=shop",
            "http://127.0.0.1:1/back?from=shop",
            "http://127.0.0.1:65535/back?from=shop",
        ] {
            assert!(is_same_loopback(registered, asked), "{asked}");
        }
        for asked in [
            "http://127.0.0.1:65536/back?from=shop",
            "http://127.0.0.1:0/back?from=shop",
            "http://127.0.0.1:080/back?from=shop",
            "http://127.0.0.1:+80/back?from=shop",
            "http://127.0.0.1:/back?from=shop",
            "http://127.0.0.1:80@evil.example/back?from=shop",
            "http://127.0.0.1.evil.example/back?from=shop",
            "http://127.0.0.1:1.evil.example/back?from=shop",
            "http://127.0.0.2:8123/back?from=shop",
            "http://localhost:8123/back?from=shop",
            "https://127.0.0.1:8123/back?from=shop",
            "HTTP://127.0.0.1:8123/back?from=shop",
            "http://127.0.0.1:8123/back",
            "http://127.0.0.1:8123/back?from=shop#x",
            "http://127.0.0.1:8123/other?from=shop",
            "http://127.0.0.1:8123",
            "",
        ] {
            assert!(!is_same_loopback(registered, asked), "{asked}");
        }
        let named = "http://localhost:8123/back";
        assert!(!is_same_loopback(named, named), "said whole or not at all");
    }

    #[test]
    fn answers_go_behind_what_is_there_and_stay_values() {
        let answers = [("code", "a b"), ("state", "x&code=evil#")];
        assert_eq!(
            with("https://a.example/b", &answers),
            "https://a.example/b?code=a+b&state=x%26code%3Devil%23"
        );
        assert!(with("https://a.example/b?c=d", &answers).starts_with("https://a.example/b?c=d&code="));
        assert_eq!(source("https://a.example:8443/b").unwrap(), "https://a.example:8443");
        assert_eq!(source("com.example.app:/back").unwrap(), "com.example.app:");
    }
}
