//! Programs of others: what a user grants, and nothing else.

mod attacks;
mod codes;
mod machines;
pub(super) mod program;

use onrush_services::config::{Secret, Service};
use serde_json::{Value, json};

use super::attacks::{SECRET, part};
use super::{Answer, PASSWORD, Site};
use program::{BACK, Browser, guarded};

const ALL: &str = "openid profile email offline_access orders.read orders.write catalogue.write";

#[tokio::test]
async fn a_program_gets_what_was_granted_and_goes_on_until_it_is_revoked() {
    let site = Site::open_with(guarded);
    let id = site.register("ada@example.com").await;
    let program = site.program(true, ALL).await;
    let mut browser = Browser::new();
    let page = browser.open(&site, &program.asks("openid email offline_access orders.read")).await;
    assert!(
        page.text.contains("Price &lt;watch&gt;") && page.text.contains("see your orders"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("in your name"), "{}", page.text);
    let back = browser.send(&site, &Browser::filled(&page, "ADA@example.com", PASSWORD, "allow")).await;
    let issuer = site.get("/.well-known/openid-configuration", "").await.body["issuer"].clone();
    assert!(back.location.as_ref().unwrap().as_str().starts_with(&format!("{BACK}&code=")));
    assert_eq!(back.answer("state").unwrap(), "a state & more=\"<b>\"");
    assert_eq!(json!(back.answer("iss").unwrap()), issuer);

    let (status, tokens) = site.redeem(&program, &back.answer("code").unwrap()).await;
    assert_eq!((status, &tokens["token_type"], &tokens["expires_in"]), (200, &json!("Bearer"), &json!(900)));
    assert_eq!(tokens["scope"], "openid email offline_access orders.read");
    let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
    let (header, claims) = (part(&text("id_token"), 0), part(&text("id_token"), 1));
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("JWT")));
    assert_eq!((&claims["iss"], &claims["sub"], &claims["aud"]), (&issuer, &json!(id), &json!(program.id)));
    assert_eq!(claims["nonce"], "a nonce");
    let info = site.get("/oauth2/userinfo", &text("access_token")).await;
    assert_eq!(info.body, json!({"sub": id, "email": "ada@example.com", "email_verified": false}));
    // By POST as well (OpenID Connect Core, 5.3.1), the token in a header or in the form.
    let (access, post) = (text("access_token"), || site.request("POST", "/oauth2/userinfo"));
    for request in [post().bearer_auth(&access), post().form(&[("access_token", &access)])] {
        assert_eq!(Answer::of(request.send().await.unwrap()).await.body, info.body);
    }
    for (request, status, reason, field) in [
        (post(), 401, "UNAUTHENTICATED", Some("Authorization")),
        (post().form(&[("access_token", "")]), 401, "UNAUTHENTICATED", Some("Authorization")),
        (post().json(&json!({"access_token": access})), 401, "UNAUTHENTICATED", Some("Authorization")),
        (post().form(&[("access_token", "nonsense")]), 401, "INVALID_TOKEN", None),
        (
            post().bearer_auth(&access).form(&[("access_token", &access)]),
            400,
            "INVALID_FIELD",
            Some("access_token"),
        ),
    ] {
        Answer::of(request.send().await.unwrap()).await.assert_refused(status, reason, field);
    }

    let about = async |token: &str| site.form("/oauth2/introspect", &program, &[("token", token)]).await.1;
    for token in [text("access_token"), text("refresh_token")] {
        let found = about(&token).await;
        assert_eq!((&found["active"], &found["sub"]), (&json!(true), &json!(id)), "{found}");
    }
    let (status, next) = site.renew(&program, &text("refresh_token")).await;
    assert_eq!(status, 200, "{next}");
    let narrow = [
        ("grant_type", "refresh_token"),
        ("refresh_token", next["refresh_token"].as_str().unwrap()),
        ("scope", "orders.read"),
    ];
    let (status, narrowed) = site.form("/oauth2/token", &program, &narrow).await;
    assert_eq!(
        (status, &narrowed["scope"], &narrowed["id_token"]),
        (200, &json!("orders.read"), &Value::Null)
    );

    let access = narrowed["access_token"].as_str().unwrap();
    assert_eq!(site.form("/oauth2/revoke", &program, &[("token", access)]).await.0, 200);
    for token in [access, narrowed["refresh_token"].as_str().unwrap(), "nonsense"] {
        assert_eq!(about(token).await, json!({"active": false}));
        assert_eq!(site.form("/oauth2/revoke", &program, &[("token", token)]).await.0, 200);
    }
}

#[tokio::test]
async fn a_granted_token_does_what_its_scope_says_and_is_no_user() {
    let site = Site::open_with(guarded);
    site.register("ada@example.com").await;
    let program = site.program(false, ALL).await;
    let reads = site.granted(&program, "ada@example.com", "orders.read").await;
    assert_eq!((&reads["refresh_token"], &reads["id_token"]), (&Value::Null, &Value::Null));
    let reads = reads["access_token"].as_str().unwrap().to_owned();
    let orders = "onrush.order.v1.OrderService";
    let list = site.call(Service::Order, &format!("{orders}/ListOrders"), &reads, &json!({})).await;
    assert_eq!(list.0, 200, "{list:?}");
    let refused = (403, "INSUFFICIENT_SCOPE".to_owned());
    let order = json!({"lines": [{"sku": "tea", "quantity": "1"}]});
    assert_eq!(site.call(Service::Order, &format!("{orders}/CreateOrder"), &reads, &order).await, refused);
    for path in ["/profile", "/users?email=ada@example.com", "/oauth2/clients", "/oauth2/userinfo"] {
        site.get(path, &reads).await.assert_refused(403, "INSUFFICIENT_SCOPE", None);
    }
    let change = json!({"name": "Eve"});
    site.put("/profile", &reads, "\"v1\"", &change).await.assert_refused(403, "INSUFFICIENT_SCOPE", None);
    let body = json!({"current_password": PASSWORD, "new_password": "another horse battery"});
    let request = site.request("POST", "/password").bearer_auth(&reads).json(&body);
    Answer::of(request.send().await.unwrap()).await.assert_refused(403, "INSUFFICIENT_SCOPE", None);

    // An admin's grant reaches neither other people nor what only staff may do.
    let all = site.granted(&program, "root@example.com", ALL).await;
    let all = all["access_token"].as_str().unwrap();
    let foreign = json!({"customerId": "somebody-else", "lines": [{"sku": "tea", "quantity": "1"}]});
    let others = site.call(Service::Order, &format!("{orders}/CreateOrder"), all, &foreign).await;
    assert_eq!(others, (403, "FORBIDDEN".into()));
    let audit = site.call(Service::Order, "onrush.admin.v1.AdminService/Audit", all, &json!({})).await;
    assert_eq!(audit, refused);
    site.get("/users?email=ada@example.com", all).await.assert_refused(403, "INSUFFICIENT_SCOPE", None);
    // What a role permits and the scope names is done; the same scope of a customer's changes nothing.
    let product = json!({"sku": "tea", "name": "Tea", "price": {"minorUnits": "499", "currencyCode": "EUR"}});
    let put = "onrush.product.v1.ProductService/PutProduct";
    assert_eq!(site.call(Service::Product, put, all, &product).await.0, 200);
    let customers = site.granted(&program, "ada@example.com", "catalogue.write").await;
    let customers = customers["access_token"].as_str().unwrap();
    assert_eq!(site.call(Service::Product, put, customers, &product).await, (403, "FORBIDDEN".into()));
    let validate = "onrush.user.v1.UserService/ValidateToken";
    assert_eq!(site.call(Service::User, validate, all, &json!({"accessToken": all})).await, refused);
}

/// Others cannot verify what our secret signs, so an ID token is never signed by it.
#[tokio::test]
async fn under_a_secret_id_tokens_are_still_signed_by_the_key_pair_and_access_tokens_are_not() {
    let site = Site::open_with(|config| {
        guarded(config);
        config.tokens.secret = Some(Secret::new(SECRET));
    });
    site.register("ada@example.com").await;
    let program = site.program(false, ALL).await;
    let tokens = site.granted(&program, "ada@example.com", "openid").await;
    let (id, access) = (tokens["id_token"].as_str().unwrap(), tokens["access_token"].as_str().unwrap());
    let keys = site.get("/.well-known/jwks.json", "").await.body;
    assert_eq!((&part(id, 0)["alg"], &part(id, 0)["kid"]), (&json!("EdDSA"), &keys["keys"][0]["kid"]));
    assert_eq!(part(access, 0)["alg"], "HS256");
    for path in ["/oauth2/userinfo", "/profile"] {
        site.get(path, id).await.assert_refused(401, "INVALID_TOKEN", None);
    }
}

#[tokio::test]
async fn a_user_sees_what_they_granted_and_takes_it_back() {
    let site = Site::open_with(guarded);
    let ada = site.somebody("ada@example.com").await;
    let eve = site.somebody("eve@example.com").await;
    let (program, other) = (site.program(true, ALL).await, site.program(true, ALL).await);
    let granted = site.granted(&program, "ada@example.com", "openid offline_access").await;
    let kept = site.granted(&other, "ada@example.com", "openid offline_access").await;
    // A code that waits is no grant, and ends with them.
    let code = Browser::new().code(&site, &program, "ada@example.com", "openid").await;
    let list = async |token: &str| site.get("/oauth2/grants", token).await.body["grants"].clone();
    let seen = list(&ada.access).await;
    assert_eq!(seen.as_array().unwrap().len(), 2, "{seen}");
    let first = (&seen[0]["client_id"], &seen[0]["name"], &seen[0]["scope"]);
    assert_eq!(first, (&json!(program.id), &json!("Price <watch>"), &json!("openid offline_access")));
    assert_eq!(list(&eve.access).await, json!([]));
    let path = format!("/oauth2/grants/{}", program.id);
    let end =
        async |token: &str| site.request("DELETE", &path).bearer_auth(token).send().await.unwrap().status();
    // Neither somebody else nor the program itself.
    assert_eq!(end(&eve.access).await, 204);
    let access = granted["access_token"].as_str().unwrap();
    assert_eq!(end(access).await, 403);
    site.get("/oauth2/grants", access).await.assert_refused(403, "INSUFFICIENT_SCOPE", None);
    assert_eq!(list(&ada.access).await.as_array().unwrap().len(), 2);
    assert_eq!(end(&ada.access).await, 204);
    assert_eq!(list(&ada.access).await[0]["client_id"], json!(other.id));
    site.get("/oauth2/userinfo", access).await.assert_refused(401, "INVALID_TOKEN", None);
    assert_eq!(site.renew(&program, granted["refresh_token"].as_str().unwrap()).await.0, 400);
    assert_eq!(site.redeem(&program, &code).await.0, 400);
    assert_eq!(site.renew(&other, kept["refresh_token"].as_str().unwrap()).await.0, 200);
    assert_eq!(site.get("/profile", &ada.access).await.status, 200);
}

/// Asking a user often enough once ended what they had granted everybody else.
#[tokio::test]
async fn a_client_that_asks_often_ends_no_other_clients_grant() {
    let site = Site::open_with(guarded);
    site.register("ada@example.com").await;
    let (quiet, loud) = (site.program(true, ALL).await, site.program(true, ALL).await);
    let kept = site.granted(&quiet, "ada@example.com", "openid offline_access").await;
    let first = site.granted(&loud, "ada@example.com", "openid offline_access").await;
    for _ in 0..20 {
        Browser::new().code(&site, &loud, "ada@example.com", "openid offline_access").await;
    }
    assert_eq!(site.renew(&loud, first["refresh_token"].as_str().unwrap()).await.0, 400);
    assert_eq!(site.renew(&quiet, kept["refresh_token"].as_str().unwrap()).await.0, 200);
    site.login("ada@example.com").await;
}

#[tokio::test]
async fn clients_are_an_admins_to_register_and_to_take_away() {
    let site = Site::open_with(guarded);
    let ada = site.somebody("ada@example.com").await;
    let program = site.program(true, ALL).await;
    let admin = site.login("root@example.com").await;
    let new = |uri: &str, scope: &str| json!({"name": "App", "redirect_uris": [uri], "scope": scope, "confidential": false});
    let register = async |token: &str, body: &Value| {
        let request = site.request("POST", "/oauth2/clients").bearer_auth(token).json(body);
        Answer::of(request.send().await.unwrap()).await
    };
    register(&ada.access, &new(BACK, "openid")).await.assert_refused(403, "FORBIDDEN", None);
    for (uri, scope, field) in [
        ("http://app.example.com/back", "openid", "redirect_uris[0]"),
        ("https://app.example.com/back#x", "openid", "redirect_uris[0]"),
        ("javascript:alert(1)", "openid", "redirect_uris[0]"),
        ("https://app.example.com/back?code=mine", "openid", "redirect_uris[0]"),
        (BACK, "openid admin", "scope"),
        (BACK, "", "scope"),
    ] {
        register(&admin.access, &new(uri, scope)).await.assert_refused(400, "INVALID_FIELD", Some(field));
    }
    let path = format!("/oauth2/clients/{}", program.id);
    let shown = site.get(&path, &admin.access).await;
    assert_eq!((shown.status, &shown.body["client_secret"]), (200, &Value::Null), "{shown:?}");
    let list = site.get("/oauth2/clients", &admin.access).await.body;
    assert_eq!(list["clients"].as_array().unwrap().len(), 1);
    let granted = site.granted(&program, "ada@example.com", "openid offline_access").await;
    for (token, status) in [(&ada.access, 403), (&admin.access, 204), (&admin.access, 404)] {
        let answer = site.request("DELETE", &path).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
    let (status, problem) = site.renew(&program, granted["refresh_token"].as_str().unwrap()).await;
    assert_eq!((status, &problem["error"]), (401, &json!("invalid_client")));
}
