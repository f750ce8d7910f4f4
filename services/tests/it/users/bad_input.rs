//! Input that is never right: a typed error with the field's path, before anything is hashed or kept.

use serde_json::json;

use super::{Answer, PASSWORD, Site};

#[tokio::test]
async fn registrations_are_refused_by_field() {
    let site = Site::open();
    site.register("ada@example.com").await;
    let good = |field: &str, value: serde_json::Value| {
        let mut body = json!({"email": "new@example.com", "password": PASSWORD, "name": "New"});
        body[field] = value;
        body
    };
    let long = "x7".repeat(65);
    let table = [
        // One address in other spellings, and ones that only look like it.
        (good("email", json!("ADA@EXAMPLE.COM")), 409, "EMAIL_TAKEN", "email"),
        (good("email", json!("ａｄａ@example.com")), 409, "EMAIL_TAKEN", "email"),
        (good("email", json!("\u{430}da@example.com")), 400, "INVALID_EMAIL", "email"),
        (good("email", json!("ada@ex\u{430}mple.com")), 400, "INVALID_EMAIL", "email"),
        (good("email", json!("a\u{200b}da@example.com")), 400, "INVALID_EMAIL", "email"),
        (good("email", json!("ada@example.com\r\nBcc: all@example.com")), 400, "INVALID_EMAIL", "email"),
        (good("email", json!("")), 400, "MISSING_FIELD", "email"),
        (good("email", json!(7)), 400, "INVALID_FIELD", "email"),
        (good("password", json!("short")), 400, "WEAK_PASSWORD", "password"),
        (good("password", json!("password123")), 400, "WEAK_PASSWORD", "password"),
        (good("password", json!(long)), 400, "INVALID_FIELD", "password"),
        (good("name", json!("")), 400, "MISSING_FIELD", "name"),
        (good("name", json!("Ada\nBcc: all@example.com")), 400, "INVALID_FIELD", "name"),
        (good("role", json!("admin")), 400, "UNKNOWN_FIELD", "role"),
        (good("roles", json!(["admin"])), 400, "UNKNOWN_FIELD", "roles"),
        (json!({"email": "new@example.com", "name": "New"}), 400, "MISSING_FIELD", "password"),
    ];
    for (body, status, reason, field) in table {
        site.post("/register", &body).await.assert_refused(status, reason, Some(field));
    }
    // Nothing was half applied: the address is still free.
    site.register("new@example.com").await;
}

#[tokio::test]
async fn bodies_are_bounded_and_of_one_type() {
    let site = Site::open();
    let megabyte = format!("{{\"email\":\"{}\"}}", "x".repeat(1 << 20));
    let deep = format!("{{\"email\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let deeper = "[".repeat(100_000);
    let json = "application/json";
    let table: [(&str, &str, u16, &str); 8] = [
        (json, &megabyte, 413, "MESSAGE_TOO_LARGE"),
        (json, &deep, 400, "MESSAGE_TOO_DEEP"),
        (json, &deeper, 413, "MESSAGE_TOO_LARGE"),
        (json, "{", 400, "INVALID_MESSAGE"),
        (json, "", 400, "INVALID_MESSAGE"),
        ("application/x-www-form-urlencoded", "email=a&password=b", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("text/plain", "{}", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("", "{}", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ];
    for (media_type, body, status, reason) in table {
        for path in ["/register", "/login", "/refresh", "/logout"] {
            let request = site.request("POST", path).header("content-type", media_type).body(body.to_owned());
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(
                (answer.status, &answer.body["reason"]),
                (status, &json!(reason)),
                "{path} {body:.40}"
            );
        }
    }
    site.register("ada@example.com").await;
}

#[tokio::test]
async fn a_login_is_bounded_before_it_is_hashed() {
    let site = Site::open();
    let login = async |email: &str, password: &str| {
        site.post("/login", &json!({"email": email, "password": password})).await
    };
    login("ada@example.com", &"x".repeat(60_000)).await.assert_refused(
        400,
        "INVALID_FIELD",
        Some("password"),
    );
    login("ada@example.com", "").await.assert_refused(400, "MISSING_FIELD", Some("password"));
    login("ada", PASSWORD).await.assert_refused(400, "INVALID_EMAIL", Some("email"));
    let huge = "A".repeat(60_000);
    let refresh = site.post("/refresh", &json!({"refresh_token": huge})).await;
    refresh.assert_refused(401, "INVALID_REFRESH_TOKEN", Some("refresh_token"));
}

#[tokio::test]
async fn of_many_who_want_one_address_one_gets_it() {
    let site = Site::open();
    let account = json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada"});
    let spelled = json!({"email": "ADA@example.com", "password": PASSWORD, "name": "Eve"});
    let (a, b, c, d) = tokio::join!(
        site.post("/register", &account),
        site.post("/register", &spelled),
        site.post("/register", &account),
        site.post("/register", &spelled),
    );
    let mut statuses = [a.status, b.status, c.status, d.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
}
