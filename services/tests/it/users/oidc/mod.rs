//! Logins with a provider of OpenID Connect: Onrush itself, and a stand-in of ours that does well or lies.

mod lies;
mod stand_in;

use std::time::Duration;

use onrush_services::config::Service;
use serde_json::{Value, json};

use super::oauth::program::{Browser, guarded};
use super::{Answer, PASSWORD, Site, Tokens, reset};
use stand_in::{CLIENT, HUSH, Provider, Way, login, shop_that, shop_with};

const CALLBACK: &str = "https://shop.example.com/login/oidc/callback";

async fn unlink(site: &Site, token: &str) -> u16 {
    site.request("DELETE", "/login/oidc/link").bearer_auth(token).send().await.unwrap().status().as_u16()
}

async fn id(site: &Site, token: &str) -> Value {
    site.get("/profile", token).await.body["id"].clone()
}

/// One shop is the provider, the other its client; each believes of the other what the standards say.
#[tokio::test]
async fn onrush_logs_in_with_onrush() {
    let provider = Site::open_with(|config| {
        guarded(config);
        config.notification.public_url = String::new();
    });
    provider.register("ada@example.com").await;
    let nowhere = Answer::of(provider.request("GET", "/login/oidc").send().await.unwrap()).await;
    nowhere.assert_refused(404, "NO_LOGIN_PROVIDER", None);
    for confidential in [true, false] {
        let program = provider.program_at(CALLBACK, confidential, "openid profile email").await;
        let issuer = provider.shop.address(Service::User);
        let site = shop_with(&issuer, &program.id, program.secret.as_deref());
        let there = async |way: &Way| {
            let asks: Vec<(String, String)> = way.url.query_pairs().into_owned().collect();
            let code = Browser::new().answer_to(&provider, &asks, "ada@example.com").await;
            let fields: Vec<(&str, &str)> = code.iter().map(|(name, value)| (&**name, &**value)).collect();
            way.back(&site, &fields).await
        };
        // The provider has not verified her address, so it is nobody's word here.
        there(&Way::begin(&site).await).await.assert_refused(403, "EMAIL_NOT_VERIFIED", None);
        let ada = site.somebody("countess@example.com").await;
        let account = id(&site, &ada.access).await;
        Tokens::of(&there(&Way::link(&site, &ada.access, PASSWORD).await).await);
        let again = Tokens::of(&there(&Way::begin(&site).await).await);
        assert_eq!(id(&site, &again.access).await, account);
    }
}

#[tokio::test]
async fn somebody_new_gets_an_account_and_comes_back_to_it() {
    let provider = Provider::start();
    let site = provider.shop();
    let way = Way::begin(&site).await;
    assert!(way.url.as_str().contains("/authorize?tenant=1&response_type=code"), "{}", way.url);
    assert_eq!(way.asked("code_challenge_method"), "S256");
    assert_eq!(way.asked("redirect_uri"), CALLBACK);
    let first = Tokens::of(&login(&site, &provider).await);
    let profile = site.get("/profile", &first.access).await.body;
    assert_eq!((&profile["email"], &profile["name"]), (&json!("ada@example.com"), &json!("Ada")));
    assert_eq!((&profile["email_verified"], &profile["roles"]), (&json!(true), &json!(["customer"])));
    // Another address there is the same person.
    provider.change(|books| books.person["email"] = json!("countess@example.com"));
    let again = Tokens::of(&login(&site, &provider).await);
    assert_eq!(id(&site, &again.access).await, profile["id"]);
    // Another person with the same address is not, and neither is one without a verified address.
    provider.change(|books| books.person["sub"] = json!("p-2"));
    provider.change(|books| books.person["email"] = json!("ada@example.com"));
    login(&site, &provider).await.assert_refused(409, "EMAIL_TAKEN", Some("email"));
    provider.change(|books| books.person["email"] = json!("new@example.com"));
    for unverified in [json!(false), json!("false"), json!(1), Value::Null] {
        provider.change(|books| books.person["email_verified"] = unverified);
        login(&site, &provider).await.assert_refused(403, "EMAIL_NOT_VERIFIED", None);
    }
    // There is no password to guess.
    let guess = site.post("/login", &json!({"email": "ada@example.com", "password": PASSWORD})).await;
    guess.assert_refused(401, "INVALID_CREDENTIALS", None);
}

/// Nobody's word but the owner's opens an account that is there, and the owner takes it back.
#[tokio::test]
async fn an_account_is_linked_by_its_owner_and_unlinked_for_good() {
    let provider = Provider::start();
    let site = provider.shop();
    let ada = site.somebody("ada@example.com").await;
    let account = id(&site, &ada.access).await;
    login(&site, &provider).await.assert_refused(409, "EMAIL_TAKEN", Some("email"));
    let wrong = site.request("POST", "/login/oidc/link").bearer_auth(&ada.access);
    let wrong =
        Answer::of(wrong.json(&json!({"current_password": "another horse"})).send().await.unwrap()).await;
    wrong.assert_refused(401, "INVALID_CREDENTIALS", None);
    let way = Way::link(&site, &ada.access, PASSWORD).await.noted(&provider);
    Tokens::of(&way.home(&site, &provider).await);
    let linked = Tokens::of(&login(&site, &provider).await);
    assert_eq!(id(&site, &linked.access).await, account);

    // One person, one account, and the other way round.
    let eve = site.somebody("eve@example.com").await;
    let way = Way::link(&site, &eve.access, PASSWORD).await.noted(&provider);
    way.home(&site, &provider).await.assert_refused(409, "LOGIN_LINKED", None);
    provider.change(|books| books.person["sub"] = json!("p-2"));
    let way = Way::link(&site, &ada.access, PASSWORD).await.noted(&provider);
    way.home(&site, &provider).await.assert_refused(409, "LOGIN_LINKED", None);
    provider.change(|books| books.person["sub"] = json!("p-1"));

    assert_eq!(unlink(&site, &eve.access).await, 204);
    Tokens::of(&login(&site, &provider).await);
    assert_eq!(unlink(&site, &linked.access).await, 204);
    site.get("/profile", &linked.access).await.assert_refused(401, "INVALID_TOKEN", None);
    login(&site, &provider).await.assert_refused(403, "LOGIN_NOT_LINKED", None);
    let ada = site.login("ada@example.com").await;
    let way = Way::link(&site, &ada.access, PASSWORD).await.noted(&provider);
    Tokens::of(&way.home(&site, &provider).await);
    Tokens::of(&login(&site, &provider).await);
}

/// Whoever knew the old password must not have a way in under the new one.
#[tokio::test]
async fn a_password_that_is_changed_meanwhile_links_nothing() {
    let provider = Provider::start();
    let site = provider.shop();
    let ada = site.somebody("ada@example.com").await;
    let way = Way::link(&site, &ada.access, PASSWORD).await.noted(&provider);
    let body = json!({"current_password": PASSWORD, "new_password": "another horse battery"});
    let changed =
        site.request("POST", "/password").bearer_auth(&ada.access).json(&body).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    way.home(&site, &provider).await.assert_refused(401, "LOGIN_REFUSED", None);
    login(&site, &provider).await.assert_refused(409, "EMAIL_TAKEN", Some("email"));
    // Nor keeps whoever linked their own login under the old one.
    let ada = Tokens::of(&Answer::of(changed).await);
    let way = Way::link(&site, &ada.access, "another horse battery").await.noted(&provider);
    Tokens::of(&way.home(&site, &provider).await);
    let body = json!({"current_password": "another horse battery", "new_password": PASSWORD});
    let changed =
        site.request("POST", "/password").bearer_auth(&ada.access).json(&body).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    login(&site, &provider).await.assert_refused(403, "LOGIN_NOT_LINKED", None);
}

/// A link is being made while its owner says that nobody is to log in by the provider: however the two meet, nobody
/// does. One that was made between two steps of the no was there for good, since the account did not know of it.
#[tokio::test]
async fn a_link_that_is_being_made_does_not_outlive_its_owners_no() {
    let provider = Provider::start();
    let site = provider.shop();
    site.register("ada@example.com").await;
    for delay_ms in [None, Some(0), Some(1), Some(2), Some(4), Some(8)] {
        let ada = site.login("ada@example.com").await;
        let way = Way::link(&site, &ada.access, PASSWORD).await.noted(&provider);
        let made = match delay_ms {
            // Her browser is still at the provider.
            None => {
                assert_eq!(unlink(&site, &ada.access).await, 204);
                let made = way.home(&site, &provider).await;
                made.assert_refused(401, "LOGIN_REFUSED", None);
                made
            }
            Some(delay_ms) => {
                let says_no = async {
                    tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                    unlink(&site, &ada.access).await
                };
                let (made, said) = tokio::join!(way.home(&site, &provider), says_no);
                assert_eq!(said, 204);
                made
            }
        };
        let after = login(&site, &provider).await;
        let reason = after.body["reason"].as_str().unwrap_or_default();
        let refused = matches!((after.status, reason), (403, "LOGIN_NOT_LINKED") | (409, "EMAIL_TAKEN"));
        assert!(refused, "{delay_ms:?}: {made:?}, then {after:?}");
        if let Some(token) = made.body["access_token"].as_str() {
            site.get("/profile", token).await.assert_refused(401, "INVALID_TOKEN", None);
        }
    }
    // What came to nothing is in nobody's way.
    let ada = site.login("ada@example.com").await;
    let way = Way::link(&site, &ada.access, PASSWORD).await.noted(&provider);
    Tokens::of(&way.home(&site, &provider).await);
    Tokens::of(&login(&site, &provider).await);
}

/// Who reads the mailbox now need not be whom the provider knew: also a first password takes the link back.
#[tokio::test]
async fn a_reset_takes_the_link_back() {
    let provider = Provider::start();
    let issuer = provider.change(|books| books.issuer.clone());
    let site = shop_that(&issuer, CLIENT, Some(HUSH), reset::telling);
    let ada = Tokens::of(&login(&site, &provider).await);
    reset::by_mail(&site, "ada@example.com", 1, PASSWORD).await;
    site.get("/profile", &ada.access).await.assert_refused(401, "INVALID_TOKEN", None);
    login(&site, &provider).await.assert_refused(403, "LOGIN_NOT_LINKED", None);
    site.login("ada@example.com").await;
}
