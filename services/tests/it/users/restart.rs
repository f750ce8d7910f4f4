//! What survives a restart: accounts, passwords, logins and the key that signs.

use std::process::Command;

use serde_json::json;

use super::{Site, Tokens};

#[tokio::test]
async fn accounts_logins_and_keys_survive_a_restart() {
    let site = Site::open_with(|config| config.store = onrush_engine::StoreKind::Fjall);
    let id = site.register("ada@example.com").await;
    let first = site.login("ada@example.com").await;
    let used_up = first.refresh.clone();
    let second = Tokens::of(&site.post("/refresh", &json!({"refresh_token": used_up})).await);
    let ended = site.login("ada@example.com").await;
    site.post("/logout", &json!({"refresh_token": ended.refresh})).await;
    let keys = site.get("/.well-known/jwks.json", "").await.body;

    let shop = site.shop.restart_with(|config| config.store = onrush_engine::StoreKind::Fjall).await;
    let site = Site { shop, http: reqwest::Client::new() };
    assert_eq!(site.get("/.well-known/jwks.json", "").await.body, keys);
    assert_eq!(site.get("/profile", &second.access).await.body["id"], json!(id));
    site.get("/profile", &ended.access).await.assert_refused(401, "INVALID_TOKEN", None);
    let third = Tokens::of(&site.post("/refresh", &json!({"refresh_token": second.refresh})).await);
    site.login("ada@example.com").await;
    let taken = json!({"email": "ada@example.com", "password": super::PASSWORD, "name": "Eve"});
    site.post("/register", &taken).await.assert_refused(409, "EMAIL_TAKEN", Some("email"));
    // The family remembers what was used up, too.
    let copy = site.post("/refresh", &json!({"refresh_token": used_up})).await;
    copy.assert_refused(401, "INVALID_REFRESH_TOKEN", Some("refresh_token"));
    let over = site.post("/refresh", &json!({"refresh_token": third.refresh})).await;
    over.assert_refused(401, "INVALID_REFRESH_TOKEN", Some("refresh_token"));
}

#[cfg(unix)]
#[tokio::test]
async fn the_signing_key_is_the_owners_and_no_secret_is_on_disk_in_the_clear() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::open_with(|config| config.store = onrush_engine::StoreKind::Fjall);
    let ada = site.somebody("ada@example.com").await;
    let data = site.shop.dir.path().join("data");
    let key = data.join("token-signing-key.pkcs8");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let holds = |text: &str| {
        let found = Command::new("grep").args(["-rqaF", "-e", text]).arg(&data).status().unwrap();
        found.success()
    };
    assert!(holds("ada@example.com"), "what is no secret is there to be found");
    for secret in [super::PASSWORD, ada.refresh.as_str(), ada.access.as_str()] {
        assert!(!holds(secret), "the directory holds {secret:.12}");
    }
}
