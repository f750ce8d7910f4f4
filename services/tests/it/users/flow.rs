//! Register, log in, see and change oneself, refresh, log out.

use serde_json::json;

use super::{Answer, PASSWORD, Site, Tokens};

#[tokio::test]
async fn register_login_profile_refresh_logout() {
    let site = Site::open();
    let account = json!({"email": "Ada@Example.COM", "password": PASSWORD, "name": " Ada Lovelace "});
    let made = site.post("/register", &account).await;
    assert_eq!((made.status, made.etag.as_str()), (201, "\"v1\""), "{made:?}");
    assert_eq!(made.body["email"], "ada@example.com");
    assert_eq!(made.body["name"], "Ada Lovelace");
    assert_eq!(made.body["roles"], json!(["customer"]));
    assert!(!made.body.to_string().contains("argon2") && !made.body.to_string().contains(PASSWORD));

    let first = site.login("ADA@example.com").await;
    let seen = site.get("/profile", &first.access).await;
    assert_eq!((seen.status, &seen.body, &seen.etag), (200, &made.body, &made.etag));

    let change = json!({"name": "Ada King", "phone": "+4930123456", "language": "en-GB"});
    let changed = site.put("/profile", &first.access, &seen.etag, &change).await;
    assert_eq!((changed.status, changed.etag.as_str()), (200, "\"v2\""), "{changed:?}");
    assert_eq!((&changed.body["name"], &changed.body["phone"]), (&json!("Ada King"), &json!("+4930123456")));
    assert_eq!(changed.body["email"], "ada@example.com");

    let second = Tokens::of(&site.post("/refresh", &json!({"refresh_token": first.refresh})).await);
    assert_ne!((&second.access, &second.refresh), (&first.access, &first.refresh));
    let again = site.get("/profile", &second.access).await;
    assert_eq!((again.status, &again.body), (200, &changed.body));

    let out = site.post("/logout", &json!({"refresh_token": second.refresh})).await;
    assert_eq!(out.status, 204, "{out:?}");
    site.get("/profile", &second.access).await.assert_refused(401, "INVALID_TOKEN", None);
    let over = site.post("/refresh", &json!({"refresh_token": second.refresh})).await;
    over.assert_refused(401, "INVALID_REFRESH_TOKEN", Some("refresh_token"));
    assert_eq!(site.post("/logout", &json!({"refresh_token": second.refresh})).await.status, 204);
}

#[tokio::test]
async fn a_profile_changes_only_from_the_version_that_was_seen() {
    let site = Site::open();
    let ada = site.somebody("ada@example.com").await;
    let change = json!({"name": "Ada King"});
    let missing =
        site.request("PUT", "/profile").bearer_auth(&ada.access).json(&change).send().await.unwrap();
    Answer::of(missing).await.assert_refused(428, "PRECONDITION_REQUIRED", Some("If-Match"));
    assert_eq!(site.put("/profile", &ada.access, "\"v1\"", &change).await.status, 200);
    for stale in ["\"v1\"", "\"v3\"", "*", "nonsense"] {
        let answer = site.put("/profile", &ada.access, stale, &json!({"name": "Eve"})).await;
        assert_eq!((answer.status, &answer.body["reason"]), (412, &json!("VERSION_MISMATCH")), "{stale}");
    }
    assert_eq!(site.get("/profile", &ada.access).await.body["name"], "Ada King");
}

#[tokio::test]
async fn retries_under_one_key_have_one_effect() {
    let site = Site::open();
    let account =
        |password: &str, name: &str| json!({"email": "ada@example.com", "password": password, "name": name});
    let register = async |body: serde_json::Value| {
        let request = site.request("POST", "/register").header("idempotency-key", "k-1").json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    let first = register(account(PASSWORD, "Ada")).await;
    let again = register(account(PASSWORD, "Ada")).await;
    assert_eq!((first.status, again.status, &again.body), (201, 201, &first.body));
    register(account("another horse battery", "Ada")).await.assert_refused(
        422,
        "IDEMPOTENCY_KEY_REUSED",
        Some("Idempotency-Key"),
    );
    register(account(PASSWORD, "Eve")).await.assert_refused(
        422,
        "IDEMPOTENCY_KEY_REUSED",
        Some("Idempotency-Key"),
    );

    // Two at once: each gets the account, or is told that the other one is making it.
    let body = json!({"email": "bob@example.com", "password": PASSWORD, "name": "Bob"});
    let (one, two) = tokio::join!(register(body.clone()), register(body.clone()));
    for answer in [&one, &two] {
        let in_progress = answer.body["reason"] == "IDEMPOTENCY_KEY_IN_PROGRESS";
        assert!(answer.status == 201 || (answer.status == 409 && in_progress), "{answer:?}");
    }
    assert_eq!(register(body).await.status, 201);
    site.login("bob@example.com").await;

    let ada = site.login("ada@example.com").await;
    let change = async |name: &str| {
        let request = site.request("PUT", "/profile").bearer_auth(&ada.access).header("if-match", "\"v1\"");
        let request = request.header("idempotency-key", "k-2").json(&json!({"name": name}));
        Answer::of(request.send().await.unwrap()).await
    };
    let (first, again) = (change("Ada King").await, change("Ada King").await);
    assert_eq!((first.status, again.status, &again.etag, &again.body), (200, 200, &first.etag, &first.body));
    change("Eve").await.assert_refused(422, "IDEMPOTENCY_KEY_REUSED", Some("Idempotency-Key"));
}

#[tokio::test]
async fn a_new_password_ends_all_logins() {
    let site = Site::open();
    let (here, there) = (site.somebody("ada@example.com").await, site.login("ada@example.com").await);
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        let request = site.request("POST", "/password").bearer_auth(&here.access).json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    change("wrong horse battery", "another horse battery").await.assert_refused(
        401,
        "INVALID_CREDENTIALS",
        None,
    );
    change(PASSWORD, "short").await.assert_refused(400, "WEAK_PASSWORD", Some("new_password"));
    let fresh = Tokens::of(&change(PASSWORD, "another horse battery").await);
    for old in [&here, &there] {
        site.get("/profile", &old.access).await.assert_refused(401, "INVALID_TOKEN", None);
        let refresh = site.post("/refresh", &json!({"refresh_token": old.refresh})).await;
        refresh.assert_refused(401, "INVALID_REFRESH_TOKEN", Some("refresh_token"));
    }
    assert_eq!(site.get("/profile", &fresh.access).await.status, 200);
    let login = async |password: &str| {
        site.post("/login", &json!({"email": "ada@example.com", "password": password})).await
    };
    login(PASSWORD).await.assert_refused(401, "INVALID_CREDENTIALS", None);
    Tokens::of(&login("another horse battery").await);
}
