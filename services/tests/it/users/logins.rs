//! Wrong passwords, copied refresh tokens, many at once.

use serde_json::json;

use super::{PASSWORD, Site, Tokens};

#[tokio::test]
async fn a_refresh_token_that_comes_twice_ends_its_login() {
    let site = Site::open();
    let first = site.somebody("ada@example.com").await;
    let other = site.login("ada@example.com").await;
    let refresh = async |token: &str| site.post("/refresh", &json!({"refresh_token": token})).await;
    let second = Tokens::of(&refresh(&first.refresh).await);
    refresh(&first.refresh).await.assert_refused(401, "INVALID_REFRESH_TOKEN", Some("refresh_token"));
    // Whoever has the newer one is out too: nobody can tell who the owner is.
    refresh(&second.refresh).await.assert_refused(401, "INVALID_REFRESH_TOKEN", Some("refresh_token"));
    site.get("/profile", &second.access).await.assert_refused(401, "INVALID_TOKEN", None);
    Tokens::of(&refresh(&other.refresh).await);
}

#[tokio::test]
async fn of_two_that_bring_one_token_at_once_one_is_second() {
    let site = Site::open();
    let ada = site.somebody("ada@example.com").await;
    let body = json!({"refresh_token": ada.refresh});
    let (one, two) = tokio::join!(site.post("/refresh", &body), site.post("/refresh", &body));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401], "{one:?} {two:?}");
    let winner = if one.status == 200 { one } else { two };
    let refresh = json!({"refresh_token": Tokens::of(&winner).refresh});
    site.post("/refresh", &refresh).await.assert_refused(401, "INVALID_REFRESH_TOKEN", Some("refresh_token"));
}

/// Hashing takes its time. A login that read the old password before it was changed came back behind the end
/// of all logins, and lived on.
#[tokio::test]
async fn no_login_by_the_old_password_outlives_a_new_one() {
    let site = Site::open();
    let ada = site.somebody("ada@example.com").await;
    let body = json!({"current_password": PASSWORD, "new_password": "another horse battery"});
    let login = json!({"email": "ada@example.com", "password": PASSWORD});
    let logins = async || {
        let (one, two, three) = tokio::join!(
            site.post("/login", &login),
            site.post("/login", &login),
            site.post("/login", &login)
        );
        [one, two, three]
    };
    let change = site.request("POST", "/password").bearer_auth(&ada.access).json(&body).send();
    let (changed, found) = tokio::join!(change, logins());
    assert_eq!(changed.unwrap().status(), 200);
    for answer in found.iter().filter(|answer| answer.status == 200) {
        let refresh = json!({"refresh_token": Tokens::of(answer).refresh});
        let again = site.post("/refresh", &refresh).await;
        again.assert_refused(401, "INVALID_REFRESH_TOKEN", Some("refresh_token"));
    }
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_logins() {
    let site = Site::open();
    let first = site.somebody("ada@example.com").await;
    for _ in 0..19 {
        site.login("ada@example.com").await;
    }
    assert_eq!(site.get("/profile", &first.access).await.status, 200);
    let last = site.login("ada@example.com").await;
    site.get("/profile", &first.access).await.assert_refused(401, "INVALID_TOKEN", None);
    assert_eq!(site.get("/profile", &last.access).await.status, 200);
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_look_the_same_and_cost_time() {
    let site = Site::open();
    site.register("ada@example.com").await;
    for email in ["ada@example.com", "nobody@example.com"] {
        let wrong = json!({"email": email, "password": "wrong horse battery"});
        let mut free = 0;
        // A hash may take longer than the first pauses; each is twice as long as the one before.
        let pause = loop {
            let answer = site.post("/login", &wrong).await;
            if answer.status == 429 {
                break answer;
            }
            answer.assert_refused(401, "INVALID_CREDENTIALS", None);
            free += 1;
        };
        assert!((5..20).contains(&free), "{free}");
        pause.assert_refused(429, "TOO_MANY_REQUESTS", None);
        assert!((1..=60_000).contains(&pause.body["retry_after_ms"].as_u64().unwrap()), "{pause:?}");
    }
    // Another account is free from here.
    site.somebody("bob@example.com").await;
}
