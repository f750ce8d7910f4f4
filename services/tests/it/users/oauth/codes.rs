//! Codes and refresh tokens in the wrong hands.

use serde_json::{Value, json};

use super::program::{BACK, Browser, Program, VERIFIER, guarded};
use super::{ALL, Site};

#[track_caller]
fn assert_error((status, problem): &(u16, Value), expected_status: u16, expected: &str) {
    assert_eq!((*status, &problem["error"]), (expected_status, &json!(expected)), "{problem}");
}

#[tokio::test]
async fn a_code_that_comes_twice_takes_back_what_it_gave() {
    let site = Site::open_with(guarded);
    site.register("ada@example.com").await;
    let program = site.program(true, ALL).await;
    let code = Browser::new().code(&site, &program, "ada@example.com", ALL).await;
    let (_, tokens) = site.redeem(&program, &code).await;
    let (_, next) = site.renew(&program, tokens["refresh_token"].as_str().unwrap()).await;
    let access = next["access_token"].as_str().unwrap();
    assert_eq!(site.get("/oauth2/userinfo", access).await.status, 200);
    assert_error(&site.redeem(&program, &code).await, 400, "invalid_grant");
    site.get("/oauth2/userinfo", access).await.assert_refused(401, "INVALID_TOKEN", None);
    assert_error(&site.renew(&program, next["refresh_token"].as_str().unwrap()).await, 400, "invalid_grant");
    // Two at once: one of them is second, and takes from the first.
    let code = Browser::new().code(&site, &program, "ada@example.com", ALL).await;
    let (one, two) = tokio::join!(site.redeem(&program, &code), site.redeem(&program, &code));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn a_refresh_token_that_comes_twice_ends_its_grant() {
    let site = Site::open_with(guarded);
    site.register("ada@example.com").await;
    let program = site.program(false, ALL).await;
    let first = site.granted(&program, "ada@example.com", ALL).await;
    let token = first["refresh_token"].as_str().unwrap();
    // More than was granted is refused, and costs nothing.
    let more = [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", "openid admin")];
    assert_error(&site.form("/oauth2/token", &program, &more).await, 400, "invalid_scope");
    let (status, second) = site.renew(&program, token).await;
    assert_eq!(status, 200, "{second}");
    assert_error(&site.renew(&program, token).await, 400, "invalid_grant");
    assert_error(
        &site.renew(&program, second["refresh_token"].as_str().unwrap()).await,
        400,
        "invalid_grant",
    );
    site.get("/oauth2/userinfo", second["access_token"].as_str().unwrap()).await.assert_refused(
        401,
        "INVALID_TOKEN",
        None,
    );
}

#[tokio::test]
async fn what_belongs_to_one_client_is_worth_nothing_to_another() {
    let site = Site::open_with(guarded);
    site.register("ada@example.com").await;
    let (program, other) = (site.program(true, ALL).await, site.program(true, ALL).await);
    let code = Browser::new().code(&site, &program, "ada@example.com", ALL).await;
    assert_error(&site.redeem(&other, &code).await, 400, "invalid_grant");
    // Nobody else's try uses it up.
    let (status, tokens) = site.redeem(&program, &code).await;
    assert_eq!(status, 200, "{tokens}");
    let refresh = tokens["refresh_token"].as_str().unwrap();
    assert_error(&site.renew(&other, refresh).await, 400, "invalid_grant");
    for token in [refresh, tokens["access_token"].as_str().unwrap()] {
        assert_eq!(
            site.form("/oauth2/introspect", &other, &[("token", token)]).await.1,
            json!({"active": false})
        );
        assert_eq!(site.form("/oauth2/revoke", &other, &[("token", token)]).await.0, 200);
    }
    assert_eq!(site.renew(&program, refresh).await.0, 200);

    let wrong = |secret: Option<&str>| Program { id: program.id.clone(), secret: secret.map(str::to_owned) };
    for stranger in
        [wrong(Some("")), wrong(Some("onrush_cs_AAAA")), wrong(other.secret.as_deref()), wrong(None)]
    {
        assert_error(&site.renew(&stranger, refresh).await, 401, "invalid_client");
    }
    let nobody = Program { id: "0".repeat(32), secret: None };
    assert_error(&site.renew(&nobody, refresh).await, 401, "invalid_client");
    let public = site.program(false, ALL).await;
    let dressed = Program { secret: Some("x".into()), ..public.clone() };
    assert_error(&site.renew(&dressed, refresh).await, 401, "invalid_client");
    assert_error(
        &site.form("/oauth2/introspect", &public, &[("token", "x")]).await,
        400,
        "unauthorized_client",
    );
}

#[tokio::test]
async fn a_code_is_bound_to_verifier_and_address() {
    let site = Site::open_with(guarded);
    site.register("ada@example.com").await;
    let program = site.program(false, ALL).await;
    let challenge = super::program::challenge(VERIFIER);
    let table: [(&str, Option<&str>, &str); 8] = [
        ("code_verifier", None, "invalid_request"),
        ("code_verifier", Some("short"), "invalid_grant"),
        ("code_verifier", Some("another-verifier-of-forty-three-characters-or-more"), "invalid_grant"),
        // The challenge itself, as if the method had been plain.
        ("code_verifier", Some(&challenge), "invalid_grant"),
        ("redirect_uri", None, "invalid_request"),
        ("redirect_uri", Some("https://app.example.com/back"), "invalid_grant"),
        ("redirect_uri", Some("https://evil.example/back"), "invalid_grant"),
        ("grant_type", Some("password"), "unsupported_grant_type"),
    ];
    for (field, to, expected) in table {
        let code = Browser::new().code(&site, &program, "ada@example.com", "openid").await;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
        ];
        let mut bent: Vec<_> = fields.into_iter().filter(|(name, _)| *name != field).collect();
        bent.extend(to.map(|value| (field, value)));
        assert_error(&site.form("/oauth2/token", &program, &bent).await, 400, expected);
    }
}

/// The kind of a token is written on it, and whoever has it may write another one.
#[tokio::test]
async fn one_kind_of_token_is_no_other_under_another_name() {
    let site = Site::open_with(guarded);
    let ada = site.somebody("ada@example.com").await;
    let program = site.program(false, ALL).await;
    let code = Browser::new().code(&site, &program, "ada@example.com", ALL).await;
    let renamed = |token: &str, prefix: &str| format!("{prefix}{}", &token["onrush_xx_".len()..]);
    let login = async |token: &str| {
        site.post("/refresh", &json!({"refresh_token": token})).await.assert_refused(
            401,
            "INVALID_REFRESH_TOKEN",
            Some("refresh_token"),
        );
    };
    // A code and a granted token as a login: that would be all that the user may do.
    login(&renamed(&code, "onrush_rt_")).await;
    assert_error(&site.renew(&program, &renamed(&code, "onrush_gt_")).await, 400, "invalid_grant");
    let (status, tokens) = site.redeem(&program, &code).await;
    assert_eq!(status, 200, "{tokens}");
    let granted = tokens["refresh_token"].as_str().unwrap();
    login(granted).await;
    login(&renamed(granted, "onrush_rt_")).await;
    // A login as a grant.
    assert_error(&site.renew(&program, &renamed(&ada.refresh, "onrush_gt_")).await, 400, "invalid_grant");
    assert_error(&site.redeem(&program, &renamed(&ada.refresh, "onrush_ac_")).await, 400, "invalid_grant");
    assert_eq!(site.post("/refresh", &json!({"refresh_token": ada.refresh})).await.status, 200);
    // A new password ends grants too.
    let login = site.login("ada@example.com").await;
    let body = json!({"current_password": super::PASSWORD, "new_password": "another horse battery"});
    let changed =
        site.request("POST", "/password").bearer_auth(&login.access).json(&body).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_error(&site.renew(&program, granted).await, 400, "invalid_grant");
}
