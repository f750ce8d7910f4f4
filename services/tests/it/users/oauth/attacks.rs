//! Authorization requests and forms that must lead nowhere.

use super::program::{BACK, Browser, VERIFIER, challenge, guarded, with};
use super::{ALL, PASSWORD, Site};

/// Whoever gets an answer is registered, byte by byte; everybody else is told nothing by a redirect.
#[tokio::test]
async fn an_address_that_only_looks_like_the_registered_one_gets_no_answer() {
    let site = Site::open_with(guarded);
    let program = site.program(false, ALL).await;
    let good = program.asks("openid");
    for uri in [
        "",
        "https://evil.example/back?from=shop",
        "https://app.example.com/back",
        "https://app.example.com/back?from=shop2",
        "https://app.example.com/back?from=shop&next=https://evil.example",
        "https://app.example.com/back/?from=shop",
        "https://app.example.com/back/../evil?from=shop",
        "https://app.example.com/%62ack?from=shop",
        "https://app.example.com/back%3Ffrom=shop",
        "https://APP.example.com/back?from=shop",
        "HTTPS://app.example.com/back?from=shop",
        "http://app.example.com/back?from=shop",
        "https://app.example.com:443/back?from=shop",
        "https://app.example.com.evil.example/back?from=shop",
        "https://app.example.com@evil.example/back?from=shop",
        "https://evil.example\\@app.example.com/back?from=shop",
        "https://app.example.com/back?from=shop#",
        "https://app.example.com/back?from=shop#@evil.example",
        " https://app.example.com/back?from=shop",
        "https://app.example.com/back?from=shop\n",
        "//evil.example",
        "javascript:alert(1)",
    ] {
        let seen = Browser::new().open(&site, &with(&good, "redirect_uri", Some(uri))).await;
        assert_eq!((seen.status, seen.location), (400, None), "{uri:?}");
        assert!(!seen.text.contains("<form"), "{uri:?}");
    }
    // Twice, the good one first or last: the next reader might take the other one.
    for (first, last) in [(BACK, "https://evil.example/"), ("https://evil.example/", BACK)] {
        let mut twice = with(&good, "redirect_uri", Some(first));
        twice.push(("redirect_uri".into(), last.into()));
        let seen = Browser::new().open(&site, &twice).await;
        assert_eq!((seen.status, seen.location), (400, None));
    }
    for id in ["", "nobody", "../oauth-clients/x", &"0".repeat(32), &program.id.to_uppercase()] {
        let seen = Browser::new().open(&site, &with(&good, "client_id", Some(id))).await;
        assert_eq!((seen.status, seen.location), (400, None), "{id:?}");
    }
}

/// A program on the user's machine listens at whatever port is free (RFC 8252, 7.3); one with a secret runs elsewhere.
#[tokio::test]
async fn only_a_native_program_may_choose_its_port() {
    let site = Site::open_with(guarded);
    site.register("ada@example.com").await;
    let registered = "http://127.0.0.1:8123/back";
    let native = site.program_at(registered, false, "openid").await;
    let confidential = site.program_at(registered, true, "openid").await;
    let named = site.program_at("http://localhost:8123/back", false, "openid").await;
    for (program, uri, good) in [
        (&native, registered, true),
        (&native, "http://127.0.0.1:49152/back", true),
        (&native, "http://127.0.0.1/back", true),
        (&native, "http://127.0.0.1:49152/other", false),
        (&native, "http://localhost:8123/back", false),
        (&native, "http://127.0.0.1:49152@evil.example/back", false),
        (&confidential, registered, true),
        (&confidential, "http://127.0.0.1:49152/back", false),
        (&named, "http://localhost:8123/back", true),
        (&named, "http://localhost:49152/back", false),
    ] {
        let asks = with(&program.asks("openid"), "redirect_uri", Some(uri));
        let seen = Browser::new().open(&site, &asks).await;
        assert_eq!(seen.status == 200, good, "{uri}: {}", seen.text);
    }
    // The code is good where it went, and nowhere else.
    let there = "http://127.0.0.1:49152/back";
    for (redeemed_at, status) in [(registered, 400), (there, 200)] {
        let asks = with(&native.asks("openid"), "redirect_uri", Some(there));
        let answer = Browser::new().answer_to(&site, &asks, "ada@example.com").await;
        let code = &answer.iter().find(|(name, _)| name == "code").unwrap().1;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redeemed_at),
            ("code_verifier", VERIFIER),
        ];
        assert_eq!(site.form("/oauth2/token", &native, &fields).await.0, status, "{redeemed_at}");
    }
}

#[tokio::test]
async fn requests_without_pkce_or_beyond_the_client_go_back_with_a_name_and_the_state() {
    let site = Site::open_with(guarded);
    let program = site.program(false, "openid orders.read offline_access").await;
    let good = program.asks("openid");
    let long = "x".repeat(1_025);
    let table: [(&str, Option<&str>, &str); 20] = [
        ("code_challenge", None, "invalid_request"),
        ("code_challenge", Some("short"), "invalid_request"),
        ("code_challenge", Some(&long), "invalid_request"),
        ("code_challenge", Some("=:!aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "invalid_request"),
        ("code_challenge_method", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("code_challenge_method", Some("s256"), "invalid_request"),
        ("response_type", None, "invalid_request"),
        ("response_type", Some("token"), "unsupported_response_type"),
        ("response_type", Some("code id_token"), "unsupported_response_type"),
        ("response_mode", Some("fragment"), "invalid_request"),
        ("scope", None, "invalid_scope"),
        ("scope", Some("openid orders.write"), "invalid_scope"),
        ("scope", Some("openid admin"), "invalid_scope"),
        ("scope", Some("offline_access"), "invalid_scope"),
        ("nonce", Some(&long), "invalid_request"),
        ("nonce", Some("\u{fc}"), "invalid_request"),
        ("prompt", Some("none"), "login_required"),
        ("request", Some("eyJhbGciOiJub25lIn0.e30."), "request_not_supported"),
        ("request_uri", Some("https://evil.example/request"), "request_uri_not_supported"),
    ];
    for (field, to, expected) in table {
        let seen = Browser::new().open(&site, &with(&good, field, to)).await;
        let found = (seen.status, seen.answer("error"), seen.answer("state"));
        let state = Some("a state & more=\"<b>\"".to_owned());
        assert_eq!(found, (303, Some(expected.to_owned()), state), "{field}: {to:.60?}");
        assert!(seen.answer("iss").is_some() && seen.answer("code").is_none());
        assert_eq!(seen.location.unwrap().host_str(), Some("app.example.com"));
    }
    for state in [&long, "a\r\nSet-Cookie: a=b", "\u{202e}"] {
        let seen = Browser::new().open(&site, &with(&good, "state", Some(state))).await;
        assert_eq!((seen.answer("error").as_deref(), seen.answer("state")), (Some("invalid_request"), None));
    }
    // No state is no state.
    let mut browser = Browser::new();
    site.register("ada@example.com").await;
    let page = browser.open(&site, &with(&good, "state", None)).await;
    let back = browser.send(&site, &Browser::filled(&page, "ada@example.com", PASSWORD, "allow")).await;
    assert!(back.answer("code").is_some() && back.answer("state").is_none());
}

#[tokio::test]
async fn a_form_counts_in_the_browser_that_got_it_and_as_it_was_shown() {
    let site = Site::open_with(guarded);
    site.register("ada@example.com").await;
    let (program, other) = (site.program(false, ALL).await, site.program(false, ALL).await);
    let (mut ada, mut eve) = (Browser::new(), Browser::new());
    let page = ada.open(&site, &program.asks("openid")).await;
    let eves = eve.open(&site, &program.asks("openid")).await;
    let form = Browser::filled(&page, "ada@example.com", PASSWORD, "allow");
    let of_eve = Browser::filled(&eves, "ada@example.com", PASSWORD, "allow");
    let stranger = Browser::new();
    let fresh = challenge("a verifier that somebody else knows, of 43 characters");
    let old =
        format!("1.{}", form.iter().find(|(name, _)| name == "ticket").unwrap().1.split_once('.').unwrap().1);
    for (name, browser, form) in [
        ("no cookie", &stranger, form.clone()),
        ("another browser's", &eve, form.clone()),
        ("her own form in another browser", &ada, of_eve),
        ("no ticket", &ada, with(&form, "ticket", None)),
        ("half a ticket", &ada, with(&form, "ticket", Some("9999999999."))),
        ("an old ticket", &ada, with(&form, "ticket", Some(&old))),
        ("more scopes than were shown", &ada, with(&form, "scope", Some("openid orders.write"))),
        ("another client", &ada, with(&form, "client_id", Some(&other.id))),
        ("another state", &ada, with(&form, "state", Some("eve's"))),
        ("another challenge", &ada, with(&form, "code_challenge", Some(&fresh))),
        ("another nonce", &ada, with(&form, "nonce", Some("eve's"))),
    ] {
        let seen = browser.send(&site, &form).await;
        assert_eq!((seen.status, seen.location), (403, None), "{name}");
    }
    // Sent by another site, as browsers say.
    let url = format!("{}/oauth2/authorize", site.shop.address(onrush_services::config::Service::User));
    for from in ["cross-site", "same-site", "none"] {
        let request = reqwest::Client::new().post(&url).header("cookie", ada.cookie.clone().unwrap());
        let seen = request.header("sec-fetch-site", from).form(&form).send().await.unwrap();
        assert_eq!(seen.status(), 403, "{from}");
    }
    let wrong = ada.send(&site, &with(&form, "password", Some("wrong horse battery"))).await;
    assert_eq!((wrong.status, wrong.location.as_ref()), (401, None));
    assert!(wrong.text.contains("<form") && !wrong.text.contains("wrong horse"), "{}", wrong.text);
    let denied = ada.send(&site, &with(&form, "decision", Some("deny"))).await;
    assert_eq!((denied.status, denied.answer("error").as_deref()), (303, Some("access_denied")));
    let undecided = ada.send(&site, &with(&form, "decision", None)).await;
    assert_eq!(undecided.answer("error").as_deref(), Some("access_denied"));
    let back = ada.send(&site, &form).await;
    assert_eq!(site.redeem(&program, &back.answer("code").unwrap()).await.0, 200, "{VERIFIER}");
}

#[tokio::test]
async fn the_page_stands_in_no_frame_runs_nothing_and_leads_to_the_client_alone() {
    let site = Site::open_with(guarded);
    let program = site.program(false, ALL).await;
    let mut asks = with(&program.asks("openid"), "state", Some("\"><script>alert(1)</script>"));
    asks.push(("ui".into(), "<script>".into()));
    let seen = Browser::new().open(&site, &asks).await;
    let header = |name: &str| seen.headers[name].to_str().unwrap().to_owned();
    let policy = header("content-security-policy");
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self' https://app.example.com;",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!((header("x-frame-options").as_str(), header("cache-control").as_str()), ("DENY", "no-store"));
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert!(!seen.text.contains("<script"), "{}", seen.text);
    let cookie = header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    // Where there is TLS the cookie is bound to this host and never leaves it in the clear.
    let secure = Site::open_with(|config| {
        guarded(config);
        config.notification.public_url = "https://shop.example.com".into();
    });
    let program = secure.program(false, ALL).await;
    let seen = Browser::new().open(&secure, &program.asks("openid")).await;
    let cookie = seen.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-onrush_form=") && cookie.ends_with("; Secure"), "{cookie}");
    let metadata = secure.get("/.well-known/oauth-authorization-server", "").await.body;
    assert_eq!(metadata["token_endpoint"], "https://shop.example.com/oauth2/token");
    assert_eq!(metadata["code_challenge_methods_supported"], serde_json::json!(["S256"]));
}
