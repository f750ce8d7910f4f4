//! Other people's profiles and roles: not there for those who may not.

use onrush_services::config::{FirstAdmin, Secret};
use onrush_services::serve::Serving;
use onrush_services::user::Email;
use serde_json::json;

use super::{PASSWORD, Site};

fn with_admin() -> Site {
    Site::open_with(|config| {
        let email = Email::parse("email", "root@example.com").unwrap();
        config.first_admin = Some(FirstAdmin { email, password: Secret::new(PASSWORD) });
    })
}

#[tokio::test]
async fn foreign_and_missing_users_look_the_same() {
    let site = with_admin();
    let ada = site.somebody("ada@example.com").await;
    let bob = site.register("bob@example.com").await;
    let missing = "00000000-0000-4000-8000-000000000000";
    let mut answers = Vec::new();
    for id in [bob.as_str(), missing, "x", "..%2f..%2fcredentials", &"a".repeat(200)] {
        let answer = site.get(&format!("/users/{id}"), &ada.access).await;
        answer.assert_refused(404, "UNKNOWN_USER", Some("user_id"));
        answers.push(answer.body.to_string().replace(id, "ID"));
    }
    assert_eq!(answers[0], answers[1]);
    site.get("/users?email=bob@example.com", &ada.access).await.assert_refused(403, "FORBIDDEN", None);
    site.get("/users?email=nobody@example.com", &ada.access).await.assert_refused(403, "FORBIDDEN", None);
    let admin = site.login("root@example.com").await;
    assert_eq!(site.get(&format!("/users/{bob}"), &admin.access).await.body["email"], "bob@example.com");
    let found = site.get("/users?email=BOB@example.com", &admin.access).await;
    assert_eq!((found.status, found.body["id"].as_str()), (200, Some(bob.as_str())));
    site.get(&format!("/users/{missing}"), &admin.access).await.assert_refused(
        404,
        "UNKNOWN_USER",
        Some("user_id"),
    );
}

#[tokio::test]
async fn roles_come_from_an_admin_and_from_nowhere_else() {
    let site = with_admin();
    let id = site.register("ada@example.com").await;
    let ada = site.login("ada@example.com").await;
    let roles = format!("/users/{id}/roles");
    let change = json!({"roles": ["customer", "support"]});
    site.put(&roles, &ada.access, "\"v1\"", &change).await.assert_refused(403, "FORBIDDEN", None);
    let missing = "/users/00000000-0000-4000-8000-000000000000/roles";
    site.put(missing, &ada.access, "\"v1\"", &change).await.assert_refused(403, "FORBIDDEN", None);
    for body in [json!({"name": "Ada", "roles": ["admin"]}), json!({"name": "Ada", "role": "admin"})] {
        let answer = site.put("/profile", &ada.access, "\"v1\"", &body).await;
        assert_eq!((answer.status, &answer.body["reason"]), (400, &json!("UNKNOWN_FIELD")), "{answer:?}");
    }

    let admin = site.login("root@example.com").await;
    site.put(&roles, &admin.access, "\"v7\"", &change).await.assert_refused(
        412,
        "VERSION_MISMATCH",
        Some("version"),
    );
    let unknown = site.put(&roles, &admin.access, "\"v1\"", &json!({"roles": ["root"]})).await;
    unknown.assert_refused(400, "INVALID_FIELD", Some("roles[0]"));
    let given = site.put(&roles, &admin.access, "\"v1\"", &change).await;
    assert_eq!((given.status, &given.body["roles"]), (200, &json!(["customer", "support"])));
    // At once, without a new token.
    assert_eq!(site.get("/users?email=root@example.com", &ada.access).await.status, 200);
    site.put(&roles, &ada.access, "\"v2\"", &json!({"roles": ["admin"]})).await.assert_refused(
        403,
        "FORBIDDEN",
        None,
    );

    let own = site.get("/profile", &admin.access).await;
    let own_roles = format!("/users/{}/roles", own.body["id"].as_str().unwrap());
    let refused = site.put(&own_roles, &admin.access, &own.etag, &json!({"roles": []})).await;
    refused.assert_refused(409, "OWN_ROLES", None);
}

#[tokio::test]
async fn whoever_took_the_admins_address_first_is_no_admin() {
    let site = Site::open();
    let account = json!({"email": "root@example.com", "password": "squatters horse", "name": "Eve"});
    assert_eq!(site.post("/register", &account).await.status, 201);
    let dir = site.shop.stop().await;
    let mut config = crate::shop::config(&dir);
    let email = Email::parse("email", "root@example.com").unwrap();
    config.first_admin = Some(FirstAdmin { email, password: Secret::new(PASSWORD) });
    let error = Serving::start(&config).err().unwrap().to_string();
    assert!(error.contains("root@example.com") && error.contains("not made an admin"), "{error}");
    assert!(!error.contains(PASSWORD), "{error}");
}
